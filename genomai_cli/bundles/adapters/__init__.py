"""Released checkpoints as models: a folder in a model's released layout, read without being converted first.

An adapter is a module that says which config.json it knows, what a bundle's config would say of it, and under
which name each of its tensors belongs; `registry.ADAPTERS` lists them. Every tensor of the file is used or a known
extra, every parameter is filled, or the checkpoint is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from genomai_cli import registry
from genomai_cli.bundles import catalog
from genomai_cli.bundles.weights import Weights
from genomai_cli.errors import BundleError


@dataclass(frozen=True)
class Keys:
    """Where a checkpoint's tensors belong: `renamed` gives the name in the bundle of each name in the checkpoint;
    `tied` ones are stored again under another name, which they must equal; `extra` ones are known and not needed."""

    renamed: Mapping[str, str]
    tied: Mapping[str, str] = field(default_factory=dict)
    extra: Callable[[str], bool] = lambda name: False

    def unexpected(self, names: Iterable[str]) -> list[str]:
        """Those of the checkpoint's names that belong nowhere, in order; the second of two that belong to one place."""
        names, places = sorted(names), set[str]()
        found = []
        for name in names:
            place = self.renamed.get(name)
            if place in places or (
                place is None and name not in self.tied and not self.extra(name)
            ):
                found.append(name)
            elif place is not None:
                places.add(place)
        return found


class Adapter(Protocol):
    """A module of this package that knows a released layout."""

    def recognises(self, config: Mapping[str, Any]) -> bool:
        """Whether the released config.json is one of this layout."""

    def bundle_config(
        self, config: Mapping[str, Any], folder: Path, names: set[str]
    ) -> dict[str, Any]:
        """The network, the tokenizer and the auxiliary heads as a bundle's config has them."""

    def keys(self, config: Mapping[str, Any]) -> Keys:
        """Where the tensors belong, for a bundle's config."""

    def released_sizes(self, shapes: Mapping[str, list[int]]) -> dict[str, Any]:
        """The part of a released config.json that follows from the tensors' shapes."""


class Renamed(Mapping[str, Tensor]):
    """A checkpoint's tensors under the names that they have in a bundle; read when they are asked for."""

    def __init__(self, weights: Weights, keys: Keys, source: Path) -> None:
        self._weights = weights
        self._stored = {ours: theirs for theirs, ours in keys.renamed.items() if theirs in weights}
        unknown = keys.unexpected(weights)
        if unknown:
            raise BundleError(f"{source}: unknown tensor {unknown[0]} ({len(unknown)} in all)")
        for name, twin in keys.tied.items():
            if name in weights and (twin not in weights or not weights[name].equal(weights[twin])):
                raise BundleError(f"{source}: tensor {name} should equal {twin}, and does not")

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, name: str) -> Tensor:
        return self._weights[self._stored[name]]

    @property
    def files(self) -> list[Path]:
        """The files that hold the tensors."""
        return self._weights.files

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return self._weights.shape(self._stored[name])


def adapter_of(folder: Path) -> tuple[Adapter, dict[str, Any]] | None:
    """The adapter for the checkpoint in the folder, and its config.json; None for a bundle, and where no adapter knows
    it."""
    config = catalog.read_json(folder / catalog.CONFIG)
    if not isinstance(config, dict) or "format_version" in config:
        return None
    for path in registry.ADAPTERS.values():
        adapter: Adapter = registry.resolve(path)
        if adapter.recognises(config):
            return adapter, config
    return None


def adapted(
    adapter: Adapter, released: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Any], Renamed]:
    """The checkpoint in the folder as a bundle's config and tensors; BundleError for one that does not fit."""
    weights = Weights.open(folder)
    config = adapted_config(adapter, released, folder, set(weights))
    return config, Renamed(weights, adapter.keys(config), folder)


def adapted_config(
    adapter: Adapter, released: Mapping[str, Any], folder: Path, names: set[str]
) -> dict[str, Any]:
    """What a bundle's config would say of a checkpoint with tensors of these names."""
    return {
        "name": folder.resolve().name,
        "version": "released",
        "description": "",
        "input": {"kind": "sequence"},
        "members": 1,
        "heads": {},
        "companions": {},
        "provenance": {"checkpoint": str(released.get("_name_or_path", folder.resolve().name))},
        **adapter.bundle_config(released, folder, names),
    }
