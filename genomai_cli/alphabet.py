"""The nucleotide alphabet: bases and their codes, IUPAC letters, complements, and what stands for the unknown.

A sequence is text, an array of letters (ASCII bytes), or an array of codes (0 1 2 3 for A C G T, 4 for any other
letter). In rows of letters the byte 0 fills up what is behind a sequence's end.
IUPAC letters: Cornish-Bowden 1985, Nucleic Acids Res. 13:3021.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Letters = NDArray[np.uint8]
Codes = NDArray[np.uint8]

BASES = "ACGT"
UNKNOWN = "N"
IUPAC = {
    **{base: base for base in BASES},
    **{"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}
"""The bases that each letter stands for, in their order."""
HETEROZYGOUS = {letter: (bases[0], bases[1]) for letter, bases in IUPAC.items() if len(bases) == 2}

UNKNOWN_LETTER = ord(UNKNOWN)
UNKNOWN_CODE = len(BASES)
MISSING = -1
"""An allele or a label that is not known."""


def as_letters(sequence: str) -> Letters:
    """The letters of a text; a letter outside ASCII becomes `?`."""
    return np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)


def as_text(letters: Letters) -> str:
    """The text of an array of letters."""
    return letters.tobytes().decode("ascii")


def letter_table(codes: Mapping[str, int], *, other: int) -> NDArray[np.int32]:
    """A table (256,) from a letter to its code: in either case, U as T, `other` for every other byte."""
    table = np.full(256, other, np.int32)
    for letter, code in codes.items():
        table[[ord(letter), ord(letter.lower())]] = code
    if "T" in codes:
        table[[ord("U"), ord("u")]] = codes["T"]
    return table


def letter_set(letters: str) -> NDArray[np.bool_]:
    """A table (256,) that tells which bytes are among the letters, in just this case."""
    table = np.zeros(256, np.bool_)
    table[list(letters.encode())] = True
    return table


BASE_LETTERS = as_letters(BASES)
CODE_LETTERS = as_letters(BASES + UNKNOWN)
"""The letters (5,) of the codes."""
IS_BASE = letter_set(BASES)
_CODES = letter_table({base: code for code, base in enumerate(BASES)}, other=UNKNOWN_CODE)
_CODES_OF_LETTERS = _CODES.astype(np.uint8)


def codes_of(letters: Letters) -> Codes:
    """The codes of letters: either case, U as T, 4 for what is none of the four bases."""
    return _CODES_OF_LETTERS[letters]


def _complements() -> Letters:
    by_bases = {frozenset(bases): letter for letter, bases in IUPAC.items()}
    table = np.arange(256, dtype=np.uint8)
    for letter, bases in IUPAC.items():
        opposite = frozenset(BASES[-1 - BASES.index(base)] for base in bases)
        table[ord(letter)] = ord(by_bases[opposite])
        table[ord(letter.lower())] = ord(by_bases[opposite].lower())
    table[[ord("U"), ord("u")]] = table[[ord("T"), ord("t")]]
    return table


COMPLEMENT = _complements()
"""The complement (256,) of each letter, in its case; every other byte is its own."""


_COMPLEMENT_OF_BYTE = {byte: int(other) for byte, other in enumerate(COMPLEMENT)}


def complement(text: str) -> str:
    """The letters of a text on the other strand, in the text's direction; what is no letter stays."""
    return text.translate(_COMPLEMENT_OF_BYTE)


def complement_codes(codes: Codes) -> Codes:
    """The complement of each code; unknown stays unknown."""
    return np.where(codes == UNKNOWN_CODE, codes, UNKNOWN_CODE - 1 - codes).astype(np.uint8)


def reverse_complement(letters: Letters) -> Letters:
    """The other strand (..., L) of letters, read in its own direction."""
    return COMPLEMENT[letters][..., ::-1]


def reverse_complement_codes(codes: Codes) -> Codes:
    """The other strand (L,) of codes, read in its own direction."""
    return complement_codes(codes[::-1])
