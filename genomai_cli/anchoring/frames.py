"""A query beside the stretch of the reference that it is aligned with, and the alignment of the two.

Shapes: Q letters of the query, W letters of the reference from some position on, C anchors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from genomai_cli.anchoring import alignment
from genomai_cli.anchoring.alignment import Block
from genomai_cli.anchoring.kmers import Codes, Integers

LONGEST_END = 400  # letters after the last anchor that are looked at
END_ROOM = 32  # more letters of the reference than of the query at a free end


@dataclass(frozen=True, eq=False)
class Frame:
    """A query, a stretch of the reference that begins at `origin`, and anchors (C, 3) between the two.

    `letters` tells which letter of the sequence as given, whatever its strand, each of the query's is.
    """

    query: Codes  # (Q,)
    letters: Integers  # (Q,)
    window: Codes  # (W,)
    origin: int
    chain: Integers
    closed: bool
    passed_over: int = 0  # known letters of further copies

    @property
    def anchors(self) -> list[Block]:
        """The chain's rows."""
        return [(int(q), int(r), int(length)) for q, r, length in self.chain]


def aligned(frame: Frame) -> list[Block]:
    """The blocks of the whole query, in the frame's coordinates."""
    query_Q, reference_W = frame.query, frame.window
    n, size = len(query_Q), len(reference_W)
    chain = frame.anchors
    if frame.closed:
        if n == size and all(q == r for q, r, _ in chain):
            return [(0, 0, n)]
        chain = [(0, 0, 0), *chain, (n, size, 0)]
    blocks = [] if frame.closed else head(frame)
    for (q, r, length), (next_q, next_r, _) in pairwise(chain):
        begin_q, begin_r = q + length, r + length
        inner = alignment.between(query_Q[begin_q:next_q], reference_W[begin_r:next_r])
        blocks += [(q, r, length), *_moved(inner, begin_q, begin_r)]
    blocks += [chain[-1], *([] if frame.closed else tail(frame))]
    return alignment.gaps_to_the_right(blocks, query_Q, reference_W)


def tail(frame: Frame) -> list[Block]:
    """The blocks after the last anchor."""
    query, reference, length = frame.anchors[-1]
    return _end(frame.query, frame.window, query + length, reference + length)


def head(frame: Frame) -> list[Block]:
    """The blocks before the first anchor: a tail in the mirror."""
    query, reference, _ = frame.anchors[0]
    n, size = len(frame.query), len(frame.window)
    mirrored = _end(frame.query[::-1], frame.window[::-1], n - query, size - reference)
    return [(n - q - length, size - r - length, length) for q, r, length in reversed(mirrored)]


def members(blocks: list[Block], column: int) -> Integers:
    """All places of the blocks in the query (column 0) or the reference (1)."""
    places = [np.arange(block[column], block[column] + block[2]) for block in blocks]
    return np.concatenate([np.empty(0, np.int64), *places])


def gaps(frame: Frame, blocks: list[Block]) -> Iterator[tuple[int, int, int, int]]:
    """Between blocks: place in the query, in the reference, letters inserted and letters deleted there."""
    n, size = len(frame.query), len(frame.window)
    around = [(0, 0, 0), *blocks, (n, size, 0)] if frame.closed else blocks
    for (q, r, length), (next_q, next_r, _) in pairwise(around):
        inserted, deleted = next_q - q - length, next_r - r - length
        if inserted or deleted:
            yield q + length, r + length, inserted, deleted


def _end(query_Q: Codes, reference_W: Codes, query: int, reference: int) -> list[Block]:
    """The blocks of a free end, from these places on."""
    end_Q = query_Q[query : query + LONGEST_END]
    end_W = reference_W[reference : reference + len(end_Q) + END_ROOM]
    return _moved(alignment.free_end(end_Q, end_W), query, reference)


def _moved(blocks: list[Block], query: int, reference: int) -> list[Block]:
    return [(q + query, r + reference, length) for q, r, length in blocks]
