"""AlphaGenome's official checkpoint, trained with JAX and Haiku, as a file of its tensors under their flat names.

`bundles.orbax` makes such a file of the checkpoint's folder. The tracks' means are no part of it, since the original
reads them from elsewhere: here they are 1, as in the original without its table.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genomai_cli.bundles.adapters import Keys
from genomai_cli.bundles.adapters import alphagenome as port

ROOT = "alphagenome/"
UNITS = "the official checkpoint has no means of its tracks: those of assays are in units of their means"
ORGANISM_LINEAR = "multi_organism_linear"
NAME_PATTERNS = (  # of the port's names, applied in order, and Haiku's; `#n` is a suffix that the first, 0, has not
    (r"^encoder\.down_blocks\.(\d+)\.block1", r"sequence_encoder.downres_block_\1.conv_block"),
    (r"^encoder\.down_blocks\.(\d+)\.block2", r"sequence_encoder.downres_block_\1.conv_block_1"),
    (r"^encoder\.dna_embedder\.block", "sequence_encoder.dna_embedder.conv_block"),
    (r"^encoder\.dna_embedder\.conv1", "sequence_encoder.dna_embedder.conv1_d"),
    (r"^decoder\.up_blocks\.(\d+)", r"sequence_decoder.up_res_block#\1"),
    (r"\.pointwise\.conv", ".pointwise_conv_unet_skip.linear"),
    (r"\.pointwise\.norm", ".pointwise_conv_unet_skip.norm"),
    (r"^tower\.blocks\.(\d+)\.pair_update", r"transformer_tower.pair_update_block#\1"),
    (r"^tower\.blocks\.(\d+)\.attn_bias", r"transformer_tower.attention_bias_block#\1"),
    (r"^tower\.blocks\.(\d+)\.(mha|mlp)", r"transformer_tower.\2_block#\1"),
    (r"\.(row_attn|pair_mlp)\.norm\.", r".\1.layer_norm."),
    (r"\.seq2pair\.", ".sequence_to_pair_block."),
    (r"\.row_attn\.", ".row_attention_block."),
    (r"\.pair_mlp\.", ".pair_mlp_block."),
    (r"\.([qkv])_proj\.", r".\1_layer."),
    (r"\.(proj|fc1|linear1|project_in)\.", ".linear."),
    (r"\.(fc2|linear2|project_skip)\.", ".linear_1."),
    (r"^embedder_pair\.norm", "output_pair.layer_norm"),
    (r"^embedder_pair", "output_pair"),
    (r"^embedder_128bp", "output_embedder"),
    (r"^embedder_1bp", "output_embedder_1"),
    (r"\borganism_embed\.weight$", "embed.embeddings"),
    (r"^heads\.(\w+)\.convs\.(\d+)", rf"head.\1.resolution_\2.{ORGANISM_LINEAR}"),
    (r"^heads\.(\w+)\.residual_scales\.(\d+)", r"head.\1.resolution_\2.learnt_scale"),
    (r"^(\w+)_head\.(conv|linear)", rf"head.\1.{ORGANISM_LINEAR}"),
    (r"^(\w+)_head\.rope_params\.(\w+)", r"head.\1.\2_logits.embeddings"),
    (r"\.norm\.", ".rms_batch_norm."),
    (r"\.final_norm\.", ".rms_batch_norm_1."),
    (r"(norm\w*)\.weight$", r"\1.scale"),
    (r"(norm\w*)\.bias$", r"\1.offset"),
    (r"\.running_var$", ".var_ema"),
    (r"\.conv\.weight$", ".standardized_conv1_d.w"),
    (r"\.weight$", ".w"),
    (r"(conv1_d|linear\w*|_layer)\.bias$", r"\1.b"),
    (r"\.conv\.(bias|scale)$", r".standardized_conv1_d.\1"),
)  # fmt: skip


def recognises(config: Mapping[str, Any]) -> bool:
    """No config.json is of this layout."""
    del config
    return False


def config_of_file(file: Path) -> dict[str, Any] | None:
    """See `alphagenome.config_of_file`."""
    shapes = port.shapes_of_file(file)
    if haiku_name(f"{port.TOWER}q_r_bias") not in shapes:
        return None
    return released_sizes(shapes) | port.sibling_config(file)


def bundle_config(config: Mapping[str, Any], folder: Path, names: set[str]) -> dict[str, Any]:
    """See `Adapter`."""
    found = port.bundle_config(config, folder, names)
    return found | {"remarks": [*found["remarks"], UNITS]}


def keys(config: Mapping[str, Any]) -> Keys:
    """See `Adapter`."""
    names, transforms, added = {}, {}, {}
    for name, shape in port.shapes_of_network(config).items():
        target, released = f"{port.MEMBER}{name}", port.released_name(name)
        if released.endswith(port.MEANS_SUFFIX):
            added[target] = torch.ones(shape)
            continue
        names[haiku_name(released)] = target
        transforms[target] = to_network_layout(haiku_name(released), shape)
    return Keys(names, transforms=transforms, added=added)


def remarks(config: Mapping[str, Any], digest: str) -> list[str]:
    """The terms of the weights, and the units of tracks."""
    return port.remarks(config, digest)


def released_sizes(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    """The part of a released config.json that follows from the tensors' shapes."""

    def shape_of(name: str) -> list[int] | None:
        """The shape in the port's layout of a tensor by the port's name."""
        haiku = haiku_name(name)
        shape = shapes.get(haiku)
        return shape[::-1] if shape and haiku.endswith("/w") else shape

    return port.sizes(shape_of)


def haiku_name(name: str) -> str:
    """The name in the official checkpoint of a tensor by its name in the port."""
    for pattern, part in NAME_PATTERNS:
        name = re.sub(pattern, part, name)
    if pairs := re.search(r"pair_update_block#(\d+)", name):  # in every other block
        name = name.replace(pairs[0], f"pair_update_block#{int(pairs[1]) // 2}")
    name = re.sub(r"#0\b", "", name).replace("#", "_")
    return ROOT + name.replace(".", "/")


def to_network_layout(haiku: str, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """A function from a tensor of the official checkpoint to one of the network: Haiku has outputs last, the kernel's
    taps first, and statistics of the batch with dimensions of 1; ValueError for one of another size."""
    by_organism = ORGANISM_LINEAR in haiku

    def transform(tensor: Tensor) -> Tensor:
        if haiku.endswith("/w") and not by_organism:
            tensor = tensor.permute(*reversed(range(tensor.dim())))
        elif haiku.endswith("/w") and "contact_maps" not in haiku:
            tensor = tensor.transpose(1, 2)
        if tensor.numel() != torch.Size(shape).numel():
            raise ValueError("has another size than the config says")
        return tensor.reshape(shape)

    return transform
