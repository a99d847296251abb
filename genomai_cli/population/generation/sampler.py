"""New people from a denoiser of a panel's sites.

Everything random about a person follows from the seed, what was asked for and the person's number: neither the batch
size nor the number of people shows.

Admixed people: each stretch of a haplotype comes from one of several ancestors' populations.

Views by diffusion: a record is blurred up to some time and drawn again from there, by the code that generates.

What is drawn of a view follows from the view's own seed. Missing letters stay missing.

Shape suffixes: B people of a batch, L alleles of both haplotypes, S sites, P phenotypes, N chosen alleles, B views
of a batch, L alleles of both haplotypes or letters, 2 haplotypes.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion.kernel import HIDDEN, Start
from genomai_cli.errors import BundleError, InputError
from genomai_cli.inference.augment import Begun
from genomai_cli.inference.generate_diffusion import (
    STREAM,
    VIEWS_PER_BATCH,
    Settings,
    process_of,
)
from genomai_cli.population.barcode import BarcodeSites, genotypes_to_letters, is_haplotype, resolve
from genomai_cli.population.generation.denoiser import ALLELES, PeopleDenoiser
from genomai_cli.population.generation.requests import Ask
from genomai_cli.population.labels import NULL, Phenotypes, alleles_of
from genomai_cli.population.networks.denoiser import PeopleNetwork
from genomai_cli.population.panel import Panel, places

STRETCH = 2e7  # base pairs, on average, between two redraws of the ancestor: admixture some five generations ago


@dataclass(frozen=True, eq=False)
class Chromosomes:
    """The sites in the order in which they lie, and how likely each has another ancestor than the one before it."""

    order: NDArray[np.int64]
    renewed: NDArray[np.float64]

    @classmethod
    def of(cls, panel: Panel, stretch: float = STRETCH) -> "Chromosomes":
        """The chromosomes of a panel; each begins with an ancestor of its own."""
        contig_S, position_S = places(panel)
        order = np.lexsort((position_S, contig_S))
        apart = np.diff(position_S[order], prepend=0.0)
        apart[np.diff(contig_S[order], prepend=-1) != 0] = np.inf
        return cls(order, 1 - np.exp(-apart / stretch))

    def ancestors(self, weights: list[float], rng: np.random.Generator) -> NDArray[np.int64]:
        """Which of the ancestors, drawn with these weights, each site (S,) of one haplotype comes from."""
        begins = rng.random(len(self.order)) < self.renewed
        drawn = rng.choice(len(weights), size=len(self.order), p=weights)
        first = np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
        ancestors = np.empty(len(self.order), np.int64)
        ancestors[self.order] = drawn[first]
        return ancestors


BATCH = 128
PLAN, DRAWS = 0, 1  # streams of randomness that share a seed


@dataclass(frozen=True, eq=False)
class SyntheticPerson:
    """A person nobody is: the alleles (2, S), 0 or 1, and what had been asked for."""

    name: str
    phenotype: str
    alleles: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class _Plan:
    """A person to be drawn: one ancestor a part, and which of them each site comes from (2, S)."""

    name: str
    phenotype: str
    ancestors: list[int]
    seeds: list[list[int]]
    sources: NDArray[np.int64]


class Generator:
    """Draws people from a bundle; BundleError for a model that was not made for it."""

    def __init__(self, bundle: Bundle, settings: Settings, *, batch: int = BATCH) -> None:
        network = bundle.classifier.members[0]
        if not isinstance(network, PeopleNetwork):
            raise BundleError(f"the model {bundle.name!r} generates nobody: it does not denoise")
        self.network, self.settings, self.batch = network, settings, batch
        self.phenotypes = Phenotypes.from_config(bundle.config)
        self.chromosomes = Chromosomes.of(bundle.required_panel)
        self.kernel, self.schedule = process_of(bundle)
        with torch.inference_mode():
            self.logits = network.settled()

    def people(self, asks: Sequence[Ask]) -> Iterator[SyntheticPerson]:
        """The people asked for, in order."""
        plans = (self._plan(ask, number + 1) for ask in asks for number in range(ask.people))
        while chunk := list(islice(plans, self.batch)):
            yield from self._drawn(chunk)

    def _plan(self, ask: Ask, number: int) -> _Plan:
        """Everything about a person that is settled before the alleles are drawn."""
        seed = [self.settings.seed, zlib.crc32(ask.text.encode()), number]
        rng = np.random.default_rng([*seed, PLAN])
        parts = ask.parts
        if ask.record:
            chosen = rng.choice(len(parts), p=[weight for _, weight in parts])
            parts = ((parts[chosen][0], 1.0),)
        ancestors = [self._ancestor(name, rng) for name, _ in parts]
        weights = [weight for _, weight in parts]
        sources_2S = np.stack([self.chromosomes.ancestors(weights, rng) for _ in range(2)])
        seeds = [[*seed, DRAWS, part] for part in range(len(ancestors))]
        return _Plan(f"synthetic_{ask.word}_{number}", ask.text, ancestors, seeds, sources_2S)

    def _ancestor(self, name: str, rng: np.random.Generator) -> int:
        """The phenotype by which to draw: of a coarse label one of the finest within it, by their numbers of people."""
        if name == NULL:
            return 0
        parts = self.phenotypes.parts(name)
        counts = np.array(list(parts.values()), np.float64)
        return self.phenotypes.number(list(parts)[rng.choice(len(parts), p=counts / counts.sum())])

    @torch.inference_mode()
    def _drawn(self, plans: list[_Plan]) -> Iterator[SyntheticPerson]:
        """The people of some plans: each part is drawn as a person of its own, then the stretches are put together."""
        numbers = [number for plan in plans for number in plan.ancestors]
        seeds = [seed for plan in plans for seed in plan.seeds]
        sites, device = self.network.frequency.shape[1], self.network.frequency.device
        letters_BL = self.kernel.sample(
            self.denoiser(torch.tensor(numbers, device=device)),
            Start.of_nothing(len(seeds), 2 * sites, device),
            seeds,
            self.schedule,
            ALLELES,
            self.settings.way,
        )
        alleles_B2S = letters_BL.view(-1, 2, sites).to("cpu", torch.int8).numpy()
        begin = 0
        for plan in plans:
            parts = alleles_B2S[begin : begin + len(plan.ancestors)]
            begin += len(plan.ancestors)
            alleles_2S = np.take_along_axis(parts, plan.sources[None], axis=0)[0]
            yield SyntheticPerson(plan.name, plan.phenotype, alleles_2S)

    def denoiser(self, number_B: Tensor) -> PeopleDenoiser:
        """The network with phenotypes and guidance put in."""
        guidance, doubts = self.settings.guidance, self.kernel.doubts
        return PeopleDenoiser(self.network, number_B, guidance, self.logits, veiled=doubts)


class PeopleDiffuser:
    """Views of barcodes; `phenotype_of` gives the number of the phenotype by which a record's name is drawn, or 0."""

    def __init__(
        self, bundle: Bundle, settings: Settings, phenotype_of: Callable[[str], int] = lambda _: 0
    ) -> None:
        self.generator = Generator(bundle, settings)
        self.panel, self.name = bundle.required_panel, bundle.name
        self.sites = BarcodeSites.of(self.panel)
        self.phenotype_of = phenotype_of

    def __call__(self, views: Iterable[Begun]) -> Iterator[Begun]:
        """The views drawn again; InputError for one that is no barcode of the model's panel."""
        waiting = iter(views)
        while chunk := list(islice(waiting, VIEWS_PER_BATCH)):
            yield from self._diffused(chunk)

    @torch.inference_mode()
    def _diffused(self, views: list[Begun]) -> Iterator[Begun]:
        haplotypes = [is_haplotype(view.letters) for view in views]
        pairs = zip(views, haplotypes, strict=True)
        alleles_BL = np.stack([self._alleles(view, alone).ravel() for view, alone in pairs])
        generator, device = self.generator, self.generator.network.frequency.device
        letters_BL = torch.from_numpy(alleles_BL).to(device)
        numbers = [self.phenotype_of(view.record.name) for view in views]
        made_BL = generator.kernel.sample(
            generator.denoiser(torch.tensor(numbers, device=device)),
            Start(letters_BL, letters_BL == HIDDEN),
            [[*view.seed, STREAM] for view in views],
            generator.schedule,
            ALLELES,
            generator.settings.way,
        )
        made_B2S = made_BL.view(len(views), 2, -1).cpu().numpy().astype(np.int8)
        for view, alone, alleles_2S in zip(views, haplotypes, made_B2S, strict=True):
            copies_S = 2 * alleles_2S[0] if alone else alleles_2S.sum(axis=0, dtype=np.int8)
            known_S = alleles_2S[0] >= 0 if alone else (alleles_2S >= 0).all(axis=0)
            letters_S = genotypes_to_letters(np.where(known_S, copies_S, np.int8(-1)), self.panel)
            yield replace(view, letters=letters_S[None])

    def _alleles(self, view: Begun, alone: bool) -> np.ndarray:
        """The alleles (2, S) of a barcode, heterozygous sites in a phase drawn for the view; of a haplotype alone the
        other one is not known."""
        letters_S = view.letters[0]
        if not self.sites.fit(letters_S):
            record = view.record
            message = f"{record.name} is no barcode of the {len(self.sites)} sites of {self.name}"
            raise InputError(
                f"{message}: name a model with --model", path=record.path, line=record.line or None
            )
        pair_2S = np.stack([letters_S, np.full_like(letters_S, ord("N"))])
        if not alone:
            pair_2S = resolve(letters_S, view.rng)
        return alleles_of(pair_2S, self.panel).astype(np.int64)
