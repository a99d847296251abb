"""What every tokenizer offers (`Tokenizer`), and encoding in chunks.

The order of a vocabulary is a contract, since trained embeddings are stored in it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomai_cli.alphabet import UNKNOWN_LETTER, Letters
from genomai_cli.records import Text

Ids = NDArray[np.int32]
SPECIAL = ("pad", "mask", "unk", "cls", "sep", "bos", "eos")
PAD = "[PAD]"
MASK = "[MASK]"
UNK = "[UNK]"


class Tokenizer(ABC):
    """Turns a sequence into ids of tokens, and back where the tokens allow it.

    To write one, say the vocabulary, which of its ids are special, how to encode and to decode, and which of the
    properties below differ; then add a line to `registry.TOKENIZERS` and a config to
    `tests/tokenizers/test_tokenizers.py`. Nobody else may assume where special ids lie, or how many there are:

    - `special` has an id for each special token of the kind, by its name (of `SPECIAL`), anywhere in the vocabulary.
      `unk` may be a letter of its own (N). All other tokens are known (`is_known`); those that spell DNA are `dna_ids`.
    - `encode` adds no special tokens: an unknown letter makes `unk`, or `mask` for a kind without it. What a network
      expects around each window, as [CLS] and [SEP], is the `prefix` and the `suffix`, which `template` adds.
    - Token t covers `k` letters from `t * stride` on. Batches are filled up at the `padding_side`.
    """

    @property
    @abstractmethod
    def kind(self) -> str:
        """The name in the registry and in configs."""

    @property
    @abstractmethod
    def k(self) -> int:
        """How many letters a token covers."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """How many letters after one token the next begins."""

    @property
    @abstractmethod
    def vocabulary(self) -> list[str]:
        """The tokens; a token's id is its index."""

    @property
    @abstractmethod
    def special(self) -> Mapping[str, int]:
        """The ids of the special tokens that there are, by name."""

    @abstractmethod
    def encode(self, sequence: str) -> Ids:
        """The ids (T,) of the sequence's tokens, without `prefix` and `suffix`."""

    @abstractmethod
    def decode(self, ids: ArrayLike) -> str:
        """The sequence that the ids stand for: masked and unknown letters are N, other special tokens nothing.

        Raises ValueError if the kind cannot be decoded.
        """

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the same tokenizer."""

    @property
    def case_sensitive(self) -> bool:
        """Whether `a` is another letter than `A`: such a kind gets records in the case they are written in."""
        return False

    @property
    def keeps_u(self) -> bool:
        """Whether U is not read as T."""
        return self.case_sensitive

    def noncanonical_letters(self, sequence: Text) -> int:
        """How many letters of a record are lower-case bases or U that this tokenizer does not read as A, C, G and T."""
        letters = "acgtuU" if self.case_sensitive else "U" if self.keeps_u else ""
        return sum(map(sequence.count, letters))

    def foreign_characters(self, sequence: Text) -> int:
        """How many characters of a record are no bases, in either case, that this tokenizer has tokens of their own for
        all the same: they count as much as bases."""
        del sequence
        return 0

    @property
    def any_text(self) -> bool:
        """Whether sequences may hold other characters than IUPAC letters."""
        return False

    @property
    def can_decode(self) -> bool:
        """Whether ids determine the sequence."""
        return True

    @property
    def padding_side(self) -> Literal["left", "right"]:
        """Where a batch is filled up."""
        return "right"

    @property
    def prefix(self) -> tuple[int, ...]:
        """The special ids that a network expects before each window."""
        return ()

    @property
    def suffix(self) -> tuple[int, ...]:
        """The special ids that a network expects after each window."""
        return ()

    @property
    def pad_id(self) -> int:
        """The id that fills up a batch."""
        return self.special["pad"]

    @property
    def mask_id(self) -> int:
        """The id of a masked token; ValueError for a kind without one."""
        if "mask" not in self.special:
            raise ValueError(f"the tokenizer {self.kind} has no token that masks another")
        return self.special["mask"]

    @property
    def unk_id(self) -> int | None:
        """The id of a token with an unknown letter, None for a kind that masks such tokens or knows all letters."""
        return self.special.get("unk")

    @property
    def dna_ids(self) -> NDArray[np.int64]:
        """The ids (V,), ascending, of the tokens that spell DNA: what a model may draw."""
        return np.flatnonzero(self._is_known)

    @cached_property
    def _is_known(self) -> NDArray[np.bool_]:
        table = np.ones(len(self.vocabulary), np.bool_)
        table[list(self.special.values())] = False
        return table

    @cached_property
    def _is_dna(self) -> NDArray[np.bool_]:
        table = np.zeros(len(self.vocabulary), np.bool_)
        table[self.dna_ids] = True
        return table

    def is_known(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which ids (...) stand for something that was read: no special token, and none with an unknown letter."""
        found: NDArray[np.bool_] = self._is_known[ids]
        return found

    def is_dna(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which ids (...) are among `dna_ids`."""
        found: NDArray[np.bool_] = self._is_dna[ids]
        return found

    def tokens(self, sequence: str) -> list[str]:
        """The sequence's tokens as text."""
        return [self.vocabulary[id_] for id_ in self.encode(sequence)]

    def length(self, letters: int) -> int:
        """How many tokens a sequence of so many letters has, without `prefix` and `suffix`."""
        return 0 if letters < self.k else (letters - self.k) // self.stride + 1

    def tokens_that_fit(self, max_length: int | None) -> int | None:
        """How many tokens fit between `prefix` and `suffix` into `max_length`; None where there is no bound."""
        return None if max_length is None else max_length - len(self.prefix) - len(self.suffix)

    def released_chunks(self, sequence: Text) -> Iterator[Ids]:
        """The ids of a full sequence as the released tokenizer gives them, special tokens included, in arrays."""
        yield np.array(self.prefix, np.int32)
        yield from encode_in_chunks(self, sequence)
        yield np.array(self.suffix, np.int32)

    def released_ids(self, sequence: str) -> Ids:
        """The same in one array."""
        return np.concatenate([*self.released_chunks(sequence)])

    def template(self, ids: Ids) -> Ids:
        """The ids (T + prefix + suffix,) as a network reads them."""
        if not self.prefix and not self.suffix:
            return ids
        return np.concatenate([self.prefix, ids, self.suffix]).astype(np.int32)


def letters_of_tokens(vocabulary: Sequence[str]) -> Letters:
    """The letter (V,) of every token that is one, and N for the others."""
    letters = [ord(token) if len(token) == 1 else UNKNOWN_LETTER for token in vocabulary]
    return np.array(letters, np.uint8)


def encode_in_chunks(tokenizer: Tokenizer, sequence: Text, tokens: int = 1 << 18) -> Iterator[Ids]:
    """The sequence's ids in arrays of at most so many tokens, so that a chromosome needs little memory."""
    step, overlap = tokens * tokenizer.stride, tokenizer.k - tokenizer.stride
    for start in range(0, tokenizer.length(len(sequence)) * tokenizer.stride, step):
        yield tokenizer.encode(sequence[start : start + step + overlap])
