"""What is put on top of a network: classification heads, and what only self-supervised objectives use.

An objective's auxiliary head is trained with the network and counted apart from it.

Shape suffixes: B samples, T tokens, S sites, D hidden size, V tokens of the vocabulary.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from genomai_cli.backbones.base import Backbone, Network, network_class
from genomai_cli.device import exact_precision
from genomai_cli.errors import BundleError

PROJECTION, TOKENS, NONE = "projection", "words", "none"  # kinds, as configs have them


class Heads(nn.ModuleList):
    """A layer for each head; `layer(classes)` makes one with so many outputs."""

    def __init__(self, classes: Mapping[str, int], layer: Callable[[int], nn.Module]) -> None:
        super().__init__(layer(count) for count in classes.values())
        self.names = list(classes)

    def forward(self, pooled_BD: Tensor) -> dict[str, Tensor]:
        """The logits (B, classes) of every head."""
        return {name: layer(pooled_BD) for name, layer in zip(self.names, self, strict=True)}


def attach_heads(network: Network, classes: Mapping[str, int]) -> Network:
    """The network with a fresh head for each name, of so many classes; one without vectors stays as it is."""
    if network.has_vectors:
        network.heads = Heads(classes, network.classification_head)
    return network


def logits(network: nn.Module, inputs: Tensor, mask_BT: Tensor | None = None) -> dict[str, Tensor]:
    """The logits (B, classes) of every head that is attached to the network."""
    return logits_of(network, network.head_vectors(inputs, mask_BT))  # type: ignore[operator]


def logits_of(network: nn.Module, pooled_BD: Tensor) -> dict[str, Tensor]:
    """The logits (B, classes) of every head, from the vectors that heads read."""
    rate: float = network.head_dropout  # type: ignore[assignment]
    heads: Heads = network.heads  # type: ignore[assignment]
    found: dict[str, Tensor] = heads(dropout(pooled_BD, rate, network.training))
    return found


def token_gradients(
    network: Network, ids_BT: Tensor, mask_BT: Tensor | None, weights: Mapping[str, Tensor]
) -> Tensor:
    """How fast the weighed sum of the heads' logits (weights (B, classes) by head) rises with the indicator of each
    token of the vocabulary at each position: (B, T, V or more); differences are substitutions' first-order effects."""

    def weighed(vectors_BD: Tensor) -> Tensor:
        logits_by_head = logits_of(network, vectors_BD)
        return torch.stack(
            [(logits_by_head[head] * rows).sum() for head, rows in weights.items()]
        ).sum()

    return network.token_gradients(ids_BT, mask_BT, weighed)


class LMHead(nn.Sequential):
    """A token's hidden state (..., D) to the logits (..., V) of what it may be, as BERT has it."""

    def __init__(self, width: int, vocabulary: int) -> None:
        layers = (nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        super().__init__(*layers, nn.Linear(width, vocabulary))


class EmbeddingHead(nn.Module):
    """A head without values of its own: it is given the embeddings (V, D) that it decodes with."""

    def forward(self, hidden: Tensor, embeddings_VD: Tensor) -> Tensor:
        """The logits (..., V) of the hidden states (..., D)."""
        return linear(hidden, embeddings_VD)


class SiteHead(nn.Linear):
    """A sample's vector (B, D) to the logits (B, S, V) of what its sites may hold."""

    def __init__(self, width: int, sites: int, vocabulary: int) -> None:
        super().__init__(width, sites * vocabulary)
        self.sites = sites

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """The logits of every site."""
        return super().forward(pooled_BD).view(len(pooled_BD), self.sites, -1)


def projection_head(width: int, size: int) -> nn.Module:
    """The MLP between a network and InfoNCE (Chen et al. 2020, section 4.2): (B, D) to (B, `size`)."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))


def next_token_logs(network: Backbone, head: nn.Module, ids_BT: Tensor) -> Tensor:
    """The log-probabilities (B, T - 1) of all tokens but the first, each given those before it, for causal networks."""
    logits_BTV = network.lm_logits(head, network(ids_BT)[:, :-1])
    logs_BTV = logits_BTV.to(exact_precision(ids_BT.device)).log_softmax(2)
    return logs_BTV.gather(2, ids_BT[:, 1:, None])[..., 0]


def build_auxiliary(configs: Mapping[str, Mapping[str, Any]], network: Network) -> nn.ModuleDict:
    """Untrained auxiliary heads of the network, by name of their objectives; BundleError for an unknown kind.

    A config with a `network` is a full network of its kind that is attached to this one and reads the same input.
    """
    return nn.ModuleDict({name: _auxiliary(config, network) for name, config in configs.items()})


def _auxiliary(config: Mapping[str, Any], network: Network) -> nn.Module:
    try:
        if config["kind"] == NONE:
            return nn.Identity()
        if config["kind"] == PROJECTION:
            return projection_head(network.hidden_size, config["size"])
        if config["kind"] == TOKENS:
            return network.lm_head(config["vocabulary"])
        kind = network_class(config["kind"])
        return kind(kind.config_class(**config["network"]))
    except BundleError as error:
        raise BundleError(f"companion {config['kind']!r}: {error}") from error
    except NotImplementedError as error:
        raise BundleError(
            f"{type(network).__name__} has no head for {config['kind']!r}: it cannot be trained by that objective"
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"companion {config.get('kind')!r}: {error!r}") from error
