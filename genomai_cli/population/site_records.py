"""The records of one file at a panel's sites, on the panel's strand.

A record is on the other strand if its alleles are the complement of the panel's. At palindromic sites (A/T, C/G) the
alleles do not show it; there the file's other records do, or the order of REF and ALT, or the site is left out.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES, UNKNOWN_CODE, complement, complement_codes
from genomai_cli.formats.bit_planes import BitPlanes, PackedVariant
from genomai_cli.formats.call_quality import Reasons
from genomai_cli.formats.regions import NO_VARIANT
from genomai_cli.formats.variant_alleles import has_coded_alleles
from genomai_cli.formats.vcf import Variant, VariantFile
from genomai_cli.population.panel import BUILDS, Panel
from genomai_cli.population.uncertain_calls import (
    NOT_SEEN,
    Uncertain,
    is_informative,
    merged_uncertain,
    uncertain_at_site,
)

SiteKey = tuple[str, int]  # a build, and the index of a site in the panel
SiteIndex = dict[str, dict[int, list[SiteKey]]]

CODES = {base: code for code, base in enumerate(BASES)}
_SAME_AS_FIRST = UNKNOWN_CODE + 1  # after the codes of letters
_NO_VARIANT = NOT_SEEN  # no variant was seen
_DELETED = "*"  # the allele has no base there

# Of the records whose strand shows: below the first share no palindromic site is doubted, and below the same share of
# exchanged REF and ALT their order shows the strand, if there are enough records.
_NEGLIGIBLE_SHARE, _MIN_DETERMINED = 0.01, 50
# Exchanged palindromic sites, and their share, that are too many if hardly any other site is.
_MIN_SWAPPED_PALINDROMES, _MIN_SWAPPED_SHARE = 5, 0.1
# Complemented records for each of altogether other alleles, in a file that has some.
_MIN_COMPLEMENT_RATIO = 2

# The rank of a record at a site: one of a higher rank replaces those of a lower.
BLOCK, COVERING, OWN = range(3)


@dataclass(eq=False, slots=True)
class SiteRecord:
    """The records so far at one site; codes (samples, 2) and phased (samples,) are held in bits, since there may be
    a million sites.

    turned: its letters are the complement of the panel's; unclear: palindromic, on a strand that is not known;
    alternate: which samples have an alternate allele, where the record begins before the site or has several bases;
    packed_haploid: whose calls have one allele, None of nobody's;
    no_calls: why calls that the file writes are none; filters: what the record failed by; uncertain: (samples, 3) what
    `source` has for 0, 1 and 2 of the panel's alternate alleles, three equal values where the letters count.
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
    packed_haploid: BitPlanes | None = None

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
        codes_N2, other_codes_N2 = np.sort(self.codes, axis=1), np.sort(other.codes, axis=1)
        known = (codes_N2 != UNKNOWN_CODE).all(axis=1) & (other_codes_N2 != UNKNOWN_CODE).all(
            axis=1
        )
        conflict: NDArray[np.bool_] = known & (codes_N2 != other_codes_N2).any(axis=1)
        return conflict

    def joined(self, other: "SiteRecord") -> "SiteRecord":
        """This record and another of the site."""
        if self.rank != other.rank:
            lower, higher = sorted((self, other), key=lambda record: record.rank)
            return higher._without(lower)
        unknown, conflict = ~self.known(), self.conflict(other)
        codes = np.where(unknown[:, None], other.codes, self.codes)
        codes[conflict] = UNKNOWN_CODE
        informative = ~unknown | is_informative(self.uncertain, len(codes))
        uncertain = merged_uncertain(informative, self.uncertain, other.uncertain, conflict)
        phased = np.where(unknown, other.phased, self.phased)
        conflicting = self.conflicting or other.conflicting or bool(conflict.any())
        unclear = self.unclear and other.unclear
        return replace(
            self,
            packed_codes=BitPlanes.of(codes),
            packed_phased=BitPlanes.of(phased),
            conflicting=conflicting,
            unclear=unclear,
            no_calls=_combined_reasons(self.no_calls, other.no_calls),
            filters=self.filters and other.filters,
            uncertain=uncertain,
            source=self.source or other.source,
            packed_haploid=self.packed_haploid or other.packed_haploid,
        )

    def _without(self, lower: "SiteRecord") -> "SiteRecord":
        """This record, which counts more, less the samples that have another allele by the other."""
        if lower.alternate is None:
            return self
        codes, conflict = self.codes, lower.alternate & self.conflict(lower)
        codes[conflict] = UNKNOWN_CODE
        all_samples = np.ones(len(codes), np.bool_)
        uncertain = merged_uncertain(all_samples, self.uncertain, None, conflict)
        return replace(self, packed_codes=BitPlanes.of(codes), uncertain=uncertain)

    def on_other_strand(self) -> "SiteRecord":
        """The record with the complements of its letters."""
        codes = BitPlanes.of(complement_codes(self.codes))
        uncertain = None if self.uncertain is None else self.uncertain[:, ::-1]
        return replace(
            self, packed_codes=codes, uncertain=uncertain, swapped=not self.swapped, turned=True
        )


