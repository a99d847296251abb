"""Genomes that belong to a reference restored, in their own coordinates and on their own strand.

Between the variable sites a genome has the reference's letter, as far as the genomes that the sites come from tell.

The genomes of a VCF in the coordinates of a reference: at the model's sites, and where else the file has a record.

Shape suffixes: B genomes, S sites, R letters of the reference, K places, N samples, P positions of either kind, A
alleles of a record; 4 letters A C G T.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genomai_cli.denoising.base import (
    NOT_SEEN,
    Flags,
    GenomesModel,
    Ids,
    Probabilities,
    Proposal,
    Settings,
    Shares,
    Site,
    corrected,
    left_out,
    proposal,
)
from genomai_cli.formats.fasta import Entry
from genomai_cli.formats.vcf import normal_contig
from genomai_cli.formats.vcf_rewrite import Addition
from genomai_cli.mapping.mapper import Anchored, Anchorer
from genomai_cli.mapping.reference import FEWEST_LETTERS, Reference, VariableSites
from genomai_cli.mapping.seeding import UNKNOWN, codes_of
from genomai_cli.mapping.seeding import UNKNOWN as NO_LETTER
from genomai_cli.mapping.vcf_genomes import Genomes
from genomai_cli.phylogeny.genome_input import LEAST_IDENTITY, identity_of
from genomai_cli.tokenizers.base import letters_of

BASE_CODES = np.frombuffer(b"ACGT", np.uint8)
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
        bases = BASE_CODES if reading.anchored.strand == "+" else BASE_CODES[::-1]
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


GENOMES_AT_ONCE = 64


class GuessedGenomes:
    """Asks the network of anchored genomes for the letters at its sites."""

    batch = GENOMES_AT_ONCE

    def __init__(
        self,
        network: nn.Module,
        companion: nn.Module,
        places: tuple[Reference, VariableSites],
        device: torch.device,
    ) -> None:
        self.reference, self.sites = places
        self._network, self._companion, self._device = network, companion, device

    @torch.inference_mode()
    def letters(self, ids_BS: Ids) -> Probabilities:
        """See `GenomesModel`."""
        ids = torch.from_numpy(ids_BS).to(self._device)
        logits_BS4 = self._network.predict_masked(self._companion, ids)  # type: ignore[operator]
        return logits_BS4.double().softmax(2).cpu().numpy()  # type: ignore[no-any-return]


BASES = "ACGT"


class GenomesPlan:
    """Genomes at the model's sites and at the file's records."""

    def __init__(self, model: GenomesModel, genomes: Genomes, settings: Settings) -> None:
        contig = normal_contig(model.reference.name)
        self.haploid: bool = genomes.haploid
        self.there: Collection[str] = {contig}
        self.lengths: Mapping[str, int] = {contig: len(model.reference)}
        self._contig, self._genomes, self._settings = contig, genomes, settings
        self._reference, self._sites = model.reference, model.sites
        self._site_of = {int(p): site for site, p in enumerate(model.sites.positions)}
        self._positions = sorted({*self._site_of, *genomes.positions})
        rows = [letters_of(record.sequence)[self._positions] for record in genomes.records()]
        self._codes_NP = codes_of(np.stack(rows))
        places = np.searchsorted(self._positions, model.sites.positions)
        codes_NS = self._codes_NP[:, places]
        self.usable: Flags = (codes_NS != NO_LETTER).any(axis=1)
        self.phased: Flags = np.zeros(len(rows), np.bool_)
        self._letters_SN4 = self._restored(model, codes_NS)
        self._between_P4 = prior(model)[self._positions]

    def _restored(self, model: GenomesModel, codes_NS: NDArray[np.uint8]) -> Shares:
        everywhere = self._settings.error_rate is not None
        incomplete_N = (codes_NS == NO_LETTER).any(axis=1)
        rows = np.flatnonzero(self.usable & (everywhere | incomplete_N))
        letters_SN4 = np.zeros((*codes_NS.T.shape, 4), np.float32)
        for at in range(0, len(rows), model.batch):
            some = rows[at : at + model.batch]
            names = [self._genomes.samples[row] for row in some]
            found = posterior(model, codes_NS[some], names, self._settings)
            letters_SN4[:, some] = found.swapaxes(0, 1)
        return letters_SN4

    def wanted(self, contig: str) -> Mapping[int, int]:
        """See `Plan`."""
        return self._numbers if contig == self._contig else {}

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """By positions from 1; where the reference has no base, nothing can be told."""
        bases = self._reference.sequence
        told = enumerate(self._positions)
        return {position + 1: number for number, position in told if bases[position] in BASES}

    def alternates(self, site: int, ref: str, alts: Sequence[str]) -> tuple[str, ...] | None:
        """See `Plan`."""
        own = self.site(site)
        if ref != own.ref or not all(alt in BASES and len(alt) == 1 for alt in alts):
            return None
        return tuple(alts) or own.alts

    def pairs(self, site: int, alleles: Sequence[str]) -> Shares:
        """See `Plan`: both alleles are the same."""
        numbers = [BASES.index(allele) for allele in alleles]
        p_NA = self._letters(site)[:, numbers].astype(np.float32)
        pairs: Shares = p_NA[:, :, None] * np.eye(len(numbers), dtype=np.float32)
        return pairs

    def _letters(self, number: int) -> Shares | Probabilities:
        """The probabilities (N, 4) of the letters at a position."""
        site = self._site_of.get(self._positions[number])
        if site is not None:
            found: Shares = self._letters_SN4[site]
            return found
        codes_N = self._codes_NP[:, number]
        between_N4 = np.tile(self._between_P4[number], (len(codes_N), 1))
        if self._settings.error_rate is None:
            return between_N4
        observed = np.where(codes_N == NO_LETTER, NOT_SEEN, codes_N.astype(np.int64))
        return corrected(between_N4, observed, self._settings.error_rate)

    def known(self, site: int) -> Flags:
        """See `Plan`."""
        known: Flags = self._codes_NP[:, site] != NO_LETTER
        return known

    def closed(self, site: int) -> Flags:
        """See `Plan`: those who have no letter there."""
        closed: Flags = self._genomes.deleted(self._positions[site]) | ~self.usable
        return closed

    def site(self, number: int) -> Site:
        """See `Plan`."""
        position = self._positions[number]
        ref, site = self._reference.sequence[position], self._site_of.get(position)
        counts = [0] * len(BASES) if site is None else self._sites.counts[site].tolist()
        seen = zip(BASES, counts, strict=True)
        return Site(".", ref, tuple(base for base, count in seen if count and base != ref))

    @cached_property
    def additions(self) -> list[Addition]:
        """See `Plan`."""
        if not self.usable.any() or self._genomes.report.absent_is_ref:
            return []
        absent = sorted(self._site_of.keys() - set(self._genomes.positions))
        return [Addition(self._contig, p + 1, self._numbers[p + 1]) for p in absent]
