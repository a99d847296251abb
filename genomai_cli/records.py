"""The nouns that travel between the rooms: small frozen records without behaviour of their own.

Shape suffix: S sites.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError

MAX_LETTERS_IN_MEMORY = (
    1 << 29
)  # letters of a sequence that a command holds whole: twice those of human chromosome 1


@dataclass(frozen=True, slots=True, eq=False)
class UncertainGenotypes:
    """Likelihoods or probabilities of genotypes that are not certain, at the sites of a barcode.

    `values` (S, 3) are of 0, 1 and 2 alternate alleles: likelihoods of which the largest is 1, or where `posterior`
    (S,) says so, probabilities given what was known besides the reads. Three equal ones say nothing: there the letter
    counts.
    """

    values: NDArray[np.float16]
    posterior: NDArray[np.bool_]


class Text(Protocol):
    """The letters of a sequence: a `str`, or a long one that `formats.stored_text` reads piece by piece."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> str: ...

    def count(self, letter: str, /) -> int: ...

    def replace(self, letter: str, other: str, /) -> "Text": ...


@dataclass(frozen=True, slots=True)
class SequenceRecord:
    """One sequence as read from FASTA or FASTQ, or one sample's barcode made from a VCF.

    `sequence` is upper-case ASCII over the IUPAC nucleotide letters (U read as T); `path` and `line` say
    where the record starts, for error messages. A barcode may come with what a file says of its `uncertain` genotypes,
    and a stretch of a reference with its `place`, the contig and the first base from 0.
    """

    name: str
    sequence: Text
    description: str = ""
    path: str = "-"
    line: int = 0
    uncertain: UncertainGenotypes | None = field(default=None, compare=False, repr=False)
    place: tuple[str, int] | None = None

    @property
    def held(self) -> str:
        """The whole sequence in memory; InputError if it is too long for that."""
        if len(self.sequence) > MAX_LETTERS_IN_MEMORY:
            message = (
                f"{self.name} has {len(self.sequence):,} letters: what is asked for needs a sequence in memory, "
                f"of at most {MAX_LETTERS_IN_MEMORY:,}; cut it into parts first"
            )
            raise InputError(message, path=self.path, line=self.line or None)
        return self.sequence[:]


def add_to_digest(digest: "hashlib._Hash", name: str, letters: bytes) -> None:
    """Add a record to the checksum of all: of names and letters, in their order."""
    encoded = name.encode("utf-8", "surrogateescape")
    digest.update(b"%d %s\n%d\n" % (len(encoded), encoded, len(letters)))
    digest.update(letters)
