"""A sequence brought to the coordinates of a reference (`Mapper`): anchored by k-mers, aligned in between.

The query may begin anywhere on a circular reference, lie on either strand, and hold unknown letters, insertions and
deletions. What is aligned, on the reference's strand, is an `AlignmentFrame`. A complete circle is first turned to
begin at the reference's first anchor, so that what comes out does not depend on where the record was cut.

Shape suffixes: Q letters of the query, R of the reference, W of the reference from some position on, C anchors, H hits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import (
    CODE_LETTERS,
    UNKNOWN_CODE,
    Codes,
    as_letters,
    as_text,
    codes_of,
    reverse_complement_codes,
)
from genomai_cli.mapping import alignment
from genomai_cli.mapping.alignment import Block
from genomai_cli.mapping.reference import (
    MIN_LETTERS,
    Reference,
    compared_in_place,
    has_clustered_differences,
)
from genomai_cli.mapping.seeding import Integers, KmerIndex, best_chain, segments_of
from genomai_cli.records import SequenceRecord

MAX_END_LENGTH = 400  # letters after the last anchor that are looked at
END_MARGIN = 32  # more letters of the reference than of the query at a free end


@dataclass(frozen=True, eq=False)
class AlignmentFrame:
    """A query, a stretch of the reference that begins at `origin`, and anchors (C, 3) between the two.

    `source_indices` tells which letter of the sequence as given, whatever its strand, each of the query's is.
    """

    query: Codes  # (Q,)
    source_indices: Integers  # (Q,)
    window: Codes  # (W,)
    origin: int
    chain: Integers
    is_full_circle: bool
    extra_copy_letters: int = 0  # known letters of further copies

    @property
    def anchors(self) -> list[Block]:
        """The chain's rows."""
        return [(int(q), int(r), int(length)) for q, r, length in self.chain]


def aligned_blocks(frame: AlignmentFrame) -> list[Block]:
    """The blocks of the whole query, in the frame's coordinates."""
    query_Q, reference_W = frame.query, frame.window
    n, size = len(query_Q), len(reference_W)
    chain = frame.anchors
    if frame.is_full_circle:
        if n == size and all(q == r for q, r, _ in chain):
            return [(0, 0, n)]
        chain = [(0, 0, 0), *chain, (n, size, 0)]
    blocks = [] if frame.is_full_circle else head_blocks(frame)
    for (q, r, length), (next_q, next_r, _) in pairwise(chain):
        begin_q, begin_r = q + length, r + length
        inner = alignment.align_between(query_Q[begin_q:next_q], reference_W[begin_r:next_r])
        blocks += [(q, r, length), *_shifted(inner, begin_q, begin_r)]
    blocks += [chain[-1], *([] if frame.is_full_circle else tail_blocks(frame))]
    return alignment.right_align_gaps(blocks, query_Q, reference_W)


def tail_blocks(frame: AlignmentFrame) -> list[Block]:
    """The blocks after the last anchor."""
    query, reference, length = frame.anchors[-1]
    return _align_end(frame.query, frame.window, query + length, reference + length)


def head_blocks(frame: AlignmentFrame) -> list[Block]:
    """The blocks before the first anchor: a tail in the mirror."""
    query, reference, _ = frame.anchors[0]
    n, size = len(frame.query), len(frame.window)
    mirrored = _align_end(frame.query[::-1], frame.window[::-1], n - query, size - reference)
    return [(n - q - length, size - r - length, length) for q, r, length in reversed(mirrored)]


def block_indices(blocks: list[Block], column: int) -> Integers:
    """All indices of the blocks in the query (column 0) or the reference (1)."""
    indices = [np.arange(block[column], block[column] + block[2]) for block in blocks]
    return np.concatenate([np.empty(0, np.int64), *indices])


