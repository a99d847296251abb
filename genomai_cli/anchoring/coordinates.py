"""Whether a sequence stands in a reference's coordinates already, letter beside letter.

Aligned genomes and those made from a VCF do. Shape: R letters of the reference.
"""

import numpy as np

from genomai_cli.anchoring.kmers import UNKNOWN, Codes

FEWEST_LETTERS = 24
LEAST_IDENTITY = 0.75
WINDOW, MOST_DIFFERENCES = 32, 6  # after a missed insertion three in four letters differ


def in_coordinates(codes_R: Codes, reference_R: Codes) -> float | None:
    """How like the reference a sequence in its coordinates is (0 to 1); None if it does not stand in them.

    The identity is that of the known letters. Where most of them stand alone, as from a VCF that lists
    variable sites only, the letters that are not told count as equal.
    """
    if len(codes_R) != len(reference_R):
        return None
    known = codes_R != UNKNOWN
    different = known & (reference_R != UNKNOWN) & (codes_R != reference_R)
    differences = int(different.sum())
    if _stand_alone(known):
        identity = 1 - differences / len(codes_R)
        return identity if identity >= LEAST_IDENTITY else None
    compared = int((known & (reference_R != UNKNOWN)).sum())
    identity = 1 - differences / compared if compared else 0.0
    crowded = np.convolve(different, np.ones(WINDOW, np.int64)).max() > MOST_DIFFERENCES
    if compared < FEWEST_LETTERS or identity < LEAST_IDENTITY or crowded:
        return None
    return identity


def _stand_alone(known: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> bool:
    """Whether most known letters have no known neighbour; also true if there is none at all."""
    beside = np.zeros(len(known) + 2, np.bool_)
    beside[1:-1] = known
    alone = known & ~beside[:-2] & ~beside[2:]
    return bool(2 * alone.sum() >= known.sum())
