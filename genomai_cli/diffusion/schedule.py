"""How much of a sequence is still to be seen at each time of a diffusion, from 0 (all of it) to 1 (nothing).

Shape suffixes: B samples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
