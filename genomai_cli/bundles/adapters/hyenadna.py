"""HyenaDNA's released layouts: `LongSafari/hyenadna-X-hf` (config.json, model.safetensors), the first release
(config.json and Lightning's weights.ckpt), and what was fine-tuned with the code of either: a state dict with a head on
the mean of the tokens' vectors, or Hugging Face's `score`, which reads the last token's.

The code of the two releases differs where their configs do not say so: that of Hugging Face gives `layer_norm_epsilon`
to the last norm only, shifts the short filters by two tokens whatever their length, puts no [CLS] before a sequence,
and does not tie the head. Neither reads `use_bias`, and the stand-alone code does not read `local_order`: its short
filters have three taps.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from genomai_cli.backbones.base import complete_config
from genomai_cli.bundles import catalog
from genomai_cli.bundles.adapters import Keys, default_head_tensors, head_of
from genomai_cli.bundles.weights import Weights, weights_file
from genomai_cli.errors import BundleError

EMBEDDING = "embeddings.word_embeddings.weight"
PREFIXES = ("model.backbone.", "hyena.backbone.", "backbone.", "")
HEADS = ("head.output_transform.", "model.head.output_transform.", "decoder.0.output_transform.")
SCORE = "score.weight"  # the head of Hugging Face's, which has no bias
LM_HEADS = ("model.lm_head.weight", "lm_head.weight")
MIN_VOCABULARY = 12
RELEASED_SHIFT = 2  # tokens
EXTRA = re.compile(r"(train|val|test)_torchmetrics\.num_tokens\.count")

HUGGING_FACE_KEYS = {
    "vocabulary": "vocab_size",
    "vocabulary_multiple": "pad_vocab_size_multiple",
    "pad_id": "pad_token_id",
    "width": "d_model",
    "layers": "n_layer",
    "feed_forward": "d_inner",
    "positions": "max_seq_len",
    "order": "hyena_order",
    "short_filter": "short_filter_order",
    "position_features": "emb_dim",
    "filter_width": "filter_order",
    "filter_depth": "num_inner_mlps",
    "frequency": "activation_freq",
    "train_frequency": "train_freq",
    "dropout": "embed_dropout",
    "operator_dropout": "hyena_dropout",
    "eps": "layer_norm_epsilon",
}
HUGGING_FACE_DEFAULTS = {"position_features": 3, "frequency": 1}
ORIGINAL_KEYS = {
    "vocabulary": "vocab_size",
    "vocabulary_multiple": "pad_vocab_size_multiple",
    "width": "d_model",
    "layers": "n_layer",
    "feed_forward": "d_inner",
    "dropout": "embed_dropout",
    "residual_dropout": "resid_dropout",
    "eps": "layer_norm_epsilon",
    "norm_eps": "layer_norm_epsilon",
}
LAYER_KEYS = {
    "positions": "l_max",
    "order": "order",
    "short_filter": "short_filter_order",
    "position_features": "emb_dim",
    "filter_width": "filter_order",
    "filter_depth": "num_inner_mlps",
    "frequency": "w",
    "modulate": "modulate",
    "operator_dropout": "dropout",
}
ORIGINAL_DEFAULTS = {"vocabulary_multiple": 1, "position_features": 3, "frequency": 1}
SUPPORTED: dict[
    str, tuple[Any, ...]
] = {  # what the original code can be told to do, and this program does not; with what it may say
    "attn_layer_idx": (None, []),
    "attn_cfg": (None, {}),
    "max_position_embeddings": (0, None),
}
SUPPORTED_LAYER: dict[str, tuple[Any, ...]] = {
    "_name_": ("hyena",),
    "normalized": (False,),
    "num_heads": (1,),
    "inner_factor": (1,),
    "num_blocks": (1,),
    "outer_mixing": (False,),
    "activation": ("id",),
    "post_order_ffn": (False,),
    "return_state": (False,),
    "filter_cls": ("hyena-filter",),
    "bidirectional": (False,),
    "channels": (1,),
    "shift": (0.05,),
}
BLOCK_NAMES = {
    **{f"mixer.{part}": f"mixer.{part}" for part in ("in_proj", "out_proj", "short_filter")},
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
}
FILTER_NAMES = {
    "bias": "bias",
    "pos_emb.z": "z",
    "pos_emb.t": "t",
    "modulation.deltas": "deltas",
}


def recognises(config: Mapping[str, Any]) -> bool:
    """One of Hugging Face's HyenaDNA, or of the first release, whose `layer` says what a Hyena operator is."""
    return config.get("model_type") == "hyenadna" or _is_original(config)


