"""Barcodes: the genotypes of a sample at a panel's sites as one IUPAC letter a site, and their two haplotypes.

Of a VCF, a letter stands for the two alleles if both are alleles of the panel, N otherwise; so a swapped REF and ALT
needs no special case. Half-missing calls and other ploidies than one and two are N, a haploid call is the homozygote's
letter. Of several records for one site the one with the panel's alleles counts; a sample with an alternate allele in a
sibling row (as `bcftools norm -m-` splits them) is N, and so is a sample for which two matching records disagree. A
site within a gVCF's reference block is a homozygote of the panel's ref where the block's call is 0/0.

Shapes: S sites; `letters` are (S,).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import (
    BASES,
    CODE_LETTERS,
    HETEROZYGOUS,
    UNKNOWN,
    UNKNOWN_LETTER,
    Letters,
    as_letters,
    letter_set,
)
from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.call_quality import DEFAULT_RULES, CallRules
from genomai_cli.formats.streams import Input
from genomai_cli.population.cohorts import read_cohorts
from genomai_cli.population.match_report import MatchReport, with_splits
from genomai_cli.population.panel import Panel
from genomai_cli.population.site_calls import SiteCalls
from genomai_cli.population.uncertain_calls import UncertainCalls
from genomai_cli.records import SequenceRecord, UncertainGenotypes

MISSING_LETTERS = letter_set("NBDHV")  # three bases or more: no genotype of two alleles
MAX_FOREIGN = 4  # letters that are no genotype of their site, in any barcode
MAX_FOREIGN_SHARE = 0.25  # of the letters that are known


def _split_tables() -> tuple[Letters, Letters]:
    """The first and the second base of every letter; N for a letter that is not one or two bases."""
    first, second = np.full((2, 256), UNKNOWN_LETTER, np.uint8)
    for letter in BASES:
        first[ord(letter)] = second[ord(letter)] = ord(letter)
    for letter, (one, other) in HETEROZYGOUS.items():
        first[ord(letter)], second[ord(letter)] = ord(one), ord(other)
    return first, second


def _join_table() -> Letters:
    """The letter of two bases, by the bases' bytes; N where either is missing."""
    table = np.full((256, 256), UNKNOWN_LETTER, np.uint8)
    for base in BASES:
        table[ord(base), ord(base)] = ord(base)
    for letter, (one, other) in HETEROZYGOUS.items():
        table[ord(one), ord(other)] = table[ord(other), ord(one)] = ord(letter)
    return table


_FIRST, _SECOND = _split_tables()
_LETTER_OF_BASES = _join_table()


ASSUMED = "assumed="  # in a barcode's description: how many of its letters stand for calls that no file has


def assumed_letters(record: SequenceRecord) -> int:
    """How many letters of a barcode stand for calls that were assumed, by its description."""
    words = (word for word in record.description.split() if word.startswith(ASSUMED))
    counts = (word.removeprefix(ASSUMED) for word in words)
    return next((int(count) for count in counts if count.isdecimal()), 0)


def resolve(letters: Letters, rng: np.random.Generator | None = None) -> Letters:
    """Two haplotypes (2, ..., sites) of barcodes (..., sites), over A C G T N.

    The true phase is not known: with `rng` each heterozygous site falls either way at random; without
    it the heterozygous sites of a barcode take turns, which gives each haplotype half of each kind.
    """
    first, second = _FIRST[letters], _SECOND[letters]
    heterozygous = first != second
    if rng is None:
        swap = heterozygous & (np.cumsum(heterozygous, axis=-1) % 2 == 0)
    else:
        swap = heterozygous & (rng.random(letters.shape, dtype=np.float32) < 0.5)
    return np.stack([np.where(swap, second, first), np.where(swap, first, second)])


def join(first: Letters, second: Letters) -> Letters:
    """The barcode of two haplotypes: R for A and G, and so on; N where either is missing."""
    return _LETTER_OF_BASES[first, second]


