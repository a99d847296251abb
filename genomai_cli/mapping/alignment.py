"""The stretches between two anchors aligned letter by letter, and where gaps in repeats belong.

Gotoh's alignment with affine gaps (1982, J. Mol. Biol. 162:705), a row of the table at once. The costs make an
insertion in each of two runs of C (309.1C 315.1C) cheaper than a longer one and a substitution, and up to four
substitutions side by side cheaper than an insertion and a deletion. An unknown letter costs a little beside any other,
so that a letter of the reference that nobody has (3107 of rCRS) is the one to be deleted.

A block is (begin in the query, begin in the reference, length): letters side by side, equal or not.

Shape suffixes: Q letters of the query, R letters of the reference.
"""

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import UNKNOWN_CODE, Codes

Block = tuple[int, int, int]
Costs = NDArray[np.int32]
SUBSTITUTION, UNKNOWN_COST, GAP_OPEN, GAP_LETTER = 8, 4, 6, 12
END_BONUS = 3  # what a letter is worth at a free end: one substitution in three letters is too much
MAX_TABLE_CELLS = 4_000_000  # cells; a larger stretch between two anchors stays unaligned
_FAR = 1 << 28


def align_between(query_Q: Codes, reference_R: Codes) -> list[Block]:
    """The blocks of two stretches between the same two anchors, aligned from end to end."""
    size = min(len(query_Q), len(reference_R))
    left = _common_prefix_length(query_Q, reference_R, size)
    right = _common_prefix_length(query_Q[::-1], reference_R[::-1], size - left)
    inner_q = query_Q[left : len(query_Q) - right]
    inner_r = reference_R[left : len(reference_R) - right]
    inner = _align_inner(inner_q, inner_r)
    blocks = [(0, 0, left), *((q + left, r + left, size) for q, r, size in inner)]
    return [*blocks, (len(query_Q) - right, len(reference_R) - right, right)]


def _common_prefix_length(query_Q: Codes, reference_R: Codes, size: int) -> int:
    """How many of the first letters are equal and known."""
    a, b = query_Q[:size], reference_R[:size]
    different = (a != b) | (a == UNKNOWN_CODE)
    return int(different.argmax()) if different.any() else size


def _align_inner(query_Q: Codes, reference_R: Codes) -> list[Block]:
    n, m = len(query_Q), len(reference_R)
    if n == m and SUBSTITUTION * _substitutions(query_Q, reference_R) <= 2 * (
        GAP_OPEN + GAP_LETTER
    ):
        return [(0, 0, n)]  # no alignment with gaps can be cheaper
    if not n or not m or n * m > MAX_TABLE_CELLS:
        return []
    tables = _cost_tables(query_Q, reference_R)
    return _traceback(tables, n, m)


def _substitutions(query_Q: Codes, reference_R: Codes) -> int:
    known = (query_Q != UNKNOWN_CODE) & (reference_R != UNKNOWN_CODE)
    return int((known & (query_Q != reference_R)).sum())


def align_free_end(query_Q: Codes, reference_R: Codes) -> list[Block]:
    """The blocks of stretches that begin together after an anchor and end where it pays best."""
    if not len(query_Q) or not len(reference_R):
        return []
    tables = _cost_tables(query_Q, reference_R)
    costs = tables[0] - END_BONUS * np.arange(len(query_Q) + 1)[:, None]
    i, j = np.unravel_index(int(costs.argmin()), costs.shape)
    return _traceback(tables, int(i), int(j))


def _cost_tables(query_Q: Codes, reference_R: Codes) -> tuple[Costs, Costs, Costs]:
    """The least costs (Q + 1, R + 1) of any end, of an end in a deletion, and of one in an insertion."""
    n, m = len(query_Q), len(reference_R)
    slope = GAP_LETTER * np.arange(m + 1, dtype=np.int32)
    best, deletion, insertion = (np.full((n + 1, m + 1), _FAR, np.int32) for _ in range(3))
    best[0, 0] = 0
    best[0, 1:] = deletion[0, 1:] = GAP_OPEN + slope[1:]
    letter_costs = _letter_costs(reference_R)
    for i in range(1, n + 1):
        np.minimum(insertion[i - 1], best[i - 1] + GAP_OPEN, out=insertion[i])
        insertion[i] += GAP_LETTER
        row = insertion[i].copy()
        np.minimum(row[1:], best[i - 1, :-1] + letter_costs[query_Q[i - 1]], out=row[1:])
        reach = np.minimum.accumulate(row - slope)
        deletion[i, 1:] = reach[:-1] + slope[1:] + GAP_OPEN
        np.minimum(row, deletion[i], out=best[i])
    return best, deletion, insertion


def _letter_costs(reference_R: Codes) -> Costs:
    """The cost (5, R) of aligning each letter of the query with each of the reference."""
    letters = np.arange(UNKNOWN_CODE + 1)[:, None]
    costs = np.where(letters == reference_R, 0, SUBSTITUTION)
    costs[(letters == UNKNOWN_CODE) | (reference_R == UNKNOWN_CODE)] = UNKNOWN_COST
    return costs.astype(np.int32)


def _traceback(tables: tuple[Costs, Costs, Costs], i: int, j: int) -> list[Block]:
    """The blocks of the cheapest alignment that ends at (i, j); gaps as far right as they can be."""
    best, deletion, insertion = tables
    blocks: list[Block] = []
    while i and j:
        cost = best[i, j]
        if cost == deletion[i, j]:
            j = _gap_begin(deletion[i], best[i], j)
        elif cost == insertion[i, j]:
            i = _gap_begin(insertion[:, j], best[:, j], i)
        else:
            i, j = i - 1, j - 1
            if blocks and blocks[-1][:2] == (i + 1, j + 1):
                blocks[-1] = (i, j, blocks[-1][2] + 1)
            else:
                blocks.append((i, j, 1))
    return blocks[::-1]


def _gap_begin(gap: Costs, best: Costs, end: int) -> int:
    """Where the gap that ends at `end` of a row (or a column) of the table begins."""
    start = end - 1
    while gap[end] != best[start] + GAP_OPEN + GAP_LETTER * (end - start):
        start -= 1
    return start


def joined_blocks(blocks: list[Block]) -> list[Block]:
    """The same without empty blocks, and with blocks that touch on one diagonal as one."""
    joined: list[Block] = []
    for query, reference, length in blocks:
        if not length:
            continue
        q, r, last_length = joined[-1] if joined else (0, 0, 0)
        if last_length and (q + last_length, r + last_length) == (query, reference):
            joined[-1] = (q, r, last_length + length)
        else:
            joined.append((query, reference, length))
    return joined


def right_align_gaps(blocks: list[Block], query_Q: Codes, reference_R: Codes) -> list[Block]:
    """The same alignment with every insertion and deletion in a repeat moved to its 3' end.

    That is where MITOMAP and HaploGrep name them. A gap moves while the letters stay equal.
    """
    shifted: list[Block] = []
    for block in joined_blocks(blocks):
        q, r, length = block
        while shifted and length:
            q0, r0, last_length = shifted[-1]
            inserted, deleted = q - q0 - last_length, r - r0 - last_length
            if (inserted > 0) == (deleted > 0):
                break
            a, b = (q, r0 + last_length) if deleted else (q0 + last_length, r)
            if query_Q[a] != reference_R[b] or query_Q[a] == UNKNOWN_CODE:
                break
            shifted[-1] = (q0, r0, last_length + 1)
            q, r, length = q + 1, r + 1, length - 1
        if length:
            shifted.append((q, r, length))
    return joined_blocks(shifted)
