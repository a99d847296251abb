"""StripedHyena: gated convolutions with a little attention in between, a model of the next byte of DNA.

Evo 2 is StripedHyena 2 (Ku et al. 2025, arXiv:2503.01868; Brixi et al. 2025, bioRxiv 2025.02.18.638918), whose filters
are short (7 taps), medium (128) or sums of exponentials, in turn; Evo 1 (Nguyen et al. 2024, Science 386:eado9336) has
exponentials with complex poles only (Poli et al. 2023, StripedHyena). A block is mixer and gated MLP, each behind a
norm and added to its input; a mixer is x2 * filter(x1 * v), of three projections that a filter of three taps has
smoothed, or attention with rotary positions.

A layer reads `block_tokens` tokens at a time and keeps what later ones need: the last tokens for filters of taps,
the state of exponentials, keys and values. So memory does not grow with the length but for the hidden states and one
block's keys and values; `decode` keeps the same for all blocks.

Shape suffixes: B sequences, T tokens, S tokens with those before, D width, H heads, K size of a head, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.base import Backbone, SmallEmbedding
from genomai_cli.backbones.convolutions import correlate, last_tokens
from genomai_cli.backbones.heads import EmbeddingHead
from genomai_cli.backbones.hyena_filters import ExplicitFilter, ModalFilter
from genomai_cli.device import exact_precision

SHORT, MEDIUM, LONG, ATTENTION = "SMLA"
BLOCK_TOKENS = 1 << 12  # that a layer reads at once
MAX_PAIRS = 1 << 27  # of queries and keys, of all heads, that are held at once
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "silu": functional.silu,
}


@dataclass(frozen=True)
class StripedHyenaConfig:
    """Sizes and layouts; the defaults are those of Evo 2 but for the sizes.

    `blocks` has a letter for each: S, M and L for the length of its filter, A for attention. `systems` are the groups
    of channels that share a long filter, 0 for one each. `interleaved` and `by_head` tell how the three projections of
    a convolution lie among its channels, `swapped` which of them comes first; `qkv_by_head` how those of attention do.
    With `linear_gates` only the first block's MLP has an activation. `positions` bounds the input, if it does.
    """

    vocabulary: int = 512
    pad_id: int = 1
    width: int = 128
    blocks: str = "SMLA"
    heads: int = 4
    feed_forward: int = 352
    input_taps: int = 3
    input_bias: bool = False
    short_taps: int = 7
    short_groups: int = 16
    medium_taps: int = 128
    medium_groups: int = 16
    modes: int = 16
    systems: int = 0
    complex_poles: bool = False
    interleaved: bool = True
    by_head: bool = False
    swapped: bool = False
    qkv_by_head: bool = True
    qkv_bias: bool = False
    projection_bias: bool = False
    attention_out_bias: bool = True
    out_bias: bool = True
    rotary_base: float = 10000.0
    rotary_scale: float = 1.0
    activation: str = "gelu"
    linear_gates: bool = True
    eps: float = 1e-6
    final_norm: bool = True
    tied: bool = True
    positions: int | None = None

    def __post_init__(self) -> None:
        for name in ("heads", "short_groups", "medium_groups", "systems"):
            if getattr(self, name) and self.width % getattr(self, name):
                raise ValueError(f"{name} {getattr(self, name)} do not divide width {self.width}")
        unknown = set(self.blocks) - {SHORT, MEDIUM, LONG, ATTENTION}
        if unknown or not self.blocks:
            raise ValueError(f"blocks {self.blocks!r}: a letter of S, M, L and A for each")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r}: there are {', '.join(ACTIVATIONS)}")


class StripedHyenaNetwork(Backbone):
    """Ids (B, T) to hidden states (B, T, D); after the blocks, the last layer is the final norm."""

    config_class = StripedHyenaConfig
    causal = True

    def __init__(self, config: StripedHyenaConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_size, self.num_layers = config.width, len(config.blocks) + 1
        self.max_length, self.block_tokens = config.positions, BLOCK_TOKENS
        self.embedding = SmallEmbedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(
            Block(config, kind, number) for number, kind in enumerate(config.blocks)
        )
        self.norm = RmsNorm(config) if config.final_norm else nn.Identity()

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        *,
        layer: int | None = None,
        features: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """The hidden states after `layer` blocks; no token sees a later one, so padding at the right needs no mask."""
        del mask_BT, features
        hidden_BTD: Tensor = self.embedding(ids_BT)
        for block in self.blocks[:layer]:
            hidden_BTD, _ = self._by_blocks(block, hidden_BTD, None, keep_state=False)
        normalise = layer is None or layer > len(self.blocks)
        return self._final_norm(hidden_BTD) if normalise else hidden_BTD

    def decode(self, ids_BT: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """See `Backbone`; a cache stays as it is, so that several continuations may begin with it."""
        states = [None] * len(self.blocks) if cache is None else cache
        hidden_BTD, next_states = self.embedding(ids_BT), []
        for block, previous in zip(self.blocks, states, strict=True):
            hidden_BTD, state = self._by_blocks(block, hidden_BTD, previous, keep_state=True)
            next_states.append(state)
        return self._final_norm(hidden_BTD), next_states

    def _by_blocks(
        self, block: nn.Module, hidden_BTD: Tensor, state: Any, *, keep_state: bool
    ) -> tuple[Tensor, Any]:
        """A layer's output and the state behind it, a block of tokens at a time."""
        tokens = hidden_BTD.shape[1]
        outputs = []
        for start, end in pairwise([*range(0, tokens, self.block_tokens), tokens]):
            y_BTD, state = block(hidden_BTD[:, start:end], state, keep_state or end < tokens)
            if torch.is_grad_enabled():
                outputs.append(y_BTD)
            else:
                hidden_BTD[:, start:end] = y_BTD
        return torch.cat(outputs, dim=1) if outputs else hidden_BTD, state

    def _final_norm(self, hidden_BTD: Tensor) -> Tensor:
        """The final norm, in place where no gradient is asked for."""
        if torch.is_grad_enabled():
            normed_BTD: Tensor = self.norm(hidden_BTD)
            return normed_BTD
        for block_BTD in torch.split(hidden_BTD, self.block_tokens, dim=1):
            block_BTD.copy_(self.norm(block_BTD))
        return hidden_BTD

    def long_filters(self, tokens: int) -> Tensor | None:
        """The filters (layers, D, tokens) that are sums of exponentials."""
        found = [m.taps(tokens) for m in self.modules() if isinstance(m, ModalFilter)]
        return torch.stack(found) if found else None

    @property
    def token_embedding(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.embedding

    def lm_head(self, vocabulary: int) -> nn.Module:
        """A fresh head for the next token; it decodes with the embeddings, if `tied`."""
        if self.config.tied:
            return EmbeddingHead()
        return Linear(self.config.width, vocabulary, bias=False)

    def lm_logits(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """The logits (..., V) of the token that follows, from hidden states (..., D)."""
        logits: Tensor = head(hidden, self.embedding.weight) if self.config.tied else head(hidden)
        return logits


class Linear(nn.Linear):
    """Computes in its weights' type and gives the type it got: files mix float32 and bfloat16.

    Fresh weights are `gain` of the usual size.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool, gain: float = 1.0) -> None:
        self.gain = gain
        super().__init__(inputs, outputs, bias)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fresh values."""
        super().reset_parameters()
        self.weight.mul_(self.gain)

    def forward(self, x: Tensor) -> Tensor:
        """(..., out)."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class RmsNorm(nn.Module):
    """x over its root mean square, to which eps is added outside the root, times a scale."""

    def __init__(self, config: StripedHyenaConfig) -> None:
        super().__init__()
        self.eps, self.root = config.eps, config.width**0.5
        self.scale = nn.Parameter(torch.ones(config.width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D)."""
        exact = torch.promote_types(x_BTD.dtype, torch.float32)
        size_BT1 = torch.linalg.vector_norm(x_BTD, dim=-1, keepdim=True, dtype=exact) / self.root
        y_BTD: Tensor = self.scale * (x_BTD / (size_BT1 + self.eps))
        return y_BTD.to(x_BTD.dtype)


class GatedMlp(nn.Module):
    """l3(activation(l1 x) * l2 x); from the second block on Evo 2 has no activation."""

    def __init__(self, config: StripedHyenaConfig, number: int) -> None:
        super().__init__()
        linear = config.linear_gates and number > 0
        self.activation = None if linear else ACTIVATIONS[config.activation]
        self.l1, self.l2 = (Linear(config.width, config.feed_forward, bias=False) for _ in range(2))
        gain = _residual_gain(config)
        self.l3 = Linear(config.feed_forward, config.width, bias=False, gain=gain)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D)."""
        gate = self.l1(x_BTD)
        if self.activation is not None:
            gate = self.activation(gate)
        y_BTD: Tensor = self.l3(gate * self.l2(x_BTD))
        return y_BTD


class Block(nn.Module):
    """A mixer of tokens and an MLP, each behind a norm and added to its input."""

    def __init__(self, config: StripedHyenaConfig, kind: str, number: int) -> None:
        super().__init__()
        self.pre_norm, self.post_norm = RmsNorm(config), RmsNorm(config)
        self.mixer = Attention(config) if kind == ATTENTION else Convolution(config, kind)
        self.mlp = GatedMlp(config, number)

    def forward(self, x_BTD: Tensor, state: Any, keep_state: bool) -> tuple[Tensor, Any]:
        """The hidden states (B, T, D), and with `keep_state` the mixer's state behind them."""
        mixed_BTD, state = self.mixer(self.pre_norm(x_BTD), state, keep_state)
        x_BTD = x_BTD + mixed_BTD
        return x_BTD + self.mlp(self.post_norm(x_BTD)), state


class Past(NamedTuple):
    """A convolution's state: the last tokens of its projections, and the state of its filter."""

    projected: Tensor
    filtered: Tensor


class Convolution(nn.Module):
    """x2 * filter(x1 * v), of projections that a short filter has smoothed."""

    def __init__(self, config: StripedHyenaConfig, kind: str) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.projections = Linear(width, 3 * width, bias=config.projection_bias)
        self.input_taps = nn.Parameter(torch.empty(3 * width, 1, config.input_taps))
        self.input_bias = nn.Parameter(torch.empty(3 * width)) if config.input_bias else None
        self.filter = _filter(config, kind)
        self.out = Linear(width, width, bias=config.out_bias, gain=_residual_gain(config))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh values of the filter that smooths the projections."""
        nn.init.normal_(self.input_taps, std=0.5)
        if self.input_bias is not None:
            nn.init.zeros_(self.input_bias)

    def forward(
        self, x_BTD: Tensor, past: Past | None, keep_state: bool
    ) -> tuple[Tensor, Past | None]:
        """See `Block`."""
        z_BCT = self.projections(x_BTD).transpose(1, 2)
        past_inputs, state = (None, None) if past is None else past
        smooth_BCT = correlate(z_BCT, self.input_taps[:, 0], past_inputs)
        if self.input_bias is not None:
            smooth_BCT = smooth_BCT + self.input_bias.unsqueeze(1)
        x2_BDT, x1_BDT, v_BDT = self._parts(smooth_BCT.to(x_BTD.dtype))
        y_BDT, state = self.filter(x1_BDT * v_BDT, state, keep_state)
        out_BTD = self.out((x2_BDT * y_BDT.to(x_BTD.dtype)).transpose(1, 2))
        return out_BTD, Past(
            last_tokens(z_BCT, self.config.input_taps - 1, past_inputs), state
        ) if keep_state else None

    def _parts(self, z_BCT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three projections (B, D, T), wherever they lie among the channels."""
        if self.config.interleaved:
            z_BCT = torch.cat([z_BCT[:, part::3] for part in range(3)], dim=1)
        groups = self.config.heads if self.config.by_head else 1
        parts = z_BCT.reshape(len(z_BCT), groups, 3, -1, z_BCT.shape[2]).unbind(2)
        x2_BDT, x1_BDT, v_BDT = (part.flatten(1, 2) for part in parts)
        return (x1_BDT, x2_BDT, v_BDT) if self.config.swapped else (x2_BDT, x1_BDT, v_BDT)


def _filter(config: StripedHyenaConfig, kind: str) -> ExplicitFilter | ModalFilter:
    if kind == SHORT:
        return ExplicitFilter(config.width, config.short_groups, config.short_taps)
    if kind == MEDIUM:
        return ExplicitFilter(config.width, config.medium_groups, config.medium_taps)
    systems = config.systems or config.width
    return ModalFilter(config.width, systems, config.modes, config.complex_poles)


class KeysAndValues(NamedTuple):
    """Those (B, H, S, K) of all tokens so far."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Causal self-attention with rotary positions (Su et al. 2021, arXiv:2104.09864), halves of a head as pairs."""

    def __init__(self, config: StripedHyenaConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.by_head, self.scale = config.heads, config.qkv_by_head, config.rotary_scale
        self.qkv = Linear(width, 3 * width, bias=config.qkv_bias)
        gain = _residual_gain(config)
        self.out = Linear(width, width, bias=config.attention_out_bias, gain=gain)
        self.inv_freq: Tensor
        self.register_buffer("inv_freq", frequencies(config.rotary_base, width // config.heads))

    def forward(
        self, x_BTD: Tensor, past: KeysAndValues | None, keep_state: bool
    ) -> tuple[Tensor, KeysAndValues | None]:
        """See `Block`."""
        layout = (self.heads, 3, -1) if self.by_head else (3, self.heads, -1)
        parts = self.qkv(x_BTD).reshape(*x_BTD.shape[:2], *layout).unbind(3 if self.by_head else 2)
        query, key, value = (part.transpose(1, 2) for part in parts)
        start = 0 if past is None else past.keys.shape[2]
        query, key = self._rotated(query, start), self._rotated(key, start)
        if past is not None:
            key, value = torch.cat([past.keys, key], 2), torch.cat([past.values, value], 2)
        mixed_BTD = _attention(query, key, value, start).transpose(1, 2).flatten(2)
        return self.out(mixed_BTD), KeysAndValues(key, value.contiguous()) if keep_state else None

    def _rotated(self, x_BHTK: Tensor, start: int) -> Tensor:
        """Turned by the angle of each token's position, of which the first is `start`."""
        angle_dtype = exact_precision(x_BHTK.device)
        inverse_K = self.inv_freq.to(angle_dtype)
        positions_T = torch.arange(start, start + x_BHTK.shape[2], device=x_BHTK.device).to(
            angle_dtype
        )
        angles_TK = torch.outer(positions_T / self.scale, inverse_K)
        dtype = torch.promote_types(x_BHTK.dtype, torch.float32)
        cosine, sine = angles_TK.cos().to(dtype), angles_TK.sin().to(dtype)
        first, second = x_BHTK.chunk(2, dim=-1)
        rotated = [first * cosine - second * sine, second * cosine + first * sine]
        return torch.cat(rotated, dim=-1).to(x_BHTK.dtype)


def frequencies(base: float, size: int) -> Tensor:
    """The inverse frequencies (K / 2,) of a head of that size."""
    return (1.0 / base ** (torch.arange(0, size, 2, dtype=torch.float64) / size)).float()


def _attention(query: Tensor, key: Tensor, value: Tensor, start: int) -> Tensor:
    """The output of causal attention for queries (B, H, T, K) of which the first is token `start`."""
    tokens, total = query.shape[2], key.shape[2]
    if tokens == 1:
        return functional.scaled_dot_product_attention(query, key, value)
    step = max(1, MAX_PAIRS // (query.shape[0] * query.shape[1] * total))
    if start == 0 and tokens <= step:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    outputs = []
    positions_S = torch.arange(total, device=query.device)
    for offset in range(0, tokens, step):
        queries = query[:, :, offset : offset + step]
        end = start + offset + queries.shape[2]
        mask_TS = positions_S[:end] <= positions_S[start + offset : end, None]
        keys_and_values = key[:, :, :end], value[:, :, :end]
        outputs.append(functional.scaled_dot_product_attention(queries, *keys_and_values, mask_TS))
    return torch.cat(outputs, dim=2)


def _residual_gain(config: StripedHyenaConfig) -> float:
    """The gain of fresh weights that add to the hidden states: the smaller the more blocks there are."""
    return float((2 * len(config.blocks)) ** -0.5)
