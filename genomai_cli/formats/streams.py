"""One door for every input: path or standard input, compression and kind found from the content.

The bytes pass through at most three layers: the file or standard input, a decompressor, a buffer. What
was read to recognise the content is put back, so pipes, redirects and files give the same bytes.
"""

import io
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from zipfile import BadZipFile, ZipFile

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.bgzf import END_MARKER, is_bgzf
from genomai_cli.formats.kinds import BLANKS, BOM, Kind, kind_of
from genomai_cli.records import SequenceRecord

try:
    from isal import igzip, isal_zlib  # two to three times as fast as zlib
except ImportError:  # isal has no wheel for some machines
    _GZIP_FILE: Any = GzipFile
    _ZLIB_ERRORS: Any = (BadGzipFile, zlib.error)
else:
    _GZIP_FILE = igzip.IGzipFile
    _ZLIB_ERRORS = (BadGzipFile, zlib.error, isal_zlib.error)
STANDARD_INPUTS = ("-", "/dev/stdin")
_BUFFER = 1 << 20
LONGEST_LINE = 1 << 28  # bytes of a line, a header or a record that is read at once: 256 MiB
_SNIFFED = 64  # non-blank bytes that settle the kind

_VARIANT_KINDS = frozenset(
    {Kind.VCF, Kind.BCF, Kind.RAW, Kind.PLINK, Kind.PGEN, Kind.BAM, Kind.CRAM}
)
_UNBOUNDED_LINES = _VARIANT_KINDS - {Kind.VCF, Kind.RAW} | {
    Kind.FASTA
}  # or checked by their readers


@dataclass(frozen=True)
class Input:
    """An open input: its decompressed bytes in `stream`, to be read once, and what they are.

    `file` is the path of a regular file (which may have an index), None for pipes and `-`. `records` are those that
    are in memory already; `reference` is the genome that a CRAM is read with.
    """

    path: str
    kind: Kind
    compression: str  # "plain", "gzip", "bgzf" or "zip"
    stream: BinaryIO
    file: Path | None = None
    records: Iterable[SequenceRecord] = ()
    reference: Path | None = None

    @property
    def has_variants(self) -> bool:
        """Whether samples are read from it at known sites."""
        return self.kind in _VARIANT_KINDS

    @property
    def ends_within_line(self) -> bool:
        """Whether plain FASTA, VCF or raw genotypes end without a line end, as they do where they were cut; of a pipe
        it is known when it has been read. Compressed text and FASTQ have an end of their own."""
        if self.compression != "plain" or self.kind not in (Kind.FASTA, Kind.VCF, Kind.RAW):
            return False
        if self.file is not None:
            return _last_byte(self.file) not in (b"", b"\n")
        raw = getattr(self.stream, "raw", None)
        return isinstance(raw, _Rewound) and raw.ended and not raw.tail.endswith(b"\n")

    def __enter__(self) -> "Input":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.path not in STANDARD_INPUTS:
            self.stream.close()


