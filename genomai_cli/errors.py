"""The errors that a user can cause, each shown as one line and turned into an exit status in `cli`."""

from collections.abc import Sequence
from pathlib import Path


class GenomaiError(Exception):
    """Base of every error whose message is meant for the user; exit status 1."""

    exit_status = 1


def shown_path(path: str | Path) -> str:
    """A path as messages show it: `-` is standard input."""
    return "<stdin>" if str(path) == "-" else str(path)


def shown_names(names: Sequence[str], limit: int = 8) -> str:
    """Names as messages show them: at most `limit` of them, and dots for the others."""
    return ", ".join(names[:limit]) + (" ..." if len(names) > limit else "")


class InputError(GenomaiError):
    """Bad data in an input: `FILE:LINE: what is wrong` (the line only where it is known)."""

    def __init__(self, message: str, *, path: str | Path, line: int | None = None) -> None:
        self.message = message
        self.path = shown_path(path)
        self.line = line
        location = self.path if line is None else f"{self.path}:{line}"
        super().__init__(f"{location}: {message}")


class BundleError(GenomaiError):
    """A model bundle that is missing, damaged, or of a newer format."""


class DeviceError(GenomaiError):
    """A device that cannot do what it is asked for."""


class TrainingError(GenomaiError):
    """Training that cannot start or go on (no labels, one class, a loss that is not finite)."""


class Stopped(GenomaiError):  # noqa: N818  (to be stopped is no error)
    """A run that was asked to stop, and has left behind what it needs to go on."""


class GenomaiWarning(UserWarning):
    """What may make a result other than expected, told in Python as commands tell it on standard error."""


class UsageError(GenomaiError):
    """Options that contradict each other; exit status 2."""

    exit_status = 2
