"""The reference network: tokens and learned positions, a post-norm transformer encoder, mean pooling.

Shape suffixes: B sequences, T tokens, D hidden size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genomai_cli.backbones.base import Backbone
from genomai_cli.backbones.heads import LMHead


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes; the defaults are those of `genomai-v2`. `conditions` counts the labels that it can be given, of which 0
    says nothing; without any it takes none."""

    vocabulary: int = 22
    pad_id: int = 20
    width: int = 128
    heads: int = 4
    layers: int = 3
    feed_forward: int = 512
    positions: int = 1000
    head_width: int = 64
    dropout: float = 0.1
    conditions: int = 0


@dataclass(frozen=True, eq=False)
class SoftMask:
    """How far tokens are seen as if they were another one, `token`: by a share (B, T), from 0 not at all to 1 fully."""

    token: int
    share: Tensor


def embed_tokens(
    words: nn.Embedding, positions: nn.Embedding, ids_BT: Tensor, soft_mask: SoftMask | None
) -> Tensor:
    """The sum of the vectors (B, T, D) of tokens, as far as they are not masked, and of their positions."""
    tokens_BTD: Tensor = words(ids_BT)
    if soft_mask is not None:
        share_BT1 = soft_mask.share.to(tokens_BTD.dtype).unsqueeze(2)
        tokens_BTD = torch.lerp(tokens_BTD, words.weight[soft_mask.token], share_BT1)
    summed_BTD: Tensor = tokens_BTD + positions(torch.arange(ids_BT.shape[1], device=ids_BT.device))
    return summed_BTD


class TransformerNetwork(Backbone):
    """Ids (B, T) to hidden states (B, T, D); at most `config.positions` tokens a sequence.

    With one head of five classes the defaults make 734,213 trainable parameters.
    """

    config_class = TransformerConfig
    supports_soft_mask = True
    supports_condition = True

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_size, self.num_layers = config.width, config.layers
        self.max_length = config.positions
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.feed_forward, config.dropout, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        if config.conditions:
            self.conditions = nn.Embedding(config.conditions, config.width)

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        *,
        layer: int | None = None,
        soft_mask: SoftMask | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """The hidden states (B, T, D) after `layer` encoder layers, 0 for the embeddings, by default after the last,
        given a `condition` (B,), by default none.

        Tokens that the mask leaves out are neither attended to nor meaningful in them.
        """
        x_BTD = embed_tokens(self.words, self.positions, ids_BT, soft_mask)
        if self.config.conditions:
            condition_B = ids_BT.new_zeros(len(ids_BT)) if condition is None else condition
            x_BTD = x_BTD + self.conditions(condition_B).unsqueeze(1)
        padding_BT = None if mask_BT is None or mask_BT.all() else ~mask_BT
        if layer is None or layer == self.num_layers:
            output: Tensor = self.encoder(x_BTD, src_key_padding_mask=padding_BT)
            return output
        for block in self.encoder.layers[:layer]:
            x_BTD = block(x_BTD, src_key_padding_mask=padding_BT)
        return x_BTD

    @property
    def token_embedding(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.words

    def classification_head(self, classes: int) -> nn.Module:
        """The MLP from vectors (B, D) to logits (B, classes)."""
        width, hidden = self.config.width, self.config.head_width
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def lm_head(self, vocabulary: int) -> nn.Module:
        """A fresh head for masked tokens."""
        return LMHead(self.hidden_size, vocabulary)
