"""The genomes of a VCF in the coordinates of a reference: at the model's sites, and where else the file has a record.

Shape suffixes: N samples, S sites, P positions of either kind, A alleles of a record; 4 letters A C G T.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genomai_cli.anchoring.genomes import Genomes
from genomai_cli.anchoring.kmers import UNKNOWN as NO_LETTER
from genomai_cli.anchoring.kmers import codes_of
from genomai_cli.formats.variant_passage import Addition
from genomai_cli.formats.variants import normal_contig
from genomai_cli.restoration import anchored
from genomai_cli.restoration.base import Flags, GenomesModel, Probabilities, Settings
from genomai_cli.restoration.decisions import NOT_SEEN
from genomai_cli.restoration.leaving_out import corrected
from genomai_cli.restoration.plans import Shares, Site
from genomai_cli.tokenizers.base import letters_of

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
        self._between_P4 = anchored.prior(model)[self._positions]

    def _restored(self, model: GenomesModel, codes_NS: NDArray[np.uint8]) -> Shares:
        everywhere = self._settings.error_rate is not None
        incomplete_N = (codes_NS == NO_LETTER).any(axis=1)
        rows = np.flatnonzero(self.usable & (everywhere | incomplete_N))
        letters_SN4 = np.zeros((*codes_NS.T.shape, 4), np.float32)
        for at in range(0, len(rows), model.batch):
            some = rows[at : at + model.batch]
            names = [self._genomes.samples[row] for row in some]
            found = anchored.posterior(model, codes_NS[some], names, self._settings)
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
