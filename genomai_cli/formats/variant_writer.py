"""Phased genotypes out, as VCF.

Shape suffixes: N samples, S sites.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Site:
    """A biallelic SNP; `position` counts from 1."""

    contig: str
    position: int
    identifier: str
    ref: str
    alt: str


def write_variants(
    out: IO[bytes],
    sites: Sequence[Site],
    samples: Mapping[str, str],
    alleles_N2S: NDArray[np.int8],  # noqa: N803
    *,
    build: str,
    contigs: Mapping[str, int],
    source: str,
) -> None:
    """VCF 4.2 of the sites, which are in order already; `samples` gives the phenotype of each name, `alleles_N2S` 0 for
    ref and 1 for alt. Contigs that no site lies on are left out of the header."""
    out.write("".join(_header(sites, samples, build, contigs, source)).encode())
    table = np.array([b"0|0\t", b"0|1\t", b"1|0\t", b"1|1\t"])
    for number, site in enumerate(sites):
        codes = 2 * alleles_N2S[:, 0, number] + alleles_N2S[:, 1, number]
        calls = table[codes].tobytes().rstrip(b"\t")
        fixed = (site.contig, site.position, site.identifier, site.ref, site.alt, ".", "PASS")
        out.write("\t".join(map(str, (*fixed, ".", "GT"))).encode() + b"\t" + calls + b"\n")


def _header(
    sites: Sequence[Site],
    samples: Mapping[str, str],
    build: str,
    contigs: Mapping[str, int],
    source: str,
) -> Iterator[str]:
    used = {site.contig: None for site in sites}
    yield "##fileformat=VCFv4.2\n"
    yield f"##source={source}\n"
    yield '##FILTER=<ID=PASS,Description="All filters passed">\n'
    for contig in used:
        length = f",length={contigs[contig]}" if contig in contigs else ""
        yield f"##contig=<ID={contig}{length},assembly={build}>\n"
    yield '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    for name, phenotype in samples.items():
        yield f'##SAMPLE=<ID={name},Description="phenotype={phenotype}">\n'
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    yield "\t".join([*columns, *samples]) + "\n"
