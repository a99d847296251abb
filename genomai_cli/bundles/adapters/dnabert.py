"""DNABERT's released layout: config.json, vocab.txt, pytorch_model.bin or model.safetensors (zhihan1996/DNA_bert_k),
with the head for masked tokens, or fine-tuned with one of classes (`BertForSequenceClassification`) on the pooler.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genomai_cli import tokenizers
from genomai_cli.bundles.adapters import Keys, default_head_tensors, head_of
from genomai_cli.errors import BundleError

SIZE_KEYS = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "feed_forward": "intermediate_size",
    "positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
}
SPECIAL_TOKENS = 5  # tokens before the k-mers
LM_HEAD = "cls.predictions."
CLASSIFIER = "classifier"
LAYER_NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "output_norm",
}
EXTRA = re.compile(r"cls\.seq_relationship\..*|bert\.embeddings\.position_ids")


def recognises(config: Mapping[str, Any]) -> bool:
    """A BERT for masked tokens whose vocabulary is that of k-mers."""
    bert = any("Bert" in name for name in config.get("architectures") or ())
    return bert and _k(config) is not None


def bundle_config(config: Mapping[str, Any], folder: Path, names: set[str]) -> dict[str, Any]:
    """See `Adapter`; BundleError for another activation, or for a vocab.txt of other tokens."""
    if config.get("hidden_act", "gelu") != "gelu":
        raise BundleError(f"{folder}: hidden_act is {config['hidden_act']!r}, not gelu")
    tokenizer = {"kind": "bert_kmers", "k": _k(config)}
    _check_vocabulary(folder / "vocab.txt", tokenizer)
    network = {name: config[key] for name, key in SIZE_KEYS.items() if key in config}
    network |= {
        "kind": "dnabert",
        "eps": config.get("layer_norm_eps", 1e-12),
        "dropout": config.get("hidden_dropout_prob", 0.1),
        "pooler": not names.isdisjoint({"bert.pooler.dense.weight", "pooler.dense.weight"}),
    }
    found = {"tokenizer": tokenizer, "network": network}
    if f"{CLASSIFIER}.weight" in names:
        if not network["pooler"]:
            raise BundleError(f"{folder}: {CLASSIFIER}.weight without bert.pooler, which it reads")
        network["head_pool"] = "pooler"
        return found | {"heads": head_of(config, folder, f"{CLASSIFIER}.weight")}
    has_lm_head = any(name.startswith(LM_HEAD) for name in names)
    lm_head = {"masked": {"kind": "words", "vocabulary": config["vocab_size"]}}
    return found | {"companions": lm_head if has_lm_head else {}}


def keys(config: Mapping[str, Any]) -> Keys:
    """See `Adapter`."""
    network, member = config["network"], "members.0."
    names = {
        f"bert.embeddings.{part}.weight": f"{member}embeddings.{part}.weight"
        for part in ("word_embeddings", "position_embeddings", "token_type_embeddings")
    }
    names |= _weight_and_bias("bert.embeddings.LayerNorm", f"{member}embeddings.LayerNorm")
    for number in range(network["layers"]):
        for released, target in LAYER_NAMES.items():
            names |= _weight_and_bias(
                f"bert.encoder.layer.{number}.{released}", f"{member}layer.{number}.{target}"
            )
    if network["pooler"]:
        names |= _weight_and_bias("bert.pooler.dense", f"{member}pooler")
    tied = {}
    if config["companions"]:
        names |= _weight_and_bias(f"{LM_HEAD}transform.dense", "companions.masked.dense")
        names |= _weight_and_bias(f"{LM_HEAD}transform.LayerNorm", "companions.masked.norm")
        names[f"{LM_HEAD}bias"] = "companions.masked.bias"
        tied = {
            f"{LM_HEAD}decoder.weight": "bert.embeddings.word_embeddings.weight",
            f"{LM_HEAD}decoder.bias": f"{LM_HEAD}bias",
        }
    # Very old files call a norm's parameters gamma and beta.
    for name, target in list(names.items()):
        if "LayerNorm" in name:
            names[name.replace(".weight", ".gamma").replace(".bias", ".beta")] = target
    # An encoder saved without its heads has no prefix.
    names |= {name.removeprefix("bert."): target for name, target in names.items()}
    if config["heads"]:
        names |= _weight_and_bias(CLASSIFIER, f"{member}heads.0")
    added = default_head_tensors(config["heads"], bias=True)
    return Keys(names, tied, lambda name: EXTRA.fullmatch(name) is not None, added=added)


def _weight_and_bias(released: str, target: str) -> dict[str, str]:
    return {f"{released}.{part}": f"{target}.{part}" for part in ("weight", "bias")}


def _k(config: Mapping[str, Any]) -> int | None:
    """The length of the k-mers that make a vocabulary of that size."""
    return next((k for k in range(1, 9) if 4**k + SPECIAL_TOKENS == config.get("vocab_size")), None)


def _check_vocabulary(file: Path, tokenizer: dict[str, Any]) -> None:
    if not file.is_file():
        return
    tokens = file.read_text(encoding="utf-8").split()
    if tokens != tokenizers.from_config(tokenizer).vocabulary:
        raise BundleError(f"{file}: not the k-mers over A T C G in that order")


def released_sizes(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    """The part of a released config.json that follows from the tensors' shapes."""
    embedding, positions = (
        shapes[f"bert.embeddings.{part}_embeddings.weight"] for part in ("word", "position")
    )
    layers = {name.split(".")[3] for name in shapes if name.startswith("bert.encoder.layer.")}
    intermediate_size = shapes["bert.encoder.layer.0.intermediate.dense.weight"][0]
    return {
        "vocab_size": embedding[0],
        "hidden_size": embedding[1],
        "max_position_embeddings": positions[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": embedding[1] // 64,
        "intermediate_size": intermediate_size,
    }
