"""The absorbing process: a letter is visible, until it is hidden for good (Austin et al. 2021, arXiv:2107.03006).

A network guesses the hidden letters from the visible ones. Its cross-entropy, weighted by time, is a bound on the
negative log-likelihood (Sahoo et al. 2024, arXiv:2406.07524), and its guesses, drawn little by little, are samples.

Shape suffixes: B samples, L letters, N chosen letters of all samples, A letters of the alphabet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.diffusion.schedule import Schedule, Times

HIDDEN = -1

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""From letters (B, L), `HIDDEN` or 0 to A - 1, the logits (N, A) of the places (B, L) asked for, row by row."""


def hide(
    letters_BL: NDArray[np.int64], times_B: Times, schedule: Schedule, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The letters as they are at a time: each hidden, by itself, with the probability 1 - alpha_t."""
    hidden_BL = rng.random(letters_BL.shape) >= schedule.kept(times_B)[:, None]
    return np.where(hidden_BL, HIDDEN, letters_BL)


def bound(surprise_BL: Tensor, hidden_BL: Tensor, weight_B: Tensor, known_BL: Tensor) -> Tensor:
    """An unbiased estimate (B,) of the bound on -log p, in nats a letter.

    `surprise` is -log of the probability that was given to the true letter, which is known of at least one letter a
    sample; `weight` is the schedule's at the sample's time.
    """
    counted_BL = surprise_BL * (hidden_BL & known_BL)
    nats_B: Tensor = weight_B * counted_BL.sum(1) / known_BL.sum(1)
    return nats_B


@dataclass(frozen=True)
class Draws:
    """All randomness of some samples: two uniform numbers a place (B, L), its time to appear and its letter."""

    order: Tensor
    letter: Tensor

    @classmethod
    def of(cls, length: int, seeds: list[list[int]], device: torch.device) -> "Draws":
        """Each sample's from a seed of its own: they don't depend on the samples beside it."""
        drawn = np.stack([np.random.default_rng(seed).random((2, length)) for seed in seeds])
        uniform = torch.from_numpy(drawn).to(torch.float32 if device.type == "mps" else None)
        order_BL, letter_BL = uniform.to(device).unbind(1)
        return cls(order_BL, letter_BL)


def sample(
    denoiser: Denoiser,
    draws: Draws,
    schedule: Schedule,
    *,
    steps: int,
    temperature: float = 1.0,
    known_BL: Tensor | None = None,
) -> Tensor:
    """Letters (B, L) by ancestral sampling in so many steps; a letter that is visible stays as it is.

    From time t to s a hidden letter appears with the probability (alpha_s - alpha_t) / (1 - alpha_t): the same as if it
    had drawn a uniform number beforehand and appeared when alpha passes it. Letters that appear in one step are
    independent of each other given those before. `known_BL` are letters to begin with, `HIDDEN` where there is none.
    """
    letters_BL = torch.full_like(draws.order, HIDDEN, dtype=torch.int64)
    if known_BL is not None:
        letters_BL = known_BL.clone()
    # The last step takes what remains: alpha is 1 but for rounding.
    kept = [*schedule.kept(np.linspace(1, 0, steps + 1)).tolist()[:-1], 2.0]
    for before, after in pairwise(kept):
        due_BL = (draws.order < after) & (letters_BL == HIDDEN)
        if before == after or not due_BL.any():
            continue
        logits_NA = denoiser(letters_BL, due_BL)
        letters_BL[due_BL] = drawn(logits_NA / temperature, draws.letter[due_BL])
    return letters_BL


def drawn(logits_NA: Tensor, uniform_N: Tensor) -> Tensor:
    """The letters (N,) that uniform numbers choose: the first whose cumulative probability exceeds the number."""
    cumulative_NA = logits_NA.softmax(1).cumsum(1)
    above_N: Tensor = (uniform_N[:, None] >= cumulative_NA[:, :-1]).sum(1)
    return above_N


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598): logits moved away from those without a
    condition; 1 leaves the conditional ones as they are, 0 takes the others."""
    moved: Tensor = unconditional + guidance * (conditional - unconditional)
    return moved
