"""What a person reads while the program works: messages and progress bars on standard error."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

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
        print(f"{self.command}: {message}", file=sys.stderr, flush=True)