@dataclass
class _StrandCounts:
    """Records of two bases by strand, at sites where it shows.

    `swapped` of the `ordered` records, those of one base included, have REF and ALT exchanged.
    """

    panel: int = 0
    other: int = 0
    neither: int = 0
    ordered: int = 0
    swapped: int = 0

    @property
    def determined(self) -> int:
        return self.panel + self.other

    @property
    def has_other(self) -> bool:
        """Whether complemented alleles are a matter of the strand, and not of other variants."""
        return self.other > _MIN_COMPLEMENT_RATIO * self.neither

    @property
    def order_shows_strand(self) -> bool:
        return (
            self.determined >= _MIN_DETERMINED and self.swapped <= _NEGLIGIBLE_SHARE * self.ordered
        )


@dataclass(eq=False)
class FileRecords:
    """The records of one file at a panel's sites.

    records: those with the panel's alleles; other_allele_sites: with other alleles only; carriers: the samples that
    carry such an allele in a row of its own; removed: those that carry a deletion, or another base, in a record that
    begins before the site. `coded` are sites whose alleles are codes in place of bases. `ordered` is False for a file
    whose REF means nothing.
    """

    panel: Panel
    path: str
    ordered: bool = True
    records: dict[SiteKey, SiteRecord] = field(default_factory=dict)
    other_allele_sites: set[SiteKey] = field(default_factory=set)
    carriers: dict[SiteKey, NDArray[np.bool_]] = field(default_factory=dict)
    removed: dict[SiteKey, NDArray[np.bool_]] = field(default_factory=dict)
    coded: set[SiteKey] = field(default_factory=set)
    with_genotypes: int = 0
    _strand_counts: dict[str, _StrandCounts] = field(
        default_factory=lambda: {b: _StrandCounts() for b in BUILDS}
    )
    _complemented: list[tuple[SiteKey, SiteRecord, PackedVariant]] = field(default_factory=list)

    @classmethod
    def read(cls, panel: Panel, file: VariantFile, sites: SiteIndex) -> "FileRecords":
        """The records of a file, read to its end."""
        file_records = cls(panel, file.path, file.ordered)
        for variant in file.records:
            for key in sites[variant.contig][variant.position]:
                file_records._add_variant(key, variant)
        file_records._resolve_strands()
        return file_records

    def matches(self) -> dict[str, int]:
        """How many sites have a record of the panel's alleles by build, reference blocks aside, which tell no build."""
        matched = Counter(key[0] for key, record in self.records.items() if record.rank != BLOCK)
        return {build: matched[build] for build in BUILDS}

    def _add_variant(self, key: SiteKey, variant: Variant) -> None:
        site_alleles = (self.panel.ref[key[1]], self.panel.alt[key[1]])
        rank = BLOCK if not variant.ref else COVERING if _covers(variant) else OWN
        letters = (
            [site_alleles[0], *(_NO_VARIANT for _ in variant.alts)]
            if rank == BLOCK
            else _letters(variant)
        )
        if _has_alleles(letters, site_alleles):
            self._add_record(key, self._record(letters, site_alleles, variant, rank))
        elif not _palindromic(site_alleles) and _has_alleles(
            complemented := complements(letters), site_alleles
        ):
            record = replace(self._record(complemented, site_alleles, variant, rank), turned=True)
            self._complemented.append((key, record, PackedVariant.of(variant)))
        else:
            self._add_other_alleles(key, variant, letters, rank)
        if rank == OWN and not _palindromic(site_alleles):
            self._count_strand(self._strand_counts[key[0]], letters, site_alleles)

    def _record(
        self, letters: Sequence[str], site_alleles: tuple[str, str], variant: Variant, rank: int
    ) -> SiteRecord:
        self.with_genotypes += variant.has_genotypes
        codes = [CODES[letter] if letter in site_alleles else UNKNOWN_CODE for letter in letters]
        table = np.array([*codes, _SAME_AS_FIRST, UNKNOWN_CODE], np.uint8)
        codes_N2 = table.take(variant.genotypes, mode="wrap")
        haploid = codes_N2[:, 1] == _SAME_AS_FIRST
        if haploid.any():
            codes_N2[haploid, 1] = codes_N2[haploid, 0]
        record = SiteRecord.of(codes_N2, variant.phased, rank, self.path)
        haploid &= codes_N2[:, 0] != UNKNOWN_CODE
        record.packed_haploid = BitPlanes.of(haploid) if haploid.any() else None
        record.swapped = self.ordered and letters[0] == site_alleles[1]
        record.no_calls, record.filters = variant.no_calls, variant.filters
        if variant.evidence is not None:
            record.uncertain = uncertain_at_site(variant.evidence, letters, site_alleles)
            record.source = variant.evidence.key
        if rank == COVERING:
            record.alternate = np.asarray((variant.genotypes > 0).any(axis=1))
        return record

    def _add_record(self, key: SiteKey, record: SiteRecord) -> None:
        before = self.records.get(key)
        self.records[key] = record if before is None else before.joined(record)

    def _count_strand(
        self, counts: _StrandCounts, letters: list[str], site_alleles: tuple[str, str]
    ) -> None:
        complemented = complements(letters)
        if len(letters) == 2 and letters[1] in CODES:
            counts.panel += set(letters) == set(site_alleles)
            counts.other += set(complemented) == set(site_alleles)
            counts.neither += set(letters) != set(site_alleles) != set(complemented)
        if set(site_alleles) in (set(letters), set(complemented)) or all(
            one == _NO_VARIANT for one in letters[1:]
        ):
            counts.ordered += 1
            counts.swapped += not self.ordered or site_alleles[1] in (letters[0], complemented[0])

    def _add_other_alleles(
        self, key: SiteKey, variant: Variant, letters: list[str], rank: int
    ) -> None:
        """Store which samples carry another allele than the panel's in a row of its own."""
        if rank == COVERING:
            other = [letter not in (letters[0], _NO_VARIANT) for letter in letters]
            _add_carriers(self.removed, key, np.array([*other, False, False])[variant.genotypes])
            return
        _add_carriers(self.carriers, key, variant.genotypes > 0)
        is_coded = has_coded_alleles(variant.ref, variant.alts)
        if is_coded:
            self.coded.add(key)
        # An indel next to the site does not say whether the site itself was called.
        if len(letters) == 1 or any(letters[1:]) or is_coded:
            self.other_allele_sites.add(key)

    def _resolve_strands(self) -> None:
        """Put every record on the panel's strand, where it is known."""
        for key, record, packed_variant in self._complemented:
            if self._strand_counts[key[0]].has_other:
                self._add_record(key, record)
            else:
                variant = packed_variant.variant()
                self._add_other_alleles(key, variant, _letters(variant), record.rank)
        self._complemented.clear()
        for build, counts in self._strand_counts.items():
            palindromes = {
                key: self.records[key] for key in self.records if self._is_palindrome(build, key)
            }
            resolve = _palindrome_rule(counts, [record.swapped for record in palindromes.values()])
            self.records |= {key: resolve(record) for key, record in palindromes.items()}

    def _is_palindrome(self, build: str, key: SiteKey) -> bool:
        """Whether the record at a site is of that build and does not show its strand."""
        site_alleles = (self.panel.ref[key[1]], self.panel.alt[key[1]])
        return key[0] == build and self.records[key].rank != BLOCK and _palindromic(site_alleles)


