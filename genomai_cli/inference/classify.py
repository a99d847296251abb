"""Records to calls: a label with a calibrated probability for every head, and what to mind about it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.inference.engine import AS_FITS, Batching, Scores, score
from genomai_cli.inference.pieces import Reading, reader
from genomai_cli.nets.classifier import SHARES, SURPRISE
from genomai_cli.nets.genotypes import HAPLOID_CALLS
from genomai_cli.panels.panel import Panel
from genomai_cli.records import SequenceRecord

UNKNOWN = "UNKNOWN"
LOW_CALL_RATE_BELOW = 0.5
ADMIXED_BELOW = 0.75  # the largest share of a single reference group
ADMIXED_FROM = 100  # sites: with fewer the shares say too little
NOVEL_ABOVE = 6.0  # standard deviations less likely than members of the best population are


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
    Raises InputError for a record that is no barcode of the model's panel.
    """
    read = reader(bundle, panels or {})
    device = next(bundle.classifier.parameters()).device
    readings = map(read, records)
    items = ((reading, reading.pieces if reading.letters else []) for reading in readings)
    pad_id = bundle.tokenizer.pad_id
    scored = score(bundle.classifier, items, pad_id=pad_id, device=device, batching=batching)
    for reading, scores in scored:
        yield _unknown(bundle, reading) if scores is None else _call(bundle, reading, scores)


def _call(bundle: Bundle, reading: Reading, scores: Scores) -> Call:
    batch = {name: values[None].double() for name, values in scores.items()}
    share = torch.tensor([reading.share], dtype=torch.float64)
    with torch.inference_mode():
        logs = bundle.fusion(batch, share)
    probabilities = {head: rows[0].exp().numpy() for head, rows in logs.items()}
    labels = {head: bundle.heads[head][int(p.argmax())] for head, p in probabilities.items()}
    flags = tuple(_flags(bundle, reading, scores))
    return Call(reading.name, labels, dict(probabilities), reading.letters, reading.share, flags)


def _unknown(bundle: Bundle, reading: Reading) -> Call:
    labels = dict.fromkeys(bundle.heads, UNKNOWN)
    return Call(reading.name, labels, dict.fromkeys(bundle.heads), 0, 0.0, ("LOW_CALL_RATE",))


def _flags(bundle: Bundle, reading: Reading, scores: Scores) -> Iterator[str]:
    """What to mind; docs/outputs.md says what each flag means."""
    if reading.share < LOW_CALL_RATE_BELOW:
        yield "LOW_CALL_RATE"
    if bundle.panel is not None and not reading.heterozygous and reading.letters >= HAPLOID_CALLS:
        yield "HAPLOID"
    if (
        SHARES in scores
        and reading.letters >= ADMIXED_FROM
        and float(scores[SHARES].max()) < ADMIXED_BELOW
    ):
        yield "ADMIXED"
    if SURPRISE in scores and float(scores[SURPRISE]) > NOVEL_ABOVE:
        yield "NOVEL"
