"""The absorbing process: a letter is visible, until it is hidden for good (Austin et al. 2021, arXiv:2107.03006).

A network guesses the hidden letters from the visible ones. Its cross-entropy, weighted by time, is a bound on the
negative log-likelihood (Sahoo et al. 2024, arXiv:2406.07524), and its guesses, drawn little by little, are samples.

Shape suffixes: B samples, L letters, N chosen letters of all samples, A letters of the alphabet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
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


@dataclass(frozen=True)
class Absorbing:
    """Letters are hidden; those that are visible can be trusted."""

    name: str = "absorbing"
    doubts: bool = False

    def times(self, even_B: Times) -> Times:
        """The numbers themselves."""
        return even_B

    def pace(self, times_B: Times) -> Times:
        """1 at any time."""
        return np.ones_like(times_B)

    def noised(
        self, letters_BL: Letters, kept_B: Times, size: int, rng: np.random.Generator
    ) -> Letters:
        """Each letter hidden, by itself, with the probability 1 - alpha."""
        del size
        hidden_BL = rng.random(letters_BL.shape) >= kept_B[:, None]
        return np.where(hidden_BL, HIDDEN, letters_BL)

    def judged(self, shown_BL: Tensor, truth_BL: Tensor) -> Tensor:
        """The hidden letters that are known."""
        return (shown_BL == HIDDEN) & (truth_BL != HIDDEN)

    def nats(
        self, logits_NA: Tensor, truth_N: Tensor, shown_N: Tensor, kept_N: Tensor, slope_N: Tensor
    ) -> Tensor:
        """The cross-entropy, weighted by -alpha' / (1 - alpha) (Sahoo et al. 2024, eq. 10)."""
        del shown_N
        surprise_N: Tensor = functional.cross_entropy(logits_NA, truth_N, reduction="none")
        return -slope_N / (1 - kept_N) * surprise_N

    def sample(
        self,
        denoiser: Denoiser,
        start: Start,
        seeds: Sequence[Sequence[int]],
        schedule: Schedule,
        size: int,
        way: Way,
    ) -> Tensor:
        """Letters (B, L) by ancestral sampling; a letter that is visible stays as it is.

        From time t to s a hidden letter appears with the probability (alpha_s - alpha_t) / (1 - alpha_t): the same as
        if it had drawn a uniform number beforehand and appeared when alpha passes it. So the letters that are hidden
        at the time `since` are those whose number alpha has not passed. Letters that appear in one step are
        independent of each other given those before.
        """
        del size
        generators = [np.random.default_rng(list(seed)) for seed in seeds]
        order_BL, letter_BL = (numbers(generators, start.letters) for _ in range(2))
        left = float(schedule.kept(np.array(way.since))) if way.since < 1 else 0.0
        stay_BL = start.fixed | (order_BL < left)
        letters_BL = start.letters.masked_fill(~stay_BL, HIDDEN)
        # The last step takes what remains: alpha is 1 but for rounding.
        kept = [*schedule.kept(np.linspace(way.since, 0, way.steps + 1)).tolist()[:-1], 2.0]
        for before, after in pairwise(kept):
            due_BL = (order_BL < after) & (letters_BL == HIDDEN) & ~start.fixed
            if before == after or not due_BL.any():
                continue
            trust_BL = (letters_BL != HIDDEN).to(order_BL.dtype)
            logits_NA = denoiser(letters_BL, due_BL, trust_BL)
            chance_NA = (logits_NA / way.temperature).softmax(1)
            letters_BL[due_BL] = drawn(chance_NA, letter_BL[due_BL])
        return letters_BL
