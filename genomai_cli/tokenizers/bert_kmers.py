"""DNABERT's tokens: overlapping k-mers after five special ones, each window between [CLS] and [SEP].

The vocabulary, as released: [PAD] [UNK] [CLS] [SEP] [MASK], then all k-mers over A T C G in that order, the last letter
fastest. Case-sensitive: a k-mer with any other letter, lower case included, is [UNK].
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from genomai_cli.alphabet import UNKNOWN_LETTER
from genomai_cli.records import Text
from genomai_cli.tokenizers.base import Ids, Tokenizer

ORDER = "ATCG"
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_K = 8
MAX_KMERS = 510  # between [CLS] and [SEP], as the released tokenizer has it
_UNKNOWN = 4**MAX_K
_CODES = np.full(256, _UNKNOWN, np.int64)
_CODES[np.frombuffer(ORDER.encode(), np.uint8)] = range(4)


@dataclass(frozen=True)
class BertKmers(Tokenizer):
    """K-mers of `k` letters, one every letter."""

    kind: ClassVar[str] = "bert_kmers"
    stride: ClassVar[int] = 1
    case_sensitive: ClassVar[bool] = True

    k: int = 6

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise ValueError(f"k must be from 1 to {MAX_K}, not {self.k}")

    @cached_property
    def vocabulary(self) -> list[str]:
        """The special tokens, then the k-mers."""
        return [*SPECIALS, *("".join(kmer) for kmer in product(ORDER, repeat=self.k))]

    @property
    def special(self) -> Mapping[str, int]:
        """[PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4."""
        return {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}

    @property
    def prefix(self) -> tuple[int, ...]:
        """[CLS]."""
        return (self.special["cls"],)

    @property
    def suffix(self) -> tuple[int, ...]:
        """[SEP]."""
        return (self.special["sep"],)

    def encode(self, sequence: str) -> Ids:
        """One id a k-mer, without [CLS] and [SEP]."""
        codes = _CODES[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]
        count = self.length(len(codes))
        indices = np.zeros(count, np.int64)
        for offset in range(self.k):
            indices = indices * 4 + codes[offset : offset + count]
        known = indices < 4**self.k
        return np.where(known, indices + len(SPECIALS), self.special["unk"]).astype(np.int32)

    def decode(self, ids: ArrayLike) -> str:
        """The sequence; where overlapping k-mers disagree, the first that covers the letter counts."""
        id_array = np.asarray(ids, np.int64)
        ends = [self.special[name] for name in ("pad", "cls", "sep")]
        id_array = id_array[~np.isin(id_array, ends)]
        if not len(id_array):
            return ""
        letters = np.full(len(id_array) + self.k - 1, UNKNOWN_LETTER, np.uint8)
        known = np.flatnonzero(id_array >= len(SPECIALS))
        bases = np.frombuffer(ORDER.encode(), np.uint8)
        for offset in range(self.k):  # the first k-mer over a letter comes last
            digit = (id_array[known] - len(SPECIALS)) // 4 ** (self.k - 1 - offset) % 4
            letters[known + offset] = bases[digit]
        return letters.tobytes().decode()

    def released_chunks(self, sequence: Text) -> Iterator[Ids]:
        """See `Tokenizer`: chunks of 510 k-mers, each with [CLS] and [SEP]; an empty one after the last full one."""
        for start in range(0, self.length(len(sequence)) + 1, MAX_KMERS):
            yield self.template(self.encode(sequence[start : start + MAX_KMERS + self.k - 1]))

    def to_config(self) -> dict[str, Any]:
        """Kind and k-mer length."""
        return {"kind": self.kind, "k": self.k}
