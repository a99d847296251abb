"""What `train` and `pretrain` share: their options, the recipe they read, and how they are stopped."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import complete_model
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.inputs.base import Places
    from genomai_cli.population.panel import Panel
    from genomai_cli.training.recipe import Recipe

DEFAULT_PANEL = "ancestry"
Target = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="DIR", help="The bundle's folder, written whole or not at all."
    ),
]


def complete_recipe(incomplete: str) -> list[str]:
    """Names of presets that begin with what has been typed."""
    from genomai_cli.training import recipe

    return [name for name in recipe.presets() if name.startswith(incomplete)]


Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change a value of the recipe; may be repeated.",
        show_default=False,
    ),
]
PanelFile = Annotated[
    Path | None,
    typer.Option(
        "--panel",
        metavar="TSV|VCF",
        help="The sites of a barcode; of a VCF or BCF, its biallelic SNPs.  [default: the panel of the model ancestry]",
        show_default=False,
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|DIR",
        help="Begin with the networks of this model instead of from scratch; heads are learnt anew.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace an existing bundle, or start over an interrupted run."),
]


def named_after(recipe: "Recipe", output: Path, changes: list[str]) -> "Recipe":
    """The recipe for a model called as its folder, unless `--set name=` says otherwise."""
    from genomai_cli.training import recipe as recipes

    if any(change.startswith("name=") for change in changes):
        return recipe
    return recipes.named(recipe, output.resolve().name)


def panel_for(recipe: "Recipe", file: Path | None) -> "Panel | None":
    """The sites of the recipe's barcodes, from the file or by default; UsageError for one without barcodes."""
    from genomai_cli.bundles import catalog
    from genomai_cli.formats.streams import open_bytes, open_input
    from genomai_cli.inputs.base import BARCODE, PEOPLE
    from genomai_cli.population.evaluation.genotypes import panel_of_variants
    from genomai_cli.population.panel import Panel

    if recipe.input.kind not in (BARCODE, PEOPLE):
        if file is not None:
            raise UsageError(f"--panel is for barcodes; the recipe {recipe.name} reads sequences")
        return None
    if file is None:
        return Panel.read(catalog.panel_of(DEFAULT_PANEL))
    with open_bytes(file) as stream:
        is_table = not stream.read(12).startswith((b"##fileformat", b"BCF"))
    if is_table:
        return Panel.read(file)
    with open_input(file) as source:
        return panel_of_variants(source)


def places_of(
    recipe: "Recipe", panel: "Panel | None", reference: Path | None, start: "Bundle | None"
) -> "Places":
    """What the letters of the recipe's rows stand for; what the model begun from knows of it comes first."""
    from genomai_cli.inputs.base import ANCHORED, Places
    from genomai_cli.mapping.reference import Reference

    if recipe.input.kind != ANCHORED:
        return Places(panel)
    if start is not None and start.reference is not None:
        return Places(reference=start.reference, sites=start.sites)
    if reference is None:
        raise UsageError(f"the recipe {recipe.name} reads anchored genomes: give a --reference")
    circular = recipe.input.circular or None
    return Places(reference=Reference.read(reference, circular))


def command_line() -> list[str]:
    """The words that started this run, for the model's card."""
    return ["genomai", *sys.argv[1:]]


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
    """Remember Ctrl-C and SIGTERM instead of dying of them; a second one acts as usual."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal = number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, remember)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
