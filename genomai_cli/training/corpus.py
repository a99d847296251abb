"""Unlabelled DNA on disk: read once, then drawn from in any order without being held in memory.

The letters of all records lie one after another in a file; pieces of them, cut so that no piece holds a long
run of N, are what samples are drawn from, and some pieces are held out to validate on. All files are mapped, not
read, so that a corpus may be larger than the memory. A corpus lives in the folder of one run, since the pieces
depend on the network's window and what is held out depends on the seed.

A permutation of very many things that needs no memory, computed position by position.

A Feistel network (Luby and Rackoff 1988, SIAM J Comput 17:373) permutes the positions below a power of four; those
beyond the end are permuted again until they fall inside (Black and Rogaway 2002, "cycle walking").

Shape suffixes: N pieces, S sites, A letters that are counted.
"""

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import Letters
from genomai_cli.bundles.catalog import sha256
from genomai_cli.errors import InputError
from genomai_cli.formats.streams import text_of
from genomai_cli.inputs.samples import COUNTED, Rows

INFO, NAMES, DIGESTS = "corpus.json", "names.txt", "sha256.json"
LETTERS, PIECES, GROUPS = "letters.u8", "pieces.i64", "groups.u64"
TRAIN, VALIDATION, COUNTS = "learn.i64", "judge.i64", "counts.i64"
DAMAGED = "damaged: not as it was written; without --resume and with --force the run starts over"


@dataclass(frozen=True)
class CorpusRecipe:
    """How unlabelled DNA is read: in windows of at most `window` letters (0: as many as the network reads), drawn
    from pieces `windows` times as long, of which at most `judged` are validated on. The log has a row every
    `log_every` steps."""

    window: int = 0
    windows: int = 4
    judged: int = 1024
    log_every: int = 10


@dataclass(frozen=True)
class CorpusInfo:
    """The facts of a corpus: its size, the SHA-256 of its names and letters, and whether whole records
    were held out or pieces of them."""

    records: int
    letters: int
    pieces: int
    held_out: int
    by_record: bool
    sites: int | None
    sha256: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """Pieces of letters: `bounds` (N, 2) in the letters of all records, and the numbers of those to train on
    and to validate on. `counts` (S, A) of the letters `COUNTED` at each site, of the rows to train on; `columns` (S,)
    are the indices in a row of the sites' letters, by default all."""

    info: CorpusInfo
    letters: Letters = field(repr=False)
    bounds: Rows = field(repr=False)
    train: Rows = field(repr=False)
    validation: Rows = field(repr=False)
    counts: Rows | None = field(default=None, repr=False)
    columns: Rows | None = field(default=None, repr=False)
    folder: Path | None = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """The corpus in the folder; InputError if there is none that was finished."""
        try:
            info = CorpusInfo(**json.loads((folder / INFO).read_text(encoding="utf-8")))
            counts = memory_mapped(folder / COUNTS, np.int64) if info.sites else None
            corpus = cls(
                info,
                memory_mapped(folder / LETTERS, np.uint8, random_access=True),
                memory_mapped(folder / PIECES, np.int64).reshape(-1, 2),
                memory_mapped(folder / TRAIN, np.int64),
                memory_mapped(folder / VALIDATION, np.int64),
                counts.reshape(info.sites or 0, -1) if counts is not None else None,
                folder=folder,
            )
            damaged = corpus._damaged()
        except TypeError:  # other fields than those of `CorpusInfo`
            damaged = INFO
        except (OSError, ValueError) as error:
            raise InputError(f"not a finished corpus: {error}", path=folder) from error
        if damaged is not None:
            raise InputError(DAMAGED, path=folder / damaged)
        return corpus

    def _damaged(self) -> str | None:
        """A file whose numbers cannot be those of this corpus, None if all can."""
        info, bounds = self.info, self.bounds
        pieces = info.pieces
        checks = {
            INFO: pieces > 0 and 0 <= info.held_out < pieces and (info.sites or 1) > 0,
            LETTERS: len(self.letters) == info.letters,
            PIECES: len(bounds) == pieces
            and _within(bounds, info.letters + 1)
            and bool((bounds[:, 0] < bounds[:, 1]).all()),
            TRAIN: len(self.train) == pieces - info.held_out and _within(self.train, pieces),
            VALIDATION: len(self.validation) == info.held_out and _within(self.validation, pieces),
            COUNTS: self.counts is None
            or (self.counts.shape[1] == len(COUNTED) and bool((self.counts >= 0).all())),
        }
        return next((name for name, is_valid in checks.items() if not is_valid), None)

    def select_columns(self, columns: Rows) -> "Corpus":
        """The same rows at these sites."""
        counts = None if self.counts is None else self.counts[columns]
        return replace(self, counts=counts, columns=columns)

    def windows(self, pieces: Rows, starts: NDArray[np.float64], max_length: int) -> Letters:
        """A window of at most `max_length` letters in each of the pieces, as rows filled up with 0.

        `starts`, from 0 to 1, is the relative position at which each begins in its piece.
        """
        begins, sizes = self.window_positions(pieces, starts, max_length)
        letters_BL = np.zeros((len(pieces), int(sizes.max(initial=1))), np.uint8)
        for row, (begin, size) in enumerate(zip(begins.tolist(), sizes.tolist(), strict=True)):
            letters_BL[row, :size] = self.letters[begin : begin + size]
        return letters_BL if self.columns is None else letters_BL[:, self.columns]

    def window_positions(
        self, pieces: Rows, starts: NDArray[np.float64], max_length: int
    ) -> tuple[Rows, Rows]:
        """The positions among all letters at which these windows begin, and their lengths."""
        bounds = self.bounds[pieces]
        sizes = np.minimum(bounds[:, 1] - bounds[:, 0], max_length)
        slack = bounds[:, 1] - bounds[:, 0] - sizes + 1
        return bounds[:, 0] + (starts * slack).astype(np.int64), sizes

    @cached_property
    def names(self) -> list[str]:
        """The names of all records, in their order."""
        assert self.folder is not None  # it was opened
        return [text_of(name) for name in (self.folder / NAMES).read_bytes().split(b"\n")[:-1]]

    def training_letters(self) -> Letters:
        """The rows to train on, as they lie in the corpus (N, L)."""
        return self._rows(self.train)

    def training_blocks(self, size: int) -> Iterator[Letters]:
        """The rows to train on, `size` at a time."""
        return (
            self._rows(self.train[start : start + size])
            for start in range(0, len(self.train), size)
        )

    def training_segments(self) -> Iterator[tuple[int, Letters]]:
        """The position among all letters at which each piece to train on begins, and its letters (L,)."""
        for begin, end in self.bounds[self.train].tolist():
            yield begin, self.letters[begin:end]

    def all_letters(self) -> Letters:
        """All rows (N, L), those for validation included."""
        return self._rows(np.arange(len(self.bounds)))

    def _rows(self, rows: Rows) -> Letters:
        return self.windows(rows, np.zeros(len(rows)), self.info.sites or 0)

    def __len__(self) -> int:
        """How many pieces there are to train on."""
        return len(self.train)


