"""The stretches between two anchors aligned letter by letter, and where gaps in repeats belong.

Gotoh's alignment with affine gaps (1982, J. Mol. Biol. 162:705), a row of the table at once. The prices make an
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
SUBSTITUTION, BESIDE_UNKNOWN, GAP_OPEN, GAP_LETTER = 8, 4, 6, 12
END_LETTER = (
    3  # what a letter is worth at a free end: one substitution in three letters is too much
)
LARGEST_TABLE = 4_000_000  # cells; a larger stretch between two anchors stays unaligned
_FAR = 1 << 28


def between(query_Q: Codes, reference_R: Codes) -> list[Block]:
    """The blocks of two stretches that both belong between the same two anchors."""
    size = min(len(query_Q), len(reference_R))
    left = _equal_letters(query_Q, reference_R, size)
    right = _equal_letters(query_Q[::-1], reference_R[::-1], size - left)
    inner_q = query_Q[left : len(query_Q) - right]
    inner_r = reference_R[left : len(reference_R) - right]
    inner = _inner(inner_q, inner_r)
    blocks = [(0, 0, left), *((q + left, r + left, size) for q, r, size in inner)]
    return [*blocks, (len(query_Q) - right, len(reference_R) - right, right)]


def _equal_letters(query_Q: Codes, reference_R: Codes, size: int) -> int:
    """How many of the first letters are equal and known."""
    a, b = query_Q[:size], reference_R[:size]
    different = (a != b) | (a == UNKNOWN_CODE)
    return int(different.argmax()) if different.any() else size


def _inner(query_Q: Codes, reference_R: Codes) -> list[Block]:
    n, m = len(query_Q), len(reference_R)
    if n == m and SUBSTITUTION * _substitutions(query_Q, reference_R) <= 2 * (
        GAP_OPEN + GAP_LETTER
    ):
        return [(0, 0, n)]  # no alignment with gaps can be cheaper
    if not n or not m or n * m > LARGEST_TABLE:
        return []
    tables = _tables(query_Q, reference_R)
    return _traced(tables, n, m)


def _substitutions(query_Q: Codes, reference_R: Codes) -> int:
    known = (query_Q != UNKNOWN_CODE) & (reference_R != UNKNOWN_CODE)
    return int((known & (query_Q != reference_R)).sum())


def free_end(query_Q: Codes, reference_R: Codes) -> list[Block]:
    """The blocks of stretches that begin together after an anchor and end where it pays best."""
    if not len(query_Q) or not len(reference_R):
        return []
    tables = _tables(query_Q, reference_R)
    worth = tables[0] - END_LETTER * np.arange(len(query_Q) + 1)[:, None]
    i, j = np.unravel_index(int(worth.argmin()), worth.shape)
    return _traced(tables, int(i), int(j))


def _tables(query_Q: Codes, reference_R: Codes) -> tuple[Costs, Costs, Costs]:
    """The least costs (Q + 1, R + 1) of any end, of an end in a deletion, and of one in an insertion."""
    n, m = len(query_Q), len(reference_R)
    slope = GAP_LETTER * np.arange(m + 1, dtype=np.int32)
    best, deletion, insertion = (np.full((n + 1, m + 1), _FAR, np.int32) for _ in range(3))
    best[0, 0] = 0
    best[0, 1:] = deletion[0, 1:] = GAP_OPEN + slope[1:]
    prices = _prices(reference_R)
    for i in range(1, n + 1):
        np.minimum(insertion[i - 1], best[i - 1] + GAP_OPEN, out=insertion[i])
        insertion[i] += GAP_LETTER
        row = insertion[i].copy()
        np.minimum(row[1:], best[i - 1, :-1] + prices[query_Q[i - 1]], out=row[1:])
        reach = np.minimum.accumulate(row - slope)
        deletion[i, 1:] = reach[:-1] + slope[1:] + GAP_OPEN
        np.minimum(row, deletion[i], out=best[i])
    return best, deletion, insertion


def _prices(reference_R: Codes) -> Costs:
    """The price (5, R) of each letter of the query beside each of the reference."""
    letters = np.arange(UNKNOWN_CODE + 1)[:, None]
    prices = np.where(letters == reference_R, 0, SUBSTITUTION)
    prices[(letters == UNKNOWN_CODE) | (reference_R == UNKNOWN_CODE)] = BESIDE_UNKNOWN
    return prices.astype(np.int32)


def _traced(tables: tuple[Costs, Costs, Costs], i: int, j: int) -> list[Block]:
    """The blocks of the cheapest alignment that ends at (i, j); gaps as far right as they can be."""
    best, deletion, insertion = tables
    blocks: list[Block] = []
    while i and j:
        here = best[i, j]
        if here == deletion[i, j]:
            j = _gap_begin(deletion[i], best[i], j)
        elif here == insertion[i, j]:
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


def merged(blocks: list[Block]) -> list[Block]:
    """The same without empty blocks, and with blocks that touch on one diagonal as one."""
    whole: list[Block] = []
    for query, reference, length in blocks:
        if not length:
            continue
        q, r, before = whole[-1] if whole else (0, 0, 0)
        if before and (q + before, r + before) == (query, reference):
            whole[-1] = (q, r, before + length)
        else:
            whole.append((query, reference, length))
    return whole


def gaps_to_the_right(blocks: list[Block], query_Q: Codes, reference_R: Codes) -> list[Block]:
    """The same alignment with every insertion and deletion in a repeat moved to its 3' end.

    That is where MITOMAP and HaploGrep name them. A gap moves while the letters stay equal.
    """
    moved: list[Block] = []
    for block in merged(blocks):
        q, r, length = block
        while moved and length:
            q0, r0, before = moved[-1]
            inserted, deleted = q - q0 - before, r - r0 - before
            if (inserted > 0) == (deleted > 0):
                break
            a, b = (q, r0 + before) if deleted else (q0 + before, r)
            if query_Q[a] != reference_R[b] or query_Q[a] == UNKNOWN_CODE:
                break
            moved[-1] = (q0, r0, before + 1)
            q, r, length = q + 1, r + 1, length - 1
        if length:
            moved.append((q, r, length))
    return merged(moved)
