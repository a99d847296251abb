"""What is trained beside a network and counted apart from it: heads that only self-supervised objectives use.

A network that can guess hidden words has two methods: `word_head(vocabulary)`, a fresh head, and
`guess(head, inputs, chosen_BT=None)`, the logits that head and network give: (B, T, V) of every word, or (N, V) of
the N words in `chosen_BT`, row by row. Every network has `pooled(inputs)`, which the projection head reads.
A crossmodal network beside another one reads the same panel's sites.

Shape suffixes: B sequences, T words, N chosen words, V words of the vocabulary.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from genomai_cli.errors import BundleError
from genomai_cli.nets.crossmodal import CrossmodalNetwork
from genomai_cli.nets.towers import CrossmodalConfig

PROJECTION, WORDS, NONE, CROSSMODAL = "projection", "words", "none", "crossmodal"


def projection_head(width: int, size: int) -> nn.Module:
    """The MLP between a network and InfoNCE (Chen et al. 2020, section 4.2): (B, D) to (B, `size`)."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))


def build(configs: Mapping[str, Mapping[str, Any]], network: nn.Module) -> nn.ModuleDict:
    """Untrained companions of the network, by name of their objectives; BundleError for an unknown one."""
    return nn.ModuleDict({name: _built(config, network) for name, config in configs.items()})


def _built(config: Mapping[str, Any], network: nn.Module) -> nn.Module:
    try:
        if config["kind"] == NONE:
            return nn.Identity()
        if config["kind"] == PROJECTION:
            return projection_head(network.config.width, config["size"])  # type: ignore[union-attr, arg-type]
        if config["kind"] == CROSSMODAL:
            return CrossmodalNetwork(CrossmodalConfig(**config["network"]))
        if config["kind"] == WORDS:
            head: nn.Module = network.word_head(config["vocabulary"])  # type: ignore[operator]
            return head
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"companion {config.get('kind')!r}: {error}") from error
    raise BundleError(f"no companion of kind {config['kind']!r}")
