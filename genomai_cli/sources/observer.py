"""The observer of a run while its inputs are read: a command's `Run`, or the listener of a call from Python."""

from collections.abc import Callable
from typing import Protocol


class Messages(Protocol):
    """Takes messages for the user."""

    def say(self, message: str) -> None:
        """A message about a run that goes well."""

    def warn(self, message: str) -> None:
        """A message about what may make the results other than expected."""


class Observer(Protocol):
    """Takes messages and facts, and counts records."""

    @property
    def console(self) -> Messages:
        """Takes the messages."""

    def count(self, *, read: int = 0, used: int = 0, refused: int = 0) -> None:
        """Add to the numbers of records."""

    def repeated_warning(self, summary: str) -> Callable[[str], object]:
        """Takes warnings of one kind, one a record; `summary` says what they were about, after their number."""

    def note(self, **facts: object) -> None:
        """Facts for the record of the run."""

    def used_model(self, name: str, version: str, sha256: str) -> None:
        """The model, with the checksum of its weights."""

    def used_device(self, device: object) -> None:
        """The device that it computes on."""
