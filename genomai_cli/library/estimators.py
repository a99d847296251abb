"""Models trained on labelled sequences, as `genomai train` does, in the manner of scikit-learn.

Shape suffixes: N records, H heads, C labels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import UsageError
from genomai_cli.formats.tables import UNKNOWN_LABEL
from genomai_cli.library.fitting import (
    Labels,
    Settings,
    Training,
    columns_of,
    in_file,
    number_of,
    require_as_many,
    text_of,
)
from genomai_cli.library.inputs import File, Listener, Progress, Records
from genomai_cli.library.results import Calls, Numbers
from genomai_cli.metrics.numbers import r_squared
from genomai_cli.training.targets import CLASSES, REGRESSION

Validation = tuple[Records, Labels | None]


class SequenceEstimator(Settings, ABC):
    """What is fitted to labelled DNA.

    `time` bounds the training on two cores (`90s`, `15m`, `2h`; it counts letters, not the clock: the same samples and
    seed give the same model). The `recipe` is one of the program's or a TOML file, with `changes` to it,
    `SECTION.KEY=VALUE`. After `fit` there are `model_` and `validation_` (how it did on held-out samples). Settings are
    looked at in `fit`. Of several heads, answers have a column each, in the order in which the labels were given.
    """

    _estimator_type: str
    _target: str

    def fit(
        self,
        records: Records,
        labels: Labels | None = None,
        *,
        validation: Validation | None = None,
    ) -> Self:
        """Itself, trained; without `labels` they are the other columns of a file with a column `sequence`.

        `validation` are samples to choose, stop and calibrate by, and never to train on; else a part is held out,
        near-duplicates together. Raises InputError for bad records and labels, TrainingError where they cannot teach.
        """
        if labels is not None and not in_file(labels):
            labels = columns_of(labels)  # of an iterator, which is read once
        training = Training(self, self._target, f"genomai_cli.{self!r}.fit(records, labels)")
        self._fitted = training.fit(records, labels, validation)
        self.validation_: Mapping[str, Any] = self._fitted.finetuned.validation
        self.model_ = self._fitted.model(self.device)
        self._note_labels(labels)
        return self

    def _note_labels(self, labels: Labels | None) -> None:
        """Keep the labels that predictions are given as."""

    @abstractmethod
    def predict(self, records: Records) -> NDArray[Any]:
        """One answer (N,) for each of the records, (N, H) of several heads."""

    @abstractmethod
    def score(self, records: Records, labels: Labels) -> float:
        """How good the answers are, 1 at best, for labels in memory; records without a label are left out."""

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
        """The call that makes it, without arguments that have their defaults."""
        defaults = {
            name: parameter.default for name, parameter in signature(type(self)).parameters.items()
        }
        arguments = (
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if name != "progress" and value != defaults[name]
        )
        return f"{type(self).__name__}({', '.join(arguments)})"

    def __sklearn_tags__(self) -> Any:
        """The tags that scikit-learn asks for: an estimator of one label, of any input."""
        utils = import_module("sklearn.utils")
        return utils.Tags(
            estimator_type=self._estimator_type,
            target_tags=utils.TargetTags(required=True),
            input_tags=utils.InputTags(two_d_array=False, string=True),
        )

    def _truth(self, labels: Labels, count: int) -> dict[str, list[object]]:
        """Labels in memory of so many records by head, None where missing; InputError where there are not as many,
        UsageError for a head of which none is there."""
        by_head = {
            head: [None if text_of(value) is None else value for value in column]
            for head, column in self._by_head(labels).items()
        }
        require_as_many(by_head, count)
        for head, column in by_head.items():
            if all(value is None for value in column):
                raise UsageError(f"none of the {count} records has a label of {head}")
        return by_head

    def _by_head(self, labels: Labels) -> dict[str, list[object]]:
        """Labels in memory of each of the heads; UsageError where some are missing."""
        if in_file(labels):
            raise UsageError(f"labels in memory are needed, not the file {labels}")
        labels_by_column, columns = columns_of(labels), self._fitted.columns
        if len(labels_by_column) == len(columns) == 1:
            return dict(zip(columns, labels_by_column.values(), strict=True))
        for column in columns.values():
            if column not in labels_by_column:
                raise UsageError(f"labels by the names of heads are needed: {column} is missing")
        return {head: labels_by_column[column] for head, column in columns.items()}

    def _require_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise UsageError("not fitted yet: call fit first")


@dataclass(frozen=True, eq=False)
class Classes:
    """The labels of a head as they were given (C,), and the texts that they have in a bundle."""

    values: NDArray[Any]
    texts: list[str]

    @classmethod
    def of(cls, column: Iterable[object]) -> Self:
        """The different labels of a column in the order of scikit-learn."""
        value_of = {text: value for value in column if (text := text_of(value)) is not None}
        values, texts = np.array(list(value_of.values())), list(value_of)
        order = np.argsort(values, kind="stable")
        return cls(values[order], [texts[index] for index in order])

    def originals(self, predicted_N: NDArray[np.str_]) -> NDArray[Any]:
        """Predicted labels as they were given; others are `UNKNOWN`, or None where labels are no text."""
        if predicted_N.size and not set(predicted_N.tolist()) <= set(self.texts):
            unknown = UNKNOWN_LABEL if self.values.dtype.kind == "U" else None
            originals = dict(zip(self.texts, self.values.tolist(), strict=True))
            return np.array(
                [originals.get(label, unknown) for label in predicted_N.tolist()], object
            )
        return self.values[[self.texts.index(label) for label in predicted_N.tolist()]]


class SequenceClassifier(SequenceEstimator):
    """A classifier of DNA with the methods of scikit-learn's.

    After `fit` there are also `classes_`, the labels as they were given, of several heads a list of such arrays; for
    the rest see `SequenceEstimator`.
    """

    _estimator_type = "classifier"
    _target = CLASSES

    def predict(self, records: Records) -> NDArray[Any]:
        """The labels (N,) of records, (N, H) of several heads; where the model can tell nothing `UNKNOWN`, or None if
        labels are no text."""
        calls = self.classify(records)
        return _matrix([c.originals(calls.labels(head)) for head, c in self._classes.items()])

    def predict_proba(self, records: Records) -> Numbers:
        """Calibrated probabilities (N, C) in the order of `classes_`; NaN where the model can tell nothing.

        UsageError for several heads: `classify(records).probabilities(head)` has those of each.
        """
        self._require_fitted()
        if len(self._classes) > 1:
            heads = ", ".join(self._classes)
            raise UsageError(f"there are several heads, {heads}: classify tells of all")
        ((head, classes),) = self._classes.items()
        calls = self.classify(records)
        order = [calls.heads[head].index(text) for text in classes.texts]
        return calls.probabilities(head)[:, order]

    def score(self, records: Records, labels: Labels) -> float:
        """The share of records whose label is right, of several heads all of whose labels are; a missing label is
        neither right nor wrong. Labels are compared by value or as text, for those of a file are text."""
        calls = self.classify(records)
        by_head = self._truth(labels, len(calls))
        correct = np.array([self._correct(calls, head, column) for head, column in by_head.items()])
        known = np.array([[value is not None for value in column] for column in by_head.values()])
        return float(np.mean((correct | ~known).all(axis=0)[known.any(axis=0)]))

    def _correct(self, calls: Calls, head: str, truth: Sequence[object]) -> list[bool]:
        """Which calls of a head are right; GenomaiWarning where no true label is one of its classes."""
        classes, called_N = self._classes[head], calls.labels(head)
        known_values = set(classes.values.tolist())
        texts = [text_of(value) for value in truth]
        if not any(
            text is not None and (text in classes.texts or value in known_values)
            for text, value in zip(texts, truth, strict=True)
        ):
            example = next(value for value in truth if value is not None)
            Listener().warn(
                f"no label of {head}, as {example!r}, is one of its classes: all count as wrong"
            )
        predicted = classes.originals(called_N).tolist()
        return [
            label == value or called == text
            for label, value, called, text in zip(
                predicted, truth, called_N.tolist(), texts, strict=True
            )
        ]

    def __sklearn_tags__(self) -> Any:
        """See `SequenceEstimator`."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags = import_module("sklearn.utils").ClassifierTags()
        return tags

    def _note_labels(self, labels: Labels | None) -> None:
        """Keep the labels of every head in the order of scikit-learn, as they were given."""
        if labels is None or in_file(labels):
            heads = self.model_.heads
            labels_by_head = {head: heads[head] for head in self._fitted.columns}
            self._classes = {h: Classes(np.array(c), c) for h, c in labels_by_head.items()}
        else:
            self._classes = {h: Classes.of(c) for h, c in self._by_head(labels).items()}
        classes = [classes.values for classes in self._classes.values()]
        self.classes_: Any = classes if len(classes) > 1 else classes[0]