def gaps_between(frame: AlignmentFrame, blocks: list[Block]) -> Iterator[tuple[int, int, int, int]]:
    """Between blocks: index in the query, in the reference, letters inserted and letters deleted there."""
    n, size = len(frame.query), len(frame.window)
    bounded = [(0, 0, 0), *blocks, (n, size, 0)] if frame.is_full_circle else blocks
    for (q, r, length), (next_q, next_r, _) in pairwise(bounded):
        inserted, deleted = next_q - q - length, next_r - r - length
        if inserted or deleted:
            yield q + length, r + length, inserted, deleted


def _align_end(query_Q: Codes, reference_W: Codes, query: int, reference: int) -> list[Block]:
    """The blocks of a free end, from these indices on."""
    end_Q = query_Q[query : query + MAX_END_LENGTH]
    end_W = reference_W[reference : reference + len(end_Q) + END_MARGIN]
    return _shifted(alignment.align_free_end(end_Q, end_W), query, reference)


def _shifted(blocks: list[Block], query: int, reference: int) -> list[Block]:
    return [(q + query, r + reference, length) for q, r, length in blocks]


K = 16
MIN_SHARE = 0.1  # of the known letters in exact stretches of K: a fifth of them may differ
MAX_CLOSING_GAP = 64  # letters by which the ends of a complete circle may overlap or fall short
MAX_COPIES = 4  # of a reference are looked at


@dataclass(frozen=True, eq=False)
class MappedSequence:
    """A sequence in the coordinates of a reference of R letters.

    `letters` (R,) are ASCII codes of A C G T, and N where the query has no letter or none that is known.
    `strand` is "+" or "-"; `start` the reference position (from 0) of the query's first letter, read on the
    reference's strand. `aligned` counts the letters that are known; of them `compared` were compared with a
    known letter of the reference, and `differences` of these differ. `inserted` and `deleted` count letters
    between aligned ones, `insertions` (reference position before it, letters) lists the former. `clipped`
    counts the known letters at the ends that are unlike the reference; further copies of a circle are passed
    over. `in_place` tells that the query was in the reference's coordinates already: `compared_in_place`.
    `query_index` (R,) is the index in the query of the letter at each position, known or not, -1 where there is none.
    """

    letters: NDArray[np.uint8]
    strand: str
    start: int
    aligned: int
    compared: int
    differences: int
    query_index: Integers
    inserted: int = 0
    deleted: int = 0
    clipped: int = 0
    insertions: tuple[tuple[int, str], ...] = ()
    in_place: bool = False

    @property
    def identity(self) -> float:
        """The share of the compared letters that equal the reference, 0 if there is none."""
        return 1 - self.differences / self.compared if self.compared else 0.0


