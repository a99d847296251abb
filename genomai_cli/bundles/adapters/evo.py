"""Evo's released layouts: Evo 2 as `evo2_X.pt`, whole or in parts, and Evo 1 as a Hugging Face folder.

The config.json of Evo 2 (arcinstitute/evo2_X) holds a name only, for which `evo2_releases` has the settings; those in
full are read as well. Evo 1 (togethercomputer/evo-1-8k-base and -131k-base) has all of them in its config.json; its
first release had some projections permuted, which neither names nor shapes show, so that users are told the checksum.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genomai_cli.backbones.base import build_network
from genomai_cli.backbones.striped_hyena import StripedHyenaConfig, frequencies
from genomai_cli.bundles import catalog, hub
from genomai_cli.bundles.adapters import Keys
from genomai_cli.bundles.adapters.evo2_releases import FP8, RELEASED
from genomai_cli.errors import BundleError

PREFIX, UNEMBED, EMBEDDING = "backbone.", "unembed.weight", "embedding_layer.weight"
ATTENTION_NAMES = {  # our names in a mixer, and those of the release
    "qkv": "inner_mha_cls.Wqkv",
    "out": "inner_mha_cls.out_proj",
    "inv_freq": "inner_mha_cls.rotary_emb.inv_freq",
}
CONVOLUTION_NAMES = {
    "projections": "projections",
    "input_taps": "filter.short_filter_weight",
    "input_bias": "filter.short_filter_bias",
    "filter.taps": "filter.h",
    "filter.direct": "filter.D",
    "filter.log_poles": "filter.log_poles",
    "filter.poles": "filter.poles",
    "filter.residues": "filter.residues",
    "out": "out_filter_dense",
}
IN_MIXER = re.compile(r"blocks\.(\d+)\.mixer\.(.+?)(\.weight|\.bias)?")
EXTRA = re.compile(rf"({PREFIX})?(.*\._extra_state|.*\.filter\.t)")
BLOCK_LETTERS = {
    "attn": "A",
    "hyena": "L",
    "hcl": "L",
    "hcm": "M",
    "hcs": "S",
}  # of lists of blocks
PRETRAINED = 8192  # bytes that Evo 1 was pretrained on, before positions were divided
REMARK = (
    "{name}: the release computes its input projections in FP8 (Transformer Engine, Hopper GPUs), which this program "
    "does not: outputs are near the published ones, not equal"
)
# SHA-256 of the shards of revision 1.1_fix, as `weights.digest_of` lists them.
KNOWN_SHA256 = {
    "40717f7eca6d98f32e988026c4e36bad2b569857c2ce7b27d27b6d06e7241289": "togethercomputer/evo-1-131k-base",
}
UNKNOWN = "not known to this program: the first release of Evo 1 has some projections permuted; use revision 1.1_fix"


def recognises(config: Mapping[str, Any]) -> bool:
    """A StripedHyena, or the settings of one."""
    return _is_evo1(config) or _is_evo2(config)


def config_of_file(file: Path) -> dict[str, Any] | None:
    """What the name of a released file says, `evo2_7b.pt`."""
    if not file.name.endswith(".pt") or file.name.removesuffix(".pt") not in RELEASED:
        return None
    return {"architecture": ["StripedHyena2"], "_name_or_path": file.name}


def bundle_config(config: Mapping[str, Any], folder: Path, names: set[str]) -> dict[str, Any]:
    """See `Adapter`; BundleError for a release that is not known, and for settings that this program does not
    follow."""
    del names
    release = None if "hidden_size" in config else _release_of(config, folder)
    settings = config if release is None else RELEASED[release]
    try:
        _refuse_unsupported(settings)
        network = _evo1_network(settings) if _is_evo1(settings) else _evo2_network(settings)
        StripedHyenaConfig(**network)
    except KeyError as error:
        raise BundleError(f"{folder / catalog.CONFIG}: no {error.args[0]}") from error
    except ValueError as error:
        raise BundleError(f"{folder / catalog.CONFIG}: {error}") from error
    found: dict[str, Any] = {
        "tokenizer": {"kind": "bytes", "size": settings["vocab_size"]},
        "network": {"kind": "striped_hyena", **network},
        "companions": {"causal": {"kind": "words", "vocabulary": settings["vocab_size"]}},
    }
    if release is not None:
        found |= {
            "name": release,
            "remarks": [REMARK.format(name=release)] if release in FP8 else [],
        }
    return found


def keys(config: Mapping[str, Any]) -> Keys:
    """See `Adapter`."""
    network = config["network"]
    with torch.device("meta"):
        network_names = list(build_network(network).state_dict())
    names = {_released_name(name, network["blocks"]): f"members.0.{name}" for name in network_names}
    exact = _exact_frequencies(network)
    transforms = {target: exact for target in names.values() if target.endswith("inv_freq")}
    tied = {}
    if not network["tied"]:
        names[UNEMBED] = "companions.causal.weight"
    elif network.get("complex_poles"):
        tied = {UNEMBED: EMBEDDING, f"{PREFIX}{UNEMBED}": f"{PREFIX}{EMBEDDING}"}
    names |= {f"{PREFIX}{name}": target for name, target in names.items()}
    extra = EXTRA if tied or not network["tied"] else re.compile(f"{EXTRA.pattern}|{UNEMBED}")
    return Keys(names, tied, lambda name: extra.fullmatch(name) is not None, transforms)


def remarks(config: Mapping[str, Any], digest: str) -> list[str]:
    """Remarks on the release's precision; of Evo 1, the checkpoint's revision."""
    found = list(config.get("remarks", ()))
    if config["network"].get("complex_poles"):
        known = KNOWN_SHA256.get(digest)
        revision = UNKNOWN if known is None else f"revision 1.1_fix of {known}"
        found.append(f"{config['name']}: SHA-256 {digest}, {revision}")
    return found


def released_sizes(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    """The part of a released config.json that follows from the tensors' shapes."""
    shapes = {name.removeprefix(PREFIX): shape for name, shape in shapes.items()}
    count = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blocks."))
    kinds = [_kind(shapes, f"blocks.{number}.") for number in range(count)]
    vocabulary, width = shapes[EMBEDDING]
    found: dict[str, Any] = {"vocab_size": vocabulary, "hidden_size": width, "num_layers": count}
    found["inner_mlp_size"] = shapes["blocks.0.mlp.l1.weight"][0]
    for kind in BLOCK_LETTERS:
        found[f"{kind}_layer_idxs"] = [n for n, other in enumerate(kinds) if other == kind]
    for number, kind in enumerate(kinds):
        block = f"blocks.{number}."
        if kind == "attn":
            half = shapes[f"{block}inner_mha_cls.rotary_emb.inv_freq"][0]
            found["num_attention_heads"] = width // (2 * half)
        elif kind in ("hcs", "hcm"):
            groups, _, taps = shapes[f"{block}filter.h"]
            found |= {f"{kind}_filter_groups": groups, f"{kind}_filter_length": taps}
        else:
            found["state_size"] = shapes[f"{block}filter.residues"][1]
    return found


