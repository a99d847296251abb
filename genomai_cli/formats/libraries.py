"""Libraries that the program can do without: those of the package's extras."""

from importlib import import_module
from typing import Any

from genomai_cli.errors import UsageError


def optional_library(name: str, what: str, extra: str, otherwise: str = "") -> Any:
    """The module of this name, for `what`; UsageError with the remedy, and what goes `otherwise`, where it is not."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0].replace("_", "-")
        message = f"{what} needs the library {package}: pip install 'genomai[{extra}]'"
        raise UsageError(f"{message}, {otherwise}" if otherwise else message) from None
