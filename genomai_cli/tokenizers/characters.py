"""One token a letter: single nucleotides, and barcodes, whose letters R Y S W K M are heterozygous sites."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from genomai_cli.alphabet import BASES, HETEROZYGOUS, UNKNOWN, as_letters, as_text, letter_table
from genomai_cli.tokenizers.base import MASK, PAD, Ids, Tokenizer


@dataclass(frozen=True)
class Characters(Tokenizer):
    """The letters of an alphabet, in which N stands for every letter outside it; then `[PAD]` and `[MASK]`."""

    k: ClassVar[int] = 1
    stride: ClassVar[int] = 1

    kind: str = "characters"
    letters: str = BASES + UNKNOWN

    @cached_property
    def vocabulary(self) -> list[str]:
        """The letters, then the special tokens."""
        return [*self.letters, PAD, MASK]

    @cached_property
    def special(self) -> Mapping[str, int]:
        """Padding and mask, and N for an unknown letter."""
        size = len(self.letters)
        return {"unk": self.letters.index(UNKNOWN), "pad": size, "mask": size + 1}

    @cached_property
    def _ids(self) -> Ids:
        codes = {letter: code for code, letter in enumerate(self.letters)}
        return letter_table(codes, other=self.special["unk"])

    def encode(self, sequence: str) -> Ids:
        """One id a letter."""
        return self._ids[as_letters(sequence)]

    def decode(self, ids: ArrayLike) -> str:
        """One letter an id; `[MASK]` becomes N and `[PAD]` nothing."""
        id_array = np.asarray(ids, dtype=np.int64)
        letters = as_letters(self.letters + UNKNOWN + UNKNOWN)
        return as_text(letters[id_array[id_array != self.pad_id]])

    def to_config(self) -> dict[str, Any]:
        """The kind says it all."""
        return {"kind": self.kind}


def iupac() -> Characters:
    """The tokenizer of barcodes; the letters for three or four bases (B D H V) count as unknown."""
    return Characters(kind="iupac", letters=BASES + "".join(HETEROZYGOUS) + UNKNOWN)
