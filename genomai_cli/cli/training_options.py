"""Shared by `train` and `pretrain`: options, the names of recipes, and requests to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from genomai_cli.cli.process import ending_signals
from genomai_cli.errors import Stopped, UsageError

if TYPE_CHECKING:
    from genomai_cli.inputs.base import InputKind

AnyRecipe = TypeVar("AnyRecipe")
Target = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="DIR", help="The bundle's folder, written whole or not at all."
    ),
]


def recipe_option(defaults: str) -> Any:
    """`--recipe`, with the names of the presets."""
    return typer.Option(
        "--recipe",
        metavar="PRESET|TOML",
        help=f"How to train.  [default: {defaults}]",
        show_default=False,
    )


Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change a value of the recipe; may be repeated.",
        show_default=False,
    ),
]
TrainingPanel = Annotated[
    Path | None,
    typer.Option(
        "--panel",
        metavar="TSV|VCF",
        help="The sites of a barcode; of a VCF or BCF, its biallelic SNPs.  "
        "[default: the panel of the model ancestry-967]",
        show_default=False,
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace an existing bundle, or start over an interrupted run."),
]


@dataclass(eq=False, repr=False)
class RestartOptions:
    """Whether an interrupted run goes on, and whether an existing bundle is replaced."""

    resume: Resume = False
    force: Force = False


def named_after(recipe: AnyRecipe, output: Path, changes: list[str]) -> AnyRecipe:
    """The recipe for a model called as its folder, unless `--set name=` says otherwise."""
    from genomai_cli.training.recipe_tables import named

    if any(change.startswith("name=") for change in changes):
        return recipe
    return named(recipe, output.resolve().name)


def require_use_of_reference(
    reference: Path | None, kind: "InputKind", recipe: str, *, unless: str = ""
) -> None:
    """UsageError for a reference that the recipe's kind of input does not read."""
    if reference is not None and "reference" not in kind.files_used:
        raise UsageError(f"--reference: the recipe {recipe} has no use for it{unless}")


class StopRequest:
    """Whether the user or the system has asked the run to end, and with which signal."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        return self.signal != 0

    @property
    def exit_status(self) -> int:
        """As a shell reports a process that the signal has ended."""
        return 128 + (self.signal or signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Remember Ctrl-C, SIGTERM and SIGHUP instead of dying of them; a second one acts as usual.

    A run that stops in the block says how it goes on, and ends as if the signal had ended it.
    """
    request = StopRequest()
    previous_handlers = {number: signal.getsignal(number) for number in ending_signals()}

    def remember(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal = number
        signal.signal(number, previous_handlers[signal.Signals(number)])

    for number in previous_handlers:
        signal.signal(number, remember)
    try:
        yield request
    except Stopped as stop:
        error = Stopped(f"{stop}: the same command with --resume goes on")
        error.exit_status = request.exit_status
        raise error from stop
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
