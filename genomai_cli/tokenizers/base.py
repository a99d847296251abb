"""What every tokenizer offers, and the letters they all start from.

Word ids are a contract, since trained embeddings are stored in their order: first the DNA words, then
`[PAD]`, `[MASK]` and, for the kinds that have it, `[UNK]`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int32]
PAD = "[PAD]"
MASK = "[MASK]"
UNK = "[UNK]"


class Tokenizer(Protocol):
    """Turns a DNA sequence into ids of words, and back where the words allow it.

    `unk_id` is what an unknown letter becomes; a kind without one (None) uses `mask_id` for it.
    """

    @property
    def kind(self) -> str:
        """The name in the registry and in configs."""

    @property
    def k(self) -> int:
        """How many letters a word covers."""

    @property
    def stride(self) -> int:
        """How many letters after one word the next begins."""

    @property
    def vocabulary(self) -> list[str]:
        """The words; a word's id is its place."""

    @property
    def pad_id(self) -> int:
        """The id that fills up a batch."""

    @property
    def mask_id(self) -> int:
        """The id of a hidden word."""

    @property
    def unk_id(self) -> int | None:
        """The id of a word that is not known, if there is a word for that."""

    @property
    def can_decode(self) -> bool:
        """Whether ids determine the sequence."""

    def encode(self, sequence: str) -> Ids:
        """The ids of the sequence's words; lower case and U are read as upper case and T."""

    def words(self, sequence: str) -> list[str]:
        """The sequence's words."""

    def decode(self, ids: ArrayLike) -> str:
        """The sequence that the ids stand for: [PAD] is skipped, hidden and unknown letters are N."""

    def length(self, letters: int) -> int:
        """How many words a sequence of so many letters has."""

    def to_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the same tokenizer."""


def letters_of(sequence: str) -> NDArray[np.uint8]:
    """The sequence as one byte a letter; a letter outside ASCII becomes `?`."""
    return np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)


def letter_table(codes: Mapping[str, int], *, other: int) -> Ids:
    """A table from a letter's byte to its code: either case, U as T, `other` for every other byte."""
    table = np.full(256, other, dtype=np.int32)
    for letter, code in codes.items():
        table[[ord(letter), ord(letter.lower())]] = code
    if "T" in codes:
        table[[ord("U"), ord("u")]] = codes["T"]
    return table


def letters_of_words(vocabulary: Sequence[str]) -> NDArray[np.uint8]:
    """The ASCII code of every word that is a letter, and that of N for the special words."""
    return np.array([ord(word) if len(word) == 1 else ord("N") for word in vocabulary], np.uint8)


def spell(vocabulary: list[str], ids: Iterable[int]) -> list[str]:
    """The words that the ids stand for."""
    return [vocabulary[id_] for id_ in ids]


def encode_in_pieces(tokenizer: Tokenizer, sequence: str, words: int = 1 << 18) -> Iterator[Ids]:
    """The sequence's ids in arrays of at most so many words, so that a chromosome needs little memory."""
    step, overlap = words * tokenizer.stride, tokenizer.k - tokenizer.stride
    for start in range(0, tokenizer.length(len(sequence)) * tokenizer.stride, step):
        yield tokenizer.encode(sequence[start : start + step + overlap])


def padded(pieces: Sequence[Ids], pad_id: int) -> NDArray[np.int64]:
    """The ids of several sequences as the rows of one array, filled up with [PAD]; at least one wide."""
    array = np.full((len(pieces), max((1, *map(len, pieces)))), pad_id, np.int64)
    for row, ids in zip(array, pieces, strict=True):
        row[: len(ids)] = ids
    return array
