"""Unlabelled DNA on disk: read once, then drawn from in any order without being held in memory.

The letters of all records lie one after another in a file; pieces of them, cut so that no piece holds a long
run of N, are what samples are drawn from, and some pieces are held out to judge by. All files are mapped, not
read, so that a corpus may be larger than the memory. A corpus lives in the folder of one run, since the pieces
depend on the network's window and what is held out depends on the seed.

Shape suffixes: N pieces, S sites, A letters that are counted.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.augmentations import Letters
from genomai_cli.errors import InputError, TrainingError
from genomai_cli.training.shuffling import mixed

ABOUT, NAMES = "corpus.json", "names.txt"
LETTERS, PIECES, GROUPS = "letters.u8", "pieces.i64", "groups.u64"
LEARN, JUDGE, COUNTS = "learn.i64", "judge.i64", "counts.i64"
COUNTED = b"ACGTRYSWKMBDHVN"
FEWEST_RECORDS = (
    100  # with fewer individuals, pieces of sequences are held out instead of whole records
)
EXACT_GROUPS = 1 << 20  # up to so many individuals, the share that is held out is met exactly
BLOCK = 1 << 16
_HAPLOTYPE = re.compile(r"(.+)_[AB](?:\|.*)?")  # as `tokenize --to fasta` names them
_MISSING = ord("N")

Rows = NDArray[np.int64]
Record = tuple[str, Letters]


@dataclass(frozen=True)
class CorpusRecipe:
    """How unlabelled DNA is read: in windows of at most `window` letters (0: as many as the network reads), drawn
    from pieces `windows` times as long, of which at most `judged` are judged by. The log has a row every
    `log_every` steps."""

    window: int = 0
    windows: int = 4
    judged: int = 1024
    log_every: int = 10


@dataclass(frozen=True)
class Cut:
    """How records become pieces: of at most `longest` letters and at least `shortest`, free of runs of
    `gap` or more N. With `sites`, every record is one row of so many letters and one piece."""

    longest: int = 0
    shortest: int = 1
    gap: int = 1
    sites: int | None = None

    def pieces(self, letters: Letters) -> Iterator[tuple[int, int]]:
        """Begin and end of every piece; a stretch between gaps is cut evenly."""
        if self.sites is not None:
            if (letters != _MISSING).any():
                yield 0, self.sites
            return
        for begin, end in self._stretches(letters):
            count = max(1, -(-(end - begin) // self.longest))
            bounds = np.linspace(begin, end, count + 1).astype(np.int64).tolist()
            yield from pairwise(bounds)

    def _stretches(self, letters: Letters) -> Iterator[tuple[int, int]]:
        """Begin and end of what lies between gaps, without the N at its ends."""
        text = letters.tobytes()
        begin = 0
        for gap in re.finditer(b"N{%d,}" % self.gap, text):
            yield from self._trimmed(text, begin, gap.start())
            begin = gap.end()
        yield from self._trimmed(text, begin, len(text))

    def _trimmed(self, text: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
        stretch = text[begin:end]
        begin += len(stretch) - len(stretch.lstrip(b"N"))
        end -= len(stretch) - len(stretch.rstrip(b"N"))
        if end - begin >= self.shortest:
            yield begin, end


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
    """Pieces of letters: `bounds` (N, 2) in the letters of all records, and the numbers of those to learn from
    and to judge by. `counts` (S, A) of the letters `COUNTED` at each site, of the rows to learn from; `columns` (S,)
    tells which of a row's letters are those of the sites, by default all."""

    about: About
    letters: Letters = field(repr=False)
    bounds: Rows = field(repr=False)
    learn: Rows = field(repr=False)
    judge: Rows = field(repr=False)
    counts: Rows | None = field(default=None, repr=False)
    columns: Rows | None = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """The corpus in the folder; InputError if there is none that was finished."""
        try:
            about = About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
            counts = _mapped(folder / COUNTS, np.int64) if about.sites else None
            return cls(
                about,
                _mapped(folder / LETTERS, np.uint8),
                _mapped(folder / PIECES, np.int64).reshape(-1, 2),
                _mapped(folder / LEARN, np.int64),
                _mapped(folder / JUDGE, np.int64),
                counts.reshape(about.sites or 0, -1) if counts is not None else None,
            )
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"not a finished corpus: {error}", path=folder) from error

    def at(self, columns: Rows) -> "Corpus":
        """The same rows at some of their sites."""
        counts = None if self.counts is None else self.counts[columns]
        return replace(self, counts=counts, columns=columns)

    def windows(self, pieces: Rows, starts: NDArray[np.float64], longest: int) -> Letters:
        """A window of at most `longest` letters in each of the pieces, as rows filled up with 0.

        `starts`, from 0 to 1, tells where in its piece each begins.
        """
        bounds = self.bounds[pieces]
        sizes = np.minimum(bounds[:, 1] - bounds[:, 0], longest)
        room = bounds[:, 1] - bounds[:, 0] - sizes + 1
        begins = bounds[:, 0] + (starts * room).astype(np.int64)
        found_BL = np.zeros((len(pieces), int(sizes.max(initial=1))), np.uint8)
        for row, (begin, size) in enumerate(zip(begins.tolist(), sizes.tolist(), strict=True)):
            found_BL[row, :size] = self.letters[begin : begin + size]
        return found_BL if self.columns is None else found_BL[:, self.columns]

    @property
    def choices(self) -> Letters | None:
        """The letters (S, A) seen at each site of rows, from the left and filled up with 0; N apart."""
        if self.counts is None:
            return None
        counted = np.frombuffer(COUNTED, np.uint8)
        seen_SA = np.where((self.counts > 0) & (counted != _MISSING), counted, 0).astype(np.uint8)
        order = np.argsort(seen_SA == 0, axis=1, kind="stable")
        return np.take_along_axis(seen_SA, order, axis=1)


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a whole corpus."""
    return (folder / ABOUT).is_file()


def write(
    folder: Path, records: Iterable[Record], cut: Cut, *, holdout: float, seed: int
) -> Corpus:
    """Read the records once, into a new folder, and hold out the share `holdout`.

    Whole records are held out, those of one individual (NAME_A and NAME_B) together; of a few long sequences,
    pieces are.
    Raises TrainingError where nothing is left to learn from, InputError for a row of another length than the sites.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT).unlink(missing_ok=True)
    writer = _Writer(folder, cut)
    with writer:
        for name, letters in records:
            writer.add(name, letters)
    if not writer.pieces:
        raise TrainingError(
            f"nothing to learn from in {writer.records} records: each needs {cut.shortest} known letters"
        )
    groups = _mapped(folder / GROUPS, np.uint64)
    by_record = cut.sites is not None or writer.haplotypes or len(writer.people) >= FEWEST_RECORDS
    if not by_record:
        groups = np.arange(writer.pieces, dtype=np.uint64)
    held_out = _split(folder, groups, holdout, seed)
    if cut.sites is not None:
        _count(folder, cut.sites)
    about = About(
        writer.records,
        writer.letters,
        writer.pieces,
        held_out,
        by_record,
        cut.sites,
        writer.digest.hexdigest(),
    )
    _write_whole(folder / ABOUT, json.dumps(asdict(about)))
    return Corpus.open(folder)


