"""Imputes the genotypes of a VCF's samples at the sites of a panel, for `denoising/vcf`.

Shape suffixes: N samples, S sites, A alleles of a record; 4 ordered pairs of alleles 00 01 10 11.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING, UNKNOWN_CODE
from genomai_cli.denoising.base import Flags, Settings, Shares, Site, VcfOptions, VcfSamples
from genomai_cli.errors import InputError
from genomai_cli.formats.vcf import read_variants
from genomai_cli.formats.vcf_replay import Reopen
from genomai_cli.formats.vcf_rewrite import Addition
from genomai_cli.population.builds import contig_lengths
from genomai_cli.population.call_patterns import VARIANTS_ONLY, lacks_reference
from genomai_cli.population.cohorts import Cohort, site_index
from genomai_cli.population.imputation.models import Alleles, Calls, GenotypeModel, posterior_in
from genomai_cli.population.networks.haplotype_imputer import Window
from genomai_cli.population.panel import Panel
from genomai_cli.population.site_calls import SiteCalls
from genomai_cli.population.site_records import complements
from genomai_cli.population.uncertain_calls import likelihoods_of

MIN_SITES = 10  # of the model that a file has to have: a few may be there by chance
UNCHANGED = "the file stays as it is"
RESTORED = (
    "(almost) no call is homozygous for the reference, as in a list of variants only: the missing ones are restored as "
    "if they were missing by chance, though they are the reference's most likely. If the file lists all variants, say "
    "so with --absent-is-ref"
)


def samples_of(reopen: Reopen, model: GenotypeModel, options: VcfOptions) -> VcfSamples:
    """The samples of a VCF at the sites of the model's panel."""
    sites = site_index(model.panel)
    with reopen() as source:
        file = read_variants(
            source,
            sites,
            covering=True,
            rules=options.rules,
            likelihoods=model.frequency is not None,
        )
        cohort = Cohort(model.panel, file)
        cohort.add(file, sites)
    try:
        calls, report = cohort.calls(absent_is_ref=options.absent_is_ref)
    except InputError as error:  # no site of the model
        return VcfSamples(cohort.samples, None, (), (f"{error}: {UNCHANGED}",))
    if report.matched < min(MIN_SITES, len(model.panel) / 2):
        return VcfSamples(cohort.samples, None, (), (f"{report}: too few, {UNCHANGED}",))
    site_model = PanelSiteModel(model, calls, report.build, cohort.samples, options.settings)
    warnings = (*report.warnings, *_selection_warnings(site_model, cohort.samples))
    return VcfSamples(cohort.samples, site_model, (str(report),), warnings)


def _selection_warnings(model: "PanelSiteModel", samples: Sequence[str]) -> Iterator[str]:
    """A warning if some samples' calls were chosen by genotype, since missing ones are not missing by chance then."""
    names = [name for name, selected in zip(samples, model.selected, strict=True) if selected]
    if names:
        yield f"{VARIANTS_ONLY}: {len(names)} of {len(samples)} samples, {names[0]} first: {RESTORED}"


