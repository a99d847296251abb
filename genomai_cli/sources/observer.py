"""Who is told how a run goes while its inputs are read: a command's `Run`, or whoever called from Python."""

from collections.abc import Callable
from typing import Protocol


class Messages(Protocol):
    """Where messages go."""

    def say(self, message: str) -> None:
        """Something worth knowing about a run that goes well."""

    def warn(self, message: str) -> None:
        """Something that may make the results other than expected."""


class Observer(Protocol):
    """Gets messages, and keeps count of records."""

    @property
    def console(self) -> Messages:
        """Who reads the messages."""

    def count(self, *, read: int = 0, used: int = 0, refused: int = 0) -> None:
        """So many more records."""

    def repeated_warning(self, of_all: str) -> Callable[[str], object]:
        """Takes warnings of one kind, one a record; `of_all` says what they were about, after their number."""

    def note(self, **facts: object) -> None:
        """Facts for the record of the run."""

    def used_model(self, name: str, version: str, sha256: str) -> None:
        """The model, with the checksum of its weights."""

    def used_device(self, device: object) -> None:
        """The device that it computes on."""
