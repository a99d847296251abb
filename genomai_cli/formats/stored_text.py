"""Long sequences in a file of no name, so that memory does not grow with them."""

import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

from genomai_cli.errors import InputError

_CHUNK = 1 << 20


def disk_full_error(error: OSError) -> InputError:
    """The InputError for a temporary file that could not be written, with the remedy."""
    reason = error.strerror or str(error)
    message = f"no temporary file of this size ({reason}): set TMPDIR to a larger disk"
    return InputError(message, path=tempfile.gettempdir())


class StoredText:
    """ASCII letters on disk that read as a `str` does: `len`, slices, `count` and `replace` of single letters.

    The file goes with the object. Slices have no steps.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._length = 0

    def append(self, letters: bytes) -> None:
        """More letters; InputError if TMPDIR is full."""
        try:
            self._file.seek(self._length)
            view = memoryview(letters)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise disk_full_error(error) from None
        self._length += len(letters)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, key: slice, /) -> str:
        start, stop, step = key.indices(self._length)
        if step != 1:
            raise ValueError("stored letters are read without steps")
        self._file.seek(start)
        length = max(0, stop - start)
        read = bytearray()
        while len(read) < length:
            read += self._file.read(length - len(read))
        return read.decode("ascii")

    def count(self, letter: str, /) -> int:
        """How often the letter occurs."""
        return sum(chunk.count(letter) for chunk in self._chunks())

    def replace(self, letter: str, other: str, /) -> "StoredText":
        """The text with another letter, or nothing, for each of these."""
        result = StoredText()
        for chunk in self._chunks():
            result.append(chunk.replace(letter, other).encode("ascii"))
        return result

    def _chunks(self) -> Iterator[str]:
        return (self[start : start + _CHUNK] for start in range(0, self._length, _CHUNK))
