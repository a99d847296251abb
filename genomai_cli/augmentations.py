"""Random changes that leave a sample what it is: for training, and for making new samples from old.

Everything here works on ASCII letters, takes its randomness as an argument, and leaves its input alone.
Sequences of different lengths are the rows of one array, filled up with `NOTHING` at the right.

Shape suffixes: B sequences, L letters, A letters that a position can hold.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import (
    BASE_LETTERS,
    COMPLEMENT,
    UNKNOWN_LETTER,
    Letters,
    reverse_complement,
)

NOTHING = 0  # fills up rows after a sequence's end


def hide(letters: Letters, shares: NDArray[np.float64], rng: np.random.Generator) -> Letters:
    """The barcodes (samples, sites) with about `shares` (samples,) of each one's sites missing."""
    masked = rng.random(letters.shape, dtype=np.float32) < shares[:, None]
    return np.where(masked, np.uint8(UNKNOWN_LETTER), letters)


def outside(
    positions: NDArray[np.float64], lengths: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """What lies outside a stretch of each sample's circle: (samples, sites).

    `positions` (sites,) and `lengths` (samples,) are parts of the circle, from 0 to 1; each stretch begins anywhere.
    """
    starts = rng.random(len(lengths))
    ahead = positions - starts[:, None]
    ahead += ahead < 0  # as % 1.0, in an eighth of its time
    found: NDArray[np.bool_] = ahead >= lengths[:, None]
    return found


@dataclass(frozen=True)
class Pool:
    """The haplotypes of groups of samples, to draw new members of a group from.

    `haplotypes` (2n, sites) lies sorted by group; a group's begin at `starts` and are `counts` many.
    """

    haplotypes: Letters
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, haplotypes: Letters, groups: NDArray[np.int64]) -> "Pool":
        """The pool of haplotypes (2, n, sites) of samples whose groups (n,) are numbered from 0."""
        order = np.argsort(groups, kind="stable")
        counts = 2 * np.bincount(groups)
        stacked = haplotypes[:, order].transpose(1, 0, 2).reshape(-1, haplotypes.shape[2])
        return cls(stacked, np.cumsum(counts) - counts, counts)

    def cross(self, groups: NDArray[np.int64], rng: np.random.Generator) -> Letters:
        """One new haplotype (len(groups), sites) a group asked for: each site from another member.

        It has the group's allele frequencies and none of the linkage between its sites.
        """
        sites = self.haplotypes.shape[1]
        draws = rng.random((len(groups), sites), dtype=np.float32)
        rows = (draws * self.counts[groups, None]).astype(np.int64) + self.starts[groups, None]
        crossed: Letters = self.haplotypes[rows, np.arange(sites)]
        return crossed


def lengths(letters_BL: Letters) -> NDArray[np.int64]:
    """How many letters each row (B,) has."""
    count_B: NDArray[np.int64] = np.count_nonzero(letters_BL != NOTHING, axis=1)
    return count_B


def turn(letters_BL: Letters, which_B: NDArray[np.bool_]) -> Letters:
    """The rows, those of `which_B` as their reverse complements."""
    if len(letters_BL) == 1:  # a chromosome needs no array of positions
        end = int(lengths(letters_BL)[0]) if which_B[0] else 0
        turned_1L = letters_BL.copy()
        turned_1L[:, :end] = reverse_complement(letters_BL[:, :end])
        return turned_1L
    positions_L = np.arange(letters_BL.shape[1])
    mirrored_BL = lengths(letters_BL)[:, None] - 1 - positions_L
    turned_BL = np.take_along_axis(COMPLEMENT[letters_BL], np.maximum(mirrored_BL, 0), axis=1)
    turned_BL[mirrored_BL < 0] = NOTHING
    return np.where(which_B[:, None], turned_BL, letters_BL)


