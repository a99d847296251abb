"""Genomes mapped to a reference restored, in their own coordinates and on their own strand; and those of a VCF.

At the variable sites the model predicts bases; between them a genome has the reference's base, as in all genomes that
the sites come from. A VCF is restored at the model's sites, and where else the file has a record.

Shape suffixes: B genomes, N samples, S sites, R positions of the reference, P positions of the sites and the file's
records, A alleles of a record; 4 bases A C G T.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genomai_cli.alphabet import (
    BASE_LETTERS,
    BASES,
    MISSING,
    UNKNOWN_CODE,
    UNKNOWN_LETTER,
    as_letters,
    codes_of,
)
from genomai_cli.backbones.base import Network
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.denoising.base import (
    Codes,
    Flags,
    Probabilities,
    Proposal,
    Settings,
    Shares,
    Site,
    VcfOptions,
    VcfSamples,
    auxiliary_head,
    leave_out,
    posterior_given_observed,
    propose,
)
from genomai_cli.errors import BundleError
from genomai_cli.formats.fasta import Entry
from genomai_cli.formats.vcf_replay import Reopen
from genomai_cli.formats.vcf_rewrite import Addition
from genomai_cli.mapping.mapper import MappedSequence, Mapper
from genomai_cli.mapping.reference import MIN_LETTERS, Reference, VariableSites
from genomai_cli.mapping.vcf_genomes import Genomes, read_genomes
from genomai_cli.phylogeny.genome_input import MIN_IDENTITY, GenomeInput, identity_of

GENOMES_PER_BATCH = 64


class GenomeModel(Protocol):
    """Predicts genomes at the variable sites of a reference."""

    reference: Reference
    sites: VariableSites
    batch_size: int

    def probabilities(self, codes_BS: Codes) -> Probabilities:
        """The probabilities (B, S, 4) of A C G T at every site, given those of codes (B, S) that are 0 to 3."""


def denoiser_of(
    bundle: Bundle, settings: Settings, other_coordinates: Iterable[Any]
) -> "GenomeDenoiser":
    """The denoiser of a bundle of mapped genomes; BundleError for one that predicts no bases."""
    del other_coordinates
    return GenomeDenoiser(model_of(bundle), settings, bundle.name)


def model_of(bundle: Bundle) -> "MaskedSites":
    """The bundle's network with its head for masked bases; BundleError if it has none."""
    head = auxiliary_head(bundle)
    genomes = bundle.input
    if not isinstance(genomes, GenomeInput) or genomes.sites is None:
        raise BundleError(f"the model {bundle.name!r} restores nothing: it has no sites")
    return MaskedSites(bundle.classifier.networks[0], head, genomes.reference, genomes.sites)


class MaskedSites:
    """A `GenomeModel`: a network of mapped genomes, with its head."""

    batch_size = GENOMES_PER_BATCH

    def __init__(
        self, network: Network, head: nn.Module, reference: Reference, sites: VariableSites
    ) -> None:
        self.reference, self.sites = reference, sites
        self._network, self._head = network, head
        self._device = next(iter(network.state_dict().values())).device

    @torch.inference_mode()
    def probabilities(self, codes_BS: Codes) -> Probabilities:
        """See `GenomeModel`."""
        ids_BS = torch.from_numpy(codes_BS).to(self._device)
        logits_BS4 = self._network.predict_masked(self._head, ids_BS)
        return logits_BS4.double().softmax(2).cpu().numpy()


@dataclass(frozen=True, eq=False)
class GenomeReading:
    """A record's letters as given, and mapped to the reference."""

    name: str
    letters: NDArray[np.uint8]
    mapped: MappedSequence


