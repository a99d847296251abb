"""Many sequences as one array of ids: from lists of ids, or from rows of letters of which some are masked.

Shape suffixes: B sequences, L letters, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import UNKNOWN_LETTER, Letters
from genomai_cli.tokenizers.base import Ids, Tokenizer

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """The `ids` (B, T) of sequences of any lengths, and the attention `mask` (B, T): True for all but padding."""

    ids: NDArray[np.int64]
    mask: Flags

    @classmethod
    def of(cls, tokenizer: Tokenizer, rows: Sequence[Ids]) -> "TokenBatch":
        """From the ids of each sequence, which have been through the `template`; at least one token wide."""
        left = tokenizer.padding_side == "left"
        ids = padded(rows, tokenizer.pad_id, left=left)
        return cls(ids, padded([np.ones(len(row), np.int32) for row in rows], 0, left=left) > 0)


def padded(rows: Sequence[Ids], pad_id: int, *, left: bool = False) -> NDArray[np.int64]:
    """The ids of several sequences as the rows of one array, filled up at one side; at least one wide."""
    array = np.full((len(rows), max((1, *map(len, rows)))), pad_id, np.int64)
    for row, ids in zip(array, rows, strict=True):
        row[len(row) - len(ids) if left else 0 :][: len(ids)] = ids
    return array


def encode_rows(
    tokenizer: Tokenizer, letters_BL: Letters, masked_BL: Flags | None = None
) -> NDArray[np.int64]:
    """The ids (B, T), with template and padding, of sequences that are filled up with 0 bytes at the right.

    Every token that covers a masked letter is masked, so that overlapping tokens do not tell it. T is at least 1.
    """
    tokens = tokenizer.length(letters_BL.shape[1])
    ids_BT = np.empty((len(letters_BL), 0), np.int64)
    if tokens:
        ids_BT = _ids(tokenizer, letters_BL)[:, :tokens].astype(np.int64)
    if masked_BL is not None and tokens:
        ids_BT[_covers(tokenizer, masked_BL)] = tokenizer.mask_id
    return _with_template(tokenizer, ids_BT, _token_counts(tokenizer, letters_BL), tokenizer.pad_id)


def covering_tokens(tokenizer: Tokenizer, letters_BL: Letters, chosen_BL: Flags) -> Flags:
    """Which of the tokens (B, T) of `encode_rows` cover at least one of the chosen letters."""
    chosen_BT = np.zeros((len(letters_BL), 0), np.bool_)
    if tokenizer.length(letters_BL.shape[1]):
        chosen_BT = _covers(tokenizer, chosen_BL)
    return _with_template(
        tokenizer, chosen_BT, _token_counts(tokenizer, letters_BL), False, special_tokens=False
    )


def _covers(tokenizer: Tokenizer, chosen_BL: Flags) -> Flags:
    tokens = tokenizer.length(chosen_BL.shape[1])
    span = (tokens - 1) * tokenizer.stride + 1
    covered_BT = np.zeros((len(chosen_BL), tokens), np.bool_)
    for offset in range(tokenizer.k):
        covered_BT |= chosen_BL[:, offset : offset + span : tokenizer.stride]
    return covered_BT


def _token_counts(tokenizer: Tokenizer, letters_BL: Letters) -> NDArray[np.int64]:
    """How many tokens each row (B,) has."""
    length_B = np.count_nonzero(letters_BL, axis=1)
    count_B = (length_B - tokenizer.k) // tokenizer.stride + 1
    return np.where(length_B < tokenizer.k, 0, count_B)


def _with_template(
    tokenizer: Tokenizer,
    values_BT: NDArray[Any],
    count_B: NDArray[np.int64],
    fill_value: int | bool,
    *,
    special_tokens: bool = True,
) -> NDArray[Any]:
    """The first `count_B` values of each row where the template and the padding side put them; `fill_value` elsewhere.

    With `special_tokens` the prefix and the suffix are written around them.
    """
    before, after = len(tokenizer.prefix), len(tokenizer.suffix)
    rows, tokens = values_BT.shape
    values_BT = values_BT.copy()
    values_BT[np.arange(tokens) >= count_B[:, None]] = fill_value
    width = max(1, before + tokens + after)
    padding = ((0, 0), (before, width - before - tokens))
    padded_BT = np.pad(values_BT, padding, constant_values=fill_value)
    if special_tokens:
        padded_BT[:, :before] = tokenizer.prefix
        for offset, id_ in enumerate(tokenizer.suffix):
            padded_BT[np.arange(rows), before + count_B + offset] = id_
    if tokenizer.padding_side == "left":
        shift_B1 = (width - before - count_B - after)[:, None]
        padded_BT = np.take_along_axis(padded_BT, (np.arange(width) - shift_B1) % width, axis=1)
    return padded_BT


def _ids(tokenizer: Tokenizer, letters_BL: Letters) -> Ids:
    """The ids of all rows written one after another, as rows; those at a row's end run into the next."""
    rows, length = letters_BL.shape
    width = -(-length // tokenizer.stride) * tokenizer.stride
    text = np.full(rows * width + tokenizer.k, UNKNOWN_LETTER, np.uint8)
    known_BL = np.where(letters_BL == 0, np.uint8(UNKNOWN_LETTER), letters_BL)
    text[: rows * width].reshape(rows, width)[:, :length] = known_BL
    ids = tokenizer.encode(text.tobytes().decode("ascii", "surrogateescape"))
    return ids[: rows * width // tokenizer.stride].reshape(rows, -1)
