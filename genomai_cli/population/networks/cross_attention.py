"""Multi-head attention that returns its weights, for networks whose attention is inspected.

Shape suffixes: Q queries, M positions of the memory, D width, H heads, C channels of a head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FEED = 2  # the hidden layer of a block is so many times as wide as its states


class Attention(nn.Module):
    """Scaled dot-product attention with `heads` heads (Vaswani et al. 2017, arXiv:1706.03762, section 3.2).

    With `strengths`, one a head, it can be given a bias on the logits; a strength is what the bias is multiplied by at
    first, and trained.
    """

    def __init__(self, width: int, heads: int, strengths: Sequence[float] | None = None) -> None:
        super().__init__()
        if width % heads:
            raise TypeError(f"a width of {width} cannot be shared by {heads} heads")
        self.heads = heads
        self.query_norm, self.memory_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.strengths = strengths
        if strengths is not None:
            self.log_strength = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The first strengths; the layers draw their own values."""
        if self.strengths is not None:
            with torch.no_grad():
                self.log_strength.copy_(torch.tensor(self.strengths).log())

    def forward(
        self,
        queries: Tensor,
        memory: Tensor,
        known: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What the queries (..., Q, D) find in the memory (..., M, D): (..., Q, D), and the weights (..., H, Q, M).

        `known` (..., M) is False at padded positions; where all are, nothing is found. `bias` (..., Q, M) is added to
        the logits, times the heads' strengths.
        """
        query, seen = self.query_norm(queries), self.memory_norm(memory)
        query_HQC = self._split(self.query(query))
        key_HMC, value_HMC = self._split(self.key(seen)), self._split(self.value(seen))
        logits_HQM = query_HQC @ key_HMC.transpose(-1, -2) * query_HQC.shape[-1] ** -0.5
        if bias is not None:
            logits_HQM = logits_HQM + self.log_strength.exp()[:, None, None] * bias[..., None, :, :]
        if known is not None:
            masked = ~known[..., None, None, :]
            logits_HQM = logits_HQM.masked_fill(masked, torch.finfo(logits_HQM.dtype).min)
        weights_HQM = logits_HQM.softmax(-1)
        if known is not None:
            weights_HQM = weights_HQM.masked_fill(masked, 0)
        found = (weights_HQM @ value_HMC).transpose(-2, -3).flatten(-2)
        out: Tensor = self.out(found)
        return out, weights_HQM

    def _split(self, states: Tensor) -> Tensor:
        """(..., Q, D) to (..., H, Q, C)."""
        return states.reshape(*states.shape[:-1], self.heads, -1).transpose(-2, -3)


class Block(nn.Module):
    """A layer of a transformer that attends to the other side: pre-norm, residual."""

    def __init__(self, width: int, heads: int, strengths: Sequence[float] | None = None) -> None:
        super().__init__()
        self.attention = Attention(width, heads, strengths)
        self.forward_norm = nn.LayerNorm(width)
        self.feed = feed_forward(width)

    def forward(
        self,
        states: Tensor,
        memory: Tensor,
        known: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The next states (..., Q, D), and how they attend to the memory (..., M, D), by head: see `Attention`."""
        found, weights = self.attention(states, memory, known, bias)
        states = states + found
        return states + self.feed(self.forward_norm(states)), weights


def feed_forward(width: int) -> nn.Module:
    """The two layers that follow attention, position by position."""
    return nn.Sequential(nn.Linear(width, FEED * width), nn.GELU(), nn.Linear(FEED * width, width))
