"""The calls of groups of samples at the sites of a panel, from VCF and BCF files in either genome build.

Files with the same samples are parts of one cohort. The build is the one whose sites match; the header decides a tie.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES, UNKNOWN_CODE
from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.regions import NO_VARIANT
from genomai_cli.formats.streams import Input
from genomai_cli.formats.vcf import Variant, VariantFile, read_variants
from genomai_cli.population.panel import BUILDS, GRCH37, GRCH38, Panel

_CONTIGS = [*(str(number) for number in range(1, 23)), "X"]
# Lengths of the autosomes and X, enough to tell the two builds apart.
_LENGTHS_IN_ORDER = {
    GRCH37: "249250621 243199373 198022430 191154276 180915260 171115067 159138663 146364022 "
    "141213431 135534747 135006516 133851895 115169878 107349540 102531392 90354753 "
    "81195210 78077248 59128983 63025520 48129895 51304566 155270560",
    GRCH38: "248956422 242193529 198295559 190214555 181538259 170805979 159345973 145138636 "
    "138394717 133797422 135086622 133275309 114364328 107043718 101991189 90338345 "
    "83257441 80373285 58617616 64444167 46709983 50818468 156040895",
}
_LENGTHS = {
    build: frozenset(zip(_CONTIGS, map(int, lengths.split()), strict=True))
    for build, lengths in _LENGTHS_IN_ORDER.items()
}
_NAMES = {
    GRCH37: re.compile(r"grch37|hg19|b37|hs37|g1k_v37", re.IGNORECASE),
    GRCH38: re.compile(r"grch38|hg38|b38|hs38", re.IGNORECASE),
}


def contig_lengths(build: str) -> dict[str, int]:
    """The lengths of the autosomes and X, in their order."""
    lengths = map(int, _LENGTHS_IN_ORDER[build].split())
    return dict(zip(_CONTIGS, lengths, strict=True))


def header_build(lines: Iterable[str]) -> str | None:
    """The build that a VCF's header names, None if it names none or both."""
    votes = {build: 0 for build in BUILDS}
    for line in lines:
        for build in BUILDS:
            votes[build] += _speaks_for(line, build)
    chosen = [build for build in BUILDS if votes[build]]
    return chosen[0] if len(chosen) == 1 else None


def _speaks_for(line: str, build: str) -> bool:
    if line.startswith("##contig="):
        return _contig_length(line) in _LENGTHS[build] or _named(r"assembly=([^,>]+)", line, build)
    return line.startswith(("##reference=", "##assembly=")) and _named("=(.*)", line, build)


def _contig_length(line: str) -> tuple[str, int] | None:
    name, length = re.search(r"[<,]ID=([^,>]+)", line), re.search(r"[<,]length=(\d+)", line)
    return (normal_contig(name[1]), int(length[1])) if name and length else None


def _named(pattern: str, line: str, build: str) -> bool:
    found = re.search(pattern, line)
    return found is not None and _NAMES[build].search(found[1]) is not None


def choose_build(matched: Mapping[str, int], header: str | None) -> str | None:
    """The build with more matching sites; the header decides a tie, None is neither."""
    best = max(matched.values(), default=0)
    winners = [build for build in matched if matched[build] == best]
    if len(winners) == 1:
        return winners[0]
    if header in winners:
        return header
    return winners[0] if best else None


_SAME_AS_FIRST = UNKNOWN_CODE + 1  # beside the codes of letters
_CODES = {base: code for code, base in enumerate(BASES)}
_DISAGREEMENT = 0.1  # share of common sites above which equal names cannot be the same individuals
SiteKey = tuple[str, int]  # a build, and the index of a site in the panel


@dataclass(frozen=True, eq=False)
class SiteCalls:
    """Allele codes (sites, samples, 2), 0 to 3 for A C G T, 4 missing; phased (sites, samples).

    `recorded` (sites,) is where there is a record of the site, or a reference block; `foreign` (sites, samples) who
    carries another allele than the panel's there.
    """

    codes: NDArray[np.uint8]
    phased: NDArray[np.bool_]
    recorded: NDArray[np.bool_]
    foreign: NDArray[np.bool_]

    def alleles(self, panel: Panel) -> NDArray[np.int8]:
        """The alleles (samples, 2, sites) of the panel: 0 for its ref, 1 for its alt, -1 where missing."""
        ref, alt = (np.array([_CODES[base] for base in bases]) for bases in (panel.ref, panel.alt))
        alleles = np.full(self.codes.shape, -1, np.int8)
        alleles[self.codes == ref[:, None, None]] = 0
        alleles[self.codes == alt[:, None, None]] = 1
        return np.ascontiguousarray(alleles.transpose(1, 2, 0))


