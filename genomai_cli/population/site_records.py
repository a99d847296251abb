"""What the records of one file say of a panel's sites, on the panel's strand.

A record is on the other strand if its alleles are the complement of the panel's. At palindromic sites (A/T, C/G) the
alleles do not tell; there the file's other records do, or the order of REF and ALT, or the site is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES, UNKNOWN_CODE, complement, complement_codes
from genomai_cli.formats.bit_planes import BitPlanes
from genomai_cli.formats.call_quality import Reasons
from genomai_cli.formats.regions import NO_VARIANT
from genomai_cli.formats.vcf import PackedVariant, Variant, VariantFile
from genomai_cli.population.panel import BUILDS, Panel
from genomai_cli.population.uncertain_calls import (
    NOT_SEEN,
    Uncertain,
    at_site,
    chosen,
    says_something,
)

SiteKey = tuple[str, int]  # a build, and the index of a site in the panel
SiteIndex = dict[str, dict[int, list[SiteKey]]]

CODES = {base: code for code, base in enumerate(BASES)}
_SAME_AS_FIRST = UNKNOWN_CODE + 1  # beside the codes of letters
_NONE = NOT_SEEN  # no variant was seen
_REMOVED = "*"  # the allele has no base there

# Of the records whose strand shows: below the first share no palindromic site is doubted, and below the same share of
# exchanged REF and ALT their order tells the strand, if there are enough records to say so.
_FEW, _ENOUGH = 0.01, 50
# Exchanged palindromic sites, and their share, that are too many if hardly any other site is.
_PALINDROMES_SWAPPED, _PALINDROMIC_SHARE = 5, 0.1
_MOSTLY = 2  # complemented records for each of altogether other alleles, in a file that has some

# How much a record says about a site: one of a higher rank replaces those of a lower.
BLOCK, COVERING, OWN = range(3)


@dataclass(eq=False, slots=True)
class SiteRecord:
    """The records so far at one site; codes (samples, 2) and phased (samples,) are held in bits, since there may be
    a million sites.

    turned: its letters are the complement of the panel's; unclear: palindromic, on a strand that is not known;
    alternate: which samples have an alternate allele, where the record begins before the site or has several bases;
    no_calls: why calls that the file writes are none; filters: what the record failed by; uncertain: (samples, 3) what
    `source` says of 0, 1 and 2 of the panel's alternate alleles, three equal values where the letters count.
    """

    packed_codes: BitPlanes
    packed_phased: BitPlanes
    rank: int
    path: str
    swapped: bool = False
    turned: bool = False
    unclear: bool = False
    conflicting: bool = False
    alternate: NDArray[np.bool_] | None = None
    no_calls: Reasons | None = None
    filters: tuple[str, ...] = ()
    uncertain: Uncertain | None = None
    source: str = ""

    @classmethod
    def of(
        cls, codes: NDArray[np.uint8], phased: NDArray[np.bool_], rank: int, path: str
    ) -> "SiteRecord":
        """A record of these codes."""
        return cls(BitPlanes.of(codes), BitPlanes.of(phased), rank, path)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes, anew each time."""
        return self.packed_codes.array()

    @property
    def phased(self) -> NDArray[np.bool_]:
        """Which calls are phased, anew each time."""
        return self.packed_phased.array()

    def known(self) -> NDArray[np.bool_]:
        """Which samples (samples,) have both alleles."""
        known: NDArray[np.bool_] = (self.codes != UNKNOWN_CODE).all(axis=1)
        return known

    def called_none(self) -> Reasons | None:
        """Why calls (samples,) are none; 0 where there is a call, or never was one. None if all count."""
        if self.no_calls is None:
            return None
        return np.where(self.known(), np.uint8(0), self.no_calls)

    def conflict(self, other: "SiteRecord") -> NDArray[np.bool_]:
        """The samples that both records call, and call differently (phase aside)."""
        mine, theirs = np.sort(self.codes, axis=1), np.sort(other.codes, axis=1)
        known = (mine != UNKNOWN_CODE).all(axis=1) & (theirs != UNKNOWN_CODE).all(axis=1)
        conflict: NDArray[np.bool_] = known & (mine != theirs).any(axis=1)
        return conflict

    def joined(self, other: "SiteRecord") -> "SiteRecord":
        """This record and another of the site."""
        if self.rank != other.rank:
            lower, higher = sorted((self, other), key=lambda record: record.rank)
            return higher._without(lower)
        unknown, conflict = ~self.known(), self.conflict(other)
        codes = np.where(unknown[:, None], other.codes, self.codes)
        codes[conflict] = UNKNOWN_CODE
        told = ~unknown | says_something(self.uncertain, len(codes))
        uncertain = chosen(told, self.uncertain, other.uncertain, conflict)
        phased = np.where(unknown, other.phased, self.phased)
        conflicting = self.conflicting or other.conflicting or bool(conflict.any())
        unclear = self.unclear and other.unclear
        return replace(
            self,
            packed_codes=BitPlanes.of(codes),
            packed_phased=BitPlanes.of(phased),
            conflicting=conflicting,
            unclear=unclear,
            no_calls=_either(self.no_calls, other.no_calls),
            filters=self.filters and other.filters,
            uncertain=uncertain,
            source=self.source or other.source,
        )

    def _without(self, lower: "SiteRecord") -> "SiteRecord":
        """This record, which counts more, less the samples that have another allele by the other."""
        if lower.alternate is None:
            return self
        codes, conflict = self.codes, lower.alternate & self.conflict(lower)
        codes[conflict] = UNKNOWN_CODE
        everybody = np.ones(len(codes), np.bool_)
        uncertain = chosen(everybody, self.uncertain, None, conflict)
        return replace(self, packed_codes=BitPlanes.of(codes), uncertain=uncertain)

    def on_other_strand(self) -> "SiteRecord":
        """The record with the complements of its letters."""
        codes = BitPlanes.of(complement_codes(self.codes))
        uncertain = None if self.uncertain is None else self.uncertain[:, ::-1]
        return replace(
            self, packed_codes=codes, uncertain=uncertain, swapped=not self.swapped, turned=True
        )


