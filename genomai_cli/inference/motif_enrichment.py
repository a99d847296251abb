"""Whether motifs are enriched: more sequences have one than shuffled sequences with the same pairs of neighbours.

A motif is there if its log odds reach a threshold, set on the sequences that the motif was found in. The test is on
others: of the pairs of a sequence and its shuffled copy of which just one has the motif, how many are the sequence
(an exact sign test; McNemar 1947, Psychometrika 12:153). Shuffles: Altschul & Erickson 1985, Mol Biol Evol 2:526.
E is the p-value times the number of motifs that were tested, of which only those below a limit are reported.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import special

from genomai_cli.alphabet import UNKNOWN_CODE, Codes
from genomai_cli.inference.motifs import (
    Array,
    AttributedSequence,
    Motif,
    background_of,
    find_motifs,
)

MAX_E_VALUE = 0.05
NUM_THRESHOLDS = 40  # that are tried


@dataclass(frozen=True, eq=False)
class EnrichedMotif:
    """A motif with its test: of so many sequences `matched` have it, and of their shuffled copies
    `matched_shuffled`."""

    motif: Motif
    tested: int
    matched: int
    matched_shuffled: int
    e_value: float


@dataclass(frozen=True, eq=False)
class EnrichmentResult:
    """The motifs with E below the limit, the smallest first; and how many were tested."""

    enriched: list[EnrichedMotif]
    tested: int


def enriched_motifs(sequences: Sequence[AttributedSequence], seed: int = 0) -> EnrichmentResult:
    """The motifs that are found in every other sequence and enriched in those between."""
    rng = np.random.default_rng(seed)
    discovery, held_out = sequences[::2], sequences[1::2]
    motifs, background = find_motifs(discovery, rng), background_of(discovery)
    shuffled_sets = [ShuffledPairs.of(half, rng) for half in (discovery, held_out)]
    tested_motifs = []
    for motif in motifs:
        odds_M5 = motif.log_odds(background)
        threshold = shuffled_sets[0].best_threshold(odds_M5)
        matched, by_chance, p_value = shuffled_sets[1].sign_test(odds_M5, threshold)
        e_value = min(1.0, p_value) * len(motifs)
        tested_motifs.append(EnrichedMotif(motif, len(held_out), matched, by_chance, e_value))
    significant = [entry for entry in tested_motifs if entry.e_value <= MAX_E_VALUE]
    return EnrichmentResult(sorted(significant, key=lambda entry: entry.e_value), len(motifs))


@dataclass(frozen=True, eq=False)
class ShuffledPairs:
    """Sequences, and a shuffled copy of each."""

    real: list[Codes]
    shuffled: list[Codes]

    @classmethod
    def of(
        cls, sequences: Sequence[AttributedSequence], rng: np.random.Generator
    ) -> "ShuffledPairs":
        """The sequences, each with its shuffled copy."""
        real = [sequence.codes for sequence in sequences]
        return cls(real, [dinucleotide_shuffle(codes, rng) for codes in real])

    def scores(self, odds_M5: Array) -> tuple[Array, Array]:
        """The best log odds in each sequence, and in its copy."""
        real_scores, shuffled_scores = (
            [best_match(codes, odds_M5) for codes in sequences]
            for sequences in (self.real, self.shuffled)
        )
        return np.array(real_scores), np.array(shuffled_scores)

    def best_threshold(self, odds_M5: Array) -> float:
        """The log odds from which a motif counts as there with the smallest p-value."""
        real, copies = self.scores(odds_M5)
        thresholds = np.unique(
            np.quantile(np.concatenate([real, copies]), np.linspace(0, 1, NUM_THRESHOLDS))
        )
        return float(
            min(
                thresholds.tolist(),
                key=lambda threshold: _sign_test(real >= threshold, copies >= threshold)[2],
            )
        )

    def sign_test(self, odds_M5: Array, threshold: float) -> tuple[int, int, float]:
        """How many sequences, and how many copies, reach the threshold, and the p-value of their difference."""
        real, copies = self.scores(odds_M5)
        return _sign_test(real >= threshold, copies >= threshold)


def _sign_test(real: NDArray[np.bool_], copies: NDArray[np.bool_]) -> tuple[int, int, float]:
    wins, losses = int((real & ~copies).sum()), int((copies & ~real).sum())
    return int(real.sum()), int(copies.sum()), binomial_tail(wins, wins + losses)


def binomial_tail(wins: int, tosses: int) -> float:
    """The probability of so many heads or more among tosses of a fair coin."""
    return float(special.bdtrc(wins - 1, tosses, 0.5))


def best_match(codes: Codes, odds_M5: Array) -> float:
    """The highest log odds of a motif at any position on either strand; minus infinity where it does not fit in."""
    width = len(odds_M5)
    if len(codes) < width:
        return -math.inf
    windows = sliding_window_view(codes, width)
    turned_M5 = np.concatenate([odds_M5[::-1, UNKNOWN_CODE - 1 :: -1], odds_M5[::-1, -1:]], axis=1)
    column = np.arange(width)
    return float(max(table[column, windows].sum(1).max() for table in (odds_M5, turned_M5)))


def dinucleotide_shuffle(codes: Codes, rng: np.random.Generator) -> Codes:
    """The codes in a random order, in which every pair of neighbours is as frequent as before: all orders are equally
    likely."""
    if len(codes) < 3:
        return codes.copy()
    present = np.unique(codes).tolist()
    followers = {code: codes[1:][codes[:-1] == code] for code in present}
    last_exits = _last_exits(followers, int(codes[-1]), rng)
    order = {}
    for code, following in followers.items():
        if code in last_exits:
            other_followers = np.delete(following, last_exits[code])
            order[code] = [
                *rng.permutation(other_followers).tolist(),
                int(following[last_exits[code]]),
            ]
        else:
            order[code] = rng.permutation(following).tolist()
    walks = {code: iter(path) for code, path in order.items()}
    shuffled = [int(codes[0])]
    for _ in range(len(codes) - 1):
        shuffled.append(next(walks[shuffled[-1]]))
    return np.array(shuffled, codes.dtype)


def _last_exits(followers: dict[int, Codes], end: int, rng: np.random.Generator) -> dict[int, int]:
    """By which of its followers each code is left for the last time: drawn until all ways lead to the end."""
    while True:
        exits = {c: int(rng.integers(len(f))) for c, f in followers.items() if c != end}
        if all(_leads_to(end, code, followers, exits) for code in exits):
            return exits


def _leads_to(end: int, code: int, followers: dict[int, Codes], exits: dict[int, int]) -> bool:
    for _ in range(len(followers)):
        if code == end:
            return True
        code = int(followers[code][exits[code]])
    return code == end
