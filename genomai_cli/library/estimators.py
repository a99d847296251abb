"""Models trained on labelled sequences, as `genomai train` does, in the manner of scikit-learn.

Shape suffixes: N records, C labels.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import UsageError
from genomai_cli.formats.tables import UNKNOWN_LABEL
from genomai_cli.library.fitting import Labels, Settings, Training, text_of, values_of
from genomai_cli.library.inputs import File, Progress, Records
from genomai_cli.library.results import Calls, Numbers
from genomai_cli.metrics.numbers import explained
from genomai_cli.training.targets import CLASSES, REGRESSION

Validation = tuple[Records, Labels | None]


class SequenceEstimator(ABC):
    """What is fitted to labelled DNA.

    `time` bounds the training on two cores (`90s`, `15m`, `2h`; it counts letters, not the clock: the same samples and
    seed give the same model). The `recipe` is one of the program's or a TOML file, with `changes` to it,
    `SECTION.KEY=VALUE`. After `fit` there are `model_` and `validation_` (how it did on held-out samples). Settings are
    looked at in `fit`.
    """

    _estimator_type: str
    _target: str

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
        validation: Validation | None = None,
    ) -> Self:
        """Itself, trained; without `labels` they are the other columns of a file with a column `sequence`.

        `validation` are samples to choose, stop and calibrate by, and never to train on; else a part is held out,
        near-duplicates together. Raises InputError for bad records and labels, TrainingError where they cannot teach.
        """
        settings = Settings(**self.get_params(), call=f"genomai_cli.{self!r}.fit(records, labels)")
        self._fitted = Training(settings, self._target).fit(records, labels, validation)
        self.validation_: Mapping[str, Any] = self._fitted.found.validation
        self.model_ = self._fitted.model(self.device)
        return self

    @abstractmethod
    def predict(self, records: Records) -> NDArray[Any]:
        """One answer (N,) for each of the records."""

    @abstractmethod
    def score(self, records: Records, labels: Sequence[object]) -> float:
        """How good the answers are, 1 at best."""

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
        """The call that makes it, without what is as it comes."""
        usual = {name: one.default for name, one in signature(type(self)).parameters.items()}
        told = (
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if name != "progress" and value != usual[name]
        )
        return f"{type(self).__name__}({', '.join(told)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn, which alone asks, wants to know: something of one label, of any input."""
        utils = import_module("sklearn.utils")
        return utils.Tags(
            estimator_type=self._estimator_type,
            target_tags=utils.TargetTags(required=True),
            input_tags=utils.InputTags(two_d_array=False, string=True),
        )

    def _require_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise UsageError("not fitted yet: call fit first")


class SequenceClassifier(SequenceEstimator):
    """A classifier of DNA with the methods of scikit-learn's.

    After `fit` there are also `classes_`, the labels as they were given; for the rest see `SequenceEstimator`.
    """

    _estimator_type = "classifier"
    _target = CLASSES

    def fit(
        self,
        records: Records,
        labels: Labels | None = None,
        *,
        validation: Validation | None = None,
    ) -> Self:
        """See `SequenceEstimator`."""
        super().fit(records, labels, validation=validation)
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

    def __sklearn_tags__(self) -> Any:
        """See `SequenceEstimator`."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags = import_module("sklearn.utils").ClassifierTags()
        return tags

    def _head(self) -> str:
        self._require_fitted()
        heads = list(self.model_.heads)
        if len(heads) > 1:
            raise UsageError(f"there are several heads, {', '.join(heads)}: classify tells of all")
        return heads[0]

    def _classes(self, labels: Labels | None) -> NDArray[Any]:
        """The labels in the order of scikit-learn, as they were given."""
        known = next(iter(self.model_.heads.values()))
        if labels is None or isinstance(labels, str | os.PathLike):
            return np.array(known)
        given = [value for value in values_of(labels) if text_of(value) is not None]
        return np.unique(np.array(given))


class SequenceRegressor(SequenceEstimator):
    """A regression of numbers on DNA with the methods of scikit-learn's; see `SequenceEstimator`.

    `classify(records).numbers()` has the intervals in which the true numbers lie in most cases as well.
    """

    _estimator_type = "regressor"
    _target = REGRESSION

    def predict(self, records: Records) -> Numbers:
        """The number (N,) of each of the records; NaN where the model can tell nothing."""
        return self.classify(records).numbers()[:, 0]

    def score(self, records: Records, labels: Sequence[object]) -> float:
        """R^2; where the model can tell nothing, nothing is explained: the mean is taken."""
        truth_N, found_N = np.asarray(labels, np.float64), self.predict(records)
        return explained(truth_N, np.where(np.isnan(found_N), truth_N.mean(), found_N))

    def __sklearn_tags__(self) -> Any:
        """See `SequenceEstimator`."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags = import_module("sklearn.utils").RegressorTags()
        return tags


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
    made = SequenceClassifier(time=time, seed=seed, recipe=recipe, device=device, progress=progress)
    return made.fit(records, labels, validation=validation)
