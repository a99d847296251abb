"""Barcodes restored: genotypes (IUPAC letters), single haplotypes, and the two haplotypes of a sample.

Shape suffixes: L letters of the barcode, S sites of the model, V letters that a site can have; 2
haplotypes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING, UNKNOWN_LETTER
from genomai_cli.denoising.base import (
    Codes,
    Probabilities,
    Proposal,
    Settings,
    VcfOptions,
    VcfSamples,
    propose,
)
from genomai_cli.formats.fasta import Entry
from genomai_cli.formats.vcf_replay import Reopen
from genomai_cli.population.barcode import BarcodeSites, heterozygote_codes, is_haplotype
from genomai_cli.population.call_patterns import HAPLOID_CALLS
from genomai_cli.population.imputation.models import (
    Calls,
    GenotypeModel,
    haplotype,
    posterior,
)
from genomai_cli.population.imputation.vcf import samples_of
from genomai_cli.population.networks.haplotype_copying import genotypes_of
from genomai_cli.population.panel import Panel

Letters = NDArray[np.uint8]
MAX_FOREIGN = 0.1  # of the letters; of random ones half or more are no genotype of their site


@dataclass(frozen=True, eq=False)
class Layout:
    """The barcodes of a panel; `indices` (S,) are those of the model's sites among its letters, -1 for none."""

    sites: BarcodeSites
    indices: NDArray[np.int64]

    @classmethod
    def of(cls, panel: Panel, model: Panel) -> "Layout":
        """The layout of a panel's barcodes for the sites of the model's panel."""
        return cls(BarcodeSites.of(panel), model.indices_in(panel))

    def fits(self, letters_L: Letters) -> bool:
        """Whether these may be letters of the panel's sites; a few that cannot be are taken for errors."""
        if len(letters_L) != len(self.sites):
            return False
        known_L = letters_L != UNKNOWN_LETTER
        foreign_L = known_L & ~(self.sites.genotypes == letters_L[:, None]).any(axis=1)
        return bool(foreign_L.sum() <= MAX_FOREIGN * known_L.sum())


@dataclass(frozen=True, eq=False)
class BarcodeReading:
    """One sample: the letters of one barcode, or of two haplotypes (`haploid`; then one may be absent)."""

    name: str
    letters: list[Letters]  # (S,) each, 0 where the barcode lacks the site
    layout: Layout
    haploid: bool


class BarcodeDenoiser:
    """Restores barcodes of the model's panel, and those of other panels at the sites that they share with it."""

    def __init__(
        self, model: GenotypeModel, other_panels: Iterable[Panel], settings: Settings, name: str
    ) -> None:
        self.name, self.batch_size = name, model.batch_size
        self._model, self._settings = model, settings
        self.panel = panel = model.panel
        layouts = [Layout.of(barcode_panel, panel) for barcode_panel in (panel, *other_panels)]
        self._layouts = [layout for layout in layouts if (layout.indices >= 0).any()]
        heterozygotes = heterozygote_codes(panel)
        self._alleles_S2 = np.stack([panel.ref_codes, panel.alt_codes], axis=1)
        columns = (panel.ref_codes, heterozygotes, panel.alt_codes)
        self._genotypes_S3 = np.stack(columns, axis=1)

    def read(self, entries: Sequence[Entry]) -> BarcodeReading | None:
        """The sample in one entry, or in two of the haplotypes NAME_A and NAME_B."""
        maybe_letters = [entry.letters() for entry in entries]
        barcodes = [letters for letters in maybe_letters if letters is not None]
        if len(barcodes) < len(entries):
            return None
        layout = next((layout for layout in self._layouts if all(map(layout.fits, barcodes))), None)
        if layout is None:
            return None
        are_haplotypes = [is_haplotype(letters) for letters in barcodes]
        if len(entries) > 1 and not all(are_haplotypes):
            return None
        calls = int((barcodes[0] != UNKNOWN_LETTER).sum())
        haploid = len(entries) > 1 or (are_haplotypes[0] and calls >= HAPLOID_CALLS)
        at_sites = [np.where(layout.indices < 0, 0, x[layout.indices]) for x in barcodes]
        return BarcodeReading(entries[0].name, at_sites, layout, haploid)

    def read_vcf(self, reopen: Reopen, options: VcfOptions) -> VcfSamples:
        """The samples of a VCF at the panel's sites."""
        return samples_of(reopen, self._model, options)

    def restore(self, readings: Sequence[BarcodeReading]) -> list[list[Proposal] | None]:
        """The proposals for the entries of each sample; None for one without a known allele."""
        alleles = np.stack([self._alleles(reading) for reading in readings])
        haploid_B = np.array([reading.haploid for reading in readings])
        phased_BS = haploid_B[:, None] | (alleles[:, 0] == alleles[:, 1])
        calls = Calls([reading.name for reading in readings], alleles, phased_BS, haploid_B)
        pairs_BS4 = posterior(self._model, calls, self._settings)
        return [
            self._proposals(reading, pairs_S4) if (alleles_2S != MISSING).any() else None
            for reading, alleles_2S, pairs_S4 in zip(readings, alleles, pairs_BS4, strict=True)
        ]

    def _alleles(self, reading: BarcodeReading) -> NDArray[np.int8]:
        """The alleles (2, S); those of a single haplotype are the first, and the second are missing."""
        alleles = np.full((2, len(self._alleles_S2)), MISSING, np.int8)
        if reading.haploid:
            for row, letters_S in zip(alleles, reading.letters, strict=False):
                row[:] = _index(letters_S, self._alleles_S2)
            return alleles
        copies_S = _index(reading.letters[0], self._genotypes_S3)
        known_S = copies_S != MISSING
        alleles[0, known_S] = copies_S[known_S] == 2
        alleles[1, known_S] = copies_S[known_S] >= 1
        return alleles

    def _proposals(self, reading: BarcodeReading, pairs_S4: Probabilities) -> list[Proposal]:
        if not reading.haploid:
            genotypes_S3 = genotypes_of(pairs_S4)
            return [self._proposal(reading, 0, genotypes_S3, self._genotypes_S3)]
        return [
            self._proposal(reading, number, haplotype(pairs_S4, number), self._alleles_S2)
            for number in range(len(reading.letters))
        ]

    def _proposal(
        self,
        reading: BarcodeReading,
        number: int,
        posterior_SV: Probabilities,
        table_SV: Letters,
    ) -> Proposal:
        """The proposal for one barcode: letters at missing ones, and with an error rate at any."""
        letters_S = reading.letters[number]
        missing_S = letters_S == UNKNOWN_LETTER
        restorable_S = missing_S if self._settings.error_rate is None else letters_S > 0
        rows = np.flatnonzero(restorable_S & (letters_S != ord("-")))
        observed = _index(letters_S, table_SV)[rows]
        positions = reading.layout.indices[rows]
        columns = (positions, posterior_SV[rows], observed, table_SV[rows], missing_S[rows])
        return propose(*columns, self._settings)


def _index(letters_S: Letters, table_SV: Letters) -> Codes:
    """The index of each letter among those of its site (S,), `MISSING` for none of them."""
    equal_SV = table_SV == letters_S[:, None]
    return np.where(equal_SV.any(axis=1), equal_SV.argmax(axis=1), MISSING)
