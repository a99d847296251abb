"""K-mers, overlapping or not: all 4^k words over A C G T, then `[PAD]`, `[MASK]`, `[UNK]`."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomai_cli.tokenizers.base import MASK, PAD, UNK, Ids, letter_table, letters_of, spell

LONGEST = 8
BASES = "ACGT"
_UNKNOWN = 4**LONGEST  # so large that a k-mer with one cannot be mistaken, and 8 of them fit int32
_CODES = letter_table({base: code for code, base in enumerate(BASES)}, other=_UNKNOWN)


@dataclass(frozen=True)
class Kmers:
    """Words of `k` letters, one every `stride` letters; a word with a letter outside ACGT is `[UNK]`.

    Letters after the last whole word are left out, as are the letters between words if `stride` > `k`.
    """

    kind: ClassVar[str] = "kmers"

    k: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        check_window(self.k, self.stride)

    @cached_property
    def vocabulary(self) -> list[str]:
        """All k-mers in alphabetical order, then the special words."""
        return [*("".join(word) for word in product(BASES, repeat=self.k)), PAD, MASK, UNK]

    @property
    def pad_id(self) -> int:
        """The first id after the k-mers."""
        return int(4**self.k)

    @property
    def mask_id(self) -> int:
        """The second id after the k-mers."""
        return self.pad_id + 1

    @property
    def unk_id(self) -> int:
        """The last id."""
        return self.pad_id + 2

    @property
    def can_decode(self) -> bool:
        """Words that leave no letter out determine the sequence."""
        return self.stride <= self.k

    def encode(self, sequence: str) -> Ids:
        """One id a window."""
        indices = kmer_indices(sequence, self.k, self.stride)
        indices[indices == 4**self.k] = self.unk_id
        return indices

    def words(self, sequence: str) -> list[str]:
        """The windows, those that are not known as `[UNK]`."""
        return spell(self.vocabulary, self.encode(sequence))

    def decode(self, ids: ArrayLike) -> str:
        """The sequence; where overlapping words disagree, the first that covers the letter counts."""
        if not self.can_decode:
            raise ValueError(f"a stride of {self.stride} leaves letters between {self.k}-mers out")
        given = np.asarray(ids, dtype=np.int64)
        given = given[given != self.pad_id]
        if not len(given):
            return ""
        return self._overlay(given).tobytes().decode()

    def _overlay(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        bases = np.frombuffer(BASES.encode(), dtype=np.uint8)
        letters = np.full((len(ids) - 1) * self.stride + self.k, ord("N"), dtype=np.uint8)
        known = np.flatnonzero(ids < 4**self.k)
        for place in range(self.k):
            digit = ids[known] // 4 ** (self.k - 1 - place) % 4
            letters[known * self.stride + place] = bases[digit]
        return letters

    def length(self, letters: int) -> int:
        """How many whole windows fit."""
        return windows(letters, self.k, self.stride)

    def to_config(self) -> dict[str, Any]:
        """Kind, word length and stride."""
        return {"kind": self.kind, "k": self.k, "stride": self.stride}


def check_window(k: int, stride: int) -> None:
    """Refuse a word length or a stride that no tokenizer has."""
    if not 1 <= k <= LONGEST:
        raise ValueError(f"k must be from 1 to {LONGEST}, not {k}")
    if stride < 1:
        raise ValueError(f"the stride must be at least 1, not {stride}")


def windows(letters: int, k: int, stride: int) -> int:
    """How many windows of `k`, `stride` apart, fit into so many letters."""
    return 0 if letters < k else (letters - k) // stride + 1


def kmer_indices(sequence: str, k: int, stride: int) -> Ids:
    """Each window's place among the 4^k k-mers in alphabetical order; 4^k if a letter is not ACGT."""
    codes = _CODES[letters_of(sequence)]
    count = windows(len(codes), k, stride)
    indices = np.zeros(count, dtype=np.int32)
    span = max(0, (count - 1) * stride + 1)
    for place in range(k):
        indices *= 4
        indices += codes[place : place + span : stride]
    return np.minimum(indices, np.int32(4**k))
