"""PLINK 2 genotypes, .pgen with its .pvar (or .pvar.zst) and .psam, read as records of variants (by pgenlib).

What is read of a call: its hard call, with the phase, of any number of alleles. Where PLINK 2 has no hard call, since a
dosage lies between two genotypes, the call is missing, and the dosage says what is known of it to whoever asks for
likelihoods. The .pvar is read here, line by line: pgenlib's reader holds all of it, and leaves out header and FILTER.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from io import BufferedReader
from os import fsencode
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.errors import InputError
from genomai_cli.formats.call_quality import DEFAULT_RULES, CallRules
from genomai_cli.formats.genotype_evidence import evidence_of_dosages
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.libraries import optional_library
from genomai_cli.formats.plink import companion_file, plink_contig, unique_names
from genomai_cli.formats.regions import OrderedSites, Sites, SitesByContig, has_symbolic, info_end
from genomai_cli.formats.streams import Input, open_bytes, text_of
from genomai_cli.formats.vcf import Variant, VariantFile, VariantReading, alternates, record_at

_HEAD = 12  # bytes: magic, mode, numbers of variants and samples, flags
_REFERENCE_KNOWN, _REFERENCE_IN_PVAR = 1, 0  # the two upper bits of the flags
_WITHOUT_HEADER = (
    ["#CHROM", "ID", "POS", "ALT", "REF"],  # as in a .bim
    ["#CHROM", "ID", "CM", "POS", "ALT", "REF"],
)
_FAMILIES = ["#FID", "IID", "PAT", "MAT", "SEX", "PHENO1"]  # as in a .fam
_BATCH_VARIANTS, _BATCH_CALLS = 256, 1 << 24
_ZST = b"\x28\xb5\x2f\xfd"
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _PvarRow:
    """A line of the .pvar about a requested position, which is its own or one that it covers (`site`, else 0); `number`
    counts the variants of the .pgen."""

    number: int
    line: int
    contig: str
    position: int
    ref: str
    alts: tuple[str, ...]
    filters: tuple[str, ...]
    site: int = 0


@dataclass(eq=False)
class _PvarTable:
    """The content of a .pvar: the requested rows, and the header and counts of all."""

    header: list[str] = field(default_factory=list)
    contigs: dict[str, int | None] = field(default_factory=dict)
    rows: list[_PvarRow] = field(default_factory=list)
    multiallelic_counts: dict[int, int] = field(
        default_factory=dict
    )  # alleles of those that have more than two
    count: int = 0

    def allele_offsets(self) -> NDArray[np.uint64] | None:
        """Where the alleles of each variant would begin in a list of all (for pgenlib); None if all have two."""
        if not self.multiallelic_counts:
            return None
        alleles = np.full(self.count, 2, np.uint64)
        alleles[list(self.multiallelic_counts)] = list(self.multiallelic_counts.values())
        return np.concatenate([np.zeros(1, np.uint64), np.cumsum(alleles, dtype=np.uint64)])


def read_pgen(
    source: Input,
    sites: SitesByContig | None = None,
    *,
    covering: bool = False,
    rules: CallRules = DEFAULT_RULES,
    likelihoods: bool = False,
) -> VariantFile:
    """The genotypes at the requested positions (all for None) as records, as `read_variants` gives those of a VCF.

    InputError where a companion file is missing, the three do not go together, or one is damaged.
    """
    if source.kind is not Kind.PGEN:
        raise InputError(f"{source.kind.value}, where a PLINK .pgen is needed", path=source.path)
    if source.file is None or source.compression != "plain":
        message = "a .pgen is read beside its .pvar and .psam: name the file itself, uncompressed"
        raise InputError(message, path=source.path)
    samples = _samples(companion_file(source.file, ".psam"))
    table = _PvarReader(companion_file(source.file, ".pvar", ".pvar.zst"), sites, covering).table()
    reference_flags = _check_size(source.file, table.count, len(samples))
    provisional = reference_flags == _REFERENCE_IN_PVAR and any(
        "ID=PR," in line for line in table.header
    )
    genotypes = _Genotypes(source.file, table, len(samples), VariantReading(rules), likelihoods)
    return VariantFile(
        source.path,
        samples,
        tuple(table.header),
        genotypes.records(),
        table.contigs,
        ordered=reference_flags in (_REFERENCE_KNOWN, _REFERENCE_IN_PVAR) and not provisional,
    )


def _check_size(pgen: Path, variants: int, samples: int) -> int:
    """What the flags say of the reference alleles; InputError unless the file has so many variants and samples."""
    with pgen.open("rb") as stream:
        head = stream.read(_HEAD)
    actual = int.from_bytes(head[3:7], "little"), int.from_bytes(head[7:11], "little")
    if len(head) < _HEAD or actual != (variants, samples):
        message = (
            f"{actual[0]} variants of {actual[1]} samples, where the .pvar has {variants} variants and the .psam "
            f"{samples} samples: truncated, or not the files that belong to it"
        )
        raise InputError(message, path=pgen)
    return head[_HEAD - 1] >> 6


def _samples(file: Path) -> tuple[str, ...]:
    """The samples' names, with their families where names repeat."""
    columns, named, rows, lines = _FAMILIES, False, [], []
    with open_bytes(file) as stream:
        for line, raw in enumerate(stream, start=1):
            fields = text_of(raw).split()
            if not named and raw.startswith((b"#FID", b"#IID")):
                columns, named = fields, True
            elif fields and not raw.startswith(b"#"):
                if len(fields) < (len(columns) if named else 2):
                    message = f"{len(fields)} fields where a .psam has {' '.join(columns)}"
                    raise InputError(message, path=file, line=line)
                rows.append(fields)
                lines.append(line)
    has_families = columns[:2] == ["#FID", "IID"]
    names = [fields[1 if has_families else 0] for fields in rows]
    families = [fields[0] for fields in rows] if has_families else []
    return unique_names(names, families, lines, file)


