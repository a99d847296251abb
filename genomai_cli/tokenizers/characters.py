"""One word a letter: single nucleotides A C G T N, then `[PAD]` and `[MASK]`.

Diploid barcodes: one word a site, A C G T homozygous, R Y S W K M heterozygous, N missing.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from genomai_cli.tokenizers.base import MASK, PAD, Ids, letter_table, letters_of, spell

NUCLEOTIDES = "ACGTN"
UNKNOWN = "N"


@dataclass(frozen=True)
class Characters:
    """One word a letter of an alphabet, in which N stands for every letter outside it."""

    can_decode: ClassVar[bool] = True
    k: ClassVar[int] = 1
    stride: ClassVar[int] = 1

    kind: str = "characters"
    letters: str = NUCLEOTIDES

    @cached_property
    def vocabulary(self) -> list[str]:
        """The letters, then the special words."""
        return [*self.letters, PAD, MASK]

    @property
    def pad_id(self) -> int:
        """The first id after the letters."""
        return len(self.letters)

    @property
    def mask_id(self) -> int:
        """The last id."""
        return len(self.letters) + 1

    @property
    def unk_id(self) -> int:
        """The id of N."""
        return self.letters.index(UNKNOWN)

    @cached_property
    def _ids(self) -> Ids:
        codes = {letter: code for code, letter in enumerate(self.letters)}
        return letter_table(codes, other=self.unk_id)

    def encode(self, sequence: str) -> Ids:
        """One id a letter."""
        return self._ids[letters_of(sequence)]

    def words(self, sequence: str) -> list[str]:
        """The letters as the model sees them."""
        return spell(self.vocabulary, self.encode(sequence))

    def decode(self, ids: ArrayLike) -> str:
        """One letter an id; `[MASK]` becomes N and `[PAD]` nothing."""
        given = np.asarray(ids, dtype=np.int64)
        letters = np.frombuffer(f"{self.letters}{UNKNOWN}{UNKNOWN}".encode(), dtype=np.uint8)
        kept: bytes = letters[given[given != self.pad_id]].tobytes()
        return kept.decode()

    def length(self, letters: int) -> int:
        """As many words as letters."""
        return letters

    def to_config(self) -> dict[str, Any]:
        """The kind says it all."""
        return {"kind": self.kind}


KIND = "iupac"
BARCODE_LETTERS = "ACGTRYSWKMN"


def iupac() -> Characters:
    """The tokenizer of barcodes; the letters for three or four bases (B D H V) count as missing."""
    return Characters(kind=KIND, letters=BARCODE_LETTERS)
