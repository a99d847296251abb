"""Explanations as they are written: a table with a row a letter, bedGraph of the attributions, or HDF5.

HDF5: of all records end to end `/letters` (ASCII), `/attributions` and `/changes` (n, 4) for A C G T, NaN at the letter
itself and where it is no base; those of record i lie from `/offsets[i]` to before `/offsets[i + 1]`. By record `/ids`,
`/labels` (HEAD:LABEL) and `/log_odds`. The root's attributes say which model and method.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import h5py
import numpy as np

from genomai_cli.alphabet import as_letters
from genomai_cli.formats.base_tracks import BEDGRAPH, HDF5, BedGraph
from genomai_cli.formats.outputs import buffered_output, text_over
from genomai_cli.formats.spooled_hdf5 import describe, spooled_hdf5
from genomai_cli.formats.tables import TableWriter
from genomai_cli.inference.effect_outputs import format_number
from genomai_cli.inference.explain import Explanation
from genomai_cli.names import printable

COLUMNS = ("record", "position", "base", "label", "attribution")
FORMAT_VERSION = 1
_CHUNK = 1 << 14  # letters


class ExplanationWriter(Protocol):
    """What explanations are written to, in order."""

    def add(self, explanation: Explanation) -> None:
        """The next one."""


@contextmanager
def explanation_writer(path: Path, about: Mapping[str, str]) -> Iterator[ExplanationWriter]:
    """A file that appears when the block ends well: HDF5 for a name in .h5 or .hdf5, bedGraph for .bedgraph or .bg,
    also with .gz; else a table."""
    with buffered_output(path) as out:
        ending = Path(path.name.removesuffix(".gz")).suffix.lower()
        if ending in BEDGRAPH:
            yield _BedGraphRows(out)
            return
        if ending not in HDF5:
            table = _TableRows(out)
            yield table
            table.close()
            return
        with spooled_hdf5(out) as file:
            writer = _Hdf5Datasets(file, about)
            yield writer
            writer.close()


class _TableRows:
    def __init__(self, out: IO[bytes]) -> None:
        self._text = text_over(out)
        self._table = TableWriter(self._text, COLUMNS)

    def add(self, explanation: Explanation) -> None:
        count = len(explanation.letters)
        self._table.write_columns(
            [explanation.name] * count,
            [str(position + 1) for position in range(count)],
            list(explanation.letters),
            [explanation.label] * count,
            [format_number(value) for value in explanation.attributions.tolist()],
        )

    def close(self) -> None:
        """Let go of the stream."""
        self._text.detach()


class _BedGraphRows:
    def __init__(self, out: IO[bytes]) -> None:
        self._lines = BedGraph(out)

    def add(self, explanation: Explanation) -> None:
        contig, first = explanation.place or (explanation.name, 0)
        self._lines.add(contig, explanation.attributions, last=True, first=first)


class _Hdf5Datasets:
    def __init__(self, file: h5py.File, about: Mapping[str, str]) -> None:
        describe(file, "genomai attributions of letters", FORMAT_VERSION, about)
        self._file = file
        self._names, self._labels, self._odds = list[str](), list[str](), list[float]()
        self._offsets = [0]
        for name, kind, shape in (
            ("letters", "u1", ()),
            ("attributions", "f4", ()),
            ("changes", "f4", (4,)),
        ):
            file.create_dataset(
                name, (0, *shape), kind, maxshape=(None, *shape), chunks=(_CHUNK, *shape)
            )

    def add(self, explanation: Explanation) -> None:
        self._names.append(printable(explanation.name))
        self._labels.append(printable(explanation.label))
        self._odds.append(explanation.odds)
        for name, values in (
            ("letters", as_letters(explanation.letters)),
            ("attributions", explanation.attributions),
            ("changes", explanation.changes),
        ):
            dataset = self._file[name]
            dataset.resize(self._offsets[-1] + len(values), axis=0)
            dataset[self._offsets[-1] :] = values
        self._offsets.append(self._offsets[-1] + len(explanation.letters))

    def close(self) -> None:
        """Write what there is a value a record of."""
        text = h5py.string_dtype()
        self._file.create_dataset("ids", data=self._names, dtype=text)
        self._file.create_dataset("labels", data=self._labels, dtype=text)
        self._file.create_dataset("log_odds", data=np.array(self._odds, np.float32))
        self._file.create_dataset("offsets", data=np.array(self._offsets, np.int64))
