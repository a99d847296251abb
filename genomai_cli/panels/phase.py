"""A barcode's two haplotypes: heterozygous letters taken apart into two bases, and put together again."""

import numpy as np
from numpy.typing import NDArray

Letters = NDArray[np.uint8]

_PAIRS = {
    "R": ("A", "G"),
    "Y": ("C", "T"),
    "S": ("C", "G"),
    "W": ("A", "T"),
    "K": ("G", "T"),
    "M": ("A", "C"),
}
_CODES = "ACGT"


def _split_tables() -> tuple[Letters, Letters]:
    """The first and the second base of every letter; N for a letter that is not one or two bases."""
    first, second = np.full((2, 256), ord("N"), np.uint8)
    for letter in _CODES:
        first[ord(letter)] = second[ord(letter)] = ord(letter)
    for letter, (one, other) in _PAIRS.items():
        first[ord(letter)], second[ord(letter)] = ord(one), ord(other)
    return first, second


def _join_table() -> Letters:
    """The letter of two bases, by the bases' bytes; N where either is missing."""
    table = np.full((256, 256), ord("N"), np.uint8)
    for base in _CODES:
        table[ord(base), ord(base)] = ord(base)
    for letter, (one, other) in _PAIRS.items():
        table[ord(one), ord(other)] = table[ord(other), ord(one)] = ord(letter)
    return table


_FIRST, _SECOND = _split_tables()
_JOINED = _join_table()


def resolve(letters: Letters, rng: np.random.Generator | None = None) -> Letters:
    """Two haplotypes (2, ..., sites) of barcodes (..., sites), over A C G T N.

    The true phase is not known: with `rng` each heterozygous site falls either way at random; without
    it the heterozygous sites of a barcode take turns, which gives each haplotype half of each kind.
    """
    first, second = _FIRST[letters], _SECOND[letters]
    heterozygous = first != second
    if rng is None:
        swap = heterozygous & (np.cumsum(heterozygous, axis=-1) % 2 == 0)
    else:
        swap = heterozygous & (rng.random(letters.shape, dtype=np.float32) < 0.5)
    return np.stack([np.where(swap, second, first), np.where(swap, first, second)])


def join(first: Letters, second: Letters) -> Letters:
    """The barcode of two haplotypes: R for A and G, and so on; N where either is missing."""
    return _JOINED[first, second]
