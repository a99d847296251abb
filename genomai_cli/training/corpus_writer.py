"""How a corpus is written: records cut into pieces as they come, then some pieces held out to validate on.

Shape suffixes: N pieces, S sites, A letters that are counted.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import UNKNOWN_LETTER, Letters
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.samples import COUNTED
from genomai_cli.records import add_to_digest
from genomai_cli.training.corpus import (
    COUNTS,
    DIGESTS,
    GROUPS,
    INFO,
    LETTERS,
    NAMES,
    PIECES,
    TRAIN,
    VALIDATION,
    Corpus,
    CorpusInfo,
    digests,
    memory_mapped,
    splitmix64,
)

MIN_INDIVIDUALS = (
    100  # with fewer individuals, pieces of sequences are held out instead of whole records
)
EXACT_GROUPS = 1 << 20  # up to so many individuals, the share that is held out is met exactly
BLOCK = 1 << 16
_HAPLOTYPE = re.compile(r"(.+)_[AB](?:\|.*)?")  # as `tokenize --to fasta` names them
Record = tuple[str, Letters]


@dataclass(frozen=True)
class PieceCutter:
    """How records become pieces: of at least `min_length` letters and, where that leaves a choice, at most
    `max_length`, free of runs of `gap` or more N. With `sites`, every record is one row of so many letters and one
    piece. With `by_record` whole records are held out, however few there are."""

    max_length: int = 0
    min_length: int = 1
    gap: int = 1
    sites: int | None = None
    by_record: bool = False

    def pieces(self, letters: Letters) -> Iterator[tuple[int, int]]:
        """Begin and end of every piece; a stretch between gaps is cut evenly."""
        if self.sites is not None:
            if (letters != UNKNOWN_LETTER).any():
                yield 0, self.sites
            return
        for begin, end in self._stretches(letters):
            length = end - begin
            count = max(1, min(-(-length // self.max_length), length // self.min_length))
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
        if end - begin >= self.min_length:
            yield begin, end


def write(
    folder: Path, records: Iterable[Record], cutter: PieceCutter, *, holdout: float, seed: int
) -> Corpus:
    """Read the records once, into a new folder, and hold out the share `holdout`.

    Whole records are held out, those of one individual (NAME_A and NAME_B) together; of a few long sequences,
    pieces are.
    Raises TrainingError where nothing is left to train on, InputError for a row of another length than the sites.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INFO).unlink(missing_ok=True)
    writer = _Writer(folder, cutter)
    with writer:
        for name, letters in records:
            writer.add(name, letters)
    if not writer.pieces:
        raise TrainingError(
            f"nothing to train on in {writer.records} records: each needs {cutter.min_length} known letters"
        )
    groups = memory_mapped(folder / GROUPS, np.uint64)
    many_individuals = writer.haplotypes or len(writer.individuals) >= MIN_INDIVIDUALS
    by_record = cutter.sites is not None or cutter.by_record or many_individuals
    if not by_record:
        groups = np.arange(writer.pieces, dtype=np.uint64)
    held_out = _write_split(folder, groups, holdout, seed)
    if cutter.sites is not None:
        _write_counts(folder, cutter.sites)
    info = CorpusInfo(
        writer.records,
        writer.letters,
        writer.pieces,
        held_out,
        by_record,
        cutter.sites,
        writer.digest.hexdigest(),
    )
    _write_atomically(folder / DIGESTS, json.dumps(digests(folder)))
    _write_atomically(folder / INFO, json.dumps(asdict(info)))
    return Corpus.open(folder)


class _Writer:
    """Appends records to the files of a corpus."""

    def __init__(self, folder: Path, cutter: PieceCutter) -> None:
        self._folder, self._cutter = folder, cutter
        self._files: dict[str, IO[bytes]] = {}
        self.records = self.letters = self.pieces = 0
        self.individuals: set[bytes] = set()
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
        sites = self._cutter.sites
        if sites is not None and len(letters) != sites:
            raise TrainingError(f"{name} has {len(letters)} letters, the panel {sites} sites")
        encoded = name.encode("utf-8", "surrogateescape")
        text = letters.tobytes()
        add_to_digest(self.digest, name, text)
        group = self._group(name)
        bounds = [(self.letters + a, self.letters + b) for a, b in self._cutter.pieces(letters)]
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
        individual = haplotype.group(1) if haplotype else name
        encoded = individual.encode("utf-8", "surrogateescape")
        group = hashlib.blake2b(encoded, digest_size=8).digest()
        if len(self.individuals) < MIN_INDIVIDUALS:
            self.individuals.add(group)
        return group


def _write_split(folder: Path, groups_N: NDArray[np.uint64], holdout: float, seed: int) -> int:
    """Write the numbers of the pieces to train on and to validate on, whole groups of them; returns how many are held
    out, one at least."""
    threshold = np.uint64(int(holdout * (2**64 - 1)))
    if len(groups_N) <= EXACT_GROUPS:
        hashes = np.unique(splitmix64(np.asarray(groups_N), seed))
        if len(hashes) < 2:
            raise TrainingError("a single piece of DNA is too little to hold some out")
        threshold = hashes[min(max(1, round(holdout * len(hashes))), len(hashes) - 1) - 1]
    held_out = 0
    with (folder / TRAIN).open("wb") as train, (folder / VALIDATION).open("wb") as validation:
        for start in range(0, len(groups_N), BLOCK):
            is_held_out = splitmix64(np.asarray(groups_N[start : start + BLOCK]), seed) <= threshold
            train.write((np.flatnonzero(~is_held_out) + start).tobytes())
            validation.write((np.flatnonzero(is_held_out) + start).tobytes())
            held_out += int(is_held_out.sum())
    return held_out


def _write_counts(folder: Path, sites: int) -> None:
    """Count the letters at each site of the rows to train on."""
    codes = np.full(256, len(COUNTED) - 1)
    codes[list(COUNTED)] = np.arange(len(COUNTED))
    letters, site_numbers = memory_mapped(folder / LETTERS, np.uint8), np.arange(sites)
    bounds = memory_mapped(folder / PIECES, np.int64).reshape(-1, 2)
    counts_SA = np.zeros((sites, len(COUNTED)), np.int64)
    for piece in memory_mapped(folder / TRAIN, np.int64):
        begin, end = bounds[piece]
        counts_SA[site_numbers, codes[letters[begin:end]]] += 1
    (folder / COUNTS).write_bytes(counts_SA.tobytes())


def _write_atomically(file: Path, text: str) -> None:
    temporary = file.with_name(f"{file.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
