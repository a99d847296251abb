"""Which sequences are near-duplicates of one another: clusters that no split may cut, and leaks between two sets.

Two sequences are near-duplicates if they share a quarter of the 13-mers of that which has fewer, on either strand. So
much do sequences share that are 90 % identical from end to end (0.9^13 = 0.25, the relation of Mash, Ondov et al. 2016,
Genome Biol. 17:132; of the shorter one, as CD-HIT-EST counts words, Fu et al. 2012, Bioinformatics 28:3150), or that
overlap by a third without a difference, as windows of one locus do. Of copies of 100 letters of which 5 % are
substituted all are found, of 8 % three quarters, of 10 % half. Of very many k-mers a share is kept, chosen by a hash
(FracMinHash, Irber et al. 2022).

K-mers in a twentieth of all sequences are passed over: primers and adapters make nothing alike. Of a k-mer in more than
`NEIGHBOURS` sequences only those next to one another are compared, in the alphabetical order of the sequences, which is
the same for every k-mer: copies of one sequence are found however many they are, but the members of a family of
repeats not all. A k-mer counts once a sequence, and half of what a sequence could have is the least it is taken to
have, so that repeats of a few letters make nothing alike. Sequences of fewer letters than 20 are so only if equal.

Shape suffixes: N sequences, K k-mers, P pairs.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from genomai_cli.alphabet import (
    BASES,
    Letters,
    as_text,
    codes_of,
    complement,
    reverse_complement_codes,
)
from genomai_cli.errors import BundleError
from genomai_cli.mapping.seeding import kmer_keys

K = 13
MIN_SHARED = 0.25  # of the k-mers of the sequence that has fewer
MIN_SHARED_KMERS = 8  # k-mers, of those before a share was chosen: 20 equal letters
NEIGHBOURS = 8
MAX_KMERS = 1 << 23  # of all sequences: then a share of them is kept; about 0.7 GB at most
COMMON_KMERS = (
    50,
    0.05,
)  # a k-mer in so many sequences, and in this share of them, is uninformative
STORED_KMERS = (0.25, 1 << 20)  # the share of k-mers in a bundle, and how many there are at most
_LETTERS_AT_ONCE = 1 << 22
_KEYS = 1 << 2 * K
_MULTIPLIER = 0x9E3779B1  # odd, so that different k-mers stay different modulo a power of two
_SEPARATOR = b"|"  # no base: no k-mer runs over it

Integers = NDArray[np.int64]
Sequences = Sequence[str] | Sequence[Letters]


@dataclass(frozen=True, eq=False)
class KmerTable:
    """The hashes (K,) of k-mers of sequences in ascending order, the sequence of each (K,), and of how many k-mers each
    sequence (N,) is taken to be made; `share` is that of all k-mers which was kept."""

    hashes: Integers
    rows: Integers
    sizes: NDArray[np.float64]
    share: float

    @classmethod
    def of(
        cls, sequences: Sequences, *, both_strands: bool = True, share: float | None = None
    ) -> Self:
        """The table of the sequences, of both strands as of one; without `share` one that bounds the memory."""
        texts = [_text(sequence) for sequence in sequences]
        letters = sum(map(len, texts))
        share = min(1.0, MAX_KMERS / max(1, letters)) if share is None else share
        blocks = [_packed_kmers(*block, share, both_strands) for block in _blocks(texts)]
        packed, row_of_all = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        packed.sort()
        packed = packed[_group_starts(packed)]
        rows = packed & 0xFFFFFFFF
        sizes = np.maximum(
            np.bincount(rows, minlength=len(texts)),
            np.bincount(row_of_all, minlength=len(texts)) / 2,
        )
        return cls(packed >> 32, rows, sizes, share)

    @classmethod
    def to_store(cls, sequences: Sequences) -> Self:
        """The table of a share of the k-mers that is small enough for a bundle: at most 4 MB and 8 bytes a sequence.
        Copies, whose k-mers would seem common, are left out."""
        share, max_kmers = STORED_KMERS
        distinct = [_text(sequences[row]) for row in _first_rows(sequences).values()]
        letters = sum(map(len, distinct))
        return cls.of(distinct, share=min(share, max_kmers / max(1, letters)))

    def to_bytes(self) -> bytes:
        """The table as safetensors: the hashes of one sequence after another."""
        order = np.lexsort((self.hashes, self.rows))
        tensors = {
            "hashes": self.hashes[order].astype(np.int32),
            "counts": np.bincount(self.rows, minlength=len(self.sizes)).astype(np.int32),
            "sizes": self.sizes.astype(np.float32),
        }
        # One entry: several are written in any order.
        return bytes(save(tensors, metadata={"table": json.dumps([K, self.share])}))

    @classmethod
    def from_file(cls, file: Path) -> Self:
        """The table that a file holds; BundleError for another file."""
        try:
            with safe_open(file, "numpy") as stored:
                hashes, counts, sizes = map(stored.get_tensor, ("hashes", "counts", "sizes"))
                k, share = json.loads(stored.metadata()["table"])
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise BundleError(f"{file}: no table of k-mers ({error})") from None
        if k != K or counts.sum() != len(hashes) or len(counts) != len(sizes):
            raise BundleError(f"{file}: no table of {K}-mers")
        order = np.argsort(hashes, kind="stable")
        rows = np.repeat(np.arange(len(counts)), counts)[order]
        return cls(hashes[order].astype(np.int64), rows, sizes.astype(np.float64), share)

    def common(self) -> Integers:
        """The hashes of k-mers that are in so many of the sequences that they are uninformative."""
        starts = _group_starts(self.hashes)
        counts = np.diff(np.append(starts, len(self.hashes)))
        min_count, fraction = COMMON_KMERS
        return self.hashes[starts[counts > max(min_count, fraction * len(self.sizes))]]

    def without(self, hashes: Integers) -> "KmerTable":
        """The table without k-mers of these hashes."""
        retained = np.isin(self.hashes, hashes, invert=True)
        removed = np.bincount(self.rows[~retained], minlength=len(self.sizes))
        return KmerTable(
            self.hashes[retained], self.rows[retained], self.sizes - removed, self.share
        )

    def are_near_duplicates(
        self, shared_P: Integers, sizes_P: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Which pairs (P,) are near-duplicates: by the k-mers they share, and the size of the smaller one."""
        min_shared = max(2.0, MIN_SHARED_KMERS * self.share)
        is_duplicate: NDArray[np.bool_] = shared_P >= np.maximum(min_shared, MIN_SHARED * sizes_P)
        return is_duplicate