class PanelSiteModel:
    """A `SiteModel` of samples at the sites of a panel."""

    def __init__(
        self,
        model: GenotypeModel,
        calls: SiteCalls,
        build: str,
        samples: Sequence[str],
        settings: Settings,
    ) -> None:
        self.panel: Panel = model.panel
        self.reports_quality: bool = model.frequency is not None
        self._calls, self._index = calls, _by_contig(self.panel, build)
        self._positions = self.panel.positions[build]
        self.contig_lengths: Mapping[str, int] = contig_lengths(build)
        self.file_contigs: Collection[str] = {
            self.panel.chrom[site] for site in np.flatnonzero(calls.recorded)
        }
        alleles_N2S = calls.alleles(self.panel)
        known_NS = (alleles_N2S != MISSING).all(axis=1)
        reference_N = ((alleles_N2S == 0).all(axis=1) & known_NS).sum(axis=1)
        self.selected: Flags = lacks_reference(reference_N, known_NS.sum(axis=1))
        self.phased: Flags = phased(alleles_N2S, calls.phased.T)
        likelihoods_NS3 = _likelihoods(calls, model)
        if likelihoods_NS3 is not None:
            uncertain_NS = (likelihoods_NS3 != likelihoods_NS3[..., :1]).any(axis=2)
            # The known half of a genotype stays, beside its likelihoods.
            doubtful_NS = uncertain_NS & known_NS
            alleles_N2S = np.where(doubtful_NS[:, None], np.int8(MISSING), alleles_N2S)
        self._known_NS = (alleles_N2S != MISSING).all(axis=1)
        self._haploid_SN = _haploid(calls, self.panel.chrom, self._positions)
        self.usable: Flags = (alleles_N2S != MISSING).any(axis=(1, 2))
        if likelihoods_NS3 is not None:
            self.usable |= uncertain_NS.any(axis=1)
        haploid_N = np.zeros(len(samples), np.bool_)
        self._known_calls = Calls(samples, alleles_N2S, calls.phased.T, haploid_N, likelihoods_NS3)
        self._model, self._settings = model, settings
        self._restored: tuple[Window, Shares] | None = None

    def _window(self, site: int) -> tuple[Window, Shares]:
        """The window whose output has a site, and the pairs (S, N, 4) of its sites. Those of the last window are
        cached: files are in the order of their sites."""
        if self._restored is not None:
            window = self._restored[0]
            if window.first <= site < window.last:
                return self._restored
        self._restored = None
        window = next(w for w in self._model.windows if site < w.last)
        self._restored = window, self._pairs_in(window)
        return self._restored

    def _pairs_in(self, window: Window) -> Shares:
        corrects = self._settings.error_rate is not None
        known_N = self._known_NS[:, window.first : window.last].all(axis=1)
        rows = np.flatnonzero(self.usable & (corrects | ~known_N))
        calls = self._known_calls.at(window.input)
        pairs_SN4 = np.zeros((window.last - window.first, len(calls.names), 4), np.float32)
        for begin in range(0, len(rows), self._model.batch_size):
            batch = rows[begin : begin + self._model.batch_size]
            pairs_BS4 = posterior_in(window, self._model, calls.of(batch), self._settings)
            pairs_SN4[:, batch] = pairs_BS4.swapaxes(0, 1)
        return pairs_SN4

    def sites(self, contig: str) -> Mapping[int, int]:
        """See `SiteModel`."""
        return self._index.get(contig, {})

    def alternates(self, site: int, ref: str, alts: Sequence[str]) -> tuple[str, ...] | None:
        """See `SiteModel`."""
        alleles = set(self._record_alleles(site))
        if ref not in alleles or len(alts) > 1 or not self._calls.strand[site]:
            return None
        other = (alleles - {ref}).pop()
        return (other,) if not alts or alts[0] == other else None

    def pair_probabilities(self, site: int, alleles: Sequence[str]) -> Shares:
        """See `SiteModel`."""
        window, pairs_SN4 = self._window(site)
        table: Shares = pairs_SN4[site - window.first].reshape(-1, 2, 2)
        haploid_N = self.haploid_at(site)
        if haploid_N.any():
            share_N2 = (table.sum(axis=1) + table.sum(axis=2)) / 2
            table = np.where(
                haploid_N[:, None, None], share_N2[:, None] * np.eye(2, dtype=np.float32), table
            )
        return table if alleles[0] == self._record_alleles(site)[0] else table[:, ::-1, ::-1]

    def _record_alleles(self, site: int) -> tuple[str, str]:
        """The panel's alleles as the record has them: on its strand."""
        alleles = self.panel.ref[site], self.panel.alt[site]
        if self._calls.strand[site] >= 0:
            return alleles
        ref, alt = complements(alleles)
        return ref, alt

    def haploid_at(self, site: int) -> Flags:
        """See `SiteModel`: as the nearest call of the sample on the chromosome, as of men on X."""
        if self._haploid_SN is None:
            return np.zeros(len(self._known_NS), np.bool_)
        haploid: Flags = self._haploid_SN[site]
        return haploid

    def known(self, site: int) -> Flags:
        """See `SiteModel`."""
        known: Flags = self._known_NS[:, site]
        return known

    def locked(self, site: int) -> Flags:
        """See `SiteModel`: those with another allele in a record of its own."""
        closed: Flags = self._calls.foreign[site] | ~self.usable
        return closed

    def site(self, number: int) -> Site:
        """See `SiteModel`."""
        panel = self.panel
        return Site(panel.rsid[number], panel.ref[number], (panel.alt[number],))

    @cached_property
    def additions(self) -> list[Addition]:
        """See `SiteModel`."""
        if not self.usable.any():
            return []
        absent = np.flatnonzero(~self._calls.recorded & (self._positions > 0)).tolist()
        absent = [site for site in absent if (self._calls.codes[site] == UNKNOWN_CODE).any()]
        return [Addition(self.panel.chrom[s], int(self._positions[s]), s) for s in absent]