@dataclass(frozen=True)
class MatchReport:
    """How a cohort's files match the panel; counts are of sites, and matched, other_alleles and absent add up.

    matched: a record with the panel's alleles, `swapped` of them with REF and ALT exchanged,
    `conflicting` of them with records that disagree for a sample, `in_blocks` of them within a gVCF's
    reference block (read as the panel's ref); other_alleles: only records with other alleles;
    absent: no record, or no position in this build.
    """

    path: str
    samples: int
    build: str
    header_build: str | None
    sites: int
    matched: int
    swapped: int
    conflicting: int
    other_alleles: int
    absent: int
    in_blocks: int = 0
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.build}, {self.matched} of {self.sites} panel sites"]
        counts = ("swapped", "conflicting", "other_alleles", "in_blocks", "absent")
        parts += [f"{getattr(self, name)} {name.replace('_', ' ')}" for name in counts]
        shown = "<stdin>" if self.path == "-" else self.path
        return f"{shown}: " + ", ".join(part for part in parts if not part.startswith("0 "))


@dataclass(eq=False)
class _Call:
    """The records so far at one site: codes (samples, 2)."""

    codes: NDArray[np.uint8]
    phased: NDArray[np.bool_]
    swapped: bool
    path: str
    in_block: bool = False
    conflicting: bool = False


class Cohort:
    """The calls of one group of samples, gathered from one or more files in either build."""

    def __init__(self, panel: Panel, file: VariantFile) -> None:
        self.samples = list(file.samples)
        self.path = file.path
        self._panel = panel
        self._calls: dict[SiteKey, _Call] = {}
        self._carriers: dict[SiteKey, NDArray[np.bool_]] = {}
        self._others: set[SiteKey] = set()
        self._header: list[str] = []
        self._with_genotypes = 0

    def add(self, file: VariantFile, sites: "SiteIndex") -> None:
        """Take in the records of one more file of these samples."""
        self._header += file.header
        shared = [0, 0]
        for variant in file.records:
            for key in sites[variant.contig][variant.position]:
                self._take(key, variant, file.path, shared)
        common, different = shared
        if different > _DISAGREEMENT * common:
            message = (
                f"the same samples as {self.path}, but other genotypes at {different} of {common} "
                "sites in both: other individuals under the same names? rename one of them"
            )
            raise InputError(message, path=file.path)

    def _take(self, key: SiteKey, variant: Variant, path: str, shared: list[int]) -> None:
        letters = _letters(variant)
        in_block = not variant.ref
        if in_block:
            letters[0] = self._panel.ref[key[1]]
        table, matches = _translation(letters, self._panel, key[1])
        if not matches:
            self._note_other(key, variant, letters)
            return
        self._with_genotypes += variant.has_genotypes
        codes = table[variant.genotypes]
        codes[:, 1] = np.where(codes[:, 1] == _SAME_AS_FIRST, codes[:, 0], codes[:, 1])
        swapped = letters[0] == self._panel.alt[key[1]]
        new = _Call(codes, variant.phased, swapped, path, in_block)
        old = self._calls.get(key)
        if old is not None and in_block != old.in_block:  # a record of the site itself counts more
            self._calls[key] = old if in_block else new
            return
        self._calls[key] = new if old is None else _merged(old, new)
        if old is not None and old.path != path:
            shared[0] += 1
            shared[1] += _disagreeing(old, new)

    def _note_other(self, key: SiteKey, variant: Variant, letters: list[str]) -> None:
        """Remember which samples carry another allele than the panel's in a row of its own."""
        carriers = np.asarray((variant.genotypes > 0).any(axis=1))
        before = self._carriers.get(key)
        self._carriers[key] = carriers if before is None else before | carriers
        # An indel next to the site does not say whether the site itself was called.
        if len(letters) == 1 or any(letters[1:]):
            self._others.add(key)

    def calls(self, *, absent_is_ref: bool) -> tuple[SiteCalls, MatchReport]:
        """The calls in the build that the sites match, and the report on how."""
        header = header_build(self._header)
        build = self._build(header, absent_is_ref)
        shape = (len(self._panel), len(self.samples))
        codes, phased = np.full((*shape, 2), UNKNOWN_CODE, np.uint8), np.ones(shape, np.bool_)
        for site in range(len(self._panel)):
            self._fill((build, site), codes[site], phased[site], absent_is_ref)
        recorded = [self._is_recorded((build, site)) for site in range(len(self._panel))]
        foreign = np.zeros(shape, np.bool_)
        for (of_build, site), carriers in self._carriers.items():
            if of_build == build:
                foreign[site] = carriers
        return SiteCalls(codes, phased, np.array(recorded), foreign), self._report(build, header)

    def _is_recorded(self, key: SiteKey) -> bool:
        return key in self._calls or key in self._others

    def _fill(
        self,
        key: SiteKey,
        codes: NDArray[np.uint8],
        phased: NDArray[np.bool_],
        absent_is_ref: bool,
    ) -> None:
        call, carriers = self._calls.get(key), self._carriers.get(key)
        if call is not None:
            codes[:], phased[:] = call.codes, call.phased
        elif absent_is_ref and self._may_be_ref(key):
            codes[:] = _CODES[self._panel.ref[key[1]]]
        if carriers is not None:
            codes[carriers] = UNKNOWN_CODE

    def _may_be_ref(self, key: SiteKey) -> bool:
        """Whether a site without a call has a position in the build, and no other allele there."""
        return key not in self._others and bool(self._panel.positions[key[0]][key[1]])

    def _matched(self, build: str) -> int:
        # Blocks cover the positions of either build, so they cannot tell which one it is.
        calls = self._calls.items()
        return sum(key[0] == build and not call.in_block for key, call in calls)

    def _build(self, header: str | None, absent_is_ref: bool) -> str:
        matched = {build: self._matched(build) for build in BUILDS}
        # A short list of variants may hold none of the sites: then only the header can tell.
        if not any(matched.values()) and (absent_is_ref or self._calls) and header:
            return header
        build = choose_build(matched, header) if any(matched.values()) else None
        if build is None:
            total = len(self._panel)
            message = (
                f"matches {matched[BUILDS[0]]} of {total} panel sites in {BUILDS[0]} "
                f"and {matched[BUILDS[1]]} in {BUILDS[1]}: nothing to use"
            )
            raise InputError(message, path=self.path)
        if not self._with_genotypes:
            message = "no genotypes: the records at panel sites have no GT field"
            raise InputError(message, path=self.path)
        return build

    def _report(self, build: str, header: str | None) -> MatchReport:
        calls = [call for key, call in self._calls.items() if key[0] == build]
        others = sum(p[0] == build and p not in self._calls for p in self._others)
        total, matched = len(self._panel), len(calls)
        return MatchReport(
            path=self.path,
            samples=len(self.samples),
            build=build,
            header_build=header,
            sites=total,
            matched=matched,
            swapped=sum(call.swapped for call in calls),
            conflicting=sum(call.conflicting for call in calls),
            other_alleles=others,
            absent=total - matched - others,
            in_blocks=sum(call.in_block for call in calls),
            warnings=tuple(_warnings(build, header, matched, others)),
        )


