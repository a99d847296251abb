"""Which segments belong together: the best chain in the order of both sequences.

Collinear chaining (Abouelhoda & Ohlebusch 2005, J. Discrete Algorithms 3:321) with a price for every
change of diagonal, so that a stray k-mer of a repeat is left out and a real insertion or deletion is not.

Segments (S, 3) and chains (C, 3) have the columns: begin in the query, begin in the reference, length.
"""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

CHANGE = (
    12.0  # letters that an insertion or deletion costs, plus the binary logarithm of its length
)


def best_chain(segments: Integers, period: int | None) -> Integers:
    """The segments of the best chain, cut so that they do not overlap, in the query's order.

    With a `period` the reference is a circle of that length and a chain may go around it: the chain's
    reference positions then grow beyond the period. Segments must be in the query's order.
    """
    if not len(segments):
        return segments
    query, length = segments[:, 0], segments[:, 2]
    diagonal, end = segments[:, 1] - query, query + length
    score, before = length.astype(np.float64), np.full(len(segments), -1)
    for this in range(1, len(segments)):
        shift = _signed(diagonal[this] - diagonal[:this], period)
        overlap = np.maximum(0, end[:this] - query[this] - np.minimum(shift, 0))
        gain = score[:this] - overlap - np.where(shift, CHANGE + np.log2(1 + np.abs(shift)), 0)
        gain[overlap >= length[this]] = -np.inf
        best = int(gain.argmax())
        if gain[best] > 0:
            score[this] += gain[best]
            before[this] = best
    return _unrolled(segments[_traced(int(score.argmax()), before)], period)


def _signed(shift: Integers, period: int | None) -> Integers:
    """On a circle the shorter way around: from minus half the period to half of it."""
    if period is None:
        return shift
    half = period // 2
    return (shift + half) % period - half


def _traced(last: int, before: Integers) -> list[int]:
    """The chain that ends with `last`, from its first segment."""
    chain = [last]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return chain[::-1]


def _unrolled(chain: Integers, period: int | None) -> Integers:
    """Reference positions that only grow, and no overlaps: the earlier segment keeps the letters."""
    diagonal = chain[:, 1] - chain[:, 0]
    shifts = _signed(np.diff(diagonal), period)
    unrolled = chain.copy()
    unrolled[1:, 1] = chain[1:, 0] + diagonal[0] + np.cumsum(shifts)
    ends = unrolled[:-1, :2] + unrolled[:-1, 2:]
    cut = np.maximum(0, (ends - unrolled[1:, :2]).max(axis=1))
    unrolled[1:] += np.stack([cut, cut, -cut], axis=1)
    return unrolled
