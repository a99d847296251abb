"""BCF, the binary VCF, read from any stream.

htslib would need a file or a pipe of its own and decodes every record in full; here the records that are
not wanted are skipped by their length, and a damaged file cannot bring the interpreter down.
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
from genomai_cli.formats.genotypes import ABSENT
from genomai_cli.formats.regions import OrderedSites, Sites, is_block, is_symbolic
from genomai_cli.formats.sample_fields import BcfFields
from genomai_cli.formats.streams import LONGEST_LINE, Input, text_of

_FIXED = struct.Struct("<IIiiifII")
_NUMBERS, _TEXT = {1: "<i1", 2: "<i2", 3: "<i4", 5: "<f4"}, 7
_INTEGERS = ("<i1", "<i2", "<i4")
_WIDTHS = {0: 0, 1: 1, 2: 2, 3: 4, 5: 4, 7: 1}
_DAMAGE = (struct.error, IndexError, KeyError, ValueError)


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
    """One record; `genotypes` as in `Variant`; `site` is a wanted position after its first that it covers, or 0."""

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
        text = _exactly(source.stream, length if length <= LONGEST_LINE else 0)
    except ValueError:
        text = b""
    if len(size) < 4 or not text:
        raise InputError("the BCF header is truncated", path=source.path)
    lines = text_of(text.rstrip(b"\0")).replace("\r\n", "\n").split("\n")
    columns = next((line for line in lines if line.startswith("#CHROM")), "")
    if not columns:
        raise InputError("the BCF header has no #CHROM line", path=source.path)
    meta = tuple(line for line in lines if line.startswith("##"))
    keys = _numbered(meta, ("FILTER", "INFO", "FORMAT"), ["PASS"])
    numbers = {key: number for number, key in keys.items()}
    return BcfHeader(meta, columns, _numbered(meta, ("contig",), []), numbers, keys)


def _numbered(lines: Sequence[str], kinds: tuple[str, ...], known: list[str]) -> dict[int, str]:
    """Names by number: the IDX field where there is one, the order of first appearance otherwise."""
    names = {name: number for number, name in enumerate(known)}
    for line in lines:
        found = re.match(r"##(\w+)=<(?:.*?,)?ID=([^,>]+)", line)
        if found and found[1] in kinds and found[2] not in names:
            given = re.search(r",IDX=(\d+)>?\s*$", line)
            names[found[2]] = int(given[1]) if given else len(names)
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
    number, ordered = 0, OrderedSites()
    while head := source.stream.read(_FIXED.size):
        number += 1
        try:
            fields = _FIXED.unpack(head)
            _check_sizes(fields, header)
            shared = _exactly(source.stream, fields[0] - 24)
            calls = _exactly(source.stream, fields[1])
            name = header.contigs[fields[2]]
            contigs[name] = (contigs.get(name) or 0) + 1
            position, wanted = fields[3] + 1, None if sites is None else sites[fields[2]]
            if wanted is None or position in wanted:
                yield _record(fields, shared, calls, header, samples)
            if wanted and fields[4] > 1:
                within = ordered.within(wanted, position + 1, position + fields[4] - 1)
                record = _record(fields, shared, calls, header, samples) if within else None
                if record and (covering or is_block(record.alts)):
                    last = (
                        position + (fields[4] if is_symbolic(record.alts) else len(record.ref)) - 1
                    )
                    yield from (replace(record, site=site) for site in within if site <= last)
        except _DAMAGE:
            raise InputError(f"record {number} is damaged or truncated", path=source.path) from None


def _check_sizes(fields: tuple[int, ...], header: BcfHeader) -> None:
    shared, calls, contig = fields[:3]
    if not 24 <= shared <= LONGEST_LINE or calls > LONGEST_LINE:
        raise ValueError("impossible length")
    if contig not in header.contigs:
        raise ValueError("unknown contig")


def _exactly(stream: BinaryIO, size: int) -> bytes:
    pieces = []
    while size and (piece := stream.read(min(size, 1 << 20))):  # memory is taken for what is there
        pieces.append(piece)
        size -= len(piece)
    if size:
        raise ValueError("truncated")
    return b"".join(pieces)


def _record(
    fields: tuple[int, ...], shared: bytes, calls: bytes, header: BcfHeader, samples: int
) -> BcfRecord:
    n_alleles, n_formats, n_samples = fields[6] >> 16, fields[7] >> 24, fields[7] & 0xFFFFFF
    if n_samples != samples:
        raise ValueError("another number of samples than the header")
    alleles, end = _alleles(shared, n_alleles)
    stored = _layout(calls, n_formats, n_samples)
    found = _genotype_values(calls, stored.get(header.format_keys.get("GT", -1)), n_samples)
    genotypes, phased = _decode(found, n_samples)
    genotypes[genotypes >= n_alleles] = MISSING
    contig, position = header.contigs[fields[2]], fields[3] + 1
    return BcfRecord(
        contig,
        position,
        alleles[0],
        tuple(alleles[1:]),
        genotypes,
        phased,
        found is not None,
        BcfFields(header.format_keys, partial(_values, calls, stored, n_samples)),
        _filters(shared, end, header.filters),
    )


def _filters(shared: bytes, at: int, names: Mapping[int, str]) -> tuple[str, ...]:
    kind, length, start = _typed(shared, at)
    width = _WIDTHS[kind]
    numbers = [shared[start + width * n : start + width * (n + 1)] for n in range(length)]
    return tuple(names[int.from_bytes(number, "little")] for number in numbers)


def _alleles(shared: bytes, count: int) -> tuple[list[str], int]:
    """The alleles, and where they end."""
    _, length, start = _typed(shared, 0)  # the ID
    at = start + length
    alleles = []
    for _ in range(count):
        _, length, start = _typed(shared, at)
        at = start + length
        alleles.append(text_of(shared[start:at]))
    if at > len(shared) or not alleles:
        raise ValueError("alleles run over the record's end")
    return alleles, at


_Layout = dict[
    int, tuple[str, int, int]
]  # by a field's number: its type, and where values begin and end


def _layout(calls: bytes, n_formats: int, samples: int) -> _Layout:
    """Where a record's fields with values are."""
    at, found = 0, {}
    for _ in range(n_formats):
        kind, length, start = _typed(calls, at)
        name = int.from_bytes(calls[start : start + length * _WIDTHS[kind]], "little")
        kind, length, start = _typed(calls, start + length * _WIDTHS[kind])
        at = start + length * _WIDTHS[kind] * samples
        if at > len(calls):
            raise ValueError("values run over the record's end")
        if length:
            found[name] = (f"S{length}" if kind == _TEXT else _NUMBERS[kind], start, at)
    return found


def _values(calls: bytes, layout: _Layout, samples: int, key: int) -> NDArray[Any] | None:
    """The values (samples, length) of a field as they are stored, texts in one column; None if it is not there."""
    if key not in layout:
        return None
    stored, start, end = layout[key]
    return np.frombuffer(calls[start:end], stored).reshape(samples, -1)


def _genotype_values(
    calls: bytes, stored: tuple[str, int, int] | None, samples: int
) -> NDArray[Any] | None:
    """The encoded genotypes (samples, ploidy), None for a record without any."""
    if stored is None:
        return None
    if stored[0] not in _INTEGERS:
        raise ValueError("genotypes that are no integers")
    return np.frombuffer(calls[stored[1] : stored[2]], stored[0]).reshape(samples, -1)


def _typed(data: bytes, at: int) -> tuple[int, int, int]:
    """Type, number of values and where they start."""
    kind, length = data[at] & 15, data[at] >> 4
    if length < 15:
        return kind, length, at + 1
    width = _WIDTHS[data[at + 1] & 15]
    start = at + 2 + width
    return kind, int.from_bytes(data[at + 2 : start], "little"), start


def _decode(
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
