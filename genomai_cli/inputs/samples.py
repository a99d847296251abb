"""Labelled samples in memory, and their batches: varied while training, plain for validation.

Shape suffixes: N samples, B samples of a batch, L letters, T tokens, C classes, A letters that are counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import IUPAC, UNKNOWN_LETTER, as_letters

COUNTED = "".join(IUPAC).encode()  # the letters that are counted at each position of rows

Rows = NDArray[np.int64]
Letters = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Samples:
    """Names, sequences and, for every head, the number of each sample's label, -1 where it has none, or for heads that
    are numbers themselves its value, NaN where it has none.

    `individuals` (N,) are equal for samples of one individual, who must never be on both sides of a split; of sequences
    whose names say nothing of individuals near-duplicates are one, and `near_duplicates` is how many have another.
    `strata` (N,) number groups finer than the labels, -1 where unknown, that training may use and no head tells apart.
    """

    names: list[str]
    sequences: list[str]
    labels: dict[str, Rows]
    classes: dict[str, list[str]]
    individuals: Rows
    strata: Rows | None = None
    near_duplicates: int | None = None
    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def at(self, rows: Rows) -> "Samples":
        """The samples in these rows; classes and the number of near-duplicates are those of all."""
        return replace(
            self,
            names=[self.names[row] for row in rows],
            sequences=[self.sequences[row] for row in rows],
            labels={head: numbers[rows] for head, numbers in self.labels.items()},
            individuals=self.individuals[rows],
            strata=None if self.strata is None else self.strata[rows],
            values={head: numbers[rows] for head, numbers in self.values.items()},
        )

    @property
    def letters(self) -> Letters:
        """The sequences, all of one length, as ASCII codes (N, L)."""
        flat = np.frombuffer("".join(self.sequences).encode("ascii"), np.uint8)
        return flat.reshape(len(self.names), -1)

    def groups(self) -> Rows:
        """Numbers (N,) that are equal for samples equal in every label, in the tenth of their values, and in their
        stratum."""
        columns = [*self.labels.values(), *map(_tenths, self.values.values())]
        columns += [] if self.strata is None else [self.strata]
        stacked = np.stack(columns, axis=1)
        return np.asarray(np.unique(stacked, axis=0, return_inverse=True)[1]).reshape(-1)


def _tenths(values_N: NDArray[np.float64]) -> Rows:
    """Which tenth of the values each lies in, that of the largest where there is none."""
    bounds = np.nanquantile(values_N, np.linspace(0, 1, 11)[1:-1])
    return np.asarray(np.searchsorted(bounds, values_N), np.int64)


class TrainingRows(Protocol):
    """Rows of letters to train on, all of one length or not, in memory or on disk."""

    @property
    def counts(self) -> Rows | None:
        """How often each letter of `COUNTED` stands at each position of the rows (L, A); None for rows of any
        length."""

    @property
    def names(self) -> Sequence[str]:
        """The names of all records."""

    def training_letters(self) -> Letters:
        """The rows to train on as ASCII codes (N, L)."""

    def training_blocks(self, size: int) -> Iterator[Letters]:
        """The rows to train on, so many at a time (size, L)."""

    def training_segments(self) -> Iterator[tuple[int, Letters]]:
        """The stretches to train on: where among all letters each begins, and its letters (L,)."""

    def all_letters(self) -> Letters:
        """All rows, those for validation included."""

    def __len__(self) -> int:
        """How many rows there are to train on."""


@dataclass(frozen=True)
class SampleRows:
    """Some samples, or all of them, as rows."""

    samples: Samples
    rows: Rows | None = None

    def __len__(self) -> int:
        return len(self.samples) if self.rows is None else len(self.rows)

    @property
    def names(self) -> list[str]:
        """See `TrainingRows`."""
        return self.samples.names

    def training_letters(self) -> Letters:
        """See `TrainingRows`."""
        letters_NL = self.samples.letters
        return letters_NL if self.rows is None else letters_NL[self.rows]

    def training_blocks(self, size: int) -> Iterator[Letters]:
        """See `TrainingRows`."""
        letters_NL = self.training_letters()
        return (letters_NL[at : at + size] for at in range(0, len(letters_NL), size))

    def training_segments(self) -> Iterator[tuple[int, Letters]]:
        """See `TrainingRows`."""
        ends = np.cumsum([len(sequence) for sequence in self.samples.sequences])
        for row in range(len(self.samples)) if self.rows is None else self.rows.tolist():
            letters = as_letters(self.samples.sequences[row])
            yield int(ends[row]) - len(letters), letters

    def all_letters(self) -> Letters:
        """See `TrainingRows`."""
        return self.samples.letters

    @cached_property
    def counts(self) -> Rows:
        """See `TrainingRows`."""
        letters_NL = self.training_letters()
        return np.stack([(letters_NL == code).sum(axis=0) for code in COUNTED], axis=1)


@dataclass(frozen=True)
class Hints:
    """Targets of the first G features of each token's hidden state in training, and their weight.

    `values` (windows * B, T, G) are NaN where there is nothing to say; `weight` is that in the loss.
    """

    values: Tensor
    weight: float


@dataclass(frozen=True)
class TrainingBatch:
    """Ids (windows * B, T), all first windows before all second ones, and labels (B,) of every head.

    `mask` (windows * B, T) is True for real tokens, None where all are; `share` (B,) is the part of each sample's
    letters that is known. `hints` are targets of its tokens' hidden states while training, if there are any.
    """

    ids: Tensor
    windows: int
    share: Tensor
    labels: dict[str, Tensor]
    mask: Tensor | None = None
    hints: Hints | None = None

    def mean(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean over each sample's windows: (B, C)."""
        return {
            name: rows.reshape(self.windows, -1, rows.shape[1]).mean(0)
            for name, rows in logits.items()
        }


class Views(Protocol):
    """Makes the batches of one set of samples."""

    def varied(self, rows: Rows, rng: np.random.Generator) -> TrainingBatch:
        """The samples in these rows, changed at random as the recipe says."""

    def plain(self, rows: Rows, masked_share: float = 0.0, seed: int = 0) -> TrainingBatch:
        """The samples as they are, with a share of their letters masked."""

    def for_calibration(
        self, rows: Rows, masked_shares: Sequence[float], seed: int
    ) -> Iterator[TrainingBatch]:
        """The samples with each of these shares masked in turn, and as letters are missing otherwise."""
        for number, share in enumerate(masked_shares):
            yield self.plain(rows, share, seed + number)


def labels_of(samples: Samples, rows: Rows) -> dict[str, Tensor]:
    """The labels (B,) of the samples in these rows, for every head."""
    return {head: torch.from_numpy(labels[rows]) for head, labels in samples.labels.items()}


def observed_letters(counts_LA: Rows) -> Letters:
    """The letters (L, A) seen at each position, from the left and filled up with 0; N apart."""
    counted = np.frombuffer(COUNTED, np.uint8)
    seen_LA = np.where((counts_LA > 0) & (counted != UNKNOWN_LETTER), counted, 0).astype(np.uint8)
    order = np.argsort(seen_LA == 0, axis=1, kind="stable")
    return np.take_along_axis(seen_LA, order, axis=1)
