"""Calls as the table that `genomai classify` writes."""

import io
from collections.abc import Iterable, Iterator
from typing import IO

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.formats.tables import TableWriter
from genomai_cli.inference.classify import Call

NOTHING = "."
DIGITS = 4


def write_calls(
    out: IO[bytes], calls: Iterable[Call], bundle: Bundle, *, with_probabilities: bool = False
) -> tuple[int, int]:
    """Write a row a call; how many have labels, and how many are UNKNOWN."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="\n", write_through=True)
    table = TableWriter(text, columns(bundle, with_probabilities))
    known = unknown = 0
    for call in calls:
        table.write(_row(call, bundle, with_probabilities))
        known += call.used > 0
        unknown += call.used == 0
    text.detach()
    return known, unknown


def columns(bundle: Bundle, with_probabilities: bool) -> list[str]:
    """The names of the columns; scripts depend on them."""
    heads = [column for head in bundle.heads for column in (head, f"{head}_p")]
    every = [f"{head}:{label}" for head, labels in bundle.heads.items() for label in labels]
    last = every if with_probabilities else []
    return ["sample", *heads, "used", "call_rate", "flags", "model", *last]


def _row(call: Call, bundle: Bundle, with_probabilities: bool) -> Iterator[str]:
    yield call.name
    for head, label in call.labels.items():
        probabilities = call.probabilities[head]
        yield label
        yield NOTHING if probabilities is None else f"{probabilities.max():.{DIGITS}f}"
    yield str(call.used)
    yield f"{call.call_rate:.{DIGITS}f}"
    yield ",".join(call.flags) or NOTHING
    yield f"{bundle.name}@{bundle.version}"
    if with_probabilities:
        for head, labels in bundle.heads.items():
            probabilities = call.probabilities[head]
            for number in range(len(labels)):
                yield NOTHING if probabilities is None else f"{probabilities[number]:.{DIGITS}f}"
