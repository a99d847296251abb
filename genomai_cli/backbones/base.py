"""What a network knows beneath its heads: vectors of sequences and of words, at any depth.

Every network has `layers`, the number of its layers above the embeddings, `config.width`, the size D of its vectors,
and `pooled(inputs, layer)`, one vector (B, D) a sequence. A network that reads words has `hidden(ids_BT, layer)` too,
one vector (B, T, D) a word. Layer 0 lies after the embeddings, layer `layers` beneath the heads. The vectors of a
classifier are those of its members side by side.

Shape suffixes: B sequences, T words, D width, E members times width.
"""

from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from genomai_cli.backbones.classifier import Classifier
from genomai_cli.errors import UsageError

MEAN, CLS, MAX = "mean", "cls", "max"
POOLS = (MEAN, CLS, MAX)


class Network(Protocol):
    """A network with one vector a sequence."""

    config: Any

    @property
    def layers(self) -> int:
        """How many layers lie above the embeddings."""

    def pooled(self, inputs: Tensor, layer: int | None = None) -> Tensor:
        """The vectors (B, D) after `layer` layers, by default those that the heads read."""


@runtime_checkable
class WordNetwork(Protocol):
    """A network with a vector of every word as well."""

    def hidden(self, ids_BT: Tensor, layer: int | None = None) -> Tensor:
        """The vectors (B, T, D) after `layer` layers, by default after the last."""


def has_vectors(classifier: Classifier) -> bool:
    """Whether the networks have any; those that only restore letters do not."""
    return all(hasattr(network, "pooled") for network in classifier.members)


def width(classifier: Classifier) -> int:
    """The size E of the classifier's vectors."""
    return sum(int(network.config.width) for network in _networks(classifier))


def longest(classifier: Classifier) -> int:
    """How many words the networks can read at once."""
    return min(int(network.config.positions) for network in _networks(classifier))


def reads_words(classifier: Classifier) -> bool:
    """Whether there are vectors of words, and not of whole sequences only."""
    return all(isinstance(network, WordNetwork) for network in _networks(classifier))


def depth(classifier: Classifier, layer: int) -> int:
    """The layer counted from the embeddings, 0; negative numbers count from the last, -1.

    Raises UsageError for a layer that the networks do not have.
    """
    layers = min(network.layers for network in _networks(classifier))
    if not -layers - 1 <= layer <= layers:
        raise UsageError(
            f"--layer {layer}: the model's layers are 0 (the embeddings) to {layers}, or from the end "
            f"-1 to {-layers - 1}"
        )
    return layer if layer >= 0 else layers + 1 + layer


def of_sequences(classifier: Classifier, ids_BT: Tensor, layer: int, pool: str = MEAN) -> Tensor:
    """One vector (B, E) a sequence: as the network pools, or of its words the first (cls) or the maximum."""
    inputs = classifier.inputs(ids_BT)
    if pool == MEAN:
        found = [network.pooled(inputs, layer) for network in _networks(classifier)]
        return torch.cat(found, dim=1)
    words_BTE = of_words(classifier, ids_BT, layer)
    if pool == CLS:
        return words_BTE[:, 0]
    padding_BT1 = (ids_BT == _pad_id(classifier)).unsqueeze(2)
    return words_BTE.masked_fill(padding_BT1, -torch.inf).amax(1)


def of_words(classifier: Classifier, ids_BT: Tensor, layer: int) -> Tensor:
    """One vector a word (B, T, E); those of [PAD] mean nothing."""
    members = [cast(WordNetwork, network) for network in classifier.members]
    return torch.cat([network.hidden(ids_BT, layer) for network in members], dim=2)


def _networks(classifier: Classifier) -> list[Network]:
    return [cast(Network, network) for network in classifier.members]


def _pad_id(classifier: Classifier) -> int:
    return int(_networks(classifier)[0].config.pad_id)
