"""Motifs of a set of explained sequences: what the stretches that drive the calls have in common.

1. Seqlets: windows whose attributions add up to more than in the same sequence with its attributions in random order,
   the highest first (those of TF-MoDISco, Shrikumar et al. 2018, arXiv:1811.00416, by a simpler null).
2. A seed: the k-mer, of both strands, that bears most attribution in the seqlets, a letter of it may differ.
3. From the seqlets aligned by it a matrix of letter counts, which is aligned with all seqlets again until nothing
   changes: expectation maximisation with hard assignments, at most one site a seqlet (MEME, Bailey & Elkan 1994).
4. The seqlets that it explains are set aside, and the search goes on in the others.

Motifs are found in one half of the sequences and tested in the other (`motif_enrichment`).

Shape suffixes: L letters of a sequence, S seqlets, W letters of a seqlet, O offsets, P candidate sites, M columns of a
motif, A bases.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES, IUPAC, UNKNOWN_CODE, Codes, as_letters, codes_of

CORE_LETTERS, FLANK_LETTERS = (
    9,
    15,
)  # letters of a stretch that must stand out, and on each side of them
MOTIF_COLUMNS = 20  # columns, before the ends are cut
NUM_PERMUTATIONS, NULL_QUANTILE = (
    50,
    0.95,
)  # random orders of attributions, and the share of their maxima to exceed
SEED_LETTERS, SEED_MARGIN = 6, 3  # letters of a seed, which may lie so far beyond the core
MAX_ROUNDS = 20
MIN_SEQLETS = 8  # stretches of a motif
MAX_MOTIFS = 10  # motifs
PSEUDOCOUNT = 2.0  # letters a column, by the background
MIN_BITS = 0.25  # of the columns at both ends
MIN_COLUMNS = 4  # columns
MAX_SIMILARITY = 0.8  # cosine from which two motifs are one

Array = NDArray[np.float64]
Counts = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AttributedSequence:
    """A sequence: its codes (L,), and the attribution (L,) of each letter, 0 where there is none."""

    codes: Codes
    attributions: Array

    @classmethod
    def of(cls, letters: str, attributions: Array) -> "AttributedSequence":
        """From letters and what each adds, NaN where it is no base."""
        return cls(codes_of(as_letters(letters)), np.nan_to_num(attributions))


@dataclass(frozen=True, eq=False)
class Motif:
    """Counts (M, 4) of the bases in the columns, from so many sites."""

    counts: Counts
    sites: int

    @property
    def frequencies(self) -> Array:
        """The share (M, 4) of each base in each column."""
        frequencies: Array = self.counts / self.counts.sum(1, keepdims=True)
        return frequencies

    @property
    def consensus(self) -> str:
        """An IUPAC letter a column, for the bases that are at least half as frequent as the most frequent one."""
        by_bases = {bases: letter for letter, bases in IUPAC.items()}
        is_frequent = self.frequencies >= self.frequencies.max(1, keepdims=True) / 2
        return "".join(by_bases["".join(np.array(list(BASES))[row])] for row in is_frequent)

    @property
    def other_strand(self) -> "Motif":
        """The same read on the other strand."""
        return Motif(self.counts[::-1, ::-1], self.sites)

    def log_odds(self, background: Array) -> Array:
        """Log of each base's share over the background's (M, 5), in nats; 0 for an unknown letter."""
        total = self.counts.sum(1, keepdims=True) + PSEUDOCOUNT
        shares = (self.counts + PSEUDOCOUNT * background) / total
        return np.pad(np.log(shares / background), ((0, 0), (0, 1)))


def background_of(sequences: Iterable[AttributedSequence]) -> Array:
    """The share (4,) of each base, the same as of its complement: motifs have no strand."""
    counts = np.ones(len(BASES))
    for sequence in sequences:
        counts += np.bincount(sequence.codes, minlength=UNKNOWN_CODE + 1)[:UNKNOWN_CODE]
    shares: Array = (counts + counts[::-1]) / (2 * counts.sum())
    return shares


def find_motifs(sequences: Sequence[AttributedSequence], rng: np.random.Generator) -> list[Motif]:
    """The motifs of the stretches that stand out, those with most attribution first; none where there are fewer than
    `MIN_SEQLETS` such stretches."""
    seqlets = Seqlets.of(sequences, rng)
    background, motifs = background_of(sequences), list[Motif]()
    for _ in range(2 * MAX_MOTIFS):
        if len(seqlets) < MIN_SEQLETS or len(motifs) == MAX_MOTIFS:
            break
        motif, explained_S = _motif(seqlets, background)
        if motif is not None and all(
            similarity(motif.frequencies, other.frequencies) < MAX_SIMILARITY for other in motifs
        ):
            motifs.append(motif)
        seqlets = seqlets.subset(~explained_S)
    return motifs


@dataclass(frozen=True, eq=False)
class Seqlets:
    """Codes and attributions (S, W) of cores that stand out and their flanks; unknown letters beyond the ends."""

    codes: Codes
    attributions: Array

    @classmethod
    def of(cls, sequences: Iterable[AttributedSequence], rng: np.random.Generator) -> "Seqlets":
        """The seqlets of all sequences."""
        wide = CORE_LETTERS + 2 * FLANK_LETTERS
        codes, values = [np.zeros((0, wide), np.uint8)], [np.zeros((0, wide))]
        for sequence in sequences:
            starts = seqlet_starts(sequence.attributions, rng)
            if starts:
                padded_L = np.pad(sequence.codes, FLANK_LETTERS, constant_values=UNKNOWN_CODE)
                codes.append(sliding_window_view(padded_L, wide)[starts])
                values.append(
                    sliding_window_view(np.pad(sequence.attributions, FLANK_LETTERS), wide)[starts]
                )
        return cls(np.concatenate(codes), np.concatenate(values))

    def __len__(self) -> int:
        return len(self.codes)

    def subset(self, rows: NDArray[np.bool_]) -> "Seqlets":
        """Those in the rows."""
        return Seqlets(self.codes[rows], self.attributions[rows])

    @property
    def both_strands(self) -> Codes:
        """The codes (S, 2, W) along either strand."""
        other = np.where(self.codes == UNKNOWN_CODE, self.codes, UNKNOWN_CODE - 1 - self.codes)
        return np.stack([self.codes, other[:, ::-1]], axis=1)


def seqlet_starts(values: Array, rng: np.random.Generator) -> list[int]:
    """Where windows of `CORE_LETTERS` letters begin whose sum exceeds nearly all maxima of permuted attributions, none
    overlapping another."""
    if len(values) < CORE_LETTERS:
        return []
    window = np.ones(CORE_LETTERS)
    best = [
        np.convolve(rng.permutation(values), window, "valid").max() for _ in range(NUM_PERMUTATIONS)
    ]
    threshold = max(0.0, float(np.quantile(best, NULL_QUANTILE)))
    sums, starts = np.convolve(values, window, "valid"), list[int]()
    while sums.max() > threshold:
        start = int(sums.argmax())
        starts.append(start)
        sums[max(0, start - CORE_LETTERS + 1) : start + CORE_LETTERS] = -np.inf
    return sorted(starts)


def _motif(seqlets: Seqlets, background: Array) -> tuple[Motif | None, NDArray[np.bool_]]:
    """The motif that begins with the best seed, and which stretches it explains; None if these are too few."""
    sites = _CandidateSites(seqlets)
    chosen = sites.matching_seed(sites.seed())
    for _ in range(MAX_ROUNDS):
        if np.count_nonzero(chosen >= 0) < MIN_SEQLETS:
            return None, chosen >= 0
        previous, chosen = chosen, sites.matching_motif(sites.motif(chosen), background)
        if np.array_equal(previous, chosen):
            break
    explained_S = chosen >= 0
    if np.count_nonzero(explained_S) < MIN_SEQLETS:
        return None, explained_S
    return _trimmed(sites.motif(chosen), background), explained_S


class _CandidateSites:
    """Where in seqlets a motif may lie: for each of S seqlets all P windows of `MOTIF_COLUMNS` letters (S, P, M) that
    hold the core's middle, on either strand."""

    def __init__(self, seqlets: Seqlets) -> None:
        self._codes = seqlets.both_strands
        windows = sliding_window_view(self._codes, MOTIF_COLUMNS, axis=2)
        self.letters = windows.reshape(len(seqlets), -1, MOTIF_COLUMNS)
        self._offsets = windows.shape[2]
        values = np.stack([seqlets.attributions, seqlets.attributions[:, ::-1]], axis=1)
        self._values = sliding_window_view(values, SEED_LETTERS, axis=2).sum(3)
        kmers = sliding_window_view(self._codes, SEED_LETTERS, axis=2).astype(np.int64)
        known = (kmers < UNKNOWN_CODE).all(3)
        numbers = kmers @ (len(BASES) ** np.arange(SEED_LETTERS)[::-1])
        near_core = np.zeros(numbers.shape[2], np.bool_)  # the core, and some letters beside it
        near_core[
            FLANK_LETTERS - SEED_MARGIN : FLANK_LETTERS
            + CORE_LETTERS
            + SEED_MARGIN
            - SEED_LETTERS
            + 1
        ] = True
        self._numbers = np.where(known & near_core, numbers, -1)

    def seed(self) -> int:
        """The number of the k-mer that bears most attribution, each stretch counted once, with the k-mers that differ
        from it in one letter."""
        size = len(BASES) ** SEED_LETTERS
        attribution = np.zeros(size)
        for number_2O, value_2O in zip(self._numbers, self._values, strict=True):
            best = np.zeros(size)
            known = number_2O >= 0
            np.maximum.at(best, number_2O[known], value_2O[known])
            attribution += best
        grid = attribution.reshape((len(BASES),) * SEED_LETTERS)
        near = sum(grid.sum(axis, keepdims=True) - grid for axis in range(SEED_LETTERS))
        return int((grid + near / SEED_LETTERS).argmax())

    def matching_seed(self, seed: int) -> NDArray[np.int64]:
        """For each seqlet the site (S,) whose middle is most like the seed, the one with most attribution among such;
        -1 where more than one letter differs."""
        powers = len(BASES) ** np.arange(SEED_LETTERS)[::-1]
        digits = self._numbers[..., None] // powers % len(BASES)
        mismatches = (digits != seed // powers % len(BASES)).sum(3)
        rank = np.where(
            (self._numbers >= 0) & (mismatches <= 1), -mismatches.astype(float), -np.inf
        )
        rank += 1e-3 * np.tanh(self._values)
        offset = (MOTIF_COLUMNS - SEED_LETTERS) // 2
        rank = rank[:, :, offset : offset + self._offsets].reshape(len(rank), -1)
        return np.where(rank.max(1) > -np.inf, rank.argmax(1), -1)

    def motif(self, chosen: NDArray[np.int64]) -> Motif:
        """The counts of the letters at the chosen sites."""
        rows = np.flatnonzero(chosen >= 0)
        letters = self.letters[rows, chosen[rows]]
        counts = [np.bincount(column, minlength=5)[:UNKNOWN_CODE] for column in letters.T]
        return Motif(np.array(counts, np.float64), len(rows))

    def matching_motif(self, motif: Motif, background: Array) -> NDArray[np.int64]:
        """For each seqlet the site (S,) that is most like the motif; -1 where background explains it better, every
        site being as likely."""
        odds_M5 = motif.log_odds(background)
        scores = odds_M5[np.arange(MOTIF_COLUMNS), self.letters].sum(2)
        return np.where(scores.max(1) > np.log(scores.shape[1]), scores.argmax(1), -1)


def _trimmed(motif: Motif, background: Array) -> Motif | None:
    """The motif without columns at the ends that say little; None if hardly anything is left."""
    informative = np.flatnonzero(bits(motif, background) >= MIN_BITS)
    if not len(informative) or informative[-1] - informative[0] + 1 < MIN_COLUMNS:
        return None
    return Motif(motif.counts[informative[0] : informative[-1] + 1], motif.sites)


def bits(motif: Motif, background: Array) -> Array:
    """The information (M,) of each column against the background, in bits."""
    shares = motif.counts + PSEUDOCOUNT * background
    shares /= shares.sum(1, keepdims=True)
    information: Array = (shares * np.log2(shares / background)).sum(1)
    return information


def similarity(first_shares: Array, second_shares: Array) -> float:
    """How alike two motifs of base shares (M, 4) are at their best offset and strand: the cosine of their matrices less
    1/4, where columns without a partner count as none; 1 for the same, 0 for unrelated ones."""
    first, second = first_shares - 1 / len(BASES), second_shares - 1 / len(BASES)
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    best = max(_best_sum(first, second), _best_sum(first, second[::-1, ::-1]))
    return best / norm if norm else 0.0


def _best_sum(one: Array, other: Array) -> float:
    products = one @ other.T
    return max(
        float(np.trace(products, offset)) for offset in range(1 - len(one), products.shape[1])
    )
