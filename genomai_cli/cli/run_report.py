"""The record of a run that `--report-json FILE` writes: what was done, with what, and when."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genomai_cli import __version__

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """The model that a run used; `sha256` is that of its weights file."""

    name: str
    version: str
    sha256: str


@dataclass(slots=True)
class Records:
    """How many records were read, entered the result, and were refused."""

    read: int = 0
    used: int = 0
    refused: int = 0


@dataclass(slots=True)
class RunReport:
    """One run; the fields are the keys of the JSON document, beside schema, program and version."""

    command: str
    arguments: dict[str, Any]
    started: str
    seed: int | None = None
    device: str | None = None
    model: ModelUsed | None = None
    inputs: list[str] = field(default_factory=list)
    records: Records = field(default_factory=Records)
    details: dict[str, Any] = field(default_factory=dict)
    elapsed_seconds: float = 0.0
    status: str = "running"
    error: str | None = None

    def to_json(self) -> str:
        """The document, indented, with a final newline."""
        head = {"schema_version": SCHEMA_VERSION, "program": "genomai", "version": __version__}
        return json.dumps({**head, **asdict(self)}, indent=2, default=str) + "\n"

    def write(self, path: Path) -> None:
        """Put the document at `path`, whole or not at all."""
        from genomai_cli.formats.outputs import atomic_text

        with atomic_text(path) as file:
            file.write(self.to_json())
