"""Whether a sequence stands in a reference's coordinates already, letter beside letter.

Aligned genomes and those made from a VCF do. Shape: R letters of the reference.
"""

import numpy as np
from numpy.typing import NDArray

from genomai_cli.anchoring.kmers import UNKNOWN, Codes

FEWEST_LETTERS = 24  # that must agree: random DNA has no two k-mers of the reference in one order
SHORT_GAP = 32  # letters not told between two that are
MOST_DIFFERENT = 0.25
WINDOW, MOST_DIFFERENCES = 32, 6  # after a missed insertion three in four letters differ


def compared_in_place(codes_R: Codes, reference_R: Codes) -> tuple[int, int] | None:
    """How many letters were compared, and how many differ, of a sequence letter beside letter; None if it
    stands elsewhere.

    Compared are the known letters and those in short gaps between them, which count as equal, since a VCF
    lists variable sites only. Where most known letters stand alone, all others count as equal.
    """
    if len(codes_R) != len(reference_R):
        return None
    known = codes_R != UNKNOWN
    comparable = known & (reference_R != UNKNOWN)
    differences = int(np.count_nonzero(comparable & (codes_R != reference_R)))
    compared = np.flatnonzero(comparable)
    alone = _stand_alone(known)
    gaps = np.diff(compared) - 1
    letters = len(compared) + int(gaps[gaps < SHORT_GAP].sum())
    letters = len(codes_R) if alone else letters
    enough = alone or len(compared) >= FEWEST_LETTERS
    return (letters, differences) if enough and differences <= MOST_DIFFERENT * letters else None


def is_crowded(codes_R: Codes, reference_R: Codes) -> bool:
    """Whether differences crowd somewhere, as they do between an insertion and a deletion that make up for it."""
    different = (codes_R != reference_R) & (codes_R != UNKNOWN) & (reference_R != UNKNOWN)
    places = np.flatnonzero(different)
    spans = places[MOST_DIFFERENCES:] - places[: max(0, len(places) - MOST_DIFFERENCES)]
    return bool((spans < WINDOW).any())


def _stand_alone(known_R: NDArray[np.bool_]) -> bool:
    """Whether most known letters have no known neighbour; also true if there is none at all."""
    beside = np.zeros(len(known_R) + 2, np.bool_)
    beside[1:-1] = known_R
    alone = known_R & ~beside[:-2] & ~beside[2:]
    return bool(2 * np.count_nonzero(alone) >= np.count_nonzero(known_R))
