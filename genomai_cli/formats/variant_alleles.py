"""Variants as alleles on a reference: the records of a VCF or BCF without their genotypes, each allele normalised; and
the records of a VCF passed on with further INFO fields about their alleles.

Normalised as by Tan et al. 2015 (Bioinformatics 31:2202): what both alleles share is taken off, and an insertion or a
deletion lies as far left as the reference allows. Ways to write the same change then are the same.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from genomai_cli.alphabet import BASES, IUPAC
from genomai_cli.errors import InputError
from genomai_cli.formats.bcf import read_bcf_header, read_bcf_records
from genomai_cli.formats.indexed_fasta import IndexedFasta
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.streams import Input, text_of

_SEQUENCE = re.compile(f"[{''.join(IUPAC)}]+", re.IGNORECASE)
_BASES = re.compile("[ACGTU]+", re.IGNORECASE)
# An allele of one character that is neither a base nor unknown.
_CODES = re.compile("[^ACGTNacgtn*.]")
NO_BASES_REMEDY = (
    "alleles that are no bases (numbers, A and B): write them as A, C, G and T (plink --alleleACGT of 1, 2, 3 and 4; "
    "--update-alleles of others)"
)
_MIN_COLUMNS = 5  # to ALT
_INFO_COLUMN = 7


@dataclass(frozen=True, slots=True)
class AlleleRecord:
    """One record: alleles as they are written; `raw` is its line in a VCF without the end, empty of a BCF."""

    contig: str
    position: int
    ref: str
    alts: tuple[str, ...]
    path: str
    line: int | None
    raw: bytes = b""

    @property
    def label(self) -> str:
        """The record's name in messages."""
        return f"{self.contig}:{self.position} {self.ref}>{','.join(self.alts) or '.'}"


@dataclass(frozen=True)
class AlleleFile:
    """A VCF or BCF: its header, the #CHROM line last, without line ends, and its records, to be iterated once."""

    header: tuple[bytes, ...]
    records: Iterator[AlleleRecord]


def has_coded_alleles(ref: str, alts: Iterable[str]) -> bool:
    """Whether an allele is a number or another code in place of a base, as 1 and 2 or A and B are."""
    return any(_CODES.fullmatch(allele) for allele in (ref, *alts))


def read_alleles(source: Input) -> AlleleFile:
    """The records of a VCF or BCF in file order, with or without samples; InputError for another kind of input."""
    if source.kind is Kind.BCF:
        return _read_bcf(source)
    if source.kind is not Kind.VCF:
        raise InputError(f"{source.kind.value}, where VCF or BCF is needed", path=source.path)
    header: list[bytes] = []
    for line, raw in enumerate(source.stream, start=1):
        header.append(raw.rstrip(b"\r\n"))
        if raw.startswith(b"#CHROM\t"):
            return AlleleFile(tuple(header), _records(source, line + 1))
        if not raw.startswith(b"##"):
            break
    raise InputError("the VCF has no #CHROM line", path=source.path, line=max(1, len(header)))


def _records(source: Input, first: int) -> Iterator[AlleleRecord]:
    for line, raw in enumerate(source.stream, start=first):
        line_bytes = raw.rstrip(b"\r\n")
        if not line_bytes.strip():
            continue
        columns = line_bytes.split(b"\t", _MIN_COLUMNS)
        if len(columns) < _MIN_COLUMNS or not columns[1].isdigit():
            hint = "" if raw.endswith(b"\n") else " (truncated?)"
            message = f"a record needs CHROM, POS, ID, REF and ALT, separated by tabs{hint}"
            raise InputError(message, path=source.path, line=line)
        contig, ref = text_of(columns[0]), text_of(columns[3])
        alts = tuple(alt for alt in text_of(columns[4]).split(",") if alt not in ("", "."))
        yield _checked(
            AlleleRecord(contig, int(columns[1]), ref, alts, source.path, line, line_bytes)
        )


def _read_bcf(source: Input) -> AlleleFile:
    header = read_bcf_header(source)
    lines = tuple(
        line.encode("utf-8", "surrogateescape") for line in (*header.lines, header.columns)
    )
    samples = max(0, header.columns.count("\t") - 8)
    rows = read_bcf_records(source, header, samples, None, False, {})
    records = (
        AlleleRecord(
            row.contig,
            row.position,
            row.ref,
            tuple(a for a in row.alts if a != "."),
            source.path,
            None,
        )
        for row in rows
    )
    return AlleleFile(lines, map(_checked, records))


def _checked(record: AlleleRecord) -> AlleleRecord:
    if not _SEQUENCE.fullmatch(record.ref):
        message = f"{record.label}: REF is no sequence of nucleotides"
        raise InputError(message, path=record.path, line=record.line)
    return record


