"""AlphaGenome's released layout in PyTorch: a file of tensors under the names of genomicsxai's port.

The file (`.safetensors`, `.pth`, `.pt`) is enough, since sizes follow from its tensors; what does not, how many splice
sites are paired and from which likelihood on, may stand in a config.json beside it, and the tracks in a folder's
tracks.tsv. The layout of the official JAX
checkpoint is `alphagenome_jax`'s.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genomai_cli.backbones.alphagenome_heads import ASSAYS
from genomai_cli.backbones.alphagenome_layers import AlphaGenomeConfig
from genomai_cli.backbones.base import build_network
from genomai_cli.bundles import catalog
from genomai_cli.bundles.adapters import Keys
from genomai_cli.bundles.weights import Weights
from genomai_cli.errors import BundleError

MEMBER = "members.0."
SUFFIXES = (".safetensors", ".pth", ".pt")
TOWER = "tower.blocks.0.pair_update.seq2pair."
HEAD_PREFIXES = {  # the beginnings of our names, and of those of the release
    "tracks.assays.": "heads.",
    "tracks.contact_maps.": "contact_maps_head.linear.",
    "tracks.splice_sites.": "splice_sites_classification_head.conv.",
    "tracks.splice_usage.": "splice_sites_usage_head.conv.",
    "tracks.splice_junctions.": "splice_sites_junction_head.",
}
MEANS_SUFFIX = ".track_means"
SIZE_KEYS = {  # our names of sizes, and those of a config.json
    "width": "c0",
    "growth": "inc",
    "blocks": "blocks",
    "heads": "heads",
    "key_size": "dk",
    "value_size": "dv",
    "pair_width": "pair",
    "pair_heads": "pheads",
    "pair_key_size": "pdk",
    "distances": "distances",
    "max_tokens": "max_relative_distance",
    "organisms": "num_organisms",
    "junction_width": "jdim",
    "splice_sites": "num_splice_sites",
    "splice_threshold": "splice_site_threshold",
    "tracks": "tracks",
}
BIASES = {  # of the heads: a value a track
    **{assay: f"heads.{assay}.convs.128.bias" for assay in ASSAYS},
    "contact_maps": "contact_maps_head.linear.bias",
    "splice_sites": "splice_sites_classification_head.conv.bias",
    "splice_site_usage": "splice_sites_usage_head.conv.bias",
}
JUNCTION_HEAD = "splice_sites_junction_head."
TISSUES = {367: [367, 90]}  # of the released model's junctions: those of human and of mouse
TERMS = (
    "AlphaGenome's released weights, what is computed with them and what is derived from them are for non-commercial "
    "use only: Google DeepMind's model terms, https://deepmind.google.com/science/alphagenome/model-terms"
)
ShapeOf = Callable[[str], list[int] | None]


def recognises(config: Mapping[str, Any]) -> bool:
    """What has AlphaGenome's sizes, or calls itself so."""
    return config.get("model_type") == "alphagenome" or {"c0", "inc", "pheads"} <= config.keys()


def config_of_file(file: Path) -> dict[str, Any] | None:
    """The sizes that a file's tensors have, and what a config.json beside it says; None for other tensors."""
    shapes = shapes_of_file(file)
    return released_sizes(shapes) | sibling_config(file) if f"{TOWER}q_r_bias" in shapes else None


def shapes_of_file(file: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a file; none in what cannot be one of this family."""
    if file.suffix not in SUFFIXES or not file.is_file():
        return {}
    weights = Weights.open(file)
    return {name: list(weights.shape(name)) for name in weights}


def sibling_config(file: Path) -> dict[str, Any]:
    """The config.json in the file's folder, if it is of this family; empty otherwise."""
    config_file = file.parent / catalog.CONFIG
    config = catalog.read_json(config_file) if config_file.is_file() else {}
    return dict(config) if isinstance(config, dict) and recognises(config) else {}


def bundle_config(config: Mapping[str, Any], folder: Path, names: set[str]) -> dict[str, Any]:
    """See `Adapter`; BundleError for sizes that no AlphaGenome can have."""
    del names
    settings = dict(config)
    if folder.is_dir():
        weights = Weights.open(folder)
        settings = released_sizes({n: list(weights.shape(n)) for n in weights}) | settings
    network = {name: settings[key] for name, key in SIZE_KEYS.items() if key in settings}
    try:
        network["tissues"] = TISSUES.get(network["tracks"].get("splice_junctions"))
        AlphaGenomeConfig(**network)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder}: no sizes of an AlphaGenome: {error!r}") from error
    has_tracks = (folder / catalog.TRACKS).is_file()
    return {
        "input": {"kind": "tracks" if has_tracks else "sequence"},
        "tokenizer": {"kind": "characters"},
        "network": {"kind": "alphagenome", **network},
        "remarks": [TERMS],
    }


