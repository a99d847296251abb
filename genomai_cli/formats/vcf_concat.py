"""Several VCFs of the same samples, one a chromosome or a region, read as the one file that they are parts of.

Their records follow one another in the order of the header's contigs, as `bcftools concat` puts them; no two files may
overlap.
"""

import io
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Self, cast

from genomai_cli.errors import InputError, shown_path
from genomai_cli.formats.contigs import (
    contig_length,
    declared_contigs,
    declared_id,
    normal_contig,
)
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.streams import Input, text_of
from genomai_cli.formats.vcf_replay import Reopen, replayable_text
from genomai_cli.formats.vcf_rewrite import read_header

_CHUNK = 1 << 20
_FIXED = 9  # columns before the samples


@contextmanager
def concatenated_text(sources: Sequence[Input]) -> Iterator[Reopen]:
    """A function that opens anew, as VCF text, the file that the inputs are parts of; see `vcf_replay.replayable_text`.

    InputError for other samples or another order of them, for files that overlap, and for contigs of other lengths.
    """
    with ExitStack() as stack:
        reopeners = [stack.enter_context(replayable_text(source)) for source in sources]
        if len(reopeners) == 1:
            yield reopeners[0]
            return
        concatenation = _Concatenation.of([_Part.read(reopen) for reopen in reopeners])
        try:
            yield concatenation.reopen
        except InputError as error:
            raise concatenation.located(error) from None


@dataclass(frozen=True, slots=True)
class _Span:
    """The range of a file's records on a contig; `name` is the file's name of it."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class _Part:
    """One of the files: its header with line ends, how many lines follow it, and its contigs by their normal names in
    the order of the records."""

    reopen: Reopen
    path: str
    header: list[bytes]
    lines: int
    spans: Mapping[str, _Span]

    @classmethod
    def read(cls, reopen: Reopen) -> Self:
        """From all of its lines; those that are no records are left to be complained of by others."""
        spans: dict[bytes, _Span] = {}
        with reopen() as source:
            header, _ = read_header(source)
            lines = 0
            for raw in source.stream:
                lines += 1
                contig, _, rest = raw.partition(b"\t")
                position = rest.partition(b"\t")[0]
                if not position.isdigit():
                    continue
                at, previous = int(position), spans.get(contig)
                low, high = (at, at) if previous is None else (previous.first, previous.last)
                spans[contig] = _Span(text_of(contig), min(low, at), max(high, at))
            named = {normal_contig(span.name): span for span in spans.values()}
            return cls(reopen, source.path, header, lines, named)

    @property
    def samples(self) -> list[bytes]:
        """Their names, in the order of the columns."""
        return self.header[-1].rstrip(b"\r\n").split(b"\t")[_FIXED:]


@dataclass(frozen=True, eq=False)
class _Concatenation:
    """The parts in their order, under one header."""

    header: list[bytes]
    parts: Sequence[_Part]

    @classmethod
    def of(cls, parts: Sequence[_Part]) -> Self:
        """The parts in order; InputError where they do not make a file."""
        for part in parts[1:]:
            _check_samples(parts[0], part)
        _check_lengths(parts)
        header = _merged_header([part.header for part in parts])
        found = cls(header, _in_order(parts, header))
        _check_spans(found.parts)
        return found

    def reopen(self) -> Input:
        """The joined text from the beginning."""
        stream = io.BufferedReader(_ChunkStream(self._chunks()), _CHUNK)
        return Input(self.parts[0].path, Kind.VCF, "plain", cast(BinaryIO, stream))

    def _chunks(self) -> Generator[bytes]:
        last = b"".join(self.header)
        yield last
        for part in self.parts:
            if not last.endswith(b"\n"):
                yield (last := b"\n")
            with part.reopen() as source:
                read_header(source)
                stream = cast(io.BufferedReader, source.stream)
                while chunk := stream.read1(_CHUNK):
                    yield (last := chunk)

    def located(self, error: InputError) -> InputError:
        """An error about a line of the joined text, with the file and the line that it comes from."""
        line = error.line
        if line is None or error.path != shown_path(self.parts[0].path):
            return error
        line -= len(self.header)
        for part in self.parts:
            if line <= part.lines:
                return InputError(error.message, path=part.path, line=len(part.header) + line)
            line -= part.lines
        return error


class _ChunkStream(io.RawIOBase):
    """A stream of bytes that come in chunks, none of them empty."""

    def __init__(self, chunks: Generator[bytes]) -> None:
        self._chunks, self._pending = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        taken = self._pending or next(self._chunks, b"")
        taken, self._pending = taken[: len(view)], taken[len(view) :]
        view[: len(taken)] = taken
        return len(taken)

    def close(self) -> None:
        self._chunks.close()
        super().close()


# --- the header


def _merged_header(headers: Sequence[list[bytes]]) -> list[bytes]:
    """The first header with the lines of the others that it lacks. Of lines with an ID one of each is kept, of others
    one of each key, as in `bcftools concat`."""
    lines = headers[0][:-1]
    keys = {*map(_key_of, lines)}
    for header in headers[1:]:
        lines += [line for line in header[:-1] if _key_of(line) not in keys]
        keys.update(map(_key_of, lines))
    return [*lines, headers[0][-1]]


def _key_of(line: bytes) -> tuple[str, ...]:
    """What a ## line is about: its key, and the ID if it has one."""
    text = text_of(line)
    return declared_id(text) or (text.partition("=")[0].removeprefix("##"),)


