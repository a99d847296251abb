"""Unlabelled DNA on disk: read once, then drawn from in any order without being held in memory.

The letters of all records lie one after another in a file; pieces of them, cut so that no piece holds a long
run of N, are what samples are drawn from, and some pieces are held out to validate on. All files are mapped, not
read, so that a corpus may be larger than the memory. A corpus lives in the folder of one run, since the pieces
depend on the network's window and what is held out depends on the seed.

An order of very many things that needs no memory: a permutation computed place by place.

A Feistel network (Luby and Rackoff 1988, SIAM J Comput 17:373) turns a place into another one, all places of a power
of four into each other; places beyond the end walk on until they fall inside (Black and Rogaway 2002, "cycle walking").

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

ABOUT, NAMES, SUMS = "corpus.json", "names.txt", "sha256.json"
LETTERS, PIECES, GROUPS = "letters.u8", "pieces.i64", "groups.u64"
LEARN, JUDGE, COUNTS = "learn.i64", "judge.i64", "counts.i64"
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
class About:
    """What is known of a corpus: its size, the SHA-256 of its names and letters, and whether whole records
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
    tells which of a row's letters are those of the sites, by default all."""

    about: About
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
            about = About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
            counts = mapped(folder / COUNTS, np.int64) if about.sites else None
            found = cls(
                about,
                mapped(folder / LETTERS, np.uint8, anywhere=True),
                mapped(folder / PIECES, np.int64).reshape(-1, 2),
                mapped(folder / LEARN, np.int64),
                mapped(folder / JUDGE, np.int64),
                counts.reshape(about.sites or 0, -1) if counts is not None else None,
                folder=folder,
            )
            damaged = found._damaged()
        except TypeError:  # the fields of what is known of it
            damaged = ABOUT
        except (OSError, ValueError) as error:
            raise InputError(f"not a finished corpus: {error}", path=folder) from error
        if damaged is not None:
            raise InputError(DAMAGED, path=folder / damaged)
        return found

    def _damaged(self) -> str | None:
        """A file whose numbers cannot be those of this corpus, None if all can."""
        about, bounds = self.about, self.bounds
        pieces = about.pieces
        checks = {
            ABOUT: pieces > 0 and 0 <= about.held_out < pieces and (about.sites or 1) > 0,
            LETTERS: len(self.letters) == about.letters,
            PIECES: len(bounds) == pieces
            and _within(bounds, about.letters + 1)
            and bool((bounds[:, 0] < bounds[:, 1]).all()),
            LEARN: len(self.train) == pieces - about.held_out and _within(self.train, pieces),
            JUDGE: len(self.validation) == about.held_out and _within(self.validation, pieces),
            COUNTS: self.counts is None
            or (self.counts.shape[1] == len(COUNTED) and bool((self.counts >= 0).all())),
        }
        return next((name for name, sound in checks.items() if not sound), None)

    def at(self, columns: Rows) -> "Corpus":
        """The same rows at some of their sites."""
        counts = None if self.counts is None else self.counts[columns]
        return replace(self, counts=counts, columns=columns)

    def windows(self, pieces: Rows, starts: NDArray[np.float64], longest: int) -> Letters:
        """A window of at most `longest` letters in each of the pieces, as rows filled up with 0.

        `starts`, from 0 to 1, tells where in its piece each begins.
        """
        begins, sizes = self.placed(pieces, starts, longest)
        found_BL = np.zeros((len(pieces), int(sizes.max(initial=1))), np.uint8)
        for row, (begin, size) in enumerate(zip(begins.tolist(), sizes.tolist(), strict=True)):
            found_BL[row, :size] = self.letters[begin : begin + size]
        return found_BL if self.columns is None else found_BL[:, self.columns]

    def placed(self, pieces: Rows, starts: NDArray[np.float64], longest: int) -> tuple[Rows, Rows]:
        """Where among all letters these windows begin, and how many letters each has."""
        bounds = self.bounds[pieces]
        sizes = np.minimum(bounds[:, 1] - bounds[:, 0], longest)
        room = bounds[:, 1] - bounds[:, 0] - sizes + 1
        return bounds[:, 0] + (starts * room).astype(np.int64), sizes

    @cached_property
    def names(self) -> list[str]:
        """Those of all records, in their order."""
        assert self.folder is not None  # it was opened
        return [text_of(name) for name in (self.folder / NAMES).read_bytes().split(b"\n")[:-1]]

    def training_letters(self) -> Letters:
        """The rows to train on, as they lie in the corpus (N, L)."""
        return self._rows(self.train)

    def training_blocks(self, size: int) -> Iterator[Letters]:
        """The same, so many at a time."""
        return (self._rows(self.train[at : at + size]) for at in range(0, len(self.train), size))

    def training_segments(self) -> Iterator[tuple[int, Letters]]:
        """Where among all letters each piece to train on begins, and its letters (L,)."""
        for begin, end in self.bounds[self.train].tolist():
            yield begin, self.letters[begin:end]

    def all_letters(self) -> Letters:
        """All rows (N, L), those for validation included."""
        return self._rows(np.arange(len(self.bounds)))

    def _rows(self, rows: Rows) -> Letters:
        return self.windows(rows, np.zeros(len(rows)), self.about.sites or 0)

    def __len__(self) -> int:
        """How many pieces there are to train on."""
        return len(self.train)


