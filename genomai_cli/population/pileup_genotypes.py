"""Genotypes at a panel's sites from the reads over them.

The model is the usual one of a diploid: each base was drawn from one of the two alleles, and is wrong by its quality;
then it is any of the three others. The likeliest of the ten genotypes of A, C, G and T is called where no other
is as likely as a hundredth of it (GQ 20) and seven reads support it: so many take homozygotes to be that sure, and two
would do for heterozygotes, so that fewer would call these only. Else the call is missing, and its likelihoods are kept
as evidence. Reads that do not fit their own likeliest genotype (more other bases
than the qualities allow, or the two alleles too far from halves), as contamination gives them, are not used.

Shape suffixes: N bases, G genotypes.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES, MISSING
from genomai_cli.errors import InputError
from genomai_cli.formats.call_quality import COUNTED, MIN_DP, MIN_GQ, MISFIT, NO_READS, CallRules
from genomai_cli.formats.genotype_evidence import MIN_CERTAIN_GQ, GenotypeEvidence
from genomai_cli.formats.pileups import PileupColumn, aligned_reads, require_contigs
from genomai_cli.formats.streams import Input
from genomai_cli.formats.vcf import Variant, VariantFile
from genomai_cli.population.builds import header_assembly, header_build, human_contig
from genomai_cli.population.panel import BUILDS, Panel

_PAIRS = np.array([(one, other) for other in range(4) for one in range(other + 1)])
_MIN_DEPTH = 7
# Of so many certain calls this share must be of the panel's alleles.
_MIN_COMPARED, _MIN_ALLELE_SHARE = 20, 0.6
_MIN_FIT_PROBABILITY = 0.001  # that reads of the genotype fit no better
_UNPHASED = np.zeros(1, np.bool_)
_NUMBER_OF_PAIR = {tuple(pair): number for number, pair in enumerate(_PAIRS.tolist())}
_OTHER_ALLELE = "<*>"


@dataclass(frozen=True, eq=False)
class GenotypeCall:
    """The likeliest of the genotypes, its quality (GQ), and whether its reads, so many, fit it; `log10` (G,) of all."""

    genotype: tuple[str, str]
    quality: float
    depth: int
    fits: bool
    log10: NDArray[np.float64]

    @property
    def is_certain(self) -> bool:
        """Whether it is a call."""
        return self.quality >= MIN_CERTAIN_GQ and self.depth >= _MIN_DEPTH

    def likelihoods(self, alleles: tuple[str, str]) -> NDArray[np.float32]:
        """The likelihoods (1, 3) of 0, 1 and 2 copies of the second of two alleles, the largest 1."""
        codes = [tuple(sorted(map(BASES.index, pair))) for pair in _genotypes_of(*alleles)]
        log10 = np.array([self.log10[_NUMBER_OF_PAIR[pair]] for pair in codes])
        scaled: NDArray[np.float32] = (10 ** (log10 - log10.max()))[None].astype(np.float32)
        return scaled


def _genotypes_of(ref: str, alt: str) -> tuple[str, str, str]:
    return ref + ref, ref + alt, alt + alt


def call_genotype(pile: PileupColumn) -> GenotypeCall | None:
    """The likeliest genotype of the reads; None without reads."""
    depth = len(pile.codes)
    if not depth:
        return None
    probability_N4 = np.repeat(pile.errors[:, None] / 3, 4, axis=1)
    probability_N4[np.arange(depth), pile.codes] = 1 - pile.errors
    log10 = np.log10(probability_N4[:, _PAIRS].mean(axis=2)).sum(axis=0)
    best, second = np.argsort(-log10, kind="stable")[:2]
    one, other = _PAIRS[best].tolist()
    quality = 10 * float(log10[best] - log10[second])
    return GenotypeCall((BASES[one], BASES[other]), quality, depth, _fits(pile, one, other), log10)


def _fits(pile: PileupColumn, one: int, other: int) -> bool:
    """Whether the bases are as many of each kind as the genotype lets expect."""
    counts = np.bincount(pile.codes, minlength=4)
    wrong = int(counts.sum() - counts[one] - (counts[other] if other != one else 0))
    if _poisson_tail(wrong, float(pile.errors.sum())) < _MIN_FIT_PROBABILITY:
        return False
    return (
        one == other
        or _binomial_two_sided(int(counts[one]), int(counts[other])) >= _MIN_FIT_PROBABILITY
    )


def _poisson_tail(count: int, expected: float) -> float:
    """The probability of so many rare events or more (Poisson)."""
    below: float = sum(expected**k / math.factorial(k) for k in range(min(count, 60)))
    return 1 - math.exp(-expected) * below


def _binomial_two_sided(one: int, other: int) -> float:
    """The probability that halves are as uneven or more (binomial, both sides)."""
    total = one + other
    tail: int = sum(math.comb(total, k) for k in range(min(one, other) + 1))
    return min(1.0, float(2 * tail / 2**total))


def read_pileups(
    source: Input, panel: Panel, rules: CallRules, *, likelihoods: bool
) -> VariantFile:
    """The calls of a sample at the sites of a panel, as records; InputError for coordinates of another assembly."""
    with aligned_reads(source) as reads:
        sample, lengths = reads.sample, reads.contigs
    header = tuple(f"##contig=<ID={name},length={length}>" for name, length in lengths.items())
    sites = _sites(panel, _build(source.path, header), lengths)
    sites_per_contig = Counter(contig for contig, _, _ in sites)
    require_contigs(source, {name: lengths[name] for name in sites_per_contig})
    contigs: dict[str, int | None] = {name: sites_per_contig[name] for name in lengths}
    records = _records(source, panel, sites, rules, likelihoods=likelihoods)
    return VariantFile(source.path, (sample,), header, records, contigs)


def _build(path: str, header: tuple[str, ...]) -> str:
    """The build by the lengths of the contigs."""
    build = header_build(header)
    if build is None:
        other = header_assembly(header) or "lengths of neither"
        message = (
            f"its contigs are not those of {' or '.join(BUILDS)} ({other}): reads are not matched by their alleles, "
            "so the build must be told by the contigs: align them to one of the two"
        )
        raise InputError(message, path=path)
    return build


def _sites(panel: Panel, build: str, contigs: Iterable[str]) -> list[tuple[str, int, int]]:
    """Contig, position and number of the panel's sites on these contigs, in their order."""
    name_of = {human_contig(name): name for name in reversed(list(contigs))}
    coordinates = zip(panel.chrom, panel.positions[build].tolist(), strict=True)
    sites = [
        (name_of[chrom], position, site)
        for site, (chrom, position) in enumerate(coordinates)
        if position > 0 and chrom in name_of
    ]
    return sorted(sites)