def clusters(sequences: Sequences, both_strands: bool = True) -> Integers:
    """The number (N,) of the cluster of each sequence: near-duplicates, and what they join, are in one.

    Clusters are numbered as they appear. Their members do not depend on the order of the sequences. 100,000 sequences
    of 200 letters take 5 s of one core and 0.5 GB.
    """
    distinct, distinct_index = _distinct(sequences, both_strands)
    table = KmerTable.of(distinct, both_strands=both_strands)
    table = table.without(table.common())
    first_P, second_P = _similar(table)
    return _renumbered(_components(len(distinct), first_P, second_P)[distinct_index])


def joined(one_N: Integers, other_N: Integers) -> Integers:
    """Classes (N,), numbered as they appear, that keep together the members of a class of either division."""
    first = [
        first_rows[group.reshape(-1)]
        for _, first_rows, group in (
            np.unique(part, return_index=True, return_inverse=True) for part in (one_N, other_N)
        )
    ]
    rows = np.arange(len(one_N))
    return _renumbered(_components(len(rows), np.tile(rows, 2), np.concatenate(first)))


def near_duplicates(clusters_N: Integers) -> int:
    """How many sequences share their cluster with another one."""
    sizes = np.bincount(clusters_N)
    return int(sizes[sizes > 1].sum())


def shared_between(train: "Sequences | KmerTable", test: Sequences) -> Integers:
    """The near-duplicates (P, 2) between two sets: for each row of `test` that has some in `train`, the row of `train`
    that shares most and the row itself. In place of `train` its table can be given, of both strands."""
    if isinstance(train, KmerTable):
        return _best_pairs(*_similar_between(train, test))
    row_of = _first_rows(train)
    distinct_P, test_P, shared_P = _similar_between(KmerTable.of(list(row_of)), test)
    # Copies may be shorter than what k-mers are counted of.
    copies = [
        (row_of[text], row)
        for row, text in enumerate(map(_canonical, test))
        if text in row_of and not set(BASES).isdisjoint(text)
    ]
    copied_P, row_P = np.array(copies, np.int64).reshape(-1, 2).T
    return _best_pairs(
        np.append(np.fromiter(row_of.values(), np.int64)[distinct_P], copied_P),
        np.append(test_P, row_P),
        np.append(shared_P, np.full(len(copies), np.iinfo(np.int64).max)),
    )


def _similar_between(train: KmerTable, test: Sequences) -> tuple[Integers, Integers, Integers]:
    """The pairs of near-duplicates between two sets: the rows (P,) of `train` and of `test`, and how many k-mers they
    share, those aside that are common in `train`."""
    common = train.common()
    reference = train.without(common)
    queries = KmerTable.of(test, share=reference.share).without(common)
    shared_P, train_P, test_P = _counted(_shared_kmers(reference, queries))
    is_duplicate = reference.are_near_duplicates(
        shared_P, np.minimum(reference.sizes[train_P], queries.sizes[test_P])
    )
    return train_P[is_duplicate], test_P[is_duplicate], shared_P[is_duplicate]