def _kind(shapes: Mapping[str, list[int]], block: str) -> str:
    if f"{block}inner_mha_cls.Wqkv.weight" in shapes:
        return "attn"
    if f"{block}filter.poles" in shapes:
        return "hyena"
    if f"{block}filter.log_poles" in shapes:
        return "hcl"
    return "hcm" if shapes[f"{block}filter.h"][2] >= 128 else "hcs"


def _is_evo1(config: Mapping[str, Any]) -> bool:
    named = "StripedHyenaModelForCausalLM" in (config.get("architectures") or ())
    return (
        named or config.get("model_type") == "stripedhyena" or bool(config.get("hyena_layer_idxs"))
    )


def _is_evo2(config: Mapping[str, Any]) -> bool:
    return "StripedHyena2" in (config.get("architecture") or ()) or "hcl_layer_idxs" in config


def _release_of(config: Mapping[str, Any], folder: Path) -> str:
    """Which release it is, by what names it."""
    candidates = [
        str(config.get("_name_or_path", "")),
        str(config.get("name", "")),
        hub.name_of(folder),
    ]
    for name in candidates:
        if (release := Path(name).name.removesuffix(".pt")) in RELEASED:
            return release
    raise BundleError(f"{folder}: which Evo 2 is this? There are {', '.join(RELEASED)}")


def _refuse_unsupported(settings: Mapping[str, Any]) -> None:
    """ValueError for settings that change what is computed, and that this program does not follow."""
    supported: dict[str, Any] = {"proj_groups": 1, "smeared_gqa": False, "long_fir_threshold": None}
    supported["tokenizer_type"] = "CharLevelTokenizer"
    for name, value in supported.items():
        if settings.get(name) not in (None, value):
            raise ValueError(f"{name} {settings[name]} is not supported, only {value}")


