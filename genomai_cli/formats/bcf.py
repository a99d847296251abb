"""BCF, the binary VCF, read from any stream.

htslib would need a file or a pipe of its own and decodes every record in full; here the records that are
not requested are skipped by their length, and a damaged file cannot bring the interpreter down.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import declared_id
from genomai_cli.formats.genotypes import ABSENT
from genomai_cli.formats.regions import OrderedSites, Sites, is_block, is_symbolic
from genomai_cli.formats.sample_fields import BcfFields
from genomai_cli.formats.streams import LONGEST_LINE, Input, text_of

_FIXED = struct.Struct("<IIiiifII")
_NUMBERS, _TEXT = {1: "<i1", 2: "<i2", 3: "<i4", 5: "<f4"}, 7
_INTEGERS = ("<i1", "<i2", "<i4")
_WIDTHS = {0: 0, 1: 1, 2: 2, 3: 4, 5: 4, 7: 1}
_DAMAGE_ERRORS = (struct.error, IndexError, KeyError, ValueError)


@dataclass(frozen=True)
class BcfHeader:
    """The header's ## lines, its #CHROM line, and the numbers that records use instead of names."""

    lines: tuple[str, ...]
    columns: str
    contigs: dict[int, str]
    format_keys: dict[str, int]
    filters: dict[int, str]


@dataclass(frozen=True, slots=True)
class BcfRecord:
    """One record; `genotypes` as in `Variant`; `site` is a requested position after its first that it covers, or 0."""

    contig: str
    position: int
    ref: str
    alts: tuple[str, ...]
    genotypes: NDArray[np.int16]
    phased: NDArray[np.bool_]
    has_genotypes: bool
    fields: BcfFields
    filters: tuple[str, ...] = ()
    site: int = 0


def read_bcf_header(source: Input) -> BcfHeader:
    """The header of a BCF stream, which is left at its first record."""
    source.stream.read(5)
    size = source.stream.read(4)
    length = int.from_bytes(size, "little")
    try:
        text = _read_exactly(source.stream, length if length <= LONGEST_LINE else 0)
    except ValueError:
        text = b""
    if len(size) < 4 or not text:
        raise InputError("the BCF header is truncated", path=source.path)
    lines = text_of(text.rstrip(b"\0")).replace("\r\n", "\n").split("\n")
    columns = next((line for line in lines if line.startswith("#CHROM")), "")
    if not columns:
        raise InputError("the BCF header has no #CHROM line", path=source.path)
    meta = tuple(line for line in lines if line.startswith("##"))
    names = _names_by_number(meta, ("FILTER", "INFO", "FORMAT"), ["PASS"])
    format_keys = {key: number for number, key in names.items()}
    return BcfHeader(meta, columns, _names_by_number(meta, ("contig",), []), format_keys, names)


def _names_by_number(
    lines: Sequence[str], kinds: tuple[str, ...], initial: list[str]
) -> dict[int, str]:
    """Names by number: the IDX field where there is one, the order of first appearance otherwise."""
    names = {name: number for number, name in enumerate(initial)}
    for line in lines:
        kind, name = declared_id(line) or ("", "")
        if kind in kinds and name not in names:
            index = re.search(r",IDX=(\d+)>?\s*$", line)
            names[name] = int(index[1]) if index else len(names)
    return {number: name for name, number in names.items()}


def read_bcf_records(
    source: Input,
    header: BcfHeader,
    samples: int,
    sites: Mapping[int, Sites] | None,
    covering: bool,
    contigs: dict[str, int | None],
) -> Iterator[BcfRecord]:
    """The records whose position is among their contig's `sites` (all records for None).

    Reference blocks come once more for each site that they cover, with `covering` other records too. `contigs` counts
    the records.
    """
    count, ordered = 0, OrderedSites()
    while head := source.stream.read(_FIXED.size):
        count += 1
        try:
            fields = _FIXED.unpack(head)
            _check_sizes(fields, header)
            shared = _read_exactly(source.stream, fields[0] - 24)
            calls = _read_exactly(source.stream, fields[1])
            name = header.contigs[fields[2]]
            contigs[name] = (contigs.get(name) or 0) + 1
            position, requested = fields[3] + 1, None if sites is None else sites[fields[2]]
            if requested is None or position in requested:
                yield _record(fields, shared, calls, header, samples)
            if requested and fields[4] > 1:
                covered = ordered.within(requested, position + 1, position + fields[4] - 1)
                record = _record(fields, shared, calls, header, samples) if covered else None
                if record and (covering or is_block(record.alts)):
                    last = (
                        position + (fields[4] if is_symbolic(record.alts) else len(record.ref)) - 1
                    )
                    yield from (replace(record, site=site) for site in covered if site <= last)
        except _DAMAGE_ERRORS:
            raise InputError(f"record {count} is damaged or truncated", path=source.path) from None


