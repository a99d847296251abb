"""Genomes that belong to a reference restored, in their own coordinates and on their own strand.

Between the variable sites a genome has the reference's letter, as far as the genomes that the sites come from tell.

Shape suffixes: B genomes, S sites, R letters of the reference, K places.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.anchoring.anchor import Anchored, Anchorer
from genomai_cli.anchoring.coordinates import FEWEST_LETTERS
from genomai_cli.anchoring.kmers import UNKNOWN, codes_of
from genomai_cli.formats.fasta_entries import Entry
from genomai_cli.inference.pieces import LEAST_IDENTITY, identity_of
from genomai_cli.restoration.base import Flags, GenomesModel, Ids, Probabilities, Settings
from genomai_cli.restoration.decisions import NOT_SEEN, Proposal, proposal
from genomai_cli.restoration.leaving_out import corrected, left_out

BASES = np.frombuffer(b"ACGT", np.uint8)
MISSING = ord("N")


@dataclass(frozen=True, eq=False)
class GenomeReading:
    """A record's letters as given, and where they stand on the reference."""

    name: str
    letters: NDArray[np.uint8]
    anchored: Anchored


class GenomeRestorer:
    """Restores the letters of genomes that belong to the model's reference, whole or in part."""

    def __init__(self, model: GenomesModel, settings: Settings, name: str) -> None:
        self.name, self.batch = name, model.batch
        self._model, self._settings = model, settings
        self._anchorer = Anchorer(model.reference)
        self._prior_R4 = prior(model)

    def read(self, entries: Sequence[Entry]) -> GenomeReading | None:
        """The genome in one entry."""
        letters = entries[0].letters() if len(entries) == 1 else None
        if letters is None:
            return None
        anchored = self._anchorer(letters.tobytes().decode("ascii"))
        if anchored is None or anchored.aligned < FEWEST_LETTERS:
            return None
        if identity_of(anchored) < LEAST_IDENTITY:
            return None
        return GenomeReading(entries[0].name, letters, anchored)

    def restore(self, readings: Sequence[GenomeReading]) -> list[list[Proposal] | None]:
        """The proposals for each genome; None for one of which nothing is known."""
        codes = np.stack([codes_of(reading.anchored.letters) for reading in readings])
        names = [reading.name for reading in readings]
        found = posterior(self._model, codes[:, self._model.sites.positions], names, self._settings)
        return [
            [self._proposal(reading, codes_R, p_S4)] if (codes_R != UNKNOWN).any() else None
            for reading, codes_R, p_S4 in zip(readings, codes, found, strict=True)
        ]

    def _proposal(
        self,
        reading: GenomeReading,
        codes_R: NDArray[np.uint8],
        p_S4: Probabilities,
    ) -> Proposal:
        numbers_R = reading.anchored.places
        missing_R = (numbers_R >= 0) & (reading.letters[numbers_R] == MISSING)
        open_R = missing_R.copy()
        if self._settings.error_rate is not None:
            open_R |= (numbers_R >= 0) & (codes_R != UNKNOWN)
        open_R &= codes_of(self._model.reference.letters) != UNKNOWN
        posterior_R4 = self._between(codes_R)
        posterior_R4[self._model.sites.positions] = p_S4
        rows = np.flatnonzero(open_R)
        observed = np.where(codes_R == UNKNOWN, NOT_SEEN, codes_R.astype(np.int64))[rows]
        bases = BASES if reading.anchored.strand == "+" else BASES[::-1]
        alphabet = np.broadcast_to(bases, (len(rows), len(bases)))
        columns = (numbers_R[rows], posterior_R4[rows], observed, alphabet, missing_R[rows])
        return proposal(*columns, self._settings)

    def _between(self, codes_R: NDArray[np.uint8]) -> Probabilities:
        """The posterior (R, 4) of letters that no variable site tells about."""
        if self._settings.error_rate is None:
            return self._prior_R4.copy()
        observed = np.where(codes_R == UNKNOWN, NOT_SEEN, codes_R.astype(np.int64))
        return corrected(self._prior_R4, observed, self._settings.error_rate)


def prior(model: GenomesModel) -> Probabilities:
    """The probabilities (R, 4) of letters where genomes do not differ: another letter than the reference's would have
    been seen among so many genomes, unless it is rarer than one in them and the next."""
    genomes = int(model.sites.counts.sum(axis=1).max())
    codes = codes_of(model.reference.letters)
    prior_R4 = np.full((len(codes), 4), 1 / (3 * (genomes + 1)))
    known = np.flatnonzero(codes != UNKNOWN)
    prior_R4[known, codes[known]] = genomes / (genomes + 1)
    return prior_R4


def posterior(
    model: GenomesModel,
    codes_BS: NDArray[np.uint8],
    names: Sequence[str],
    settings: Settings,
) -> Probabilities:
    """The probabilities (B, S, 4) of the letters at the model's sites.

    What is said of a known letter is of use with an error rate only: then it is what it and all others make likely.
    """
    ids_BS: Ids = codes_BS.astype(np.int64)
    known_BS: Flags = ids_BS != UNKNOWN
    found_BS4 = model.letters(ids_BS)
    if settings.error_rate is None or not known_BS.any():
        return found_BS4
    left_BS4 = left_out(
        lambda hidden_BS: model.letters(np.where(hidden_BS, UNKNOWN, ids_BS)),
        known_BS,
        [settings.seeds(name) for name in names],
    )
    observed_K = ids_BS[known_BS]
    found_BS4[known_BS] = corrected(left_BS4[known_BS], observed_K, settings.error_rate)
    return found_BS4
