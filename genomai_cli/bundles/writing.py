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
from genomai_cli.bundles.stored import MEMBER, all_finite
from genomai_cli.errors import BundleError
from genomai_cli.formats.outputs import atomic_folder


@dataclass(frozen=True)
class Extras:
    """The files beside a bundle's weights: those that only people read, and those of an application.

    `recorded` names the ones among the others that a program reads again: their checksums go into the config.
    """

    card: str
    recipe: str
    others: Mapping[str, str | bytes] = field(default_factory=dict)
    recorded: Collection[str] = ()


class Titled(Protocol):
    """What a recipe says of a model besides how it is made."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def description(self) -> str: ...


def new_config(
    recipe: Titled,
    given: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    network: Mapping[str, Any],
    *,
    members: int,
    heads: Mapping[str, list[str]],
    library: Mapping[str, str],
) -> dict[str, Any]:
    """The config of a model that has just been made: `given` is its input, `library` the version of what computed."""
    return {
        "name": recipe.name,
        "version": recipe.version,
        "description": recipe.description,
        "input": given,
        "tokenizer": tokenizer,
        "network": network,
        "members": members,
        "heads": heads,
        "provenance": {
            "program": f"genomai {__version__}",
            **library,
            "python": sys.version.split()[0],
        },
    }


Write = Callable[[Path], None]


def write_bundle(
    target: Path,
    config: Mapping[str, Any],
    extras: Extras,
    *,
    weights: Write,
    given: Write,
    trainable_parameters: int,
) -> None:
    """Write the folder `target`, which appears whole or not at all; `weights` writes the file of weights, `given` what
    the kind of input keeps in the folder.

    An existing bundle there is replaced; any other existing folder is left alone (BundleError). One that could not be
    loaded, because a number of its config is NaN or infinite, is not written (BundleError).
    """
    if target.exists() and not (target / catalog.CONFIG).is_file():
        raise BundleError(f"{target}: exists and is not a model bundle: not replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(target) as folder:
        weights(folder / catalog.WEIGHTS)
        given(folder)
        texts = {catalog.CARD: extras.card, catalog.RECIPE: extras.recipe, **extras.others}
        for name, content in texts.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        whole = {
            "format_version": catalog.FORMAT_VERSION,
            **config,
            "trainable_parameters": trainable_parameters,
            "files": _checksums(folder, (*catalog.CHECKED, *extras.recorded)),
        }
        try:
            text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        except ValueError:
            message = "not written: a number of its config is NaN or infinite"
            raise BundleError(f"{target}: {message}") from None
        (folder / catalog.CONFIG).write_text(text, encoding="utf-8")


def save_arrays(
    target: Path,
    config: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    given: Write,
    extras: Extras,
) -> None:
    """Write a bundle whose only network is these arrays, and nothing that is trained; see `write_bundle`.

    Raises BundleError for an array with a value that is NaN or infinite.
    """
    for name, values in arrays.items():
        require_finite(target, f"{MEMBER}{name}", finite=all_finite(values))

    def weights(file: Path) -> None:
        save_file({f"{MEMBER}{name}": values for name, values in arrays.items()}, file)

    write_bundle(target, config, extras, weights=weights, given=given, trainable_parameters=0)


def require_finite(target: Path, name: str, *, finite: bool) -> None:
    """BundleError unless the tensor of this name, of a bundle to be written, is finite."""
    if not finite:
        raise BundleError(f"{target}: not written: {name} has become NaN or infinite")


def _checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: catalog.sha256(folder / name) for name in names if (folder / name).is_file()}
