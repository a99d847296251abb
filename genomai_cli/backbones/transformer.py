"""The reference network: words and learned positions, a post-norm transformer encoder, mean pooling, heads.

Shape suffixes: B sequences, T words, D width, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genomai_cli.backbones.heads import Heads, WordHead


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes; the defaults are those of `genomai-v2`."""

    vocabulary: int = 22
    pad_id: int = 20
    width: int = 128
    heads: int = 4
    layers: int = 3
    feed_forward: int = 512
    positions: int = 1000
    head_width: int = 64
    dropout: float = 0.1


@dataclass(frozen=True, eq=False)
class Veil:
    """How far words are seen as if they were another one, `word`: by a share (B, T), from 0 not at all to 1 wholly."""

    word: int
    share: Tensor


class TransformerNetwork(nn.Module):
    """Ids (B, T) to logits (B, C) of every head; at most `config.positions` words a sequence.

    With one head of five classes the defaults make 734,213 trainable parameters.
    """

    supports_soft_mask = True

    def __init__(self, config: TransformerConfig, classes: dict[str, int]) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.feed_forward, config.dropout, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.heads = Heads(classes, self._head)

    def _head(self, classes: int) -> nn.Module:
        width, hidden = self.config.width, self.config.head_width
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    @property
    def layers(self) -> int:
        """How many encoder layers there are."""
        return self.config.layers

    def hidden(self, ids_BT: Tensor, layer: int | None = None, veil: Veil | None = None) -> Tensor:
        """The vectors (B, T, D) after `layer` encoder layers, 0 for the embeddings, by default after the last.

        [PAD] is neither attended to nor meaningful in them.
        """
        places_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        words_BTD = self.words(ids_BT)
        if veil is not None:
            share_BT1 = veil.share.to(words_BTD.dtype).unsqueeze(2)
            words_BTD = torch.lerp(words_BTD, self.words.weight[veil.word], share_BT1)
        x_BTD: Tensor = words_BTD + self.positions(places_T)
        padding_BT = ids_BT == self.config.pad_id
        mask_BT = padding_BT if padding_BT.any() else None
        if layer is None or layer == self.layers:
            output: Tensor = self.encoder(x_BTD, src_key_padding_mask=mask_BT)
            return output
        for block in self.encoder.layers[:layer]:
            x_BTD = block(x_BTD, src_key_padding_mask=mask_BT)
        return x_BTD

    def pooled(self, ids_BT: Tensor, layer: int | None = None) -> Tensor:
        """The mean of the hidden vectors over the words that are not [PAD]: (B, D)."""
        known_BT1 = (ids_BT != self.config.pad_id).unsqueeze(2)
        total_BD = (self.hidden(ids_BT, layer) * known_BT1).sum(1)
        return total_BD / known_BT1.sum(1).clamp(min=1)

    def forward(self, ids_BT: Tensor) -> dict[str, Tensor]:
        """The logits of every head."""
        logits: dict[str, Tensor] = self.heads(self.pooled(ids_BT))
        return logits

    def word_head(self, vocabulary: int) -> nn.Module:
        """A fresh head that guesses hidden words; see `nets/companions.py`."""
        return WordHead(self.config.width, vocabulary)

    def guess(
        self,
        head: nn.Module,
        ids_BT: Tensor,
        chosen_BT: Tensor | None = None,
        veil: Veil | None = None,
    ) -> Tensor:
        """The head's logits (B, T, V) of every word, or (N, V) of the chosen ones."""
        x_BTD = self.hidden(ids_BT, veil=veil)
        logits: Tensor = head(x_BTD if chosen_BT is None else x_BTD[chosen_BT])
        return logits
