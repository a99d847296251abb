"""A command as a paragraph, and its run: inputs, messages, and the record that `--report-json` asks for.

    @command
    def embed(run: Run, inputs: Inputs = None, *, compute: Compute, output: Output = STANDARD_OUTPUT) -> None:
        '''Help text.'''
        from genomai_cli.formats import fasta

        for path in run.inputs:
            ...
        run.console.say("done")

is to Typer `embed(context, inputs, seed, device, threads, output, quiet, verbose, report_json)`.
"""

import inspect
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cached_property, wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Self, get_type_hints

import typer

from genomai_cli import __version__
from genomai_cli.cli.console import Console, RepeatedWarning
from genomai_cli.cli.file_roles import files_read, require_distinct_files
from genomai_cli.cli.json_text import json_text
from genomai_cli.cli.options import Messages
from genomai_cli.cli.process import require_working_directory
from genomai_cli.errors import GenomaiError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input

STANDARD_INPUT = Path("-")
SCHEMA_VERSION = 1


def command(body: Callable[Concatenate["Run", ...], None]) -> Callable[..., None]:
    """The body as Typer calls it: with the context of which its run is made, and options one by one.

    A parameter that is a dataclass stands for its fields (without `eq` and `repr`, which `--help` would wait for); the
    options of every command come behind the others.
    """
    _, *body_parameters = inspect.signature(body).parameters.values()
    parameters = [_keyword("context", typer.Context)]
    groups: dict[str, type] = {}
    for parameter in body_parameters:
        if _is_group(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters += _options(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    parameters += _options(Messages)

    @wraps(body)
    def invoke(context: typer.Context, **options: Any) -> None:
        require_working_directory()
        require_distinct_files(context.params)
        for option in fields(Messages):
            del options[option.name]  # the run reads them from the context
        for name, group in groups.items():
            options[name] = group(
                **{option.name: options.pop(option.name) for option in fields(group)}
            )
        with Run(context) as run:
            body(run, **options)

    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {option.name: option.annotation for option in parameters}
    return invoke


def _is_group(annotation: object) -> bool:
    return isinstance(annotation, type) and is_dataclass(annotation)


def _options(group: type) -> Iterator[inspect.Parameter]:
    types = get_type_hints(group, include_extras=True)
    for option in fields(group):
        yield _keyword(option.name, types[option.name], option.default)


def _keyword(
    name: str, annotation: object, default: object = inspect.Parameter.empty
) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


class Run:
    """The console and the record of a command, by its own options (`-q`, `-v`, `--report-json`...)."""

    def __init__(self, context: typer.Context) -> None:
        # Opened here, since `--help` has no run and should not wait for them.
        from datetime import UTC, datetime

        self._options = options = context.params
        self.console = Console(
            context.command_path, options.get("quiet", False), options.get("verbose", False)
        )
        self.report = RunReport(
            command=context.command_path.removeprefix("genomai "),
            arguments=_json_options(options),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=options.get("seed"),
            device=options.get("device"),
        )
        self._report_path: Path | None = options.get("report_json")
        inputs = options.get("inputs") or []
        self._inputs: list[Path] = inputs if isinstance(inputs, list) else [inputs]
        self._start_time = time.monotonic()
        self._sources: list[Input] = []
        self._repeated: list[RepeatedWarning] = []

    @property
    def inputs(self) -> list[Path]:
        """The files to read, `-` for standard input, which is also what no file at all means."""
        if not self._inputs and sys.stdin is not None and sys.stdin.isatty():
            raise UsageError("no input: name a file, or pipe data in (- reads the terminal)")
        paths = self._inputs or [STANDARD_INPUT]
        if paths.count(STANDARD_INPUT) > 1:
            raise UsageError("standard input (-) can be read only once")
        self.report.inputs = [str(path) for path in paths]
        return paths

    def count(self, *, read: int = 0, used: int = 0, refused: int = 0) -> None:
        """Add to the record's counts."""
        records = self.report.records
        records.read += read
        records.used += used
        records.refused += refused

    def used_model(self, name: str, version: str, sha256: str) -> None:
        """Record the model, with the checksum of its weights; of several the first."""
        self.report.model = self.report.model or ModelUsed(name, version, sha256)

    def used_device(self, device: object) -> None:
        """Record the device that `--device auto` came to."""
        self.report.device = str(device)

    def keep_quiet(self) -> None:
        """Say nothing and record nothing: another process of the same run does."""
        self.console = Console(self.console.command, quiet=True)
        self._report_path = None

    def register(self, source: "Input") -> "Input":
        """The same input; the run closes it, and warns at the end if it looks truncated."""
        self._sources.append(source)
        return source

    def repeated_warning(self, summary: str) -> "RepeatedWarning":
        """Takes warnings of one kind, one a record; at the end `summary` says what they were about."""
        self._repeated.append(RepeatedWarning(self.console, summary))
        return self._repeated[-1]

    def note(self, **facts: object) -> None:
        """Record facts of this command only, under `details`."""
        self.report.details.update(facts)

    @cached_property
    def files(self) -> "list[FileRead]":
        """The files that the options name to be read, with their checksums: a second reading of each."""
        from genomai_cli.bundles import catalog

        files = []
        for option, path in files_read(self._options):
            with suppress(OSError):  # it may be gone by now
                files.append(FileRead(option, str(path), path.stat().st_size, catalog.sha256(path)))
        return files

    def facts(self) -> dict[str, str]:
        """Facts of the run for a page: the program, its command line, and the files it has read."""
        facts = {
            "program": f"genomai {__version__}, {self.report.command}",
            "command": command_line(),
        }
        facts |= {f"input {path}": "standard input" for path in self.report.inputs if path == "-"}
        for file in self.files:
            option = "input" if file.option == "inputs" else f"--{file.option.replace('_', '-')}"
            facts[f"{option} {file.path}"] = f"{file.bytes:,} bytes, SHA-256 {file.sha256}"
        return facts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for warning in self._repeated if error is None else ():
            warning.sum_up()
        for source in self._sources:
            if error is None:
                self._warn_if_truncated(source)
            with suppress(OSError, GenomaiError):  # it is the first error that counts
                source.close()
        if self._report_path is None:
            return
        self.report.elapsed_seconds = round(time.monotonic() - self._start_time, 3)
        self.report.status = "done" if error is None else "failed"
        self.report.error = None if error is None else str(error) or type(error).__name__
        self.report.files = self.files
        self.report.write(self._report_path)

    def _warn_if_truncated(self, source: "Input") -> None:
        if source.ends_within_line:
            self.console.warn(
                f"{source.path}: the last line has no line end: if the file was cut, its last record is not whole"
            )


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """The model that a run used; `sha256` is that of its weights file."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file that was read, by the option that named it."""

    option: str
    path: str
    bytes: int
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
    files: list[FileRead] = field(default_factory=list)
    records: Records = field(default_factory=Records)
    details: dict[str, Any] = field(default_factory=dict)
    elapsed_seconds: float = 0.0
    status: str = "running"
    error: str | None = None

    def to_json(self) -> str:
        """The document, indented, with a final newline."""
        head = {"schema_version": SCHEMA_VERSION, "program": "genomai", "version": __version__}
        return json_text({**head, **asdict(self)}, default=str)

    def write(self, path: Path) -> None:
        """Put the document at `path`, whole or not at all."""
        from genomai_cli.formats.outputs import atomic_text

        with atomic_text(path) as file:
            file.write(self.to_json())


def command_line() -> str:
    """The words that started this run, as a shell reads them."""
    return shlex.join(["genomai", *sys.argv[1:]])


def _json_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options as JSON can hold them, under their long names."""
    return {name.replace("_", "-"): _json_value(value) for name, value in options.items()}


def _json_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value if isinstance(value, int | float | str | None) else str(value)
