"""Caduceus (Schiff et al. 2024, arXiv:2403.03234): Mamba in both directions, and equivariant to the reverse complement.

A block adds its input to a residual, normalises the sum, and reads it in both directions with one pair of projections
(BiMamba, figure 1). Caduceus-PS (`equivariant`) runs a sequence and its reverse complement through the same weights
(figure 2): the strands are two rows of a batch here, each in its own orientation, and released outputs have them as
the two halves of the channels, the second one turned back. With `fused_add_norm`, as every released model has it, the
two strands are exchanged at every block. Caduceus-Ph reads one strand.

Padding is kept out of convolutions and states, so a sequence has the same vectors in any batch. Without gradients the
sequence is read in blocks, whose states are carried on: memory beyond the hidden states does not grow with its length.

Shape suffixes: B sequences, R rows (B, or 2B strands), T tokens, D hidden size, G directions, E inner channels, V
vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.base import Backbone, SmallEmbedding
from genomai_cli.backbones.convolutions import correlate, last_tokens
from genomai_cli.backbones.selective_scan import Steps, selective_scan

BASE_COMPLEMENTS = {7: 10, 8: 9, 9: 8, 10: 7}
BLOCK_TOKENS = 1 << 14  # tokens that are read at once where no gradient is asked for


@dataclass(frozen=True)
class CaduceusConfig:
    """Sizes; the defaults are those of the released models for 131,072 bases.

    `complement` gives the id of each token's complement, by default with the ids of A C G T from 7 on; `rank` is that
    of the step sizes, by default width / 16.
    """

    vocabulary: int = 16
    pad_id: int = 4
    width: int = 256
    layers: int = 16
    states: int = 16
    kernel: int = 4
    expand: int = 2
    rank: int | None = None
    conv_bias: bool = True
    projection_bias: bool = False
    bidirectional: bool = True
    combine: Literal["add", "ew_multiply"] = "add"
    tied_projections: bool = True
    equivariant: bool = True
    fused_add_norm: bool = True
    rms_norm: bool = True
    eps: float = 1e-5
    complement: Sequence[int] | None = None
    initial_std: float = 0.02

    def __post_init__(self) -> None:
        if self.combine not in ("add", "ew_multiply"):
            raise ValueError(f"combine is {self.combine!r}, not add or ew_multiply")
        if sorted(self.complements) != list(range(self.vocabulary)):
            raise ValueError("complement is no permutation of the vocabulary")

    @property
    def complements(self) -> list[int]:
        """The id (V,) of each token's complement."""
        if self.complement is not None:
            return list(self.complement)
        return [BASE_COMPLEMENTS.get(token, token) for token in range(self.vocabulary)]

    @property
    def inner(self) -> int:
        """Channels inside a block."""
        return self.expand * self.width

    @property
    def step_rank(self) -> int:
        """The rank of the step sizes."""
        return math.ceil(self.width / 16) if self.rank is None else self.rank


