"""Blur letters by a diffusion process and guess them: a bound on the negative log-likelihood, in nats a letter.

At a random time the letters are blurred as the kernel does it, `diffusion.absorbing` (MDLM: Sahoo et al. 2024,
arXiv:2406.07524) or `diffusion.uniform` (UDLM: Schiff et al. 2024, arXiv:2412.10193). What is blurred are the words of
sequences, rows of sites or genomes; or the alleles of people, both haplotypes at once. A person's phenotype is told,
sometimes only a coarser one, sometimes none, so that one network knows them all (classifier-free guidance: Ho and
Salimans 2022, arXiv:2207.12598).

Shape suffixes: B samples, L letters (words, or alleles of both haplotypes), N those judged, P labels of a person.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.augmentations import Letters
from genomai_cli.diffusion import KERNELS
from genomai_cli.diffusion.denoisers import WordDenoiser, Words
from genomai_cli.diffusion.kernel import HIDDEN, SCHEDULES, Denoiser, Kernel, Schedule, spread_times
from genomai_cli.objectives.base import Alphabet, Group, Model, Views
from genomai_cli.population.generation.denoiser import ALLELES, PeopleDenoiser
from genomai_cli.population.networks.denoiser import PeopleNetwork
from genomai_cli.tokenizers.batch import encode_rows

TICKS = 1 << 40  # a time in whole numbers, as views are
LIMITS = {"null": (0, 1), "coarse": (0, 1), "steps": (1, math.inf)}


@dataclass(frozen=True)
class DiffusionSettings:
    """The `kernel`, absorbing or uniform, and its `schedule`, linear or cosine; the share of people shown without a
    phenotype (`null`), and of those shown with one of their coarser ones (`coarse`) instead of the finest. Samples are
    drawn in so many `steps` unless another number is asked for: the closer the linkage, the more it takes."""

    kernel: str = "absorbing"
    schedule: str = "linear"
    null: float = 0.12
    coarse: float = 0.12
    steps: int = 64

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kernel", self.kernel, KERNELS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise ValueError(f"diffusion.{name} is one of {', '.join(known)}, not {value!r}")

    @property
    def process(self) -> tuple[Kernel, Schedule]:
        """The kernel and the schedule themselves."""
        return KERNELS[self.kernel], SCHEDULES[self.schedule]


@dataclass(frozen=True)
class Diffusion:
    """What a kernel makes of the guesses of blurred letters; for people it needs a network that denoises them, for
    all else one that guesses words which do not overlap."""

    settings: DiffusionSettings
    alphabet: Alphabet
    name: str = "diffusion"

    def companion(self) -> dict[str, Any]:
        """The head that guesses words; none for people, whose network itself denoises."""
        if self.alphabet.people is not None:
            return {"kind": "none"}
        return {"kind": "words", "vocabulary": len(self.alphabet.tokenizer.vocabulary)}

    @cached_property
    def _words(self) -> Words:
        return Words.of(self.alphabet.tokenizer)

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids`, of which some are blurred, all letters as `targets`, and the `time`; of people the `phenotype`."""
        kernel, schedule = self.settings.process
        times_B = kernel.times(spread_times(len(letters_BL), rng))
        time_B1 = (times_B * TICKS).astype(np.int64)[:, None]
        kept_B, people = schedule.kept(times_B), self.alphabet.people
        if people is not None:
            alleles_BL = people.alleles(letters_BL).reshape(len(letters_BL), -1).astype(np.int64)
            phenotype_B = told(people.numbers(letters_BL), self.settings, rng)
            shown_BL = kernel.noised(alleles_BL, kept_B, ALLELES, rng)
            told_B1 = phenotype_B[:, None]
            return {"ids": shown_BL, "targets": alleles_BL, "phenotype": told_B1, "time": time_B1}
        ids_BL = encode_rows(self.alphabet.tokenizer, letters_BL)
        truth_BL = np.where(ids_BL < self._words.size, ids_BL, HIDDEN)
        shown_BL = kernel.noised(truth_BL, kept_B, self._words.size, rng)
        masked_BL = np.where(shown_BL == HIDDEN, self._words.mask_id, shown_BL)
        shown_ids_BL = np.where(truth_BL == HIDDEN, ids_BL, masked_BL)
        return {"ids": shown_ids_BL, "targets": truth_BL, "time": time_B1}

    def loss(self, model: Model, views: Mapping[str, Tensor], group: Group) -> Tensor:
        """The mean over this process's samples, in nats a letter."""
        del group
        kernel, schedule = self.settings.process
        truth_BL, ids_BL = views["targets"], views["ids"]
        denoiser, size, letters = self._denoiser(model, views, doubts=kernel.doubts)
        shown_BL = torch.where((ids_BL < size) & (truth_BL != HIDDEN), ids_BL, HIDDEN)
        due_BL = kernel.judged(shown_BL, truth_BL)
        times_B = views["time"][:, 0].cpu().numpy() / TICKS
        kept_B1, slope_B1 = (
            torch.from_numpy(values).to(ids_BL.device, torch.float32)[:, None]
            for values in (schedule.kept(times_B), schedule.slope(times_B) * kernel.pace(times_B))
        )
        trust_BL = kept_B1.expand(ids_BL.shape)
        logits_NA = denoiser(shown_BL, due_BL, trust_BL).float()
        slope_N = slope_B1.expand(ids_BL.shape)[due_BL]
        parts = truth_BL[due_BL], shown_BL[due_BL], trust_BL[due_BL], slope_N
        total_B = torch.zeros_like(kept_B1[:, 0])
        total_B = total_B.index_add(0, due_BL.nonzero()[:, 0], kernel.nats(logits_NA, *parts))
        known_B = (truth_BL != HIDDEN).sum(1).clamp(min=1)
        return (total_B / (letters * known_B)).mean()

    def _denoiser(
        self, model: Model, views: Mapping[str, Tensor], *, doubts: bool
    ) -> tuple[Denoiser, int, int]:
        """The network as the process sees it, the size of its alphabet, and how many letters are in a word."""
        network = model.network
        if self.alphabet.people is not None:
            assert isinstance(network, PeopleNetwork)
            people = PeopleDenoiser(network, views["phenotype"][:, 0], veiled=doubts)
            return people, ALLELES, 1
        ids_BL, words = views["ids"], self._words
        others_BL = torch.where(ids_BL < words.size, words.mask_id, ids_BL)
        inputs = model.inputs if self.alphabet.aligned else None
        head = model.companion
        denoiser = WordDenoiser(network, head, words, others_BL, veiled=doubts, inputs=inputs)
        return denoiser, words.size, words.letters


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
