"""New people from a denoiser of a panel's sites.

Everything random about a person follows from the seed, what was asked for and the person's number: neither the batch
size nor the number of people shows.

Shape suffixes: B people of a batch, L alleles of both haplotypes, S sites, P phenotypes, N chosen alleles.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion.denoisers import PeopleDenoiser
from genomai_cli.diffusion.kernel import Start
from genomai_cli.errors import BundleError
from genomai_cli.generation.asking import Ask
from genomai_cli.generation.mosaic import Chromosomes
from genomai_cli.generation.settings import Settings, process_of
from genomai_cli.nets.denoiser import PeopleNetwork
from genomai_cli.objectives.diffusion import ALLELES
from genomai_cli.panels.phenotypes import NULL, Phenotypes

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