class GenomeDenoiser:
    """Restores the letters of genomes that belong to the model's reference, whole or in part."""

    def __init__(self, model: GenomeModel, settings: Settings, name: str) -> None:
        self.name, self.batch_size = name, model.batch_size
        self._model, self._settings = model, settings
        self._mapper = Mapper(model.reference)
        self._prior_R4 = prior(model)

    def read(self, entries: Sequence[Entry]) -> GenomeReading | None:
        """The genome in one entry."""
        letters = entries[0].letters() if len(entries) == 1 else None
        if letters is None:
            return None
        mapped = self._mapper(letters.tobytes().decode("ascii"))
        if mapped is None or mapped.aligned < MIN_LETTERS:
            return None
        if identity_of(mapped) < MIN_IDENTITY:
            return None
        return GenomeReading(entries[0].name, letters, mapped)

    def read_vcf(self, reopen: Reopen, options: VcfOptions) -> VcfSamples:
        """The genomes of a VCF in the coordinates of the reference."""
        reference, absent_is_ref = self._model.reference, options.absent_is_ref
        (genomes,) = read_genomes(
            [reopen()], reference, absent_is_ref=absent_is_ref, rules=options.rules
        )  # and closes it
        model = GenomeSiteModel(self._model, genomes, options.settings)
        return VcfSamples(genomes.samples, model, (str(genomes.report), *genomes.report.warnings))

    def restore(self, readings: Sequence[GenomeReading]) -> list[list[Proposal] | None]:
        """The proposals for each genome; None for one of which nothing is known."""
        codes = np.stack([codes_of(reading.mapped.letters) for reading in readings])
        names = [reading.name for reading in readings]
        posteriors = posterior(
            self._model, codes[:, self._model.sites.positions], names, self._settings
        )
        return [
            [self._proposal(reading, codes_R, p_S4)] if (codes_R != UNKNOWN_CODE).any() else None
            for reading, codes_R, p_S4 in zip(readings, codes, posteriors, strict=True)
        ]

    def _proposal(
        self,
        reading: GenomeReading,
        codes_R: NDArray[np.uint8],
        p_S4: Probabilities,
    ) -> Proposal:
        position_R = reading.mapped.query_index
        missing_R = (position_R >= 0) & (reading.letters[position_R] == UNKNOWN_LETTER)
        changeable_R = missing_R.copy()
        if self._settings.error_rate is not None:
            changeable_R |= (position_R >= 0) & (codes_R != UNKNOWN_CODE)
        changeable_R &= codes_of(self._model.reference.letters) != UNKNOWN_CODE
        posterior_R4 = self._invariant_posterior(codes_R)
        posterior_R4[self._model.sites.positions] = p_S4
        rows = np.flatnonzero(changeable_R)
        observed = np.where(codes_R == UNKNOWN_CODE, MISSING, codes_R.astype(np.int64))[rows]
        bases = BASE_LETTERS if reading.mapped.strand == "+" else BASE_LETTERS[::-1]
        alphabet = np.broadcast_to(bases, (len(rows), len(bases)))
        columns = (position_R[rows], posterior_R4[rows], observed, alphabet, missing_R[rows])
        return propose(*columns, self._settings)

    def _invariant_posterior(self, codes_R: NDArray[np.uint8]) -> Probabilities:
        """The posterior (R, 4) of letters where genomes do not vary."""
        if self._settings.error_rate is None:
            return self._prior_R4.copy()
        observed = np.where(codes_R == UNKNOWN_CODE, MISSING, codes_R.astype(np.int64))
        return posterior_given_observed(self._prior_R4, observed, self._settings.error_rate)


def prior(model: GenomeModel) -> Probabilities:
    """The probabilities (R, 4) of bases where genomes do not differ: another letter than the reference's would have
    been seen among so many genomes, unless it is rarer than one in them and the next."""
    genomes = int(model.sites.counts.sum(axis=1).max())
    codes = codes_of(model.reference.letters)
    prior_R4 = np.full((len(codes), 4), 1 / (3 * (genomes + 1)))
    known = np.flatnonzero(codes != UNKNOWN_CODE)
    prior_R4[known, codes[known]] = genomes / (genomes + 1)
    return prior_R4


def posterior(
    model: GenomeModel,
    codes_BS: NDArray[np.uint8],
    names: Sequence[str],
    settings: Settings,
) -> Probabilities:
    """The probabilities (B, S, 4) of the letters at the model's sites.

    Known bases are predicted only with an error rate: from all other bases, then by Bayes' theorem from the base
    itself.
    """
    observed_BS: Codes = codes_BS.astype(np.int64)
    known_BS: Flags = observed_BS != UNKNOWN_CODE
    posterior_BS4 = model.probabilities(observed_BS)
    if settings.error_rate is None or not known_BS.any():
        return posterior_BS4
    left_out_BS4 = leave_out(
        lambda masked_BS: model.probabilities(np.where(masked_BS, UNKNOWN_CODE, observed_BS)),
        known_BS,
        [settings.seeds(name) for name in names],
    )
    observed_K = observed_BS[known_BS]
    posterior_BS4[known_BS] = posterior_given_observed(
        left_out_BS4[known_BS], observed_K, settings.error_rate
    )
    return posterior_BS4


