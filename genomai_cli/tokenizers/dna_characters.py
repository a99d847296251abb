"""HyenaDNA's and Caduceus' tokens: one a letter, after seven special ones, with [SEP] after each window.

The vocabulary, as released: [CLS] [SEP] [BOS] [MASK] [PAD] [RESERVED] [UNK] A C G T N. HyenaDNA reads upper case only,
and its first release puts [CLS] before each window (Nguyen et al. 2023, arXiv:2306.15794); Caduceus reads either case
(Schiff et al. 2024, arXiv:2403.03234). U and the other IUPAC letters are [UNK] to both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomai_cli.alphabet import BASES, UNKNOWN, UNKNOWN_LETTER, as_letters, as_text
from genomai_cli.tokenizers.base import Ids, Tokenizer

SPECIALS = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]")
LETTERS = BASES + UNKNOWN


@dataclass(frozen=True)
class DnaCharacters(Tokenizer):
    """Single letters; `case_sensitive` makes lower case [UNK], `cls` puts [CLS] before each window."""

    kind: ClassVar[str] = "dna_characters"
    keeps_u: ClassVar[bool] = True
    k: ClassVar[int] = 1
    stride: ClassVar[int] = 1
    special: ClassVar[Mapping[str, int]] = {
        "cls": 0, "sep": 1, "bos": 2, "mask": 3, "pad": 4, "unk": 6,
    }  # fmt: skip

    case_sensitive: bool = True
    cls: bool = False

    @cached_property
    def vocabulary(self) -> list[str]:
        """The special tokens, then the letters."""
        return [*SPECIALS, *LETTERS]

    @property
    def prefix(self) -> tuple[int, ...]:
        """[CLS], if there is to be one."""
        return (self.special["cls"],) if self.cls else ()

    @property
    def suffix(self) -> tuple[int, ...]:
        """[SEP]."""
        return (self.special["sep"],)

    @property
    def dna_ids(self) -> NDArray[np.int64]:
        """Those of A C G T."""
        return np.arange(len(BASES)) + len(SPECIALS)

    @cached_property
    def _is_known(self) -> NDArray[np.bool_]:
        """N is a token of its own, and tells as little as [UNK]."""
        return self._is_dna

    @cached_property
    def _ids(self) -> Ids:
        table = np.full(256, self.special["unk"], np.int32)
        for id_, letter in enumerate(LETTERS, len(SPECIALS)):
            table[ord(letter)] = id_
            if not self.case_sensitive:
                table[ord(letter.lower())] = id_
        return table

    def encode(self, sequence: str) -> Ids:
        """One id a letter, without [CLS] and [SEP]."""
        return self._ids[as_letters(sequence)]

    def decode(self, ids: ArrayLike) -> str:
        """One letter an id; [MASK] and [UNK] become N, the other special tokens nothing."""
        id_array = np.asarray(ids, np.int64)
        letter_of_id = np.zeros(len(self.vocabulary), np.uint8)
        letter_of_id[[self.special["mask"], self.special["unk"]]] = UNKNOWN_LETTER
        letter_of_id[len(SPECIALS) :] = as_letters(LETTERS)
        letters = letter_of_id[id_array]
        return as_text(letters[letters > 0])

    def to_config(self) -> dict[str, Any]:
        """Kind, case and [CLS]."""
        return {"kind": self.kind, "case_sensitive": self.case_sensitive, "cls": self.cls}