def _best_pairs(train_P: Integers, test_P: Integers, shared_P: Integers) -> Integers:
    """For each row of the test that is in a pair, the pair that shares most."""
    best = np.lexsort((train_P, -shared_P, test_P))
    best = best[_group_starts(test_P[best])]
    return np.stack([train_P[best], test_P[best]], axis=1)


def _text(sequence: str | Letters) -> str:
    text = sequence if isinstance(sequence, str) else as_text(sequence)
    return text.upper().replace("U", "T")


def _canonical(sequence: str | Letters) -> str:
    """The sequence or its reverse complement, whichever comes first in alphabetical order."""
    text = _text(sequence)
    return min(text, complement(text)[::-1])


def _distinct(sequences: Sequences, both_strands: bool) -> tuple[list[str], Integers]:
    """The different sequences in alphabetical order, of both strands the first, and which of them each is (N,)."""
    texts = list(map(_canonical if both_strands else _text, sequences))
    distinct = sorted(set(texts))
    number_of = {text: number for number, text in enumerate(distinct)}
    return distinct, np.array([number_of[text] for text in texts], np.int64)


def _first_rows(sequences: Sequences) -> dict[str, int]:
    """The different sequences in canonical form, and the row of each: of copies on either strand the first."""
    row_of: dict[str, int] = {}
    for row, text in enumerate(map(_canonical, sequences)):
        row_of.setdefault(text, row)
    return row_of


def _blocks(texts: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The texts in blocks, with the number of the first of each; an empty block if there are none."""
    begin, letters = 0, 0
    for at, text in enumerate(texts):
        letters += len(text)
        if letters > _LETTERS_AT_ONCE:
            yield begin, texts[begin : at + 1]
            begin, letters = at + 1, 0
    yield begin, texts[begin:]


def _packed_kmers(
    first: int, texts: list[str], share: float, both_strands: bool
) -> tuple[Integers, Integers]:
    """The k-mers that are kept, hash and number of the sequence in one integer, and those numbers."""
    all_texts = _SEPARATOR.join([*(text.encode("ascii", "replace") for text in texts), b""])
    codes = codes_of(np.frombuffer(all_texts, np.uint8))
    keys, starts = kmer_keys(codes, K)
    if both_strands:
        keys = np.minimum(keys, kmer_keys(reverse_complement_codes(codes), K)[0][::-1])
    hashes = (keys * _MULTIPLIER) & (_KEYS - 1)
    retained = hashes < share * _KEYS
    ends = np.cumsum([len(text) + 1 for text in texts])
    rows = first + np.searchsorted(ends, starts[retained], side="right")
    return hashes[retained] << 32 | rows, rows


def _group_starts(ordered: Integers) -> Integers:
    """The indices at which a new value begins."""
    if not len(ordered):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _similar(table: KmerTable) -> tuple[Integers, Integers]:
    """The near-duplicates within a table: pairs (P,) and (P,) of its sequences."""
    found = []
    for distance in range(1, NEIGHBOURS + 1):
        same = np.flatnonzero(table.hashes[distance:] == table.hashes[:-distance])
        found.append(table.rows[same] << 32 | table.rows[same + distance])
    shared_P, first_P, second_P = _counted(np.concatenate(found))
    is_duplicate = table.are_near_duplicates(
        shared_P, np.minimum(table.sizes[first_P], table.sizes[second_P])
    )
    return first_P[is_duplicate], second_P[is_duplicate]


def _shared_kmers(reference: KmerTable, queries: KmerTable) -> Integers:
    """The pairs of sequences of the two tables that share a k-mer, packed in one integer, once a shared k-mer."""
    begin = np.searchsorted(reference.hashes, queries.hashes, side="left")
    end = np.searchsorted(reference.hashes, queries.hashes, side="right")
    found = []
    for distance in range(NEIGHBOURS * 2):
        in_range = np.flatnonzero(begin + distance < end)
        found.append(reference.rows[begin[in_range] + distance] << 32 | queries.rows[in_range])
    return np.concatenate(found)


def _counted(pairs: Integers) -> tuple[Integers, Integers, Integers]:
    """How often each pair is there (P,), and its two sequences."""
    pairs.sort()
    starts = _group_starts(pairs)
    counts = np.diff(np.append(starts, len(pairs)))
    distinct = pairs[starts]
    return counts, distinct >> 32, distinct & 0xFFFFFFFF


def _components(count: int, first_P: Integers, second_P: Integers) -> Integers:
    """The least member of the component of each of so many nodes, given the edges."""
    labels = np.arange(count)
    while True:
        one, other = labels[first_P], labels[second_P]
        if (one == other).all():
            return labels
        np.minimum.at(labels, np.maximum(one, other), np.minimum(one, other))
        while (labels != labels[labels]).any():
            labels = labels[labels]


def _renumbered(labels: Integers) -> Integers:
    """The classes, numbered in the order in which each appears first."""
    _, first_index, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first_index))[inverse.reshape(-1)].astype(np.int64)
