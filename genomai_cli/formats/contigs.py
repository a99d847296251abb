"""One name for each contig, however a file spells it: chr1, Chr01, NC_000001.11, CM000663.2 and GRCh38#0#chr1 are 1."""

import re
from collections.abc import Iterable
from functools import lru_cache

_PLAIN = re.compile(r"(?:chromosome|chrom|chr)?_?0*(\d{1,2}|[XYM]|MT)", re.IGNORECASE)
# Accessions of the Genome Reference Consortium's chromosomes, whose versions go with the assembly.
_REFSEQ = re.compile(r"(?:chr)?NC_0000(0[1-9]|1\d|2[0-4])(?:\.\d+)?", re.IGNORECASE)
_GENBANK = re.compile(r"(?:chr)?CM0006(6[3-9]|7\d|8[0-6])(?:\.\d+)?", re.IGNORECASE)
_BEFORE_FIRST_GENBANK = 62
_MITOCHONDRIAL = re.compile(
    r"(?:chr)?(?:MT?_)?(?:(?:NC_012920|J01415)(?:\.\d+)?|rCRS)|mitochondri(?:on|a)|mtDNA",
    re.IGNORECASE,
)
_WITH_ASSEMBLY = re.compile(
    r"(?:grch3[78]|hg19|hg38|b37|b38|hs37d5|hs38)(?:\.p\d+)?(?:#\d+#|[#.:_])(.+)", re.IGNORECASE
)  # PanSN's names and their like
_BETWEEN_BARS = re.compile(r"\|((?:NC_|CM|J)\d+\.\d+)(?:\||$)")  # of NCBI's old FASTA headers
# A whole FASTA header: Ensembl's `1 dna:chromosome chromosome:GRCh37:1:...`.
_WITH_DESCRIPTION = re.compile(r"(\S+)\s.*")

# What plink, and EIGENSOFT from 90 on, write in place of names. Other species have chromosomes of these numbers, so
# only who knows that a file is human may read them.
PLINK_CODES = {"23": "X", "24": "Y", "25": "X", "26": "MT", "90": "MT", "91": "X"}


@lru_cache(maxsize=1 << 14)
def normal_contig(name: str) -> str:
    """The contig's name without `chr` and leading zeros; accessions of the human chromosomes are known."""
    if plain := _PLAIN.fullmatch(name):
        return "MT" if plain[1].upper() == "M" else plain[1].upper()
    if accession := _REFSEQ.fullmatch(name):
        return _numbered(int(accession[1]))
    if accession := _GENBANK.fullmatch(name):
        return _numbered(int(accession[1]) - _BEFORE_FIRST_GENBANK)
    if _MITOCHONDRIAL.fullmatch(name):
        return "MT"
    if embedded := (
        _WITH_DESCRIPTION.fullmatch(name)
        or _WITH_ASSEMBLY.fullmatch(name)
        or _BETWEEN_BARS.search(name)
    ):
        return normal_contig(embedded[1])
    return name[3:] if name[:3].lower() == "chr" else name


def declared_id(line: str) -> tuple[str, str] | None:
    """The kind (contig, INFO, ...) and the ID that a line of a VCF's header declares; None for another line. An `,ID=`
    behind it, as within a description, is none."""
    found = re.match(r"##([^=]+)=<(?:.*?,)??ID=([^,>]+)", line)
    return (found[1], found[2]) if found else None


def declared_contigs(lines: Iterable[str]) -> list[str]:
    """The names of the contigs that lines of a VCF's header declare, in their order."""
    return [name for kind, name in filter(None, map(declared_id, lines)) if kind == "contig"]


def contig_length(line: str) -> tuple[str, int] | None:
    """The normal name and the length that a line of a VCF's header gives a contig; None for another line."""
    if not line.startswith("##contig="):
        return None
    name, length = re.search(r"[<,]ID=([^,>]+)", line), re.search(r"[<,]length=(\d+)", line)
    return (normal_contig(name[1]), int(length[1])) if name and length else None


def _numbered(number: int) -> str:
    return {23: "X", 24: "Y"}.get(number, str(number))