SiteIndex = dict[str, dict[int, list[SiteKey]]]


def read_cohorts(inputs: Iterable[Input], panel: Panel) -> list[Cohort]:
    """The cohorts in the order of their first files; each input is read to its end and closed."""
    sites = site_index(panel)
    cohorts: dict[tuple[str, ...], Cohort] = {}
    for source in inputs:
        with source:
            file = read_variants(source, sites)
            cohort = cohorts.setdefault(file.samples, Cohort(panel, file))
            cohort.add(file, sites)
    return list(cohorts.values())


def site_index(panel: Panel) -> SiteIndex:
    """The panel's sites of both builds by contig and position."""
    index: SiteIndex = {}
    for build in BUILDS:
        for (contig, position), site in panel.index(build).items():
            index.setdefault(contig, {}).setdefault(position, []).append((build, site))
    return index


def _letters(variant: Variant) -> list[str]:
    """The base that each allele puts at the record's position, "" for one that is no substitution.

    A SNP may stand beside an indel in one record, as CA to C,TA: its letter is still C to T.
    """
    rest = variant.ref[1:]
    letters = [variant.ref[:1]]
    for alt in variant.alts:
        same_length = len(alt) == len(variant.ref) and alt[1:] == rest
        letters.append(alt[0] if same_length and alt[0] in _CODES else _other(alt))
    return letters


def _other(alt: str) -> str:
    # A spanning deletion removes the base; an indel beside the site leaves it as it is.
    return "*" if alt == "*" else "-" if alt in NO_VARIANT else ""


def _translation(letters: list[str], panel: Panel, site: int) -> tuple[NDArray[np.uint8], bool]:
    """Codes by allele number (then absent, missing), and whether the record is for this site."""
    own = (panel.ref[site], panel.alt[site])
    codes = [_CODES[letter] if letter in own else UNKNOWN_CODE for letter in letters]
    table = np.array([*codes, _SAME_AS_FIRST, UNKNOWN_CODE], np.uint8)
    monomorphic = all(letter == "-" for letter in letters[1:])
    matches = letters[0] in own and (monomorphic or set(own) <= set(letters))
    return table, matches


def _merged(old: _Call, new: _Call) -> _Call:
    unknown = (old.codes == UNKNOWN_CODE).any(axis=1)
    conflict = _conflict(old, new)
    codes = np.where(unknown[:, None], new.codes, old.codes)
    codes[conflict] = UNKNOWN_CODE
    phased = np.where(unknown, new.phased, old.phased)
    conflicting = old.conflicting or new.conflicting or bool(conflict.any())
    return _Call(codes, phased, old.swapped, old.path, old.in_block, conflicting)


def _conflict(old: _Call, new: _Call) -> NDArray[np.bool_]:
    """The samples that both records call, and call differently (phase aside)."""
    called = (old.codes != UNKNOWN_CODE).all(axis=1) & (new.codes != UNKNOWN_CODE).all(axis=1)
    different = (np.sort(old.codes, axis=1) != np.sort(new.codes, axis=1)).any(axis=1)
    conflict: NDArray[np.bool_] = called & different
    return conflict


def _disagreeing(old: _Call, new: _Call) -> bool:
    return bool(_conflict(old, new).any())


def _warnings(build: str, header: str | None, matched: int, others: int) -> Iterator[str]:
    if header is not None and header != build:
        yield f"the header says {header}, but the sites match {build}"
    if others > matched:
        yield f"at {others} of {others + matched} sites the alleles are not the panel's"
