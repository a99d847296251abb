"""Records to calls: a label with a calibrated probability for every head, and what to mind about it.

Calls as the table that `genomai classify` writes.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import IO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.backbones.classifier import MIXTURE, SURPRISE
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.formats.tables import TableWriter
from genomai_cli.inference.batching import AS_FITS, Batching, Scores, score
from genomai_cli.inputs.base import Reading, reader
from genomai_cli.phylogeny.genome_input import LEAST_IDENTITY
from genomai_cli.population.networks.genotype_mlp import HAPLOID_CALLS
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord

Item = TypeVar("Item")
UNKNOWN = "UNKNOWN"
GROUP = 256  # samples whose probabilities are computed together
LOW_CALL_RATE_BELOW = 0.5
ADMIXED_ABOVE = (
    10.0  # nats by which a mixture of reference groups explains a sample better than one
)
NOVEL_ABOVE = 6.0  # standard deviations less likely than members of the best population are
NOVEL_IDENTITY = 0.985  # below it; see LEAST_IDENTITY


@dataclass(frozen=True, eq=False)
class Call:
    """The answer for one sample: `probabilities[head]` over the head's labels, None if UNKNOWN."""

    name: str
    labels: dict[str, str]
    probabilities: dict[str, NDArray[np.float64] | None]
    used: int
    call_rate: float
    flags: tuple[str, ...]


def classify_records(
    bundle: Bundle,
    records: Iterable[SequenceRecord],
    *,
    panels: Mapping[str, Panel] | None = None,
    batching: Batching = AS_FITS,
) -> Iterator[Call]:
    """One call a record, in their order; a batch of them is held at a time.

    `panels` are other panels whose barcodes are accepted too, where they hold all of the model's sites.
    Raises InputError for a record that is no barcode of the model's panel, BundleError for a model without heads.
    """
    bundle.require_heads()
    read = reader(bundle, panels or {})
    device = next(bundle.classifier.parameters()).device
    readings = map(read, records)
    items = ((reading, reading.pieces if reading.letters else []) for reading in readings)
    pad_id = bundle.tokenizer.pad_id
    scored = score(bundle.classifier, items, pad_id=pad_id, device=device, batching=batching)
    for group in _groups(scored, GROUP):
        yield from _calls(bundle, group)


def _groups(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while group := list(islice(items, size)):
        yield group


def _calls(bundle: Bundle, group: list[tuple[Reading, Scores | None]]) -> Iterator[Call]:
    """The calls of a group of readings, whose probabilities are computed together."""
    known = [(reading, scores) for reading, scores in group if scores is not None]
    rows = iter(_probabilities(bundle, known) if known else ())
    for reading, scores in group:
        yield (
            _unknown(bundle, reading)
            if scores is None
            else _call(bundle, reading, scores, next(rows))
        )


def _probabilities(
    bundle: Bundle, known: list[tuple[Reading, Scores]]
) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Every reading's probabilities of every head."""
    names = known[0][1]
    stacked = {name: torch.stack([s[name] for _, s in known]).double() for name in names}
    share = torch.tensor([reading.share for reading, _ in known], dtype=torch.float64)
    with torch.inference_mode():
        logs = bundle.fusion(stacked, share)
    tables = {head: rows.exp().numpy() for head, rows in logs.items()}
    return ({head: table[row] for head, table in tables.items()} for row in range(len(known)))


def _call(
    bundle: Bundle,
    reading: Reading,
    scores: Scores,
    probabilities: dict[str, NDArray[np.float64]],
) -> Call:
    labels = {head: bundle.heads[head][int(p.argmax())] for head, p in probabilities.items()}
    flags = tuple(_flags(bundle, reading, scores))
    return Call(reading.name, labels, dict(probabilities), reading.letters, reading.share, flags)


def _unknown(bundle: Bundle, reading: Reading) -> Call:
    labels = dict.fromkeys(bundle.heads, UNKNOWN)
    strange = reading.identity is not None and reading.identity < LEAST_IDENTITY
    flag = "NOVEL" if strange else "LOW_CALL_RATE"
    return Call(reading.name, labels, dict.fromkeys(bundle.heads), 0, 0.0, (flag,))


def _flags(bundle: Bundle, reading: Reading, scores: Scores) -> Iterator[str]:
    """What to mind; docs/outputs.md says what each flag means."""
    if reading.share < LOW_CALL_RATE_BELOW:
        yield "LOW_CALL_RATE"
    if bundle.panel is not None and not reading.heterozygous and reading.letters >= HAPLOID_CALLS:
        yield "HAPLOID"
    if MIXTURE in scores and float(scores[MIXTURE]) > ADMIXED_ABOVE:
        yield "ADMIXED"
    surprising = SURPRISE in scores and float(scores[SURPRISE]) > NOVEL_ABOVE
    if surprising or (reading.identity is not None and reading.identity < NOVEL_IDENTITY):
        yield "NOVEL"


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
