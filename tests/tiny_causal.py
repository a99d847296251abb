"""A causal network of a few hundred parameters, for tests of what any causal family must do: a GRU whose cache is its
state. `register` makes it known under the kind `tiny_causal`."""

from dataclasses import dataclass

from torch import nn

from genomai_cli import registry
from genomai_cli.backbones.base import Backbone

KIND = "tiny_causal"


@dataclass(frozen=True)
class TinyCausalConfig:
    vocabulary: int = 7
    pad_id: int = 5
    width: int = 16
    positions: int | None = None


class TinyCausal(Backbone):
    config_class = TinyCausalConfig
    causal = True
    num_layers = 1

    def __init__(self, config):
        super().__init__()
        self.hidden_size, self.max_length = config.width, config.positions
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.mixer = nn.GRU(config.width, config.width, batch_first=True)

    def forward(self, ids_BT, mask_BT=None, *, layer=None, features=None):
        embeddings_BTD = self.words(ids_BT)
        return embeddings_BTD if layer == 0 else self.mixer(embeddings_BTD)[0]

    def decode(self, ids_BT, cache=None):
        return self.mixer(self.words(ids_BT), cache)

    def lm_head(self, vocabulary):
        return nn.Linear(self.hidden_size, vocabulary)


def register(monkeypatch):
    """Make the kind known for the time of a test."""
    monkeypatch.setitem(registry.NETWORKS, KIND, "tiny_causal:TinyCausal")
