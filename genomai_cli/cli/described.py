"""People with phenotype records to learn from: the table of `--phenotypes`, and rows of a corpus."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.run import Run
from genomai_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.inputs.base import Places
    from genomai_cli.population.phenotypes import PhenotypeTable
    from genomai_cli.training.corpus_writer import Record
    from genomai_cli.training.recipe import Recipe

Phenotypes = Annotated[
    Path | None,
    typer.Option(
        "--phenotypes",
        metavar="TSV",
        help="With crossmodal: what is known of each sample, in columns of labels, numbers, latitude and longitude.",
        show_default=False,
    ),
]


def phenotypes_of(recipe: "Recipe", file: Path | None) -> "PhenotypeTable | None":
    """The table of phenotypes; UsageError for a recipe that needs one, or has no use for it."""
    from genomai_cli.population.phenotypes import read_phenotypes

    wanted = "crossmodal" in recipe.objectives
    if wanted and file is None:
        raise UsageError("--objective crossmodal needs --phenotypes")
    if not wanted and file is not None:
        raise UsageError(f"--phenotypes are for --objective crossmodal; {recipe.name} has none")
    return None if file is None else read_phenotypes(file)


def with_columns(places: "Places", recipe: "Recipe", table: "PhenotypeTable | None") -> "Places":
    """The same places, with the columns of the phenotypes that the people's rows hold."""
    from genomai_cli.population.phenotypes import Columns

    if table is None:
        return places
    settings = recipe.crossmodal
    columns = Columns.of(table, categories=settings.categories, numbers=settings.numbers)
    return replace(places, columns=columns)


def described(
    run: Run, rows: Iterator["Record"], places: "Places", table: "PhenotypeTable"
) -> Iterator["Record"]:
    """The rows of people followed by their records; people without a record are left out.

    Raises InputError where nobody has one.
    """
    import numpy as np

    from genomai_cli.population.phenotype_encoding import encode

    layout = places.described
    assert layout is not None
    encoded = encode(table, layout.columns)
    row_of = {name: row for row, name in enumerate(table.names)}
    found = missing = 0
    for name, letters in rows:
        if name not in row_of:
            missing += 1
            continue
        found += 1
        at = np.array([row_of[name]])
        yield name, layout.rows(letters[None], encoded.rows(at))[0]
    if not found:
        raise InputError("none of the samples has a record here", path=table.path)
    if missing:
        run.console.warn(f"{missing} samples have no phenotypes and are left out")
