"""Classifiers trained on labelled sequences, as `genomai train` does, in the manner of scikit-learn."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genomai_cli import device as devices
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles import catalog
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.streams import Input, in_memory
from genomai_cli.formats.tables import MISSING_VALUES, UNKNOWN_LABEL, LabelTable, read_labels
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
from genomai_cli.library.results import Calls, Numbers
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
from genomai_cli.training.targets import CLASSES, targets_for

HEAD = "label"  # of labels that are given in memory
SHOWN_LABELS = "<labels>"
Labels = File | Iterable[object]
"""A value for each record in order (None, NaN, '' or '.': no label), or a table whose first column names the record."""


class SequenceClassifier:
    """A classifier of DNA with the methods of scikit-learn's.

    `time` bounds the training on two cores (`90s`, `15m`, `2h`; it counts letters, not the clock: the same samples and
    seed give the same model). The `recipe` is one of the program's or a TOML file, with `changes` to it,
    `SECTION.KEY=VALUE`. After `fit` there are `classes_` (the labels as they were given), `model_` and `validation_`
    (how it did on held-out samples). Settings are looked at in `fit`.
    """

    _estimator_type = "classifier"

    def __init__(
        self,
        *,
        time: str = "15m",
        seed: int = 0,
        recipe: File = "auto",
        changes: Sequence[str] = (),
        device: str = "auto",
        progress: Progress | None = None,
    ) -> None:
        self.time, self.seed, self.recipe = time, seed, recipe
        self.changes, self.device, self.progress = changes, device, progress

    def fit(
        self,
        records: Records,
        labels: Labels | None = None,
        *,
        validation: tuple[Records, Labels | None] | None = None,
    ) -> Self:
        """Itself, trained; without `labels` they are the other columns of a file with a column `sequence`.

        `validation` are samples to choose, stop and calibrate by, and never to train on; else a part is held out,
        near-duplicates together. Raises InputError for bad records and labels, TrainingError where they cannot teach.
        """
        self._fitted = _Training(self).fit(records, labels, validation)
        self.validation_: Mapping[str, Any] = self._fitted.found.validation
        self.model_ = self._fitted.model(self.device)
        self.classes_ = self._classes(labels)
        return self

    def predict(self, records: Records) -> NDArray[Any]:
        """The labels (N,) of records; where the model can tell nothing `UNKNOWN`, or None if labels are no text."""
        called = self.classify(records).labels(self._head())
        texts = [str(label) for label in self.classes_]
        if called.size and not set(called.tolist()) <= set(texts):
            nothing = UNKNOWN_LABEL if self.classes_.dtype.kind == "U" else None
            found = dict(zip(texts, self.classes_.tolist(), strict=True))
            return np.array([found.get(label, nothing) for label in called.tolist()], object)
        return self.classes_[[texts.index(label) for label in called.tolist()]]

    def predict_proba(self, records: Records) -> Numbers:
        """Calibrated probabilities (N, C) in the order of `classes_`; NaN where the model can tell nothing."""
        head = self._head()
        known = self.model_.heads[head]
        order = [known.index(str(label)) for label in self.classes_]
        return self.classify(records).probabilities(head)[:, order]

    def score(self, records: Records, labels: Sequence[object]) -> float:
        """The share of records whose label is right."""
        return float(np.mean(np.asarray(labels) == self.predict(records)))

    def classify(self, records: Records) -> Calls:
        """What `genomai classify` tells of records, with flags."""
        self._require_fitted()
        return self.model_.classify(records, progress=self.progress)

    def save(self, folder: File, *, force: bool = False) -> None:
        """Write the model as a bundle, which `load` and `--model` take; UsageError for a folder that is there already,
        unless `force` says that another bundle is replaced."""
        self._require_fitted()
        self._fitted.save(Path(folder), force=force)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name."""
        del deep
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **settings: Any) -> Self:
        """Itself with other settings; UsageError for one that there is not."""
        unknown = sorted(settings.keys() - self.get_params().keys())
        if unknown:
            raise UsageError(
                f"no setting {unknown[0]!r} (there are: {', '.join(self.get_params())})"
            )
        for name, value in settings.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"SequenceClassifier(time={self.time!r}, seed={self.seed!r}, recipe={self.recipe!r})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn, which alone asks, wants to know: a classifier of one label, of any input."""
        utils = import_module("sklearn.utils")
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags(),
            input_tags=utils.InputTags(two_d_array=False, string=True),
        )

    def _head(self) -> str:
        self._require_fitted()
        heads = list(self.model_.heads)
        if len(heads) > 1:
            raise UsageError(f"there are several heads, {', '.join(heads)}: classify tells of all")
        return heads[0]

    def _require_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise UsageError("not fitted yet: call fit first")

    def _classes(self, labels: Labels | None) -> NDArray[Any]:
        """The labels in the order of scikit-learn, as they were given."""
        known = next(iter(self.model_.heads.values()))
        if labels is None or isinstance(labels, str | os.PathLike):
            return np.array(known)
        given = [value for value in _values(labels) if _text(value) is not None]
        return np.unique(np.array(given))