@dataclass
class _Strands:
    """Records of two bases by strand, at sites where it shows.

    `swapped` of the `ordered` records, those of one base included, have REF and ALT exchanged.
    """

    panel: int = 0
    other: int = 0
    neither: int = 0
    ordered: int = 0
    swapped: int = 0

    @property
    def shown(self) -> int:
        return self.panel + self.other

    @property
    def has_other(self) -> bool:
        """Whether complemented alleles are a matter of the strand, and not of other variants."""
        return self.other > _MOSTLY * self.neither

    @property
    def order_tells(self) -> bool:
        return self.shown >= _ENOUGH and self.swapped <= _FEW * self.ordered


@dataclass(eq=False)
class FileRecords:
    """The records of one file at a panel's sites.

    records: those with the panel's alleles; others: sites with other alleles only; carriers: the samples that carry
    such an allele in a row of its own; removed: those that carry a deletion, or another base, in a record that begins
    before the site. `ordered` is False for a file whose REF means nothing.
    """

    panel: Panel
    path: str
    ordered: bool = True
    records: dict[SiteKey, SiteRecord] = field(default_factory=dict)
    others: set[SiteKey] = field(default_factory=set)
    carriers: dict[SiteKey, NDArray[np.bool_]] = field(default_factory=dict)
    removed: dict[SiteKey, NDArray[np.bool_]] = field(default_factory=dict)
    with_genotypes: int = 0
    _strands: dict[str, _Strands] = field(default_factory=lambda: {b: _Strands() for b in BUILDS})
    _complemented: list[tuple[SiteKey, SiteRecord, PackedVariant]] = field(default_factory=list)

    @classmethod
    def read(cls, panel: Panel, file: VariantFile, sites: SiteIndex) -> "FileRecords":
        """The records of a file, read to its end."""
        found = cls(panel, file.path, file.ordered)
        for variant in file.records:
            for key in sites[variant.contig][variant.position]:
                found._take(key, variant)
        found._settle()
        return found

    def _take(self, key: SiteKey, variant: Variant) -> None:
        own = (self.panel.ref[key[1]], self.panel.alt[key[1]])
        rank = BLOCK if not variant.ref else COVERING if _covers(variant) else OWN
        letters = [own[0], *(_NONE for _ in variant.alts)] if rank == BLOCK else _letters(variant)
        if _is_of(letters, own):
            self._put(key, self._record(letters, own, variant, rank))
        elif not _palindromic(own) and _is_of(turned := complements(letters), own):
            record = replace(self._record(turned, own, variant, rank), turned=True)
            self._complemented.append((key, record, PackedVariant.of(variant)))
        else:
            self._note_other(key, variant, letters, rank)
        if rank == OWN and not _palindromic(own):
            self._vote(self._strands[key[0]], letters, own)

    def _record(
        self, letters: Sequence[str], own: tuple[str, str], variant: Variant, rank: int
    ) -> SiteRecord:
        self.with_genotypes += variant.has_genotypes
        codes = [CODES[letter] if letter in own else UNKNOWN_CODE for letter in letters]
        table = np.array([*codes, _SAME_AS_FIRST, UNKNOWN_CODE], np.uint8)
        called = table.take(variant.genotypes, mode="wrap")
        haploid = called[:, 1] == _SAME_AS_FIRST
        if haploid.any():
            called[haploid, 1] = called[haploid, 0]
        record = SiteRecord.of(called, variant.phased, rank, self.path)
        record.swapped = self.ordered and letters[0] == own[1]
        record.no_calls, record.filters = variant.no_calls, variant.filters
        if variant.evidence is not None:
            record.uncertain = at_site(variant.evidence, letters, own)
            record.source = variant.evidence.key
        if rank == COVERING:
            record.alternate = np.asarray((variant.genotypes > 0).any(axis=1))
        return record

    def _put(self, key: SiteKey, record: SiteRecord) -> None:
        before = self.records.get(key)
        self.records[key] = record if before is None else before.joined(record)

    def _vote(self, strands: _Strands, letters: list[str], own: tuple[str, str]) -> None:
        turned = complements(letters)
        if len(letters) == 2 and letters[1] in CODES:
            strands.panel += set(letters) == set(own)
            strands.other += set(turned) == set(own)
            strands.neither += set(letters) != set(own) != set(turned)
        if set(own) in (set(letters), set(turned)) or all(one == _NONE for one in letters[1:]):
            strands.ordered += 1
            strands.swapped += not self.ordered or own[1] in (letters[0], turned[0])

    def _note_other(self, key: SiteKey, variant: Variant, letters: list[str], rank: int) -> None:
        """Remember which samples carry another allele than the panel's in a row of its own."""
        if rank == COVERING:
            other = [letter not in (letters[0], _NONE) for letter in letters]
            _add(self.removed, key, np.array([*other, False, False])[variant.genotypes])
            return
        _add(self.carriers, key, variant.genotypes > 0)
        # An indel next to the site does not say whether the site itself was called.
        if len(letters) == 1 or any(letters[1:]):
            self.others.add(key)

    def _settle(self) -> None:
        """Put every record on the panel's strand, where it is known."""
        for key, record, held in self._complemented:
            if self._strands[key[0]].has_other:
                self._put(key, record)
            else:
                variant = held.variant()
                self._note_other(key, variant, _letters(variant), record.rank)
        self._complemented.clear()
        for build, strands in self._strands.items():
            found = {
                key: self.records[key] for key in self.records if self._is_palindrome(build, key)
            }
            turn = _of_palindromes(strands, [record.swapped for record in found.values()])
            self.records |= {key: turn(record) for key, record in found.items()}

    def _is_palindrome(self, build: str, key: SiteKey) -> bool:
        """Whether the record at a site is of that build and does not show its strand."""
        own = (self.panel.ref[key[1]], self.panel.alt[key[1]])
        return key[0] == build and self.records[key].rank != BLOCK and _palindromic(own)


