"""Means of overlapping vectors, given out as soon as they are complete.

Shape suffixes: S strands, n words, E numbers of a vector.
"""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]


class WordMeans:
    """The vectors of a record's words from `first` on, of which windows on several strands cover each word.

    A strand's vector of a word is the mean over its windows; the word's is the mean over the strands.
    """

    def __init__(self, strands: int, width: int) -> None:
        self.first = 0
        self._sums_SnE: Vectors = np.zeros((strands, 0, width))
        self._counts_Sn = np.zeros((strands, 0), np.int64)

    def add(self, strand: int, start: int, vectors_nE: Vectors) -> None:
        """A window's vectors, of the words from `start` on."""
        begin, end = start - self.first, start - self.first + len(vectors_nE)
        more = max(0, end - self._counts_Sn.shape[1])
        self._sums_SnE = np.pad(self._sums_SnE, ((0, 0), (0, more), (0, 0)))
        self._counts_Sn = np.pad(self._counts_Sn, ((0, 0), (0, more)))
        self._sums_SnE[strand, begin:end] += vectors_nE
        self._counts_Sn[strand, begin:end] += 1

    def take(self, end: int) -> NDArray[np.float32]:
        """The vectors of the words before `end`, which no further window covers; they are forgotten here."""
        done = end - self.first
        means_SnE = self._sums_SnE[:, :done] / self._counts_Sn[:, :done, None]
        self._sums_SnE, self._counts_Sn = self._sums_SnE[:, done:], self._counts_Sn[:, done:]
        self.first = end
        means_nE: NDArray[np.float32] = means_SnE.mean(axis=0).astype(np.float32)
        return means_nE