def _within(numbers: Rows, end: int) -> bool:
    return not len(numbers) or (int(numbers.min()) >= 0 and int(numbers.max()) < end)


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a whole corpus."""
    return (folder / INFO).is_file()


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of the corpus's files by name."""
    files = (folder / name for name in (LETTERS, PIECES, TRAIN, VALIDATION, COUNTS))
    return {file.name: sha256(file) for file in files if file.is_file()}


def require_unchanged(folder: Path) -> None:
    """InputError that names a file of a finished corpus that is not as it was written."""
    try:
        recorded = dict(json.loads((folder / DIGESTS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise InputError(DAMAGED, path=folder / DIGESTS) from None
    found = digests(folder)
    for name in sorted(recorded.keys() | found.keys()):
        if found.get(name) != recorded.get(name):
            raise InputError(DAMAGED, path=folder / name)


def memory_mapped(file: Path, dtype: Any, *, random_access: bool = False) -> NDArray[Any]:
    """The file's numbers as a memory-mapped array; with `random_access` without read-ahead."""
    if not file.stat().st_size:
        return np.zeros(0, dtype)
    with file.open("rb") as handle:
        mapping = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    if random_access and hasattr(mmap, "MADV_RANDOM"):
        mapping.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapping, dtype)


ROUNDS = 6
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
Numbers = NDArray[np.uint64]


def splitmix64(numbers: Numbers, seed: int) -> Numbers:
    """Numbers that look random and are a function of those given and the seed (SplitMix64)."""
    x: Numbers = numbers.astype(np.uint64) + _STEP * np.array([seed + 1], np.uint64)
    x = (x ^ (x >> np.uint64(30))) * _MULTIPLIERS[0]
    x = (x ^ (x >> np.uint64(27))) * _MULTIPLIERS[1]
    return x ^ (x >> np.uint64(31))


def shuffled_epochs(positions: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """The items at these positions of an endless sequence of epochs, each a permutation of its own of `count` items."""
    epochs, within = np.divmod(positions, count)
    shuffled = np.empty_like(within)
    for epoch in np.unique(epochs):
        in_epoch = epochs == epoch
        key = int(splitmix64(np.array([epoch], np.uint64), seed)[0])
        shuffled[in_epoch] = _permute(within[in_epoch], count, key)
    return shuffled


def _permute(positions: NDArray[np.int64], count: int, key: int) -> NDArray[np.int64]:
    half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    permuted = _feistel(positions.astype(np.uint64), half, key)
    while (outside := permuted >= count).any():
        permuted[outside] = _feistel(permuted[outside], half, key)
    return permuted.astype(np.int64)


def _feistel(positions: Numbers, half: np.uint64, key: int) -> Numbers:
    """Each position's image under a permutation of 2^(2 half)."""
    low = np.uint64((1 << int(half)) - 1)
    left, right = positions >> half, positions & low
    for number in range(ROUNDS):
        left, right = right, left ^ (splitmix64(right, (key + number) % 2**63) & low)
    return (left << half) | right