def _either(reasons: Reasons | None, others: Reasons | None) -> Reasons | None:
    return others if reasons is None else reasons if others is None else np.maximum(reasons, others)


def _of_palindromes(
    strands: _Strands, swapped: Sequence[bool]
) -> Callable[[SiteRecord], SiteRecord]:
    """What to do with the records of palindromic sites, of which some are `swapped`.

    Where REF and ALT are in order elsewhere, those are the ones on the other strand, even if no other site is.
    """
    mixed = strands.has_other and strands.other > _FEW * strands.shown
    if mixed and strands.panel <= _FEW * strands.shown:
        return SiteRecord.on_other_strand
    many = sum(swapped) >= max(_PALINDROMES_SWAPPED, _PALINDROMIC_SHARE * len(swapped))
    if strands.order_tells and (mixed or many):
        return lambda record: record.on_other_strand() if record.swapped else record
    return _unclear if mixed else lambda record: record


def _unclear(record: SiteRecord) -> SiteRecord:
    codes = BitPlanes.of(np.full_like(record.codes, UNKNOWN_CODE))
    return replace(record, packed_codes=codes, uncertain=None, unclear=True)


def _add(
    flags: dict[SiteKey, NDArray[np.bool_]], key: SiteKey, alleles_N2: NDArray[np.bool_]
) -> None:
    flags[key] = np.asarray(alleles_N2.any(axis=1) | flags.get(key, False))


