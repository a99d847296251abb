"""New HDF5 files, straight or by way of a temporary file (HDF5 seeks, and standard output and compressed files cannot);
and the attributes that describe a file.

HDF5 does not survive a full disk: h5py 3 ends in a crash when it closes the file, whether HDF5 writes by itself or
through Python. So it writes through Python, failed writes are swallowed, and reported when the block ends.
"""

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from typing import IO, Any, TypeVar

import h5py

from genomai_cli import __version__
from genomai_cli.errors import InputError
from genomai_cli.formats.stored_text import disk_full_error

T = TypeVar("T")


@contextmanager
def spooled_hdf5(out: IO[bytes]) -> Iterator[h5py.File]:
    """A new HDF5 file, written to `out` if the block ends without an exception; InputError if TMPDIR is full."""
    with tempfile.TemporaryFile(buffering=0) as spool:
        with _hdf5_over(spool, disk_full_error) as file:
            yield file
        spool.seek(0)
        copyfileobj(spool, out, 1 << 20)


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file at `path`, safe on disk when the block ends; InputError if the disk is full."""

    def disk_full(error: OSError) -> InputError:
        return InputError(f"cannot be written ({error.strerror})", path=path)

    with path.open("wb+", buffering=0) as target:
        with _hdf5_over(target, disk_full) as file:
            yield file
        os.fsync(target.fileno())


@contextmanager
def _hdf5_over(
    target: IO[bytes], error_for: Callable[[OSError], InputError]
) -> Iterator[h5py.File]:
    """A new HDF5 file whose bytes go to `target`; a failed write is raised as `error_for` it."""
    guarded = _GuardedFile(target)
    try:
        with h5py.File(guarded, "w") as file:
            yield file
    except Exception:
        if guarded.error is not None:  # what was behind it
            raise error_for(guarded.error) from None
        raise
    if guarded.error is not None:
        raise error_for(guarded.error)


def describe(
    file: h5py.File, kind: str, version: int, attributes: Mapping[str, str | int | float]
) -> None:
    """Write into a file's attributes its format, the format's version, the program, and further `attributes`."""
    provenance = {"format": kind, "format_version": version, "program": f"genomai {__version__}"}
    for name, value in (provenance | dict(attributes)).items():
        file.attrs[name] = value


class _GuardedFile(io.RawIOBase):
    """A file without a buffer that never raises for a write; `error` is that of the first failed write."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def write(self, data: Any) -> int:
        return self._attempt(lambda: self._write_all(memoryview(data)), len(data))

    def truncate(self, size: int | None = None) -> int:
        return self._attempt(lambda: self._file.truncate(size), size or 0)

    def flush(self) -> None:
        self._attempt(self._file.flush, None)

    def _write_all(self, data: memoryview) -> int:
        written = 0
        while written < len(data):  # what is not buffered takes a part where a disk ends
            written += self._file.write(data[written:])
        return written

    def _attempt(self, operation: Callable[[], T], default: T) -> T:
        if self.error is None:
            try:
                return operation()
            except OSError as error:
                self.error = error
        return default
