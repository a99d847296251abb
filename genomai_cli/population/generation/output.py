"""Generated individuals as FASTA, VCF or TSV.

Shape suffixes: S sites, N individuals.
"""

from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np

from genomai_cli.formats.fasta import write_fasta
from genomai_cli.formats.outputs import text_over
from genomai_cli.formats.tables import TableWriter
from genomai_cli.formats.vcf_rewrite import Site, write_variants
from genomai_cli.population.barcode import genotypes_to_letters
from genomai_cli.population.builds import contig_lengths
from genomai_cli.population.generation.sampler import SyntheticIndividual
from genomai_cli.population.panel import GRCH38, Panel
from genomai_cli.records import SequenceRecord


def write_barcodes(
    out: IO[bytes],
    individuals: Iterable[SyntheticIndividual],
    panel: Panel,
    origin: str,
    *,
    haplotypes: bool,
) -> int:
    """FASTA: a barcode of IUPAC letters an individual, or with `haplotypes` two records, NAME_A and NAME_B; how many
    individuals.

    The description is the phenotype and `origin`.
    """
    records = write_fasta(out, barcode_records(individuals, panel, origin, haplotypes=haplotypes))
    return records // 2 if haplotypes else records


def barcode_records(
    individuals: Iterable[SyntheticIndividual], panel: Panel, origin: str, *, haplotypes: bool
) -> Iterator[SequenceRecord]:
    """The records of `write_barcodes`."""
    for individual in individuals:
        description = f"phenotype={individual.phenotype} {origin}"
        if not haplotypes:
            letters_S = genotypes_to_letters(individual.alleles.sum(axis=0, dtype=np.int8), panel)
            yield SequenceRecord(individual.name, letters_S.tobytes().decode("ascii"), description)
            continue
        for ending, alleles_S in zip("AB", individual.alleles, strict=True):
            letters_S = genotypes_to_letters(2 * alleles_S, panel)
            name = f"{individual.name}_{ending}"
            yield SequenceRecord(name, letters_S.tobytes().decode("ascii"), description)


def write_table(
    out: IO[bytes],
    individuals: Iterable[SyntheticIndividual],
    panel: Panel,
    build: str,
    *,
    haplotypes: bool,
) -> int:
    """TSV: a row an individual with the number of alternate alleles at each site, CHROM:POS:REF:ALT, or with
    `haplotypes` two rows, NAME_A and NAME_B, of 0 and 1; how many individuals."""
    columns = [f"{s.contig}:{s.position or '.'}:{s.ref}:{s.alt}" for s in sites(panel, build)]
    text = text_over(out)
    writer = TableWriter(text, ["sample", "phenotype", *columns])
    written = 0
    for individual in individuals:
        written += 1
        if not haplotypes:
            writer.write(
                [individual.name, individual.phenotype, *individual.alleles.sum(axis=0).tolist()]
            )
            continue
        for ending, alleles_S in zip("AB", individual.alleles, strict=True):
            writer.write([f"{individual.name}_{ending}", individual.phenotype, *alleles_S.tolist()])
    text.detach()
    return written


def write_vcf(
    out: IO[bytes],
    individuals: Iterable[SyntheticIndividual],
    panel: Panel,
    build: str,
    origin: str,
) -> tuple[int, int]:
    """A phased VCF, sorted, of the sites that have a position in the build; how many individuals, and how many sites
    are left out."""
    individuals = list(individuals)
    columns = sites(panel, build)
    lengths = contig_lengths(build)
    order = {_contig(name, build): rank for rank, name in enumerate(lengths)}
    chosen = [number for number, site in enumerate(columns) if site.position]
    chosen.sort(
        key=lambda n: (
            order.get(columns[n].contig, len(order)),
            columns[n].contig,
            columns[n].position,
        )
    )
    alleles_N2S = np.stack([individual.alleles for individual in individuals])[:, :, chosen]
    samples = {individual.name: individual.phenotype for individual in individuals}
    contigs = {_contig(name, build): length for name, length in lengths.items()}
    written = [columns[number] for number in chosen]
    write_variants(out, written, samples, alleles_N2S, build=build, contigs=contigs, source=origin)
    return len(individuals), len(columns) - len(chosen)


def sites(panel: Panel, build: str) -> list[Site]:
    """The panel's sites in one build, in the order of the panel; the position is 0 where it has none."""
    positions = panel.positions[build].tolist()
    rows = zip(panel.chrom, positions, panel.rsid, panel.ref, panel.alt, strict=True)
    return [Site(_contig(chrom, build), *rest) for chrom, *rest in rows]


def _contig(name: str, build: str) -> str:
    """Contigs as the 1000 Genomes Project names them: 1 and MT in GRCh37, chr1 and chrM in GRCh38."""
    return f"chr{'M' if name == 'MT' else name}" if build == GRCH38 else name