def _last_byte(file: Path) -> bytes:
    """Nothing if the file is empty or not there any more."""
    with suppress(OSError), file.open("rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1)
    return b""


def open_inputs(paths: Sequence[str | Path]) -> Iterator[Input]:
    """The inputs, each opened when its turn comes; none at all means standard input."""
    names = [str(path) for path in paths] or ["-"]
    if sum(name in STANDARD_INPUTS for name in names) > 1:
        raise UsageError("standard input (-) is given more than once")
    for name in names:  # better now than after the work on those before it
        if name not in STANDARD_INPUTS and not os.path.exists(name):
            raise InputError("no such file or directory", path=name)
    return (open_input(name) for name in names)


def open_input(path: str | Path) -> Input:
    """An input whose kind and compression were found from its content."""
    name = str(path)
    return _recognised(_open_raw(name), name, _regular(name))


def open_stream(handle: IO[bytes] | IO[str], display_name: str) -> Input:
    """The same from a stream that is open already, and stays so, by its name in messages. Text is taken as UTF-8."""
    return _recognised(_Borrowed(handle), display_name, None)


def in_memory(records: Iterable[SequenceRecord], display_name: str) -> Input:
    """An input of records that are in memory, by its name in messages, which count its records as lines."""
    return Input(display_name, Kind.MEMORY, "plain", io.BytesIO(), records=records)


def _recognised(source: Any, name: str, file: Path | None) -> Input:
    raw, compression = _decompressed(source, name)
    try:
        head = _read_head(raw, lambda got: len(got.lstrip(BLANKS)) >= _SNIFFED)
        kind = kind_of(head, name)
    except InputError:
        _close(raw, name)
        raise
    head = head.removeprefix(BOM)
    max_line_bytes = None if kind in _UNBOUNDED_LINES else LONGEST_LINE
    stream = io.BufferedReader(
        _Rewound(head, raw, path=name, max_line_bytes=max_line_bytes), _BUFFER
    )
    return Input(name, kind, compression, cast(BinaryIO, stream), file)


def peeked(
    source: Input, enough: Callable[[bytearray, int], bool], max_bytes: int
) -> tuple[bytes, Input]:
    """The first bytes of an input, read until they are enough, `max_bytes` or all; and the input with them put back.

    `enough` is called after every chunk, with the bytes and how many of them it has seen before.
    """
    buffer, searched = bytearray(), 0
    while len(buffer) < max_bytes and not enough(buffer, searched):
        searched = len(buffer)
        chunk = cast(io.BufferedReader, source.stream).read1(_BUFFER)
        if not chunk:
            break
        buffer += chunk
    head = bytes(buffer)
    del buffer
    stream = io.BufferedReader(_Rewound(head, source.stream), _BUFFER)
    return head, replace(source, stream=cast(BinaryIO, stream))


def open_bytes(path: str | Path) -> BinaryIO:
    """Decompressed bytes of any file or standard input; its kind is the caller's business."""
    raw, _ = _decompressed(_open_raw(str(path)), str(path))
    return cast(BinaryIO, io.BufferedReader(raw, _BUFFER))


def _decompressed(source: Any, name: str) -> tuple["_Rewound | _Inflated", str]:
    try:
        head = _read_head(source, lambda got: len(got) >= 18)
    except OSError as error:
        raise InputError(_reason(error), path=name) from None
    if not head:
        _close(source, name)
        raise InputError("the input is empty", path=name)
    rewound = _Rewound(head, source, path=name)
    if head.startswith(b"PK\3\4"):
        return _Rewound(b"", io.BytesIO(_only_member(rewound, name))), "zip"
    if not head.startswith(b"\x1f\x8b"):
        return rewound, "plain"
    bgzf = is_bgzf(head)
    return _Inflated(rewound, name, bgzf=bgzf), "bgzf" if bgzf else "gzip"


_MAX_ZIPPED = 1 << 29  # bytes; larger files come as gzip


def _only_member(archive: "_Rewound", name: str) -> bytes:
    """The content of a zip archive of one file; those that a Mac hides in it are passed over."""
    try:
        with archive, ZipFile(io.BytesIO(io.BufferedReader(archive).read())) as opened:
            members = [
                m for m in opened.infolist() if not m.is_dir() and "__MACOSX" not in m.filename
            ]
            if any(member.filename == "xl/workbook.xml" for member in members):
                message = "an Excel workbook: save it as text, with tabs between its columns"
                raise InputError(message, path=name)
            if len(members) != 1:
                raise InputError(f"a zip archive of {len(members)} files, not of one", path=name)
            if members[0].file_size > _MAX_ZIPPED:
                raise InputError("a zip archive of a large file: unzip it first", path=name)
            return opened.read(members[0])
    except (BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise InputError(f"the zip archive cannot be read ({error})", path=name) from None


def _open_raw(name: str) -> Any:
    if name in STANDARD_INPUTS:
        if sys.stdin is None:
            raise InputError("standard input is closed", path="-")
        return sys.stdin.buffer
    try:
        return open(name, "rb", buffering=0)
    except (OSError, ValueError) as error:
        raise InputError(_reason(error), path=name) from None


def _reason(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return (strerror[0].lower() + strerror[1:]) if strerror else f"cannot be read ({error})"


def _close(raw: Any, name: str) -> None:
    if name not in STANDARD_INPUTS:
        raw.close()


def _regular(name: str) -> Path | None:
    path = Path(name)
    return path if name not in STANDARD_INPUTS and path.is_file() else None


def _read_head(raw: Any, enough: Callable[[bytes], bool]) -> bytes:
    """The first bytes in as few reads as needed, because a slow pipe may not give more for long."""
    head = b""
    read = getattr(raw, "read1", raw.read)
    while not enough(head) and len(head) < _BUFFER:
        chunk = read(1 << 16)
        if not chunk:
            break
        head += chunk
    return head


class _Borrowed(io.RawIOBase):
    """A stream of the caller's, which is not closed with this one; text becomes UTF-8."""

    def __init__(self, handle: Any) -> None:
        self._read = getattr(handle, "read1", handle.read)
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._pending:
            chunk = self._read(len(buffer))
            text = isinstance(chunk, str)
            self._pending = chunk.encode("utf-8", "surrogateescape") if text else chunk
        taken, self._pending = self._pending[: len(buffer)], self._pending[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


class _Rewound(io.RawIOBase):
    """A stream with its first bytes put back; it remembers its last bytes, to tell a cut file.

    Raises InputError at a line of more bytes than `longest`, before anyone holds it.
    """

    def __init__(
        self, head: bytes, rest: Any, *, path: str | None = None, max_line_bytes: int | None = None
    ) -> None:
        self._head, self._rest, self._path = head, rest, path
        self._max_line_bytes, self._line = max_line_bytes, 0  # of which so many bytes have passed
        # A BufferedReader's readinto waits for a full buffer; readinto1 takes what a pipe has now.
        self._readinto = getattr(rest, "readinto1", rest.readinto)
        self.tail, self.ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        size = self._from_head(view) if self._head else self._from_rest(view)
        self.ended = size == 0
        self.tail = (self.tail + bytes(view[max(0, size - 28) : size]))[-28:]
        if self._max_line_bytes is not None:
            self._measure(bytes(view[:size]), self._max_line_bytes)
        return size

    def _measure(self, chunk: bytes, max_line_bytes: int) -> None:
        end = chunk.rfind(b"\n") + 1
        self._line = len(chunk) - end if end else self._line + len(chunk)
        if self._line > max_line_bytes:
            message = f"a line of more than {max_line_bytes >> 20} MiB, longer than can be read"
            raise InputError(message, path=self._path or "-")

    def _from_head(self, view: memoryview) -> int:
        chunk, self._head = self._head[: len(view)], self._head[len(view) :]
        view[: len(chunk)] = chunk
        return len(chunk)

    def _from_rest(self, view: memoryview) -> int:
        try:
            return int(self._readinto(view) or 0)
        except OSError as error:
            if self._path is None:
                raise
            raise InputError(_reason(error), path=self._path) from None

    def close(self) -> None:
        if self._rest is not getattr(sys.stdin, "buffer", None):
            self._rest.close()
        super().close()


class _Inflated(io.RawIOBase):
    """The content of a gzip or BGZF stream of any number of members."""

    def __init__(self, compressed: _Rewound, path: str, *, bgzf: bool) -> None:
        self._compressed, self._path, self._bgzf = compressed, path, bgzf
        self._file = _GZIP_FILE(fileobj=io.BufferedReader(compressed, _BUFFER), mode="rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            size = int(self._file.readinto(buffer))
        except EOFError:
            raise InputError("the compressed data are truncated", path=self._path) from None
        except _ZLIB_ERRORS as error:
            raise InputError(
                f"the compressed data are damaged ({error})", path=self._path
            ) from None
        if size == 0 and len(buffer):
            self._check_end()
        return size

    def _check_end(self) -> None:
        # A BGZF file cut between two blocks inflates without complaint; only the marker shows it.
        if self._bgzf and self._compressed.tail != END_MARKER:
            message = "truncated: the BGZF end-of-file marker is missing"
            raise InputError(message, path=self._path)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._compressed.close()
        super().close()


def text_of(raw: bytes) -> str:
    """Text of a name or a header; bytes that are no UTF-8 survive the way to an output."""
    return raw.decode("utf-8", "surrogateescape")
