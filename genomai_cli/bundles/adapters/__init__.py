"""Released checkpoints as models: a folder in a model's released layout, read without being converted first.

An adapter is a module that says which config.json it knows, what a bundle's config would say of it, and under
which name each of its tensors belongs; `registry.ADAPTERS` lists them. Every tensor of the file is used or a known
extra, every parameter is filled, or the checkpoint is refused. Two functions an adapter need not have:
`config_of_file`, for files whose name or contents tell what a config.json would, and `remarks`, what users should know
of a checkpoint.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from genomai_cli import registry
from genomai_cli.backbones.classifier import FEATURES
from genomai_cli.bundles import catalog, hub
from genomai_cli.bundles.weights import Weights, weights_file
from genomai_cli.errors import BundleError

HEAD = "label"  # the name of a fine-tuned network's head, of which released files say nothing


@dataclass(frozen=True)
class Keys:
    """Where a checkpoint's tensors belong: `renamed` gives the name in the bundle of each name in the checkpoint;
    `tied` ones are stored again under another name, which they must equal; `extra` ones are known and not needed.
    `transforms` gives, by name in the bundle, what is made of a tensor that is not stored as it is used, which raises
    ValueError for one that cannot be, and `added` the tensors that a bundle has and the layout has not."""

    renamed: Mapping[str, str]
    tied: Mapping[str, str] = field(default_factory=dict)
    extra: Callable[[str], bool] = lambda name: False
    transforms: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    added: Mapping[str, Tensor] = field(default_factory=dict)

    def unexpected(self, names: Iterable[str]) -> list[str]:
        """The checkpoint's names that have no name in the bundle, in order; of two with the same one, the second."""
        names, used = sorted(names), set[str]()
        found = []
        for name in names:
            target = self.renamed.get(name)
            if target in used or (
                target is None and name not in self.tied and not self.extra(name)
            ):
                found.append(name)
            elif target is not None:
                used.add(target)
        return found

    def shape_in_bundle(self, name: str, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in the bundle of a tensor that is stored with another; ValueError for one that cannot be."""
        if name not in self.transforms:
            return stored
        try:
            return tuple(self.transforms[name](torch.empty(stored, device="meta")).shape)
        except IndexError as error:
            raise ValueError(f"has {len(stored)} dimensions") from error

    def is_extra(self, name: str) -> bool:
        """Whether a tensor of this name is known and not needed."""
        return name not in self.renamed and (name in self.tied or self.extra(name))


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


class RenamedTensors(Mapping[str, Tensor]):
    """A checkpoint's tensors under the names that they have in a bundle; read when they are asked for."""

    def __init__(self, weights: Weights, keys: Keys, source: Path) -> None:
        self._weights, self._keys, self._source = weights, keys, source
        self._stored = {
            name: released for released, name in keys.renamed.items() if released in weights
        }
        unknown = keys.unexpected(weights)
        if unknown:
            raise BundleError(f"{source}: unknown tensor {unknown[0]} ({len(unknown)} in all)")
        for name, twin in keys.tied.items():
            if name in weights and (twin not in weights or not weights[name].equal(weights[twin])):
                raise BundleError(f"{source}: tensor {name} should equal {twin}, and does not")

    def __iter__(self) -> Iterator[str]:
        return chain(self._stored, self._keys.added)

    def __len__(self) -> int:
        return len(self._stored) + len(self._keys.added)

    def __getitem__(self, name: str) -> Tensor:
        if name in self._keys.added:
            return self._keys.added[name]
        tensor = self._weights[self._stored[name]]
        if name not in self._keys.transforms:
            return tensor
        with self._naming_tensor(name):
            return self._keys.transforms[name](tensor)

    @property
    def files(self) -> list[Path]:
        """The files that hold the tensors."""
        return self._weights.files

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        if name in self._keys.added:
            return tuple(self._keys.added[name].shape)
        with self._naming_tensor(name):
            return self._keys.shape_in_bundle(name, self._weights.shape(self._stored[name]))

    @contextmanager
    def _naming_tensor(self, name: str) -> Iterator[None]:
        """Turns ValueErrors for a tensor into BundleErrors that name it."""
        try:
            yield
        except ValueError as error:
            raise BundleError(f"{self._source}: tensor {self._stored[name]} {error}") from error


def checkpoint_of(path: Path) -> Path:
    """The checkpoint that a path names: a folder, or a file that tells its own layout; for any other file the folder
    whose weights it is. BundleError where that is not so."""
    file = catalog.file_of_part(path)
    if file.is_dir() or _adapter_of_file(file) is not None:
        return file
    if not (file.parent / catalog.CONFIG).is_file():
        raise BundleError(f"{file}: no {catalog.CONFIG} beside it: the architecture is not known")
    if weights_file(file.parent) != file:
        raise BundleError(f"{file}: a part of the weights")
    return file.parent


def adapter_of(checkpoint: Path) -> tuple[Adapter, dict[str, Any]] | None:
    """The adapter for a checkpoint and what its config.json says; None for a bundle, and where no adapter knows it."""
    if not checkpoint.is_dir():
        return _adapter_of_file(checkpoint)
    config = catalog.read_json(checkpoint / catalog.CONFIG)
    if not isinstance(config, dict) or "format_version" in config:
        return None
    return next(((a, config) for a in _adapters() if a.recognises(config)), None)


def _adapter_of_file(file: Path) -> tuple[Adapter, dict[str, Any]] | None:
    for adapter in _adapters():
        config = getattr(adapter, "config_of_file", lambda file: None)(file)
        if config is not None:
            return adapter, config
    return None


def _adapters() -> Iterator[Adapter]:
    return (registry.resolve(path) for path in registry.ADAPTERS.values())


def remarks(adapter: Adapter, config: Mapping[str, Any], digest: str) -> list[str]:
    """What users should know of the checkpoint with this bundle's config and SHA-256, a line each."""
    found: list[str] = getattr(adapter, "remarks", lambda config, digest: [])(config, digest)
    return found


def head_of(config: Mapping[str, Any], folder: Path, weight: str) -> dict[str, list[str]]:
    """The `heads` of a fine-tuned network's bundle: the labels by `id2label`, or their numbers where there is none.

    `weight` names the head's tensor (classes, D). BundleError for a head of numbers, or where labels do not fit it.
    """
    classes = Weights.open(folder).shape(weight)[0]
    problem = config.get("problem_type") or "single_label_classification"
    if classes < 2 or problem != "single_label_classification":
        raise BundleError(
            f"{folder}: {weight} chooses no label (problem_type {problem}, {classes} outputs)"
        )
    id2label = config.get("id2label") or {str(number): number for number in range(classes)}
    labels = [str(id2label.get(str(number), "")) for number in range(classes)]
    if len(id2label) != classes or "" in labels or len(set(labels)) < classes:
        raise BundleError(f"{folder}: id2label does not name the {classes} classes of {weight}")
    return {HEAD: labels}


def default_head_tensors(heads: Mapping[str, list[str]], *, bias: bool) -> dict[str, Tensor]:
    """The tensors that bundles have besides those of released heads: a fusion that leaves logits as they are, and a
    bias of 0 where the layout has no `bias`."""
    found = {f"fusion.network_{head}": torch.zeros(FEATURES) for head in heads}
    if not bias:
        sizes = map(len, heads.values())
        found |= {f"members.0.heads.{n}.bias": torch.zeros(size) for n, size in enumerate(sizes)}
    return found


def config_of(path: Path) -> dict[str, Any]:
    """What a bundle's config says, or would say of a checkpoint in a released layout."""
    checkpoint = checkpoint_of(path)
    released = adapter_of(checkpoint)
    if released is None:
        return catalog.read_config(checkpoint)
    return adapted_config(*released, checkpoint, set(Weights.open(checkpoint)))


def config_and_tensors(
    adapter: Adapter, released: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Any], RenamedTensors]:
    """The checkpoint in the folder as a bundle's config and tensors; BundleError for one that does not fit."""
    weights = Weights.open(folder)
    config = adapted_config(adapter, released, folder, set(weights))
    return config, RenamedTensors(weights, adapter.keys(config), folder)


def adapted_config(
    adapter: Adapter, released: Mapping[str, Any], folder: Path, names: set[str]
) -> dict[str, Any]:
    """What a bundle's config would say of a checkpoint with tensors of these names."""
    return {
        "name": re.sub(r"\.(ckpt|pth?|safetensors)$", "", hub.name_of(folder)),
        "version": "released",
        "description": "",
        "input": {"kind": "sequence"},
        "members": 1,
        "heads": {},
        "companions": {},
        "provenance": {"checkpoint": str(released.get("_name_or_path", hub.name_of(folder)))},
        **adapter.bundle_config(released, folder, names),
    }
