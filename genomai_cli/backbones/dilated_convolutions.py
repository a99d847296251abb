"""Residual blocks of dilated convolutions over both sides, conditioned on a sequence's label: for diffusion of DNA.

The denoiser of Avdeyev et al. 2023 (Dirichlet diffusion score model, arXiv:2305.10699) in small: each block sees
farther than the one before, and the label scales and shifts its channels (FiLM, Perez et al. 2018, arXiv:1709.07871).
From few sequences it learns DNA in fewer steps than a transformer (benchmarks/generation/labelled.md).

Shape suffixes: B sequences, T tokens, D hidden size.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.base import Backbone
from genomai_cli.backbones.transformer import SoftMask, embed_tokens


@dataclass(frozen=True)
class DilatedConvolutionsConfig:
    """Sizes; dilations of the blocks are 1, 2, 4 ... `farthest`, over and over. `conditions` counts the labels that it
    can be given, of which 0 says nothing; without any it takes none."""

    vocabulary: int = 22
    pad_id: int = 20
    width: int = 96
    layers: int = 8
    taps: int = 5
    farthest: int = 16
    positions: int = 1000
    dropout: float = 0.0
    conditions: int = 0

    def __post_init__(self) -> None:
        if self.taps % 2 == 0 or self.taps < 1:
            raise ValueError("taps: an odd number")
        if self.farthest < 1 or self.farthest & (self.farthest - 1):
            raise ValueError("farthest: a power of two")
        if min(self.width, self.layers, self.positions) < 1:
            raise ValueError("width, layers and positions: 1 or more")

    def dilation(self, block: int) -> int:
        """That of a block, numbered from 0."""
        return 1 << (block % self.farthest.bit_length())


class DilatedConvolutionsNetwork(Backbone):
    """Ids (B, T) to hidden states (B, T, D); at most `config.positions` tokens a sequence. Layer 0 lies after the
    embeddings, the last one after the final norm."""

    config_class = DilatedConvolutionsConfig
    supports_soft_mask = True
    supports_condition = True

    def __init__(self, config: DilatedConvolutionsConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_size, self.num_layers = config.width, config.layers
        self.max_length = config.positions
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.blocks = nn.ModuleList(
            Block(config, config.dilation(block)) for block in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        *,
        layer: int | None = None,
        soft_mask: SoftMask | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """The hidden states (B, T, D) after `layer` blocks, by default after all, given a `condition` (B,), by default
        none. Tokens that the mask leaves out count as positions beyond the ends."""
        x_BTD = embed_tokens(self.words, self.positions, ids_BT, soft_mask)
        condition_B = ids_BT.new_zeros(len(ids_BT)) if condition is None else condition
        real_BT1 = None if mask_BT is None or mask_BT.all() else mask_BT.unsqueeze(2)
        for block in self.blocks[:layer]:
            x_BTD = block(x_BTD, real_BT1, condition_B)
        if layer is None or layer == self.num_layers:
            x_BTD = self.norm(x_BTD)
        return x_BTD

    @property
    def token_embedding(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.words

    def lm_head(self, vocabulary: int) -> nn.Module:
        """A fresh head for masked tokens."""
        return nn.Linear(self.hidden_size, vocabulary)


class Block(nn.Module):
    """A normalised, dilated convolution whose channels the label scales and shifts, added to what it read."""

    def __init__(self, config: DilatedConvolutionsConfig, dilation: int) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, config.taps, padding="same", dilation=dilation)
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.label = ZeroEmbedding(config.conditions, 2 * width) if config.conditions else None

    def forward(self, x_BTD: Tensor, real_BT1: Tensor | None, condition_B: Tensor) -> Tensor:
        """(B, T, D)."""
        h_BTD: Tensor = self.norm(x_BTD)
        if real_BT1 is not None:
            h_BTD = h_BTD * real_BT1
        h_BTD = self.conv(h_BTD.transpose(1, 2)).transpose(1, 2)
        if self.label is not None:
            scale_B1D, shift_B1D = self.label(condition_B).unsqueeze(1).chunk(2, dim=2)
            h_BTD = h_BTD * (1 + scale_B1D) + shift_B1D
        added_BTD: Tensor = self.dropout(self.mix(functional.gelu(h_BTD)))
        return x_BTD + added_BTD


class ZeroEmbedding(nn.Embedding):
    """Vectors that begin as zeros: labels that say nothing yet."""

    def reset_parameters(self) -> None:
        """Fresh values."""
        nn.init.zeros_(self.weight)
