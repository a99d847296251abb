"""VCF on its way out: some records edited, others added where they belong, the rest byte for byte; or phased genotypes.

If no record is touched, neither is the header.

Shape suffixes: N samples, S sites.
"""

import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import declared_contigs, normal_contig
from genomai_cli.formats.shards import WHOLE, Shard
from genomai_cli.formats.streams import Input, text_of

_IN_MEMORY = 1 << 24  # bytes that wait until it is known whether the header stays as it is


@dataclass(frozen=True, slots=True)
class Addition:
    """A record that the file does not have; `number` says which to those who write it."""

    contig: str  # by its normal name
    position: int
    number: int


class Editor(Protocol):
    """Edits and adds records."""

    def sites(self, contig: str) -> Mapping[int, int]:
        """The numbers of a contig's sites, by their positions, whose records are to be edited; by its normal name."""

    def edited(self, raw: bytes, number: int, line: int) -> bytes:
        """The record as it leaves; the same object if it is not touched."""

    def silent(self) -> Self:
        """An editor that gives the same, and neither counts nor reports it."""

    def added(self, additions: Sequence[Addition], contig: bytes) -> Iterable[bytes]:
        """The lines, without their ends, of neighbouring records that the file does not have; nothing for one that is
        not to be there."""

    def header(self, lines: Sequence[bytes], contigs: Iterable[str]) -> list[bytes]:
        """The header of a touched file, whose ## lines and #CHROM line are given without line ends; `contigs` are those
        of additions, as they are named in the file."""


class _ContigOrder:
    """The contigs in the order of their records in the output, and the file's names of them."""

    def __init__(self, header: Sequence[bytes], default_order: Sequence[str]) -> None:
        names = declared_contigs(map(text_of, header))
        self._names = {
            normal_contig(name): name.encode("utf-8", "surrogateescape") for name in reversed(names)
        }
        self._declared = bool(names)
        self._prefix = b"chr" if any(name.startswith("chr") for name in names) else b""
        contigs = [*map(normal_contig, names), *default_order]
        self._ranks = {name: rank for rank, name in reversed(list(enumerate(contigs)))}

    def rank(self, contig: str) -> int:
        return self._ranks.get(contig, len(self._ranks))

    def name(self, contig: str) -> bytes:
        """The file's name of a contig, or the name that it would have."""
        bare = b"M" if contig == "MT" and self._prefix else contig.encode()
        return self._names.get(contig, self._prefix + bare)

    def record_seen(self, contig: str, name: bytes) -> None:
        """Take in the name of a contig that has a record."""
        if not self._declared and name.startswith(b"chr"):
            self._prefix = b"chr"
        self._names[contig] = name


