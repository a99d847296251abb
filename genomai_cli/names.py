"""Names are text: how outputs that cannot hold them as they are escape them, and a check for duplicates.

Bytes that are no UTF-8 come in as lone surrogates (`formats.streams.text_of`), and go out as the same bytes.
"""

import re
from collections.abc import Iterable

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_CAPTION = 120  # characters
_NOT_UNICODE = re.compile("[\ud800-\udfff]")


def escaped(text: str) -> str:
    """The text for TSV and FASTA: control characters and line ends as `\\t`, `\\x1b`, `\\u2028`, all else as it is."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable(text: str) -> str:
    """The text for terminals, HDF5, HTML and pictures: the same, and bytes that are no UTF-8 as `\\xfc`."""
    return _NOT_UNICODE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", escaped(text))


def caption(text: str) -> str:
    """The text for matplotlib, short and without mathematics: between dollars it would be read as TeX."""
    return printable(text)[:_LONGEST_CAPTION].replace("$", r"\$")


def is_plain(text: str) -> bool:
    """Whether the text is the same in every output."""
    return printable(text) == text


def first_duplicate(names: Iterable[str]) -> str | None:
    """The first name that is a duplicate of an earlier one; None if all differ."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
