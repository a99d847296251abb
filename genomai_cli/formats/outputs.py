"""Outputs that appear whole or not at all: written under a temporary name and renamed when all is done."""

import ctypes
import errno
import fcntl
import glob
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from genomai_cli.errors import InputError
from genomai_cli.formats.bgzf import BgzfWriter

STANDARD_OUTPUTS = ("-", "/dev/stdout")
BUFFER_BYTES = 1 << 26  # 64 MiB


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
    writer = _direct_output if target.exists() and not target.is_file() else _temporary_output
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
def buffered_output(path: Path) -> Iterator[IO[bytes]]:
    """`atomic_output`, of which even standard output gets nothing if the block fails within 64 MiB.

    Bad data are thus refused with a message alone, while outputs of any size still stream.
    """
    with atomic_output(path) as out:
        gate = Gate(out)
        buffer = io.BufferedWriter(gate, BUFFER_BYTES)
        try:
            yield buffer
            buffer.flush()
        except BaseException:
            gate.blocked = True
            raise


@contextmanager
def _direct_output(target: Path) -> Iterator[IO[bytes]]:
    with _open_new(target) as handle, _compressed(target, handle) as stream:
        yield stream


_unfinished: set[Path] = set()


def discard_unfinished() -> None:
    """Remove the temporary files that this process has not finished."""
    for path in list(_unfinished):
        with suppress(OSError):
            path.unlink()


@contextmanager
def _temporary_output(target: Path) -> Iterator[IO[bytes]]:
    remove_unfinished(target)
    descriptor, name = _make_temporary(target, tempfile.mkstemp)
    temporary = Path(name)
    _unfinished.add(temporary)
    try:
        with open(descriptor, "wb") as handle:
            lock(handle.fileno())
            with _compressed(target, handle) as stream:
                yield stream
            handle.flush()
            _give_mode(target, temporary)
            _sync_descriptor(handle.fileno())
            os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise InputError(f"cannot be written ({error.strerror})", path=target) from error
        raise
    finally:
        _unfinished.discard(temporary)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A folder to be filled, which takes the place of `target` if the block ends without an exception.

    The one that was there is replaced in one step where the system can exchange names (Linux): a kill leaves one.
    """
    remove_unfinished(target)
    temporary = Path(_make_temporary(target, tempfile.mkdtemp))
    try:
        with locked(temporary):
            folder = temporary / target.name
            folder.mkdir()
            yield folder
            for path in (*folder.rglob("*"), folder):
                _sync_path(path)
            _move_into_place(folder, target, temporary / REPLACED)
            _sync_path(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(target: Path) -> None:
    """Remove the temporary files of killed runs for this target; those of a running one are locked."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.*{PART}"):
        with suppress(OSError, InputError), locked(path):
            if (path / REPLACED).exists() and not target.exists():
                (path / REPLACED).rename(target)  # the kill came between two renames
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class FileLock:
    """A file or a folder that this process has locked, unless another one has (`is_ours`); until it is released."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        self._descriptor = os.open(path, os.O_RDONLY)
        self.is_ours = lock(self._descriptor)
        if not self.is_ours:
            self.release()

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file or a folder; InputError where another process does."""
    file_lock = FileLock(path)
    if not file_lock.is_ours:
        raise InputError("another run is writing there", path=path)
    try:
        yield
    finally:
        file_lock.release()


def lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; whether no other process has. Some file systems know no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REPLACED = "replaced"
PART = ".part"  # ends the names of what is being written
_RENAME_EXCHANGE, _AT_FDCWD = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of renameat2(2)


def _make_temporary(target: Path, make: Callable[..., Any]) -> Any:
    """A new file or folder with an unpredictable name that begins with the target's."""
    with _as_input_errors(target):
        return make(prefix=f".{target.name[:100]}.", suffix=PART, dir=target.parent)


def _move_into_place(new: Path, target: Path, replaced: Path) -> None:
    if not target.exists():
        new.rename(target)
    elif not _exchange_names(new, target):
        target.rename(replaced)
        new.rename(target)


def _exchange_names(first: Path, second: Path) -> bool:
    """Whether two names were exchanged, at once."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return (
        rename is not None
        and rename(_AT_FDCWD, bytes(first), _AT_FDCWD, bytes(second), _RENAME_EXCHANGE) == 0
    )


def _sync_descriptor(descriptor: int) -> None:
    """Put a file on disk before its name is; not all that can be written can be synced."""
    with suppress(OSError):
        os.fsync(descriptor)


def _sync_path(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _give_mode(target: Path, temporary: Path) -> None:
    """The mode of the file that is replaced, or that of any new one."""
    if target.exists():
        mode = stat.S_IMODE(target.stat().st_mode)
    else:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    with suppress(OSError):
        temporary.chmod(mode)


def _open_new(path: Path) -> IO[bytes]:
    with _as_input_errors(path):
        return open(path, "wb")


@contextmanager
def _as_input_errors(path: Path) -> Iterator[None]:
    """OSErrors as InputErrors that name the output."""
    try:
        yield
    except FileNotFoundError:
        message = "cannot be written: its folder does not exist"
    except OSError as error:
        message = f"cannot be written ({error.strerror})"
    else:
        return
    raise InputError(message, path=path)


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


class Gate(io.RawIOBase):
    """Bytes on their way to a stream, until it is blocked and swallows them."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.blocked = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data) if self.blocked else self._out.write(data)
