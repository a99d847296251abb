"""Outputs that appear whole or not at all: written beside the target, renamed when all is done."""

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from genomai_cli.errors import InputError
from genomai_cli.formats.bgzf import BgzfWriter

STANDARD_OUTPUTS = ("-", "/dev/stdout")
HELD_BACK = 1 << 26  # bytes: 64 MiB


@contextmanager
def atomic_output(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary stream to a file that takes its name only if the block ends without an exception.

    `-` is standard output; what exists and is no regular file (a pipe, /dev/null) is written straight
    through. A name that ends in `.gz` is compressed as BGZF.
    """
    if str(path) in STANDARD_OUTPUTS:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(path))  # a link stays a link
    writer = _written_through if target.exists() and not target.is_file() else _written_beside
    with writer(target) as handle:
        yield handle


def text_over(binary: IO[bytes]) -> io.TextIOWrapper:
    """A text stream over a binary one: UTF-8 with \\n line ends; names that are no UTF-8 go out as they came."""
    return io.TextIOWrapper(binary, "utf-8", "surrogateescape", newline="\n", write_through=True)


@contextmanager
def atomic_text(path: str | Path) -> Iterator[IO[str]]:
    """`atomic_output` for text: UTF-8 with \\n line ends."""
    with atomic_output(path) as binary:
        text = text_over(binary)
        try:
            yield text
            text.flush()
        finally:
            with suppress(OSError, ValueError):
                text.detach()


@contextmanager
def held_output(path: Path) -> Iterator[IO[bytes]]:
    """`atomic_output`, of which even standard output gets nothing if the block fails within 64 MiB.

    Bad data are thus refused with a message alone, while outputs of any size still stream.
    """
    with atomic_output(path) as out:
        gate = _Gate(out)
        held = io.BufferedWriter(gate, HELD_BACK)
        try:
            yield held
            held.flush()
        except BaseException:
            gate.blocked = True
            raise


@contextmanager
def _written_through(target: Path) -> Iterator[IO[bytes]]:
    with _created(target) as handle, _compressed(target, handle) as stream:
        yield stream


@contextmanager
def _written_beside(target: Path) -> Iterator[IO[bytes]]:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    handle = _created(temporary, shown=target)
    try:
        with handle, _compressed(target, handle) as stream:
            yield stream
        _keep_mode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _keep_mode(target: Path, temporary: Path) -> None:
    if target.exists():
        temporary.chmod(stat.S_IMODE(target.stat().st_mode))


def _created(path: Path, *, shown: Path | None = None) -> IO[bytes]:
    try:
        return open(path, "wb")
    except FileNotFoundError:
        message = "cannot be written: its folder does not exist"
    except OSError as error:
        message = f"cannot be written ({error.strerror})"
    raise InputError(message, path=shown or path)


@contextmanager
def _compressed(target: Path, handle: IO[bytes]) -> Iterator[IO[bytes]]:
    if target.suffix != ".gz":
        yield handle
        return
    blocks = BgzfWriter(handle)
    stream = io.BufferedWriter(blocks, 1 << 16)
    try:
        yield stream
        stream.close()
    except BaseException:
        blocks.discard()
        raise


class _Gate(io.RawIOBase):
    """Bytes on their way to a stream, until it is blocked and swallows them."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.blocked = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data) if self.blocked else self._out.write(data)
