"""Messages for the user, progress bars, and the steps of a training run."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from genomai_cli.cli.process import print_to_stderr
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
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        text = "{task.description}", "{task.fields[rate]}"
        columns = (BarColumn(), MofNCompleteColumn(), *map(TextColumn, text), TimeRemainingColumn())
        with RichProgress(*columns, console=RichConsole(stderr=True), transient=True) as progress:
            task = progress.add_task(label, total=total, rate="")
            for item in items:
                yield item
                progress.advance(task)
                progress.update(task, rate=_rate(progress.tasks[task].speed))

    def _write(self, message: str) -> None:
        print_to_stderr(f"{self.command}: {printable(message)}")


def _rate(per_second: float | None) -> str:
    """The number of items in a second, as text."""
    if not per_second:
        return ""
    return f"{per_second:.1f} a second" if per_second < 10 else f"{per_second:,.0f} a second"


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to standard output: TSV, but on a terminal in columns, a row a line of it."""
    table = [columns, *rows]
    if not sys.stdout.isatty():
        lines = ["\t".join(row) for row in table]
    else:
        from shutil import get_terminal_size

        widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
        padded = (
            [field.ljust(width) for field, width in zip(row, widths, strict=False)] + [row[-1]]
            for row in table
        )
        width = get_terminal_size().columns
        lines = [_truncated("  ".join(row), width) for row in padded]
    for line in lines:
        print(line)


def _truncated(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."


MAX_WARNINGS = 10  # of one kind


@dataclass(slots=True)
class RepeatedWarning:
    """A warning that a million records may call for: the first ones are shown, and at the end their number."""

    console: Console
    summary: str
    count: int = 0

    def __call__(self, message: str) -> None:
        self.count += 1
        if self.count <= MAX_WARNINGS:
            self.console.warn(message)

    def sum_up(self) -> None:
        """Show the number, if not all were shown."""
        if self.count > MAX_WARNINGS:
            self.console.warn(f"{self.count} {self.summary}")


ABSENT = "."


class Progress:
    """Tells the user, and the log, how far a training run of so many steps is."""

    def __init__(self, console: Console, steps: int, log: "MetricsLog") -> None:
        self._console, self._steps, self._log = console, steps, log
        self._start_time = time.monotonic()
        self._first_step: int | None = None
        self._bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._console.quiet:
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn
            from rich.progress import Progress as RichProgress

            columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
            terminal = RichConsole(stderr=True)
            self._bar = RichProgress(*columns, console=terminal, transient=True)
            self._bar.start()
            self._bar.add_task("the first steps", total=self._steps)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def report(self, metrics: "StepMetrics") -> None:
        """Log the step; show it, on a terminal always and elsewhere where there is a validation loss."""
        self._log.add(_row(metrics))
        text = self._text(metrics)
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=metrics.step, description=text)
        if metrics.held_out is not None:
            self._console.say(text)
        elif self._bar is None:
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
        if self._first_step is None:
            self._first_step, self._start_time = step, now
        if step == self._first_step:
            return "time left unknown"
        seconds = (now - self._start_time) / (step - self._first_step) * (self._steps - step)
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
