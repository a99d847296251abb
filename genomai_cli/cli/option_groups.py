"""Options of commands in groups: a dataclass of options stands for its fields, on the command line and in its help.

    @dataclass(frozen=True)
    class Messages:
        quiet: Quiet = False
        verbose: Verbose = False

    @grouped
    def align(context: typer.Context, inputs: Inputs = None, *, messages: Messages) -> None: ...

is `align(context, inputs, quiet, verbose)` to Typer. The groups that several commands share are defined here.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

from genomai_cli.cli.options import (
    AbsentIsRef,
    BatchSize,
    Device,
    Model,
    Quiet,
    ReportJson,
    Seed,
    Threads,
    UnusedDevice,
    UnusedThreads,
    Verbose,
)


@dataclass(frozen=True)
class InferenceOptions:
    """Which model runs, on what, and how records of variants are read for it."""

    model: Model = None
    absent_is_ref: AbsentIsRef = False
    batch_size: BatchSize = None
    seed: Seed = 0
    device: Device = "auto"
    threads: Threads = None


@dataclass(frozen=True)
class SeedOnly:
    """The seed of a command without a model; device and threads have nothing to decide."""

    seed: Seed = 0
    device: UnusedDevice = "auto"
    threads: UnusedThreads = None


@dataclass(frozen=True)
class Messages:
    """What `cli.run.Run` reads from the context: how much is said, and where the run is recorded."""

    quiet: Quiet = False
    verbose: Verbose = False
    report_json: ReportJson = None


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter that is a dataclass replaced by the dataclass's fields, in its place."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation):
            options = _options(parameter.annotation)
            groups[parameter.name] = parameter.annotation, [option.name for option in options]
            parameters += options
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def spread(**given: Any) -> None:
        for name, (group, options) in groups.items():
            given[name] = group(**{option: given.pop(option) for option in options})
        command(**given)

    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {option.name: option.annotation for option in parameters}
    return spread


def _options(group: type) -> list[inspect.Parameter]:
    kind, types = inspect.Parameter.KEYWORD_ONLY, get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(field.name, kind, default=field.default, annotation=types[field.name])
        for field in fields(group)
    ]
