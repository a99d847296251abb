"""People as arrays of alleles, for comparing generated with real ones: from VCF, or from barcodes in FASTA.

Shape suffixes: N people, P haplotypes of a person (2, or 1 in haploid data), S sites, R rows, A alleles of a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.streams import Input
from genomai_cli.formats.vcf import read_variants
from genomai_cli.population.barcode import is_haplotype, letters_to_genotypes, require_sites
from genomai_cli.population.cohorts import MISSING, header_build, read_cohorts
from genomai_cli.population.panel import BUILDS, GRCH37, Panel
from genomai_cli.records import SequenceRecord

Alleles = NDArray[np.int8]
_BASES = "ACGT"


@dataclass(frozen=True, eq=False)
class People:
    """Alleles (N, P, S) at the sites of a panel: 0 for ref, 1 for alt, -1 where missing.

    If they are not `phased`, the two alleles of a site stand in descending order. `requested` is the phenotype that a
    generated person's description names.
    """

    names: Sequence[str]
    alleles: Alleles
    phased: bool
    requested: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.alleles)

    @property
    def copies(self) -> NDArray[np.int8]:
        """How many alternate alleles each person has (N, S), -1 where one is missing."""
        total = self.alleles.sum(axis=1, dtype=np.int8)
        return np.where((self.alleles < 0).any(axis=1), np.int8(-1), total)

    @property
    def rows(self) -> Alleles:
        """What is compared (R, A): haplotypes (N * P, S) if phased, else genotypes (N, P * S).

        The Hamming distance of two such genotypes is the sum over the sites of the difference of their copies.
        """
        return self.alleles.reshape(-1, self.alleles.shape[2] * (1 if self.phased else 2))

    @property
    def haplotypes(self) -> int:
        """How many rows a person has."""
        return self.alleles.shape[1] if self.phased else 1

    def chosen(self, people: NDArray[np.int64]) -> "People":
        """Only these people."""
        names = [self.names[number] for number in people]
        return replace(self, names=names, alleles=self.alleles[people])

    def at(self, sites: NDArray[np.int64]) -> "People":
        """The same people at these sites."""
        return replace(self, alleles=self.alleles[:, :, sites])

    def without_phase(self) -> "People":
        """The same people, as if it were not known which allele lies on which haplotype."""
        if self.alleles.shape[1] == 1:
            return self
        alleles = np.ascontiguousarray(-np.sort(-self.alleles, axis=1))
        alleles[np.broadcast_to((alleles < 0).any(axis=1, keepdims=True), alleles.shape)] = -1
        return replace(self, alleles=alleles, phased=False)


def people_of_variants(sources: Iterable[Input], panel: Panel) -> People:
    """The people of VCFs at the panel's sites; phased if no heterozygote is without its phase."""
    names: list[str] = []
    parts, phased = [], True
    reference = np.array([_BASES.index(base) for base in panel.ref])[:, None, None]
    for cohort in read_cohorts(sources, panel):
        calls, _ = cohort.calls(absent_is_ref=False)
        alleles_SNP = (calls.codes != reference).astype(np.int8)
        alleles_SNP[calls.codes == MISSING] = -1
        phased &= bool((calls.phased | (calls.codes[:, :, 0] == calls.codes[:, :, 1])).all())
        parts.append(alleles_SNP.transpose(1, 2, 0))
        names += cohort.samples
    people = People(names, np.concatenate(parts), True, {n: p for n in names if (p := _of_name(n))})
    return people if phased else people.without_phase()


def people_of_sequences(records: Sequence[SequenceRecord], panel: Panel) -> People:
    """The people of barcodes: of IUPAC letters (no phase), or haplotypes, two by two as NAME_A and NAME_B.

    Haplotypes without partners are people of one haplotype each. Raises InputError for a record of another length than
    the panel's, and where there is no record.
    """
    if not records:
        raise InputError("no records", path="-")
    for record in records:
        require_sites(record, len(panel))
    flat = np.frombuffer("".join(record.sequence for record in records).encode(), np.uint8)
    copies_RS = letters_to_genotypes(flat.reshape(len(records), -1), panel)
    names = [record.name for record in records]
    requested = {name: p for name, p in map(_request, records) if p}
    if not is_haplotype(flat):
        alleles = np.stack([copies_RS >= 1, copies_RS >= 2], axis=1).astype(np.int8)
        alleles[np.broadcast_to((copies_RS < 0)[:, None], alleles.shape)] = -1
        return People(names, alleles, False, requested)
    alleles_RS = np.where(copies_RS < 0, np.int8(-1), copies_RS // 2).astype(np.int8)
    persons, pairs = _pairs(names)
    if pairs is None:
        return People(names, alleles_RS[:, None], True, requested)
    of_persons = {name[:-2]: phenotype for name, phenotype in requested.items()}
    return People(persons, alleles_RS[pairs], True, of_persons)


def panel_of_variants(source: Input) -> Panel:
    """The biallelic SNPs of a VCF as a panel, with its first record of each position."""
    file = read_variants(source)
    sites: dict[tuple[str, int], tuple[str, str]] = {}
    for variant in file.records:
        letters = (variant.ref, *variant.alts)
        if len(letters) == 2 and all(len(x) == 1 and x in _BASES for x in letters):
            sites.setdefault((variant.contig, variant.position), (letters[0], letters[1]))
    if not sites:
        raise InputError("no biallelic SNPs to compare people at", path=source.path)
    build = header_build(file.header) or GRCH37
    places = np.array([position for _, position in sites], np.int64)
    positions = {b: places if b == build else np.zeros_like(places) for b in BUILDS}
    refs, alts = zip(*sites.values(), strict=True)
    dots = (".",) * len(sites)
    return Panel(source.path, tuple(c for c, _ in sites), positions, dots, refs, alts, dots)


def _request(record: SequenceRecord) -> tuple[str, str]:
    """A record's name and the phenotype that its description names."""
    words = dict(word.partition("=")[::2] for word in record.description.split())
    return record.name, words.get("phenotype", "")


def _of_name(name: str) -> str:
    """The phenotype in the name of a generated person, synthetic_EUR_1."""
    first, _, rest = name.partition("_")
    return rest.rpartition("_")[0] if first == "synthetic" else ""


def _pairs(names: Sequence[str]) -> tuple[list[str], NDArray[np.int64] | None]:
    """The persons of haplotypes NAME_A and NAME_B, and both places of each; None if some have no partner."""
    places = {name: place for place, name in enumerate(names)}
    persons = [name[:-2] for name in names if name.endswith("_A")]
    both = [(f"{person}_A", f"{person}_B") for person in persons]
    if 2 * len(persons) != len(names) or any(second not in places for _, second in both):
        return [], None
    return persons, np.array([[places[name] for name in pair] for pair in both], np.int64)
