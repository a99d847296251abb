"""The uniform process: a letter is replaced by any letter, again and again (Austin et al. 2021, arXiv:2107.03006).

Nothing tells which letters are still those of the beginning. A network guesses each letter from the others, and from
how far they can be trusted; what the letter itself shows is added by Bayes' theorem here, so that the network need not
learn it. With pi the network's probabilities and x-bar = A alpha x + (1 - alpha), the bound on the negative
log-likelihood in continuous time compares the rates of the way back with the true ones (Campbell et al. 2022,
arXiv:2205.14987; the closed form is eq. 13 of Schiff et al. 2024, arXiv:2412.10193, who call it UDLM). It is tight for
pi(x) = p(letter = x | the other blurred letters): then x-bar of pi has the ratios of the blurred distribution itself,
the concrete score (Lou et al. 2024, arXiv:2310.16834).

Shape suffixes: B samples, L letters, N chosen letters of all samples, A letters of the alphabet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from genomai_cli.diffusion.kernel import (
    HIDDEN,
    Denoiser,
    Letters,
    Schedule,
    Start,
    Times,
    Way,
    drawn,
    numbers,
)

LEAST_KEPT = 1e-4  # below it, what is left of the letters is lost in rounding


@dataclass(frozen=True)
class Uniform:
    """Letters are replaced by random ones; none can be trusted more than alpha."""

    name: str = "uniform"
    doubts: bool = True

    def times(self, even_B: Times) -> Times:
        """The squares of the numbers: most surprising is a letter that is replaced when hardly any is, so that a
        thousandth of the time next to 0 makes some per cent of the bound."""
        return even_B**2

    def pace(self, times_B: Times) -> Times:
        """2 u at the time u^2."""
        return 2 * np.sqrt(times_B)

    def noised(
        self, letters_BL: Letters, kept_B: Times, size: int, rng: np.random.Generator
    ) -> Letters:
        """Each known letter replaced with the probability 1 - alpha by one of all, itself included."""
        replaced_BL = rng.random(letters_BL.shape) >= kept_B[:, None]
        others_BL = rng.integers(0, size, letters_BL.shape)
        return np.where(replaced_BL & (letters_BL != HIDDEN), others_BL, letters_BL)

    def judged(self, shown_BL: Tensor, truth_BL: Tensor) -> Tensor:
        """All letters that are known."""
        del shown_BL
        return truth_BL != HIDDEN

    def nats(
        self, logits_NA: Tensor, truth_N: Tensor, shown_N: Tensor, kept_N: Tensor, slope_N: Tensor
    ) -> Tensor:
        """beta / A times the sum over the letters of rho - r - r log(rho / r), with r = x-bar_j / x-bar_i the ratios
        for the true letter, rho those for the guess, i what is shown, and beta = -alpha' / alpha."""
        size = logits_NA.shape[1]
        kept_N1 = kept_N.clamp(min=LEAST_KEPT)[:, None]
        true_NA = _blurred(functional.one_hot(truth_N, size).to(logits_NA.dtype), kept_N1)
        guess_NA = _blurred(logits_NA.softmax(1), kept_N1)
        shown_N1 = shown_N[:, None]
        ratio_NA = true_NA / true_NA.gather(1, shown_N1)
        # rho / r - 1, and u - log(1 + u) of it, which is small where alpha is
        more_NA = guess_NA / guess_NA.gather(1, shown_N1) / ratio_NA - 1
        nats_N: Tensor = (ratio_NA * (more_NA - torch.log1p(more_NA))).sum(1)
        return -slope_N / (size * kept_N1[:, 0]) * nats_N

    def sample(
        self,
        denoiser: Denoiser,
        start: Start,
        seeds: Sequence[Sequence[int]],
        schedule: Schedule,
        size: int,
        way: Way,
    ) -> Tensor:
        """Letters (B, L) by ancestral sampling: in each step all letters are drawn anew, given all as they were."""
        generators = [np.random.default_rng(list(seed)) for seed in seeds]
        kept = [*schedule.kept(np.linspace(way.since, 0, way.steps + 1)).tolist()[:-1], 1.0]
        stay_BL = start.fixed | (numbers(generators, start.letters) < kept[0])
        stay_BL &= start.fixed | (start.letters != HIDDEN)
        noise_BL = (numbers(generators, start.letters) * size).long().clamp(max=size - 1)
        letters_BL = torch.where(stay_BL, start.letters, noise_BL)
        due_BL = ~start.fixed
        for before, after in pairwise(kept):
            uniform_BL = numbers(generators, start.letters)
            trust_BL = torch.full_like(uniform_BL, before).masked_fill(start.fixed, 1)
            logits_NA = denoiser(letters_BL, due_BL, trust_BL) / way.temperature
            chance_NA = step_back(logits_NA.softmax(1), letters_BL[due_BL], before, after)
            letters_BL[due_BL] = drawn(chance_NA, uniform_BL[due_BL])
        return letters_BL


def step_back(guess_NA: Tensor, shown_N: Tensor, before: float, after: float) -> Tensor:
    """The probabilities (N, A) of the letters at an earlier time, where alpha is `after`, given those shown now, where
    it is `before`, and what the others tell: what the guess makes of the earlier time, times the chance to come from
    there to what is shown."""
    size, left = guess_NA.shape[1], before / after if after else 0.0
    same_NA = functional.one_hot(shown_N, size).to(guess_NA.dtype)
    chance_NA = _blurred(guess_NA, after) * (left * same_NA + (1 - left) / size)
    return chance_NA / chance_NA.sum(1, keepdim=True)


def _blurred(probabilities_NA: Tensor, kept: Tensor | float) -> Tensor:
    """A times the probabilities (N, A) at the time where alpha is `kept`."""
    return probabilities_NA.shape[1] * kept * probabilities_NA + (1 - kept)
