"""`--report`: the page that a command writes for people, whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from genomai_cli.reports.page import Page


class PageFile:
    """A file that waits for its page; nothing where none is asked for, which is false."""

    def __init__(self, out: IO[bytes] | None) -> None:
        self._out = out

    def __bool__(self) -> bool:
        return self._out is not None

    def write(self, page: "Page") -> None:
        """Put the page there."""
        from genomai_cli.reports.page import rendered

        assert self._out is not None
        self._out.write(rendered(page))


@contextmanager
def page_file(path: Path | None) -> Iterator[PageFile]:
    """The file of the page, refused at once if it cannot be written; it appears when the block ends without an
    exception, so that what is written inside comes first."""
    from genomai_cli.formats.outputs import atomic_output

    if path is None:
        yield PageFile(None)
        return
    with atomic_output(path) as out:
        yield PageFile(out)
