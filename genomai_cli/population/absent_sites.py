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
_RATIO = 30.0
_SPARE = 5  # sites, which a small panel may lack by chance
# Share of the sites with a record, at least; and of published panels, with their size, where one training individual's
# variants are at 0.55 of the 805 and 0.20 of the 23,530 sites or more.
_FEWEST = 0.15
_FEWEST_OF = {"snp805": (805, 0.53), "wide": (23_530, 0.19)}
_WHOLE = 0.9  # share of a published panel, from which its bound holds
_TAG_SITES = 200  # of a published panel, from which it is judged by itself
# A gap this unlikely (nats) is no chance: at most 16 sites of 967 and 188 of 23,530 in lists of variants, or 46 nats.
_GAP_NATS = 50.0
_LISTED = (
    0.1  # share of a file's records without any variant, above which it is no list of variants
)


@dataclass(frozen=True, eq=False)
class Listed:
    """What a file says of each site (S,) that has a position in its build.

    placed: the site has a position; recorded: it has a record; copies: alternate alleles in all its calls;
    chromosome_known: the file has a record on its chromosome.
    """

    placed: Flags
    recorded: Flags
    copies: NDArray[np.int64]
    chromosome_known: Flags


def reference_records_refuse(reference: int, records: int) -> bool:
    """Whether so many records in which nobody has a variant contradict a list of variants."""
    return reference > _LISTED * records


def believed(panel: Panel, listed: Listed, samples: int, build: str) -> Flags:
    """Whether each site (S,) without a record may be taken for homozygous reference."""
    candidates = listed.placed & listed.chromosome_known
    absent = candidates & ~listed.recorded
    large = [
        _Group.of(panel, name, sites)
        for name, sites in panel.by_tag().items()
        if sites.sum() >= _TAG_SITES
    ]
    rest = ~np.any([group.sites for group in large], axis=0) & np.ones(len(panel), np.bool_)

    def is_whole(group: _Group) -> bool:
        here = group.sites & candidates
        records = here & listed.recorded
        enough = records.sum() > group.least(int(here.sum()))
        return bool(
            enough and (absent & here).sum() <= _most_absent(listed.copies[records], samples)
        )

    whole = [group.sites for group in large if is_whole(group)]
    # Of few sites a part looks like all: they follow the others.
    if (whole or not large) and is_whole(_Group(rest, _FEWEST)):
        whole.append(rest)
    in_whole: Flags = np.any(whole, axis=0) & candidates
    found: Flags = absent & in_whole
    return found & ~_in_gaps(panel, found, in_whole, build)


@dataclass(frozen=True, eq=False)
class _Group:
    """Sites (S,) chosen alike, so that a file covers them alike: a published panel's, or all others; and the share of
    them that must have a record."""

    sites: Flags
    fewest: float

    @classmethod
    def of(cls, panel: Panel, name: str, sites: Flags) -> "_Group":
        """Those of a published panel."""
        size, fewest = _FEWEST_OF.get(name, (len(panel), _FEWEST))
        return cls(sites, fewest if sites.sum() >= _WHOLE * size else _FEWEST)

    def least(self, sites: int) -> float:
        """How many of so many of the sites must have a record, less what may be missing by chance."""
        by_chance: float = (sites * self.fewest * (1 - self.fewest)) ** 0.5
        return self.fewest * sites - 2 * by_chance - _SPARE


def _most_absent(copies: NDArray[np.int64], samples: int) -> float:
    """How many sites may be without a record, by those with one and with two alternate alleles.

    Source: Chao 1984, Scand J Stat 11:265, a lower bound of the number of unseen classes.
    """
    ones, twos = int((copies == 1).sum()), int((copies == 2).sum())
    alleles = 2 * samples
    unseen = (alleles - 1) / alleles * (ones + 1) ** 2 / (2 * max(twos, 1))
    return _RATIO * unseen + _SPARE


def _in_gaps(panel: Panel, absent: Flags, whole: Flags, build: str) -> Flags:
    """The sites in stretches without a record that are too long to be chance."""
    inside = np.zeros(len(panel), np.bool_)
    share = absent.sum() / max(whole.sum(), 1)
    if not 0 < share < 1:
        return inside
    longest = _GAP_NATS / -np.log(share)
    chromosomes = np.array(panel.chrom)
    for chromosome in np.unique(chromosomes[whole]):
        sites = np.flatnonzero(whole & (chromosomes == chromosome))
        sites = sites[np.argsort(panel.positions[build][sites])]
        breaks = np.flatnonzero(np.diff(absent[sites].astype(np.int8))) + 1
        for run in np.split(sites, breaks):
            inside[run] = absent[run[0]] and len(run) > longest
    return inside
