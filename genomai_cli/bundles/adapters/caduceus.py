"""Caduceus's released layout: config.json, model.safetensors (kuleshov-group/caduceus-ps_..., -ph_...), for masked
tokens or with a head for classes.

That head, `score`, has no bias and reads the mean over the tokens; of Caduceus-PS that of both strands. How else the
released code can be told to pool (`pooling_strategy`, `conjoin_eval`), no file records.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genomai_cli.bundles.adapters import Keys, default_head_tensors, head_of
from genomai_cli.errors import BundleError

MEMBER = "members.0."
PREFIX = "caduceus."
SCORE = "score.weight"
DIRECTION_NAMES = {
    "conv1d.weight": "conv_weight",
    "x_proj.weight": "x_weight",
    "dt_proj.weight": "dt_weight",
    "dt_proj.bias": "dt_bias",
    "A_log": "a_log",
    "D": "skip",
}
PROJECTION_NAMES = {"in_proj": "inward", "out_proj": "outward"}


def recognises(config: Mapping[str, Any]) -> bool:
    """What calls itself Caduceus."""
    return config.get("model_type") == "caduceus"


def bundle_config(config: Mapping[str, Any], folder: Path, names: set[str]) -> dict[str, Any]:
    """See `Adapter`; BundleError for settings that no released model has."""
    ssm = config.get("ssm_cfg") or {}
    vocabulary = _padded_vocabulary(config)
    rank = ssm.get("dt_rank", "auto")
    network = {
        "kind": "caduceus",
        "vocabulary": vocabulary,
        "width": config["d_model"],
        "layers": config["n_layer"],
        "states": ssm.get("d_state", 16),
        "kernel": ssm.get("d_conv", 4),
        "expand": ssm.get("expand", 2),
        "rank": None if rank == "auto" else rank,
        "conv_bias": ssm.get("conv_bias", True),
        "projection_bias": ssm.get("bias", False),
        "bidirectional": config.get("bidirectional", True),
        "combine": config.get("bidirectional_strategy") or "add",
        "tied_projections": config.get("bidirectional_weight_tie", True),
        "equivariant": config.get("rcps", False),
        "fused_add_norm": config.get("fused_add_norm", True),
        "rms_norm": config.get("rms_norm", True),
        "eps": config.get("norm_epsilon", 1e-5),
        "complement": _complement(config, vocabulary, folder),
    }
    found = {
        "tokenizer": {"kind": "dna_characters", "case_sensitive": False, "cls": False},
        "network": network,
    }
    if SCORE in names:
        return found | {"heads": head_of(config, folder, SCORE)}
    return found | {"companions": {"masked": {"kind": "words", "vocabulary": vocabulary}}}


def _padded_vocabulary(config: Mapping[str, Any]) -> int:
    """The vocabulary with what it is filled up by."""
    multiple = config.get("pad_vocab_size_multiple") or 1
    return -(-int(config["vocab_size"]) // multiple) * multiple


def _complement(config: Mapping[str, Any], vocabulary: int, folder: Path) -> list[int]:
    """The id of every token's complement; what is not named stays itself."""
    complements = {
        int(token): int(complement)
        for token, complement in (config.get("complement_map") or {}).items()
    }
    if config.get("rcps") and not complements:
        raise BundleError(f"{folder}: rcps without a complement_map")
    return [complements.get(token, token) for token in range(vocabulary)]


def keys(config: Mapping[str, Any]) -> Keys:
    """See `Adapter`."""
    network = config["network"]
    embeddings = "backbone.embeddings.word_embeddings"
    equivariant = network["equivariant"]
    embedding = f"{embeddings}.embedding.weight" if equivariant else f"{embeddings}.weight"
    names = {embedding: f"{MEMBER}embedding.weight"}
    tied = {"lm_head.lm_head.weight" if equivariant else "lm_head.weight": PREFIX + embedding}
    if equivariant:
        names[f"{embeddings}.complement_map"] = f"{MEMBER}complement"
        tied["lm_head.complement_map"] = f"{PREFIX}{embeddings}.complement_map"
    norms = [("backbone.norm_f", f"{MEMBER}norm")]
    for number in range(network["layers"]):
        layer = f"backbone.layers.{number}"
        norms.append((f"{layer}.norm", f"{MEMBER}layers.{number}.norm"))
        mixer = f"{layer}.mixer.submodule" if equivariant else f"{layer}.mixer"
        mixer_names, mixer_tied = _mixer_names(network, mixer, f"{MEMBER}layers.{number}.mixer")
        names |= mixer_names
        tied |= {PREFIX + name: PREFIX + twin for name, twin in mixer_tied.items()}
    for released, target in norms:
        for part in ("weight",) if network["rms_norm"] else ("weight", "bias"):
            # Where the addition is not fused with the norm, the norm has a wrapper.
            names |= {f"{released}.{p}": f"{target}.{part}" for p in (part, f"submodule.{part}")}
    # A backbone saved without its head has no prefix.
    renamed = {PREFIX + name: target for name, target in names.items()} | names
    if config["heads"]:
        renamed[SCORE] = f"{MEMBER}heads.0.weight"
    return Keys(renamed, tied, added=default_head_tensors(config["heads"], bias=False))


def remarks(config: Mapping[str, Any], digest: str) -> list[str]:
    """How a head of classes is read, which the file does not tell."""
    del digest
    if not config["heads"]:
        return []
    strands = "both strands" if config["network"]["equivariant"] else "the strand given"
    return [
        f"the head `score` reads the mean over the tokens of {strands}: the released code's default"
    ]


def _mixer_names(
    network: Mapping[str, Any], released: str, target: str
) -> tuple[dict[str, str], dict[str, str]]:
    """The names of a block's tensors, and the tied ones with the names that they must equal."""
    names: dict[str, str] = {}
    tied: dict[str, str] = {}
    parts = ("fwd", "rev") if network["bidirectional"] else ("fwd",)
    direction = DIRECTION_NAMES | ({"conv1d.bias": "conv_bias"} if network["conv_bias"] else {})
    kinds = ("weight", "bias") if network["projection_bias"] else ("weight",)
    for number, part in enumerate(parts):
        mamba = f"{released}.mamba_{part}"
        names |= {f"{mamba}.{n}": f"{target}.directions.{number}.{o}" for n, o in direction.items()}
        for name, projection in PROJECTION_NAMES.items():
            for kind in kinds:
                if number and network["tied_projections"]:
                    tied[f"{mamba}.{name}.{kind}"] = f"{released}.mamba_fwd.{name}.{kind}"
                else:
                    names[f"{mamba}.{name}.{kind}"] = (
                        f"{target}.projections.{number}.{projection}.{kind}"
                    )
    return names, tied


def released_sizes(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    """The part of a released config.json that follows from the tensors' shapes."""
    embedding = next(
        s for n, s in shapes.items() if "word_embeddings" in n and n.endswith("weight")
    )
    first = next(n for n in shapes if ".layers.0." in n and n.endswith("mamba_fwd.A_log"))
    mamba, (inner, states) = first.removesuffix("A_log"), shapes[first]
    layers = {name.split(".layers.")[1].split(".")[0] for name in shapes if ".layers." in name}
    return {
        "vocab_size": embedding[0],
        "d_model": embedding[1],
        "n_layer": len(layers),
        "rcps": ".submodule." in first,
        "ssm_cfg": {
            "d_state": states,
            "expand": inner // embedding[1],
            "d_conv": shapes[f"{mamba}conv1d.weight"][2],
            "dt_rank": shapes[f"{mamba}dt_proj.weight"][1],
        },
    }