def is_sequence(alt: str) -> bool:
    """Whether an alternate allele is spelled out in bases; symbolic ones, `*`, breakends and ambiguous ones are not."""
    return _BASES.fullmatch(alt) is not None


@dataclass(frozen=True, slots=True)
class Change:
    """An allele as a replacement on a contig: of the letters `ref` from `start` (from 0) on by `alt`.

    `contig` is the reference's name; either may be empty.
    """

    contig: str
    start: int
    ref: str
    alt: str

    @property
    def end(self) -> int:
        """Where the letters that are replaced end."""
        return self.start + len(self.ref)


def reference_mismatch(record: AlleleRecord, contig: str, reference: IndexedFasta) -> str:
    """How REF disagrees with the reference; empty where it does not.

    An ambiguous letter of the reference agrees with the bases that it stands for, and N in REF with any.
    """
    start = record.position - 1
    reference_bases = reference.fetch(contig, start, start + len(record.ref)) if start >= 0 else ""
    length = reference.lengths[contig]
    if len(reference_bases) < len(record.ref):
        return f"lies outside of the contig {contig} of {length} letters"
    for offset, (ref, letter) in enumerate(
        zip(record.ref.upper().replace("U", "T"), reference_bases, strict=True)
    ):
        if ref not in (letter, "N") and ref not in _stands_for(letter):
            position = f"{contig}:{record.position + offset}"
            return f"REF has {ref} where the reference has {letter} at {position}"
    return ""


def reference_allele(record: AlleleRecord, contig: str, reference: IndexedFasta) -> str:
    """REF, in which the reference says what N is."""
    reference_bases = reference.fetch(
        contig, record.position - 1, record.position - 1 + len(record.ref)
    )
    ref = record.ref.upper().replace("U", "T")
    return "".join(b if a == "N" else a for a, b in zip(ref, reference_bases, strict=True))


def _stands_for(letter: str) -> str:
    return "" if letter in BASES else IUPAC.get(letter, "")


def normalised(contig: str, position: int, ref: str, alt: str, reference: IndexedFasta) -> Change:
    """The change that a record's allele makes, trimmed and as far left as can be; `position` counts from 1."""
    ref, alt = (allele.upper().replace("U", "T") for allele in (ref, alt))
    start = position - 1
    while ref and alt and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    common = next(
        (i for i, (a, b) in enumerate(zip(ref, alt, strict=False)) if a != b),
        min(len(ref), len(alt)),
    )
    start, ref, alt = start + common, ref[common:], alt[common:]
    while start and bool(ref) != bool(alt):
        base_before, indel = reference.fetch(contig, start - 1, start), ref or alt
        if indel[-1] != base_before:
            break
        indel = base_before + indel[:-1]
        start, ref, alt = start - 1, indel if ref else "", indel if alt else ""
    return Change(contig, start, ref, alt)


def as_vcf_alleles(change: Change, reference: IndexedFasta) -> tuple[int, str, str]:
    """Position, REF and ALT of a change as a VCF writes it: an insertion or a deletion with the base before it."""
    if (change.ref and change.alt) or not (change.ref or change.alt):
        return change.start + 1, change.ref or ".", change.alt or "."
    if change.start == 0:
        after = reference.fetch(change.contig, change.end, change.end + 1)
        return 1, change.ref + after, change.alt + after
    before = reference.fetch(change.contig, change.start - 1, change.start)
    return change.start, before + change.ref, before + change.alt


def with_info(raw: bytes, values: Mapping[str, Sequence[str]]) -> bytes:
    """A VCF line with INFO fields of a value an allele, those without values left out; fields of the same names that it
    had are replaced."""
    columns = raw.split(b"\t")
    columns += [b"."] * (_INFO_COLUMN + 1 - len(columns))
    entries = columns[_INFO_COLUMN].split(b";")
    replaced = {name.encode() for name in values}
    retained = [
        entry
        for entry in entries
        if entry not in (b"", b".") and entry.split(b"=")[0] not in replaced
    ]
    added = [f"{name}={','.join(each)}".encode() for name, each in values.items() if each]
    columns[_INFO_COLUMN] = b";".join([*retained, *added]) or b"."
    return b"\t".join(columns)


def with_info_header(
    header: Iterable[bytes],
    descriptions: Mapping[str, str],
    provenance: str,
    types: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """A VCF's header that declares INFO fields with a value an allele, a `Float` unless `types` says else, and says
    where they come from."""
    replaced = tuple(f"##INFO=<ID={name},".encode() for name in descriptions)
    *lines, columns = header
    yield from (line for line in lines if not line.startswith(replaced))
    for name, text in descriptions.items():
        kind = (types or {}).get(name, "Float")
        yield f'##INFO=<ID={name},Number=A,Type={kind},Description="{text}">'.encode()
    yield f"##genomai_score={provenance}".encode()
    yield columns
