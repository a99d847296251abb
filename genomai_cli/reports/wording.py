"""How pages put counts and numbers, and how much of a table they show."""

import math

MAX_ROWS = 10_000  # of a table; a page of more would not open in seconds


def counted(count: int, one: str, several: str = "") -> str:
    """`1 sample`, `2,504 samples`; `several` is the plural where it is not `one` with an s."""
    return f"1 {one}" if count == 1 else f"{count:,} {several or one + 's'}"


def decimal(value: float | None) -> str:
    """A number with four decimals, a count with its thousands apart; empty if it is none, or not finite."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value + 0.0:.4f}"  # no minus before 0


def abridged(shown: int, count: int, which: str) -> str:
    """The caption of a table with `shown` of `count` rows, nothing if it has all; `which` says which ones."""
    if shown >= count:
        return ""
    return f"{shown:,} of {count:,}, {which}; the file that was written has all."
