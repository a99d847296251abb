"""For type checkers, which open nothing: the names of the library."""

from genomai_cli.library import *  # noqa: F403  (with all of its `__all__`)

__version__: str