class GenomeSiteModel:
    """A `SiteModel` of genomes at the model's sites and at the file's records."""

    def __init__(self, model: GenomeModel, genomes: Genomes, settings: Settings) -> None:
        contig = genomes.contig
        self._haploid = genomes.haploid
        self.reports_quality: bool = False
        self.file_contigs: Collection[str] = {contig}
        self.contig_lengths: Mapping[str, int] = {contig: len(model.reference)}
        self._contig, self._genomes, self._settings = contig, genomes, settings
        self._reference, self._sites = model.reference, model.sites
        self._site_of = {int(p): site for site, p in enumerate(model.sites.positions)}
        self._positions = sorted({*self._site_of, *genomes.positions})
        rows = [as_letters(record.held)[self._positions] for record in genomes.records()]
        self._codes_NP = codes_of(np.stack(rows))
        columns = np.searchsorted(self._positions, model.sites.positions)
        codes_NS = self._codes_NP[:, columns]
        self.usable: Flags = (codes_NS != UNKNOWN_CODE).any(axis=1)
        self.phased: Flags = np.zeros(len(rows), np.bool_)
        self._bases_SN4 = self._restored(model, codes_NS)
        self._prior_P4 = prior(model)[self._positions]

    def _restored(self, model: GenomeModel, codes_NS: NDArray[np.uint8]) -> Shares:
        corrects_known = self._settings.error_rate is not None
        incomplete_N = (codes_NS == UNKNOWN_CODE).any(axis=1)
        rows = np.flatnonzero(self.usable & (corrects_known | incomplete_N))
        bases_SN4 = np.zeros((*codes_NS.T.shape, 4), np.float32)
        for start in range(0, len(rows), model.batch_size):
            batch = rows[start : start + model.batch_size]
            names = [self._genomes.samples[row] for row in batch]
            posterior_BS4 = posterior(model, codes_NS[batch], names, self._settings)
            bases_SN4[:, batch] = posterior_BS4.swapaxes(0, 1)
        return bases_SN4

    def sites(self, contig: str) -> Mapping[int, int]:
        """See `SiteModel`."""
        return self._number_at if contig == self._contig else {}

    @cached_property
    def _number_at(self) -> dict[int, int]:
        """The numbers of positions, by position from 1; those without a base of the reference are left out."""
        bases = self._reference.sequence
        numbered = enumerate(self._positions)
        return {position + 1: number for number, position in numbered if bases[position] in BASES}

    def alternates(self, site: int, ref: str, alts: Sequence[str]) -> tuple[str, ...] | None:
        """See `SiteModel`; REF may be another base than the reference's, as plink has it, if that is an ALT."""
        reference_site = self.site(site)
        if not all(allele in BASES and len(allele) == 1 for allele in (ref, *alts)):
            return None
        if ref != reference_site.ref:
            is_swapped = self._genomes.takes_swapped(self._positions[site], alts)
            return (tuple(alts) or (reference_site.ref,)) if is_swapped else None
        return tuple(alts) or reference_site.alts

    def pair_probabilities(self, site: int, alleles: Sequence[str]) -> Shares:
        """See `SiteModel`: both alleles are the same."""
        numbers = [BASES.index(allele) for allele in alleles]
        p_NA = self._bases(site)[:, numbers].astype(np.float32)
        pairs: Shares = p_NA[:, :, None] * np.eye(len(numbers), dtype=np.float32)
        return pairs

    def _bases(self, number: int) -> Shares | Probabilities:
        """The probabilities (N, 4) of the letters at a position."""
        site = self._site_of.get(self._positions[number])
        if site is not None:
            restored_N4: Shares = self._bases_SN4[site]
            return restored_N4
        codes_N = self._codes_NP[:, number]
        prior_N4 = np.tile(self._prior_P4[number], (len(codes_N), 1))
        if self._settings.error_rate is None:
            return prior_N4
        observed = np.where(codes_N == UNKNOWN_CODE, MISSING, codes_N.astype(np.int64))
        return posterior_given_observed(prior_N4, observed, self._settings.error_rate)

    def haploid_at(self, site: int) -> Flags:
        """See `SiteModel`: all, where the file's calls have one allele."""
        del site
        return np.full(len(self.usable), self._haploid)

    def known(self, site: int) -> Flags:
        """See `SiteModel`."""
        known: Flags = self._codes_NP[:, site] != UNKNOWN_CODE
        return known

    def locked(self, site: int) -> Flags:
        """See `SiteModel`: those who have no letter there."""
        closed: Flags = self._genomes.deleted(self._positions[site]) | ~self.usable
        return closed

    def site(self, number: int) -> Site:
        """See `SiteModel`."""
        position = self._positions[number]
        ref, site = self._reference.sequence[position], self._site_of.get(position)
        counts = [0] * len(BASES) if site is None else self._sites.counts[site].tolist()
        counted = zip(BASES, counts, strict=True)
        return Site(".", ref, tuple(base for base, count in counted if count and base != ref))

    @cached_property
    def additions(self) -> list[Addition]:
        """See `SiteModel`."""
        if not self.usable.any() or self._genomes.report.absent_is_ref:
            return []
        absent = sorted(self._site_of.keys() - set(self._genomes.positions))
        return [Addition(self._contig, p + 1, self._number_at[p + 1]) for p in absent]
