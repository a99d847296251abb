"""The last layers of a network: one a head, and those that guess words.

What is trained beside a network and counted apart from it: heads that only self-supervised objectives use.

A network that can guess hidden words has two methods: `word_head(vocabulary)`, a fresh head, and
`guess(head, inputs, chosen_BT=None)`, the logits that head and network give: (B, T, V) of every word, or (N, V) of
the N words in `chosen_BT`, row by row. Every network has `pooled(inputs)`, which the projection head reads.
A crossmodal network beside another one reads the same panel's sites.

Shape suffixes: B samples, S sites, V words of the vocabulary, D width, B sequences, T words, N chosen words.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from genomai_cli.errors import BundleError


class Heads(nn.ModuleList):
    """A layer for each head; `layer(classes)` makes one with so many outputs."""

    def __init__(self, classes: Mapping[str, int], layer: Callable[[int], nn.Module]) -> None:
        super().__init__(layer(count) for count in classes.values())
        self.names = list(classes)

    def forward(self, pooled_BD: Tensor) -> dict[str, Tensor]:
        """The logits (B, classes) of every head."""
        return {name: layer(pooled_BD) for name, layer in zip(self.names, self, strict=True)}


class WordHead(nn.Sequential):
    """A word's vector (..., D) to the logits (..., V) of what it may be, as BERT has it."""

    def __init__(self, width: int, vocabulary: int) -> None:
        layers = (nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        super().__init__(*layers, nn.Linear(width, vocabulary))


class SiteHead(nn.Linear):
    """A sample's vector (B, D) to the logits (B, S, V) of what its sites may hold."""

    def __init__(self, width: int, sites: int, vocabulary: int) -> None:
        super().__init__(width, sites * vocabulary)
        self.sites = sites

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """The logits of every site."""
        return super().forward(pooled_BD).view(len(pooled_BD), self.sites, -1)


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
            from genomai_cli.population.networks.crossmodal import CrossmodalNetwork
            from genomai_cli.population.networks.towers import CrossmodalConfig

            return CrossmodalNetwork(CrossmodalConfig(**config["network"]))
        if config["kind"] == WORDS:
            head: nn.Module = network.word_head(config["vocabulary"])  # type: ignore[operator]
            return head
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"companion {config.get('kind')!r}: {error}") from error
    raise BundleError(f"no companion of kind {config['kind']!r}")
