"""K-mers, overlapping or not: all 4^k words over A C G T, then `[PAD]`, `[MASK]`, `[UNK]`.

K-mers up to reversal and complement: the vocabulary of the reference model.

The 64 3-mers fall into 20 classes under the group {identity, reverse, complement, reverse complement},
so that a sequence and its three images have the same bag of words. With `[PAD]` and `[MASK]` that makes 22.
There is no word for an unknown letter: a k-mer with one counts as hidden, `[MASK]`.
"""

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


@dataclass(frozen=True)
class SymmetricKmers:
    """Classes of k-mers, each named by its alphabetically first member, in alphabetical order."""

    kind: ClassVar[str] = "symmetric"
    can_decode: ClassVar[bool] = False
    unk_id: ClassVar[None] = None

    k: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        check_window(self.k, self.stride)

    @cached_property
    def vocabulary(self) -> list[str]:
        """The classes' first members, then `[PAD]` and `[MASK]`."""
        members = np.unique(_first_members(self.k))
        digits = _digits(members, self.k)
        return [*("".join(BASES[digit] for digit in word) for word in digits), PAD, MASK]

    @property
    def pad_id(self) -> int:
        """The first id after the classes."""
        return int(self._classes.max()) - 1

    @property
    def mask_id(self) -> int:
        """The last id."""
        return int(self._classes.max())

    @cached_property
    def _classes(self) -> Ids:
        """The class of each k-mer, and `[MASK]` for the index that stands for an unknown one."""
        members, classes = np.unique(_first_members(self.k), return_inverse=True)
        return np.append(classes, len(members) + 1).astype(np.int32)

    def encode(self, sequence: str) -> Ids:
        """One class a window."""
        return self._classes[kmer_indices(sequence, self.k, self.stride)]

    def words(self, sequence: str) -> list[str]:
        """The first member of each window's class."""
        return spell(self.vocabulary, self.encode(sequence))

    def decode(self, ids: ArrayLike) -> str:
        """Never possible: a class does not tell its members apart."""
        raise ValueError("symmetric k-mers cannot be turned back into a sequence")

    def length(self, letters: int) -> int:
        """How many whole windows fit."""
        return windows(letters, self.k, self.stride)

    def to_config(self) -> dict[str, Any]:
        """Kind, word length and stride."""
        return {"kind": self.kind, "k": self.k, "stride": self.stride}


def _first_members(k: int) -> NDArray[np.int64]:
    """For each of the 4^k k-mers, the alphabetically first of its four images."""
    kmers = np.arange(4**k)
    reversed_ = _digits(kmers, k) @ 4 ** np.arange(k)
    last = 4**k - 1  # complementing every base is subtracting from TTT...T
    images = np.stack([kmers, reversed_, last - kmers, last - reversed_])
    return np.asarray(images.min(axis=0))


def _digits(kmers: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The bases of the k-mers as numbers, one row each."""
    return kmers[:, None] // 4 ** np.arange(k - 1, -1, -1) % 4
