"""HDF5 by way of a temporary file: HDF5 seeks, and standard output and compressed files cannot; and what files say of
themselves.

HDF5 calls Python for every byte here, and does not survive an exception from there (h5py 3 ends in a crash on a full
disk). So what the temporary file cannot take is swallowed, and told when the block ends.
"""

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from shutil import copyfileobj
from typing import IO, Any, TypeVar

import h5py

from genomai_cli import __version__
from genomai_cli.formats.stored_text import no_room

T = TypeVar("T")


@contextmanager
def spooled_hdf5(out: IO[bytes]) -> Iterator[h5py.File]:
    """A new HDF5 file, written to `out` if the block ends without an exception; InputError if TMPDIR is full."""
    with tempfile.TemporaryFile() as spool:
        kept = _Spool(spool)
        try:
            with h5py.File(kept, "w") as file:
                yield file
        except Exception:
            kept.check()  # what was behind it
            raise
        kept.check()
        spool.seek(0)
        copyfileobj(spool, out, 1 << 20)


def describe(
    file: h5py.File, kind: str, version: int, about: Mapping[str, str | int | float]
) -> None:
    """Say in a file's attributes what it is, in which version of that format, what made it, and more `about` it."""
    made = {"format": kind, "format_version": version, "program": f"genomai {__version__}"}
    for name, value in (made | dict(about)).items():
        file.attrs[name] = value


class _Spool(io.RawIOBase):
    """A file that never raises for a write."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._error: OSError | None = None

    def check(self) -> None:
        """InputError for what could not be written."""
        if self._error is not None:
            raise no_room(self._error)

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
        return self._tried(lambda: self._file.write(data), len(data))

    def truncate(self, size: int | None = None) -> int:
        return self._tried(lambda: self._file.truncate(size), size or 0)

    def flush(self) -> None:
        self._tried(self._file.flush, None)

    def _tried(self, act: Callable[[], T], otherwise: T) -> T:
        if self._error is None:
            try:
                return act()
            except OSError as error:
                self._error = error
        return otherwise
