"""Training on labelled sequences given in memory or as files: from records and labels to a bundle, as `genomai train`
does."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genomai_cli import device as devices
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles import catalog
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.streams import Input, in_memory
from genomai_cli.formats.tables import MISSING_VALUES, LabelTable, read_labels
from genomai_cli.library.inputs import (
    AS_WRITTEN,
    SHOWN,
    File,
    Listener,
    Progress,
    Records,
    inputs_of,
)
from genomai_cli.library.model import Model, load
from genomai_cli.sources.labelled import (
    Beside,
    Gathered,
    LabelledInput,
    LabelledReader,
    labels_within,
)
from genomai_cli.training import finetuning, recipe_tables, selection
from genomai_cli.training import recipe as recipes
from genomai_cli.training.finetuning import Finetuned
from genomai_cli.training.model_card import classifier_card
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.targets import targets_for

HEAD = "label"  # of labels that are given in memory
SHOWN_LABELS = "<labels>"
Labels = File | Iterable[object]
"""A value for each record in order (None, NaN, '' or '.': no label), or a table whose first column names the record."""


@dataclass(frozen=True)
class Settings:
    """Those of an estimator; `call` is how a card says that it was made."""

    time: str
    seed: int
    recipe: File
    changes: Sequence[str]
    device: str
    progress: Progress | None
    call: str


class Training:
    """One run of `fit`, on labels that are `target`s, of `training.targets`."""

    def __init__(self, settings: Settings, target: str) -> None:
        self.settings, self.target = settings, target
        self.listener = Listener(settings.progress)
        self.budget = selection.seconds_of(settings.time)
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
        heads = recipes.heads_of(self.recipe, samples.labels.columns)
        targets = targets_for(self.recipe, samples.labels, heads, self.target)
        beside = Beside()
        if validation is not None:
            held_out = self._labelled(inputs_of(validation[0]), validation[1])
            beside = Beside(lambda: held_out)
        gathered = self.reader.gather([samples.source], targets, beside)
        device = devices.choose(self.settings.device)
        given, seed = gathered.validation, self.settings.seed
        if recipes.is_selected(self.recipe):
            found = selection.fit(
                gathered.samples,
                self.recipe,
                self.kind,
                budget=self.budget,
                seed=seed,
                device=device,
                validation=given,
                report=self.listener.say,
            )
        else:
            found = finetuning.fit(
                gathered.samples,
                self.recipe,
                self.kind,
                seed=seed,
                device=device,
                validation=given,
                report=self._step,
            )
        found.bundle.config["provenance"] |= gathered.facts()
        return Fitted(found, gathered, self.recipe, self.text, self.settings.call)

    def _labelled(self, inputs: Iterable[Input], labels: Labels | None) -> LabelledInput:
        """The samples, as one input, and a table of their labels."""
        if labels is None:
            only, *others = inputs
            if others:
                raise UsageError("labels are needed: only a single table has its own")
            return labels_within(only, "labels: a")
        records = list(self.reader.read(inputs))
        table = (
            read_labels(Path(labels))
            if isinstance(labels, str | os.PathLike)
            else _table([record.name for record in records], values_of(labels))
        )
        return LabelledInput(in_memory(records, SHOWN), table)

    def _step(self, member: int, step: int, loss: float, best: float) -> None:
        self.listener.say(
            f"network {member + 1}, step {step}: loss {loss:.4f}, best held out {best:.4f}"
        )


class Fitted:
    """A trained model and what its bundle holds besides."""

    def __init__(
        self, found: Finetuned, gathered: Gathered, recipe: Recipe, text: str, call: str
    ) -> None:
        self.found, self.recipe, self.text, self.call = found, recipe, text, call
        self.files = gathered.files()

    def model(self, device: str) -> Model:
        """As it is when it has been saved, with weights in the file's precision."""
        with tempfile.TemporaryDirectory() as folder:
            self._write(Path(folder) / self.found.bundle.name)
            return load(Path(folder) / self.found.bundle.name, device=device)

    def save(self, folder: Path, *, force: bool) -> None:
        """Write the bundle, called as its folder."""
        if (folder / catalog.CONFIG).is_file() and not force:
            raise UsageError(f"{folder} exists: force=True replaces it")
        self._write(folder)

    def _write(self, folder: Path) -> None:
        named = recipe_tables.named(self.recipe, folder.resolve().name)
        config = {**self.found.bundle.config, "name": named.name, "description": named.description}
        found = replace(self.found, bundle=replace(self.found.bundle, config=config))
        extras = Extras(classifier_card(found, self.call), self.text, self.files)
        bundles.save(found.bundle, folder, extras)


def values_of(labels: Iterable[object]) -> list[object]:
    """The labels as Python's own values."""
    found: object = getattr(labels, "tolist", lambda: labels)()
    return list(found) if isinstance(found, Iterable) else [found]


def text_of(value: object) -> str | None:
    """A label as a bundle keeps it; None for a missing one."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    text = str(value).strip()
    return None if text in MISSING_VALUES else text


def _table(names: list[str], labels: Sequence[object]) -> LabelTable:
    """Labels in the order of records; InputError where there are not as many, and for two records of one name."""
    if len(names) != len(labels):
        message = f"{len(labels)} labels for {len(names)} records"
        raise InputError(message, path=SHOWN_LABELS)
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if first.setdefault(name, number) != number:
            message = f"record {name} again (first is number {first[name]}): labels go by names"
            raise InputError(message, path=SHOWN, line=number)
    column = tuple(map(text_of, labels))
    return LabelTable(SHOWN_LABELS, tuple(names), {HEAD: column}, tuple(range(1, len(names) + 1)))
