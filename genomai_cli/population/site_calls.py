"""The calls of samples at the sites of a panel as arrays, of all sites or of some at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import UNKNOWN_CODE
from genomai_cli.population.panel import Panel
from genomai_cli.population.site_records import BLOCK, CODES, SiteRecord
from genomai_cli.population.uncertain_calls import UncertainCalls

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SiteCalls:
    """Allele codes (sites, samples, 2), 0 to 3 for A C G T, 4 missing; phased (sites, samples).

    `recorded` (sites,) is where there is a record of the site, or a reference block; `foreign` (sites, samples) who
    carries another allele than the panel's there; `strand` (sites,) is 1 where the record has the panel's letters, -1
    where it has their complements and 0 where that is not known. `assumed` (samples,) counts the calls that are not
    in the file, but taken for reference. `uncertain` are likelihoods of genotypes that are missing or doubtful, if
    requested. `haploid` (sites, samples) is whose calls have one allele, None where nobody's have.
    """

    codes: NDArray[np.uint8]
    phased: Flags
    recorded: Flags
    foreign: Flags
    strand: NDArray[np.int8]
    assumed: NDArray[np.int64]
    uncertain: UncertainCalls | None = None
    haploid: Flags | None = None

    def unordered(self, sites: slice = slice(None)) -> Flags:
        """Where it is not known of some sites which allele lies on which haplotype (sites, samples)."""
        codes = self.codes[sites]
        unordered: Flags = ~self.phased[sites] & (codes[:, :, 0] != codes[:, :, 1])
        return unordered

    def alleles(self, panel: Panel) -> NDArray[np.int8]:
        """The alleles (samples, 2, sites) of the panel: 0 for its ref, 1 for its alt, -1 where missing."""
        ref, alt = (np.array([CODES[base] for base in bases]) for bases in (panel.ref, panel.alt))
        alleles = np.full(self.codes.shape, -1, np.int8)
        alleles[self.codes == ref[:, None, None]] = 0
        alleles[self.codes == alt[:, None, None]] = 1
        return np.ascontiguousarray(alleles.transpose(1, 2, 0))


@dataclass(frozen=True, eq=False)
class PlacedCalls:
    """The calls of so many samples in the build that their sites match, of some of the sites at a time.

    `records` (sites,) are those found; `assumed` (sites,) are sites taken for reference; `carriers` and `removed` are
    who (samples,) has another allele, by site.
    """

    panel: Panel
    samples: int
    records: Sequence[SiteRecord | None]
    recorded: Flags
    assumed: Flags
    carriers: Mapping[int, Flags]
    removed: Mapping[int, Flags]

    def at(self, sites: slice = slice(None)) -> SiteCalls:
        """The calls at some of the sites."""
        site_indices = range(len(self.records))[sites]
        records, assumed = self.records[sites], self.assumed[sites]
        shape = (len(site_indices), self.samples)
        codes, phased = np.full((*shape, 2), UNKNOWN_CODE, np.uint8), np.ones(shape, np.bool_)
        foreign, strand = np.zeros(shape, np.bool_), np.ones(len(site_indices), np.int8)
        uncalled: dict[int, Flags] = {}
        haploid: Flags | None = None
        for row, (site, record) in enumerate(zip(site_indices, records, strict=True)):
            if record is not None:
                codes[row], phased[row] = record.codes, record.phased
                strand[row] = 0 if record.unclear else -1 if record.turned else 1
                if record.packed_haploid is not None:
                    haploid = np.zeros(shape, np.bool_) if haploid is None else haploid
                    haploid[row] = record.packed_haploid.array()
            elif self.assumed[site]:
                codes[row] = CODES[self.panel.ref[site]]
            removed = self.removed.get(site)
            if removed is not None and (record is None or record.rank == BLOCK):
                uncalled[row] = removed
            carriers = self.carriers.get(site)
            if carriers is not None:
                foreign[row] = carriers
                uncalled[row] = carriers | uncalled.get(row, False)
        for row, samples in uncalled.items():
            codes[row, samples] = UNKNOWN_CODE
        assumed_N = (codes[assumed] != UNKNOWN_CODE).all(axis=2).sum(axis=0)
        uncertain = UncertainCalls.of(records, self.samples, uncalled)
        recorded = self.recorded[sites]
        return SiteCalls(codes, phased, recorded, foreign, strand, assumed_N, uncertain, haploid)
