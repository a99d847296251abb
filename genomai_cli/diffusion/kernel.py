"""What training and sampling ask of a diffusion process, whichever it is, and what the process asks of a network.

A process blurs letters little by little: at time t each letter is left as it was with the probability alpha_t (a
`Schedule`), by itself. A network guesses each letter from the blurred others; from its guesses follow a bound on the
negative log-likelihood and the way back.

How much of a sequence is still to be seen at each time of a diffusion, from 0 (all of it) to 1 (nothing).

Shape suffixes: B samples, L letters, N chosen letters of all samples, A letters of the alphabet.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Times = NDArray[np.float64]
EARLIEST = 1e-3  # no time of a loss is nearer to 0, where its weight has no bound


@dataclass(frozen=True)
class Schedule:
    """`kept(t)` is the share of letters that are still visible at time t, alpha_t in the papers; `slope` its
    derivative. It falls from 1 to 0."""

    name: str
    kept: Callable[[Times], Times]
    slope: Callable[[Times], Times]


LINEAR = Schedule("linear", lambda t: 1 - t, lambda t: np.full_like(t, -1.0))
COSINE = Schedule(
    "cosine",
    lambda t: 1 - np.cos((1 - t) * math.pi / 2),
    lambda t: -np.sin((1 - t) * math.pi / 2) * math.pi / 2,
)
SCHEDULES = {schedule.name: schedule for schedule in (LINEAR, COSINE)}


def spread_times(count: int, rng: np.random.Generator) -> Times:
    """Times (count,), each uniform from `EARLIEST` to 1, and together spread evenly.

    With one draw for all of them the loss of a batch varies less (Kingma et al. 2021, arXiv:2107.00630, appendix I.1).
    """
    times_B = (rng.random() + np.arange(count) / max(count, 1)) % 1.0
    spread_B: Times = EARLIEST + (1 - EARLIEST) * times_B
    return spread_B


HIDDEN = -1
Letters = NDArray[np.int64]
Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From letters (B, L), `HIDDEN` or 0 to A - 1, the places (B, L) asked for and how far each letter can be trusted
(B, L), the probability alpha that it was left as it was, to the logits (N, A) of the places, row by row."""


@dataclass(frozen=True)
class Way:
    """How to sample: in so many `steps`, from the time `since` (1: nothing is left) back to 0; a `temperature` below 1
    makes likelier letters."""

    steps: int = 64
    temperature: float = 1.0
    since: float = 1.0


@dataclass(frozen=True, eq=False)
class Start:
    """What sampling begins with: letters (B, L), `HIDDEN` where there is none; those that are `fixed` (B, L) stay."""

    letters: Tensor
    fixed: Tensor

    @classmethod
    def of_nothing(cls, samples: int, length: int, device: torch.device) -> "Start":
        """All letters are to be drawn."""
        letters_BL = torch.full((samples, length), HIDDEN, dtype=torch.int64, device=device)
        return cls(letters_BL, torch.zeros_like(letters_BL, dtype=torch.bool))


class Kernel(Protocol):
    """A process; `size` is always the number of letters A of the alphabet."""

    @property
    def name(self) -> str:
        """Its name in recipes."""

    @property
    def doubts(self) -> bool:
        """Whether a letter that is shown may be another than it was."""

    def times(self, even_B: Times) -> Times:
        """The times (B,) to judge at, from numbers that are spread evenly from 0 to 1."""

    def pace(self, times_B: Times) -> Times:
        """How fast the times of `times` pass, which is what the bound at them counts: their derivative."""

    def noised(
        self, letters_BL: Letters, kept_B: Times, size: int, rng: np.random.Generator
    ) -> Letters:
        """The letters as they are when each is left as it was with the probability alpha (B,); unknown ones stay so."""

    def judged(self, shown_BL: Tensor, truth_BL: Tensor) -> Tensor:
        """The places (B, L) whose guesses have a part in the bound."""

    def nats(
        self, logits_NA: Tensor, truth_N: Tensor, shown_N: Tensor, kept_N: Tensor, slope_N: Tensor
    ) -> Tensor:
        """What each judged letter adds to the bound per unit of time (N,), at alpha and its derivative by time."""

    def sample(
        self,
        denoiser: Denoiser,
        start: Start,
        seeds: Sequence[Sequence[int]],
        schedule: Schedule,
        size: int,
        way: Way,
    ) -> Tensor:
        """Letters (B, L) by ancestral sampling; all that is random in a sample follows from its own seed."""


def drawn(probabilities_NA: Tensor, uniform_N: Tensor) -> Tensor:
    """The letters (N,) that uniform numbers choose: the first whose cumulative probability exceeds the number."""
    cumulative_NA = probabilities_NA.cumsum(1)
    above_N: Tensor = (uniform_N[:, None] >= cumulative_NA[:, :-1]).sum(1)
    return above_N


def numbers(generators: Sequence[np.random.Generator], like: Tensor) -> Tensor:
    """Uniform numbers (B, L), a row from each sample's own generator, on the device of `like`."""
    rows_BL = np.stack([rng.random(like.shape[1]) for rng in generators])
    uniform_BL = torch.from_numpy(rows_BL)
    if like.device.type == "mps":  # which has no double precision
        uniform_BL = uniform_BL.float()
    return uniform_BL.to(like.device)


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598): logits moved away from those without a
    condition; 1 leaves the conditional ones as they are, 0 takes the others."""
    moved: Tensor = unconditional + guidance * (conditional - unconditional)
    return moved
