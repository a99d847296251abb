"""OmicsFUSION's design (bioRxiv 10.1101/2025.09.05.674329): DNA and the tracks over it, each restored from both.

Overlapping 6-mers and the values of all tracks at their first bases become vectors of one size, which a causal
convolution joins; Hyena operators (`hyenadna`) mix them; a head makes the logits of tracks, another those of tokens. No
code and no weights were published: sizes and joints that the paper leaves open are choices (docs/tracks.md), and
nothing is compared with an original.

A token's vector is the sum of one from a table and one for each of its six bases. With `factorised` the head for tokens
predicts six bases instead of one of 4,096 6-mers. Both are what makes small networks trainable in minutes, and so does
`direct`, which the paper does not have: a path from the known values of the tracks to their logits, past the network.

Shape suffixes: B sequences, T tokens, D hidden size, C tracks, V tokens of the vocabulary, K bases of a token, N chosen
tokens.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.base import Backbone, SmallEmbedding, gradient_at
from genomai_cli.backbones.hyenadna import STD, Block, HyenaDnaConfig, Linear
from genomai_cli.formats.track_table import Track

VALUES, KNOWN = "track_values", "track_known"  # the features (B, T, C)
NO_BASE = 4
INITIAL_LOGIT = -5.0  # the logit that tracks begin with: some 0.7 % of bases are in a peak
INITIAL_REACH = 256.0  # bases over which what was seen of a track fades to 1/e, at the beginning
BASES = 4


@dataclass(frozen=True)
class OmicsFusionConfig:
    """Sizes; `vocabulary` is that of `kmers` of k letters, the special tokens last; `tracks` C of values that are read
    and restored; `direct` adds `DirectTracks`; `bidirectional` lets tokens see later ones, which then reveal masked
    overlapping tokens."""

    vocabulary: int = 4099
    pad_id: int = 4096
    k: int = 6
    tracks: int = 1009
    width: int = 384
    layers: int = 8
    feed_forward: int = 1536
    positions: int = 65536
    convolution: int = 5
    filter_width: int = 64
    dropout: float = 0.0
    factorised: bool = False
    direct: bool = False
    bidirectional: bool = False

    def __post_init__(self) -> None:
        if self.vocabulary <= BASES**self.k:
            raise ValueError(f"vocabulary: more than the {BASES**self.k} words of {self.k} bases")
        if self.tracks < 1 or self.convolution < 1:
            raise ValueError("tracks and convolution: at least 1")

    @property
    def dna_tokens(self) -> int:
        """How many tokens spell DNA: the first ones, in alphabetical order."""
        return int(BASES**self.k)

    @property
    def blocks(self) -> HyenaDnaConfig:
        """The sizes of the Hyena blocks."""
        return HyenaDnaConfig(
            width=self.width,
            layers=self.layers,
            feed_forward=self.feed_forward,
            positions=self.positions,
            filter_width=self.filter_width,
            residual_dropout=self.dropout,
            operator_dropout=self.dropout,
        )


class OmicsFusionNetwork(Backbone):
    """Ids (B, T) and the features `track_values` and `track_known` (B, T, C) to hidden states (B, T, D).

    Values are from 0 to 1 and count only where known; without features no track is known anywhere. Padding belongs at
    the right. `track_logits` has those of the tracks, of the last hidden states and the features that these are of.
    Layer 0 is the joined embedding, n the hidden states after n blocks, the last one the final norm.
    """

    config_class = OmicsFusionConfig
    features_read = frozenset({VALUES, KNOWN})
    has_token_gradients = False
    restores_tracks = True
    causal = True  # unless it is bidirectional

    def __init__(self, config: OmicsFusionConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_size, self.num_layers = config.width, config.layers + 1
        self.max_length = config.positions
        self.causal = not config.bidirectional
        self.block_values = 1 << 23  # numbers of a block, see `hyenadna`
        self.embed = TokenEmbedding(config)
        width = config.width
        self.omics = nn.Sequential(
            nn.Linear(2 * config.tracks, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.GELU(),
            nn.Linear(width, width),
        )
        self.join = CausalConv(2 * width, width, config.convolution)
        self.layers = nn.ModuleList(Block(config.blocks) for _ in range(config.layers))
        self.backward_layers = nn.ModuleList(
            Block(config.blocks) for _ in range(config.layers if config.bidirectional else 0)
        )
        self.norm = nn.LayerNorm(width)
        self.track_head = TrackHead(width, config.tracks)
        self.direct = DirectTracks(config.tracks, config.bidirectional) if config.direct else None

    @classmethod
    def track_sizes(cls, tracks: Sequence[Track], tokens: Mapping[str, int]) -> dict[str, Any]:
        """See `Network`."""
        return {**tokens, "tracks": len(tracks)}

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        *,
        layer: int | None = None,
        features: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The hidden states after `layer` layers; the mask is for what reads backward, which begins with the last real
        token."""
        tokens_BTD = self.embed(ids_BT)
        hidden_BTD: Tensor = self.join(
            torch.cat([tokens_BTD, self._tracks(ids_BT, features)], dim=2)
        )
        for number, block in list(enumerate(self.layers))[:layer]:
            # a copy: blocks may work in place
            reversed_BTD = _reversed(hidden_BTD, mask_BT) if self.backward_layers else hidden_BTD
            hidden_BTD = block(hidden_BTD, self.block_values)
            for backward_block in self.backward_layers[number : number + 1]:
                backward_BTD = backward_block(reversed_BTD, self.block_values)
                hidden_BTD = (hidden_BTD + _reversed(backward_BTD, mask_BT)) / 2
        if layer is None or layer == self.num_layers:
            hidden_BTD = self.norm(hidden_BTD)
        return hidden_BTD

    def _tracks(self, ids_BT: Tensor, features: Mapping[str, Tensor] | None) -> Tensor:
        if features:
            values_BTC, known_BTC = self._masked_values(features)
        else:
            known_BTC = self.norm.weight.new_zeros(*ids_BT.shape, self.config.tracks)
            values_BTC = known_BTC
        tracks_BTD: Tensor = self.omics(torch.cat([values_BTC, known_BTC], dim=2))
        return tracks_BTD

    def _masked_values(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The values (B, T, C), 0 where not known, and 1 where known."""
        known_BTC = features[KNOWN].to(self.norm.weight)
        return features[VALUES].to(known_BTC).clamp(0, 1) * known_BTC, known_BTC

    def track_logits(
        self, hidden_BTD: Tensor, features: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The logits (B, T, C) of tracks being more than 0, of the last hidden states and the features they are of."""
        logits_BTC: Tensor = self.track_head(hidden_BTD)
        if self.direct is not None and features:
            logits_BTC = logits_BTC + self.direct(*self._masked_values(features))
        return logits_BTC

    def track_gradients(self, ids_BT: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
        """How fast a value of the tracks' logits (B, T, C), by DNA alone, rises with the indicator of each token of the
        vocabulary at each position: (B, T, V)."""
        gradient_BTD = gradient_at(self.embed, lambda: value(self.track_logits(self(ids_BT))))
        return gradient_BTD @ self.embed.vectors().T

    def lm_head(self, vocabulary: int) -> nn.Module:
        """A fresh head for tokens: a logit a token, or four for each of its bases."""
        del vocabulary
        config = self.config
        return Linear(config.width, BASES * config.k if config.factorised else config.dna_tokens)

    def lm_logits(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """The log-probabilities (..., dna_tokens) of tokens that spell DNA."""
        if not self.config.factorised:
            log_probabilities: Tensor = head(hidden).log_softmax(-1)
            return log_probabilities
        bases = self._bases(head, hidden)
        positions_K = torch.arange(self.config.k, device=hidden.device)
        summed: Tensor = bases[
            ..., positions_K, token_bases(self.config, hidden.device)[: self.config.dna_tokens]
        ].sum(-1)
        return summed

    def token_losses(self, head: nn.Module, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """-log of the probability (N,) of each token that spells DNA, in nats."""
        if not self.config.factorised:
            return functional.cross_entropy(head(hidden_ND).float(), targets_N, reduction="none")
        bases_NK4 = self._bases(head, hidden_ND)
        targets_NK1 = token_bases(self.config, hidden_ND.device)[targets_N].unsqueeze(2)
        losses_N: Tensor = -bases_NK4.gather(2, targets_NK1).squeeze(2).sum(1)
        return losses_N

    def likeliest_tokens(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """The id (...) of the token that is most probable."""
        if not self.config.factorised:
            ids: Tensor = head(hidden).argmax(-1)
            return ids
        powers_K = BASES ** torch.arange(self.config.k - 1, -1, -1, device=hidden.device)
        dna_ids: Tensor = (self._bases(head, hidden).argmax(-1) * powers_K).sum(-1)
        return dna_ids

    def _bases(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """The log-probabilities (..., K, 4) of each base of a token."""
        log_probabilities: Tensor = (
            head(hidden).float().unflatten(-1, (self.config.k, BASES)).log_softmax(-1)
        )
        return log_probabilities


def _reversed(x_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    """The real tokens in reverse order, padding behind them as before."""
    if mask_BT is None or mask_BT.all():
        return x_BTD.flip(1)
    length_B1 = mask_BT.sum(1, keepdim=True)
    position_T = torch.arange(x_BTD.shape[1], device=x_BTD.device)
    source_BT = torch.where(position_T < length_B1, length_B1 - 1 - position_T, position_T)
    return x_BTD.gather(1, source_BT.unsqueeze(2).expand_as(x_BTD))


def token_bases(config: OmicsFusionConfig, device: torch.device) -> Tensor:
    """The bases (V, K) of each token as numbers, 4 in special ones."""
    powers_K = BASES ** torch.arange(config.k - 1, -1, -1, device=device)
    ids_V1 = torch.arange(config.vocabulary, device=device).unsqueeze(1)
    return torch.where(ids_V1 < config.dna_tokens, ids_V1 // powers_K % BASES, NO_BASE)


class TokenEmbedding(nn.Module):
    """The sum of a token's vector and one for each of its bases by their offsets in it."""

    def __init__(self, config: OmicsFusionConfig) -> None:
        super().__init__()
        self.config = config
        self.table = SmallEmbedding(config.vocabulary, config.width, STD)
        self.bases = SmallEmbedding(config.k * (BASES + 1), config.width, STD)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """(B, T, D)."""
        return functional.embedding(ids_BT, self.vectors())

    def vectors(self) -> Tensor:
        """Those of all tokens (V, D)."""
        device = self.table.weight.device
        rows_K = torch.arange(self.config.k, device=device) * (BASES + 1)
        rows_VK = token_bases(self.config, device) + rows_K
        return self.table.weight + functional.embedding(rows_VK, self.bases.weight).sum(1)


class CausalConv(nn.Module):
    """A convolution over a token and those before it, plus a projection of the token alone."""

    def __init__(self, inputs: int, outputs: int, taps: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, taps)
        self.pointwise = nn.Linear(inputs, outputs)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """(B, T, outputs)."""
        left_padding = self.conv.kernel_size[0] - 1
        padded_BCT = functional.pad(x_BTC.transpose(1, 2), (left_padding, 0))
        convolved_BTD: Tensor = functional.gelu(self.conv(padded_BCT)).transpose(1, 2)
        joined_BTD: Tensor = convolved_BTD + self.pointwise(x_BTC)
        return joined_BTD


class DirectTracks(nn.Module):
    """The last known values of all tracks, as evidence for each: a linear map added to the deep network (wide and deep
    learning, Cheng et al. 2016, doi:10.1145/2988450.2988454) of values that fade with the distance to where they were
    seen (GRU-D, Che et al. 2018, doi:10.1038/s41598-018-24271-9); from the other side too if `bidirectional`."""

    def __init__(self, tracks: int, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.log_reach = nn.Parameter(torch.empty(tracks))
        self.weight = nn.Parameter(torch.empty(tracks, 3 * tracks * (1 + bidirectional)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Each track as it was seen last."""
        nn.init.constant_(self.log_reach, math.log(INITIAL_REACH))
        nn.init.zeros_(self.weight)
        with torch.no_grad():
            tracks, sides = len(self.log_reach), 1 + self.bidirectional
            for weight_CC in self.weight.chunk(sides, dim=1):
                weight_CC[:, :tracks].fill_diagonal_(-2 * INITIAL_LOGIT / sides)

    def forward(self, values_BTC: Tensor, known_BTC: Tensor) -> Tensor:
        """What is added to the logits (B, T, C)."""
        parts = [self._decayed_observations(values_BTC, known_BTC)]
        if self.bidirectional:
            parts.append(self._decayed_observations(values_BTC.flip(1), known_BTC.flip(1)).flip(1))
        return functional.linear(torch.cat(parts, dim=2), self.weight)

    def _decayed_observations(self, values_BTC: Tensor, known_BTC: Tensor) -> Tensor:
        """Of each track (B, T, 3 C): whether it was above 0 where it was last known, its value there, and whether it
        was known at all, all of them fading."""
        positions_T1 = torch.arange(values_BTC.shape[1], device=values_BTC.device).unsqueeze(1)
        last_BTC = torch.where(known_BTC > 0, positions_T1, -1).cummax(1).values
        value_BTC = values_BTC.gather(1, last_BTC.clamp(min=0))
        decay_BTC = torch.exp((last_BTC - positions_T1) / self.log_reach.exp()) * (last_BTC >= 0)
        return torch.cat([decay_BTC * (value_BTC > 0), decay_BTC * value_BTC, decay_BTC], dim=2)


class TrackHead(nn.Linear):
    """Logits of tracks, which begin rare."""

    def reset_parameters(self) -> None:
        """Fresh values."""
        nn.init.normal_(self.weight, std=STD)
        nn.init.constant_(self.bias, INITIAL_LOGIT)
