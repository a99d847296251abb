"""Libraries that the program can do without: those of the package's extras."""

from importlib import import_module
from typing import Any

from genomai_cli.errors import UsageError


def optional_library(name: str, purpose: str, extra: str, alternative: str = "") -> Any:
    """The module of this name, for `purpose`; UsageError with the remedy, and an `alternative`, without it."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0].replace("_", "-")
        message = f"{purpose} needs the library {package}: pip install 'genomai[{extra}]'"
        raise UsageError(f"{message}, {alternative}" if alternative else message) from None
