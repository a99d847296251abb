"""DNABERT (Ji et al. 2021, Bioinformatics 37:2112): BERT (Devlin et al. 2019, arXiv:1810.04805) on overlapping k-mers.

Embeddings of tokens, positions and token types, post-norm transformer blocks with exact GELU, a masked-token head
tied to the token embeddings, and a pooler over [CLS]. `original` repeats two faults of the released code, for outputs
that equal its own: the head's bias is added twice, and the attention mask adds 0 or 1 to the scores instead of hiding
padding.

Shape suffixes: B sequences, T tokens, D hidden size, H attention heads, K size of an attention head, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.base import Backbone, SmallEmbedding


@dataclass(frozen=True)
class DnabertConfig:
    """Sizes; the defaults are those of DNABERT-6."""

    vocabulary: int = 4101
    pad_id: int = 0
    width: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    positions: int = 512
    token_types: int = 2
    dropout: float = 0.1
    eps: float = 1e-12
    pooler: bool = True
    head_pool: Literal["mean", "pooler"] = "mean"
    original: bool = False

    def __post_init__(self) -> None:
        if self.head_pool not in ("mean", "pooler") or (
            self.head_pool == "pooler" and not self.pooler
        ):
            raise ValueError(
                f"head_pool is {self.head_pool!r}, not mean, or pooler where there is one"
            )


class DnabertNetwork(Backbone):
    """Ids (B, T) to hidden states (B, T, D); at most `positions` tokens, [CLS] and [SEP] among them."""

    config_class = DnabertConfig
    features_read = frozenset({"token_type_ids"})

    def __init__(self, config: DnabertConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_size, self.num_layers = config.width, config.layers
        self.max_length, self.original = config.positions, config.original
        self.has_pooler = config.pooler
        self.embeddings = Embeddings(config)
        self.layer = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.pooler = nn.Linear(config.width, config.width) if config.pooler else None

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        *,
        layer: int | None = None,
        features: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """The hidden states after `layer` blocks, 0 for the embeddings; `features` may hold `token_type_ids` (B, T)."""
        hidden_BTD: Tensor = self.embeddings(ids_BT, (features or {}).get("token_type_ids"))
        bias = self._attention_bias(mask_BT, hidden_BTD)
        for block in self.layer[:layer]:
            hidden_BTD = block(hidden_BTD, bias)
        return hidden_BTD

    def _attention_bias(self, mask_BT: Tensor | None, hidden_BTD: Tensor) -> Tensor | None:
        """What is added to the attention scores (B, 1, 1, T)."""
        if mask_BT is None or mask_BT.all():
            return None
        mask_B11T = mask_BT[:, None, None, :]
        if self.original:
            return mask_B11T.to(hidden_BTD.dtype)
        lowest = torch.finfo(hidden_BTD.dtype).min
        return torch.zeros_like(mask_B11T, dtype=hidden_BTD.dtype).masked_fill(~mask_B11T, lowest)

    def pooler_output(self, hidden_BTD: Tensor) -> Tensor:
        """The vector (B, D) that BERT's next-sentence head reads, of the first token."""
        if self.pooler is None:
            raise ValueError("this checkpoint has no pooler")
        return torch.tanh(self.pooler(hidden_BTD[:, 0]))

    def head_vectors(self, inputs: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """See `Network`: the mean over the tokens, or the pooler's vector, which released classifiers read."""
        if self.config.head_pool == "mean":
            return super().head_vectors(inputs, mask_BT)
        return self.pooler_output(self(inputs, mask_BT))

    @property
    def token_embedding(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.embeddings.word_embeddings

    def lm_head(self, vocabulary: int) -> nn.Module:
        """A fresh head for masked tokens; its decoder is the token embeddings."""
        return TiedHead(self.config.width, vocabulary, self.config.eps)

    def lm_logits(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """The logits (..., V) of the hidden states (..., D)."""
        logits: Tensor = head(hidden, self.embeddings.word_embeddings.weight)
        return logits + head.bias if self.original else logits  # type: ignore[operator]

    @contextmanager
    def as_released(self, exact: bool) -> Iterator[None]:
        """See `Backbone`: the faults that the top of the file names."""
        configured, self.original = self.original, exact or self.original
        try:
            yield
        finally:
            self.original = configured


class Embeddings(nn.Module):
    """The sum of the embeddings of tokens, positions and token types, normalised."""

    def __init__(self, config: DnabertConfig) -> None:
        super().__init__()
        self.word_embeddings = SmallEmbedding(config.vocabulary, config.width)
        self.position_embeddings = SmallEmbedding(config.positions, config.width)
        self.token_type_embeddings = SmallEmbedding(config.token_types, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids_BT: Tensor, types_BT: Tensor | None = None) -> Tensor:
        """(B, T, D)."""
        positions_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        types_BT = torch.zeros_like(ids_BT) if types_BT is None else types_BT
        sum_BTD = self.word_embeddings(ids_BT) + self.position_embeddings(positions_T)
        sum_BTD = sum_BTD + self.token_type_embeddings(types_BT)
        normed_BTD: Tensor = self.dropout(self.LayerNorm(sum_BTD))
        return normed_BTD


class Block(nn.Module):
    """Self-attention and feed-forward, each added to its input and normalised after (post-norm)."""

    def __init__(self, config: DnabertConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout_rate = config.heads, config.dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attention_output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.eps)
        self.intermediate = nn.Linear(width, config.feed_forward)
        self.output = nn.Linear(config.feed_forward, width)
        self.output_norm = nn.LayerNorm(width, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, D)."""
        attended_BTD = self.dropout(self.attention_output(self._attention(x_BTD, bias)))
        x_BTD = self.attention_norm(x_BTD + attended_BTD)
        wide = functional.gelu(self.intermediate(x_BTD))
        out_BTD: Tensor = self.output_norm(x_BTD + self.dropout(self.output(wide)))
        return out_BTD

    def _attention(self, x_BTD: Tensor, bias: Tensor | None) -> Tensor:
        batch, tokens, width = x_BTD.shape
        query, key, value = (
            layer(x_BTD).view(batch, tokens, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        rate = self.dropout_rate if self.training else 0.0
        mixed_BHTK = functional.scaled_dot_product_attention(query, key, value, bias, rate)
        return mixed_BHTK.transpose(1, 2).reshape(batch, tokens, width)


class TiedHead(nn.Module):
    """BERT's head for masked tokens; it is given the embeddings (V, D) that it decodes with."""

    def __init__(self, width: int, vocabulary: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, hidden: Tensor, embeddings_VD: Tensor) -> Tensor:
        """The logits (..., V)."""
        transformed = self.norm(functional.gelu(self.dense(hidden)))
        return functional.linear(transformed, embeddings_VD, self.bias)
