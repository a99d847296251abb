"""Raw data of consumer tests: one individual's genotypes as text, a marker a line, read as records of variants.

23andMe, AncestryDNA, MyHeritage, Family Tree DNA and Living DNA write a marker's name, chromosome, position and either
its genotype or its two alleles, separated by tabs or commas, with or without quotes, behind comments and a line of
column names. No reference allele is given: the first allele of a record stands in its place, so which of the two is
REF means nothing (`VariantFile.ordered`). The alleles of the companies are on the plus strand, but for some markers of
some files; whoever knows the sites' alleles has to see to that.
"""

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import NoReturn

import numpy as np

from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import PLINK_CODES, normal_contig
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.regions import SitesByContig
from genomai_cli.formats.streams import Input, text_of
from genomai_cli.formats.vcf import Variant, VariantFile

_CHROMOSOMES = {**PLINK_CODES, "XY": "X", "PAR": "X"}
_ALLELES = re.compile(r"[ACGT]{1,2}")
_NO_CALL = re.compile(r"[-0.?N]{0,2}|[ID]{1,2}|[ACGT][-0]|[-0][ACGT]")  # no call, indel, half
_HEADINGS = ("rsid", "name", "snp", "snpid", "marker", "# rsid")
_SUFFIXES = (".gz", ".zip", ".txt", ".csv", ".tsv", ".tab")
_BUILDS = {
    36: re.compile(r"build *36|ncbi36|hg18", re.IGNORECASE),
    37: re.compile(r"build *37|grch37|hg19", re.IGNORECASE),
    38: re.compile(r"build *38|grch38|hg38", re.IGNORECASE),
}
# Markers of many chips, and where they lie in NCBI36 alone (dbSNP).
_IN_BUILD_36 = {
    ("rs3094315", "742429"), ("rs2341354", "908436"), ("rs2500347", "143649677"),
    ("rs964481", "27566744"), ("rs3850290", "22315141"), ("rs11928389", "50908372"),
}  # fmt: skip


def read_raw_genotypes(source: Input, sites: SitesByContig | None = None) -> VariantFile:
    """The genotypes at the requested positions (all for None) as records, of one sample named after the file.

    Markers that were not read (`--`, `00`), insertions and deletions have no record. Raises InputError for another kind
    of file, for coordinates of build 36, and for a line that is no marker.
    """
    if source.kind is not Kind.RAW:
        raise InputError(f"{source.kind.value}, where raw genotypes are needed", path=source.path)
    reader = _Reader(source, sites)
    return VariantFile(
        source.path,
        (sample_name(source.path),),
        reader.header,
        reader.records(),
        reader.contigs,
        ordered=False,
    )


def sample_name(path: str) -> str:
    """The file's name without its suffixes; `sample` for standard input."""
    name = PurePath(path).name
    while name.lower().endswith(_SUFFIXES):
        name = name[: name.rindex(".")]
    return name if name not in ("", "-", "stdin") else "sample"


class _Reader:
    """Reads one file; `contigs` counts its markers by chromosome as they go by."""

    def __init__(self, source: Input, sites: SitesByContig | None) -> None:
        self._source, self._sites = source, sites
        self._line, self._first = 0, b""
        self.contigs: dict[str, int | None] = {}
        self.header = tuple(self._comments())

    def _comments(self) -> Iterator[str]:
        """The build that the comments name, as a VCF's header would say it."""
        builds = set()
        for raw in self._source.stream:
            self._line += 1
            if raw.strip() and not raw.startswith(b"#"):
                self._first = raw
                break
            builds |= {build for build, pattern in _BUILDS.items() if pattern.search(text_of(raw))}
        if builds == {36}:
            raise self._build_36_error("the comments say")
        if len(builds) == 1:
            yield f"##reference=GRCh{builds.pop()}"

    def records(self) -> Iterator[Variant]:
        """A record for each requested marker that was read."""
        separators = (character for character in ",;" if self._first.count(character.encode()) >= 3)
        separator = next(separators, None)  # any blanks
        names: dict[str, str] = {}
        for raw in self._rows():
            fields = text_of(raw).replace('"', "").split(separator)
            if len(fields) not in (3, 4, 5) or not fields[2].strip().isdigit():
                if self._is_no_marker(fields):
                    continue
                self._refuse(raw)
            chromosome = fields[1].strip()
            contig = names.get(chromosome)
            if contig is None:
                upper = chromosome.upper().removeprefix("CHR")
                contig = names[chromosome] = _CHROMOSOMES.get(upper) or normal_contig(chromosome)
            self.contigs[contig] = (self.contigs.get(contig) or 0) + 1
            position = fields[2].strip()
            if (fields[0], position) in _IN_BUILD_36:
                raise self._build_36_error(f"{fields[0]} lies at {position}")
            if self._sites is None or int(position) in self._sites.get(contig, ()):
                alleles = "".join(fields[3:]).strip().upper().replace("/", "")
                if _ALLELES.fullmatch(alleles):
                    yield _variant(contig, int(position), alleles, self._line)
                elif not _NO_CALL.fullmatch(alleles):
                    self._refuse(raw)

    def _rows(self) -> Iterator[bytes]:
        """The lines behind the comments."""
        yield self._first
        for raw in self._source.stream:
            self._line += 1
            yield raw

    def _is_no_marker(self, fields: list[str]) -> bool:
        """Whether it is a blank line, a comment or the line of column names."""
        first = fields[0].strip().lower() if fields else ""
        return not first or first.startswith("#") or first in _HEADINGS

    def _refuse(self, raw: bytes) -> NoReturn:
        shown = text_of(raw.rstrip())[:40].replace("\t", " ")
        message = f"'{shown}' is not a marker's name, chromosome, position and genotype"
        raise InputError(message, path=self._source.path, line=self._line)

    def _build_36_error(self, reason: str) -> InputError:
        return InputError(
            f"{reason} build 36 (hg18): download the raw data anew, or lift them over to GRCh37, since sites are known "
            "in GRCh37 and GRCh38 only",
            path=self._source.path,
            line=self._line,
        )


def _variant(contig: str, position: int, alleles: str, line: int) -> Variant:
    """The record of one or two alleles, the first of which stands for REF."""
    first, second = alleles[0], alleles[1:]
    alts = (second,) if second not in ("", first) else ()
    genotype = np.array([[0, len(alts) if second else -2]], np.int16)
    return Variant(contig, position, first, alts, genotype, np.zeros(1, np.bool_), line)
