"""Generated individuals as FASTA, VCF or TSV.

Shape suffixes: S sites, N individuals.
"""

import io
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np

from genomai_cli.formats.fasta import write_fasta
from genomai_cli.formats.tables import TableWriter
from genomai_cli.formats.vcf_rewrite import Site, write_variants
from genomai_cli.population.barcode import genotypes_to_letters
from genomai_cli.population.cohorts import contig_lengths
from genomai_cli.population.generation.sampler import SyntheticIndividual
from genomai_cli.population.panel import GRCH38, Panel
from genomai_cli.records import SequenceRecord


def write_barcodes(
    out: IO[bytes],
    people: Iterable[SyntheticIndividual],
    panel: Panel,
    origin: str,
    *,
    haplotypes: bool,
) -> int:
    """FASTA: a barcode of IUPAC letters a person, or with `haplotypes` two records, NAME_A and NAME_B; how many people.

    The description is the phenotype and `origin`.
    """
    written = 0

    def records() -> Iterator[SequenceRecord]:
        nonlocal written
        for person in people:
            written += 1
            told = f"phenotype={person.phenotype} {origin}"
            if not haplotypes:
                letters_S = genotypes_to_letters(person.alleles.sum(axis=0, dtype=np.int8), panel)
                yield SequenceRecord(person.name, letters_S.tobytes().decode("ascii"), told)
                continue
            for ending, alleles_S in zip("AB", person.alleles, strict=True):
                letters_S = genotypes_to_letters(2 * alleles_S, panel)
                name = f"{person.name}_{ending}"
                yield SequenceRecord(name, letters_S.tobytes().decode("ascii"), told)

    write_fasta(out, records())
    return written


def write_table(
    out: IO[bytes],
    people: Iterable[SyntheticIndividual],
    panel: Panel,
    build: str,
    *,
    haplotypes: bool,
) -> int:
    """TSV: a row a person with the number of alternate alleles at each site, CHROM:POS:REF:ALT, or with `haplotypes`
    two rows, NAME_A and NAME_B, of 0 and 1; how many people."""
    columns = [f"{s.contig}:{s.position or '.'}:{s.ref}:{s.alt}" for s in sites(panel, build)]
    text = io.TextIOWrapper(out, encoding="utf-8", newline="\n", write_through=True)
    writer = TableWriter(text, ["sample", "phenotype", *columns])
    written = 0
    for person in people:
        written += 1
        if not haplotypes:
            writer.write([person.name, person.phenotype, *person.alleles.sum(axis=0).tolist()])
            continue
        for ending, alleles_S in zip("AB", person.alleles, strict=True):
            writer.write([f"{person.name}_{ending}", person.phenotype, *alleles_S.tolist()])
    text.detach()
    return written


def write_people_as_variants(
    out: IO[bytes], people: Iterable[SyntheticIndividual], panel: Panel, build: str, origin: str
) -> tuple[int, int]:
    """A phased VCF, sorted, of the sites that have a position in the build; how many people, and how many sites are
    left out."""
    everyone = list(people)
    columns = sites(panel, build)
    lengths = contig_lengths(build)
    order = {_contig(name, build): rank for rank, name in enumerate(lengths)}
    there = [number for number, site in enumerate(columns) if site.position]
    there.sort(
        key=lambda n: (
            order.get(columns[n].contig, len(order)),
            columns[n].contig,
            columns[n].position,
        )
    )
    alleles_N2S = np.stack([person.alleles for person in everyone])[:, :, there]
    samples = {person.name: person.phenotype for person in everyone}
    contigs = {_contig(name, build): length for name, length in lengths.items()}
    placed = [columns[number] for number in there]
    write_variants(out, placed, samples, alleles_N2S, build=build, contigs=contigs, source=origin)
    return len(everyone), len(columns) - len(there)


def sites(panel: Panel, build: str) -> list[Site]:
    """The panel's sites in one build, in the order of the panel; the position is 0 where it has none."""
    positions = panel.positions[build].tolist()
    rows = zip(panel.chrom, positions, panel.rsid, panel.ref, panel.alt, strict=True)
    return [Site(_contig(chrom, build), *rest) for chrom, *rest in rows]


def _contig(name: str, build: str) -> str:
    """Contigs as the 1000 Genomes Project names them: 1 in GRCh37, chr1 in GRCh38."""
    return f"chr{name}" if build == GRCH38 else name