# --- whether the files are parts of one


def _check_samples(first: _Part, other: _Part) -> None:
    if other.samples == first.samples:
        return
    if sorted(other.samples) == sorted(first.samples):
        message = (
            f"the samples of {shown_path(first.path)} in another order: bcftools view -S NAMES, with the names of "
            "either (bcftools query -l), writes them alike"
        )
        raise InputError(message, path=other.path)
    names = set(first.samples)
    foreign = next((name for name in other.samples if name not in names), None)
    which = f"{len(other.samples)} instead of {len(first.samples)}"
    if foreign is not None:
        which = f"{text_of(foreign)} is not among them"
    message = (
        f"not the samples of {shown_path(first.path)} ({which}): several VCFs are read as parts of one, other samples "
        "go alone"
    )
    raise InputError(message, path=other.path)


def _check_lengths(parts: Sequence[_Part]) -> None:
    """InputError if two headers give a contig different lengths: they are about different assemblies."""
    lengths: dict[str, tuple[int, str]] = {}
    for part in parts:
        for name, length in filter(None, (contig_length(text_of(line)) for line in part.header)):
            expected, path = lengths.setdefault(name, (length, part.path))
            if length != expected:
                message = (
                    f"contig {name} has {length} letters in the header, but {expected} in {shown_path(path)}: "
                    "files of two assemblies do not make one"
                )
                raise InputError(message, path=part.path)


def _in_order(parts: Sequence[_Part], header: Sequence[bytes]) -> list[_Part]:
    """The parts by their first records: contigs as the header has them, and then those it does not declare, as they
    were given; files without records come last."""
    declared = declared_contigs(map(text_of, header))
    names = [*map(normal_contig, declared), *(name for part in parts for name in part.spans)]
    rank = {name: number for number, name in reversed(list(enumerate(names)))}

    def place(part: _Part) -> tuple[int, int]:
        name, span = next(iter(part.spans.items()), ("", None))
        return (len(names), 0) if span is None else (rank[name], span.first)

    return sorted(parts, key=place)


def _check_spans(parts: Sequence[_Part]) -> None:
    """InputError if a contig's records in two files overlap, or have others between them."""
    seen: dict[str, tuple[_Span, str]] = {}
    current = ""
    for part in parts:
        for name, span in part.spans.items():
            if name in seen:
                _check_next(part.path, span, *seen[name], follows=name == current)
            seen[name], current = (span, part.path), name


def _check_next(path: str, span: _Span, before: _Span, earlier: str, *, follows: bool) -> None:
    where = f"the records on {span.name} from {span.first} to {span.last}"
    other = f"those of {shown_path(earlier)} from {before.first} to {before.last}"
    if span.first <= before.last:
        message = f"{where} overlap with {other}: parts of one VCF do not"
        raise InputError(message, path=path)
    if not follows:
        message = f"{where} would be parted by other contigs from {other}: `bcftools concat -a` joins such files"
        raise InputError(message, path=path)
