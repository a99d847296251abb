"""Training on labelled sequences given in memory or as files: from records and labels to a bundle, as `genomai train`
does."""

import math
import os
import tempfile
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index
from pathlib import Path
from typing import SupportsIndex, TypeGuard

from genomai_cli import device as devices
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.writing import Extras, require_replaceable
from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.streams import Input, in_memory
from genomai_cli.formats.tables import MISSING_VALUES, LabelTable, is_number, read_labels
from genomai_cli.library.inputs import (
    AS_WRITTEN,
    RECORDS_PATH,
    File,
    Listener,
    Progress,
    Records,
    inputs_of,
)
from genomai_cli.library.model import Model, load
from genomai_cli.sources.labelled import (
    EvaluationInputs,
    LabelledData,
    LabelledInput,
    LabelledReader,
    labels_in_table,
)
from genomai_cli.training import finetuning, recipe_tables, selection
from genomai_cli.training import recipe as recipes
from genomai_cli.training.finetuning import Finetuned
from genomai_cli.training.model_card import classifier_card
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.targets import targets_for
from genomai_cli.training.validation_limits import limits_in_words

HEAD = "label"  # of labels that are given in memory
LABELS_PATH = "<labels>"
Labels = File | Iterable[object] | Mapping[str, Iterable[object]]
"""A value for each record in order (None, NaN, pandas.NA, '' or '.': no label), several such columns by the names of
their heads (a mapping or a data frame), or a table whose first column names the record."""


@dataclass(kw_only=True, eq=False, repr=False)
class Settings:
    """How an estimator is trained."""

    time: str = "15m"
    seed: int = 0
    recipe: File = "auto"
    changes: Sequence[str] = ()
    device: str = "auto"
    progress: Progress | None = None


class Training:
    """One run of `fit`, on labels that are `target`s, of `training.targets`; a card tells of it as `call`."""

    def __init__(self, settings: Settings, target: str, call: str) -> None:
        self.settings, self.target, self.call = settings, target, call
        self.listener = Listener(settings.progress)
        self.budget, self.seed = selection.seconds_of(str(settings.time)), seed_of(settings.seed)
        self.recipe, self.text = recipes.read(os.fspath(settings.recipe), settings.changes)
        self.kind = recipes.input_of(self.recipe, {}, None)
        self.reader = LabelledReader(self.listener, self.kind, self.recipe, AS_WRITTEN)

    def fit(
        self,
        records: Records,
        labels: Labels | None,
        validation: tuple[Records, Labels | None] | None,
    ) -> "Fitted":
        """Gather and train."""
        samples = self._labelled(inputs_of(records), labels)
        heads = recipes.heads_of(self.recipe, samples.labels)
        targets = targets_for(self.recipe, samples.labels, heads, self.target)
        evaluation = EvaluationInputs()
        if validation is not None:
            held_out = self._labelled(inputs_of(validation[0]), validation[1])
            evaluation = EvaluationInputs(lambda: held_out)
        gathered = self.reader.gather([samples.source], targets, evaluation)
        device = devices.choose(self.settings.device)
        validation_rows, seed = gathered.validation, self.seed
        if recipes.is_selected(self.recipe):
            finetuned = selection.fit(
                gathered.samples,
                self.recipe,
                self.kind,
                budget=self.budget,
                seed=seed,
                device=device,
                validation=validation_rows,
                report=self.listener.say,
            )
        else:
            finetuned = finetuning.fit(
                gathered.samples,
                self.recipe,
                self.kind,
                seed=seed,
                device=device,
                validation=validation_rows,
                report=self._step,
            )
        finetuned.bundle.config["provenance"] |= gathered.facts()
        for limit in limits_in_words(finetuned.validation, finetuned.bundle.heads):
            self.listener.warn(limit)
        return Fitted(finetuned, gathered, targets.heads, self.recipe, self.text, self.call)

    def _labelled(self, inputs: Iterable[Input], labels: Labels | None) -> LabelledInput:
        """The samples, as one input, and a table of their labels."""
        if labels is None:
            source, *others = inputs
            if others:
                raise UsageError("labels are needed: only a single table has its own")
            return labels_in_table(source, "labels: a")
        records = list(self.reader.read(inputs))
        table = (
            read_labels(Path(labels))
            if in_file(labels)
            else _table([record.name for record in records], columns_of(labels))
        )
        return LabelledInput(in_memory(records, RECORDS_PATH), table)

    def _step(self, member: int, step: int, loss: float, best: float) -> None:
        self.listener.say(
            f"network {member + 1}, step {step}: loss {loss:.4f}, best held out {best:.4f}"
        )