class SequenceRegressor(SequenceEstimator):
    """A regression of numbers on DNA with the methods of scikit-learn's; see `SequenceEstimator`.

    `classify(records).numbers()` has the intervals in which the true numbers lie in most cases as well.
    """

    _estimator_type = "regressor"
    _target = REGRESSION

    def predict(self, records: Records) -> Numbers:
        """The number (N,) of each of the records, (N, H) of several heads; NaN where the model can tell nothing."""
        calls = self.classify(records)
        return _matrix([calls.numbers(head)[:, 0] for head in self._fitted.columns])

    def score(self, records: Records, labels: Labels) -> float:
        """R^2, of several heads their mean; where the model can tell nothing, nothing is explained: the mean is
        taken."""
        calls, by_head = self.classify(records), []
        for head, column in self._truth(labels, len(calls)).items():
            true_N, predicted_N = np.array([*map(number_of, column)]), calls.numbers(head)[:, 0]
            known_N = ~np.isnan(true_N)
            true_N, predicted_N = true_N[known_N], predicted_N[known_N]
            predicted_N = np.where(np.isnan(predicted_N), true_N.mean(), predicted_N)
            by_head.append(r_squared(true_N, predicted_N))
        return float(np.mean(by_head))

    def __sklearn_tags__(self) -> Any:
        """See `SequenceEstimator`."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags = import_module("sklearn.utils").RegressorTags()
        return tags


def _matrix(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Columns (N,) as one (N, H), a single one as it is."""
    if len(columns) == 1:
        return columns[0]
    mixed = len({column.dtype.kind for column in columns}) > 1
    return np.stack([c.astype(object) if mixed else c for c in columns], axis=1)


def train(
    records: Records,
    labels: Labels | None = None,
    *,
    time: str = "15m",
    seed: int = 0,
    validation: Validation | None = None,
    recipe: File = "auto",
    device: str = "auto",
    progress: Progress | None = None,
) -> SequenceClassifier:
    """A `SequenceClassifier` trained on labelled sequences, as by `genomai train`; see its `fit`."""
    classifier = SequenceClassifier(
        time=time, seed=seed, recipe=recipe, device=device, progress=progress
    )
    return classifier.fit(records, labels, validation=validation)
