"""Whether a panel's sites without a record may be taken for homozygous reference.

They may if the file lists the variants of whole genomes. Then the sites without a record are about as many as those
with one alternate allele and with two suggest, on every chromosome, and without long gaps.

Shape suffix: S sites.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.population.panel import Panel

Flags = NDArray[np.bool_]

# Sites without a record, for each that Chao's estimate expects: in lists of the variants of 1 to 50 of the 2,003
# training individuals at most 25; 60 and more where a tenth of the sites, or an exome, was looked at.
_MAX_ABSENT_RATIO = 30.0
_CHANCE_SITES = 5  # sites, which a small panel may lack by chance
# Share of the sites with a record, at least; and of published panels, with their size, where one training individual's
# variants are at 0.55 of the 805 and 0.20 of the 23,530 sites or more.
_MIN_SHARE = 0.15
_MIN_SHARE_OF_PANEL = {"snp805": (805, 0.53), "wide": (23_530, 0.19)}
_FULL_PANEL_SHARE = 0.9  # share of a published panel, from which its bound holds
_MIN_TAG_SITES = 200  # of a published panel, from which it is judged by itself
# A gap this unlikely (nats) is no chance: at most 16 sites of 967 and 188 of 23,530 in lists of variants, or 46 nats.
_MIN_GAP_NATS = 50.0
# Share of a file's records without any variant, above which it is no list of variants.
_MAX_REFERENCE_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class SiteCoverage:
    """The records of a file at the sites (S,) that have a position in its build.

    placed: the site has a position; recorded: it has a record; copies: alternate alleles in all its calls;
    chromosome_known: the file has a record on its chromosome.
    """

    placed: Flags
    recorded: Flags
    copies: NDArray[np.int64]
    chromosome_known: Flags


def reference_records_refuse(reference: int, records: int) -> bool:
    """Whether so many records in which nobody has a variant contradict a list of variants."""
    return reference > _MAX_REFERENCE_SHARE * records


def assumed_reference_sites(
    panel: Panel, coverage: SiteCoverage, samples: int, build: str
) -> Flags:
    """Whether each site (S,) without a record may be taken for homozygous reference."""
    candidates = coverage.placed & coverage.chromosome_known
    absent = candidates & ~coverage.recorded
    tag_groups = [
        _SiteGroup.of(panel, name, sites)
        for name, sites in panel.by_tag().items()
        if sites.sum() >= _MIN_TAG_SITES
    ]
    other_sites = ~np.any([group.sites for group in tag_groups], axis=0) & np.ones(
        len(panel), np.bool_
    )

    def is_covered(group: _SiteGroup) -> bool:
        group_sites = group.sites & candidates
        records = group_sites & coverage.recorded
        has_records = records.sum() > group.min_records(int(group_sites.sum()))
        return bool(
            has_records
            and (absent & group_sites).sum() <= _max_absent(coverage.copies[records], samples)
        )

    covered = [group.sites for group in tag_groups if is_covered(group)]
    # Of few sites a part looks like all: they follow the others.
    if (covered or not tag_groups) and is_covered(_SiteGroup(other_sites, _MIN_SHARE)):
        covered.append(other_sites)
    covered_sites: Flags = np.any(covered, axis=0) & candidates
    assumed: Flags = absent & covered_sites
    return assumed & ~_in_gaps(panel, assumed, covered_sites, build)


@dataclass(frozen=True, eq=False)
class _SiteGroup:
    """Sites (S,) chosen alike, so that a file covers them alike: a published panel's, or all others; and the share of
    them that must have a record."""

    sites: Flags
    min_share: float

    @classmethod
    def of(cls, panel: Panel, name: str, sites: Flags) -> "_SiteGroup":
        """The sites of a published panel."""
        size, min_share = _MIN_SHARE_OF_PANEL.get(name, (len(panel), _MIN_SHARE))
        return cls(sites, min_share if sites.sum() >= _FULL_PANEL_SHARE * size else _MIN_SHARE)

    def min_records(self, sites: int) -> float:
        """How many of so many of the sites must have a record, less what may be missing by chance."""
        by_chance: float = (sites * self.min_share * (1 - self.min_share)) ** 0.5
        return self.min_share * sites - 2 * by_chance - _CHANCE_SITES


def _max_absent(copies: NDArray[np.int64], samples: int) -> float:
    """How many sites may be without a record, by those with one and with two alternate alleles.

    Source: Chao 1984, Scand J Stat 11:265, a lower bound of the number of unseen classes.
    """
    ones, twos = int((copies == 1).sum()), int((copies == 2).sum())
    alleles = 2 * samples
    unseen = (alleles - 1) / alleles * (ones + 1) ** 2 / (2 * max(twos, 1))
    return _MAX_ABSENT_RATIO * unseen + _CHANCE_SITES


def _in_gaps(panel: Panel, absent: Flags, covered: Flags, build: str) -> Flags:
    """The sites in stretches without a record that are too long to be chance."""
    in_gap = np.zeros(len(panel), np.bool_)
    share = absent.sum() / max(covered.sum(), 1)
    if not 0 < share < 1:
        return in_gap
    max_run = _MIN_GAP_NATS / -np.log(share)
    chromosomes = np.array(panel.chrom)
    for chromosome in np.unique(chromosomes[covered]):
        sites = np.flatnonzero(covered & (chromosomes == chromosome))
        sites = sites[np.argsort(panel.positions[build][sites])]
        breaks = np.flatnonzero(np.diff(absent[sites].astype(np.int8))) + 1
        for run in np.split(sites, breaks):
            in_gap[run] = absent[run[0]] and len(run) > max_run
    return in_gap
