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

REQUIRED_KEYS = ("name", "version", "input", "tokenizer", "network", "members", "heads")
UNSAFE_GLOBAL = "GLOBAL "  # is in the line in which torch says that a file asks for code
MEMBER_PREFIX = "members.0."  # begins the names of a single network's tensors


class HasConfig:
    """The name and version that a model's config holds."""

    config: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def version(self) -> str:
        return str(self.config["version"])


@dataclass(frozen=True)
class StoredBundle(HasConfig):
    """A bundle whose files are as recorded; `digests` are the SHA-256 of those that have one."""

    path: Path
    config: dict[str, Any]
    digests: Mapping[str, str]

    @classmethod
    def open(cls, path: Path, sha256: Callable[[Path], str] = catalog.sha256) -> "StoredBundle":
        """The bundle in a folder; BundleError if it is damaged, incomplete, or made for a newer program."""
        config = catalog.read_config(path)
        missing = [key for key in REQUIRED_KEYS if key not in config]
        if missing:
            raise BundleError(f"{path / catalog.CONFIG}: damaged config: no {missing[0]}")
        return cls(path, config, catalog.verified_digests(path, sha256))

    def sha256(self, file: str) -> str:
        """The SHA-256 of a file, which has to be recorded (BundleError)."""
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
        stored_shapes = catalog.shapes_in(file)
        expected = {
            f"{MEMBER_PREFIX}{name}": shape_and_type for name, shape_and_type in shapes.items()
        }
        require_same_names(expected, stored_shapes, file)
        for name, (shape, _) in expected.items():
            require_shape(name, stored_shapes[name], shape, file)
        with bundle_errors(file), safe_open(file, framework="np") as tensors:
            return {
                name.removeprefix(MEMBER_PREFIX): _converted(
                    name, tensors.get_tensor(name), dtype, file
                )
                for name, (_, dtype) in expected.items()
            }


def _converted(name: str, values: NDArray[Any], dtype: str, file: Path) -> NDArray[Any]:
    """The values in a numpy type; BundleError for integers where numbers are to be, or the other way, and for NaN and
    infinity."""
    if np.issubdtype(values.dtype, np.floating) != np.issubdtype(np.dtype(dtype), np.floating):
        raise BundleError(f"{file}: tensor {name} is {values.dtype} where {dtype} is needed")
    if not all_finite(values):
        raise BundleError(f"{file}: tensor {name} has values that are NaN or infinite")
    return values.astype(dtype, copy=False)


def all_finite(values: NDArray[Any]) -> bool:
    """Whether no value is NaN or infinite; whole numbers are not looked at."""
    return not np.issubdtype(values.dtype, np.floating) or bool(np.isfinite(values).all())


def require_same_names(expected: Any, names: Any, source: Path) -> None:
    """BundleError unless the two sets of names are the same."""
    missing, unknown = set(expected) - set(names), set(names) - set(expected)
    if missing or unknown:
        problem, wrong_names = ("missing", missing) if missing else ("unknown", unknown)
        raise BundleError(
            f"{source}: {problem} tensor {min(wrong_names)} ({len(wrong_names)} in all)"
        )


def require_shape(
    name: str, shape: tuple[int, ...], expected: tuple[int, ...], source: Path
) -> None:
    """BundleError unless a tensor has the shape that the config says."""
    if shape != expected:
        raise BundleError(f"{source}: tensor {name} has another shape than the config says")


@contextmanager
def bundle_errors(file: Path) -> Iterator[None]:
    """Turns errors of a reader into BundleErrors that name the file."""
    try:
        yield
    except GenomaiError:
        raise
    except Exception as error:
        lines = str(error).splitlines()
        line = next(
            (text for text in lines if UNSAFE_GLOBAL in text), next(iter(lines), repr(error))
        )
        problem = "not opened" if isinstance(error, UnpicklingError) else "damaged"
        raise BundleError(f"{file}: {problem}: {line.strip()}") from error