def runs(
    shape: tuple[int, int], share: float | NDArray[np.float64], rng: np.random.Generator, span: int
) -> NDArray[np.bool_]:
    """Positions (B, L) in runs of at least `span`, about `share` (a number, or one a row) of all positions."""
    rows, length = shape
    begins = 1 - (1 - np.broadcast_to(np.asarray(share, np.float64), rows)) ** (1 / span)
    starts = rng.random((rows, length + span - 1), dtype=np.float32) < begins[:, None]
    chosen = starts[:, :length].copy()
    for shift in range(1, span):
        chosen |= starts[:, shift : shift + length]
    return chosen


def mask(letters_BL: Letters, share: float, rng: np.random.Generator, *, span: int = 1) -> Letters:
    """The sequences with about `share` of the letters missing, in runs of at least `span`."""
    masked_BL = runs(letters_BL.shape, share, rng, span) & (letters_BL != NOTHING)
    return np.where(masked_BL, np.uint8(UNKNOWN_LETTER), letters_BL)


def crop(letters_BL: Letters, share: float, rng: np.random.Generator) -> Letters:
    """A stretch of `share` of each sequence's letters, from a random position."""
    starts_B, kept_B = _stretches(letters_BL, share, rng)
    if len(letters_BL) == 1:  # a chromosome needs no array of positions
        end = starts_B[0] + max(1, kept_B[0])
        return letters_BL[:, starts_B[0] : end].copy()
    width = int(kept_B.max(initial=1))
    positions_BL = np.minimum(starts_B[:, None] + np.arange(width), letters_BL.shape[1] - 1)
    cropped = np.take_along_axis(letters_BL, positions_BL, axis=1)
    cropped[np.arange(width) >= kept_B[:, None]] = NOTHING
    return cropped


def hide_outside(letters_BL: Letters, share: float, rng: np.random.Generator) -> Letters:
    """The sequences with only a stretch of `share` of the letters left where it is: a crop for aligned sites."""
    starts_B, kept_B = _stretches(letters_BL, share, rng)
    after_BL = np.arange(letters_BL.shape[1]) - starts_B[:, None]
    outside_BL = ((after_BL < 0) | (after_BL >= kept_B[:, None])) & (letters_BL != NOTHING)
    return np.where(outside_BL, np.uint8(UNKNOWN_LETTER), letters_BL)


def substitute(
    letters_BL: Letters,
    share: float,
    rng: np.random.Generator,
    *,
    choices: Letters = BASE_LETTERS[None],
) -> Letters:
    """The sequences with `share` of the letters replaced by others that could stand there, each as likely.

    `choices` (L or 1, A) holds the letters of every position, filled up with `NOTHING`. A letter that is not
    among them (a missing one) stays, and so does one that is the only choice.
    """
    count_L = np.count_nonzero(choices, axis=1)
    chosen_BL = rng.random(letters_BL.shape, dtype=np.float32) < share
    rows, positions = np.nonzero(chosen_BL)
    sites = positions if len(choices) > 1 else np.zeros_like(positions)
    old, last = letters_BL[rows, positions], count_L[sites] - 1
    # One of all choices but the last; where that is the letter itself, the last: uniform over the others.
    drawn = (rng.random(len(rows)) * last).astype(np.int64)
    new = choices[sites, drawn]
    new = np.where(new == old, choices[sites, np.maximum(last, 0)], new)
    possible = (choices[sites] == old[:, None]).any(axis=1) & (last > 0) & (old != NOTHING)
    replaced = letters_BL.copy()
    replaced[rows[possible], positions[possible]] = new[possible]
    return replaced


def _stretches(
    letters_BL: Letters, share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where a random stretch of `share` of each sequence begins, and how long it is: both (B,)."""
    length_B = lengths(letters_BL)
    kept_B = np.minimum(length_B, np.maximum(1, np.rint(share * length_B).astype(np.int64)))
    starts_B = (rng.random(len(letters_BL)) * (length_B - kept_B + 1)).astype(np.int64)
    return starts_B, kept_B
