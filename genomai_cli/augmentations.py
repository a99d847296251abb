"""Random changes that leave a sample what it is: for training, and for making new samples from old.

Everything here works on ASCII letters, takes its randomness as an argument, and leaves its input alone.
Sequences of different lengths are the rows of one array, filled up with `PADDING` at the right.

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

PADDING = 0  # fills up rows after a sequence's end


def mask_letters(
    letters: Letters, shares: NDArray[np.float64], rng: np.random.Generator
) -> Letters:
    """The letters (samples, sites) with about `shares` (samples,) of each row's letters replaced by N."""
    masked = rng.random(letters.shape, dtype=np.float32) < shares[:, None]
    return np.where(masked, np.uint8(UNKNOWN_LETTER), letters)


def outside_arcs(
    positions: NDArray[np.float64], lengths: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """The sites outside a random arc of each sample's circular genome: (samples, sites).

    `positions` (sites,) and `lengths` (samples,) are parts of the circle, from 0 to 1; each arc begins anywhere.
    """
    starts = rng.random(len(lengths))
    offsets = positions - starts[:, None]
    offsets += offsets < 0  # as % 1.0, in an eighth of its time
    outside: NDArray[np.bool_] = offsets >= lengths[:, None]
    return outside


@dataclass(frozen=True)
class HaplotypePool:
    """The haplotypes of groups of samples, from which new members of a group are drawn.

    `haplotypes` (2n, sites) lies sorted by group; a group's begin at `starts` and are `counts` many.
    """

    haplotypes: Letters
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, haplotypes: Letters, groups: NDArray[np.int64]) -> "HaplotypePool":
        """The pool of haplotypes (2, n, sites) of samples whose groups (n,) are numbered from 0."""
        order = np.argsort(groups, kind="stable")
        counts = 2 * np.bincount(groups)
        stacked = haplotypes[:, order].transpose(1, 0, 2).reshape(-1, haplotypes.shape[2])
        return cls(stacked, np.cumsum(counts) - counts, counts)

    def cross(self, groups: NDArray[np.int64], rng: np.random.Generator) -> Letters:
        """One new haplotype (len(groups), sites) for each of the groups: each site from another member.

        It has the group's allele frequencies and none of the linkage between its sites.
        """
        sites = self.haplotypes.shape[1]
        draws = rng.random((len(groups), sites), dtype=np.float32)
        rows = (draws * self.counts[groups, None]).astype(np.int64) + self.starts[groups, None]
        crossed: Letters = self.haplotypes[rows, np.arange(sites)]
        return crossed


def lengths(letters_BL: Letters) -> NDArray[np.int64]:
    """The number of letters (B,) of each row."""
    count_B: NDArray[np.int64] = np.count_nonzero(letters_BL != PADDING, axis=1)
    return count_B


def reverse_complement_rows(letters_BL: Letters, selected_B: NDArray[np.bool_]) -> Letters:
    """The rows (B, L), those selected as their reverse complements."""
    if len(letters_BL) == 1:  # a chromosome needs no array of positions
        end = int(lengths(letters_BL)[0]) if selected_B[0] else 0
        reversed_1L = letters_BL.copy()
        reversed_1L[:, :end] = reverse_complement(letters_BL[:, :end])
        return reversed_1L
    positions_L = np.arange(letters_BL.shape[1])
    mirrored_BL = lengths(letters_BL)[:, None] - 1 - positions_L
    reversed_BL = np.take_along_axis(COMPLEMENT[letters_BL], np.maximum(mirrored_BL, 0), axis=1)
    reversed_BL[mirrored_BL < 0] = PADDING
    return np.where(selected_B[:, None], reversed_BL, letters_BL)


def random_spans(
    shape: tuple[int, int], share: float | NDArray[np.float64], rng: np.random.Generator, span: int
) -> NDArray[np.bool_]:
    """Positions (B, L) in runs of at least `span`, about `share` (a number, or one a row) of all positions."""
    rows, length = shape
    begins = 1 - (1 - np.broadcast_to(np.asarray(share, np.float64), rows)) ** (1 / span)
    starts = rng.random((rows, length + span - 1), dtype=np.float32) < begins[:, None]
    covered = starts[:, :length].copy()
    for shift in range(1, span):
        covered |= starts[:, shift : shift + length]
    return covered


def mask(letters_BL: Letters, share: float, rng: np.random.Generator, *, span: int = 1) -> Letters:
    """The sequences with about `share` of the letters missing, in runs of at least `span`."""
    masked_BL = random_spans(letters_BL.shape, share, rng, span) & (letters_BL != PADDING)
    return np.where(masked_BL, np.uint8(UNKNOWN_LETTER), letters_BL)


def crop(letters_BL: Letters, share: float, rng: np.random.Generator) -> Letters:
    """A stretch of `share` of each sequence's letters, from a random position."""
    starts_B, length_B = _random_intervals(letters_BL, share, rng)
    if len(letters_BL) == 1:  # a chromosome needs no array of positions
        end = starts_B[0] + max(1, length_B[0])
        return letters_BL[:, starts_B[0] : end].copy()
    width = int(length_B.max(initial=1))
    positions_BL = np.minimum(starts_B[:, None] + np.arange(width), letters_BL.shape[1] - 1)
    cropped = np.take_along_axis(letters_BL, positions_BL, axis=1)
    cropped[np.arange(width) >= length_B[:, None]] = PADDING
    return cropped


def mask_outside(letters_BL: Letters, share: float, rng: np.random.Generator) -> Letters:
    """The sequences with all but a stretch of `share` of the letters masked: a crop for aligned sites."""
    starts_B, length_B = _random_intervals(letters_BL, share, rng)
    offset_BL = np.arange(letters_BL.shape[1]) - starts_B[:, None]
    outside_BL = ((offset_BL < 0) | (offset_BL >= length_B[:, None])) & (letters_BL != PADDING)
    return np.where(outside_BL, np.uint8(UNKNOWN_LETTER), letters_BL)


def substitute(
    letters_BL: Letters,
    share: float,
    rng: np.random.Generator,
    *,
    choices: Letters = BASE_LETTERS[None],
) -> Letters:
    """The sequences with `share` of the letters replaced by others that could stand there, each as likely.

    `choices` (L or 1, A) holds the letters of every position, filled up with `PADDING`. A letter that is not
    among them (a missing one) stays, and so does one that is the only choice.
    """
    count_L = np.count_nonzero(choices, axis=1)
    selected_BL = rng.random(letters_BL.shape, dtype=np.float32) < share
    rows, positions = np.nonzero(selected_BL)
    sites = positions if len(choices) > 1 else np.zeros_like(positions)
    old, last = letters_BL[rows, positions], count_L[sites] - 1
    # One of all choices but the last; where that is the letter itself, the last: uniform over the others.
    choice_index = (rng.random(len(rows)) * last).astype(np.int64)
    new = choices[sites, choice_index]
    new = np.where(new == old, choices[sites, np.maximum(last, 0)], new)
    replaceable = (choices[sites] == old[:, None]).any(axis=1) & (last > 0) & (old != PADDING)
    replaced = letters_BL.copy()
    replaced[rows[replaceable], positions[replaceable]] = new[replaceable]
    return replaced


def _random_intervals(
    letters_BL: Letters, share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The starts (B,) and lengths (B,) of a random stretch of `share` of each sequence."""
    total_B = lengths(letters_BL)
    length_B = np.minimum(total_B, np.maximum(1, np.rint(share * total_B).astype(np.int64)))
    starts_B = (rng.random(len(letters_BL)) * (total_B - length_B + 1)).astype(np.int64)
    return starts_B, length_B