class _Writer:
    """Appends records to the files of a corpus."""

    def __init__(self, folder: Path, cut: Cut) -> None:
        self._folder, self._cut = folder, cut
        self._files: dict[str, IO[bytes]] = {}
        self.records = self.letters = self.pieces = 0
        self.people: set[bytes] = set()
        self.haplotypes = False
        self.digest = hashlib.sha256()

    def __enter__(self) -> None:
        names = (LETTERS, PIECES, GROUPS, NAMES)
        self._files = {name: (self._folder / name).open("wb") for name in names}

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, name: str, letters: Letters) -> None:
        """Append a record."""
        sites = self._cut.sites
        if sites is not None and len(letters) != sites:
            raise TrainingError(f"{name} has {len(letters)} letters, the panel {sites} sites")
        encoded = name.encode("utf-8", "surrogateescape")
        text = letters.tobytes()
        self.digest.update(b"%d %s\n%d\n" % (len(encoded), encoded, len(text)))
        self.digest.update(text)
        group = self._group(name)
        bounds = [(self.letters + a, self.letters + b) for a, b in self._cut.pieces(letters)]
        self._files[NAMES].write(encoded + b"\n")
        self._files[LETTERS].write(text)
        self._files[PIECES].write(np.array(bounds, np.int64).tobytes())
        self._files[GROUPS].write(group * len(bounds))
        self.records, self.letters = self.records + 1, self.letters + len(text)
        self.pieces += len(bounds)

    def _group(self, name: str) -> bytes:
        """A number, as 8 bytes, that is the same for all records of an individual."""
        haplotype = _HAPLOTYPE.fullmatch(name)
        self.haplotypes |= haplotype is not None
        person = haplotype.group(1) if haplotype else name
        encoded = person.encode("utf-8", "surrogateescape")
        group = hashlib.blake2b(encoded, digest_size=8).digest()
        if len(self.people) < FEWEST_RECORDS:
            self.people.add(group)
        return group


def _split(folder: Path, groups_N: NDArray[np.uint64], holdout: float, seed: int) -> int:
    """Write which pieces to learn from and which to judge by, whole groups of them; how many are held out."""
    threshold = np.uint64(int(holdout * (2**64 - 1)))
    if len(groups_N) <= EXACT_GROUPS:
        drawn = np.unique(mixed(np.asarray(groups_N), seed))
        if len(drawn) < 2:
            raise TrainingError("a single piece of DNA is too little to hold some out")
        threshold = drawn[min(max(1, round(holdout * len(drawn))), len(drawn) - 1) - 1]
    held_out = 0
    with (folder / LEARN).open("wb") as learn, (folder / JUDGE).open("wb") as judge:
        for start in range(0, len(groups_N), BLOCK):
            chosen = mixed(np.asarray(groups_N[start : start + BLOCK]), seed) <= threshold
            learn.write((np.flatnonzero(~chosen) + start).tobytes())
            judge.write((np.flatnonzero(chosen) + start).tobytes())
            held_out += int(chosen.sum())
    return held_out


def _count(folder: Path, sites: int) -> None:
    """Count the letters at each site of the rows to learn from."""
    codes = np.full(256, len(COUNTED) - 1)
    codes[list(COUNTED)] = np.arange(len(COUNTED))
    letters, places = _mapped(folder / LETTERS, np.uint8), np.arange(sites)
    bounds = _mapped(folder / PIECES, np.int64).reshape(-1, 2)
    counts_SA = np.zeros((sites, len(COUNTED)), np.int64)
    for piece in _mapped(folder / LEARN, np.int64):
        begin, end = bounds[piece]
        counts_SA[places, codes[letters[begin:end]]] += 1
    (folder / COUNTS).write_bytes(counts_SA.tobytes())


def _mapped(file: Path, kind: Any) -> NDArray[Any]:
    """The file's numbers, read from disk where and when they are looked at."""
    if not file.stat().st_size:
        return np.zeros(0, kind)
    return np.asarray(np.memmap(file, kind, mode="r"))


def _write_whole(file: Path, text: str) -> None:
    beside = file.with_name(f"{file.name}.writing")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)