def _check_sizes(fields: tuple[int, ...], header: BcfHeader) -> None:
    shared, calls, contig = fields[:3]
    if not 24 <= shared <= LONGEST_LINE or calls > LONGEST_LINE:
        raise ValueError("impossible length")
    if contig not in header.contigs:
        raise ValueError("unknown contig")


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    chunks = []
    while size and (chunk := stream.read(min(size, 1 << 20))):  # memory is taken for what is there
        chunks.append(chunk)
        size -= len(chunk)
    if size:
        raise ValueError("truncated")
    return b"".join(chunks)


def _record(
    fields: tuple[int, ...], shared: bytes, calls: bytes, header: BcfHeader, samples: int
) -> BcfRecord:
    n_alleles, n_formats, n_samples = fields[6] >> 16, fields[7] >> 24, fields[7] & 0xFFFFFF
    if n_samples != samples:
        raise ValueError("another number of samples than the header")
    alleles, end = _alleles(shared, n_alleles)
    layout = _field_layout(calls, n_formats, n_samples)
    encoded = _encoded_genotypes(calls, layout.get(header.format_keys.get("GT", -1)), n_samples)
    genotypes, phased = _decoded_genotypes(encoded, n_samples)
    genotypes[genotypes >= n_alleles] = MISSING
    contig, position = header.contigs[fields[2]], fields[3] + 1
    return BcfRecord(
        contig,
        position,
        alleles[0],
        tuple(alleles[1:]),
        genotypes,
        phased,
        encoded is not None,
        BcfFields(header.format_keys, partial(_field_values, calls, layout, n_samples)),
        _filters(shared, end, header.filters),
    )


def _filters(shared: bytes, offset: int, names: Mapping[int, str]) -> tuple[str, ...]:
    kind, length, start = _type_descriptor(shared, offset)
    width = _WIDTHS[kind]
    numbers = [shared[start + width * n : start + width * (n + 1)] for n in range(length)]
    return tuple(names[int.from_bytes(number, "little")] for number in numbers)


def _alleles(shared: bytes, count: int) -> tuple[list[str], int]:
    """The alleles, and where they end."""
    _, length, start = _type_descriptor(shared, 0)  # the ID
    offset = start + length
    alleles = []
    for _ in range(count):
        _, length, start = _type_descriptor(shared, offset)
        offset = start + length
        alleles.append(text_of(shared[start:offset]))
    if offset > len(shared) or not alleles:
        raise ValueError("alleles run over the record's end")
    return alleles, offset


# By a field's number: its type, and where values begin and end.
_FieldLayout = dict[int, tuple[str, int, int]]


def _field_layout(calls: bytes, n_formats: int, samples: int) -> _FieldLayout:
    """Where a record's fields with values are."""
    offset, layout = 0, {}
    for _ in range(n_formats):
        kind, length, start = _type_descriptor(calls, offset)
        name = int.from_bytes(calls[start : start + length * _WIDTHS[kind]], "little")
        kind, length, start = _type_descriptor(calls, start + length * _WIDTHS[kind])
        offset = start + length * _WIDTHS[kind] * samples
        if offset > len(calls):
            raise ValueError("values run over the record's end")
        if length:
            layout[name] = (f"S{length}" if kind == _TEXT else _NUMBERS[kind], start, offset)
    return layout


def _field_values(
    calls: bytes, layout: _FieldLayout, samples: int, key: int
) -> NDArray[Any] | None:
    """The values (samples, length) of a field as they are stored, texts in one column; None if it is not there."""
    if key not in layout:
        return None
    dtype, start, end = layout[key]
    return np.frombuffer(calls[start:end], dtype).reshape(samples, -1)


def _encoded_genotypes(
    calls: bytes, field: tuple[str, int, int] | None, samples: int
) -> NDArray[Any] | None:
    """The encoded genotypes (samples, ploidy), None for a record without any."""
    if field is None:
        return None
    if field[0] not in _INTEGERS:
        raise ValueError("genotypes that are no integers")
    return np.frombuffer(calls[field[1] : field[2]], field[0]).reshape(samples, -1)


def _type_descriptor(data: bytes, offset: int) -> tuple[int, int, int]:
    """Type, number of values and where they start."""
    kind, length = data[offset] & 15, data[offset] >> 4
    if length < 15:
        return kind, length, offset + 1
    width = _WIDTHS[data[offset + 1] & 15]
    start = offset + 2 + width
    return kind, int.from_bytes(data[offset + 2 : start], "little"), start


def _decoded_genotypes(
    values: NDArray[Any] | None, samples: int
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    genotypes = np.full((samples, 2), MISSING, np.int16)
    if values is None:
        return genotypes, np.zeros(samples, np.bool_)
    ended = values < 0  # the end-of-vector mark
    alleles = np.where(ended, ABSENT, (values >> 1) - 1)
    phased = np.ones(samples, np.bool_)
    genotypes[:, 0] = np.where(ended[:, 0], MISSING, alleles[:, 0])
    genotypes[:, 1] = alleles[:, 1] if values.shape[1] > 1 else ABSENT
    if values.shape[1] > 1:
        phased = ended[:, 1] | ((values[:, 1] & 1) == 1)
    genotypes[(~ended[:, 2:]).any(axis=1)] = MISSING  # no barcode letter tells three alleles apart
    return genotypes, phased
