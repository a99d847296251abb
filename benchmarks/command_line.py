"""What the command lines of the benchmarks share: where the data lie, lists of names, lines of progress."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = REPOSITORY / "models"
DATA = REPOSITORY.parent / "shared" / "data" / "1kgp"
MITO = DATA.parent / "mito"
RUNS = REPOSITORY / "runs" / "benchmarks"  # a folder a subject; git ignores them


def names(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name for name in text.split(",") if name]


def say(message: str) -> None:
    """A line of progress."""
    print(message, file=sys.stderr, flush=True)


def say_on_terminal(message: str) -> None:
    """A line of progress that the next one overwrites; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r{message}\033[K", end="\r", file=sys.stderr, flush=True)
