"""Whether a sequence stands in a reference's coordinates already, letter beside letter.

Aligned genomes and those made from a VCF do. Shape: R letters of the reference.
"""

import numpy as np
from numpy.typing import NDArray

from genomai_cli.anchoring.kmers import UNKNOWN, Codes

FEWEST_LETTERS = 24
LEAST_IDENTITY = 0.75
WINDOW, MOST_DIFFERENCES = 32, 6  # after a missed insertion three in four letters differ


def identity_in_place(codes_R: Codes, reference_R: Codes) -> float | None:
    """How like the reference, 0 to 1, a sequence is letter beside letter; None if it stands elsewhere.

    The identity is that of the known letters. Where most of them stand alone, as from a VCF that lists
    variable sites only, the letters that are not told count as equal.
    """
    if len(codes_R) != len(reference_R):
        return None
    known = codes_R != UNKNOWN
    compared = known & (reference_R != UNKNOWN)
    differences = int((codes_R[compared] != reference_R[compared]).sum())
    alone = _stand_alone(known)
    letters = len(codes_R) if alone else int(compared.sum())
    identity = 1 - differences / max(1, letters)
    enough = alone or letters >= FEWEST_LETTERS
    return identity if enough and identity >= LEAST_IDENTITY else None


def is_crowded(codes_R: Codes, reference_R: Codes) -> bool:
    """Whether differences crowd somewhere, as they do between an insertion and a deletion that make up for it."""
    different = (codes_R != reference_R) & (codes_R != UNKNOWN) & (reference_R != UNKNOWN)
    return bool(np.convolve(different, np.ones(WINDOW, np.int64)).max() > MOST_DIFFERENCES)


def _stand_alone(known_R: NDArray[np.bool_]) -> bool:
    """Whether most known letters have no known neighbour; also true if there is none at all."""
    beside = np.zeros(len(known_R) + 2, np.bool_)
    beside[1:-1] = known_R
    alone = known_R & ~beside[:-2] & ~beside[2:]
    return bool(2 * alone.sum() >= known_R.sum())
