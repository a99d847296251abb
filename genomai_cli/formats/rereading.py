"""A VCF or BCF that is read twice, from a pipe as well: its text is kept in a file of no name where that is needed."""

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, BinaryIO, cast

import pysam

from genomai_cli.errors import InputError
from genomai_cli.formats.streams import Input, Kind, open_input

Again = Callable[[], Input]


@contextmanager
def as_text(source: Input) -> Iterator[Again]:
    """A function that gives the input anew from its beginning, as VCF text; `source` itself is used up and closed.

    Every time, the one given before is no longer to be used. A regular VCF file is opened again, all else is kept.
    """
    with source:
        if source.kind is Kind.VCF and source.file is not None:
            yield lambda: open_input(source.path)
            return
        with tempfile.TemporaryFile() as kept:
            _keep(source, kept)
            yield lambda: _from_start(source, kept)


def _keep(source: Input, kept: IO[bytes]) -> None:
    if source.kind is Kind.VCF:
        shutil.copyfileobj(source.stream, kept, 1 << 20)
        return
    with tempfile.TemporaryDirectory(prefix="genomai-") as folder:
        binary, text = Path(folder) / "binary.bcf", Path(folder) / "text.vcf"
        with binary.open("wb") as handle:
            shutil.copyfileobj(source.stream, handle, 1 << 20)
        _convert(binary, text, source.path)
        with text.open("rb") as handle:
            shutil.copyfileobj(handle, kept, 1 << 20)


def _convert(binary: Path, text: Path, path: str) -> None:
    """BCF to VCF, by htslib."""
    before = pysam.set_verbosity(0)  # it would complain on standard error by itself
    try:
        with (
            pysam.VariantFile(str(binary)) as records,
            pysam.VariantFile(str(text), "w", header=records.header) as out,
        ):
            for record in records:
                out.write(record)
    except (OSError, ValueError) as error:
        raise InputError(f"damaged or truncated BCF ({error})", path=path) from None
    finally:
        pysam.set_verbosity(before)


def _from_start(source: Input, kept: IO[bytes]) -> Input:
    kept.seek(0)
    stream = io.BufferedReader(_Borrowed(kept), 1 << 20)
    return replace(
        source, kind=Kind.VCF, compression="plain", file=None, stream=cast(BinaryIO, stream)
    )


class _Borrowed(io.RawIOBase):
    """A file whose owner closes it."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        return self._handle.readinto(buffer)  # type: ignore[attr-defined, no-any-return]