# Rows and columns are A C G T N: the letter of two alleles.
_SITES_PER_BLOCK = 64
_LETTER_OF_CODES = np.frombuffer(b"AMRWNMCSYNRSGKNWYKTNNNNNN", np.uint8).reshape(5, 5)


@dataclass(frozen=True, eq=False)
class PanelSamples:
    """Samples at a panel's sites: letters as ASCII codes, a row a sample, and one report for each cohort of samples."""

    names: list[str]
    letters: NDArray[np.uint8]
    paths: list[str]
    reports: tuple[MatchReport, ...]
    assumed: tuple[int, ...] = ()  # how many calls of each sample were not in the file, if any
    uncertain: tuple[UncertainCalls | None, ...] = ()  # of each cohort

    @property
    def report(self) -> MatchReport:
        """That of the first cohort."""
        return self.reports[0]


class Barcodes(PanelSamples):
    """Letters (samples, sites)."""

    def records(self) -> Iterator[SequenceRecord]:
        """A sequence record for each sample, whose description counts the letters that were assumed."""
        assumed = self.assumed or (0,) * len(self.names)
        rows = zip(self.names, self.letters, assumed, self.paths, self._uncertain(), strict=True)
        for name, row, count, path, uncertain in rows:
            description = f"{ASSUMED}{count}" if count else ""
            sequence = row.tobytes().decode("ascii")
            yield SequenceRecord(name, sequence, description, path, uncertain=uncertain)

    def _uncertain(self) -> Iterator[UncertainGenotypes | None]:
        """The evidence of each sample's uncertain genotypes."""
        for report, calls in zip(self.reports, self.uncertain, strict=True):
            for number in range(report.samples):
                yield None if calls is None else calls.of_sample(number)


class Haplotypes(PanelSamples):
    """Letters A C G T N (samples, 2, sites)."""

    def records(self) -> Iterator[SequenceRecord]:
        """Two sequence records for each sample, NAME_A and NAME_B."""
        for name, pair, path in zip(self.names, self.letters, self.paths, strict=True):
            for suffix, row in zip("AB", pair, strict=True):
                yield SequenceRecord(f"{name}_{suffix}", row.tobytes().decode("ascii"), "", path)


def read_barcodes(
    inputs: Iterable[Input],
    panel: Panel,
    *,
    absent_is_ref: bool = False,
    rules: CallRules = DEFAULT_RULES,
    likelihoods: bool = False,
) -> Barcodes:
    """The barcodes of all samples of all inputs, in input order.

    Inputs with the same samples in the same order are parts of one cohort (one file a chromosome).
    `absent_is_ref` reads a site that the file does not list as two copies of the panel's ref. In GRCh38
    the reference genome may carry the panel's alt at a few sites, which a panel cannot know. With `likelihoods` records
    have the files' evidence of genotypes that are missing or doubtful.
    """
    names, blocks, paths, reports = [], [], [], []
    assumed: list[int] = []
    uncertain: list[UncertainCalls | None] = []
    for cohort in read_cohorts(inputs, panel, rules, likelihoods=likelihoods):
        calls, report = cohort.calls(absent_is_ref=absent_is_ref)
        assumed += calls.assumed.tolist()
        uncertain.append(calls.uncertain)
        blocks.append(_barcode_letters(calls))
        names += cohort.samples
        paths += [cohort.path] * len(cohort.samples)
        reports.append(report)
    letters = _stacked(blocks)
    return Barcodes(names, letters, paths, tuple(reports), tuple(assumed), tuple(uncertain))


