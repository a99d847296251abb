"""What is wrong with a table of labels, told with file and line before anything is trained."""

from collections.abc import Collection, Mapping

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import LabelTable


def check_labels(table: LabelTable, heads: Mapping[str, str], *, words_or_numbers: bool) -> None:
    """InputError for labels that are all the same; with `words_or_numbers` for a column that mixes both.

    `heads` are the names of columns by head.
    """
    for head, column in heads.items():
        labels = table.column(column)
        lines = [
            (line, labels[name])
            for name, line in zip(table.samples, table.lines, strict=True)
            if name in labels
        ]
        if len({label for _, label in lines}) == 1:
            line, label = lines[0]
            message = f"head {head}: needs two labels at least, and all are {label}"
            raise InputError(message, path=table.path, line=line)
        if words_or_numbers:
            _check_kind(table, lines)


def check_names(table: LabelTable, names: Collection[str]) -> None:
    """InputError for labels of samples that are none of these names, or NAME of haplotypes NAME_A and NAME_B."""
    known = {*names, *(name[:-2] for name in names if name.endswith(("_A", "_B")))}
    absent = [
        (line, name)
        for name, line in zip(table.samples, table.lines, strict=True)
        if name not in known
    ]
    if absent:
        line, name = absent[0]
        message = f"no sequence is called {name}"
        if len(absent) > 1:
            message += f", and there is none for {len(absent)} of {len(table.samples)} labels"
        raise InputError(message, path=table.path, line=line)


def is_number(text: str) -> bool:
    """Whether a label is a finite number."""
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def _check_kind(table: LabelTable, lines: list[tuple[int, str]]) -> None:
    """The first of the labels that are fewer, words among numbers or numbers among words, is the wrong one."""
    numbers = [found for found in lines if is_number(found[1])]
    words = [found for found in lines if not is_number(found[1])]
    if numbers and words:
        few, what, others = min(
            (words, "no number", "numbers"), (numbers, "a number", "words"), key=lambda c: len(c[0])
        )
        line, label = few[0]
        message = f"label {label!r} is {what}, where most are {others} (. is a missing label)"
        raise InputError(message, path=table.path, line=line)