class VcfRewriter:
    """Writes one VCF with edits and additions; `additions` are in no particular order, `default_order` is that of
    contigs unknown to the header.

    `contigs_present` are known to have records in the file; additions on others are written before the records of later
    contigs. Of the file's `line_count` lines after the header only those of the `shard` are written, each behind the
    additions before it; the first shard has the header, the last one the additions at the end.
    """

    def __init__(
        self,
        editor: Editor,
        additions: Iterable[Addition],
        *,
        contigs_present: Collection[str],
        default_order: Sequence[str],
        shard: Shard = WHOLE,
        line_count: int = 0,
    ) -> None:
        self._editor, self._default_order, self._contigs_present = (
            editor,
            default_order,
            contigs_present,
        )
        self._shard, self._own_lines = shard, shard.span(line_count)
        self._silent_editor = editor if shard.is_whole else editor.silent()
        self._is_own, self._editing = True, editor
        self._waiting: dict[str, list[Addition]] = {}
        for addition in sorted(additions, key=lambda one: one.position, reverse=True):
            self._waiting.setdefault(addition.contig, []).append(addition)
        self.touched = False

    def run(self, source: Input, out: IO[bytes]) -> None:
        """Write all of the input, or a part."""
        header, first = read_header(source)
        self._end = b"\r\n" if header[-1].endswith(b"\r\n") else b"\n"
        self._order = _ContigOrder([line.rstrip(b"\r\n") for line in header], self._default_order)
        records = self._records(source, first)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            for raw, is_changed in records:
                if is_changed and not self.touched:
                    self.touched = True
                    self._write_header(header, spool, out)
                if self._is_own:
                    (out if self.touched else spool).write(raw)
                elif self.touched or not self._shard.is_first:
                    break  # whether a later line is touched decides about the header alone
            if not self.touched:
                out.writelines(header if self._shard.is_first else ())
                _copy(spool, out)

    def _write_header(self, header: list[bytes], spool: IO[bytes], out: IO[bytes]) -> None:
        lines = [line.rstrip(b"\r\n") for line in header]
        names = [text_of(self._order.name(contig)) for contig in self._waiting]
        if self._shard.is_first:
            out.writelines(line + self._end for line in self._editor.header(lines, names))
        _copy(spool, out)

    def _records(self, source: Input, first: int) -> Iterator[tuple[bytes, bool]]:
        """The output's lines, each with whether it was edited or added; none of those before the shard."""
        contig, name, raw = "", b"", b"\n"
        sites: Mapping[int, int] = {}
        for line, raw in enumerate(source.stream, start=first):
            skipped = self._move_to(line - first)
            first_tab, second_tab = raw.find(b"\t"), raw.find(b"\t", raw.find(b"\t") + 1)
            position = raw[first_tab + 1 : second_tab]
            if second_tab < 0 or not position.isdigit():
                if not skipped:
                    yield raw, False
                continue
            if raw[:first_tab] != name:
                yield from self._additions_after(contig)
                name, contig = raw[:first_tab], normal_contig(text_of(raw[:first_tab]))
                self._order.record_seen(contig, name)
                yield from self._additions_before(contig)
                sites = self._editor.sites(contig)
            at = int(position)
            yield from self._additions_at(contig, at)
            if skipped:
                continue
            if at not in sites:
                yield raw, False
                continue
            edited = self._editing.edited(raw, sites[at], line)
            yield edited, edited is not raw
        self._move_to(None)
        last = [*self._additions_after(contig), *self._additions_before(None)]
        if last and not raw.endswith(b"\n"):
            yield self._end, True
        yield from last

    def _move_to(self, number: int | None) -> bool:
        """Move to the line of this number, or behind the last; whether it lies before the shard."""
        self._skipping = False
        if self._shard.is_whole:
            return False
        self._is_own = self._shard.is_last if number is None else number in self._own_lines
        self._skipping = number is not None and number < self._own_lines.start
        self._editing = self._editor if self._is_own else self._silent_editor
        return self._skipping

    def _additions_after(self, contig: str) -> Iterator[tuple[bytes, bool]]:
        """The additions on a contig after its last record."""
        yield from self._additions_at(contig, None)

    def _additions_before(self, contig: str | None) -> Iterator[tuple[bytes, bool]]:
        """The additions on contigs that the file lacks and that come before this one, or on all that are left."""
        rank = None if contig is None else self._order.rank(contig)
        for other in sorted(self._waiting, key=self._order.rank):
            if rank is None or (
                self._order.rank(other) < rank and other not in self._contigs_present
            ):
                yield from self._additions_at(other, None)

    def _additions_at(self, contig: str, before: int | None) -> Iterator[tuple[bytes, bool]]:
        waiting, due = self._waiting.get(contig, []), []
        while waiting and (before is None or waiting[-1].position < before):
            due.append(waiting.pop())
        if due and not self._skipping:
            lines = self._editing.added(due, self._order.name(contig))
            yield from ((line + self._end, True) for line in lines)


def line_count(source: Input) -> int:
    """How many lines follow the header."""
    read_header(source)
    return sum(1 for _ in source.stream)


def read_header(source: Input) -> tuple[list[bytes], int]:
    """The header's lines with their ends, which are read, and the number of the first line after it."""
    lines: list[bytes] = []
    for raw in source.stream:
        lines.append(raw)
        if not raw.startswith(b"##"):
            break
    if not lines or not lines[-1].startswith(b"#CHROM"):
        raise InputError("the VCF has no #CHROM line", path=source.path, line=len(lines))
    return lines, len(lines) + 1


def _copy(spool: IO[bytes], out: IO[bytes]) -> None:
    spool.seek(0)
    shutil.copyfileobj(spool, out, 1 << 20)


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
    out.write("".join(_new_header(sites, samples, build, contigs, source)).encode())
    table = np.array([b"0|0\t", b"0|1\t", b"1|0\t", b"1|1\t"])
    for number, site in enumerate(sites):
        codes = 2 * alleles_N2S[:, 0, number] + alleles_N2S[:, 1, number]
        calls = table[codes].tobytes().rstrip(b"\t")
        fixed = (site.contig, site.position, site.identifier, site.ref, site.alt, ".", "PASS")
        out.write("\t".join(map(str, (*fixed, ".", "GT"))).encode() + b"\t" + calls + b"\n")


def _new_header(
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