def _palindromic(own: tuple[str, str]) -> bool:
    return complement(own[0]) == own[1]


def complements(letters: Sequence[str]) -> tuple[str, ...]:
    """The letters on the other strand; what is no base stays as it is."""
    return tuple(map(complement, letters))


def _is_of(letters: Sequence[str], own: tuple[str, str]) -> bool:
    """Whether a record of these letters is for a site of these alleles."""
    monomorphic = all(letter in (_NONE, letters[0]) for letter in letters[1:])
    return letters[0] in own and (monomorphic or set(own) <= set(letters))


def _covers(variant: Variant) -> bool:
    """Whether the record is about more than the site: it begins before, or substitutes several bases."""
    ref = variant.ref
    alike = [alt for alt in variant.alts if len(alt) == len(ref) and not alt.startswith("<")]
    several = len(ref) > 1 and bool(alike) and all(alt[1:] != ref[1:] for alt in alike)
    return variant.offset > 0 or several


def _letters(variant: Variant) -> list[str]:
    """The base that each allele puts at the record's position, "" for one that is no substitution.

    A SNP may stand beside an indel in one record, as CA to C,TA: its letter is still C to T.
    """
    ref, offset = variant.ref, variant.offset
    return [ref[offset : offset + 1], *(_letter(ref, alt, offset) for alt in variant.alts)]


def _letter(ref: str, alt: str, offset: int) -> str:
    if alt in NO_VARIANT or alt == _REMOVED:
        return _NONE if alt in NO_VARIANT else _REMOVED
    if alt.startswith("<"):
        removed = alt.startswith(("<DEL", "<CN0"))
        return "" if not offset else _REMOVED if removed else ref[offset : offset + 1]
    if len(alt) == len(ref):
        return alt[offset] if alt[offset] in CODES else ""
    if not offset:
        return ""
    return ref[offset] if offset in _unchanged(ref, alt) else _REMOVED


def _unchanged(ref: str, alt: str) -> Iterator[int]:
    """Where in `ref` an indel leaves the bases as they are: before what it shares no more, and behind."""
    same = [one == other for one, other in zip(ref, alt, strict=False)]
    first = same.index(False) if False in same else len(same)
    yield from range(first)
    behind = 0
    while behind < min(len(ref), len(alt)) - first and ref[-1 - behind] == alt[-1 - behind]:
        behind += 1
    yield from range(len(ref) - behind, len(ref))
