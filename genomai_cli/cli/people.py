"""People to learn from: their phenotypes from a table of labels, their haplotypes as rows of a corpus."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.run import Run
from genomai_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.inputs.base import Places
    from genomai_cli.records import SequenceRecord
    from genomai_cli.training.corpus_writer import Record
    from genomai_cli.training.recipe import Recipe


def labels_of(recipe: "Recipe", file: Path | None) -> "LabelTable | None":
    """The table of labels; UsageError for a recipe that has no use for it."""
    from genomai_cli.formats.tables import read_labels
    from genomai_cli.inputs.base import PEOPLE

    if file is None:
        return None
    if recipe.input.kind != PEOPLE:
        raise UsageError(
            f"--labels are the phenotypes of people, --objective diffusion; {recipe.name} has none"
        )
    return read_labels(file)


def with_people(places: "Places", recipe: "Recipe", labels: "LabelTable | None") -> "Places":
    """The same places, with the phenotypes of a recipe for people: none without labels."""
    from genomai_cli.inputs.base import PEOPLE
    from genomai_cli.population.labels import Phenotypes

    if recipe.input.kind != PEOPLE:
        return places
    if labels is None:
        return replace(places, phenotypes=Phenotypes())
    columns = recipe.input.phenotypes or list(labels.columns)
    return replace(places, phenotypes=Phenotypes.of(labels, columns))


def rows(
    run: Run,
    records: Iterable["SequenceRecord"],
    places: "Places",
    labels: "LabelTable | None",
) -> Iterator["Record"]:
    """The people, each made of two records that follow one another, NAME_A and NAME_B.

    Raises InputError for records that are not such pairs, or of another length than the panel's.
    """
    import numpy as np

    from genomai_cli.population.barcode import letters_to_alleles

    panel, layout, phenotypes = places.panel, places.people, places.phenotypes
    assert panel is not None
    assert layout is not None
    assert phenotypes is not None
    known = set() if labels is None else set(labels.samples)
    unlabelled = 0
    for name, pair in _pairs(records, len(panel)):
        letters = np.frombuffer("".join(r.sequence for r in pair).encode("ascii"), np.uint8)
        told = labels.row(name) if labels is not None and name in known else {}
        unlabelled += labels is not None and name not in known
        yield (
            name,
            layout.row(letters_to_alleles(letters.reshape(2, -1), panel), phenotypes.numbers(told)),
        )
    if unlabelled:
        run.console.warn(f"{unlabelled} people have no labels and are learnt from without")


def _pairs(
    records: Iterable["SequenceRecord"], sites: int
) -> Iterator[tuple[str, tuple["SequenceRecord", "SequenceRecord"]]]:
    """Names of people with their two haplotypes; InputError for a record without its partner."""
    from genomai_cli.population.barcode import require_sites

    first: SequenceRecord | None = None
    for record in records:
        require_sites(record, sites)
        if first is None:
            first = record
            continue
        name = first.name.removesuffix("_A")
        if name == first.name or record.name != f"{name}_B":
            message = (
                f"{first.name} and {record.name} are not NAME_A and NAME_B, a person's haplotypes"
            )
            raise InputError(message, path=record.path, line=record.line or None)
        yield name, (first, record)
        first = None
    if first is not None:
        raise InputError(f"{first.name} has no second haplotype", path=first.path)
