"""Where the letters of a VCF's samples stand: the sites of a panel, or a reference whose coordinates a model reads."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.errors import BundleError

if TYPE_CHECKING:
    from genomai_cli.anchoring.reference import Reference
    from genomai_cli.panels.panel import Panel

DEFAULT_PANEL = "ancestry"

PanelFile = Annotated[
    Path | None,
    typer.Option(
        "--panel",
        metavar="FILE",
        help="Sites for the barcodes of a VCF.  [default: those of the model, else of ancestry]",
        show_default=False,
    ),
]


Haplotypes = Annotated[
    bool,
    typer.Option("--haplotypes", help="From a phased VCF two records a sample, NAME_A and NAME_B."),
]


def panel_of(file: Path | None, model: str | None) -> "Panel":
    """The panel in a file, else that of the model, else the default one."""
    from genomai_cli.bundles import catalog
    from genomai_cli.panels.panel import Panel

    if file is not None:
        return Panel.read(file)
    name = model or DEFAULT_PANEL
    return Panel.read(catalog.panel_of(name), name=Path(name).name)


def genome_of(model: str | None) -> "Reference | None":
    """The reference of a model of anchored genomes, None for other models."""
    from genomai_cli.anchoring.reference import Reference
    from genomai_cli.bundles import catalog

    with suppress(BundleError):  # a panel may be there without a model
        file = catalog.find(model or DEFAULT_PANEL) / catalog.REFERENCE
        return Reference.read(file) if file.is_file() else None
    return None
