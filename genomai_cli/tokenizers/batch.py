"""Many sequences to ids at once: rows of letters in, rows of ids out, with letters hidden on the way.

Shape suffixes: B sequences, L letters, T words.
"""

import numpy as np
from numpy.typing import NDArray

from genomai_cli.tokenizers.base import Tokenizer

UNKNOWN = ord("N")


def encode_rows(
    tokenizer: Tokenizer,
    letters_BL: NDArray[np.uint8],
    hidden_BL: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """The ids (B, T) of sequences that are filled up with 0 bytes at the right, as [PAD] follows their words.

    Every word that covers a hidden letter is [MASK], so that overlapping words do not tell it.
    """
    rows, places = letters_BL.shape
    words = tokenizer.length(places)
    if words == 0:
        return np.full((rows, 1), tokenizer.pad_id, np.int64)
    ids_BT = _ids(tokenizer, letters_BL)[:, :words].astype(np.int64)
    if hidden_BL is not None:
        ids_BT[covering(tokenizer, hidden_BL)] = tokenizer.mask_id
    length_B = np.count_nonzero(letters_BL, axis=1)
    ends_T = np.arange(words) * tokenizer.stride + tokenizer.k
    ids_BT[ends_T > length_B[:, None]] = tokenizer.pad_id
    return ids_BT


def covering(tokenizer: Tokenizer, chosen_BL: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which words (B, T) cover at least one of the chosen letters."""
    words = tokenizer.length(chosen_BL.shape[1])
    last = (words - 1) * tokenizer.stride + 1
    found_BT = np.zeros((len(chosen_BL), words), np.bool_)
    for place in range(tokenizer.k):
        found_BT |= chosen_BL[:, place : place + last : tokenizer.stride]
    return found_BT


def _ids(tokenizer: Tokenizer, letters_BL: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The ids of all rows written one after another, as rows; those at a row's end run into the next."""
    rows, places = letters_BL.shape
    width = -(-places // tokenizer.stride) * tokenizer.stride
    flat = np.full(rows * width + tokenizer.k, UNKNOWN, np.uint8)
    filled = np.where(letters_BL == 0, np.uint8(UNKNOWN), letters_BL)
    flat[: rows * width].reshape(rows, width)[:, :places] = filled
    ids = tokenizer.encode(flat.tobytes().decode("ascii"))
    return ids[: rows * width // tokenizer.stride].reshape(rows, -1)
