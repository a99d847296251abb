"""Baseline predictions of tracks and tokens without a network, from its training data.

Shape suffixes: C tracks, L letters, W contexts of `ORDER` letters, P bins, M contact maps, D distances in bins.
"""

from collections.abc import Iterable, Iterator
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

BASELINES_FILE = "track_baselines.safetensors"  # in a bundle
ORDER = 8
MAX_WINDOWS = 600  # to measure rates in; of larger corpora every so-manieth
MAX_LETTERS = 1 << 26  # to count next bases in, likewise


@dataclass(frozen=True, eq=False)
class OmicsBaselines:
    """The share of each track's known values that is above 0 (C,), and the base (W,) that follows each context most
    often."""

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
        tensors: dict[str, NDArray[Any]] = {"rates": self.rates, "next_base": self.next_base}
        return bytes(safetensors.numpy.save(tensors))

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Self:
        """InputError for what is no such file."""
        return cls(*_stored_arrays(data, ("rates", "next_base"), path, "baselines"))


@dataclass(frozen=True, eq=False)
class CoverageMeans:
    """Each track's mean over what is above 0 (C,), and the share (C,) that this is of what is known."""

    positive_means: NDArray[np.float32]
    positive_shares: NDArray[np.float32]

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
        return self.positive_means * self.positive_shares

    def to_bytes(self) -> bytes:
        """As a file."""
        return bytes(
            safetensors.numpy.save({"means": self.positive_means, "shares": self.positive_shares})
        )

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Self:
        """InputError for what is no such file."""
        return cls(*_stored_arrays(data, ("means", "shares"), path, "means"))


def _stored_arrays(
    data: bytes, names: Iterable[str], path: str, content: str
) -> list[NDArray[Any]]:
    """The arrays of these names in a file's bytes; InputError, which says what the file should hold, without them."""
    try:
        arrays = safetensors.numpy.load(data)
        return [arrays[name] for name in names]
    except (SafetensorError, KeyError) as error:
        raise InputError(f"no {content} of tracks: {error}", path=path) from error


def expected_contacts(rows: TrainingRows, windows: TrackWindows, bins: int) -> Values:
    """Each map's mean contact (M, D) of known pairs of bins that are 0 to `bins` - 1 apart, in the pieces to train on;
    0 where none is known."""
    maps = windows.aligned.maps
    sums_MD, count_MD = np.zeros((2, len(maps), bins))
    for letters, window in _sampled_windows(rows) if maps else ():
        window_bins = letters // maps[0].file.bin_size
        contacts_PPM = windows.contacts(*window, window_bins)[0]
        for distance in range(min(window_bins, bins)):
            diagonal_MP = np.diagonal(contacts_PPM, distance)
            sums_MD[:, distance] += np.nansum(diagonal_MP, axis=1, dtype=np.float64)
            count_MD[:, distance] += (~np.isnan(diagonal_MP)).sum(axis=1)
    return (sums_MD / np.maximum(count_MD, 1)).astype(np.float32)


def _sampled_windows(rows: TrainingRows) -> Iterator[tuple[int, tuple[Rows, Rows, Rows]]]:
    """The lengths of at most about `MAX_WINDOWS` stretches to train on, and each as a batch of one forward window of
    `TrackWindows`: begin, length, whether it is flipped."""
    for begin, letters in islice(
        rows.training_segments(), 0, None, max(1, len(rows) // MAX_WINDOWS)
    ):
        yield len(letters), (np.array([begin]), np.array([len(letters)]), np.array([0]))


def _values(rows: TrainingRows, windows: TrackWindows) -> Iterator[Values]:
    """The values (L, C) of some of the stretches to train on."""
    for letters, window in _sampled_windows(rows):
        yield windows.values(*window, letters)[0]


def next_bases(rows: TrainingRows) -> NDArray[np.uint8]:
    """The base (W,) that most often follows each context of `ORDER` letters; where a context was never seen, any."""
    counts = np.zeros(4 ** (ORDER + 1), np.int64)
    remaining_letters = MAX_LETTERS
    for _, letters in rows.training_segments():
        kmers = kmer_codes(letters, ORDER + 1)
        counts += np.bincount(kmers[kmers >= 0], minlength=len(counts))
        remaining_letters -= len(letters)
        if remaining_letters < 0:
            break
    of_context = counts.reshape(-1, 4)
    most_frequent: NDArray[np.int64] = (
        of_context + of_context.sum(0) / (1 + of_context.sum())
    ).argmax(1)
    return most_frequent.astype(np.uint8)


def kmer_codes(letters: Letters, size: int = ORDER) -> NDArray[np.int64]:
    """Each k-mer of `size` letters as a number (L - size + 1,), -1 where a letter is no base."""
    codes = codes_of(letters).astype(np.int64)
    count = max(0, len(codes) - size + 1)
    kmers, known = np.zeros(count, np.int64), np.ones(count, np.bool_)
    for offset in range(size):
        codes_at_offset = codes[offset : offset + count]
        kmers = kmers * 4 + codes_at_offset
        known &= codes_at_offset != UNKNOWN_CODE
    return np.where(known, kmers, -1)
