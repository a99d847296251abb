"""Plain DNA restored in overlapping windows.

A window is asked if at least half of its letters are known: what lies within a longer run of missing letters stays
missing. Where two windows tell of a letter, the logarithms of its probabilities are averaged.

Models that guess hidden words with a companion of theirs: of anchored genomes, and of plain DNA.

Shape suffixes: L letters of a sequence, T letters of a window, K letters asked for, B records, S sites, V words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genomai_cli.denoising.base import (
    NOT_SEEN,
    DnaModel,
    Flags,
    Ids,
    Probabilities,
    Proposal,
    Settings,
    corrected,
    left_out,
    normalised,
    proposal,
)
from genomai_cli.formats.fasta import Entry
from genomai_cli.mapping.seeding import UNKNOWN, codes_of

BASES = np.frombuffer(b"ACGT", np.uint8)
MISSING = ord("N")
LEAST_KNOWN = 0.5  # of a window


@dataclass(frozen=True, eq=False)
class DnaReading:
    """A sequence's letters."""

    name: str
    letters: NDArray[np.uint8]


class DnaRestorer:
    """Restores any sequence with a known letter, one at a time."""

    batch = 1

    def __init__(self, model: DnaModel, settings: Settings, name: str) -> None:
        self.name = name
        self._model, self._settings = model, settings

    def read(self, entries: Sequence[Entry]) -> DnaReading | None:
        """The sequence of one entry."""
        letters = entries[0].letters() if len(entries) == 1 else None
        return None if letters is None else DnaReading(entries[0].name, letters)

    def restore(self, readings: Sequence[DnaReading]) -> list[list[Proposal] | None]:
        """The proposal for each sequence; None for one of which nothing is known."""
        return [self._restored(reading) for reading in readings]

    def _restored(self, reading: DnaReading) -> list[Proposal] | None:
        codes = codes_of(reading.letters).astype(np.int64)
        ids_L: Ids = np.where(codes == UNKNOWN, NOT_SEEN, codes)
        known_L = ids_L != NOT_SEEN
        if not known_L.any():
            return None
        missing_L = reading.letters == MISSING
        found_L4 = self._predicted(ids_L, missing_L)
        if self._settings.error_rate is not None:
            left_L4 = self._left_out(ids_L, known_L, reading.name)
            found_L4[known_L] = corrected(
                left_L4[known_L], ids_L[known_L], self._settings.error_rate
            )
        rows = np.flatnonzero(found_L4.any(axis=1))
        alphabet = np.broadcast_to(BASES, (len(rows), len(BASES)))
        columns = (rows, found_L4[rows], ids_L[rows], alphabet, missing_L[rows])
        return [proposal(*columns, self._settings)]

    def _left_out(self, ids_L: Ids, known_L: Flags, name: str) -> Probabilities:
        def without(hidden_1L: Flags) -> Probabilities:
            shown_L = np.where(hidden_1L[0], NOT_SEEN, ids_L)
            return self._predicted(shown_L, hidden_1L[0])[None]

        seeds = [self._settings.seeds(name)]
        # Letters of which no window tells are as likely as any.
        return normalised(left_out(without, known_L[None], seeds)[0])

    def _predicted(self, ids_L: Ids, asked_L: Flags) -> Probabilities:
        """The probabilities (L, 4) of the letters asked for, 0 of others and where no window tells."""
        log_L4, windows_L = np.zeros((len(ids_L), 4)), np.zeros(len(ids_L), np.int64)
        starts = iter(self._starts(ids_L, asked_L))
        while batch := list(islice(starts, self._model.batch)):
            width = min(self._model.longest, len(ids_L))
            ids_BT = np.stack([ids_L[start : start + width] for start in batch])
            for start, log_T4 in zip(batch, self._model.letters(ids_BT), strict=True):
                log_L4[start : start + width] += log_T4
                windows_L[start : start + width] += 1
        told_L = asked_L & (windows_L > 0)
        found_L4 = np.zeros_like(log_L4)
        mean_K4 = log_L4[told_L] / windows_L[told_L, None]
        found_L4[told_L] = normalised(np.exp(mean_K4))
        return found_L4

    def _starts(self, ids_L: Ids, asked_L: Flags) -> Iterator[int]:
        """Where the windows begin that hold a letter asked for, and enough known ones."""
        size, width = len(ids_L), min(self._model.longest, len(ids_L))
        step = max(1, self._model.longest // 2)
        known = np.concatenate([[0], np.cumsum(ids_L >= 0)])
        asked = np.concatenate([[0], np.cumsum(asked_L)])
        for start in [*range(0, size - width, step), size - width]:
            stop = start + width
            enough = known[stop] - known[start] >= LEAST_KNOWN * width
            if asked[stop] > asked[start] and enough:
                yield start


KNOWN_TOKENS = 4  # the first words are A C G T
LETTERS_A_BATCH = 1 << 14


class GuessedDna:
    """Asks a network of words that are letters."""

    def __init__(
        self,
        network: nn.Module,
        companion: nn.Module,
        mask: int,
        longest: int,
        device: torch.device,
    ) -> None:
        self.longest = longest
        self.batch = max(1, LETTERS_A_BATCH // longest)
        self._network, self._companion, self._device = network, companion, device
        self._mask = mask

    @torch.inference_mode()
    def letters(self, ids_BT: Ids) -> Probabilities:
        """See `DnaModel`."""
        shown_BT = np.where(ids_BT < 0, self._mask, ids_BT)
        ids = torch.from_numpy(shown_BT).to(self._device)
        logits_BTV = self._network.predict_masked(self._companion, ids)  # type: ignore[operator]
        log_BT4 = logits_BTV[..., :KNOWN_TOKENS].double().log_softmax(2)
        return log_BT4.cpu().numpy()  # type: ignore[no-any-return]