@dataclass(frozen=True, slots=True)
class _PvarColumns:
    """The indices of a .pvar's columns; `last` is the last to be read, `blanks` whether blanks separate them."""

    chrom: int
    position: int
    ref: int
    alt: int
    filters: int | None
    info: int | None
    blanks: bool

    @property
    def last(self) -> int:
        return max(self.chrom, self.position, self.ref, self.alt, self.filters or 0, self.info or 0)

    @classmethod
    def of(cls, names: list[str], *, blanks: bool) -> "_PvarColumns":
        """Those of these names; ValueError if one is missing that must be there."""
        chrom, position, ref, alt = map(names.index, ("#CHROM", "POS", "REF", "ALT"))
        filters, info = (names.index(n) if n in names else None for n in ("FILTER", "INFO"))
        return cls(chrom, position, ref, alt, filters, info, blanks)

    def of_row(self, raw: bytes) -> list[bytes]:
        """The fields of a line up to the last that is read."""
        return raw.rstrip(b"\r\n").split(None if self.blanks else b"\t", self.last + 1)


class _PvarReader:
    """Reads a .pvar to its end."""

    def __init__(self, file: Path, sites: SitesByContig | None, covering: bool) -> None:
        self._file, self._sites, self._covering = file, sites, covering
        self._ordered = OrderedSites()
        self._known_contigs: dict[bytes, tuple[str, str, Sites | None]] = {}
        self._table = _PvarTable()

    def table(self) -> _PvarTable:
        """The file's content. The loop runs over every line of the file."""
        columns = None
        with _text(self._file) as stream:
            for line, raw in enumerate(stream, start=1):
                if raw.startswith(b"##") and columns is None:
                    self._table.header.append(text_of(raw).rstrip("\r\n"))
                elif raw.startswith(b"#CHROM") and columns is None:
                    columns = self._header_columns(raw, line)
                elif raw.strip():
                    columns = columns or self._bim_columns(raw, line)
                    self._add_row(columns, columns.of_row(raw), line)
        return self._table

    def _header_columns(self, raw: bytes, line: int) -> _PvarColumns:
        try:
            return _PvarColumns.of(text_of(raw).rstrip("\r\n").split("\t"), blanks=False)
        except ValueError:
            message = "the #CHROM line must name CHROM, POS, ID, REF and ALT, separated by tabs"
            raise InputError(message, path=self._file, line=line) from None

    def _bim_columns(self, raw: bytes, line: int) -> _PvarColumns:
        """The columns of a .bim, which a .pvar without a header has."""
        count = len(raw.split())
        for names in _WITHOUT_HEADER:
            if len(names) == count:
                return _PvarColumns.of(names, blanks=True)
        message = f"{count} fields and no #CHROM line before: no variant of a .pvar"
        raise InputError(message, path=self._file, line=line)

    def _add_row(self, columns: _PvarColumns, fields: list[bytes], line: int) -> None:
        if len(fields) <= columns.last:
            message = f"{len(fields)} fields where there should be more: truncated?"
            raise InputError(message, path=self._file, line=line)
        table, alt = self._table, fields[columns.alt]
        number, table.count = table.count, table.count + 1
        if b"," in alt:
            table.multiallelic_counts[number] = alt.count(b",") + 2
        name, contig, sites = self._contig(fields[columns.chrom])
        table.contigs[name] = (table.contigs.get(name) or 0) + 1
        if not fields[columns.position].isdigit():
            shown = text_of(fields[columns.position])[:20]
            raise InputError(f"'{shown}' is not a position", path=self._file, line=line)
        position, ref = int(fields[columns.position]), fields[columns.ref]
        last = position + len(ref) - 1
        if columns.info is not None and has_symbolic(alt):
            last = max(last, info_end(fields[columns.info]))
        covered = self._covered(sites, position + 1, last)
        own_site = [0] if position > 0 and (sites is None or position in sites) else []
        if own_site or covered:
            filters = (
                ()
                if columns.filters is None
                else tuple(text_of(fields[columns.filters]).split(";"))
            )
            alleles = text_of(ref).upper(), alternates(text_of(alt))
            row = _PvarRow(number, line, contig, position, *alleles, filters)
            table.rows += [replace(row, site=site) for site in (*own_site, *covered)]

    def _contig(self, raw: bytes) -> tuple[str, str, Sites | None]:
        """The contig's name, its normal name, and the requested positions on it."""
        if raw not in self._known_contigs:
            name = text_of(raw)
            contig = plink_contig(name)
            sites = None if self._sites is None else self._sites.get(contig, ())
            self._known_contigs[raw] = name, contig, sites
        return self._known_contigs[raw]

    def _covered(self, sites: Sites | None, first: int, last: int) -> list[int]:
        """The requested positions that a record covers after its own."""
        if not sites or not self._covering or last < first:
            return []
        return self._ordered.within(sites, first, last)


