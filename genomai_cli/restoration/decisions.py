"""What is done with a posterior: which letters are restored or corrected, and which are left.

Shape suffixes: K places, A letters that a place can hold.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.restoration.base import Flags, Probabilities, Settings

NOT_SEEN = -1  # among observed letters: missing, or one that cannot be
LIKELIER_THAN_NOT = 0.5


@dataclass(frozen=True, eq=False)
class Proposal:
    """New letters (K,) of a record for those at `numbers` (K,), counted from 0, with their probabilities.

    `missing` counts the letters that were missing where the model could tell.
    """

    numbers: NDArray[np.int64]
    letters: NDArray[np.uint8]
    probabilities: Probabilities
    missing: int

    def sorted(self) -> "Proposal":
        """The same in the order of the record."""
        order = np.argsort(self.numbers, kind="stable")
        return Proposal(
            self.numbers[order], self.letters[order], self.probabilities[order], self.missing
        )


def chosen(
    posterior_KA: Probabilities,
    observed_K: NDArray[np.int64],
    settings: Settings,
) -> tuple[NDArray[np.int64], Flags]:
    """The most probable letter (K,) of each place, and whether it is to be written there.

    In place of an observed letter only another one is written that is likelier than not.
    """
    best_K = posterior_KA.argmax(axis=1)
    p_K = np.take_along_axis(posterior_KA, best_K[:, None], axis=1)[:, 0]
    better_K = (best_K != observed_K) & (p_K > LIKELIER_THAN_NOT)
    taken_K = np.where(observed_K == NOT_SEEN, True, better_K) & (p_K >= settings.confidence)
    return best_K, taken_K


def proposal(
    numbers_K: NDArray[np.int64],
    posterior_KA: Probabilities,
    observed_K: NDArray[np.int64],
    alphabet_KA: NDArray[np.uint8],
    missing_K: Flags,
    settings: Settings,
) -> Proposal:
    """What is to be written at some letters of a record, whose A possible letters are in the alphabet."""
    best_K, taken_K = chosen(posterior_KA, observed_K, settings)
    rows, best = np.flatnonzero(taken_K), best_K[taken_K]
    p = posterior_KA[rows, best]
    return Proposal(numbers_K[rows], alphabet_KA[rows, best], p, int(missing_K.sum())).sorted()
