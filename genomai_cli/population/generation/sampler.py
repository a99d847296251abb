"""New individuals from a denoiser of a panel's sites.

All random draws of an individual follow from the seed, the request and the individual's number, and depend neither on
the batch size nor on the number of individuals. In admixed individuals, each stretch of a haplotype comes from one of
several ancestors' populations.

Views by diffusion: a barcode is noised up to some time and denoised from there, by the same code. The draws of a view
follow from the view's seed. Missing letters stay missing.

Shape suffixes: B individuals or views of a batch, T alleles of both haplotypes, S sites; 2 haplotypes.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import UNKNOWN_LETTER
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion.kernel import MASKED, InitialTokens
from genomai_cli.diffusion.phenotypes import Phenotypes
from genomai_cli.errors import BundleError, InputError
from genomai_cli.inference.augment import UnchangedView
from genomai_cli.inference.generate_diffusion import (
    VIEW_STREAM,
    VIEWS_PER_BATCH,
    Settings,
    process_of,
)
from genomai_cli.population.barcode import (
    BarcodeSites,
    genotypes_to_letters,
    is_haplotype,
    letters_to_alleles,
    resolve,
)
from genomai_cli.population.generation.denoiser import ALLELES, HaplotypeDenoiser
from genomai_cli.population.generation.requests import Request
from genomai_cli.population.networks.denoiser import GenotypeDenoiser
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords
from genomai_cli.population.panel import LINKAGE_DISTANCE, Panel, coordinates
from genomai_cli.population.phenotype_encoding import EncodedPhenotypes, joined

STRETCH = 2e7  # base pairs, on average, between two redraws of the ancestor: admixture some five generations ago
BATCH = 128
ADMIXTURE_STREAM, ALLELE_STREAM = 0, 1  # streams of randomness that share a seed


@dataclass(frozen=True, eq=False)
class SyntheticIndividual:
    """An individual that does not exist: the alleles (2, S), 0 or 1, and the phenotype that was requested."""

    name: str
    phenotype: str
    alleles: NDArray[np.int8]


class HaplotypeGenerator:
    """Draws individuals from a bundle; BundleError for a model that was not made for it."""

    of_individuals = True

    def __init__(self, bundle: Bundle, settings: Settings, *, batch: int = BATCH) -> None:
        network = bundle.classifier.networks[0]
        if not isinstance(network, GenotypeDenoiser):
            raise BundleError(
                f"the model {bundle.name!r} generates nobody: it does not draw alleles"
            )
        self.network, self.settings, self.batch = network, settings, batch
        self.phenotypes = Phenotypes.from_config(bundle.config)
        self.chromosomes = Chromosomes.of(bundle.coordinates)
        self.columns = network.columns
        self.kernel, self.schedule = process_of(bundle)
        with torch.inference_mode():
            self.logit_function = network.prepared_logits()

    def individuals(self, requests: Sequence[Request]) -> Iterator[SyntheticIndividual]:
        """The individuals of the requests, in order."""
        plans = (
            self._plan(request, number + 1)
            for request in requests
            for number in range(request.individuals)
        )
        while chunk := list(islice(plans, self.batch)):
            yield from self._sampled(chunk)

    def sample(
        self,
        phenotypes: Sequence[int],
        seeds: Sequence[Sequence[int]],
        initial: InitialTokens | None = None,
        records: PhenotypeRecords | None = None,
    ) -> NDArray[np.int8]:
        """The alleles (B, 2, S) of individuals of these phenotypes and records, each by its own seed; `initial` alleles
        (B, T) are noised up to the settings' start time first. Alleles that stay unknown are `MASKED`."""
        sites, device = self.network.frequency.shape[1], self.network.frequency.device
        if initial is None:
            initial = InitialTokens.masked(len(seeds), 2 * sites, device)
        denoiser = self.denoiser(torch.tensor(phenotypes, device=device), records)
        sampling = self.settings.sampling(self.schedule, ALLELES)
        stretch_S = self.chromosomes.stretches(max(1, sampling.steps // 2))
        sampling = replace(sampling, groups=np.tile(stretch_S, 2))
        alleles_BT = self.kernel.sample(denoiser, initial, seeds, sampling)
        alleles_B2S: NDArray[np.int8] = alleles_BT.view(-1, 2, sites).to("cpu", torch.int8).numpy()
        return alleles_B2S

    def denoiser(
        self, phenotype_B: Tensor, records: PhenotypeRecords | None = None
    ) -> HaplotypeDenoiser:
        """The network as a denoiser with these phenotypes and records, and the settings' guidance."""
        return HaplotypeDenoiser(
            self.network,
            phenotype_B,
            self.settings.guidance,
            self.settings.context_guidance,
            self.logit_function,
            soft_masked=self.kernel.substitutions,
            records=records,
        )

    def _plan(self, request: Request, number: int) -> "_IndividualPlan":
        seed = [self.settings.seed, zlib.crc32(request.text.encode()), number]
        rng = np.random.default_rng([*seed, ADMIXTURE_STREAM])
        parts = request.parts
        if request.record:
            index = rng.choice(len(parts), p=[weight for _, weight in parts])
            parts = ((parts[index][0], 1.0),)
        ancestors = [self.phenotypes.draw_label(name, rng) for name, _ in parts]
        weights = [weight for _, weight in parts]
        source_2S = np.stack([self.chromosomes.ancestors(weights, rng) for _ in range(2)])
        seeds = [[*seed, ALLELE_STREAM, part] for part in range(len(ancestors))]
        name = f"synthetic_{request.name}_{number}"
        return _IndividualPlan(name, request.text, ancestors, seeds, source_2S, request.encoded)

    @torch.inference_mode()
    def _sampled(self, plans: "list[_IndividualPlan]") -> Iterator[SyntheticIndividual]:
        """Sample each ancestor as a separate individual, then join the stretches."""
        ancestors = [number for plan in plans for number in plan.ancestors]
        seeds = [seed for plan in plans for seed in plan.seeds]
        alleles_B2S = self.sample(ancestors, seeds, records=self._records(plans))
        begin = 0
        for plan in plans:
            parts = alleles_B2S[begin : begin + len(plan.ancestors)]
            begin += len(plan.ancestors)
            alleles_2S = np.take_along_axis(parts, plan.source[None], axis=0)[0]
            yield SyntheticIndividual(plan.name, plan.phenotype, alleles_2S)

    def _records(self, plans: "list[_IndividualPlan]") -> PhenotypeRecords | None:
        """The records of the individuals, all of whom have one or none."""
        records = [plan.record for plan in plans if plan.record is not None]
        return (
            PhenotypeRecords.of(joined(records), self.network.frequency.device) if records else None
        )


@dataclass(frozen=True, eq=False)
class _IndividualPlan:
    """An individual to be sampled: the phenotype and the seed of each ancestor, and the `source` (2, S), the index of
    the ancestor that each site comes from."""

    name: str
    phenotype: str
    ancestors: list[int]
    seeds: list[list[int]]
    source: NDArray[np.int64]
    record: EncodedPhenotypes | None = None


@dataclass(frozen=True, eq=False)
class Chromosomes:
    """The `order` of the sites on the chromosomes, the `gap` to the site before (infinite for the first of a
    chromosome), and the probability of a switch of the ancestor."""

    order: NDArray[np.int64]
    gap: NDArray[np.float64]
    switch: NDArray[np.float64]

    @classmethod
    def of(cls, panel: Panel, stretch: float = STRETCH) -> "Chromosomes":
        """The chromosomes of a panel; each begins with an ancestor of its own."""
        contig_S, position_S = coordinates(panel)
        order = np.lexsort((position_S, contig_S))
        gap = np.diff(position_S[order], prepend=0.0)
        gap[np.diff(contig_S[order], prepend=-1) != 0] = np.inf
        return cls(order, gap, 1 - np.exp(-gap / stretch))

    def stretches(self, max_sites: int) -> NDArray[np.int64]:
        """The number of each site's stretch (S,): at most `max_sites` consecutive sites, each within `LINKAGE_DISTANCE`
        of the one before it."""
        is_start = self.gap >= LINKAGE_DISTANCE
        starts = np.maximum.accumulate(np.where(is_start, np.arange(len(is_start)), 0))
        is_start |= (np.arange(len(is_start)) - starts) % max_sites == 0
        stretch_S = np.empty(len(is_start), np.int64)
        stretch_S[self.order] = np.cumsum(is_start)
        return stretch_S

    def ancestors(self, weights: list[float], rng: np.random.Generator) -> NDArray[np.int64]:
        """The index of the ancestor (S,), drawn with these weights, that each site of one haplotype comes from."""
        is_start = rng.random(len(self.order)) < self.switch
        candidates = rng.choice(len(weights), size=len(self.order), p=weights)
        first = np.maximum.accumulate(np.where(is_start, np.arange(len(is_start)), 0))
        ancestors = np.empty(len(self.order), np.int64)
        ancestors[self.order] = candidates[first]
        return ancestors


class HaplotypeDiffuser:
    """Views of barcodes; `phenotype_of` maps a record's name to the number of its phenotype, or 0."""

    def __init__(
        self, bundle: Bundle, settings: Settings, phenotype_of: Callable[[str], int] = lambda _: 0
    ) -> None:
        self.generator = HaplotypeGenerator(bundle, settings)
        self.panel, self.name = bundle.coordinates, bundle.name
        self.sites = BarcodeSites.of(self.panel)
        self.phenotype_of = phenotype_of

    def __call__(self, views: Iterable[UnchangedView]) -> Iterator[UnchangedView]:
        """The views drawn again; InputError for one that is no barcode of the model's panel."""
        remaining = iter(views)
        while chunk := list(islice(remaining, VIEWS_PER_BATCH)):
            yield from self._diffuse(chunk)

    @torch.inference_mode()
    def _diffuse(self, views: list[UnchangedView]) -> Iterator[UnchangedView]:
        are_haploid = [is_haplotype(view.letters) for view in views]
        pairs = zip(views, are_haploid, strict=True)
        alleles_BT = np.stack([self._alleles(view, haploid).ravel() for view, haploid in pairs])
        tokens_BT = torch.from_numpy(alleles_BT).to(self.generator.network.frequency.device)
        sampled_B2S = self.generator.sample(
            [self.phenotype_of(view.record.name) for view in views],
            [[*view.seed, VIEW_STREAM] for view in views],
            InitialTokens(tokens_BT, tokens_BT == MASKED),
        )
        for view, haploid, alleles_2S in zip(views, are_haploid, sampled_B2S, strict=True):
            copies_S = 2 * alleles_2S[0] if haploid else alleles_2S.sum(axis=0, dtype=np.int8)
            known_S = alleles_2S[0] >= 0 if haploid else (alleles_2S >= 0).all(axis=0)
            letters_S = genotypes_to_letters(np.where(known_S, copies_S, np.int8(-1)), self.panel)
            yield replace(view, letters=letters_S[None])

    def _alleles(self, view: UnchangedView, haploid: bool) -> NDArray[np.int64]:
        """The alleles (2, S) of a barcode, heterozygous sites in a phase drawn for the view; of a single haplotype the
        other one is not known."""
        letters_S = view.letters[0]
        if not self.sites.fit(letters_S):
            record = view.record
            message = f"{record.name} is no barcode of the {len(self.sites)} sites of {self.name}"
            raise InputError(
                f"{message}: name a model with --model", path=record.path, line=record.line or None
            )
        pair_2S = np.stack([letters_S, np.full_like(letters_S, UNKNOWN_LETTER)])
        if not haploid:
            pair_2S = resolve(letters_S, view.rng)
        return letters_to_alleles(pair_2S, self.panel).astype(np.int64)