def _combined_reasons(reasons: Reasons | None, others: Reasons | None) -> Reasons | None:
    return others if reasons is None else reasons if others is None else np.maximum(reasons, others)


def _palindrome_rule(
    counts: _StrandCounts, swapped: Sequence[bool]
) -> Callable[[SiteRecord], SiteRecord]:
    """A function that puts records of palindromic sites on the panel's strand; some of the records are `swapped`.

    Where REF and ALT are in order elsewhere, those are the ones on the other strand, even if no other site is.
    """
    mixed = counts.has_other and counts.other > _NEGLIGIBLE_SHARE * counts.determined
    if mixed and counts.panel <= _NEGLIGIBLE_SHARE * counts.determined:
        return SiteRecord.on_other_strand
    has_swapped = sum(swapped) >= max(_MIN_SWAPPED_PALINDROMES, _MIN_SWAPPED_SHARE * len(swapped))
    if counts.order_shows_strand and (mixed or has_swapped):
        return lambda record: record.on_other_strand() if record.swapped else record
    return _with_unclear_strand if mixed else lambda record: record


def _with_unclear_strand(record: SiteRecord) -> SiteRecord:
    codes = BitPlanes.of(np.full_like(record.codes, UNKNOWN_CODE))
    return replace(record, packed_codes=codes, uncertain=None, unclear=True)


