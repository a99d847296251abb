"""Progress of a training run: losses, tokens and speed, row by row of the log; the time left.

Shape suffixes: K objectives.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genomai_cli.training.trainer import Loop


@dataclass(frozen=True)
class StepMetrics:
    """The metrics of a step; losses are in nats, `terms` those of the objectives since the last metrics.

    `held_out` and its terms are there only where the held-out samples have just been evaluated.
    """

    step: int
    epoch: float
    tokens: int
    loss: float
    terms: Mapping[str, float]
    held_out: float | None
    held_out_terms: Mapping[str, float]
    learning_rate: float
    tokens_per_second: float


class Pace:
    """How much time is left at the pace so far of so much `work`, in any unit."""

    def __init__(self, work: float) -> None:
        self.work, self.done = work, 0.0
        self._began = time.monotonic()

    def time_left(self, more_work: float = 0.0) -> str:
        """In words, when so much further work is done."""
        done = self.done + more_work
        if done <= 0:
            return "time left unknown"
        seconds = (time.monotonic() - self._began) / done * max(0.0, self.work - done)
        return time_left(seconds)


def time_left(seconds: float) -> str:
    """In words."""
    minutes, hours = round(seconds / 60), seconds / 3600
    if hours >= 2:
        return f"{hours:.1f} h left"
    return f"{minutes} min left" if seconds >= 120 else f"{seconds:.0f} s left"


class TrainingLog:
    """Losses and tokens between the rows of the log.

    They are kept in the loop's notes and so travel with the checkpoint: a resumed run writes the same rows.
    """

    def __init__(
        self,
        loop: Loop,
        names: Sequence[str],
        weights_K: Tensor,
        report: Callable[[StepMetrics], None],
    ) -> None:
        self.loop, self.names, self.report = loop, list(names), report
        self.weights_K = weights_K.double().cpu()
        self._last_report, self._tokens_since = time.monotonic(), 0

    def add(self, terms_K: Sequence[float], tokens: int) -> None:
        """Add up a step's losses and tokens, of all processes' batches."""
        notes = self.loop.notes
        for name, value in [("steps", 1), *zip(self.names, terms_K, strict=True)]:
            notes[name] = notes.get(name, 0) + value
        notes["tokens"] = notes.get("tokens", 0) + tokens
        self._tokens_since += tokens

    def write(self, step: int, epoch: float, held_out_K: Tensor | None = None) -> None:
        """Report the losses since the last row, with those of the held-out samples if they were just evaluated."""
        notes = self.loop.notes
        sums_K = torch.tensor([notes.pop(name) for name in self.names], dtype=torch.float64)
        terms_K = sums_K / notes.pop("steps")
        seconds = max(time.monotonic() - self._last_report, 1e-9)
        metrics = StepMetrics(
            step,
            epoch,
            int(notes["tokens"]),
            self._weighted(terms_K),
            self.named(terms_K),
            None if held_out_K is None else self._weighted(held_out_K),
            {} if held_out_K is None else self.named(held_out_K),
            float(self.loop.optimizer.param_groups[0]["lr"]),
            self._tokens_since / seconds,
        )
        self._last_report, self._tokens_since = time.monotonic(), 0
        self.report(metrics)

    def named(self, terms_K: Tensor) -> dict[str, float]:
        """The objectives' losses by name."""
        return dict(zip(self.names, terms_K.tolist(), strict=True))

    def _weighted(self, terms_K: Tensor) -> float:
        return float((terms_K.double().cpu() * self.weights_K).sum())
