"""The reference that genomes are read against: one sequence, linear or circular.

In a model's folder it is a FASTA file with one record, whose description says which of the two:
`>NC_012920.1 circular=true`.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.outputs import atomic_output
from genomai_cli.formats.sequences import read_sequences, write_fasta
from genomai_cli.formats.streams import Kind, open_input
from genomai_cli.records import SequenceRecord

_CIRCULAR = re.compile(r"(?:^|\s)circular=(\S+)")
_LINE = 70  # letters a line, as NCBI writes them


@dataclass(frozen=True)
class Reference:
    """A named sequence of upper-case IUPAC letters; `circular` if its last letter stands before its first."""

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
        return cls(record.name, record.sequence, topology)

    def write(self, path: str | Path) -> None:
        """Write it as FASTA, whole or not at all, so that `read` gives it back."""
        description = f"circular={str(self.circular).lower()}"
        record = SequenceRecord(self.name, self.sequence, description)
        with atomic_output(Path(path)) as out:
            write_fasta(out, [record], width=_LINE)


def _is_circular(record: SequenceRecord) -> bool:
    found = _CIRCULAR.search(record.description)
    if found is None:
        return False
    if found[1] not in ("true", "false"):
        message = f"circular={found[1]}, where true or false is needed"
        raise InputError(message, path=record.path, line=record.line)
    return found[1] == "true"