def keys(config: Mapping[str, Any]) -> Keys:
    """See `Adapter`."""
    names = {released_name(name): f"{MEMBER}{name}" for name in shapes_of_network(config)}
    means = {name: checked_means for name in names.values() if name.endswith(MEANS_SUFFIX)}
    return Keys(names, transforms=means)


def shapes_of_network(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of the network's tensors by our names."""
    with torch.device("meta"):
        tensors = build_network(config["network"]).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def released_name(name: str) -> str:
    """The name in the release of a tensor of our network."""
    for prefix, released_prefix in HEAD_PREFIXES.items():
        if name.startswith(prefix):
            return released_prefix + name.removeprefix(prefix)
    return name


def checked_means(means_GO: Tensor) -> Tensor:
    """The tracks' means of each organism, if they are that: positive, and 0 for those that fill a head up behind the
    last real one; ValueError otherwise."""
    if means_GO.is_meta:
        return means_GO
    real_GO = means_GO > 0
    if (means_GO < 0).any() or not real_GO.any(1).all():
        raise ValueError("holds means of tracks that are not positive")
    if (real_GO[:, 1:] & ~real_GO[:, :-1]).any():
        raise ValueError("holds a mean of 0 before the last track: 0 is for those that fill up")
    return means_GO


def remarks(config: Mapping[str, Any], digest: str) -> list[str]:
    """The terms of the weights."""
    del digest
    return list(config["remarks"])


def released_sizes(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    """The part of a released config.json that follows from the tensors' shapes; BundleError where one lacks."""
    return sizes(lambda name: shapes.get(name))


def sizes(shape_of: ShapeOf) -> dict[str, Any]:
    """The sizes as a released config.json has them, from the shapes by the port's names."""

    def shape(name: str) -> list[int]:
        found = shape_of(name)
        if found is None:
            raise BundleError(f"no tensor {name}, as AlphaGenome has it")
        return found

    width, key_size = (
        shape(f"{name}.weight")[0]
        for name in ("encoder.dna_embedder.conv1", "tower.blocks.0.mha.k_proj")
    )
    _, _, pair_heads, pair_key_size = shape(f"{TOWER}q_r_bias")
    blocks = 0
    while shape_of(f"tower.blocks.{blocks}.mha.k_proj.weight"):
        blocks += 1
    found = {
        "c0": width,
        "inc": shape("encoder.down_blocks.0.block1.conv.bias")[0] - width,
        "blocks": blocks,
        "heads": shape("tower.blocks.0.mha.q_proj.weight")[0] // key_size,
        "dk": key_size,
        "dv": shape("tower.blocks.0.mha.v_proj.weight")[0],
        "pair": shape(f"{TOWER}linear_pair.bias")[0],
        "pheads": pair_heads,
        "pdk": pair_key_size,
        "distances": shape(f"{TOWER}linear_pos_features.weight")[1] // 2,
        "num_organisms": shape("organism_embed.weight")[0],
    }
    biases = {head: shape_of(name) for head, name in BIASES.items()}
    tracks = {head: bias[1] for head, bias in biases.items() if bias}
    if junctions := shape_of(f"{JUNCTION_HEAD}conv.bias"):
        found["jdim"] = junctions[1]
        values = math.prod(shape(f"{JUNCTION_HEAD}rope_params.pos_donor"))
        tracks["splice_junctions"] = values // (2 * math.prod(junctions))
    return {**found, "tracks": tracks}