class Mapper:
    """Brings sequences to the coordinates of one reference."""

    def __init__(self, reference: Reference, k: int = K) -> None:
        self.reference = reference
        self._codes_R = codes_of(reference.letters)
        self._index = KmerIndex.of(self._codes_R, k, circular=reference.circular)
        self._period = len(reference) if reference.circular else None

    def __call__(self, sequence: str) -> MappedSequence | None:
        """The sequence in the reference's coordinates, None if it does not belong to the reference."""
        given_codes = codes_of(as_letters(sequence))
        in_place = compared_in_place(given_codes, self._codes_R)
        if in_place is not None and not has_clustered_differences(given_codes, self._codes_R):
            return _mapped_in_place(given_codes, in_place)
        codes_Q = given_codes[: MAX_COPIES * len(self.reference)]
        strand, codes_Q, chain = self._strand(codes_Q)
        if not len(chain):  # too many unknown letters for k-mers?
            return None if in_place is None else _mapped_in_place(given_codes, in_place)
        start = int(chain[0, 1] - chain[0, 0])
        numbers_Q = np.arange(len(codes_Q))
        frame = self._frame(codes_Q, numbers_Q if strand == "+" else numbers_Q[::-1], chain)
        blocks = aligned_blocks(frame)
        return self._mapped(frame, blocks, strand, start, _known(codes_Q))

    def _strand(self, codes_Q: Codes) -> tuple[str, Codes, Integers]:
        """The strand with the better chain, the query on it, and the chain (empty if neither is good)."""
        known = _known(codes_Q)
        chain = self._chain(codes_Q)
        if 2 * chain[:, 2].sum() >= known:
            return "+", codes_Q, chain
        other_Q = reverse_complement_codes(codes_Q)
        other = self._chain(other_Q)
        strand, codes_Q, chain = max(
            ("+", codes_Q, chain),
            ("-", other_Q, other),
            key=lambda entry: int(entry[2][:, 2].sum()),
        )
        enough = chain[:, 2].sum() >= max(MIN_LETTERS, MIN_SHARE * known)
        return strand, codes_Q, chain if enough else chain[:0]

    def _chain(self, codes_Q: Codes) -> Integers:
        return best_chain(self._segments(*self._index.hits(codes_Q)), self._period)

    def _segments(self, query_H: Integers, reference_H: Integers) -> Integers:
        return segments_of(query_H, reference_H, self._index.k, self._period)

    def _frame(self, codes_Q: Codes, letters_Q: Integers, chain: Integers) -> AlignmentFrame:
        """The frame to align in, by how much of the circle the query covers."""
        size = len(self.reference)
        if self._period is None:
            return AlignmentFrame(codes_Q, letters_Q, self._codes_R, 0, chain, is_full_circle=False)
        begin, missing = self._circle_bounds(codes_Q, chain)
        if missing < -MAX_CLOSING_GAP:  # further copies, or ends that are something else
            similar = self._similar(codes_Q, chain)
            codes_Q, letters_Q = codes_Q[similar], letters_Q[similar]
            chain = self._chain(codes_Q)
            begin, missing = self._circle_bounds(codes_Q, chain)
        if missing < -MAX_CLOSING_GAP:
            end = _query_index(chain, begin + size)
            rotated = self._rotated(codes_Q[:end], letters_Q[:end])
            return replace(rotated, extra_copy_letters=_known(codes_Q[end:]))
        if missing <= MAX_CLOSING_GAP:
            return self._rotated(codes_Q, letters_Q)
        origin = begin - missing // 2
        shifted = chain - np.array([0, origin, 0])
        window_R = np.roll(self._codes_R, -origin)
        return AlignmentFrame(codes_Q, letters_Q, window_R, origin, shifted, is_full_circle=False)

    def _circle_bounds(self, codes_Q: Codes, chain: Integers) -> tuple[int, int]:
        """The reference position of the first letter, and how many letters the circle lacks after the last."""
        begin = int(chain[0, 1] - chain[0, 0])
        end = int(chain[-1, 1] - chain[-1, 0]) + len(codes_Q)
        return begin, begin + len(self.reference) - end

    def _similar(self, codes_Q: Codes, chain: Integers) -> slice:
        """The query without what is unlike the reference at its ends."""
        origin = int(chain[0, 1]) - MAX_END_LENGTH - END_MARGIN
        stop = int(chain[-1, 1] + chain[-1, 2]) + MAX_END_LENGTH + END_MARGIN
        window = self._codes_R[np.arange(origin, stop) % len(self.reference)]
        shifted = chain - np.array([0, origin, 0])
        frame = AlignmentFrame(
            codes_Q, np.arange(len(codes_Q)), window, origin, shifted, is_full_circle=False
        )
        head, tail = head_blocks(frame), tail_blocks(frame)
        first = head[0][0] if head else int(chain[0, 0])
        last = tail[-1] if tail else frame.anchors[-1]
        return slice(first, last[0] + last[2])

    def _rotated(self, codes_Q: Codes, letters_Q: Integers) -> AlignmentFrame:
        """A complete circle from the first anchor of the reference on, wherever its record was cut."""
        n, size, k = len(codes_Q), len(self.reference), self._index.k
        query_H, reference_H = self._index.hits(np.append(codes_Q, codes_Q[: k - 1]))
        first_q, first_r = _lowest(best_chain(self._segments(query_H, reference_H), size), size)
        query_H, reference_H = (query_H - first_q) % n, (reference_H - first_r) % size
        inside = np.flatnonzero((query_H <= n - k) & (reference_H <= size - k))
        order = inside[np.argsort(query_H[inside])]
        segments = segments_of(query_H[order], reference_H[order], k, None)
        query_Q, reference_W = np.roll(codes_Q, -first_q), np.roll(self._codes_R, -first_r)
        letters_Q, chain = np.roll(letters_Q, -first_q), best_chain(segments, None)
        return AlignmentFrame(query_Q, letters_Q, reference_W, first_r, chain, is_full_circle=True)

    def _mapped(
        self, frame: AlignmentFrame, blocks: list[Block], strand: str, start: int, known: int
    ) -> MappedSequence:
        size = len(self.reference)
        query, window = (block_indices(blocks, column) for column in (0, 1))
        codes_R = np.full(size, UNKNOWN_CODE, np.uint8)
        letter_R = np.full(size, -1, np.int64)
        position = (window + frame.origin) % size
        codes_R[position], letter_R[position] = frame.query[query], frame.source_indices[query]
        gaps = list(gaps_between(frame, blocks))
        insertions = tuple(
            ((frame.origin + r - 1) % size, _text(frame.query[q : q + inserted]))
            for q, r, inserted, _ in gaps
            if inserted
        )
        compared = (codes_R != UNKNOWN_CODE) & (self._codes_R != UNKNOWN_CODE)
        differences = int((compared & (codes_R != self._codes_R)).sum())
        aligned_letters = _known(frame.query[query])
        inserted_letters = sum(len(letters) - letters.count("N") for _, letters in insertions)
        return MappedSequence(
            CODE_LETTERS[codes_R],
            strand,
            start % size if self._period else start,
            _known(codes_R),
            int(compared.sum()),
            differences,
            letter_R,
            sum(inserted for _, _, inserted, _ in gaps),
            sum(deleted for *_, deleted in gaps),
            known - frame.extra_copy_letters - aligned_letters - inserted_letters,
            insertions,
        )


