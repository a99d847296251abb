"""Logistic regressions on short sequences: on k-mer counts, on the letter at each position, and on given vectors.

Features are in standard deviations of the training sequences; the penalty is the one with the smallest loss on parts
held out of the training part.

Shape suffixes: N sequences, F features, C classes, K k-mers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from benchmarks.crossvalidation.trials import Array, Rows
from genomai_cli.alphabet import BASES, codes_of
from genomai_cli.mapping.seeding import kmer_keys
from genomai_cli.metrics.classification import log_losses

PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)  # on half the squared weights, a nat a sequence
MAX_K = 6
MAX_CENTRED_K = 3  # shorter k-mers are in every sequence: these columns are centred
# Parts the penalty is chosen on, by training sequences.
SMALL_TASK, SMALL_TASK_PARTS, LARGE_TASK_PARTS = 10_000, 5, 1
ITERATIONS = 300
_SEPARATOR = b"|"  # no base: no k-mer runs over it

Matrix = Any
"""Features (N, F), an array or a sparse one."""


@dataclass(frozen=True, eq=False)
class RegressionFit:
    """A regression's probabilities (N, C) of the evaluation sequences, its number of parameters, the penalty
    chosen and the loss with it on what was held out, in nats."""

    probabilities: Array
    parameters: int
    penalty: float
    held_out: float


def regression(
    train_NF: Matrix, evaluation_NF: Matrix, labels_N: Rows, parts: Sequence[Rows], classes: int
) -> RegressionFit:
    """A logistic regression fitted to all sequences to train on, its penalty chosen on `parts` of them."""
    penalty_parts = parts[: SMALL_TASK_PARTS if len(labels_N) < SMALL_TASK else LARGE_TASK_PARTS]
    losses = np.array([_losses(train_NF, labels_N, part, classes) for part in penalty_parts]).mean(
        axis=0
    )
    best = int(losses.argmin())
    probabilities = _solve(train_NF, evaluation_NF, labels_N, PENALTIES[best], classes)
    parameters = (classes if classes > 2 else 1) * (train_NF.shape[1] + 1)
    return RegressionFit(probabilities, parameters, PENALTIES[best], float(losses[best]))


def _losses(x_NF: Matrix, labels_N: Rows, part: Rows, classes: int) -> list[float]:
    """The loss on a part with each penalty."""
    rest = np.setdiff1d(np.arange(len(labels_N)), part)
    return [
        float(
            log_losses(
                _solve(x_NF[rest], x_NF[part], labels_N[rest], penalty, classes), labels_N[part]
            ).mean()
        )
        for penalty in PENALTIES
    ]


def _solve(
    train_NF: Matrix, evaluation_NF: Matrix, labels_N: Rows, penalty: float, classes: int
) -> Array:
    model = LogisticRegression(C=1 / (penalty * len(labels_N)), max_iter=ITERATIONS, tol=1e-4)
    model.fit(train_NF, labels_N)
    table_NC = np.zeros((evaluation_NF.shape[0], classes))
    table_NC[:, model.classes_] = model.predict_proba(evaluation_NF)
    return table_NC


# --- features


def kmer_features(
    train: Sequence[str], evaluation: Sequence[str], *, both_strands: bool
) -> tuple[Matrix, Matrix]:
    """How often each k-mer of one to six letters occurs, in standard deviations: (N, F) and (N, F), sparse."""
    blocks = [_features_of_length(train, evaluation, k, both_strands) for k in range(1, MAX_K + 1)]
    first, second = (sparse.hstack([block[i] for block in blocks], format="csr") for i in range(2))
    return first, second


def _features_of_length(
    train: Sequence[str], evaluation: Sequence[str], k: int, both_strands: bool
) -> tuple[Matrix, Matrix]:
    """The features of k-mers of one length."""
    counts = [
        kmer_counts(sequences, k, both_strands=both_strands) for sequences in (train, evaluation)
    ]
    mean_F = np.asarray(counts[0].mean(axis=0)).reshape(-1)
    square_F = np.asarray(counts[0].multiply(counts[0]).mean(axis=0)).reshape(-1)
    deviation_F = np.sqrt(np.maximum(square_F - mean_F**2, 0.0))
    scale_F = np.divide(1.0, deviation_F, out=np.zeros_like(mean_F), where=deviation_F > 0)
    if k <= MAX_CENTRED_K:
        first, second = (sparse.csr_array((c.toarray() - mean_F) * scale_F) for c in counts)
    else:
        first, second = (sparse.csr_array(c.multiply(scale_F)) for c in counts)
    return first, second


def kmer_counts(sequences: Sequence[str], k: int, *, both_strands: bool) -> Matrix:
    """How often each k-mer occurs (N, F), in the order of their numbers; with both strands a k-mer and its reverse
    complement are one."""
    joined = _SEPARATOR.join([*(text.encode() for text in sequences), b""])
    keys, starts = kmer_keys(codes_of(np.frombuffer(joined, np.uint8)), k)
    rows = np.searchsorted(np.cumsum([len(text) + 1 for text in sequences]), starts, side="right")
    columns_K = columns_of(k, both_strands=both_strands)
    shape = (len(sequences), int(columns_K.max()) + 1)
    return sparse.csr_array((np.ones(len(keys)), (rows, columns_K[keys])), shape=shape)


def columns_of(k: int, *, both_strands: bool) -> NDArray[np.int64]:
    """The column (K,) of every k-mer."""
    numbers = np.arange(len(BASES) ** k)
    if not both_strands:
        return numbers
    letters = [numbers // len(BASES) ** position % len(BASES) for position in range(k)]
    reverse_complements = sum(
        (len(BASES) - 1 - letter) * len(BASES) ** (k - 1 - position)
        for position, letter in enumerate(letters)
    )
    return np.unique(np.minimum(numbers, reverse_complements), return_inverse=True)[1].reshape(-1)


def position_features(train: Sequence[str], evaluation: Sequence[str]) -> tuple[Array, Array]:
    """An indicator a position and base: (N, 4 L) of the longest sequence to train on."""
    length = max(map(len, train))
    first, second = (_one_hot(sequences, length) for sequences in (train, evaluation))
    return first, second


def _one_hot(sequences: Sequence[str], length: int) -> Array:
    text = "".join(sequence[:length].ljust(length, "N") for sequence in sequences).encode()
    codes_NL = codes_of(np.frombuffer(text, np.uint8)).reshape(len(sequences), length)
    hot_NLA = codes_NL[:, :, None] == np.arange(len(BASES))
    return hot_NLA.reshape(len(sequences), -1).astype(np.float64)


def standardised(train_NF: Array, evaluation_NF: Array) -> tuple[Array, Array]:
    """Vectors in standard deviations from the mean of those to train on."""
    deviation_F = train_NF.std(axis=0)
    scale_F = np.where(deviation_F > 0, deviation_F, 1.0)
    mean_F = train_NF.mean(axis=0)
    return (train_NF - mean_F) / scale_F, (evaluation_NF - mean_F) / scale_F
