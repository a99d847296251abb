"""The reference that genomes are mapped to, the sites at which they vary, and whether one is mapped to it already.

In a model's folder a reference is a FASTA file with one record, whose description says whether it is circular:
`>NC_012920.1 circular=true`. Aligned genomes and those made from a VCF are in its coordinates, letter beside letter.

Shape suffixes: L letters of the reference (R in pairs with a query's), S sites, W the bases A C G T.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES, IS_BASE, UNKNOWN_CODE, Codes
from genomai_cli.errors import InputError
from genomai_cli.formats.fasta import read_sequences, write_fasta
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.outputs import atomic_output, atomic_text
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.tables import TableWriter, read_table
from genomai_cli.records import SequenceRecord

_CIRCULAR = re.compile(r"(?:^|\s)circular=(\S+)")
_LINE_WIDTH = 70  # letters a line, as NCBI writes them


@dataclass(frozen=True)
class Reference:
    """A named sequence of upper-case IUPAC letters; `circular` if its last letter stands before its first."""

    full_genomes: ClassVar[Literal[True]] = True  # a sample of a VCF is read as its genome

    name: str
    sequence: str
    circular: bool

    def __len__(self) -> int:
        return len(self.sequence)

    @cached_property
    def letters(self) -> NDArray[np.uint8]:
        """The sequence as ASCII codes (letters,)."""
        return np.frombuffer(self.sequence.encode("ascii"), np.uint8)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the letters alone, in hexadecimal; name and topology do not enter."""
        return hashlib.sha256(self.sequence.encode("ascii")).hexdigest()

    @classmethod
    def read(cls, path: str | Path, circular: bool | None = None) -> "Reference":
        """The only record of a FASTA file; `circular` overrides what its description says.

        A description that says nothing means a linear reference. Raises InputError for a file that cannot
        be read, holds another number of records than one, or says neither true nor false.
        """
        with open_input(path) as source:
            if source.kind is not Kind.FASTA:
                raise InputError(f"{source.kind.value}, where FASTA is needed", path=path)
            records = read_sequences(source)
            record = next(records)
            if (second := next(records, None)) is not None:
                message = f"a second record ({second.name}), where a reference is one"
                raise InputError(message, path=path, line=second.line)
        if not record.sequence:
            raise InputError("the reference has no letters", path=path, line=record.line)
        topology = _is_circular(record) if circular is None else circular
        return cls(record.name, record.held, topology)

    def write(self, path: str | Path) -> None:
        """Write it as FASTA, whole or not at all, so that `read` gives it back."""
        description = f"circular={str(self.circular).lower()}"
        record = SequenceRecord(self.name, self.sequence, description)
        with atomic_output(Path(path)) as out:
            write_fasta(out, [record], width=_LINE_WIDTH)


def _is_circular(record: SequenceRecord) -> bool:
    found = _CIRCULAR.search(record.description)
    if found is None:
        return False
    if found[1] not in ("true", "false"):
        message = f"circular={found[1]}, where true or false is needed"
        raise InputError(message, path=record.path, line=record.line)
    return found[1] == "true"


SITE_COLUMNS = ("position", *BASES)


@dataclass(frozen=True, eq=False)
class VariableSites:
    """Sites of a reference: `positions` (S,), 0-based and ascending, and `counts` (S, 4) of the bases seen there."""

    positions: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    @classmethod
    def of(
        cls, counts_LW: NDArray[np.int64], reference: Reference, min_count: int
    ) -> "VariableSites":
        """The positions at which at least two bases were seen `min_count` times, from counts (L, 4).

        Where the reference has no base (3107 of rCRS, a placeholder), genomes have none either: a letter there
        tells of the pipeline that made the sequence, not of the individual.
        """
        has_base_L = IS_BASE[reference.letters]
        positions_S = np.flatnonzero(((counts_LW >= min_count).sum(1) >= 2) & has_base_L)
        return cls(positions_S, counts_LW[positions_S])

    @classmethod
    def read(cls, path: Path) -> "VariableSites":
        """The sites of a table as `write` makes it; InputError for a damaged one."""
        table = read_table(path)
        try:
            columns = [np.array(table.column(name), np.int64) for name in SITE_COLUMNS]
        except ValueError as error:
            raise InputError("a site that is not whole numbers", path=path) from error
        positions = columns[0] - 1
        if len(positions) == 0 or positions[0] < 0 or (np.diff(positions) <= 0).any():
            raise InputError("positions that are not ascending from 1", path=path)
        return cls(positions, np.stack(columns[1:], axis=1))

    def write(self, path: Path) -> None:
        """A table: the 1-based position and how often each base was seen there."""
        with atomic_text(path) as handle:
            table = TableWriter(handle, SITE_COLUMNS)
            for position, counts in zip(self.positions, self.counts, strict=True):
                table.write((position + 1, *counts))


MIN_LETTERS = 24  # that must agree: random DNA has no two k-mers of the reference in one order
SHORT_GAP = 32  # unknown letters between two known ones
MAX_DIFFERENT_SHARE = 0.25
WINDOW, MAX_WINDOW_DIFFERENCES = 32, 6  # after a missed insertion three in four letters differ


def compared_in_place(codes_R: Codes, reference_R: Codes) -> tuple[int, int] | None:
    """How many letters were compared, and how many differ, of a sequence letter beside letter; None if it
    stands elsewhere.

    Compared are the known letters and those in short gaps between them, which count as equal, since a VCF
    lists variable sites only. Where most known letters stand alone, all others count as equal.
    """
    if len(codes_R) != len(reference_R):
        return None
    known = codes_R != UNKNOWN_CODE
    comparable = known & (reference_R != UNKNOWN_CODE)
    differences = int(np.count_nonzero(comparable & (codes_R != reference_R)))
    compared = np.flatnonzero(comparable)
    isolated = _is_mostly_isolated(known)
    gaps = np.diff(compared) - 1
    letters = len(compared) + int(gaps[gaps < SHORT_GAP].sum())
    letters = len(codes_R) if isolated else letters
    is_enough = isolated or len(compared) >= MIN_LETTERS
    return (
        (letters, differences)
        if is_enough and differences <= MAX_DIFFERENT_SHARE * letters
        else None
    )


def has_clustered_differences(codes_R: Codes, reference_R: Codes) -> bool:
    """Whether differences crowd somewhere, as they do between an insertion and a deletion that make up for it."""
    different = (codes_R != reference_R) & (codes_R != UNKNOWN_CODE) & (reference_R != UNKNOWN_CODE)
    indices = np.flatnonzero(different)
    spans = (
        indices[MAX_WINDOW_DIFFERENCES:] - indices[: max(0, len(indices) - MAX_WINDOW_DIFFERENCES)]
    )
    return bool((spans < WINDOW).any())


def _is_mostly_isolated(known_R: NDArray[np.bool_]) -> bool:
    """Whether most known letters have no known neighbour; also true if there is none at all."""
    padded = np.zeros(len(known_R) + 2, np.bool_)
    padded[1:-1] = known_R
    isolated = known_R & ~padded[:-2] & ~padded[2:]
    return bool(2 * np.count_nonzero(isolated) >= np.count_nonzero(known_R))
