"""Genotypes of samples as arrays of alleles, from VCF or from barcodes in FASTA, to compare generated with real ones.

Shape suffixes: N samples, P haplotypes of a sample (2, or 1 in haploid data), S sites, R rows, A alleles of a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import UNKNOWN_CODE
from genomai_cli.errors import InputError
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import Input, open_input
from genomai_cli.population.barcode import is_haplotype, letters_to_genotypes, require_barcode
from genomai_cli.population.cohorts import read_cohorts
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord

Alleles = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class SampleGenotypes:
    """Alleles (N, P, S) at the sites of a panel: 0 for ref, 1 for alt, -1 where missing.

    If they are not `phased`, the two alleles of a site stand in descending order. `requested` is the phenotype that a
    generated sample's description names.
    """

    names: Sequence[str]
    alleles: Alleles
    phased: bool
    requested: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.alleles)

    @property
    def copies(self) -> NDArray[np.int8]:
        """How many alternate alleles each sample has (N, S), -1 where one is missing."""
        total = self.alleles.sum(axis=1, dtype=np.int8)
        return np.where((self.alleles < 0).any(axis=1), np.int8(-1), total)

    @property
    def rows(self) -> Alleles:
        """The rows to compare (R, A): haplotypes (N * P, S) if phased, else genotypes (N, P * S).

        The Hamming distance of two such genotypes is the sum over the sites of the difference of their copies.
        """
        return self.alleles.reshape(-1, self.alleles.shape[2] * (1 if self.phased else 2))

    @property
    def haplotypes(self) -> int:
        """How many rows a sample has."""
        return self.alleles.shape[1] if self.phased else 1

    def chosen(self, samples: NDArray[np.int64]) -> "SampleGenotypes":
        """Only these samples."""
        names = [self.names[number] for number in samples]
        return replace(self, names=names, alleles=self.alleles[samples])

    def at(self, sites: NDArray[np.int64]) -> "SampleGenotypes":
        """The same samples at these sites."""
        return replace(self, alleles=self.alleles[:, :, sites])

    def without_phase(self) -> "SampleGenotypes":
        """The same samples, as if it were not known which allele lies on which haplotype."""
        if self.alleles.shape[1] == 1:
            return self
        alleles = np.ascontiguousarray(-np.sort(-self.alleles, axis=1))
        alleles[np.broadcast_to((alleles < 0).any(axis=1, keepdims=True), alleles.shape)] = -1
        return replace(self, alleles=alleles, phased=False)


def read_genotypes(path: Path, panel: Panel) -> SampleGenotypes:
    """The samples of a VCF or of barcodes in FASTA, at the sites of a panel."""
    source = open_input(path)
    return genotypes_of(source, read_records(source), panel)


def read_records(source: Input) -> list[SequenceRecord] | None:
    """The records of a FASTA, None for an input of variants; InputError where there are no records."""
    if source.has_variants:
        return None
    with source:
        records = list(read_sequences(source))
    if not records:
        raise InputError("no sequences", path=source.path)
    return records


def genotypes_of(
    source: Input, records: list[SequenceRecord] | None, panel: Panel
) -> SampleGenotypes:
    """The samples of an input whose `records` are what `read_records` gave."""
    if records is not None:
        return genotypes_of_sequences(records, panel)
    return genotypes_of_variants([source], panel)


def genotypes_of_variants(sources: Iterable[Input], panel: Panel) -> SampleGenotypes:
    """The samples of VCFs at the panel's sites; phased if no heterozygote is without its phase. Half a genotype without
    phase is missing."""
    names: list[str] = []
    parts, phased = [], True
    for cohort in read_cohorts(sources, panel, phased=True):
        calls, _ = cohort.calls(absent_is_ref=False)
        unordered = calls.unordered()
        half_known = (calls.codes == UNKNOWN_CODE).any(axis=2)
        phased &= not (unordered & ~half_known).any()
        calls.codes[unordered & half_known] = UNKNOWN_CODE
        parts.append(calls.alleles(panel))
        names += cohort.samples
    samples = SampleGenotypes(
        names, np.concatenate(parts), True, {n: p for n in names if (p := _of_name(n))}
    )
    return samples if phased else samples.without_phase()


def genotypes_of_sequences(records: Sequence[SequenceRecord], panel: Panel) -> SampleGenotypes:
    """The samples of barcodes: of IUPAC letters (no phase), or haplotypes, two by two as NAME_A and NAME_B.

    Haplotypes without partners are samples of one haplotype each. Raises InputError for a record that is no barcode
    of the panel, and where there is no record.
    """
    if not records:
        raise InputError("no records", path="-")
    for record in records:
        require_barcode(record, panel)
    flat = np.frombuffer("".join(record.held for record in records).encode(), np.uint8)
    copies_RS = letters_to_genotypes(flat.reshape(len(records), -1), panel)
    names = [record.name for record in records]
    requested = {name: p for name, p in map(_request, records) if p}
    if not is_haplotype(flat):
        alleles = np.stack([copies_RS >= 1, copies_RS >= 2], axis=1).astype(np.int8)
        alleles[np.broadcast_to((copies_RS < 0)[:, None], alleles.shape)] = -1
        return SampleGenotypes(names, alleles, False, requested)
    alleles_RS = np.where(copies_RS < 0, np.int8(-1), copies_RS // 2).astype(np.int8)
    individuals, pairs = _pairs(names)
    if pairs is None:
        return SampleGenotypes(names, alleles_RS[:, None], True, requested)
    of_individuals = {name[:-2]: phenotype for name, phenotype in requested.items()}
    return SampleGenotypes(individuals, alleles_RS[pairs], True, of_individuals)


def _request(record: SequenceRecord) -> tuple[str, str]:
    """A record's name and the phenotype that its description names."""
    fields = dict(field.partition("=")[::2] for field in record.description.split())
    return record.name, fields.get("phenotype", "")


def _of_name(name: str) -> str:
    """The phenotype in the name of a generated sample, synthetic_EUR_1."""
    first, _, rest = name.partition("_")
    return rest.rpartition("_")[0] if first == "synthetic" else ""


def _pairs(names: Sequence[str]) -> tuple[list[str], NDArray[np.int64] | None]:
    """The individuals of haplotypes NAME_A and NAME_B with the indices of both; None if some have no partner."""
    index = {name: number for number, name in enumerate(names)}
    individuals = [name[:-2] for name in names if name.endswith("_A")]
    both = [(f"{name}_A", f"{name}_B") for name in individuals]
    if 2 * len(individuals) != len(names) or any(second not in index for _, second in both):
        return [], None
    return individuals, np.array([[index[name] for name in pair] for pair in both], np.int64)
