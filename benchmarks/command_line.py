"""Shared by the command lines of the benchmarks: data folders, options, lines of progress, files of tables."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genomai_cli.formats.outputs import atomic_text

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = REPOSITORY / "models"
DATA = REPOSITORY.parent / "shared" / "data" / "1kgp"
MITO = DATA.parent / "mito"
RUNS = REPOSITORY / "runs" / "benchmarks"  # a folder a subject; git ignores them


def names(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name for name in text.split(",") if name]


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "data": ("", {"type": Path, "metavar": "DIR"}),
    "records": ("", {"type": Path, "metavar": "TSV"}),
    "reference": ("", {"type": Path, "metavar": "FASTA"}),
    "pretrained": ("the model to compare or begin with", {"type": Path, "metavar": "DIR"}),
    "folds": ("", {"type": int, "metavar": "N"}),
    "judged": ("so many of the folds, or all", {"type": int, "metavar": "N"}),
    "methods": ("only these rows", {"type": names, "metavar": "NAME,..."}),
    "fresh": ("forget the kept results of these rows", {"type": names, "metavar": "NAME,..."}),
    "set": (
        "change a recipe (to try something)",
        {"action": "append", "metavar": "SECTION.KEY=VALUE"},
    ),
    "seed": ("", {"type": int, "metavar": "N"}),
    "threads": ("", {"type": int, "metavar": "N"}),
    "device": ("for our models", {}),
    "runs": ("kept results", {"type": Path, "metavar": "DIR"}),
    "output": ("the table as TSV, written anew as it grows", {"type": Path, "metavar": "FILE"}),
    "markdown": ("tables for readers", {"type": Path, "metavar": "FILE"}),
}


def parser_of(doc: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with the first line of `doc` as its description and the named shared options with these defaults."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    for name, default in defaults.items():
        text, settings = OPTIONS[name]
        help_parts = [text] * bool(text) + ["default: %(default)s"] * (default not in (None, []))
        flags = ["-o"] * (name == "output") + [f"--{name}"]
        parser.add_argument(*flags, default=default, help="; ".join(help_parts), **settings)
    return parser


def write_optional(path: Path | None, text: str | Iterable[str]) -> None:
    """Write the text or its lines into a file, if there is a path."""
    if path:
        with atomic_text(path) as handle:
            handle.write("".join(text))


def format_number(value: float) -> str:
    """A figure with three digits, without an exponent where it is large."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def say(message: str) -> None:
    """A line of progress."""
    print(message, file=sys.stderr, flush=True)


def say_on_terminal(message: str) -> None:
    """A line of progress that the next one overwrites; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r{message}\033[K", end="\r", file=sys.stderr, flush=True)