def read_haplotypes(
    inputs: Iterable[Input],
    panel: Panel,
    *,
    absent_is_ref: bool = False,
    refuse_unphased: bool = False,
    rules: CallRules = DEFAULT_RULES,
) -> Haplotypes:
    """The two haplotypes of every sample; an unphased heterozygote is N in both, or refused."""
    names, blocks, paths, reports = [], [], [], []
    for cohort in read_cohorts(inputs, panel, rules, phased=True):
        calls, report = cohort.calls(absent_is_ref=absent_is_ref)
        if refuse_unphased:
            _refuse_unphased(calls, cohort.samples, cohort.path, panel)
        blocks.append(_haplotype_letters(calls))
        names += cohort.samples
        paths += [cohort.path] * len(cohort.samples)
        reports.append(with_splits(report, cohort.phase_splits))
    return Haplotypes(names, _stacked(blocks), paths, tuple(reports))


def _stacked(blocks: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    if not blocks:
        raise UsageError("no input is given")
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _barcode_letters(calls: SiteCalls) -> NDArray[np.uint8]:
    sites, samples, _ = calls.codes.shape
    letters = np.empty((samples, sites), np.uint8)
    for start in range(
        0, sites, _SITES_PER_BLOCK
    ):  # a block stays in the cache while it is transposed
        codes = calls.codes[start : start + _SITES_PER_BLOCK]
        pairs = codes[:, :, 0] * np.uint8(len(_LETTER_OF_CODES)) + codes[:, :, 1]
        letters[:, start : start + len(codes)] = _LETTER_OF_CODES.ravel().take(pairs).T
    return letters


def _haplotype_letters(calls: SiteCalls) -> NDArray[np.uint8]:
    sites, samples, _ = calls.codes.shape
    letters = np.empty((samples, 2, sites), np.uint8)
    for start in range(0, sites, _SITES_PER_BLOCK):
        block = slice(start, start + _SITES_PER_BLOCK)
        block_letters = CODE_LETTERS[calls.codes[block]]  # (sites, samples, 2)
        block_letters[calls.unordered(block)] = UNKNOWN_LETTER
        letters[:, :, block] = block_letters.transpose(1, 2, 0)
    return letters


def _refuse_unphased(calls: SiteCalls, samples: list[str], path: str, panel: Panel) -> None:
    unordered = np.argwhere(calls.unordered())
    if len(unordered):
        site, sample = unordered[0]
        where = f"{panel.chrom[site]} ({panel.rsid[site]}, panel site {site + 1})"
        message = f"sample {samples[sample]} is not phased on chromosome {where}"
        raise InputError(message, path=path)


def letters_to_genotypes(letters: NDArray[np.uint8], panel: Panel) -> NDArray[np.int8]:
    """Counts of the alt allele, 0 1 2, and -1 for N and for letters that are not the site's.

    `letters` ends with the axis of sites; a haplotype's letters give 0 and 2.
    """
    ref, alt = panel.ref_codes, panel.alt_codes
    copies = np.full(letters.shape, -1, np.int8)
    copies[letters == ref] = 0
    copies[letters == heterozygote_codes(panel)] = 1
    copies[letters == alt] = 2
    return copies


def copies_of_letters(letters: NDArray[np.uint8], panel: Panel) -> NDArray[np.int8]:
    """The genotypes of these letters at each site (letters, sites), as `letters_to_genotypes` counts."""
    return letters_to_genotypes(np.tile(letters[:, None], (1, len(panel))), panel)


def letters_to_alleles(letters: NDArray[np.uint8], panel: Panel) -> NDArray[np.int8]:
    """The alleles of haplotypes' letters: 0 for ref, 1 for alt, -1 for any other.

    `letters` ends with the axis of sites.
    """
    alleles = np.full(letters.shape, -1, np.int8)
    alleles[letters == panel.ref_codes] = 0
    alleles[letters == panel.alt_codes] = 1
    return alleles


def require_sites(record: SequenceRecord, sites: int) -> None:
    """InputError unless the record has one letter for each of so many sites."""
    if len(record.sequence) != sites:
        message = f"{record.name} has {len(record.sequence)} letters, the panel {sites} sites"
        raise InputError(message, path=record.path, line=record.line or None)


def require_barcode(record: SequenceRecord, panel: Panel) -> None:
    """InputError unless the record has one letter a site, hardly any of which is none of the site's."""
    require_sites(record, len(panel))
    require_alleles(record, as_letters(record.held), panel)


def require_alleles(record: SequenceRecord, letters_S: Letters, panel: Panel) -> None:
    """InputError if many of the letters that are known are no genotype of their site: of DNA that is no barcode, half
    are; on the other strand or at other sites nearly as many, and would be taken for calls that are missing."""
    foreign, known = foreign_letters(letters_S, panel)
    if has_too_many_foreign(foreign, known):
        raise InputError(
            f"{record.name}: {foreign} of {known} letters are no allele of their site: it is no barcode, or one on the "
            "other strand or in another order; DNA that is no barcode needs a model of DNA (--model)",
            path=record.path,
            line=record.line or None,
        )


def foreign_letters(letters_S: Letters, panel: Panel) -> tuple[int, int]:
    """How many letters are no genotype of their site, of how many that are not missing; letters that stand for three
    bases or more are missing ones."""
    known_S = ~MISSING_LETTERS[letters_S]
    foreign_S = known_S & (letters_to_genotypes(letters_S, panel) < 0)
    return int(foreign_S.sum()), int(known_S.sum())


def has_too_many_foreign(foreign: int, known: int) -> bool:
    """Whether letters are no barcode: real ones have a foreign letter only where a site has a third allele."""
    return foreign > max(MAX_FOREIGN, known * MAX_FOREIGN_SHARE)


def genotypes_to_letters(copies: NDArray[np.int8], panel: Panel) -> NDArray[np.uint8]:
    """The letters of alt allele counts, N for -1: the inverse of `letters_to_genotypes`."""
    missing = np.full(len(panel), UNKNOWN_LETTER, np.uint8)
    table = np.stack([panel.ref_codes, heterozygote_codes(panel), panel.alt_codes, missing])
    letters: NDArray[np.uint8] = table[copies, np.arange(len(panel))]
    return letters


def heterozygote_codes(panel: Panel) -> NDArray[np.uint8]:
    """The ASCII code of each site's heterozygote letter."""
    return join(panel.ref_codes, panel.alt_codes)


@dataclass(frozen=True, eq=False)
class BarcodeSites:
    """The letters of a panel's sites: `genotypes` (S, 3) of a sample, `alleles` (S, 2) of a haplotype."""

    name: str
    genotypes: Letters
    alleles: Letters

    @classmethod
    def of(cls, panel: Panel) -> "BarcodeSites":
        """The sites of a panel, in its order."""
        alleles = np.stack([panel.ref_codes, panel.alt_codes], axis=1)
        heterozygotes = heterozygote_codes(panel)[:, None]
        return cls(panel.name, np.concatenate([alleles, heterozygotes], axis=1), alleles)

    def __len__(self) -> int:
        return len(self.alleles)

    def choices(self, letters_BS: Letters) -> Letters:
        """The possible letters at each site: alleles for haplotypes, else genotypes (S, A)."""
        return self.alleles if is_haplotype(letters_BS) else self.genotypes

    def fit(self, letters: Letters) -> bool:
        """Whether every letter is a genotype of its site, or missing."""
        if len(letters) != len(self):
            return False
        known = (self.genotypes == letters[:, None]).any(axis=1)
        return bool((known | (letters == UNKNOWN_LETTER)).all())


def sites_of(letters: Letters, panels: Iterable[BarcodeSites]) -> BarcodeSites | None:
    """The first panel that the letters fit, None for a sequence that is no barcode of any.

    A sequence of n random bases fits a panel of n sites with the probability of about 2 ** -n.
    """
    return next((sites for sites in panels if sites.fit(letters)), None)


_HAPLOTYPE_LETTERS = letter_set(BASES + UNKNOWN)


def is_haplotype(letters: Letters) -> bool:
    """Whether there is no letter of two bases: one haplotype, or a sample without heterozygous sites."""
    return bool(_HAPLOTYPE_LETTERS[letters].all())
