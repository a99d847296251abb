"""What the letters before a letter say of it: an interpolated Markov model, the measure of a sequence model.

Shape suffixes: B sequences, L letters.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.training.unlabelled.corpus import Corpus

ORDER = 10
WEIGHT = 10.0  # letters that the model of the next lower order is worth
LETTERS = 1 << 25  # of a corpus to count in
PART = 1 << 21  # letters that are counted at once
OTHER = 4  # a letter that is no base
_CODES = np.full(256, OTHER, np.int64)
_CODES[np.frombuffer(b"ACGT", np.uint8)] = range(4)

Codes = NDArray[np.int64]


def codes(letters: NDArray[np.uint8]) -> Codes:
    """0 to 3 for A C G T, `OTHER` for everything else."""
    return _CODES[letters]


@dataclass(frozen=True, eq=False)
class Markov:
    """Log-probabilities of the next letter: `tables[o]` (4 ** (o + 1),) after o letters, the letter last."""

    tables: list[NDArray[np.float64]]

    @classmethod
    def of(cls, sequences: Iterable[Codes], order: int = ORDER) -> "Markov":
        """From the letters of sequences. A context's frequencies are mixed with those of the context one letter
        shorter, which count as much as `WEIGHT` letters."""
        counts = np.zeros(4 ** (order + 1))
        for part in _joined(sequences):
            places, known = _words(part[None], order)
            counts += np.bincount(places[known], minlength=len(counts))
        table, tables = np.full(1, 0.25), []
        for length in range(1, order + 2):
            seen = counts.reshape(-1, 4**length).sum(axis=0).reshape(-1, 4)
            lower = np.tile(table, seen.size // table.size).reshape(-1, 4) if length > 1 else table
            table = (seen + WEIGHT * lower) / (seen.sum(axis=1, keepdims=True) + WEIGHT)
            table = table.reshape(-1)
            tables.append(np.log(table))
        return cls(tables)

    @classmethod
    def of_corpus(cls, corpus: Corpus, order: int = ORDER) -> "Markov":
        """From the pieces to learn from, or as many of them, evenly chosen, as hold `LETTERS` letters; of a lower order
        where there are fewer letters than contexts."""
        bounds = corpus.bounds[corpus.learn]
        letters = int((bounds[:, 1] - bounds[:, 0]).sum())
        pieces = bounds[:: max(1, -(-letters // LETTERS))].tolist()
        order = min(order, int(math.log(max(letters, 4), 4)))
        return cls.of((codes(corpus.letters[begin:end]) for begin, end in pieces), order)

    def nats(self, codes_BL: Codes) -> NDArray[np.float64]:
        """-log of the probability of each letter (B, L) after those before it in its row; 0 where it is unknown."""
        nats_BL = np.zeros(codes_BL.shape)
        for before, table in enumerate(self.tables):
            if before >= codes_BL.shape[1]:
                break
            places_BL, known_BL = _words(codes_BL, before)
            nats_BL[:, before:][known_BL] = -table[places_BL[known_BL]]
        return nats_BL


def _joined(sequences: Iterable[Codes]) -> Iterator[Codes]:
    """The sequences one after another, with something unknown in between, in parts of some size."""
    waiting: list[Codes] = []
    letters = 0
    for sequence in sequences:
        waiting += [sequence, np.array([OTHER])]
        letters += len(sequence)
        if letters > PART:
            yield np.concatenate(waiting)
            waiting, letters = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _words(codes_BL: Codes, before: int) -> tuple[Codes, NDArray[np.bool_]]:
    """The number of every letter with the `before` ones in front of it, and whether all are known."""
    width = max(0, codes_BL.shape[1] - before)
    places_BL = np.zeros((len(codes_BL), width), np.int64)
    known_BL = np.ones(places_BL.shape, np.bool_)
    for place in range(before + 1):
        letters_BL = codes_BL[:, place : place + width]
        places_BL = 4 * places_BL + letters_BL
        known_BL &= letters_BL != OTHER
    return places_BL, known_BL