def _records(
    source: Input,
    panel: Panel,
    sites: Iterable[tuple[str, int, int]],
    rules: CallRules,
    *,
    likelihoods: bool,
) -> Iterator[Variant]:
    """A record for each site, also for those without reads; InputError at the end if the bases are not the panel's."""
    calls, others = 0, 0
    with aligned_reads(source) as reads:
        for contig, position, site in sites:
            site_alleles = panel.ref[site], panel.alt[site]
            call = call_genotype(reads.pileup(contig, position))
            record = _record(panel.chrom[site], position, site_alleles, call, rules)
            calls += bool((record.genotypes >= 0).all())
            others += _OTHER_ALLELE in record.alts
            yield record if likelihoods else replace(record, evidence=None)
    if calls >= _MIN_COMPARED and others > (1 - _MIN_ALLELE_SHARE) * calls:
        message = f"at {others} of {calls} sites the bases are not the panel's alleles: neither {' nor '.join(BUILDS)}?"
        raise InputError(message, path=source.path)


def _record(
    chrom: str,
    position: int,
    site_alleles: tuple[str, str],
    call: GenotypeCall | None,
    rules: CallRules,
) -> Variant:
    """The call at a site; one with another base than the site's is a record of other alleles."""
    reason = _reason(call, rules)
    certain = call is not None and not reason and call.is_certain
    if call is not None and certain and not set(call.genotype) <= set(site_alleles):
        ref, alts = call.genotype[0], (call.genotype[1], _OTHER_ALLELE)
        return Variant(chrom, position, ref, alts, np.array([[0, 1]], np.int16), _UNPHASED)
    calls = (
        [site_alleles.index(base) for base in call.genotype] if call and certain else [MISSING] * 2
    )
    record = Variant(
        chrom, position, site_alleles[0], site_alleles[1:], np.array([calls], np.int16), _UNPHASED
    )
    if reason:
        return replace(record, no_calls=np.array([reason], np.uint8))
    if call is None or certain:
        return record
    return replace(record, evidence=GenotypeEvidence("GL", call.likelihoods(site_alleles)))


def _reason(call: GenotypeCall | None, rules: CallRules) -> int:
    """Why the call is none; 0 where it is one, or may be."""
    if call is None:
        return NO_READS
    if not call.fits:
        return MISFIT
    if call.depth < (rules.min_dp or 0):
        return MIN_DP
    return MIN_GQ if call.quality < (rules.min_gq or 0) else COUNTED
