"""HyenaDNA (Nguyen et al. 2023, arXiv:2306.15794): Hyena operators (Poli et al. 2023, arXiv:2302.10866) on letters.

Pre-norm blocks, in which a Hyena operator stands where a transformer has attention: projections of each token, short
causal convolutions, then gates by turns with causal convolutions as long as the input. The long filters are functions
of the position, a small network with sines, times a decay of its own for each channel. Positions z and t are data of
the checkpoint.

Where no gradient is wanted, channels and tokens are worked on in blocks of about `block_values` numbers, and hidden
states are changed in place: memory beyond two copies of them is bounded, and the outputs are those of one block.

Shape suffixes: B sequences, T tokens, D hidden size, C channels of a block, W width of the filters' network, P tokens
before.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.base import Backbone, SmallEmbedding
from genomai_cli.backbones.convolutions import convolve, correlate, fast_length, last_tokens
from genomai_cli.backbones.heads import EmbeddingHead

STD = 0.02  # of fresh weights, as in GPT-2
FAST_DECAY, SLOW_DECAY, DECAY_TARGET, DECAY_SHIFT = 0.3, 1.5, 0.01, 0.05  # of the decay of filters
MAX_BLOCK_VALUES = (
    1 << 23
)  # in a block: 64 MB in double precision; about eight such arrays are held
MAX_CACHED_VALUES = 1 << 24  # of a layer's filters, for the next batch


@dataclass(frozen=True)
class HyenaDnaConfig:
    """Sizes; the defaults are those of hyenadna-tiny-1k.

    `positions` is the longest input; a filter's network has `filter_depth` inner layers; `short_delay` is how many
    tokens late the short filters are. `norm_eps` is of the norms in blocks, `eps` of the last one. Classification heads
    read the mean of the tokens' vectors, or with `head_pool` the last token's.
    """

    vocabulary: int = 12
    vocabulary_multiple: int = 8  # that the embeddings' rows are filled up to
    pad_id: int = 4
    width: int = 128
    layers: int = 2
    feed_forward: int = 512
    positions: int = 1026
    order: int = 2
    short_filter: int = 3
    short_delay: int = 0
    position_features: int = 5
    filter_width: int = 64
    filter_depth: int = 2
    frequency: float = 10.0
    train_frequency: bool = True
    modulate: bool = True
    dropout: float = 0.1
    residual_dropout: float = 0.0
    operator_dropout: float = 0.0
    eps: float = 1e-5
    norm_eps: float = 1e-5
    tied: bool = True
    head_pool: Literal["mean", "last"] = "mean"

    def __post_init__(self) -> None:
        if self.position_features < 3 or self.position_features % 2 == 0:
            raise ValueError(
                f"position_features: odd, and at least 3, not {self.position_features}"
            )
        if self.order < 2:
            raise ValueError(f"order: at least 2, not {self.order}")
        if self.head_pool not in ("mean", "last"):
            raise ValueError(f"head_pool is {self.head_pool!r}, not mean or last")

    @property
    def rows(self) -> int:
        """The embeddings' rows."""
        return -(-self.vocabulary // self.vocabulary_multiple) * self.vocabulary_multiple


class HyenaDnaNetwork(Backbone):
    """Ids (B, T) to hidden states (B, T, D); at most `positions` tokens, none of which knows a later one.

    Padding belongs at the right. Layer 0 is the embeddings, n the sum after n blocks, the last one the final norm.
    """

    config_class = HyenaDnaConfig
    causal = True

    def __init__(self, config: HyenaDnaConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_size, self.num_layers = config.width, config.layers + 1
        self.max_length = config.positions
        self.block_values = MAX_BLOCK_VALUES
        self.embeddings = SmallEmbedding(config.rows, config.width, STD)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        *,
        layer: int | None = None,
        features: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """The hidden states after `layer` layers; the mask is not needed, since padding comes after all tokens."""
        del mask_BT, features
        return self._hidden(ids_BT, [None] * len(self.layers), layer)

    def head_vectors(self, inputs: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """See `Network`: the mean, or the vector of the last token, which is [SEP]."""
        if self.config.head_pool == "mean":
            return super().head_vectors(inputs, mask_BT)
        hidden_BTD: Tensor = self(inputs, mask_BT)
        if mask_BT is None:
            return hidden_BTD[:, -1]
        return hidden_BTD[torch.arange(len(inputs), device=inputs.device), mask_BT.sum(1) - 1]

    def decode(self, ids_BT: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """See `Backbone`; the cache has of each block what its convolutions need of the past, O(T) numbers."""
        order = self.config.order
        pasts = cache or [Past(None, [None] * (order - 1)) for _ in self.layers]
        with torch.no_grad():
            return self._hidden(ids_BT, pasts, None), pasts

    def _hidden(self, ids_BT: Tensor, pasts: "list[Past | None]", layer: int | None) -> Tensor:
        hidden_BTD: Tensor = self.embeddings(ids_BT)
        # The sum stays in float32 at least, also where the blocks compute in 16 bits.
        hidden_BTD = hidden_BTD.to(torch.promote_types(hidden_BTD.dtype, torch.float32))
        hidden_BTD = self.dropout(hidden_BTD)
        for block, past in list(zip(self.layers, pasts, strict=True))[:layer]:
            hidden_BTD = block(hidden_BTD, self.block_values, past)
        if layer is None or layer == self.num_layers:
            hidden_BTD = self.norm(hidden_BTD)
        return hidden_BTD

    def long_filters(self, tokens: int) -> Tensor:
        """See `Backbone`: (layers, T, D)."""
        taps = [block.mixer.filter(tokens)(slice(None)).T for block in self.layers]  # type: ignore[union-attr, operator]
        return torch.stack(taps)

    @property
    def token_embedding(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.embeddings

    def lm_head(self, vocabulary: int) -> nn.Module:
        """A fresh head for the next token, or one without parameters, where it is the embeddings."""
        if self.config.tied:
            return EmbeddingHead()
        multiple = self.config.vocabulary_multiple
        return Linear(self.config.width, -(-vocabulary // multiple) * multiple, bias=False)

    def lm_logits(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """The logits (..., V) of the hidden states (..., D); V is filled up as the embeddings are."""
        logits: Tensor = head(hidden, self.embeddings.weight) if self.config.tied else head(hidden)
        return logits


class Linear(nn.Linear):
    """Weights that begin with this standard deviation, biases with 0, as GPT-2's (Radford et al. 2019)."""

    std = STD

    def __init__(self, inputs: int, outputs: int, bias: bool = True, std: float = STD) -> None:
        super().__init__(inputs, outputs, bias)
        self.std = std
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh values."""
        nn.init.normal_(self.weight, std=self.std)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


@dataclass
class Past:
    """A Hyena operator's cache of earlier tokens: the last inputs of its short filters (B, 3D, <K), and all those
    of each long one (B, D, P)."""

    short: Tensor | None
    long: list[Tensor | None]
    tokens: int = 0


class Block(nn.Module):
    """A Hyena operator and an MLP, each of the normalised sum of all before, and added to it."""

    def __init__(self, config: HyenaDnaConfig) -> None:
        super().__init__()
        output_std = STD / math.sqrt(2 * config.layers)  # of what is added to the sum
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mixer = HyenaOperator(config, output_std)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.fc1 = Linear(config.width, config.feed_forward)
        self.fc2 = Linear(config.feed_forward, config.width, std=output_std)
        self.dropout = nn.Dropout(config.residual_dropout)

    def forward(self, x_BTD: Tensor, block_values: int, past: Past | None = None) -> Tensor:
        """(B, T, D); x is changed in place where no gradient is wanted."""
        step = max(1, block_values // (x_BTD.shape[0] * self.fc1.out_features))
        for project, y_BTC in self.mixer(self.norm1(x_BTD), block_values, past):
            x_BTD = self._add(x_BTD, y_BTC, project, step)
        return self._add(x_BTD, x_BTD, self._mlp, step)

    def _add(
        self, x_BTD: Tensor, y_BTC: Tensor, function: Callable[[Tensor], Tensor], step: int
    ) -> Tensor:
        """The sum of x and the function of y, token by token."""
        if torch.is_grad_enabled():
            sum_BTD: Tensor = x_BTD + self.dropout(function(y_BTC))
            return sum_BTD
        parts = zip(torch.split(x_BTD, step, 1), torch.split(y_BTC, step, 1), strict=True)
        for part_BTD, input_BTC in parts:
            part_BTD += self.dropout(function(input_BTC))
        return x_BTD

    def _mlp(self, x_BTD: Tensor) -> Tensor:
        wide_BTF = functional.gelu(self.fc1(self.norm2(x_BTD)), approximate="tanh")
        out_BTD: Tensor = self.fc2(wide_BTF)
        return out_BTD


class HyenaOperator(nn.Module):
    """Gates and long convolutions by turns, of `order` + 1 projections of the input (Poli et al. 2023, section 3)."""

    def __init__(self, config: HyenaDnaConfig, output_std: float) -> None:
        super().__init__()
        self.width, self.order, self.delay = config.width, config.order, config.short_delay
        inner = config.width * (config.order + 1)
        self.in_proj = Linear(config.width, inner)
        self.short_filter = nn.Conv1d(inner, inner, config.short_filter, groups=inner)
        self.filter = ImplicitFilter(config)
        self.dropout = nn.Dropout(config.operator_dropout)
        self.out_proj = Linear(config.width, config.width, std=output_std)

    def forward(
        self, x_BTD: Tensor, block_values: int, past: Past | None = None
    ) -> Iterator[tuple[Callable[[Tensor], Tensor], Tensor]]:
        """Each block of channels (B, T, C), and before it its part of the output's projection, to (B, T, D); the
        operator's output is the sum of the projected blocks.

        With a past there is one block, and the past takes in these tokens.
        """
        past_tokens = past.tokens if past else 0
        total = past_tokens + x_BTD.shape[1]
        taps = self.filter(total)
        step = self.width if past else block_values // (len(x_BTD) * fast_length(2 * total))
        for start in range(0, self.width, max(1, step)):
            channels = slice(start, min(self.width, start + max(1, step)))
            y_BCT = self._mixed(x_BTD, taps, channels, past)
            bias_D = self.out_proj.bias if channels.stop == self.width else None
            weight_DC = self.out_proj.weight[:, channels]
            yield partial(functional.linear, weight=weight_DC, bias=bias_D), y_BCT.transpose(1, 2)
        if past:
            past.tokens = total

    def _mixed(self, x_BTD: Tensor, taps: "Taps", channels: slice, past: Past | None) -> Tensor:
        """The channels of the output (B, C, T), before they are projected."""
        *gates, v_BCT = self._projected(x_BTD, channels, past).chunk(self.order + 1, dim=1)
        for number, gate_BCT in enumerate(reversed(gates[1:])):
            v_BCT = self.dropout(v_BCT * gate_BCT)
            filter_rows = slice(
                number * self.width + channels.start, number * self.width + channels.stop
            )
            long_BCT = self._convolved(v_BCT, taps(filter_rows), number, past)
            v_BCT = long_BCT + self.filter.bias[filter_rows, None] * v_BCT
        return v_BCT * gates[0]

    def _projected(self, x_BTD: Tensor, channels: slice, past: Past | None) -> Tensor:
        """The same channels of all projections (B, 3C, T), after the short filters."""
        groups = range(0, len(self.in_proj.weight), self.width)
        rows = [slice(group + channels.start, group + channels.stop) for group in groups]
        weight, bias, taps, filter_bias = (
            torch.cat([tensor[rows_of_group] for rows_of_group in rows])
            for tensor in (
                self.in_proj.weight,
                self.in_proj.bias,
                self.short_filter.weight.squeeze(1),
                cast(Tensor, self.short_filter.bias),
            )
        )
        u_BCT = functional.linear(x_BTD, weight, bias).transpose(1, 2)
        taps = functional.pad(taps, (0, self.delay))
        filtered_BCT = correlate(u_BCT, taps, past.short if past else None) + filter_bias[:, None]
        if past:
            past.short = last_tokens(u_BCT, taps.shape[1] - 1, past.short)
        return filtered_BCT

    def _convolved(self, v_BCT: Tensor, taps_CT: Tensor, number: int, past: Past | None) -> Tensor:
        """The long convolution (B, C, T), after the past."""
        if past is None:
            return convolve(v_BCT, taps_CT)
        past_BCP, tokens = past.long[number], v_BCT.shape[2]
        extended_BCP = v_BCT if past_BCP is None else torch.cat([past_BCP, v_BCT], dim=2)
        past.long[number] = extended_BCP
        if tokens == 1:
            return (extended_BCP * taps_CT.flip(1)).sum(2, keepdim=True)
        return convolve(extended_BCP, taps_CT)[..., -tokens:]


Taps = Callable[[slice], Tensor]


class ImplicitFilter(nn.Module):
    """Filters as functions of the position: a network with sines, times exponential decay (Poli et al. 2023, section
    3.3); `bias` is how much of the input itself is added to each convolution."""

    z: Tensor
    t: Tensor
    deltas: Tensor

    def __init__(self, config: HyenaDnaConfig) -> None:
        super().__init__()
        self.config = config
        width, channels = config.filter_width, config.width * (config.order - 1)
        inner = [Linear(width, width) for _ in range(config.filter_depth)]
        self.inner = nn.ModuleList([Linear(config.position_features, width), *inner])
        self.outer = Linear(width, channels, bias=False)
        self.bias = nn.Parameter(torch.empty(channels))
        if config.train_frequency:
            self.frequency = nn.Parameter(torch.empty(1, width))
        # Of these shapes in released files: (1, T, F), (1, T, 1), (1, 1, C).
        for name, tensor in _positions(config).items():
            self.register_buffer(name, tensor[None])
        slowest, fastest = (
            math.log(DECAY_TARGET) / duration for duration in (SLOW_DECAY, FAST_DECAY)
        )
        self.register_buffer("deltas", torch.linspace(slowest, fastest, channels)[None, None])
        self._cached: tuple[object, dict[int, Tensor]] = None, {}
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh values."""
        nn.init.normal_(self.bias)
        if self.config.train_frequency:
            nn.init.constant_(self.frequency, self.config.frequency)

    def train(self, mode: bool = True) -> "ImplicitFilter":
        """Clear the cached filters: weights are about to change, or have changed."""
        self._cached = None, {}
        return super().train(mode)

    def forward(self, tokens: int) -> Taps:
        """A function from channels to their taps (C, T), for inputs of so many tokens.

        In inference they are cached, where they are not too many, for inputs of up to each power of two: which inputs
        were read before must not show in the rounding.
        """
        if tokens > self.config.positions:
            raise IndexError(f"{tokens} tokens, of at most {self.config.positions}")
        if self.training or torch.is_grad_enabled():
            hidden_TW = self._hidden(tokens)
            return lambda channels: self._taps(hidden_TW, channels)
        padded_tokens = min(self.config.positions, 1 << max(0, tokens - 1).bit_length())
        if padded_tokens * len(self.bias) > MAX_CACHED_VALUES:
            hidden_TW = self._hidden(tokens)
            return lambda channels: self._taps(hidden_TW, channels)
        state = [(p.data_ptr(), p.is_inference() or p._version) for p in self.parameters()]
        if self._cached[0] != state:
            self._cached = state, {}
        taps_by_length = self._cached[1]
        if padded_tokens not in taps_by_length:
            taps_by_length[padded_tokens] = self._taps(self._hidden(padded_tokens), slice(None))
        taps_CT = taps_by_length[padded_tokens]
        return lambda channels: taps_CT[channels, :tokens]

    def _hidden(self, tokens: int) -> Tensor:
        """The hidden layer (T, W) that the filters of all channels are made from."""
        frequency = self.frequency if self.config.train_frequency else self.config.frequency
        hidden_TW = self.z[0, :tokens]
        with torch.autocast(hidden_TW.device.type, enabled=False):  # sines of large numbers
            for layer in self.inner:
                hidden_TW = torch.sin(frequency * layer(hidden_TW))
        return hidden_TW

    def _taps(self, hidden_TW: Tensor, channels: slice) -> Tensor:
        with torch.autocast(hidden_TW.device.type, enabled=False):
            taps_CT = functional.linear(hidden_TW, self.outer.weight[channels]).T
        if self.config.modulate:
            time_T1, delta_C = self.t[0, : len(hidden_TW)], self.deltas[0, 0, channels]
            decay_CT = torch.exp(-delta_C.abs() * time_T1).T
            taps_CT = taps_CT * (decay_CT + DECAY_SHIFT)
        return taps_CT


def _positions(config: HyenaDnaConfig) -> dict[str, Tensor]:
    """The time t (T, 1) from 0 to 1, and the features z (T, F): time, cosines and sines of low frequencies."""
    tokens, bands = config.positions, (config.position_features - 1) // 2
    t_T1 = torch.linspace(0, 1, tokens)[:, None]
    angle_T1 = 2 * math.pi * torch.linspace(0, tokens - 1, tokens)[:, None] / tokens
    phase_TB = torch.linspace(1e-4, bands - 1, bands) * angle_T1
    return {"t": t_T1, "z": torch.cat([t_T1, phase_TB.cos(), -phase_TB.sin()], dim=1)}
