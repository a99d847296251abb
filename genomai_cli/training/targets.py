"""The targets that the columns of a table of labels are: classes, numbers to be predicted, or sets of labels."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.label_sets import (
    has_label_sets,
    label_column,
    split_labels,
    with_label_columns,
)
from genomai_cli.formats.tables import LabelTable, is_number
from genomai_cli.training.label_faults import MAX_CLASSES, check_numbers
from genomai_cli.training.recipe import Recipe, is_selected

SEQUENCES = "sequence"  # the kind of input whose labels may be numbers
AUTO, CLASSES, REGRESSION = "auto", "classes", "regression"


@dataclass(frozen=True)
class Targets:
    """A table of labels, the column of every head, and the heads that are numbers; `notes` says what was chosen for
    columns that are not plain classes, a line each."""

    table: LabelTable
    heads: dict[str, str]
    numbers: frozenset[str]
    notes: tuple[str, ...] = ()
    sets: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # the columns that became others, and which

    @property
    def classes(self) -> dict[str, str]:
        """The column of every head that is classes."""
        return {head: column for head, column in self.heads.items() if head not in self.numbers}

    def of(self, other: LabelTable) -> LabelTable:
        """The table of a validation set with the same columns; InputError for labels that are not numbers where they
        should be, and for one of several labels that no sample to train on has."""
        for column, names in self.sets.items():
            if column in other.columns:
                _check_label_sets(other, column, names)
                other = with_label_columns(other, column, names)
        check_numbers(other, self.heads, self.numbers)
        return other


def _check_label_sets(table: LabelTable, column: str, names: Collection[str]) -> None:
    for value, line in zip(table.columns[column], table.lines, strict=True):
        for label in split_labels(value or ""):
            if label_column(column, label) not in names:
                message = f"no sample to train on has the label {label}"
                raise InputError(message, path=table.path, line=line)


def targets_of(table: LabelTable, heads: Mapping[str, str], target: str = AUTO) -> Targets:
    """The target of every head: `target`, or by its column.

    Numbers are to be predicted if some have a fraction or there are more than 20 different ones; else they are classes.
    A column in which some value holds several labels (`A;B`) becomes a column of yes and no for each. With `CLASSES`
    every different text is a class. InputError for labels that are wrong.
    """
    chosen: dict[str, str] = {}
    numbers, notes, sets = set(), [], {}
    for head, column in heads.items():
        values = [value for value in table.columns.get(column, ()) if value is not None]
        if target == AUTO and has_label_sets(values):
            old_columns = set(table.columns)
            table = with_label_columns(table, column)
            sets[column] = tuple(name for name in table.columns if name not in old_columns)
            chosen |= {name: name for name in sets[column]}
            notes.append(
                f"{column}: several labels a sequence, learnt as yes or no for each of {len(sets[column])} "
                "(--target classes: every combination is a label)"
            )
            continue
        chosen[head] = column
        if target == REGRESSION or (target == AUTO and are_measured(values)):
            numbers.add(head)
            notes.append(
                f"{head}: numbers to be predicted (--target classes: every number is a label)"
            )
        elif target == AUTO and values and all(map(is_number, values)):
            notes.append(
                f"{head}: {len(set(values))} whole numbers, taken for classes (--target regression: to be predicted)"
            )
    return Targets(table, chosen, frozenset(numbers), tuple(notes), sets)


def targets_for(
    recipe: Recipe, table: LabelTable, heads: Mapping[str, str], target: str = AUTO
) -> Targets:
    """The targets for a recipe; UsageError for numbers where it learns classes only."""
    selected = is_selected(recipe)
    if not selected and recipe.input.kind != SEQUENCES and target == AUTO:
        target = CLASSES
    found = targets_of(table, heads, target)
    if found.numbers and not selected:
        message = (
            f"{min(found.numbers)} is numbers, which only the recipe auto learns: --target classes"
        )
        raise UsageError(message)
    return found


def are_measured(values: Iterable[str]) -> bool:
    """Whether these are numbers that measure something, and no classes."""
    texts = set(values)
    if not texts or sum(map(is_number, texts)) < len(texts) / 2:
        return False
    numbers = {float(text) for text in texts if is_number(text)}
    return len(numbers) > MAX_CLASSES or any(not number.is_integer() for number in numbers)