class RecordMapper:
    """Records in the coordinates of a reference, `coordinates`."""

    def __init__(self, reference: Reference) -> None:
        self.coordinates = reference
        self._mapper = Mapper(reference)

    def mapped(self, record: SequenceRecord) -> SequenceRecord | None:
        """The record with one letter for each position of the reference; None for one that does not belong to it."""
        mapped_sequence = self._mapper(record.held)
        if mapped_sequence is None:
            return None
        return replace(record, sequence=as_text(mapped_sequence.letters))


def _known(codes: Codes) -> int:
    return int(np.count_nonzero(codes != UNKNOWN_CODE))


def _mapped_in_place(codes_R: Codes, compared: tuple[int, int]) -> MappedSequence:
    letter_R = np.arange(len(codes_R))
    return MappedSequence(
        CODE_LETTERS[codes_R], "+", 0, _known(codes_R), *compared, letter_R, in_place=True
    )


def _query_index(chain: Integers, position: int) -> int:
    """The index in the query of a reference position."""
    after = int(np.searchsorted(chain[:, 1], position, side="right"))
    after = max(after, 1)
    index = int(chain[after - 1, 0] - chain[after - 1, 1]) + position
    return min(index, int(chain[after, 0])) if after < len(chain) else index


def _lowest(chain: Integers, size: int) -> tuple[int, int]:
    """The mapped letter with the lowest reference position: its index in the query, and that position."""
    if not len(chain):
        return 0, 0
    position = chain[:, 1] % size
    letters_to_origin = np.where(position + chain[:, 2] > size, size - position, 0)
    lowest = np.where(letters_to_origin > 0, 0, position)
    first = int(lowest.argmin())
    return int(chain[first, 0] + letters_to_origin[first]), int(lowest[first])


def _text(codes_Q: Codes) -> str:
    return as_text(CODE_LETTERS[codes_Q])
