"""The uniform process: a token is replaced by any token, again and again (Austin et al. 2021, arXiv:2107.03006).

Nothing marks the tokens that are still those of the beginning. A network predicts each token from the others and their
keep probability; the evidence of the token itself is added by Bayes' theorem here, so that the network need not be
trained for it. With pi the network's probabilities and x-bar = V alpha x + (1 - alpha), the bound on the negative
log-likelihood in continuous time compares the rates of the way back with the true ones (Campbell et al. 2022,
arXiv:2205.14987; the closed form is eq. 13 of Schiff et al. 2024, arXiv:2412.10193, who call it UDLM). It is tight for
pi(x) = p(token = x | the other noised tokens): then x-bar of pi has the ratios of the noised distribution itself, the
concrete score (Lou et al. 2024, arXiv:2310.16834).

Shape suffixes: B samples, T tokens, N chosen tokens of all samples, V tokens of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
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
    uniform_numbers,
)

MIN_ALPHA = 1e-4  # below it, what is left of the tokens is lost in rounding


@dataclass(frozen=True)
class Uniform:
    """Tokens are replaced by random ones; the keep probability of each is alpha."""

    name: str = "uniform"
    substitutions: bool = True

    def times(self, uniform_B: Times) -> Times:
        """The squares of the numbers: most surprising is a token that is replaced when hardly any is, so that a
        thousandth of the time next to 0 makes some per cent of the bound."""
        return uniform_B**2

    def time_derivative(self, times_B: Times) -> Times:
        """2 u at the time u^2."""
        return 2 * np.sqrt(times_B)

    def noised(
        self, tokens_BT: Tokens, alpha_B: Times, vocabulary: int, rng: np.random.Generator
    ) -> Tokens:
        """Each known token replaced with the probability 1 - alpha by one of all, itself included."""
        replaced_BT = rng.random(tokens_BT.shape) >= alpha_B[:, None]
        random_BT = rng.integers(0, vocabulary, tokens_BT.shape)
        return np.where(replaced_BT & (tokens_BT != MASKED), random_BT, tokens_BT)

    def scored(self, noised_BT: Tensor, truth_BT: Tensor) -> Tensor:
        """All tokens that are known."""
        del noised_BT
        return truth_BT != MASKED

    def nats(
        self,
        logits_NV: Tensor,
        truth_N: Tensor,
        noised_N: Tensor,
        alpha_N: Tensor,
        derivative_N: Tensor,
    ) -> Tensor:
        """beta / V times the sum over the tokens of rho - r - r log(rho / r), with r = x-bar_j / x-bar_i the ratios for
        the true token, rho those for the prediction, i the noised token, and beta = -alpha' / alpha."""
        size = logits_NV.shape[1]
        alpha_N1 = alpha_N.clamp(min=MIN_ALPHA)[:, None]
        true_NV = _noised(functional.one_hot(truth_N, size).to(logits_NV.dtype), alpha_N1)
        predicted_NV = _noised(logits_NV.softmax(1), alpha_N1)
        noised_N1 = noised_N[:, None]
        ratio_NV = true_NV / true_NV.gather(1, noised_N1)
        # rho / r - 1, and u - log(1 + u) of it, which is small where alpha is
        excess_NV = predicted_NV / predicted_NV.gather(1, noised_N1) / ratio_NV - 1
        nats_N: Tensor = (ratio_NV * (excess_NV - torch.log1p(excess_NV))).sum(1)
        return -derivative_N / (size * alpha_N1[:, 0]) * nats_N

    def sample(
        self,
        denoiser: Denoiser,
        initial: InitialTokens,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
    ) -> Tensor:
        """Tokens (B, T) by ancestral sampling: in each step all tokens are drawn anew, given all as they were."""
        generators = [np.random.default_rng(list(seed)) for seed in seeds]
        size, alphas = sampling.vocabulary, sampling.alphas()
        unchanged_BT = initial.fixed | (uniform_numbers(generators, initial.tokens) < alphas[0])
        unchanged_BT &= initial.fixed | (initial.tokens != MASKED)
        noise_BT = (uniform_numbers(generators, initial.tokens) * size).long().clamp(max=size - 1)
        tokens_BT = torch.where(unchanged_BT, initial.tokens, noise_BT)
        chosen_BT = ~initial.fixed
        for before, after in pairwise(alphas):
            uniform_BT = uniform_numbers(generators, initial.tokens)
            keep_probability_BT = torch.full_like(uniform_BT, before).masked_fill(initial.fixed, 1)
            logits_NV = denoiser(tokens_BT, chosen_BT, keep_probability_BT) / sampling.temperature
            probability_NV = step_back(logits_NV.softmax(1), tokens_BT[chosen_BT], before, after)
            tokens_BT[chosen_BT] = sample_categorical(probability_NV, uniform_BT[chosen_BT])
        return tokens_BT


def step_back(
    predicted_NV: Tensor, noised_N: Tensor, alpha_before: float, alpha_after: float
) -> Tensor:
    """The probabilities (N, V) of the tokens at an earlier time, where alpha is `alpha_after`, given those now, where
    it is `alpha_before`, and the prediction from the others: what the prediction makes of the earlier time, times the
    probability to come from there to the noised token."""
    size, keep_probability = (
        predicted_NV.shape[1],
        alpha_before / alpha_after if alpha_after else 0.0,
    )
    one_hot_NV = functional.one_hot(noised_N, size).to(predicted_NV.dtype)
    probability_NV = _noised(predicted_NV, alpha_after) * (
        keep_probability * one_hot_NV + (1 - keep_probability) / size
    )
    return probability_NV / probability_NV.sum(1, keepdim=True)


def _noised(probabilities_NV: Tensor, alpha: Tensor | float) -> Tensor:
    """V times the probabilities (N, V) at the time of this alpha."""
    return probabilities_NV.shape[1] * alpha * probabilities_NV + (1 - alpha)
