"""A bundle as it lies on disk: its config and checksums, and its weights as arrays where no network is made of them.

Nothing here needs torch.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError, GenomaiError

NEEDED = ("name", "version", "input", "tokenizer", "network", "members", "heads")
REFUSED = "GLOBAL "  # is in the line in which torch says that a file asks for code
MEMBER = "members.0."  # begins the names of the tensors of an only network


class Configured:
    """What has a config that names it."""

    config: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def version(self) -> str:
        return str(self.config["version"])


@dataclass(frozen=True)
class StoredBundle(Configured):
    """A bundle whose files are as recorded; `digests` are the SHA-256 of those that have one."""

    path: Path
    config: dict[str, Any]
    digests: Mapping[str, str]

    @classmethod
    def open(cls, path: Path, sha256: Callable[[Path], str] = catalog.sha256) -> "StoredBundle":
        """The bundle in a folder; BundleError if it is damaged, incomplete, or made for a newer program."""
        config = catalog.read_config(path)
        absent = [key for key in NEEDED if key not in config]
        if absent:
            raise BundleError(f"{path / catalog.CONFIG}: damaged config: no {absent[0]}")
        return cls(path, config, catalog.checked(path, sha256))

    def sha256(self, file: str) -> str:
        """That of a file, which has to be recorded (BundleError)."""
        if file not in self.digests:
            raise BundleError(f"{self.path / catalog.CONFIG}: no checksum of {file}")
        return self.digests[file]

    @property
    def network(self) -> dict[str, Any]:
        """The sizes of its network."""
        return {name: value for name, value in self.config["network"].items() if name != "kind"}

    def arrays(self, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, NDArray[Any]]:
        """The arrays by name of its only network, which must have these shapes and numpy types; BundleError unless the
        file of weights holds exactly those. Shapes are compared before an array is read."""
        file = self.path / catalog.WEIGHTS
        there = catalog.shapes_in(file)
        expected = {f"{MEMBER}{name}": told for name, told in shapes.items()}
        require_same_names(expected, there, file)
        for name, (shape, _) in expected.items():
            require_shape(name, there[name], shape, file)
        with damage(file), safe_open(file, framework="np") as held:
            return {
                name.removeprefix(MEMBER): _checked(name, held.get_tensor(name), kind, file)
                for name, (_, kind) in expected.items()
            }


def _checked(name: str, values: NDArray[Any], kind: str, file: Path) -> NDArray[Any]:
    """The values in a numpy type; BundleError for integers where numbers are to be, or the other way, and for NaN and
    infinity."""
    if np.issubdtype(values.dtype, np.floating) != np.issubdtype(np.dtype(kind), np.floating):
        raise BundleError(f"{file}: tensor {name} is {values.dtype} where {kind} is needed")
    if not all_finite(values):
        raise BundleError(f"{file}: tensor {name} has values that are NaN or infinite")
    return values.astype(kind, copy=False)


def all_finite(values: NDArray[Any]) -> bool:
    """Whether no value is NaN or infinite; whole numbers are not looked at."""
    return not np.issubdtype(values.dtype, np.floating) or bool(np.isfinite(values).all())


def require_same_names(expected: Any, there: Any, source: Path) -> None:
    """BundleError unless the two sets of names are the same."""
    missing, unknown = set(expected) - set(there), set(there) - set(expected)
    if missing or unknown:
        what, which = ("missing", missing) if missing else ("unknown", unknown)
        raise BundleError(f"{source}: {what} tensor {min(which)} ({len(which)} in all)")


def require_shape(
    name: str, there: tuple[int, ...], expected: tuple[int, ...], source: Path
) -> None:
    """BundleError unless a tensor has the shape that the config says."""
    if there != expected:
        raise BundleError(f"{source}: tensor {name} has another shape than the config says")


@contextmanager
def damage(file: Path) -> Iterator[None]:
    """Errors of a reader as BundleErrors that name the file."""
    try:
        yield
    except GenomaiError:
        raise
    except Exception as error:
        lines = str(error).splitlines()
        line = next((found for found in lines if REFUSED in found), next(iter(lines), repr(error)))
        what = "not opened" if isinstance(error, UnpicklingError) else "damaged"
        raise BundleError(f"{file}: {what}: {line.strip()}") from error
