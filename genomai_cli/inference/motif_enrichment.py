"""Whether motifs are enriched: more sequences have one than shuffled sequences with the same pairs of neighbours.

A motif is there if its log odds reach a bar, which is set on the sequences that the motif was found in. The test is on
others: of the pairs of a sequence and its shuffled copy of which just one has the motif, how many are the sequence
(an exact sign test; McNemar 1947, Psychometrika 12:153). Shuffles: Altschul & Erickson 1985, Mol Biol Evol 2:526.
E is the p-value times the number of motifs that were tested, of which only those below a limit are told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import special

from genomai_cli.alphabet import UNKNOWN_CODE, Codes
from genomai_cli.inference.motifs import Array, Motif, Track, background_of, find

LARGEST_E = 0.05
BARS = 40  # that are tried


@dataclass(frozen=True, eq=False)
class Enriched:
    """A motif with its test: of so many sequences `matched` have it, and of their shuffled copies `by_chance`."""

    motif: Motif
    tested: int
    matched: int
    by_chance: int
    e_value: float


@dataclass(frozen=True, eq=False)
class Search:
    """The motifs with E below the limit, the smallest first; and how many were tested."""

    enriched: list[Enriched]
    tested: int


def enriched_motifs(tracks: Sequence[Track], seed: int = 0) -> Search:
    """The motifs that are found in every other sequence and enriched in those between."""
    rng = np.random.default_rng(seed)
    learnt, aside = tracks[::2], tracks[1::2]
    motifs, background = find(learnt, rng), background_of(learnt)
    halves = [Compared.of(half, rng) for half in (learnt, aside)]
    found = []
    for motif in motifs:
        odds_M5 = motif.log_odds(background)
        bar = halves[0].best_bar(odds_M5)
        matched, by_chance, p_value = halves[1].counted(odds_M5, bar)
        e_value = min(1.0, p_value) * len(motifs)
        found.append(Enriched(motif, len(aside), matched, by_chance, e_value))
    kept = [entry for entry in found if entry.e_value <= LARGEST_E]
    return Search(sorted(kept, key=lambda entry: entry.e_value), len(motifs))


@dataclass(frozen=True, eq=False)
class Compared:
    """Sequences, and a shuffled copy of each."""

    real: list[Codes]
    shuffled: list[Codes]

    @classmethod
    def of(cls, tracks: Sequence[Track], rng: np.random.Generator) -> "Compared":
        """The sequences of the tracks."""
        real = [track.codes for track in tracks]
        return cls(real, [shuffled_pairs(codes, rng) for codes in real])

    def scores(self, odds_M5: Array) -> tuple[Array, Array]:
        """The best log odds in each sequence, and in its copy."""
        one, other = ([best_match(c, odds_M5) for c in some] for some in (self.real, self.shuffled))
        return np.array(one), np.array(other)

    def best_bar(self, odds_M5: Array) -> float:
        """The log odds from which a motif counts as there with the smallest p-value."""
        real, copies = self.scores(odds_M5)
        bars = np.unique(np.quantile(np.concatenate([real, copies]), np.linspace(0, 1, BARS)))
        return float(min(bars.tolist(), key=lambda bar: _counted(real >= bar, copies >= bar)[2]))

    def counted(self, odds_M5: Array, bar: float) -> tuple[int, int, float]:
        """How many sequences, and how many copies, reach the bar, and the p-value of their difference."""
        real, copies = self.scores(odds_M5)
        return _counted(real >= bar, copies >= bar)


def _counted(real: NDArray[np.bool_], copies: NDArray[np.bool_]) -> tuple[int, int, float]:
    wins, losses = int((real & ~copies).sum()), int((copies & ~real).sum())
    return int(real.sum()), int(copies.sum()), at_least(wins, wins + losses)


def at_least(wins: int, tosses: int) -> float:
    """The probability of so many heads or more among tosses of a fair coin."""
    return float(special.bdtrc(wins - 1, tosses, 0.5))


def best_match(codes: Codes, odds_M5: Array) -> float:
    """The highest log odds of a motif at any place on either strand; minus infinity where it does not fit in."""
    width = len(odds_M5)
    if len(codes) < width:
        return -math.inf
    windows = sliding_window_view(codes, width)
    turned_M5 = np.concatenate([odds_M5[::-1, UNKNOWN_CODE - 1 :: -1], odds_M5[::-1, -1:]], axis=1)
    column = np.arange(width)
    return float(max(table[column, windows].sum(1).max() for table in (odds_M5, turned_M5)))


def shuffled_pairs(codes: Codes, rng: np.random.Generator) -> Codes:
    """The codes in a random order, in which every pair of neighbours is as frequent as before: all orders are equally
    likely."""
    if len(codes) < 3:
        return codes.copy()
    present = np.unique(codes).tolist()
    followers = {code: codes[1:][codes[:-1] == code] for code in present}
    last = _last_exits(followers, int(codes[-1]), rng)
    order = {}
    for code, following in followers.items():
        if code in last:
            rest = np.delete(following, last[code])
            order[code] = [*rng.permutation(rest).tolist(), int(following[last[code]])]
        else:
            order[code] = rng.permutation(following).tolist()
    walks = {code: iter(path) for code, path in order.items()}
    found = [int(codes[0])]
    for _ in range(len(codes) - 1):
        found.append(next(walks[found[-1]]))
    return np.array(found, codes.dtype)


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