def _likelihoods(calls: SiteCalls, model: GenotypeModel) -> NDArray[np.float32] | None:
    """The likelihoods (N, S, 3) of genotypes that are missing or uncertain, equal elsewhere; None without any."""
    if calls.uncertain is None or model.frequency is None:
        return None
    samples = range(calls.codes.shape[1])
    by_sample = [likelihoods_of(calls.uncertain.of_sample(n), model.frequency) for n in samples]
    return np.stack(by_sample)


def _haploid(calls: SiteCalls, chrom: Sequence[str], position_S: NDArray[np.int64]) -> Flags | None:
    """Who (S, N) has one allele at each site: whose nearest call on the chromosome has; None if nobody's has."""
    if calls.haploid is None:
        return None
    haploid_SN, contig_S = calls.haploid.copy(), np.array(chrom)
    for contig in np.unique(contig_S[haploid_SN.any(axis=1)]):
        sites = np.flatnonzero(contig_S == contig)
        sites = sites[np.argsort(position_S[sites], kind="stable")]
        called_SN = (calls.codes[sites] != UNKNOWN_CODE).all(axis=2) & calls.recorded[sites, None]
        for sample in np.flatnonzero(calls.haploid[sites].any(axis=0)):
            has_call_S = called_SN[:, sample] | calls.haploid[sites, sample]
            called, positions = sites[has_call_S], position_S[sites]
            behind = np.searchsorted(position_S[called], positions).clip(max=len(called) - 1)
            before = (behind - 1).clip(min=0)
            gaps = [np.abs(positions - position_S[called[side]]) for side in (before, behind)]
            nearest = called[np.where(gaps[0] < gaps[1], before, behind)]
            haploid_SN[sites, sample] = calls.haploid[nearest, sample]
    return haploid_SN


def phased(alleles_N2S: Alleles, phased_NS: Flags) -> Flags:
    """Which individuals (N,) are phased: all heterozygotes are, or without any, all known genotypes."""
    known_NS = (alleles_N2S != MISSING).all(axis=1)
    heterozygous_NS = known_NS & (alleles_N2S[:, 0] != alleles_N2S[:, 1])
    decisive_NS = np.where(heterozygous_NS.any(axis=1)[:, None], heterozygous_NS, known_NS)
    any_N = decisive_NS.any(axis=1)
    phased: Flags = any_N & ~(decisive_NS & ~phased_NS).any(axis=1)
    return phased


def _by_contig(panel: Panel, build: str) -> dict[str, dict[int, int]]:
    index: dict[str, dict[int, int]] = {}
    for (contig, position), site in panel.index(build).items():
        index.setdefault(contig, {})[position] = site
    return index
