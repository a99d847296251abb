"""BGZF: gzip in blocks of 64 KiB, which bgzip, tabix and samtools can seek in."""

import io
import struct
import zlib
from typing import IO, Any

END_MARKER = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_BLOCK = 65280  # as bgzip: a block that cannot be compressed still stays below 64 KiB
_HEADER = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x06\x00\x42\x43\x02\x00"
_LEVEL = 5  # imputed genotypes: a tenth larger than by 6, compressed in half the time


def is_bgzf(head: bytes) -> bool:
    """Whether the first 18 bytes of a file open a BGZF block."""
    return len(head) >= 18 and head[:4] == b"\x1f\x8b\x08\x04" and head[12:16] == b"BC\x02\x00"


class BgzfWriter(io.RawIOBase):
    """A binary stream that compresses into blocks; closing it adds the end-of-file marker."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._pending = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pending += data
        while len(self._pending) >= _BLOCK:
            self._target.write(compress_block(bytes(self._pending[:_BLOCK])))
            del self._pending[:_BLOCK]
        return len(data)

    def discard(self) -> None:
        """Close without writing anything more."""
        super().close()

    def close(self) -> None:
        if self.closed:
            return
        if self._pending:
            self._target.write(compress_block(bytes(self._pending)))
        self._target.write(END_MARKER)
        self._target.flush()
        super().close()


def compress_block(data: bytes) -> bytes:
    """One BGZF block of at most 65,280 bytes."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    body = compressor.compress(data) + compressor.flush()
    size = struct.pack("<H", len(body) + 25)
    return _HEADER + size + body + struct.pack("<II", zlib.crc32(data), len(data))
