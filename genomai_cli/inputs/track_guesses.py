"""What is guessed of tracks and tokens without a network, from the data that it was trained on.

Shape suffixes: C tracks, L letters, W contexts of `ORDER` letters, P bins, M contact maps, D distances in bins.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from genomai_cli.alphabet import UNKNOWN_CODE, codes_of
from genomai_cli.errors import InputError
from genomai_cli.formats.bigwig import Values
from genomai_cli.inputs.samples import Letters, Rows, TrainingRows
from genomai_cli.inputs.track_windows import TrackWindows

GUESSES = "track_baselines.safetensors"  # in a bundle
ORDER = 8
PIECES = 600  # to measure rates in; of larger corpora every so-manieth
LETTERS = 1 << 26  # to count next bases in, likewise


@dataclass(frozen=True, eq=False)
class Guesses:
    """How many of each track's known values are above 0 (C,), and the base (W,) that follows most often."""

    rates: NDArray[np.float32]
    next_base: NDArray[np.uint8]

    @classmethod
    def of(cls, rows: TrainingRows, windows: TrackWindows) -> Self:
        """From the pieces to train on."""
        tracks = len(windows.aligned.tracks)
        above_C, known_C = np.zeros(tracks), np.zeros(tracks)
        for values_LC in _values(rows, windows):
            above_C += (values_LC > 0).sum(axis=0)
            known_C += (~np.isnan(values_LC)).sum(axis=0)
        rates_C = (above_C + 0.5) / (known_C + 1)
        return cls(rates_C.astype(np.float32), next_bases(rows))

    def to_bytes(self) -> bytes:
        """As a file."""
        told: dict[str, NDArray[Any]] = {"rates": self.rates, "next_base": self.next_base}
        return bytes(safetensors.numpy.save(told))

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Self:
        """InputError for what is no such file."""
        try:
            found = safetensors.numpy.load(data)
            return cls(found["rates"], found["next_base"])
        except (SafetensorError, KeyError) as error:
            raise InputError(f"no baselines of tracks: {error}", path=path) from error


@dataclass(frozen=True, eq=False)
class CoverageMeans:
    """Each track's mean over what is above 0 (C,), and the share (C,) that this is of what is known."""

    above: NDArray[np.float32]
    shares: NDArray[np.float32]

    @classmethod
    def of(cls, rows: TrainingRows, windows: TrackWindows) -> Self:
        """From the pieces to train on; values below 0 count as 0."""
        sums_C, count_C, known_C = np.zeros((3, len(windows.aligned.tracks)))
        for values_LC in _values(rows, windows):
            above_LC = values_LC > 0
            known_C += np.count_nonzero(~np.isnan(values_LC), axis=0)
            sums_C += values_LC.sum(axis=0, dtype=np.float64, where=above_LC)
            count_C += np.count_nonzero(above_LC, axis=0)
        above_C, shares_C = sums_C / np.maximum(count_C, 1), count_C / np.maximum(known_C, 1)
        return cls(above_C.astype(np.float32), shares_C.astype(np.float32))

    @property
    def overall(self) -> NDArray[np.float32]:
        """Those over all that is known (C,)."""
        return self.above * self.shares

    def to_bytes(self) -> bytes:
        """As a file."""
        return bytes(safetensors.numpy.save({"means": self.above, "shares": self.shares}))

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Self:
        """InputError for what is no such file."""
        try:
            found = safetensors.numpy.load(data)
            return cls(found["means"], found["shares"])
        except (SafetensorError, KeyError) as error:
            raise InputError(f"no means of tracks: {error}", path=path) from error


def expected_contacts(rows: TrainingRows, windows: TrackWindows, bins: int) -> Values:
    """Each map's mean contact (M, D) of known pairs of bins that are 0 to `bins` - 1 apart, in the pieces to train on;
    0 where none is known."""
    maps = windows.aligned.maps
    sums_MD, count_MD = np.zeros((2, len(maps), bins))
    for letters, place in _some_pieces(rows) if maps else ():
        whole = letters // maps[0].file.bin_size
        contacts_PPM = windows.contacts(*place, whole)[0]
        for distance in range(min(whole, bins)):
            own_MP = np.diagonal(contacts_PPM, distance)
            sums_MD[:, distance] += np.nansum(own_MP, axis=1, dtype=np.float64)
            count_MD[:, distance] += (~np.isnan(own_MP)).sum(axis=1)
    return (sums_MD / np.maximum(count_MD, 1)).astype(np.float32)


def _some_pieces(rows: TrainingRows) -> Iterator[tuple[int, tuple[Rows, Rows, Rows]]]:
    """How many letters some of the pieces to train on have, and each as the only one of `TrackWindows`, forward."""
    for begin, letters in islice(rows.training_pieces(), 0, None, max(1, len(rows) // PIECES)):
        yield len(letters), (np.array([begin]), np.array([len(letters)]), np.array([0]))


def _values(rows: TrainingRows, windows: TrackWindows) -> Iterator[Values]:
    """The values (L, C) of some of the pieces to train on."""
    for letters, place in _some_pieces(rows):
        yield windows.values(*place, letters)[0]


def next_bases(rows: TrainingRows) -> NDArray[np.uint8]:
    """The base (W,) that most often follows each context of `ORDER` letters; where a context was never seen, any."""
    counts = np.zeros(4 ** (ORDER + 1), np.int64)
    left = LETTERS
    for _, letters in rows.training_pieces():
        words = contexts(letters, ORDER + 1)
        counts += np.bincount(words[words >= 0], minlength=len(counts))
        left -= len(letters)
        if left < 0:
            break
    of_context = counts.reshape(-1, 4)
    likely: NDArray[np.int64] = (of_context + of_context.sum(0) / (1 + of_context.sum())).argmax(1)
    return likely.astype(np.uint8)


def contexts(letters: Letters, size: int = ORDER) -> NDArray[np.int64]:
    """The number of each word of so many letters (L - size + 1,), -1 where a letter is no base."""
    codes = codes_of(letters).astype(np.int64)
    count = max(0, len(codes) - size + 1)
    words, known = np.zeros(count, np.int64), np.ones(count, np.bool_)
    for offset in range(size):
        part = codes[offset : offset + count]
        words = words * 4 + part
        known &= part != UNKNOWN_CODE
    return np.where(known, words, -1)
