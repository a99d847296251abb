"""One token a byte of UTF-8 text: DNA in either case, and tags like `|D__BACTERIA;|`, as Evo reads them.

Ids are the bytes themselves; 0 ends a text and 1 fills up a batch, which no text of a FASTA holds (Nguyen et al. 2024,
Science 386:eado9336; Brixi et al. 2025, Evo 2).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomai_cli.alphabet import BASE_LETTERS
from genomai_cli.records import Text
from genomai_cli.tokenizers.base import Ids, Tokenizer

EOS, PAD = 0, 1
TAG = re.compile(r"\|[^|]*\|")  # of a species, as in the prompts of Evo


@dataclass(frozen=True)
class Bytes(Tokenizer):
    """Bytes of a text; Evo's vocabulary has `size` ids, of which those above 255 are not used."""

    kind: ClassVar[str] = "bytes"
    k: ClassVar[int] = 1
    stride: ClassVar[int] = 1
    case_sensitive: ClassVar[bool] = True
    any_text: ClassVar[bool] = True
    special: ClassVar[Mapping[str, int]] = {"eos": EOS, "pad": PAD}

    size: int = 512

    def __post_init__(self) -> None:
        if self.size < 256:
            raise ValueError(f"a byte needs 256 ids, not {self.size}")

    @cached_property
    def vocabulary(self) -> list[str]:
        """Characters of ASCII as they are; the other bytes, and what is not used, by their number."""
        tokens = [chr(id_) if 32 < id_ < 127 else f"<0x{id_:02X}>" for id_ in range(self.size)]
        tokens[EOS], tokens[PAD] = "[EOS]", "[PAD]"
        return tokens

    @property
    def dna_ids(self) -> NDArray[np.int64]:
        """The bytes of A C G T."""
        return BASE_LETTERS.astype(np.int64)

    def noncanonical_letters(self, sequence: Text) -> int:
        """See `Tokenizer`; tags are text."""
        return super().noncanonical_letters(TAG.sub("", sequence[:]))

    def foreign_characters(self, sequence: Text) -> int:
        """See `Tokenizer`; tags are text."""
        text = TAG.sub("", sequence[:])
        return len(text) - sum(map(text.count, "ACGTUacgtu"))

    def encode(self, sequence: str) -> Ids:
        """One id a byte."""
        return np.frombuffer(sequence.encode("utf-8", "surrogateescape"), np.uint8).astype(np.int32)

    def decode(self, ids: ArrayLike) -> str:
        """The text; special ids and those that are not used become nothing."""
        id_array = np.asarray(ids, np.int64)
        text = id_array[(id_array > PAD) & (id_array < 256)].astype(np.uint8)
        return text.tobytes().decode("utf-8", "surrogateescape")

    def to_config(self) -> dict[str, Any]:
        """Kind and size."""
        return {"kind": self.kind, "size": self.size}
