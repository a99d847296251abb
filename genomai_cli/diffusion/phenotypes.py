"""The labels by which samples are generated, in columns from coarse to fine, and the one that a training sample is
conditioned on.

Label 0 is `null`, nothing known; then come the labels of the columns, in order. Of a sample one label is given,
sometimes only a coarser one, sometimes none (classifier-free guidance: Ho and Salimans 2022, arXiv:2207.12598).

Shape suffixes: B samples, P labels of a sample.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.diffusion.denoisers import ConditionDropout
from genomai_cli.errors import BundleError, InputError
from genomai_cli.formats.tables import LabelTable

NULL = "null"
REFERENCE = "reference"  # all labels, in the proportions of the training samples
MAX_LABELS = 250  # in all columns
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True, eq=False)
class Phenotypes:
    """`labels[column]` in alphabetical order, columns from coarse to fine.

    `counts` are the numbers of training samples by their finest label, `parents` gives for each label of the last
    column, if all its samples have the same one, the label of the column before.
    """

    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: LabelTable, columns: Sequence[str]) -> "Phenotypes":
        """The labels in these columns of a table; InputError for a label that could not be requested by name."""
        found = {column: sorted(set(table.column(column).values())) for column in columns}
        names = [name for labels in found.values() for name in labels]
        for name, count in Counter(names).items():
            if not _NAME.fullmatch(name) or name in (NULL, REFERENCE):
                raise InputError(f"{name!r} cannot be the name of a phenotype", path=table.path)
            if count > 1:
                raise InputError(f"{name!r} is a label of two columns", path=table.path)
        if len(names) > MAX_LABELS:
            raise InputError(
                f"{len(names)} labels: at most {MAX_LABELS} phenotypes", path=table.path
            )
        parents = _nesting(table, *columns[-2:]) if len(columns) > 1 else {}
        return cls(found, parents)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Phenotypes":
        """The labels in a bundle's config; BundleError if it has none."""
        try:
            stored = config["phenotypes"]
            return cls(dict(stored["labels"]), dict(stored["within"]), dict(stored["people"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the model {config.get('name')!r} generates nobody") from error

    def to_config(self) -> dict[str, Any]:
        """The inverse of `from_config`."""
        labels = {column: list(labels) for column, labels in self.labels.items()}
        return {"labels": labels, "within": dict(self.parents), "people": dict(self.counts)}

    @cached_property
    def names(self) -> list[str]:
        """`null` and all labels, in the order of their numbers."""
        return [NULL, *(name for labels in self.labels.values() for name in labels)]

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """The number of a label, or of `null`; ValueError for an unknown name."""
        return self.names.index(name)

    def numbers(self, row: Mapping[str, str | None]) -> list[int]:
        """The numbers of a sample's labels, column by column; 0 for one that is missing."""
        labels = [row.get(column) for column in self.labels]
        return [0 if label is None else self.number(label) for label in labels]

    def finest_labels(self, name: str) -> dict[str, int]:
        """The finest labels that a name stands for, with their numbers of samples.

        Itself for one of the last column; of a coarser column those within it, if there are; all of them for
        `reference`.
        """
        if name == REFERENCE:
            return {part: count for part, count in self.counts.items() if count} or {NULL: 1}
        children = {p: self.counts.get(p, 0) for p in self._children(name)}
        return {p: count for p, count in children.items() if count} or {name: 1}

    def draw_label(self, name: str, rng: np.random.Generator) -> int:
        """The number of the label by which to draw: of a coarse one one of the finest within it, by their sample
        sizes."""
        if name == NULL:
            return 0
        parts = self.finest_labels(name)
        counts = np.array(list(parts.values()), np.float64)
        return self.number(list(parts)[rng.choice(len(parts), p=counts / counts.sum())])

    def is_trained(self, name: str) -> bool:
        """Whether there were training samples of a label; True for labels that nobody was counted by."""
        finest = list(self.labels.values())[-1] if self.labels else []
        known = [name] if name in finest else self._children(name)
        return not self.counts or not known or any(self.counts.get(part) for part in known)

    def _children(self, name: str) -> list[str]:
        """The finest labels within a coarser one."""
        return [part for part, parent in self.parents.items() if parent == name]

    def with_counts(self, finest: Iterable[int]) -> "Phenotypes":
        """The same with the numbers of samples that have these finest labels."""
        counts = Counter(self.names[number] for number in finest)
        return replace(self, counts={name: counts[name] for name in self.names if counts[name]})


def _nesting(table: LabelTable, coarse: str, fine: str) -> dict[str, str]:
    """The coarse label of each fine one whose samples all have the same; nothing unless it is so for all of them."""
    coarse_of, fine_of = table.column(coarse), table.column(fine)
    parents_of_label: dict[str, set[str | None]] = {}
    for sample, label in fine_of.items():
        parents_of_label.setdefault(label, set()).add(coarse_of.get(sample))
    if any(len(parents) > 1 or None in parents for parents in parents_of_label.values()):
        return {}
    return {label: str(parents.pop()) for label, parents in sorted(parents_of_label.items())}


def draw_conditions(
    numbers_BP: NDArray[np.int64], dropout: ConditionDropout, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The label (B,) that each sample is conditioned on: the finest known one, or a coarser one, or 0, none."""
    individuals, columns = numbers_BP.shape
    dropout_draws_B, column_draws_B = rng.random(individuals), rng.random(individuals)
    condition_B = np.zeros(individuals, np.int64)
    coarser_B = np.zeros(individuals, np.int64)
    for column in range(columns):
        has_label_B = numbers_BP[:, column] > 0
        if column < columns - 1:
            chosen_B = has_label_B & ((coarser_B == 0) | (column_draws_B * (column + 1) < 1))
            coarser_B = np.where(chosen_B, numbers_BP[:, column], coarser_B)
        condition_B = np.where(has_label_B, numbers_BP[:, column], condition_B)
    takes_coarser_B = (dropout_draws_B < dropout.null + dropout.coarse) & (coarser_B > 0)
    condition_B = np.where(takes_coarser_B, coarser_B, condition_B)
    return np.where(dropout_draws_B < dropout.null, 0, condition_B)
