"""The protocols of diffusion processes (`Kernel`) for training and sampling, and of their networks (`Denoiser`).

A process noises tokens little by little: at time t each token is as it was with the probability alpha_t (`Schedule`),
by itself, from t = 0, where all are, to t = 1, where none is. A network predicts each token from the noised others; its
predictions give a bound on the negative log-likelihood, and the way back.

Shape suffixes: B samples, T tokens, N chosen tokens of all samples, V tokens of the vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASKED = -1  # among tokens: not to be seen, or not known
MIN_TIME = 1e-3  # no time of a loss is nearer to 0, where its weight has no bound

Times = NDArray[np.float64]
Tokens = NDArray[np.int64]
Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From tokens (B, T), `MASKED` or 0 to V - 1, the positions (B, T) asked for and each token's keep probability (B, T),
which is alpha where it may have been substituted, to the logits (N, V) of the positions, row by row."""


@dataclass(frozen=True)
class Schedule:
    """`alpha(t)`, the share of tokens that are as they were at time t, falls from 1 to 0; `derivative` is by time."""

    name: str
    alpha: Callable[[Times], Times]
    derivative: Callable[[Times], Times]


LINEAR = Schedule("linear", lambda t: 1 - t, lambda t: np.full_like(t, -1.0))
COSINE = Schedule(
    "cosine",
    lambda t: 1 - np.cos((1 - t) * math.pi / 2),
    lambda t: -np.sin((1 - t) * math.pi / 2) * math.pi / 2,
)
SCHEDULES = {schedule.name: schedule for schedule in (LINEAR, COSINE)}


@dataclass(frozen=True)
class Sampling:
    """How to sample tokens of a vocabulary of so many: in `steps`, from `start_time` (1: all is noise) back to 0; a
    `temperature` below 1 makes likelier tokens. Tokens of one of the `groups` (T,) depend most on each other: a kernel
    that draws tokens one after the other draws no two of them in a step, if there are steps enough."""

    schedule: Schedule
    vocabulary: int
    steps: int = 64
    temperature: float = 1.0
    start_time: float = 1.0
    groups: Tokens | None = None

    def alphas(self) -> list[float]:
        """Alpha before each step, and 1 after the last."""
        times = np.linspace(self.start_time, 0, self.steps + 1)
        return [*self.schedule.alpha(times).tolist()[:-1], 1.0]


@dataclass(frozen=True, eq=False)
class InitialTokens:
    """The start of sampling: tokens (B, T), `MASKED` where there is none; those that are `fixed` (B, T) stay."""

    tokens: Tensor
    fixed: Tensor

    @classmethod
    def masked(cls, samples: int, length: int, device: torch.device) -> "InitialTokens":
        """All tokens are to be drawn."""
        tokens_BT = torch.full((samples, length), MASKED, dtype=torch.int64, device=device)
        return cls(tokens_BT, torch.zeros_like(tokens_BT, dtype=torch.bool))


class Kernel(Protocol):
    """A diffusion process on tokens 0 to V - 1."""

    @property
    def name(self) -> str:
        """Its name in recipes."""

    @property
    def substitutions(self) -> bool:
        """Whether a token may be another than it was: then the network needs each one's keep probability as input."""

    def times(self, uniform_B: Times) -> Times:
        """The times (B,) of a loss, from numbers that are spread evenly from 0 to 1."""

    def time_derivative(self, times_B: Times) -> Times:
        """The derivative (B,) of `times`, by which the bound at each of them counts."""

    def noised(
        self, tokens_BT: Tokens, alpha_B: Times, vocabulary: int, rng: np.random.Generator
    ) -> Tokens:
        """The tokens, each as it was with the probability alpha (B,); `MASKED` ones stay so."""

    def scored(self, noised_BT: Tensor, truth_BT: Tensor) -> Tensor:
        """The positions (B, T) whose predictions count in the bound."""

    def nats(
        self,
        logits_NV: Tensor,
        truth_N: Tensor,
        noised_N: Tensor,
        alpha_N: Tensor,
        derivative_N: Tensor,
    ) -> Tensor:
        """The term of each scored token in the bound per unit of time (N,), at alpha and its derivative by time."""

    def sample(
        self,
        denoiser: Denoiser,
        initial: InitialTokens,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
    ) -> Tensor:
        """Tokens (B, T) by ancestral sampling; all that is random in a sample follows from its own seed."""


def spread_times(count: int, rng: np.random.Generator) -> Times:
    """Times (count,), each uniform from `MIN_TIME` to 1, and together spread evenly.

    With one draw for all of them the loss of a batch varies less (Kingma et al. 2021, arXiv:2107.00630, appendix I.1).
    """
    times_B = (rng.random() + np.arange(count) / max(count, 1)) % 1.0
    scaled_B: Times = MIN_TIME + (1 - MIN_TIME) * times_B
    return scaled_B


def sample_categorical(probabilities_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """The tokens (N,) that uniform numbers choose: the first whose cumulative probability exceeds the number."""
    cumulative_NV = probabilities_NV.cumsum(1)
    tokens_N: Tensor = (uniform_N[:, None] >= cumulative_NV[:, :-1]).sum(1)
    return tokens_N


def uniform_numbers(generators: Sequence[np.random.Generator], like: Tensor) -> Tensor:
    """Uniform numbers (B, T), a row from each sample's own generator, on the device of `like`."""
    return _on_device(np.stack([rng.random(like.shape[1]) for rng in generators]), like)


def _on_device(rows_BT: NDArray[np.float64], like: Tensor) -> Tensor:
    uniform_BT = torch.from_numpy(rows_BT)
    if like.device.type == "mps":  # which has no double precision
        uniform_BT = uniform_BT.float()
    return uniform_BT.to(like.device)


def spaced_numbers(
    generators: Sequence[np.random.Generator], groups_T: Tokens, like: Tensor
) -> Tensor:
    """Uniform numbers (B, T) like `uniform_numbers`, but evenly apart within a group: of n tokens 1 / n, in an order
    and with a beginning that are drawn for each sample and group."""
    by_group = np.argsort(groups_T, kind="stable")
    _, start_G, number_T, size_G = np.unique(
        groups_T[by_group], return_index=True, return_inverse=True, return_counts=True
    )
    rows_BT = np.empty((len(generators), len(groups_T)))
    for row_T, rng in zip(rows_BT, generators, strict=True):
        shuffled = np.lexsort((rng.random(len(groups_T)), number_T))
        rank_T = np.empty(len(groups_T))
        rank_T[shuffled] = np.arange(len(groups_T)) - start_G[number_T]
        row_T[by_group] = (rank_T + rng.random(len(size_G))[number_T]) / size_G[number_T]
    return _on_device(rows_BT, like)


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598): logits moved away from those without a
    condition; 1 leaves the conditional ones as they are, 0 takes the others."""
    logits: Tensor = unconditional + guidance * (conditional - unconditional)
    return logits
