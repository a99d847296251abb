"""Tokens in HDF5, as one flat array with offsets; a file of its own, since a table need not wait for h5py."""

import json
from collections.abc import Iterable, Sequence
from typing import IO

import h5py
import numpy as np

from genomai_cli.formats.spooled_hdf5 import describe, spooled_hdf5
from genomai_cli.names import printable
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers.base import Ids, Tokenizer

FORMAT_VERSION = 1
_BATCH = 1 << 20  # tokens gathered before they are written


def write_hdf5(out: IO[bytes], records: Iterable[SequenceRecord], tokenizer: Tokenizer) -> int:
    """Write the records as HDF5 and return how many.

    `/ids` holds the names (UTF-8), `/tokens` all tokens end to end, and record i is
    `tokens[offsets[i]:offsets[i + 1]]`; the root's attributes say which tokenizer made them.
    """
    with spooled_hdf5(out) as file:
        _describe(file, tokenizer)
        return _fill(file, records, tokenizer)


def _describe(file: h5py.File, tokenizer: Tokenizer) -> None:
    about = {"tokenizer": json.dumps(tokenizer.to_config())}
    describe(file, "genomai tokens", FORMAT_VERSION, about)
    file.create_dataset("vocabulary", data=tokenizer.vocabulary, dtype=h5py.string_dtype())


def _fill(file: h5py.File, records: Iterable[SequenceRecord], tokenizer: Tokenizer) -> int:
    dtype = np.min_scalar_type(len(tokenizer.vocabulary) - 1)
    tokens = file.create_dataset(
        "tokens", (0,), dtype, maxshape=(None,), chunks=(1 << 16,), compression="gzip",
        compression_opts=1, shuffle=True,
    )  # fmt: skip
    names, offsets, chunks = [], [0], list[Ids]()
    for record in records:
        names.append(printable(record.name))
        offsets.append(offsets[-1])
        for chunk in tokenizer.released_chunks(record.sequence):
            chunks.append(chunk)
            offsets[-1] += len(chunk)
            if offsets[-1] - len(tokens) >= _BATCH:
                _append(tokens, chunks)
                chunks.clear()
    _append(tokens, chunks)
    file.create_dataset("offsets", data=np.array(offsets, dtype=np.int64))
    file.create_dataset("ids", data=np.array(names, dtype=object), dtype=h5py.string_dtype())
    return len(names)


def _append(tokens: h5py.Dataset, chunks: Sequence[Ids]) -> None:
    start, count = len(tokens), sum(map(len, chunks))
    tokens.resize((start + count,))
    if count:
        tokens[start:] = np.concatenate(chunks)
