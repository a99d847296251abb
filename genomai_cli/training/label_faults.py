"""Checks of a table of labels, whose errors name file and line, before anything is trained."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping

from genomai_cli.alphabet import BASES, MISSING
from genomai_cli.errors import InputError
from genomai_cli.formats.tables import LabelTable, is_number, spelling
from genomai_cli.inputs.samples import Samples

MAX_NUMBER = 1e30  # single precision ends at 3e38
MAX_CLASSES = 20  # different numbers that may still be classes
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
NOT_AVAILABLE = {"na", "n/a", "#n/a", "nan", "null"}  # what programs write for a missing value


Lines = list[tuple[int, str]]  # labels with their lines


def check_labels(
    table: LabelTable,
    heads: Mapping[str, str],
    *,
    one_kind: bool,
    numbers: Collection[str] = (),
) -> None:
    """InputError for labels that are all the same; with `one_kind` for a column that mixes words and numbers.

    `heads` are the names of columns by head, `numbers` the heads that are to be numbers.
    """
    check_numbers(table, heads, numbers)
    for head, column in heads.items():
        lines = _lines(table, column)
        convert = float if head in numbers else str
        if len({convert(label) for _, label in lines}) == 1:
            line, label = lines[0]
            message = f"head {head}: needs two labels at least, and all are {label}"
            raise InputError(message, path=table.path, line=line)
        if one_kind:
            _check_commas(table, lines)
            _check_kind(table, lines)


def check_numbers(table: LabelTable, heads: Mapping[str, str], numbers: Collection[str]) -> None:
    """InputError for the first label of these heads that is no number, or too large for single precision."""
    for head in numbers:
        for line, label in _lines(table, heads[head]):
            if not is_number(label) or abs(float(label)) > MAX_NUMBER:
                message = (
                    f"label {label!r} is no number, as those of {head} are (. is a missing label)"
                )
                raise InputError(message, path=table.path, line=line)


def _lines(table: LabelTable, column: str) -> Lines:
    labels = table.column(column)
    pairs = zip(table.samples, table.lines, strict=True)
    return [(line, labels[name]) for name, line in pairs if name in labels]


def unlikely_labels(table: LabelTable, heads: Mapping[str, str]) -> Iterator[str]:
    """A sentence for every label of these heads that may not be meant as one: a missing value, or one that only case or
    how a number is written tells from another. `heads` are the names of columns by head."""
    for head, column in heads.items():
        counts = Counter(label for _, label in _lines(table, column))
        spellings = defaultdict(list)
        for label, count in counts.items():
            spellings[spelling(label)].append(label)
            if label.casefold() in NOT_AVAILABLE:
                yield f"{head}: {label} is taken for a label, of {count} samples (. or nothing is a missing one)"
        for same in spellings.values():
            if len(same) > 1:
                yield f"{head}: {' and '.join(same)} are taken for different labels"


def unlikely_samples(samples: Samples) -> Iterator[str]:
    """A sentence on plain sequences that have the name of another, and so its labels; on those without a base; and for
    every head on equal sequences with different labels."""
    repeated = [name for name, count in Counter(samples.names).items() if count > 1]
    if repeated:
        yield (
            f"{len(repeated)} names are those of several sequences, which have the same labels: {repeated[0]}, for "
            "example"
        )
    sequences = [str(sequence) for sequence in samples.sequences]
    unreadable = [not any(base in sequence for base in BASES) for sequence in sequences]
    if any(unreadable):
        name = samples.names[unreadable.index(True)]
        yield f"{sum(unreadable)} sequences have no base that can be read, and teach nothing: {name}, for example"
    for head, numbers in samples.labels.items():
        labels_of = defaultdict(set)
        for sequence, number in zip(sequences, numbers.tolist(), strict=True):
            if number != MISSING:
                labels_of[sequence].add(number)
        conflicting = [len(labels_of[sequence]) > 1 for sequence in sequences]
        if any(conflicting):
            name = samples.names[conflicting.index(True)]
            yield (
                f"{head}: {sum(conflicting)} sequences are equal to others that have another label: {name}, for example"
            )


def check_header(table: LabelTable, names: Collection[str]) -> None:
    """InputError for a table whose first line names a sample that has no other, as that without a header does."""
    is_sample = table.sample_column in _with_individuals(names)
    if is_sample and table.sample_column not in table.samples:
        message = f"no header: the first line is of the sample {table.sample_column} (a header is, say, name, label)"
        raise InputError(message, path=table.path, line=1)


def check_names(table: LabelTable, names: Collection[str]) -> None:
    """InputError for labels of samples that are none of these names, or NAME of haplotypes NAME_A and NAME_B."""
    known = _with_individuals(names)
    unknown = [
        (line, name)
        for name, line in zip(table.samples, table.lines, strict=True)
        if name not in known
    ]
    if unknown:
        line, name = unknown[0]
        message = f"no sequence is called {name}"
        if len(unknown) > 1:
            message += f", and there is none for {len(unknown)} of {len(table.samples)} labels"
        raise InputError(message, path=table.path, line=line)


def _with_individuals(names: Collection[str]) -> set[str]:
    """The names, and NAME for every NAME_A and NAME_B."""
    return {*names, *(name[:-2] for name in names if name.endswith(("_A", "_B")))}


def _check_commas(table: LabelTable, lines: Lines) -> None:
    """InputError for numbers with decimal commas, each of which would be a class."""
    if len({label for _, label in lines}) <= MAX_CLASSES:
        return
    if all(DECIMAL_COMMA.fullmatch(label) or is_number(label) for _, label in lines):
        for line, label in lines:
            if not is_number(label):
                message = (
                    f"label {label!r} is no number (with a point it is: {label.replace(',', '.')})"
                )
                raise InputError(message, path=table.path, line=line)


def _check_kind(table: LabelTable, lines: Lines) -> None:
    """The first of the labels that are fewer, words among numbers or numbers among words, is the wrong one."""
    numbers = [entry for entry in lines if is_number(entry[1])]
    words = [entry for entry in lines if not is_number(entry[1])]
    if numbers and words:
        minority, kind, majority = min(
            (words, "no number", "numbers"), (numbers, "a number", "words"), key=lambda c: len(c[0])
        )
        line, label = minority[0]
        message = f"label {label!r} is {kind}, where most are {majority} (. is a missing label)"
        raise InputError(message, path=table.path, line=line)
