"""Similarities as the tables that `genomai align` writes, always with the columns sample, phenotype, similarity, rank.

Shape suffixes: P phenotype records, K ranks that are written, N samples.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.outputs import text_over
from genomai_cli.formats.tables import UNKNOWN_LABEL, TableWriter
from genomai_cli.population.alignment.similarity import Aligned

COLUMNS = ("sample", "phenotype", "similarity", "rank")
MISSING_VALUE = "."
DIGITS = 6
_SAMPLES_PER_MERGE = 4096  # samples in memory besides the best so far
Array = NDArray[np.float64]


def order_of(similarity: Array, top: int | None = None) -> NDArray[np.int64]:
    """The indices along the last axis from the most similar down, equal ones in their order; the first `top`."""
    order: NDArray[np.int64] = np.argsort(-similarity, axis=-1, kind="stable")[..., :top]
    return order


def write_by_sample(
    out: IO[bytes],
    aligned: Iterable[Aligned],
    records: Sequence[str],
    top: int | None = None,
    *,
    header: bool = True,
) -> None:
    """For each sample, in input order, the records from the most similar down.

    A sample without similarities has one row, UNKNOWN.
    """
    ranks = [str(rank) for rank in range(1, len(records) + 1)][:top]
    with _table(out, header=header) as table:
        for sample in aligned:
            if sample.similarities is None:
                table.write([sample.name, UNKNOWN_LABEL, MISSING_VALUE, MISSING_VALUE])
                continue
            best_K = order_of(sample.similarities, top)
            record_names = [records[record] for record in best_K.tolist()]
            samples = [sample.name] * len(record_names)
            table.write_columns(
                samples, record_names, _decimals(sample.similarities[best_K]), ranks
            )


def write_by_record(
    out: IO[bytes], aligned: Iterable[Aligned], records: Sequence[str], top: int | None = None
) -> None:
    """For each record, in the order of its table, the samples from the most similar down; rank is that among them.

    Samples without similarities are left out. With `top` only so many samples of each record are held in memory.
    """
    samples, similarity_PN, sample_PN = _most_similar(aligned, len(records), top)
    ranks = [str(rank) for rank in range(1, similarity_PN.shape[1] + 1)]
    with _table(out) as table:
        for record, name in enumerate(records):
            sample_names = [samples[sample] for sample in sample_PN[record].tolist()]
            table.write_columns(
                sample_names, [name] * len(sample_names), _decimals(similarity_PN[record]), ranks
            )


def write_pairs(
    out: IO[bytes],
    pairs: Iterable[tuple[str, str]],
    similarity: Sequence[float | None],
    rank: Sequence[int | None],
) -> None:
    """The pairs in their order; rank is that of the phenotype among all records for the sample."""
    with _table(out) as table:
        for (sample, phenotype), value, number in zip(pairs, similarity, rank, strict=True):
            text = MISSING_VALUE if value is None else _decimals(np.array([value]))[0]
            table.write([sample, phenotype, text, MISSING_VALUE if number is None else number])


def _most_similar(
    aligned: Iterable[Aligned], records: int, top: int | None
) -> tuple[list[str], Array, NDArray[np.int64]]:
    """The samples' names, and for each record the similarities (P, N) and numbers of its best ones, in order."""
    samples: list[str] = []
    best = np.zeros((records, 0)), np.zeros((records, 0), np.int64)
    pending: list[Array] = []
    for sample in aligned:
        if sample.similarities is None:
            continue
        samples.append(sample.name)
        pending.append(sample.similarities)
        if len(pending) == _SAMPLES_PER_MERGE:
            best = _merged(best, pending, len(samples), top)
            pending = []
    return samples, *_merged(best, pending, len(samples), top)


def _merged(
    best: tuple[Array, NDArray[np.int64]], pending: list[Array], total: int, top: int | None
) -> tuple[Array, NDArray[np.int64]]:
    """The best of the previous best and of the pending samples, which are the last of `total`."""
    if not pending:
        return best
    numbers = np.arange(total - len(pending), total)
    similarity = np.concatenate([best[0], np.stack(pending, axis=1)], axis=1)
    sample = np.concatenate([best[1], np.tile(numbers, (len(similarity), 1))], axis=1)
    order = order_of(similarity, top)
    return np.take_along_axis(similarity, order, axis=1), np.take_along_axis(sample, order, axis=1)


def _decimals(values: Array) -> list[str]:
    rounded = values.round(DIGITS) + 0.0  # no -0
    return [f"{value:.{DIGITS}f}" for value in rounded.tolist()]


@contextmanager
def _table(out: IO[bytes], *, header: bool = True) -> Iterator[TableWriter]:
    text = text_over(out)
    yield TableWriter(text, COLUMNS, header=header)
    text.detach()  # which flushes: not if the block has failed
