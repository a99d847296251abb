"""Labelled samples as numbers, and their division into parts that share no individual."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.samples import Rows, Samples
from genomai_cli.records import SequenceRecord
from genomai_cli.training.similarity import clusters, joined, near_duplicates

MIN_VALUES = 2
_HAPLOTYPE_ENDINGS = ("_A", "_B")
_LARGE_FAMILY = (
    0.01,
    10,
)  # samples of an individual: this share of all, and so many times the mean


def gather(
    records: Iterable[SequenceRecord],
    labels: Mapping[str, Mapping[str, str]],
    *,
    check: Callable[[SequenceRecord], None] = lambda record: None,
    strata: Mapping[str, str] | None = None,
    merge_near_duplicates: bool = False,
    classes: Mapping[str, list[str]] | None = None,
    numbers: Collection[str] = (),
) -> tuple[Samples, int]:
    """The records that have at least one label, and how many had none.

    `labels[head]` maps a sample's name to its label; a haplotype NAME_A or NAME_B goes by NAME as well.
    `check` may refuse a record (InputError). `strata` maps names to finer groups, as in `Samples`. With
    `merge_near_duplicates`, near-duplicates are one individual, unless half of the names or more are those of
    haplotypes, which say who is. `classes` are those of the samples to train on, if these are not; `numbers` are the
    heads whose labels are numbers themselves.
    Raises TrainingError where there is nothing to learn.
    """
    labelled: list[SequenceRecord] = []
    rows: list[list[str | None]] = []
    unlabelled, first_unlabelled = 0, ""
    for record in records:
        row = [_label(record.name, column) for column in labels.values()]
        if any(label is not None for label in row):
            check(record)
            labelled.append(record)
            rows.append(row)
        else:
            unlabelled += 1
            first_unlabelled = first_unlabelled or record.name
    if not labelled:
        raise TrainingError(
            f"none of the {unlabelled} samples has a label{_example_of_names(first_unlabelled, labels)}"
        )
    columns = dict(zip(labels, zip(*rows, strict=True), strict=True))
    values = {head: _values(head, columns.pop(head)) for head in sorted(numbers)}
    if classes is None:
        classes = {head: _classes(head, column) for head, column in columns.items()}
    class_names = {head: list(classes[head]) for head in columns}
    class_numbers = {head: _numbers(column, class_names[head]) for head, column in columns.items()}
    names = [record.name for record in labelled]
    sequences = [record.held for record in labelled]
    individual_names, near_duplicate_count = _individual_names(names, labels), None
    individuals = np.asarray(np.unique(individual_names, return_inverse=True)[1])
    if merge_near_duplicates and not _are_haplotypes(names, individual_names):
        groups = clusters(sequences)
        individuals, near_duplicate_count = joined(individuals, groups), near_duplicates(groups)
    finer_groups = _strata(names, strata)
    return Samples(
        names,
        sequences,
        class_numbers,
        class_names,
        individuals,
        finer_groups,
        near_duplicate_count,
        values,
    ), unlabelled


def _example_of_names(sample: str, labels: Mapping[str, Mapping[str, str]]) -> str:
    """How the names of samples and those of the labels differ, as text; nothing where one of them is missing."""
    labelled_name = next((name for column in labels.values() for name in column), "")
    if not sample or not labelled_name:
        return ""
    return f": the first is called {sample}, the first in the table {labelled_name}"


def with_validation(train: Samples, validation: Samples) -> tuple[Samples, Rows]:
    """Both sets of samples as one, and the rows of those to validate on; both have the same heads and classes."""
    count = len(train)
    both = replace(
        train,
        names=train.names + validation.names,
        sequences=train.sequences + validation.sequences,
        labels={
            head: np.append(numbers, validation.labels[head])
            for head, numbers in train.labels.items()
        },
        individuals=np.append(
            train.individuals, validation.individuals + train.individuals.max() + 1
        ),
        strata=_both_strata(train, validation),
        values={
            head: np.append(numbers, validation.values[head])
            for head, numbers in train.values.items()
        },
    )
    return both, np.arange(count, count + len(validation))


def _both_strata(train: Samples, validation: Samples) -> Rows | None:
    if train.strata is None:
        return None
    return np.append(train.strata, np.full(len(validation), MISSING))


def _strata(names: Sequence[str], column: Mapping[str, str] | None) -> Rows | None:
    if column is None:
        return None
    strata = [_label(name, column) for name in names]
    return _numbers(strata, sorted({stratum for stratum in strata if stratum is not None}))


def _classes(head: str, column: Sequence[str | None]) -> list[str]:
    classes = sorted({label for label in column if label is not None})
    if len(classes) < 2:
        raise TrainingError(
            f"head {head}: needs two labels at least, the samples have {len(classes)}"
        )
    return classes


def _numbers(column: Sequence[str | None], classes: list[str]) -> Rows:
    unknown = sorted({label for label in column if label is not None} - set(classes))
    if unknown:
        raise TrainingError(f"no sample to train on has the label {unknown[0]}")
    numbers = {label: number for number, label in enumerate(classes)}
    return np.array([MISSING if label is None else numbers[label] for label in column], np.int64)


def _values(head: str, column: Sequence[str | None]) -> NDArray[np.float64]:
    values = np.array([np.nan if label is None else float(label) for label in column])
    if np.isnan(values).all():
        raise TrainingError(f"head {head}: none of the samples has a number")
    return values


def _label(name: str, column: Mapping[str, str]) -> str | None:
    return column.get(name, column.get(_individual(name, column)))


def _individual(name: str, known: Mapping[str, str]) -> str:
    """The name that has the label: NAME of NAME_A, if only NAME has one."""
    stem = name[:-2] if name.endswith(_HAPLOTYPE_ENDINGS) else name
    return stem if stem in known and name not in known else name


def _individual_names(names: list[str], labels: Mapping[str, Mapping[str, str]]) -> list[str]:
    known = {*names, *(name for column in labels.values() for name in column)}
    return [_individual_of(name, known) for name in names]


def _are_haplotypes(names: Sequence[str], individual_names: Sequence[str]) -> bool:
    """Whether most samples are haplotypes by their names: a pair of other sequences may end in _A and _B by chance."""
    pairs = zip(names, individual_names, strict=True)
    return 2 * sum(name != individual for name, individual in pairs) >= len(names)


def _individual_of(name: str, known: set[str]) -> str:
    """NAME for NAME_A and NAME_B, if NAME or both of these are there."""
    stem = name[:-2]
    pair = {f"{stem}{ending}" for ending in _HAPLOTYPE_ENDINGS}
    return stem if name in pair and (stem in known or pair <= known) else name


def folds(samples: Samples, count: int, seed: int) -> list[Rows]:
    """The rows of `count` parts of equal size; every group of equal labels is spread over all of them.

    An individual of very many samples, as a family of repeats is, is in the last part.
    """
    rng = np.random.default_rng([seed, 0x5EED])
    individuals, first = np.unique(samples.individuals, return_index=True)
    order = rng.permutation(len(individuals))
    order = order[np.argsort(samples.groups()[first][order], kind="stable")]
    part_of_individual = np.empty(len(individuals), np.int64)
    part_of_individual[order] = np.arange(len(individuals)) % count
    sizes = np.unique(samples.individuals, return_counts=True)[1]
    share, times = _LARGE_FAMILY
    part_of_individual[sizes > max(share * len(samples), times * sizes.mean())] = count - 1
    part_of_sample = part_of_individual[np.searchsorted(individuals, samples.individuals)]
    return [np.flatnonzero(part_of_sample == number) for number in range(count)]


def validation_parts(
    samples: Samples, count: int, holdout: float, seed: int, validation: Rows | None = None
) -> list[Rows]:
    """The rows that each of `count` networks is validated on: all in turn, or for one network the share `holdout`, or
    the rows `validation`.

    Raises TrainingError where some class would not be left to train on.
    """
    if validation is not None:
        if count > 1:
            message = "a validation set of its own is for one network: --set split.folds=1"
            raise TrainingError(message)
        require_all_classes(samples, validation)
        return [validation]
    parts_of_all = count if count > 1 else max(2, round(1 / holdout))
    parts = folds(samples, parts_of_all, seed)[:count]
    for part in parts:
        require_all_classes(samples, part)
    return parts


def sample_counts(samples: Samples, validation: Rows | None) -> dict[str, int]:
    """How many samples there are, for a model's provenance: of how many individuals, with near-duplicates, and in a
    `validation` set."""
    counts = {"samples": len(samples), "individuals": len(np.unique(samples.individuals))}
    if samples.near_duplicates is not None:
        counts["near_duplicates"] = samples.near_duplicates
    if validation is not None:
        counts["validation_samples"] = len(validation)
    return counts


def remaining_rows(samples: Samples, rows: Rows | None) -> Rows:
    """All rows but these, if there are any."""
    return np.setdiff1d(np.arange(len(samples)), [] if rows is None else rows)


def require_all_classes(samples: Samples, validation: Rows) -> None:
    """TrainingError unless there is something to validate on, and every class is left to train on."""
    if not len(validation):
        raise TrainingError(f"{len(samples)} samples are too few to hold some out in every part")
    train = remaining_rows(samples, validation)
    for head, labels in samples.labels.items():
        missing = np.setdiff1d(np.arange(len(samples.classes[head])), labels[train])
        if len(missing):
            label = samples.classes[head][missing[0]]
            unit = "individuals" if samples.near_duplicates is None else "different sequences"
            message = (
                f"head {head}: too few {unit} are {label} to train on some and hold others out"
            )
            raise TrainingError(message)


def require_some_values(samples: Samples, validation: Rows) -> None:
    """TrainingError unless numbers are known of two samples at least on both sides of a split."""
    for head, values in samples.values.items():
        for rows in (remaining_rows(samples, validation), validation):
            if np.isfinite(values[rows]).sum() < MIN_VALUES:
                message = f"head {head}: too few samples have a number to train on some and hold others out"
                raise TrainingError(message)


def nesting(samples: Samples, fine: str) -> dict[str, list[int]]:
    """For each head whose classes the classes of `fine` fall into, the class of each of those.

    A head is left out if some class of `fine` has members in two of its classes, or if a class of its
    own has no class of `fine` in it.
    """
    if fine not in samples.labels:
        raise TrainingError(f"the likelihood is of the head {fine!r}, which has no labels")
    found = {}
    for head, labels in samples.labels.items():
        classes = range(len(samples.classes[fine]))
        parents = [_parents(samples.labels[fine] == c, labels) for c in classes]
        nested = all(len(parent) == 1 for parent in parents)
        if nested and len(np.unique(parents)) == len(samples.classes[head]):
            found[head] = [int(parent[0]) for parent in parents]
    return found


def _parents(members: NDArray[np.bool_], labels: Rows) -> Rows:
    parents = np.unique(labels[members])
    known: Rows = parents[parents != MISSING]
    return known


def digest(samples: Samples) -> str:
    """SHA-256 of the samples' names, letters and labels."""
    labels = {head: numbers.tolist() for head, numbers in samples.labels.items()}
    hashed_parts = [samples.names, samples.sequences, labels, samples.classes]
    if samples.strata is not None:
        hashed_parts.append(samples.strata.tolist())
    if samples.values:
        hashed_parts.append({head: values.tolist() for head, values in samples.values.items()})
    content = json.dumps(hashed_parts)
    return hashlib.sha256(content.encode()).hexdigest()