def _evo2_network(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The network of StripedHyena 2; what is not said is as in its code."""
    found = _common(settings, ("attn", "hcl", "hcm", "hcs"))
    filter_keys = {
        "short_taps": "hcs_filter_length",
        "short_groups": "hcs_filter_groups",
        "medium_taps": "hcm_filter_length",
        "medium_groups": "hcm_filter_groups",
    }
    unused = {"S": ("short_taps", "short_groups"), "M": ("medium_taps", "medium_groups")}
    for kind, names in unused.items():
        found |= {n: settings[filter_keys[n]] if kind in found["blocks"] else 1 for n in names}
    return found | {
        "interleaved": bool(settings.get("interleave")),
        "swapped": settings.get("hyena_flip_x1x2", False),
        "qkv_by_head": settings.get("column_split", True),
        "projection_bias": bool(settings.get("qkv_proj_bias")),
        "out_bias": bool(settings.get("hyena_out_proj_bias")),
        "rotary_base": float(settings.get("rotary_emb_base", 1000000)),
        "linear_gates": bool(settings.get("evo2_style_activations")),
    }


def _evo1_network(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The network of StripedHyena 1, which has complex poles and biases where there can be one."""
    found = _common(settings, ("attn", "hyena"))
    width, groups = settings["hidden_size"], settings.get("hyena_filter_groups", 1)
    if groups not in (1, width / groups):
        raise ValueError(f"hyena_filter_groups {groups} is not supported, only 1")
    positions = max(int(PRETRAINED * found["rotary_scale"]), found["positions"] or 0)
    return found | {
        "complex_poles": True,
        "systems": width // groups,
        "interleaved": False,
        "qkv_by_head": False,
        "projection_bias": True,
        "out_bias": True,
        "rotary_base": float(settings.get("rotary_emb_base", 10000)),
        "linear_gates": False,
        "positions": positions if found["rotary_scale"] > 1 else found["positions"],
    }


def _common(settings: Mapping[str, Any], kinds: tuple[str, ...]) -> dict[str, Any]:
    interpolated = settings.get("use_interpolated_rotary_pos_emb", False)
    scale = settings.get("rotary_emb_scaling_factor", 1.0) if interpolated else 1.0
    return {
        "vocabulary": settings["vocab_size"],
        "width": settings["hidden_size"],
        "blocks": _blocks(settings, kinds),
        "heads": settings["num_attention_heads"],
        "feed_forward": settings.get("inner_mlp_size") or _inner_size(settings),
        "input_taps": settings["short_filter_length"],
        "input_bias": bool(settings.get("short_filter_bias")),
        "modes": settings["state_size"],
        "by_head": settings.get("column_split_hyena", True),
        "qkv_bias": settings.get("qkv_proj_bias", True),
        "attention_out_bias": settings.get("mha_out_proj_bias", True),
        "rotary_scale": float(scale),
        "activation": settings.get("mlp_activation", "gelu"),
        "eps": settings["eps"],
        "final_norm": settings.get("final_norm", True),
        "tied": bool(settings.get("tie_embeddings")),
        "positions": settings.get("max_seqlen"),
    }


def _blocks(settings: Mapping[str, Any], block_kinds: tuple[str, ...]) -> str:
    """A letter for each block, by the first list that it is in."""
    found = ""
    for number in range(settings["num_layers"]):
        matching = [
            kind for kind in block_kinds if number in (settings.get(f"{kind}_layer_idxs") or ())
        ]
        if not matching:
            raise ValueError(f"block {number} is in no list of blocks")
        found += BLOCK_LETTERS[matching[0]]
    return found


def _inner_size(settings: Mapping[str, Any]) -> int:
    """The width of the MLP where it is not said: 8/3 of the width, rounded up."""
    multiple = settings.get("inner_size_multiple_of", 64) * settings.get("model_parallel_size", 1)
    min_size = int(2 * settings["hidden_size"] * 4 / 3)
    return int(-(-min_size // multiple) * multiple)


def _released_name(name: str, blocks: str) -> str:
    """The name in the release of a tensor of our network."""
    if name == "embedding.weight":
        return EMBEDDING
    match = IN_MIXER.fullmatch(name)
    if match is None:
        return name
    number, stem, end = match[1], match[2], match[3] or ""
    table = ATTENTION_NAMES if blocks[int(number)] == "A" else CONVOLUTION_NAMES
    return f"blocks.{number}.{table[stem]}{end}"


def _exact_frequencies(network: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """Frequencies that were stored in 16 bits are computed anew, as the original does: at position 1,000 they would be
    off by radians."""

    def exact(stored: Tensor) -> Tensor:
        if stored.dtype in (torch.float32, torch.float64):
            return stored
        return frequencies(network["rotary_base"], network["width"] // network["heads"])

    return exact
