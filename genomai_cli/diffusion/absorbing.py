"""The absorbing process: a token is visible, until it is masked for good (Austin et al. 2021, arXiv:2107.03006).

A network predicts the masked tokens from the visible ones. Its cross-entropy, weighted by time, is a bound on the
negative log-likelihood (Sahoo et al. 2024, arXiv:2406.07524), and its predictions, drawn little by little, are samples.

Shape suffixes: B samples, T tokens, N chosen tokens of all samples, V tokens of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import Tensor
from torch.nn import functional

from genomai_cli.diffusion.kernel import (
    MASKED,
    Denoiser,
    InitialTokens,
    Sampling,
    Times,
    Tokens,
    sample_categorical,
    spaced_numbers,
    uniform_numbers,
)


@dataclass(frozen=True)
class Absorbing:
    """Tokens are masked; those that are visible are as they were."""

    name: str = "absorbing"
    substitutions: bool = False

    def times(self, uniform_B: Times) -> Times:
        """The numbers themselves."""
        return uniform_B

    def time_derivative(self, times_B: Times) -> Times:
        """1 at any time."""
        return np.ones_like(times_B)

    def noised(
        self, tokens_BT: Tokens, alpha_B: Times, vocabulary: int, rng: np.random.Generator
    ) -> Tokens:
        """Each token masked, by itself, with the probability 1 - alpha."""
        del vocabulary
        masked_BT = rng.random(tokens_BT.shape) >= alpha_B[:, None]
        return np.where(masked_BT, MASKED, tokens_BT)

    def scored(self, noised_BT: Tensor, truth_BT: Tensor) -> Tensor:
        """The masked tokens that are known."""
        return (noised_BT == MASKED) & (truth_BT != MASKED)

    def nats(
        self,
        logits_NV: Tensor,
        truth_N: Tensor,
        noised_N: Tensor,
        alpha_N: Tensor,
        derivative_N: Tensor,
    ) -> Tensor:
        """The cross-entropy, weighted by -alpha' / (1 - alpha) (Sahoo et al. 2024, eq. 10)."""
        del noised_N
        cross_entropy_N: Tensor = functional.cross_entropy(logits_NV, truth_N, reduction="none")
        return -derivative_N / (1 - alpha_N) * cross_entropy_N

    def sample(
        self,
        denoiser: Denoiser,
        initial: InitialTokens,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
    ) -> Tensor:
        """Tokens (B, T) by ancestral sampling; a token that is visible stays as it is.

        From time t to s a masked token appears with the probability (alpha_s - alpha_t) / (1 - alpha_t): the same as if
        it had drawn a uniform number (`reveal_BT`) beforehand and appeared when alpha passes it. So the tokens that are
        masked at the start time are those whose number alpha has not passed. Tokens that appear in one step are
        independent of each other given those before, so those of a group of `sampling` have numbers that lie evenly
        apart.
        """
        generators = [np.random.default_rng(list(seed)) for seed in seeds]
        if sampling.groups is None:
            reveal_BT = uniform_numbers(generators, initial.tokens)
        else:
            reveal_BT = spaced_numbers(generators, sampling.groups, initial.tokens)
        uniform_BT = uniform_numbers(generators, initial.tokens)
        alphas = sampling.alphas()
        start_alpha = alphas[0] if sampling.start_time < 1 else 0.0
        visible_BT = initial.fixed | (reveal_BT < start_alpha)
        tokens_BT = initial.tokens.masked_fill(~visible_BT, MASKED)
        alphas[-1] = 2.0  # the last step takes what remains: alpha is 1 but for rounding
        for before, after in pairwise(alphas):
            chosen_BT = (reveal_BT < after) & (tokens_BT == MASKED) & ~initial.fixed
            if before == after or not chosen_BT.any():
                continue
            keep_probability_BT = (tokens_BT != MASKED).to(reveal_BT.dtype)
            logits_NV = denoiser(tokens_BT, chosen_BT, keep_probability_BT)
            probability_NV = (logits_NV / sampling.temperature).softmax(1)
            tokens_BT[chosen_BT] = sample_categorical(probability_NV, uniform_BT[chosen_BT])
        return tokens_BT
