"""VCF on its way out: some records edited, others added where they belong, the rest byte for byte; or phased genotypes.

If no record is touched, neither is the header.

Shape suffixes: N samples, S sites.
"""

import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import normal_contig
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
    """What is done with the records."""

    def wanted(self, contig: str) -> Mapping[int, int]:
        """The positions of a contig, by its normal name, whose records are to be looked at."""

    def edited(self, raw: bytes, number: int, line: int) -> bytes:
        """The record as it leaves; the same object if it is not touched."""

    def muted(self) -> Self:
        """An editor that gives the same, and neither counts nor reports it."""

    def added(self, additions: Sequence[Addition], contig: bytes) -> Iterable[bytes]:
        """The lines, without their ends, of neighbouring records that the file does not have; nothing for one that is
        not to be there."""

    def header(self, lines: Sequence[bytes], contigs: Iterable[str]) -> list[bytes]:
        """The header of a touched file, whose ## lines and #CHROM line are given without line ends; `contigs` are those
        of additions, as they are named in the file."""


class _Order:
    """The contigs in the order in which their records are to stand, and what the file calls them."""

    def __init__(self, header: Sequence[bytes], natural: Sequence[str]) -> None:
        found = (re.match(rb"##contig=<(?:.*?,)?ID=([^,>]+)", line) for line in header)
        names = [match[1] for match in found if match]
        self._names = {normal_contig(text_of(name)): name for name in reversed(names)}
        self._declared = bool(names)
        self._prefix = b"chr" if any(name.startswith(b"chr") for name in names) else b""
        order = [*(normal_contig(text_of(name)) for name in names), *natural]
        self._ranks = {name: rank for rank, name in reversed(list(enumerate(order)))}

    def rank(self, contig: str) -> int:
        return self._ranks.get(contig, len(self._ranks))

    def name(self, contig: str) -> bytes:
        """What the file calls a contig, or would call it."""
        bare = b"M" if contig == "MT" and self._prefix else contig.encode()
        return self._names.get(contig, self._prefix + bare)

    def met(self, contig: str, name: bytes) -> None:
        """A record on the contig has been seen."""
        if not self._declared and name.startswith(b"chr"):
            self._prefix = b"chr"
        self._names[contig] = name


class Passage:
    """Passes one VCF on; `additions` are in no particular order, `natural` the order of contigs unknown to the header.

    `there` are the contigs of which it is known that the file has records; additions on others stand before the records
    of those that come later. Of the file's `lines` after the header only those of the `part` are written, each behind
    what is added before it; the first part has the header, the last one what is added at the end.
    """

    def __init__(
        self,
        editor: Editor,
        additions: Iterable[Addition],
        *,
        there: Collection[str],
        natural: Sequence[str],
        part: Shard = WHOLE,
        lines: int = 0,
    ) -> None:
        self._editor, self._natural, self._there = editor, natural, there
        self._part, self._own = part, part.span(lines)
        self._muted = editor if part.is_whole else editor.muted()
        self._is_own, self._editing = True, editor
        self._waiting: dict[str, list[Addition]] = {}
        for addition in sorted(additions, key=lambda one: one.position, reverse=True):
            self._waiting.setdefault(addition.contig, []).append(addition)
        self.touched = False

    def run(self, source: Input, out: IO[bytes]) -> None:
        """Write all of the input, or a part."""
        header, first = read_header(source)
        self._end = b"\r\n" if header[-1].endswith(b"\r\n") else b"\n"
        self._order = _Order([line.rstrip(b"\r\n") for line in header], self._natural)
        records = self._records(source, first)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as held:
            for raw, ours in records:
                if ours and not self.touched:
                    self.touched = True
                    self._begin(header, held, out)
                if self._is_own:
                    (out if self.touched else held).write(raw)
                elif self.touched or not self._part.is_first:
                    break  # whether a later line is touched decides about the header alone
            if not self.touched:
                out.writelines(header if self._part.is_first else ())
                _copy(held, out)

    def _begin(self, header: list[bytes], held: IO[bytes], out: IO[bytes]) -> None:
        bare = [line.rstrip(b"\r\n") for line in header]
        names = [text_of(self._order.name(contig)) for contig in self._waiting]
        if self._part.is_first:
            out.writelines(line + self._end for line in self._editor.header(bare, names))
        _copy(held, out)

    def _records(self, source: Input, first: int) -> Iterator[tuple[bytes, bool]]:
        """The lines as they leave, each with whether it is ours; none of those before the part."""
        contig, name, raw = "", b"", b"\n"
        wanted: Mapping[int, int] = {}
        for line, raw in enumerate(source.stream, start=first):
            before = self._turn_to(line - first)
            one, two = raw.find(b"\t"), raw.find(b"\t", raw.find(b"\t") + 1)
            position = raw[one + 1 : two]
            if two < 0 or not position.isdigit():
                if not before:
                    yield raw, False
                continue
            if raw[:one] != name:
                yield from self._rest(contig)
                name, contig = raw[:one], normal_contig(text_of(raw[:one]))
                self._order.met(contig, name)
                yield from self._before(contig)
                wanted = self._editor.wanted(contig)
            at = int(position)
            yield from self._added(contig, at)
            if before:
                continue
            if at not in wanted:
                yield raw, False
                continue
            made = self._editing.edited(raw, wanted[at], line)
            yield made, made is not raw
        self._turn_to(None)
        last = [*self._rest(contig), *self._before(None)]
        if last and not raw.endswith(b"\n"):
            yield self._end, True
        yield from last

    def _turn_to(self, number: int | None) -> bool:
        """The line of this number, or what follows the last, is next; whether it lies before the part."""
        self._skipping = False
        if self._part.is_whole:
            return False
        self._is_own = self._part.is_last if number is None else number in self._own
        self._skipping = number is not None and number < self._own.start
        self._editing = self._editor if self._is_own else self._muted
        return self._skipping

    def _rest(self, contig: str) -> Iterator[tuple[bytes, bool]]:
        """What is to be added on a contig after its last record."""
        yield from self._added(contig, None)

    def _before(self, contig: str | None) -> Iterator[tuple[bytes, bool]]:
        """What is to be added on contigs that the file does not have and that stand before this one, or at all."""
        rank = None if contig is None else self._order.rank(contig)
        for other in sorted(self._waiting, key=self._order.rank):
            if rank is None or (self._order.rank(other) < rank and other not in self._there):
                yield from self._added(other, None)

    def _added(self, contig: str, before: int | None) -> Iterator[tuple[bytes, bool]]:
        waiting, taken = self._waiting.get(contig, []), []
        while waiting and (before is None or waiting[-1].position < before):
            taken.append(waiting.pop())
        if taken and not self._skipping:
            made = self._editing.added(taken, self._order.name(contig))
            yield from ((line + self._end, True) for line in made)


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


def _copy(held: IO[bytes], out: IO[bytes]) -> None:
    held.seek(0)
    shutil.copyfileobj(held, out, 1 << 20)


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
