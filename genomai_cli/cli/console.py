"""What the user reads while the program works: messages, progress bars, and the steps of a training run."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from genomai_cli.cli.process import tell
from genomai_cli.names import printable

if TYPE_CHECKING:
    from genomai_cli.training.progress import StepMetrics
    from genomai_cli.training.run_folder import MetricsLog

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Console:
    """Messages to standard error: `warn` and `say` unless quiet, `detail` only when verbose."""

    command: str
    quiet: bool = False
    verbose: bool = False

    def say(self, message: str) -> None:
        """Tell something worth knowing about a run that goes well."""
        if not self.quiet:
            self._write(message)

    def warn(self, message: str) -> None:
        """Tell about something that may make the results other than expected."""
        if not self.quiet:
            self._write(f"warning: {message}")

    def detail(self, message: str) -> None:
        """Tell what only someone who asked with `-v` wants to read."""
        if self.verbose and not self.quiet:
            self._write(message)

    def progress(
        self, items: Iterable[Item], label: str, *, total: int | None = None
    ) -> Iterator[Item]:
        """The same items, with a progress bar while they pass if standard error is a terminal."""
        if self.quiet or not sys.stderr.isatty():
            yield from items
            return
        from rich.console import Console as RichConsole
        from rich.progress import track

        terminal = RichConsole(stderr=True)
        yield from track(items, label, total=total, console=terminal, transient=True)

    def _write(self, message: str) -> None:
        tell(f"{self.command}: {printable(message)}")


MOST_WARNINGS = 10  # of one kind


@dataclass(slots=True)
class RepeatedWarning:
    """A warning that a million records may call for: the first ones are told, and at the end how many there were."""

    console: Console
    of_all: str
    count: int = 0

    def __call__(self, message: str) -> None:
        self.count += 1
        if self.count <= MOST_WARNINGS:
            self.console.warn(message)

    def sum_up(self) -> None:
        """Tell the number, if not all were told."""
        if self.count > MOST_WARNINGS:
            self.console.warn(f"{self.count} {self.of_all}")


ABSENT = "."


class Progress:
    """Tells the user, and the log, how far a training run of so many steps is."""

    def __init__(self, console: Console, steps: int, log: "MetricsLog") -> None:
        self._console, self._steps, self._log = console, steps, log
        self._began = time.monotonic()
        self._first: int | None = None
        self._line: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._console.quiet:
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn
            from rich.progress import Progress as RichProgress

            columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
            terminal = RichConsole(stderr=True)
            self._line = RichProgress(*columns, console=terminal, transient=True)
            self._line.start()
            self._line.add_task("the first steps", total=self._steps)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._line is not None:
            self._line.stop()

    def tell(self, metrics: "StepMetrics") -> None:
        """Log the step; show it, on a terminal always and elsewhere where there is a validation loss."""
        self._log.add(_row(metrics))
        text = self._text(metrics)
        if self._line is not None:
            task = self._line.task_ids[0]
            self._line.update(task, completed=metrics.step, description=text)
        if metrics.held_out is not None:
            self._console.say(text)
        elif self._line is None:
            self._console.detail(text)

    def _text(self, metrics: "StepMetrics") -> str:
        text = f"step {metrics.step} of {self._steps}: loss {_losses(metrics.loss, metrics.terms)}"
        if metrics.held_out is not None:
            text += f", held out {_losses(metrics.held_out, metrics.held_out_terms)}"
        return f"{text}, {metrics.tokens_per_second:,.0f} tokens/s, {self._time_left(metrics.step)}"

    def _time_left(self, step: int) -> str:
        """At the pace since the first step of this process."""
        from genomai_cli.training.progress import time_left

        now = time.monotonic()
        if self._first is None:
            self._first, self._began = step, now
        if step == self._first:
            return "time left unknown"
        seconds = (now - self._began) / (step - self._first) * (self._steps - step)
        return time_left(seconds)


def _losses(total: float, terms: "dict[str, float] | Any") -> str:
    """The loss, and those of several objectives."""
    parts = ", ".join(f"{name} {loss:.4f}" for name, loss in terms.items())
    return f"{total:.4f} ({parts})" if len(terms) > 1 else f"{total:.4f}"


def _row(metrics: "StepMetrics") -> dict[str, str]:
    held_out = metrics.held_out_terms
    return {
        "step": str(metrics.step),
        "epoch": f"{metrics.epoch:.4f}",
        "tokens": str(metrics.tokens),
        "loss": f"{metrics.loss:.6f}",
        **{f"loss_{name}": f"{loss:.6f}" for name, loss in metrics.terms.items()},
        "held_out": ABSENT if metrics.held_out is None else f"{metrics.held_out:.6f}",
        **{
            f"held_out_{name}": f"{held_out[name]:.6f}" if held_out else ABSENT
            for name in metrics.terms
        },
        "learning_rate": f"{metrics.learning_rate:.6g}",
        "tokens_per_second": f"{metrics.tokens_per_second:.0f}",
        "time": f"{time.time():.0f}",
    }
