"""Hide alleles by an absorbing diffusion and guess them: a bound on the negative log-likelihood of people.

The loss of Sahoo et al. 2024 (MDLM, arXiv:2406.07524), in nats a site of a haplotype: at a random time each allele is
hidden with the probability 1 - alpha_t, and the cross-entropy of the hidden ones counts with the weight of
`diffusion.schedule`. The person's phenotype is told, sometimes only a coarser one, sometimes none, so that one network
knows them all (classifier-free guidance: Ho and Salimans 2022, arXiv:2207.12598).

Shape suffixes: B people, L alleles of both haplotypes, S sites, P labels of a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from genomai_cli.augmentations import Letters
from genomai_cli.diffusion.absorbing import HIDDEN, bound, hide
from genomai_cli.diffusion.schedule import SCHEDULES, spread_times
from genomai_cli.objectives.base import Alphabet, Group, Model, Views
from genomai_cli.panels.people import PersonRows

TICKS = 1 << 40  # a time in whole numbers, as views are
LIMITS = {"null": (0, 1), "coarse": (0, 1)}


@dataclass(frozen=True)
class DiffusionSettings:
    """The `schedule`, linear or cosine; the share of people shown without a phenotype (`null`), and of those shown
    with one of their coarser ones (`coarse`) instead of the finest."""

    schedule: str = "linear"
    null: float = 0.12
    coarse: float = 0.12

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise ValueError(f"diffusion.schedule is one of {known}, not {self.schedule!r}")


@dataclass(frozen=True)
class Diffusion:
    """Cross-entropy of hidden alleles, weighted by time; it needs rows of people and a network that denoises them."""

    settings: DiffusionSettings
    alphabet: Alphabet
    name: str = "diffusion"

    def companion(self) -> dict[str, Any]:
        """None: the network itself denoises."""
        return {"kind": "none"}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids`, alleles of which some are hidden, all alleles as `targets`, the `phenotype` and the `time`."""
        rows = self._rows
        alleles_BL = rows.alleles(letters_BL).reshape(len(letters_BL), -1).astype(np.int64)
        times_B = spread_times(len(alleles_BL), rng)
        phenotype_B = told(rows.numbers(letters_BL), self.settings, rng)
        return {
            "ids": hide(alleles_BL, times_B, SCHEDULES[self.settings.schedule], rng),
            "targets": alleles_BL,
            "phenotype": phenotype_B[:, None],
            "time": (times_B * TICKS).astype(np.int64)[:, None],
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: Group) -> Tensor:
        """The mean over this process's people, in nats a site."""
        del group
        shape = (len(views["ids"]), 2, self._rows.sites)
        shown_B2S, truth_B2S = views["ids"].view(shape), views["targets"].view(shape)
        phenotypes = model.network.config.phenotypes  # type: ignore[union-attr]
        weights_BP = functional.one_hot(views["phenotype"][:, 0], phenotypes)  # type: ignore[arg-type]
        logits_B2S = model.network(shown_B2S, weights_BP.to(torch.get_default_dtype())).float()
        surprise_B2S = functional.binary_cross_entropy_with_logits(
            logits_B2S, truth_B2S.clamp(min=0).float(), reduction="none"
        )
        flat = (len(truth_B2S), -1)
        hidden_BL = (shown_B2S == HIDDEN).view(flat)
        known_BL = (truth_B2S != HIDDEN).view(flat)
        return bound(surprise_B2S.view(flat), hidden_BL, self._weight(views), known_BL).mean()

    def _weight(self, views: Mapping[str, Tensor]) -> Tensor:
        times_B = views["time"][:, 0].cpu().numpy() / TICKS
        weight_B = SCHEDULES[self.settings.schedule].weight(times_B)
        return torch.from_numpy(weight_B).to(views["ids"].device, torch.float32)

    @property
    def _rows(self) -> PersonRows:
        if self.alphabet.people is None:
            raise TypeError("the objective diffusion needs rows of people")
        return self.alphabet.people


def told(
    numbers_BP: NDArray[np.int64], settings: DiffusionSettings, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The one phenotype (B,) that is told of each person: the finest that is known, or a coarser one, or 0, none."""
    people, columns = numbers_BP.shape
    draws_B, choice_B = rng.random(people), rng.random(people)
    told_B = np.zeros(people, np.int64)
    coarser_B = np.zeros(people, np.int64)
    for column in range(columns):
        known_B = numbers_BP[:, column] > 0
        if column < columns - 1:
            chosen_B = known_B & ((coarser_B == 0) | (choice_B * (column + 1) < 1))
            coarser_B = np.where(chosen_B, numbers_BP[:, column], coarser_B)
        told_B = np.where(known_B, numbers_BP[:, column], told_B)
    coarse_B = (draws_B < settings.null + settings.coarse) & (coarser_B > 0)
    told_B = np.where(coarse_B, coarser_B, told_B)
    return np.where(draws_B < settings.null, 0, told_B)
