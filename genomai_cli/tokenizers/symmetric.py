"""K-mers up to reversal and complement: the vocabulary of the reference model.

The 64 3-mers fall into 20 classes under the group {identity, reverse, complement, reverse complement},
so that a sequence and its three images have the same bag of words. With `[PAD]` and `[MASK]` that makes 22.
There is no word for an unknown letter: a k-mer with one counts as hidden, `[MASK]`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomai_cli.tokenizers.base import MASK, PAD, Ids, spell
from genomai_cli.tokenizers.kmers import BASES, check_window, kmer_indices, windows


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
