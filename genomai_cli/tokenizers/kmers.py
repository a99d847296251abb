"""K-mers, overlapping or not, and classes of k-mers that are each other's reversal or complement."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomai_cli.alphabet import (
    BASE_LETTERS,
    BASES,
    UNKNOWN_LETTER,
    as_letters,
    as_text,
    letter_table,
)
from genomai_cli.tokenizers.base import MASK, PAD, UNK, Ids, Tokenizer

MAX_K = 8
_UNKNOWN = 4**MAX_K  # so large that a k-mer with one cannot be mistaken, and 8 of them fit int32
_CODES = letter_table({base: code for code, base in enumerate(BASES)}, other=_UNKNOWN)


@dataclass(frozen=True)
class Kmers(Tokenizer):
    """All 4^k k-mers, then `[PAD]`, `[MASK]`, `[UNK]`; one every `stride` letters.

    A k-mer with a letter outside ACGT is `[UNK]`. Letters after the last whole k-mer are left out, as are the letters
    between k-mers if `stride` > `k`.
    """

    kind: ClassVar[str] = "kmers"

    k: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        check_window(self.k, self.stride)

    @cached_property
    def vocabulary(self) -> list[str]:
        """All k-mers in alphabetical order, then the special tokens."""
        return [*("".join(kmer) for kmer in product(BASES, repeat=self.k)), PAD, MASK, UNK]

    @cached_property
    def special(self) -> Mapping[str, int]:
        """The three ids after the k-mers."""
        return {"pad": 4**self.k, "mask": 4**self.k + 1, "unk": 4**self.k + 2}

    @property
    def can_decode(self) -> bool:
        """Tokens that leave no letter out determine the sequence."""
        return self.stride <= self.k

    def encode(self, sequence: str) -> Ids:
        """One id a k-mer."""
        indices = kmer_indices(sequence, self.k, self.stride)
        indices[indices == 4**self.k] = self.special["unk"]
        return indices

    def decode(self, ids: ArrayLike) -> str:
        """The sequence; where overlapping k-mers disagree, the first that covers the letter counts."""
        if not self.can_decode:
            raise ValueError(f"a stride of {self.stride} leaves letters between {self.k}-mers out")
        id_array = np.asarray(ids, dtype=np.int64)
        id_array = id_array[id_array != self.pad_id]
        if not len(id_array):
            return ""
        return as_text(self._overlay(id_array))

    def _overlay(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        letters = np.full((len(ids) - 1) * self.stride + self.k, UNKNOWN_LETTER, np.uint8)
        known = np.flatnonzero(self.is_dna(ids))
        for offset in range(self.k):
            digit = ids[known] // 4 ** (self.k - 1 - offset) % 4
            letters[known * self.stride + offset] = BASE_LETTERS[digit]
        return letters

    def to_config(self) -> dict[str, Any]:
        """Kind, k and stride."""
        return {"kind": self.kind, "k": self.k, "stride": self.stride}


def check_window(k: int, stride: int) -> None:
    """ValueError for a k or a stride that no tokenizer has."""
    if not 1 <= k <= MAX_K:
        raise ValueError(f"k must be from 1 to {MAX_K}, not {k}")
    if stride < 1:
        raise ValueError(f"the stride must be at least 1, not {stride}")


def kmer_indices(sequence: str, k: int, stride: int) -> Ids:
    """Each k-mer's index (T,) among all 4^k in alphabetical order; 4^k if a letter is not ACGT."""
    codes = _CODES[as_letters(sequence)]
    count = max(0, (len(codes) - k) // stride + 1)
    indices = np.zeros(count, dtype=np.int32)
    span = max(0, (count - 1) * stride + 1)
    for offset in range(k):
        indices *= 4
        indices += codes[offset : offset + span : stride]
    return np.minimum(indices, np.int32(4**k))


@dataclass(frozen=True)
class SymmetricKmers(Tokenizer):
    """Classes of k-mers, each named by its alphabetically first member, in their order; then `[PAD]` and `[MASK]`.

    The 64 3-mers fall into 20 classes under the group {identity, reverse, complement, reverse complement}, so that a
    sequence and its three images have the same bag of tokens. A k-mer with an unknown letter is `[MASK]`.
    """

    kind: ClassVar[str] = "symmetric"
    can_decode: ClassVar[bool] = False

    k: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        check_window(self.k, self.stride)

    @cached_property
    def vocabulary(self) -> list[str]:
        """The classes' first members, then `[PAD]` and `[MASK]`."""
        members = np.unique(_first_members(self.k))
        digits = _digits(members, self.k)
        return [*("".join(BASES[digit] for digit in kmer) for kmer in digits), PAD, MASK]

    @cached_property
    def special(self) -> Mapping[str, int]:
        """The two ids after the classes."""
        mask = int(self._classes.max())
        return {"pad": mask - 1, "mask": mask}

    @cached_property
    def _classes(self) -> Ids:
        """The class of each k-mer, and `[MASK]` for the index that stands for an unknown one."""
        members, classes = np.unique(_first_members(self.k), return_inverse=True)
        return np.append(classes, len(members) + 1).astype(np.int32)

    def encode(self, sequence: str) -> Ids:
        """One class a k-mer."""
        return self._classes[kmer_indices(sequence, self.k, self.stride)]

    def decode(self, ids: ArrayLike) -> str:
        """Never possible: a class does not tell its members apart."""
        raise ValueError("symmetric k-mers cannot be turned back into a sequence")

    def to_config(self) -> dict[str, Any]:
        """Kind, k and stride."""
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
