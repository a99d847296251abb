"""Measures of predictions for held-out samples, by one part of a model or by all together.

Shape suffixes: N samples, C outputs of a head: its classes, or 1 of numbers, O outputs of all heads.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import MISSING
from genomai_cli.inputs.samples import Rows, Samples
from genomai_cli.metrics.classification import (
    Counts,
    accuracy,
    confusion_matrix,
    majority_share,
    matthews,
)
from genomai_cli.metrics.numbers import correlations
from genomai_cli.training.sequence_parts import LabelledCodes
from genomai_cli.training.validation_limits import class_limits, number_limits

COVERAGE = 0.9  # of the intervals of numbers
MAIN_MEASURES = {"mcc": "MCC", "pearson": "r"}  # those that messages show, and how


@dataclass(frozen=True, eq=False)
class HeadEvaluator:
    """Measures heads on samples; `data` are the same samples as tensors."""

    samples: Samples
    data: LabelledCodes

    def is_known(self, head: str, rows: Rows) -> bool:
        """Whether some of these samples have a label of the head, or a number."""
        if head in self.data.scales:
            return bool(np.isfinite(self.samples.values[head][rows]).any())
        return bool((self.samples.labels[head][rows] != MISSING).any())

    def measures(self, head: str, outputs_NC: Tensor, rows: Rows) -> dict[str, float]:
        """How well a head does: accuracy and Matthews correlation, of numbers see `correlations`."""
        if head in self.data.scales:
            return correlations(*self._numbers(head, outputs_NC, rows))
        matrix = self._matrix(head, outputs_NC, rows)
        return {"accuracy": accuracy(matrix), "mcc": matthews(matrix)}

    def summary(self, outputs_NO: Tensor, rows: Rows) -> str:
        """The main measure of every head that some of these samples have, as text."""
        return ", ".join(
            f"{head} {_main_measure(self.measures(head, outputs_NC, rows))}"
            for head, outputs_NC in self.data.by_head(outputs_NO).items()
            if self.is_known(head, rows)
        )

    def limits(self, head: str, outputs_NC: Tensor, rows: Rows) -> dict[str, Any]:
        """What these samples do not show of a head, by `validation_limits`."""
        if head in self.data.scales:
            return number_limits(*self._numbers(head, outputs_NC, rows))
        return class_limits(self._matrix(head, outputs_NC, rows), self.samples.classes[head])

    def _numbers(
        self, head: str, outputs_N1: Tensor, rows: Rows
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The true and the predicted numbers of the samples whose number is known."""
        truth_N = self.samples.values[head][rows]
        known_N = np.isfinite(truth_N)
        return truth_N[known_N], self.unscaled(head, outputs_N1).numpy()[known_N]

    def _matrix(self, head: str, outputs_NC: Tensor, rows: Rows) -> Counts:
        """The confusion matrix of the samples that have a label."""
        labels = self.samples.labels[head][rows]
        known = labels != MISSING
        predicted = outputs_NC.argmax(1).numpy()[known]
        return confusion_matrix(labels[known], predicted, self.data.classes[head])

    def baseline(self, head: str, rows: Rows) -> dict[str, Any]:
        """The number of these samples that have a label, and the baseline that needs no sequences: the share of the
        most frequent label, or the standard deviation of numbers."""
        if head in self.data.scales:
            truth_N = self.samples.values[head][rows]
            return {"n": int(np.isfinite(truth_N).sum()), "deviation": float(np.nanstd(truth_N))}
        labels = self.samples.labels[head][rows]
        known = labels[labels != MISSING]
        majority = round(majority_share(known, self.data.classes[head]), 4)
        return {"n": len(known), "majority": majority}

    def validation(self, head: str, outputs: Mapping[str, Tensor], rows: Rows) -> dict[str, Any]:
        """The measures of the outputs (N, C) `together`, their limits, the baseline, and the measures of every
        candidate."""
        measured = {
            name: {measure: round(value, 4) for measure, value in values.items()}
            for name, values in (
                (name, self.measures(head, outputs_NC, rows))
                for name, outputs_NC in outputs.items()
            )
        }
        limits = self.limits(head, outputs["together"], rows)
        return self.baseline(head, rows) | measured["together"] | limits | {"candidates": measured}

    def unscaled(self, head: str, outputs_N1: Tensor) -> Tensor:
        """The numbers (N,) that these outputs mean."""
        scale = self.data.scales[head]
        return outputs_N1[:, 0].double() * scale.deviation + scale.mean

    def interval(self, head: str, outputs_N1: Tensor, rows: Rows) -> dict[str, float]:
        """How far the numbers of `COVERAGE` of the samples are off at most, as it will be of new ones (Lei et al. 2018,
        J Am Stat Assoc 113:1094)."""
        truth_N = self.samples.values[head][rows]
        errors = np.abs(truth_N - self.unscaled(head, outputs_N1).numpy())
        errors = np.sort(errors[np.isfinite(errors)])
        rank = min(len(errors), math.ceil((len(errors) + 1) * COVERAGE))
        return {"coverage": COVERAGE, "half_width": float(errors[rank - 1])}


def _main_measure(measures: Mapping[str, float]) -> str:
    """The measure that matters most, as text."""
    return next(
        f"{word} {measures[name]:.3f}" for name, word in MAIN_MEASURES.items() if name in measures
    )