@contextmanager
def _text(file: Path) -> Iterator[BinaryIO]:
    """The decompressed bytes of a .pvar, which PLINK 2 compresses with zstd."""
    with file.open("rb") as packed:
        if packed.read(len(_ZST)) == _ZST:
            zstandard = optional_library("zstandard", "reading compressed .pvar files", "plink")
            packed.seek(0)
            reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            try:
                yield cast(BinaryIO, BufferedReader(reader, 1 << 20))
            except zstandard.ZstdError as error:
                raise InputError(f"the compressed data are damaged ({error})", path=file) from None
            return
    with open_bytes(file) as stream:
        yield stream


@dataclass(frozen=True, eq=False)
class _Genotypes:
    """The calls of a .pgen at the rows of a table."""

    pgen: Path
    table: _PvarTable
    samples: int
    reading: VariantReading
    likelihoods: bool

    def records(self) -> Iterator[Variant]:
        """A record for each row, whose calls are read in batches."""
        pgenlib = optional_library("pgenlib", "reading PLINK .pgen files", "plink")
        try:
            opened = pgenlib.PgenReader(
                fsencode(self.pgen),
                raw_sample_ct=self.samples,
                variant_ct=self.table.count,
                allele_idx_offsets=self.table.allele_offsets(),
            )
            with closing(opened):
                self._alleles(opened, [self.table.count - 1])  # which a file that was cut has not
                rows = self.table.rows
                at_once = min(_BATCH_VARIANTS, max(1, _BATCH_CALLS // self.samples))
                for first in range(0, len(rows), at_once):
                    yield from self._batch_records(opened, rows[first : first + at_once])
        except RuntimeError as error:
            raise InputError(_reason(error), path=self.pgen) from None

    def _batch_records(self, opened: Any, rows: Sequence[_PvarRow]) -> Iterator[Variant]:
        numbers = sorted({row.number for row in rows})
        alleles, phased = self._alleles(opened, numbers)
        dosages = self._dosages(opened, numbers) if self.likelihoods else {}
        for row in rows:
            index = numbers.index(row.number)
            record = self._record(row, alleles[index], phased[index], dosages.get(row.number))
            yield record_at(record, row.site) if row.site else record

    def _alleles(self, opened: Any, numbers: Sequence[int]) -> tuple[NDArray[np.int32], Flags]:
        """The alleles (variants, samples, 2) of these, and whose phase is known (variants, samples)."""
        alleles = np.empty((len(numbers), 2 * self.samples), np.int32)
        phased = np.empty((len(numbers), self.samples), np.bool_)
        index = np.array(numbers, np.uint32)
        opened.read_alleles_and_phasepresent_list(index, alleles, phased)
        return alleles.reshape(len(numbers), self.samples, 2), phased

    def _dosages(self, opened: Any, numbers: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The dosages (samples,) of the alternate allele, of those of two alleles."""
        biallelic = [number for number in numbers if number not in self.table.multiallelic_counts]
        dosages = np.empty((len(biallelic), self.samples), np.float32)
        if biallelic:
            opened.read_dosages_list(np.array(biallelic, np.uint32), dosages)
        return dict(zip(biallelic, dosages, strict=True))

    def _record(
        self,
        row: _PvarRow,
        alleles: NDArray[np.int32],
        phased: Flags,
        dosages: NDArray[np.float32] | None,
    ) -> Variant:
        if alleles.max() > len(row.alts):
            message = f"calls of an allele that the .pvar does not name, in its line {row.line}"
            raise InputError(message, path=self.pgen)
        genotypes = np.where(alleles < 0, MISSING, alleles).astype(np.int16)
        record = Variant(row.contig, row.position, row.ref, row.alts, genotypes, phased, row.line)
        record = self.reading.of(record, row.filters, None)
        if dosages is None or not row.alts or record.filters:
            return record
        return replace(record, evidence=evidence_of_dosages(genotypes, dosages))


def _reason(error: RuntimeError) -> str:
    """The message of pgenlib's error, which is text or bytes."""
    message = error.args[0] if error.args else ""
    text = text_of(message) if isinstance(message, bytes) else str(message)
    return f"truncated or damaged, or not the .pvar that belongs to it ({text.strip().rstrip('.')})"