def bundle_config(config: Mapping[str, Any], folder: Path, names: set[str]) -> dict[str, Any]:
    """See `Adapter`; BundleError for what this network cannot be told to do."""
    original = _is_original(config)
    network = (_original if original else _hugging_face)(config, folder)
    if original:
        network["train_frequency"] = any(name.endswith(".freq") for name in names)
        network["short_filter"] = _taps(folder, names) or network.get("short_filter", 3)
    network["tied"] = original or _is_tied(config, names)
    network = complete_config({"kind": "hyenadna", **network})
    multiple = network["vocabulary_multiple"]
    if -(-network["vocabulary"] // multiple) * multiple < MIN_VOCABULARY:
        raise BundleError(
            f"{folder}: embeddings of {network['vocabulary']} tokens, not {MIN_VOCABULARY}"
        )
    heads = (*(f"{head}weight" for head in HEADS), SCORE)
    head = next((head for head in heads if head in names), None)
    found: dict[str, Any] = {
        "tokenizer": {"kind": "dna_characters", "case_sensitive": True, "cls": original},
        "network": network,
    }
    if head is not None:
        network["head_pool"] = "last" if head == SCORE else "mean"
        return found | {"heads": head_of(config, folder, head)}
    if network["tied"] or "lm_head.weight" in names:
        lm_head = {"kind": "words", "vocabulary": network["vocabulary"]}
        found["companions"] = {"causal": lm_head}
    return found


def keys(config: Mapping[str, Any]) -> Keys:
    """See `Adapter`."""
    network, member = config["network"], "members.0."
    names: dict[str, str] = {}
    tied: dict[str, str] = {}
    for prefix in PREFIXES:
        embedding = prefix + EMBEDDING
        names[embedding] = f"{member}embeddings.weight"
        names |= _weight_and_bias(f"{prefix}ln_f", f"{member}norm")
        for number in range(network["layers"]):
            for released, suffix in _block_names(network):
                released_prefix, name_in_bundle = (
                    f"{prefix}layers.{number}.",
                    f"{member}layers.{number}.{suffix}",
                )
                names |= {
                    released_prefix + name: name_in_bundle for name in _name_variants(released)
                }
            if network["train_frequency"]:
                tied |= _shared_frequencies(f"{prefix}layers.{number}.", network["filter_depth"])
    has_score = network["head_pool"] == "last"
    if config["heads"] and has_score:
        names[SCORE] = f"{member}heads.0.weight"
    elif config["heads"]:
        for head in HEADS:
            names |= _weight_and_bias(head.removesuffix("."), f"{member}heads.0")
    if network["tied"]:
        tied |= {
            head: f"{head.removesuffix('lm_head.weight')}{prefix}{EMBEDDING}"
            for head, prefix in zip(LM_HEADS, ("backbone.", "hyena.backbone."), strict=True)
        }
    else:
        names["lm_head.weight"] = "companions.causal.weight"
    added = default_head_tensors(config["heads"], bias=not has_score)
    return Keys(names, tied, lambda name: EXTRA.fullmatch(name) is not None, added=added)


def _block_names(network: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The names of a block's tensors in a checkpoint and here."""
    depth = network["filter_depth"]
    implicit, filter_prefix = "mixer.filter_fn.implicit_filter.", "mixer.filter."
    for released, suffix in BLOCK_NAMES.items():
        yield from _weight_and_bias(released, suffix).items()
    for released, suffix in FILTER_NAMES.items():
        yield f"mixer.filter_fn.{released}", filter_prefix + suffix
    for number in range(depth + 1):
        yield from _weight_and_bias(
            f"{implicit}{2 * number}", f"{filter_prefix}inner.{number}"
        ).items()
    yield f"{implicit}{2 * depth + 2}.weight", f"{filter_prefix}outer.weight"
    if network["train_frequency"]:
        yield f"{implicit}1.freq", f"{filter_prefix}frequency"


def _name_variants(name: str) -> Iterator[str]:
    """The names that a tensor has; those trained with gradient checkpoints have a `.layer` more."""
    yield name
    part, _, rest = name.partition(".")
    if part in ("mixer", "mlp"):
        yield f"{part}.layer.{rest}"


def _shared_frequencies(block: str, depth: int) -> dict[str, str]:
    """The names that the one frequency of a block's filter has besides its first."""
    found: dict[str, str] = {}
    for mixer in ("mixer.", "mixer.layer."):
        implicit = f"{block}{mixer}filter_fn.implicit_filter."
        found |= {f"{implicit}{2 * n + 1}.freq": f"{implicit}1.freq" for n in range(1, depth + 1)}
    return found


def _weight_and_bias(released: str, target: str) -> dict[str, str]:
    return {f"{released}.{part}": f"{target}.{part}" for part in ("weight", "bias")}


def _is_original(config: Mapping[str, Any]) -> bool:
    layer = config.get("layer")
    return isinstance(layer, Mapping) and "l_max" in layer and "d_model" in config


def _is_tied(config: Mapping[str, Any], names: set[str]) -> bool:
    """Whether the head is the embeddings; where the config does not say so, a file without a head speaks for it."""
    return bool(config.get("tie_word_embeddings", "lm_head.weight" not in names))


def _renamed_settings(
    config: Mapping[str, Any], names: Mapping[str, str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    found = {name: config[key] for name, key in names.items() if config.get(key) is not None}
    return {**{name: value for name, value in defaults.items() if name in names}, **found}


def _hugging_face(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    network = _renamed_settings(config, HUGGING_FACE_KEYS, HUGGING_FACE_DEFAULTS)
    taps = network.get("short_filter", 3)
    if not 1 <= taps <= RELEASED_SHIFT + 1:
        raise BundleError(
            f"{folder}: short_filter_order {taps}: the released code would read tokens ahead with it"
        )
    if network.get("order", 2) != 2:
        raise BundleError(f"{folder}: hyena_order {network['order']}: the released code has 2 only")
    network["short_delay"] = RELEASED_SHIFT + 1 - taps
    return _complete(network, folder)


def _original(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    layer = config["layer"]
    for settings, supported in ((config, SUPPORTED), (layer, SUPPORTED_LAYER)):
        for name, allowed in supported.items():
            if name in settings and settings[name] not in allowed:
                raise BundleError(f"{folder}: {name} {settings[name]!r} is not supported")
    network = _renamed_settings(config, ORIGINAL_KEYS, ORIGINAL_DEFAULTS)
    network |= _renamed_settings(layer, LAYER_KEYS, ORIGINAL_DEFAULTS)
    return _complete(network, folder)


def _complete(network: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With what follows from other sizes; BundleError where one is missing."""
    for name in ("width", "layers", "positions", "vocabulary"):
        if name not in network:
            raise BundleError(
                f"{folder}: config.json does not say how large the network is: no {name}"
            )
    return {"feed_forward": 4 * network["width"], **network}


def _taps(folder: Path, names: set[str]) -> int | None:
    """How many taps the short filters have in the file, whatever the config says of them; None where there is none."""
    name = next((n for n in sorted(names) if n.endswith("short_filter.weight")), None)
    return Weights.open(folder).shape(name)[2] if name and folder.exists() else None


def config_of_file(file: Path) -> dict[str, Any] | None:
    """What an original config.json would say of a file of weights, from the shapes of its tensors; None where they are
    not a HyenaDNA's, or where there is a config.json."""
    if file.suffix not in (".ckpt", ".pt") or not file.is_file():
        return None
    if (file.parent / catalog.CONFIG).is_file() and weights_file(file.parent) == file:
        return None
    weights = Weights.open(file)
    shapes = {name: list(weights.shape(name)) for name in weights}
    prefix = _prefix_of(shapes)
    if prefix is None or f"{prefix}layers.0.norm1.weight" not in shapes:
        return None
    return _original_sizes(_sizes_of(shapes))


def _original_sizes(sizes: Mapping[str, Any]) -> dict[str, Any]:
    layer = {key: sizes[key] for key in ("emb_dim", "filter_order", "num_inner_mlps")}
    layer |= {"_name_": "hyena", "l_max": sizes["max_seq_len"], "order": sizes["hyena_order"]}
    layer |= {"short_filter_order": sizes["short_filter_order"]}
    top = {name: sizes[name] for name in ("vocab_size", "d_model", "n_layer", "d_inner")}
    return {**top, "layer": layer}


def released_sizes(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    """The part of a released config.json that follows from the tensors' shapes."""
    sizes = _sizes_of(shapes)
    return sizes if _prefix_of(shapes) == "hyena.backbone." else _original_sizes(sizes)


def _prefix_of(names: Iterable[str]) -> str | None:
    return next((n.removesuffix(EMBEDDING) for n in names if n.endswith(EMBEDDING)), None)


def _sizes_of(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    prefix = _prefix_of(shapes) or ""
    shape_of = {
        name.removeprefix(prefix).replace(".layer.", "."): shape for name, shape in shapes.items()
    }
    block, filters = "layers.0.", "layers.0.mixer.filter_fn."
    vocabulary, width = shape_of[EMBEDDING]
    biases = [
        name
        for name in shape_of
        if re.fullmatch(rf"{re.escape(filters)}implicit_filter\.\d+\.bias", name)
    ]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "n_layer": len({name.split(".")[1] for name in shape_of if name.startswith("layers.")}),
        "d_inner": shape_of[f"{block}mlp.fc1.weight"][0],
        "max_seq_len": shape_of[f"{filters}pos_emb.z"][1],
        "emb_dim": shape_of[f"{filters}pos_emb.z"][2],
        "filter_order": shape_of[f"{filters}implicit_filter.0.weight"][0],
        "num_inner_mlps": len(biases) - 1,
        "hyena_order": shape_of[f"{block}mixer.in_proj.weight"][0] // width - 1,
        "short_filter_order": shape_of[f"{block}mixer.short_filter.weight"][2],
    }