class CaduceusNetwork(Backbone):
    """Ids (B, T) to hidden states (B, T, D), of 2 D channels for Caduceus-PS, whose second half is the other strand's.

    After `layer` blocks they are the next block's input without the residual; beneath the heads they
    are normalised.
    """

    config_class = CaduceusConfig

    complement: Tensor

    def __init__(self, config: CaduceusConfig) -> None:
        super().__init__()
        self.config = config
        self.strands = 2 if config.equivariant else 1
        self.hidden_size, self.num_layers = self.strands * config.width, config.layers
        self.embedding = SmallEmbedding(config.vocabulary, config.width, config.initial_std)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = _norm(config)
        if config.equivariant:
            self.register_buffer("complement", torch.tensor(config.complements))

    def forward(
        self, ids_BT: Tensor, mask_BT: Tensor | None = None, *, layer: int | None = None
    ) -> Tensor:
        """The hidden states after `layer` blocks, 0 for the embeddings."""
        hidden_RTD = self.embedding(self._strand_rows(ids_BT, complement=True))
        mask_RT = None if mask_BT is None or mask_BT.all() else self._strand_rows(mask_BT)
        depth = self.num_layers if layer is None else layer
        residual_RTD = torch.zeros_like(hidden_RTD)
        for block in self.layers[:depth]:
            residual_RTD = self._with_strands_exchanged(hidden_RTD + residual_RTD)
            hidden_RTD = block(residual_RTD, mask_RT)
        if depth == self.num_layers:
            hidden_RTD = self.norm(hidden_RTD + residual_RTD)
        return self._with_strands_as_channels(hidden_RTD)

    @property
    def token_embedding(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.embedding

    def lm_head(self, vocabulary: int) -> nn.Module:
        """The head for masked tokens has no values of its own: it decodes with the embeddings."""
        del vocabulary
        return nn.Identity()

    def lm_logits(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """The logits (..., V) of the hidden states (..., D or 2 D), the mean of the strands' up to a factor."""
        weight_VD, width = self.embedding.weight, self.config.width
        logits: Tensor = head(hidden[..., :width]) @ weight_VD.T
        if self.strands == 2:
            logits = logits + hidden[..., width:].flip(-1) @ weight_VD[self.complement].T
        return logits

    def classification_head(self, classes: int) -> nn.Module:
        """A head that gives a sequence and its reverse complement the same logits, for Caduceus-PS."""
        width = self.config.width
        return nn.Linear(width, classes) if self.strands == 1 else StrandMeanHead(width, classes)

    def _on_input_strand(self, gradient_BTV: Tensor) -> Tensor:
        """The sum of both strands' gradients, by tokens of the first."""
        if self.strands == 1:
            return gradient_BTV
        forward_BTV, reverse_BTV = gradient_BTV.chunk(2)
        return forward_BTV + reverse_BTV.flip(1)[..., self.complement]

    def _strand_rows(self, values_BT: Tensor, *, complement: bool = False) -> Tensor:
        """The tokens (or a mask) of each strand in its own orientation (R, T)."""
        if self.strands == 1:
            return values_BT
        reversed_BT = values_BT.flip(1)
        return torch.cat([values_BT, self.complement[reversed_BT] if complement else reversed_BT])

    def _with_strands_exchanged(self, sum_RTD: Tensor) -> Tensor:
        """The strands exchanged, each turned around with its channels, as the released code's fused branch does."""
        if self.strands == 1 or not self.config.fused_add_norm:
            return sum_RTD
        forward_BTD, reverse_BTD = sum_RTD.flip(1, 2).chunk(2)
        return torch.cat([reverse_BTD, forward_BTD])

    def _with_strands_as_channels(self, hidden_RTD: Tensor) -> Tensor:
        """The strands as halves of the channels, both in the order of the sequence."""
        if self.strands == 1:
            return hidden_RTD
        forward_BTD, reverse_BTD = hidden_RTD.chunk(2)
        return torch.cat([forward_BTD, reverse_BTD.flip(1, 2)], dim=2)


class StrandMeanHead(nn.Linear):
    """A linear layer on the mean of both strands' vectors, given as the halves (B, 2 D) of one."""

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """The logits (B, classes)."""
        forward_BD, reverse_BD = pooled_BD.chunk(2, dim=-1)
        return super().forward((forward_BD + reverse_BD.flip(-1)) / 2)


class Block(nn.Module):
    """The mixer's output for a normalised residual (R, T, D)."""

    def __init__(self, config: CaduceusConfig) -> None:
        super().__init__()
        self.norm = _norm(config)
        self.mixer = BiMamba(config)

    def forward(self, residual_RTD: Tensor, mask_RT: Tensor | None) -> Tensor:
        """(R, T, D)."""
        mixed_RTD: Tensor = self.mixer(self.norm(residual_RTD), mask_RT)
        return mixed_RTD


def _norm(config: CaduceusConfig) -> nn.Module:
    kind = nn.RMSNorm if config.rms_norm else nn.LayerNorm
    return kind(config.width, eps=config.eps)


class BiMamba(nn.Module):
    """Mamba along the sequence and against it (R, T, D), added up; the projections are shared if they are tied."""

    def __init__(self, config: CaduceusConfig) -> None:
        super().__init__()
        self.config = config
        directions = 2 if config.bidirectional else 1
        self.projections = nn.ModuleList(
            Projections(config) for _ in range(1 if config.tied_projections else directions)
        )
        self.directions = nn.ModuleList(Direction(config) for _ in range(directions))

    def forward(self, x_RTD: Tensor, mask_RT: Tensor | None = None) -> Tensor:
        """By blocks of time, the second direction from the end."""
        tokens = x_RTD.shape[1]
        size = tokens if torch.is_grad_enabled() else BLOCK_TOKENS
        outputs = [torch.empty_like(x_RTD) for _ in self.directions]
        states = None
        for first in range(0, tokens, max(1, size)):
            spans = list(self._spans(first, min(first + size, tokens), tokens))
            parts = [_oriented(x_RTD[:, span], n) for n, span in enumerate(spans)]
            masks = (
                []
                if mask_RT is None
                else [_oriented(mask_RT[:, s], n) for n, s in enumerate(spans)]
            )
            output_RTGD, states = self._read(parts, masks, states)
            for number, span in enumerate(spans):
                outputs[number][:, span] = _oriented(output_RTGD[:, :, number], number)
        if len(outputs) == 1:
            return outputs[0]
        return outputs[0] + outputs[1] if self.config.combine == "add" else outputs[0] * outputs[1]

    def _spans(self, first: int, end: int, tokens: int) -> Iterator[slice]:
        yield slice(first, end)
        if len(self.directions) == 2:
            yield slice(tokens - end, tokens - first)

    def _read(
        self, blocks: list[Tensor], masks: list[Tensor], previous: "MambaState | None"
    ) -> tuple[Tensor, "MambaState"]:
        """A block (R, T, D) of each direction to its output (R, T, G, D) and the state for the next block."""
        inputs = [p.inward(x) for p, x in zip(self._projection(), blocks, strict=True)]
        x_RTGE, gate_RTGE = torch.stack(inputs, dim=2).chunk(2, dim=-1)
        mask = torch.stack(masks, dim=2).unsqueeze(-1) if masks else None
        u_RTGE, conv_state = self._convolved(_masked(x_RTGE, mask), previous)
        y_RTGE, scan_state = self._scanned(_masked(u_RTGE, mask), previous)
        y_RTGE = y_RTGE * functional.silu(gate_RTGE)
        outward = [p.outward(y) for p, y in zip(self._projection(), y_RTGE.unbind(2), strict=True)]
        return torch.stack(outward, dim=2), MambaState(conv_state, scan_state)

    def _projection(self) -> Iterator["Projections"]:
        """Those of each direction."""
        tied = len(self.projections) == 1
        return (self.projections[0 if tied else n] for n in range(len(self.directions)))  # type: ignore[misc]

    def _convolved(self, x_RTGE: Tensor, previous: "MambaState | None") -> tuple[Tensor, Tensor]:
        """The causal depthwise convolution after the past inputs, and the past inputs of the next block."""
        x_RDT = x_RTGE.flatten(2).transpose(1, 2)
        past = None if previous is None else previous.conv_state
        u_RDT = correlate(x_RDT, self._stacked("conv_weight").flatten(0, 1).squeeze(1), past)
        if self.config.conv_bias:
            u_RDT = u_RDT + self._stacked("conv_bias").flatten().unsqueeze(1)
        u_RTGE = functional.silu(u_RDT).transpose(1, 2).reshape(x_RTGE.shape)
        return u_RTGE, last_tokens(x_RDT, self.config.kernel - 1, past)

    def _scanned(self, u_RTGE: Tensor, previous: "MambaState | None") -> tuple[Tensor, Tensor]:
        """The selective scan, with the skip D u."""
        states, rank = self.config.states, self.config.step_rank
        projected = torch.einsum("rtge,gfe->rtgf", u_RTGE, self._stacked("x_weight"))
        low_rank, b, c = torch.split(projected, [rank, states, states], dim=-1)
        delta = torch.einsum("rtgk,gek->rtge", low_rank, self._stacked("dt_weight"))
        delta = functional.softplus(delta + self._stacked("dt_bias"))
        steps = Steps(u_RTGE, delta, -self._stacked("a_log").exp(), b, c)
        y_RTGE, state = selective_scan(steps, None if previous is None else previous.scan_state)
        return y_RTGE + u_RTGE * self._stacked("skip"), state

    def _stacked(self, name: str) -> Tensor:
        return torch.stack([getattr(direction, name) for direction in self.directions])


@dataclass(frozen=True)
class MambaState:
    """The state between blocks of tokens: the last inputs of the convolution, and the state of the scan."""

    conv_state: Tensor
    scan_state: Tensor


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _oriented(values_RT: Tensor, direction: int) -> Tensor:
    return values_RT.flip(1) if direction else values_RT


class Projections(nn.Module):
    """Into a block's inner channels and their gates, and out of them."""

    def __init__(self, config: CaduceusConfig) -> None:
        super().__init__()
        self.inward = nn.Linear(config.width, 2 * config.inner, bias=config.projection_bias)
        self.outward = OutputProjection(config)


class OutputProjection(nn.Linear):
    """The last layer of a block, smaller the more blocks add up (GPT-2's initialisation)."""

    def __init__(self, config: CaduceusConfig) -> None:
        self.layers = config.layers
        super().__init__(config.inner, config.width, bias=config.projection_bias)

    def reset_parameters(self) -> None:
        """As a linear layer, divided by the root of the number of blocks."""
        super().reset_parameters()
        with torch.no_grad():
            self.weight /= math.sqrt(self.layers)


class Direction(nn.Module):
    """The parameters of one direction: convolution, step sizes, A, and the skip D."""

    MIN_STEP, MAX_STEP = 1e-3, 0.1  # step sizes at the beginning

    def __init__(self, config: CaduceusConfig) -> None:
        super().__init__()
        inner, rank = config.inner, config.step_rank
        self.conv_weight = nn.Parameter(torch.empty(inner, 1, config.kernel))
        if config.conv_bias:
            self.conv_bias = nn.Parameter(torch.empty(inner))
        self.x_weight = nn.Parameter(torch.empty(rank + 2 * config.states, inner))
        self.dt_weight = nn.Parameter(torch.empty(inner, rank))
        self.dt_bias = nn.Parameter(torch.empty(inner))
        self.a_log = nn.Parameter(torch.empty(inner, config.states))
        self.skip = nn.Parameter(torch.empty(inner))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As in Mamba: A = -1 ... -N, and step sizes even on a log scale."""
        inner, states = self.a_log.shape
        for weight, width in (
            (self.x_weight, inner),
            (self.conv_weight, self.conv_weight.shape[2]),
        ):
            nn.init.uniform_(weight, -(width**-0.5), width**-0.5)
        if hasattr(self, "conv_bias"):
            bound = self.conv_weight.shape[2] ** -0.5
            nn.init.uniform_(self.conv_bias, -bound, bound)
        bound = self.dt_weight.shape[1] ** -0.5
        nn.init.uniform_(self.dt_weight, -bound, bound)
        with torch.no_grad():
            low, high = math.log(self.MIN_STEP), math.log(self.MAX_STEP)
            size = torch.empty_like(self.dt_bias).uniform_(low, high).exp()
            self.dt_bias.copy_(size + torch.log(-torch.expm1(-size)))  # softplus of it is `size`
            self.a_log.copy_(torch.arange(1, states + 1, device=self.a_log.device).log())
            self.skip.fill_(1.0)
