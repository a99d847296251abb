"""Standard output that stays empty if the run fails early."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from genomai_cli.errors import UsageError

HELD_BACK = 1 << 26  # bytes: 64 MiB


@contextmanager
def held_output(path: Path) -> Iterator[IO[bytes]]:
    """`atomic_output`, of which even standard output gets nothing if the block fails within 64 MiB.

    Bad data are thus refused with a message alone, while outputs of any size still stream.
    """
    from genomai_cli.formats.outputs import atomic_output

    with atomic_output(path) as out:
        gate = _Gate(out)
        held = io.BufferedWriter(gate, HELD_BACK)
        try:
            yield held
            held.flush()
        except BaseException:
            gate.blocked = True
            raise


def require_apart(**outputs: Path | None) -> None:
    """UsageError where two outputs, named as their options are, would go to the same file or both to a pipe."""
    seen: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        name = f"--{option.replace('_', '-')}"
        first = seen.setdefault(path.resolve(), name)
        if first != name:
            raise UsageError(f"{first} and {name} are the same file")


class _Gate(io.RawIOBase):
    """Bytes on their way to a stream, until it is blocked and swallows them."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.blocked = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data) if self.blocked else self._out.write(data)