def _add_carriers(
    carriers: dict[SiteKey, NDArray[np.bool_]], key: SiteKey, alleles_N2: NDArray[np.bool_]
) -> None:
    carriers[key] = np.asarray(alleles_N2.any(axis=1) | carriers.get(key, False))


def _palindromic(site_alleles: tuple[str, str]) -> bool:
    return complement(site_alleles[0]) == site_alleles[1]


def complements(letters: Sequence[str]) -> tuple[str, ...]:
    """The letters on the other strand; what is no base stays as it is."""
    return tuple(map(complement, letters))


def _has_alleles(letters: Sequence[str], site_alleles: tuple[str, str]) -> bool:
    """Whether a record of these letters is for a site of these alleles."""
    monomorphic = all(letter in (_NO_VARIANT, letters[0]) for letter in letters[1:])
    return letters[0] in site_alleles and (monomorphic or set(site_alleles) <= set(letters))


def _covers(variant: Variant) -> bool:
    """Whether the record covers more than the site: it begins before, or substitutes several bases."""
    ref = variant.ref
    same_length = [alt for alt in variant.alts if len(alt) == len(ref) and not alt.startswith("<")]
    is_multi_base = (
        len(ref) > 1 and bool(same_length) and all(alt[1:] != ref[1:] for alt in same_length)
    )
    return variant.offset > 0 or is_multi_base


def _letters(variant: Variant) -> list[str]:
    """The base that each allele puts at the record's position, "" for one that is no substitution.

    A SNP may stand beside an indel in one record, as CA to C,TA: its letter is still C to T.
    """
    ref, offset = variant.ref, variant.offset
    return [ref[offset : offset + 1], *(_letter(ref, alt, offset) for alt in variant.alts)]


def _letter(ref: str, alt: str, offset: int) -> str:
    if alt in NO_VARIANT or alt == _DELETED:
        return _NO_VARIANT if alt in NO_VARIANT else _DELETED
    if alt.startswith("<"):
        removed = alt.startswith(("<DEL", "<CN0"))
        return "" if not offset else _DELETED if removed else ref[offset : offset + 1]
    if len(alt) == len(ref):
        return alt[offset] if alt[offset] in CODES else ""
    if not offset:
        return ""
    return ref[offset] if offset in _unchanged(ref, alt) else _DELETED


def _unchanged(ref: str, alt: str) -> Iterator[int]:
    """Where in `ref` an indel leaves the bases as they are: before what it shares no more, and behind."""
    is_same = [one == other for one, other in zip(ref, alt, strict=False)]
    prefix = is_same.index(False) if False in is_same else len(is_same)
    yield from range(prefix)
    suffix = 0
    while suffix < min(len(ref), len(alt)) - prefix and ref[-1 - suffix] == alt[-1 - suffix]:
        suffix += 1
    yield from range(len(ref) - suffix, len(ref))