class Fitted:
    """A trained model, the column of labels of every head, and what its bundle holds besides."""

    def __init__(
        self,
        finetuned: Finetuned,
        data: LabelledData,
        columns: Mapping[str, str],
        recipe: Recipe,
        text: str,
        call: str,
    ) -> None:
        self.finetuned, self.columns = finetuned, columns
        self.recipe, self.text, self.call = recipe, text, call
        self.files = data.files()

    def model(self, device: str) -> Model:
        """As it is when it has been saved, with weights in the file's precision."""
        with tempfile.TemporaryDirectory() as folder:
            self._write(Path(folder) / self.finetuned.bundle.name)
            return load(Path(folder) / self.finetuned.bundle.name, device=device)

    def save(self, folder: Path, *, force: bool) -> None:
        """Write the bundle, called as its folder."""
        require_replaceable(folder, force=force, remedy="force=True replaces it")
        try:
            self._write(folder)
        except OSError as error:
            raise UsageError(f"{folder} cannot be written ({error.strerror or error})") from error

    def _write(self, folder: Path) -> None:
        recipe = recipe_tables.named(self.recipe, folder.resolve().name)
        config = {
            **self.finetuned.bundle.config,
            "name": recipe.name,
            "description": recipe.description,
        }
        finetuned = replace(self.finetuned, bundle=replace(self.finetuned.bundle, config=config))
        extras = Extras(classifier_card(finetuned, self.call), self.text, self.files)
        bundles.save(finetuned.bundle, folder, extras)


def seed_of(value: object) -> int:
    """A seed as Python's own integer; UsageError for what is none."""
    if isinstance(value, SupportsIndex) and index(value) >= 0:
        return index(value)
    raise UsageError(f"seed {value!r}: a whole number, 0 or more")


def number_of(value: object) -> float:
    """A label that is a number, NaN for a missing one; InputError for any other."""
    text = text_of(value)
    if text is None:
        return math.nan
    if not is_number(text):
        raise InputError(f"label {value!r} is no number", path=LABELS_PATH)
    return float(text)


def in_file(labels: Labels) -> TypeGuard[File]:
    """Whether the labels are a table by the name of its file."""
    return isinstance(labels, str | os.PathLike)


def columns_of(labels: Labels) -> dict[str, list[object]]:
    """Labels in memory as Python's own values, by the head that learns them."""
    if hasattr(labels, "items") and not hasattr(labels, "tolist"):  # no pandas.Series
        return {str(head): values_of(column) for head, column in labels.items()}
    return {HEAD: values_of(labels)}


def values_of(column: object) -> list[object]:
    """The labels of one head as Python's own values, of equal ones (1 and 1.0) the first, text without blanks around
    it."""
    values: object = getattr(column, "tolist", lambda: column)()
    if not isinstance(values, Iterable):
        return [values]
    first: dict[object, object] = {}
    stripped = (value.strip() if isinstance(value, str) else value for value in values)
    return [
        first.setdefault(value, value) if isinstance(value, Hashable) else value
        for value in stripped
    ]


def text_of(value: object) -> str | None:
    """A label as a bundle keeps it; None for a missing one."""
    if value is None or _is_nan(value):
        return None
    text = str(value).strip()
    return None if text in MISSING_VALUES else text


def _is_nan(value: object) -> bool:
    """Whether it is NaN of any type, or pandas.NA."""
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA is neither equal to itself nor different
        return True


def require_as_many(columns: Mapping[str, Sequence[object]], count: int) -> None:
    """InputError unless every column has so many labels, one for each of the records."""
    for head, column in columns.items():
        if len(column) != count:
            counted = f"{len(column)} labels" if head == HEAD else f"{len(column)} labels of {head}"
            raise InputError(f"{counted} for {count} records", path=LABELS_PATH)


def _table(names: list[str], columns: Mapping[str, Sequence[object]]) -> LabelTable:
    """Labels in the order of records; InputError where there are not as many, for what is no label, and for two
    records of one name."""
    require_as_many(columns, len(names))
    for column in columns.values():
        for number, value in enumerate(column, start=1):
            if isinstance(value, Collection) and not isinstance(value, str | bytes):
                message = f"{value!r} is no label: several of a record are given as a mapping from heads to labels"
                raise InputError(message, path=LABELS_PATH, line=number)
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if first.setdefault(name, number) != number:
            message = f"record {name} again (first is number {first[name]}): labels go by names"
            raise InputError(message, path=RECORDS_PATH, line=number)
    texts = {head: tuple(map(text_of, column)) for head, column in columns.items()}
    return LabelTable(LABELS_PATH, tuple(names), texts, tuple(range(1, len(names) + 1)))
