"""A new bundle on disk: config, weights, card, recipe and checksums, in a folder that appears whole or not at all.

Nothing here needs torch: whoever holds tensors writes the weights, see `bundle.save`; arrays are written here.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from safetensors.numpy import save_file

from genomai_cli import __version__
from genomai_cli.bundles import catalog
from genomai_cli.bundles.stored import MEMBER_PREFIX, all_finite
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.formats.outputs import atomic_folder


@dataclass(frozen=True)
class Extras:
    """The files of a bundle besides its config and weights: the model card, the recipe and further ones by name.

    `recorded` names those of `other_files` that a program reads again: their checksums go into the config.
    """

    card: str
    recipe: str
    other_files: Mapping[str, str | bytes] = field(default_factory=dict)
    recorded: Collection[str] = ()


class RecipeHeader(Protocol):
    """The name, version and description that a recipe gives a model."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def description(self) -> str: ...


def new_config(
    recipe: RecipeHeader,
    input_config: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    network: Mapping[str, Any],
    *,
    members: int,
    heads: Mapping[str, list[str]],
    library_versions: Mapping[str, str],
) -> dict[str, Any]:
    """The config of a new model; `library_versions` gives the version of the library that computed it."""
    return {
        "name": recipe.name,
        "version": recipe.version,
        "description": recipe.description,
        "input": input_config,
        "tokenizer": tokenizer,
        "network": network,
        "members": members,
        "heads": heads,
        "provenance": {
            "program": f"genomai {__version__}",
            **library_versions,
            "python": sys.version.split()[0],
        },
    }


def require_name(target: Path) -> None:
    """UsageError for a folder that has no name of its own, which it could be written beside and renamed to, and for
    `-`, which elsewhere is standard output."""
    if target.name in ("", "..") or str(target) == "-":
        raise UsageError(f"{target}: name the folder that is to become a bundle")


def require_replaceable(target: Path, *, force: bool, remedy: str = "--force replaces it") -> None:
    """UsageError unless `target` can become a bundle: nothing is there, or a bundle that `force` says to replace."""
    require_name(target)
    is_bundle = (target / catalog.CONFIG).is_file()
    if target.exists() and not is_bundle:
        raise UsageError(f"{target} exists and is not a model bundle: it would not be replaced")
    if is_bundle and not force:
        raise UsageError(f"{target} exists: {remedy}")


Write = Callable[[Path], None]


def write_bundle(
    target: Path,
    config: Mapping[str, Any],
    extras: Extras,
    *,
    write_weights: Write,
    write_input: Write,
    trainable_parameters: int,
) -> None:
    """Write the folder `target`, which appears whole or not at all; `write_weights` writes the file of weights,
    `write_input` the files that the kind of input keeps in the folder.

    An existing bundle there is replaced; any other existing folder is left alone (BundleError). One that could not be
    loaded, because a number of its config is NaN or infinite, is not written (BundleError).
    """
    if target.exists() and not (target / catalog.CONFIG).is_file():
        raise BundleError(f"{target}: exists and is not a model bundle: not replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(target) as folder:
        write_weights(folder / catalog.WEIGHTS)
        write_input(folder)
        texts = {catalog.CARD: extras.card, catalog.RECIPE: extras.recipe, **extras.other_files}
        for name, content in texts.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        full_config = {
            "format_version": catalog.FORMAT_VERSION,
            **config,
            "trainable_parameters": trainable_parameters,
            "files": _checksums(folder, (*catalog.CHECKSUMMED, *extras.recorded)),
        }
        try:
            text = json.dumps(full_config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        except ValueError:
            message = "not written: a number of its config is NaN or infinite"
            raise BundleError(f"{target}: {message}") from None
        (folder / catalog.CONFIG).write_text(text, encoding="utf-8")


def save_arrays(
    target: Path,
    config: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    write_input: Write,
    extras: Extras,
) -> None:
    """Write a bundle whose only network is these arrays, and nothing that is trained; see `write_bundle`.

    Raises BundleError for an array with a value that is NaN or infinite.
    """
    for name, values in arrays.items():
        require_finite(target, f"{MEMBER_PREFIX}{name}", finite=all_finite(values))

    def write_weights(file: Path) -> None:
        save_file({f"{MEMBER_PREFIX}{name}": values for name, values in arrays.items()}, file)

    write_bundle(
        target,
        config,
        extras,
        write_weights=write_weights,
        write_input=write_input,
        trainable_parameters=0,
    )


def require_finite(target: Path, name: str, *, finite: bool) -> None:
    """BundleError unless the tensor of this name, of a bundle to be written, is finite."""
    if not finite:
        raise BundleError(f"{target}: not written: {name} has become NaN or infinite")


def _checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: catalog.sha256(folder / name) for name in names if (folder / name).is_file()}