def train(
    records: Records,
    labels: Labels | None = None,
    *,
    time: str = "15m",
    seed: int = 0,
    validation: tuple[Records, Labels | None] | None = None,
    recipe: File = "auto",
    device: str = "auto",
    progress: Progress | None = None,
) -> SequenceClassifier:
    """A `SequenceClassifier` trained on labelled sequences, as by `genomai train`; see its `fit`."""
    made = SequenceClassifier(time=time, seed=seed, recipe=recipe, device=device, progress=progress)
    return made.fit(records, labels, validation=validation)


class _Training:
    """One run of `fit`."""

    def __init__(self, settings: SequenceClassifier) -> None:
        self.settings, self.listener = settings, Listener(settings.progress)
        self.budget = selection.seconds_of(settings.time)
        self.recipe, self.text = recipes.read(os.fspath(settings.recipe), settings.changes)
        self.kind = recipes.input_of(self.recipe, {}, None)
        self.reader = LabelledReader(self.listener, self.kind, self.recipe, AS_WRITTEN)

    def fit(
        self,
        records: Records,
        labels: Labels | None,
        validation: tuple[Records, Labels | None] | None,
    ) -> "_Fitted":
        """Gather and train."""
        samples = self._labelled(inputs_of(records), labels)
        heads = recipes.heads_of(self.recipe, samples.labels.columns)
        targets = targets_for(self.recipe, samples.labels, heads, CLASSES)
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
        return _Fitted(found, gathered, self.recipe, self.text, self._call())

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
            else _table([record.name for record in records], _values(labels))
        )
        return LabelledInput(in_memory(records, SHOWN), table)

    def _step(self, member: int, step: int, loss: float, best: float) -> None:
        self.listener.say(
            f"network {member + 1}, step {step}: loss {loss:.4f}, best held out {best:.4f}"
        )

    def _call(self) -> str:
        """What the card says that made the model."""
        settings = {name: value for name, value in self.settings.get_params().items()}
        defaults = SequenceClassifier().get_params()
        told = [f"{n}={v!r}" for n, v in settings.items() if v != defaults[n] and n != "progress"]
        return f"genomai_cli.SequenceClassifier({', '.join(told)}).fit(records, labels)"


class _Fitted:
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


def _values(labels: Iterable[object]) -> list[object]:
    """The labels as Python's own values."""
    found: object = getattr(labels, "tolist", lambda: labels)()
    return list(found) if isinstance(found, Iterable) else [found]


def _text(value: object) -> str | None:
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
    column = tuple(map(_text, labels))
    return LabelTable(SHOWN_LABELS, tuple(names), {HEAD: column}, tuple(range(1, len(names) + 1)))