def _within(numbers: Rows, end: int) -> bool:
    return not len(numbers) or (int(numbers.min()) >= 0 and int(numbers.max()) < end)


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a whole corpus."""
    return (folder / ABOUT).is_file()


def sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of the corpus's files by name."""
    files = (folder / name for name in (LETTERS, PIECES, LEARN, JUDGE, COUNTS))
    return {file.name: sha256(file) for file in files if file.is_file()}


def require_unchanged(folder: Path) -> None:
    """InputError that names a file of a finished corpus that is not as it was written."""
    try:
        written = dict(json.loads((folder / SUMS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise InputError(DAMAGED, path=folder / SUMS) from None
    found = sums(folder)
    for name in sorted(written.keys() | found.keys()):
        if found.get(name) != written.get(name):
            raise InputError(DAMAGED, path=folder / name)


def mapped(file: Path, kind: Any, *, anywhere: bool = False) -> NDArray[Any]:
    """The file's numbers, read from disk where and when they are looked at; `anywhere` says that this will be in no
    order, so that what lies behind is not read along."""
    if not file.stat().st_size:
        return np.zeros(0, kind)
    with file.open("rb") as handle:
        pages = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    if anywhere and hasattr(mmap, "MADV_RANDOM"):
        pages.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(pages, kind)


ROUNDS = 6
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
Numbers = NDArray[np.uint64]


def mixed(numbers: Numbers, seed: int) -> Numbers:
    """Numbers that look random and are a function of those given and the seed (SplitMix64)."""
    x: Numbers = numbers.astype(np.uint64) + _STEP * np.array([seed + 1], np.uint64)
    x = (x ^ (x >> np.uint64(30))) * _MULTIPLIERS[0]
    x = (x ^ (x >> np.uint64(27))) * _MULTIPLIERS[1]
    return x ^ (x >> np.uint64(31))


def shuffled(places: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """What stands at these places of an endless sequence of epochs, each `count` things in an order of its own."""
    epochs, within = np.divmod(places, count)
    found = np.empty_like(within)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        key = int(mixed(np.array([epoch], np.uint64), seed)[0])
        found[chosen] = _permuted(within[chosen], count, key)
    return found


def _permuted(places: NDArray[np.int64], count: int, key: int) -> NDArray[np.int64]:
    half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    moved = _feistel(places.astype(np.uint64), half, key)
    while (outside := moved >= count).any():
        moved[outside] = _feistel(moved[outside], half, key)
    return moved.astype(np.int64)


def _feistel(places: Numbers, half: np.uint64, key: int) -> Numbers:
    """Another place of the 2^(2 half) for each."""
    low = np.uint64((1 << int(half)) - 1)
    left, right = places >> half, places & low
    for number in range(ROUNDS):
        left, right = right, left ^ (mixed(right, (key + number) % 2**63) & low)
    return (left << half) | right
