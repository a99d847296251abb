"""AlphaGenome's tower: attention among tokens of 128 bases, with a bias from a stream of pairs of 2,048-base bins.

In every other block the stream is given the tokens, a bin their mean: products of queries and keys, and of both with
features of the distance (Dai et al. 2019, arXiv:1901.02860), as channels of a pair; then attention along its rows and
an MLP. Queries of all heads share one key and one value (Shazeer 2019, arXiv:1911.02150); logits are capped by a tanh.

Shape suffixes: B sequences, N tokens, P bins, Q some of the tokens, C channels, H heads, K channels of a head, F
features of a distance.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.alphagenome_layers import (
    BIN_TOKENS,
    AlphaGenomeConfig,
    RmsBatchNorm,
    RmsNorm,
    geometric,
    rotary,
)

LOGIT_CAP = 5.0
MAX_LOGITS = 1 << 26  # logits that are held at once
INITIAL_STD = 1e-6  # fresh weights of what adds to hidden states


class Tower(nn.Module):
    """Tokens (B, N, C) to tokens, and to pairs (B, P, P, C) of bins."""

    def __init__(self, config: AlphaGenomeConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TowerBlock(config, n % 2 == 0) for n in range(config.blocks))

    def forward(self, x_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        pairs_BPPC: Tensor | None = None
        for block in self.blocks:
            x_BNC, pairs_BPPC = block(x_BNC, pairs_BPPC)
        assert pairs_BPPC is not None
        return x_BNC, pairs_BPPC


class TowerBlock(nn.Module):
    """Attention and an MLP, each added to the tokens; with `updates` the pairs are updated from the tokens first."""

    def __init__(self, config: AlphaGenomeConfig, updates: bool) -> None:
        super().__init__()
        self.pair_update = PairUpdate(config) if updates else None
        self.attn_bias = AttentionBias(config.pair_width, config.heads)
        self.mha = Attention(config)
        self.mlp = Mlp(config.trunk_width)

    def forward(self, x_BNC: Tensor, pairs_BPPC: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The tokens and the pairs."""
        if self.pair_update is not None:
            pairs_BPPC = self.pair_update(x_BNC, pairs_BPPC)
        x_BNC = x_BNC + self.mha(x_BNC, self.attn_bias(pairs_BPPC))
        return x_BNC + self.mlp(x_BNC), pairs_BPPC


class AttentionBias(nn.Module):
    """Pairs (B, P, P, C) to what they add to the logits (B, H, P, P) of each head, at first nothing."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = RmsBatchNorm(width, channels_last=True)
        self.proj = NearZeroLinear(width, heads, bias=False, std=0.0)

    def forward(self, pairs_BPPC: Tensor) -> Tensor:
        """(B, H, P, P)."""
        active_BPPC = functional.gelu(self.norm(pairs_BPPC), approximate="tanh")
        bias_BHPP: Tensor = self.proj(active_BPPC).movedim(3, 1)
        return bias_BHPP


class Attention(nn.Module):
    """Multi-query attention with rotary positions; keys, values and queries are normalised."""

    def __init__(self, config: AlphaGenomeConfig) -> None:
        super().__init__()
        width, self.heads, self.max_position = config.trunk_width, config.heads, config.max_tokens
        self.norm = RmsBatchNorm(width, channels_last=True)
        self.q_proj = nn.Linear(width, config.heads * config.key_size, bias=False)
        self.k_proj = nn.Linear(width, config.key_size, bias=False)
        self.v_proj = nn.Linear(width, config.value_size, bias=False)
        self.norm_q, self.norm_k = nn.LayerNorm(config.key_size), nn.LayerNorm(config.key_size)
        self.norm_v = nn.LayerNorm(config.value_size)
        self.linear_embedding = NearZeroLinear(config.heads * config.value_size, width)
        self.final_norm = RmsBatchNorm(width, channels_last=True)

    def forward(self, x_BNC: Tensor, bias_BHPP: Tensor) -> Tensor:
        """(B, N, C)."""
        h_BNC = self.norm(x_BNC)
        query_BNHK = self.norm_q(self.q_proj(h_BNC).unflatten(2, (self.heads, -1)))
        key_BN1K = self.norm_k(self.k_proj(h_BNC)).unsqueeze(2)
        value_BNK = self.norm_v(self.v_proj(h_BNC))
        positions_1N = torch.arange(x_BNC.shape[1], device=x_BNC.device).unsqueeze(0)
        query_BNHK = (
            rotary(query_BNHK, positions_1N, self.max_position) * query_BNHK.shape[-1] ** -0.5
        )
        key_BNK = rotary(key_BN1K, positions_1N, self.max_position).squeeze(2)
        mixed_BNC = _attention(query_BNHK, key_BNK, value_BNK, bias_BHPP).flatten(2)
        found: Tensor = self.final_norm(self.linear_embedding(mixed_BNC))
        return found


def _attention(query_BNHK: Tensor, key_BNK: Tensor, value_BNK: Tensor, bias_BHPP: Tensor) -> Tensor:
    """The attention output (B, N, H, K), some bins of queries at a time."""
    batch, tokens, heads, _ = query_BNHK.shape
    bins_per_step = max(1, MAX_LOGITS // (batch * heads * tokens * BIN_TOKENS))
    found = []
    for start in range(0, bias_BHPP.shape[2], bins_per_step):
        query_BQHK = query_BNHK[:, start * BIN_TOKENS : (start + bins_per_step) * BIN_TOKENS]
        bias_BHPN = bias_BHPP[:, :, start : start + bins_per_step].repeat_interleave(BIN_TOKENS, 3)
        logits_BHQN = torch.einsum("bqhk,bnk->bhqn", query_BQHK, key_BNK)
        logits_BHQN = logits_BHQN + bias_BHPN.repeat_interleave(BIN_TOKENS, 2)
        weights_BHQN = (LOGIT_CAP * torch.tanh(logits_BHQN / LOGIT_CAP)).softmax(3)
        found.append(torch.einsum("bhqn,bnk->bqhk", weights_BHQN, value_BNK))
    return torch.cat(found, dim=1)


class Mlp(nn.Module):
    """A hidden layer of twice the channels, between norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RmsBatchNorm(width, channels_last=True)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), NearZeroLinear(2 * width, width)
        self.final_norm = RmsBatchNorm(width, channels_last=True)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """(B, N, C)."""
        found: Tensor = self.final_norm(self.fc2(self.fc1(self.norm(x_BNC)).relu()))
        return found


class PairUpdate(nn.Module):
    """The pairs (B, P, P, C) updated from the tokens, and mixed along their rows."""

    def __init__(self, config: AlphaGenomeConfig) -> None:
        super().__init__()
        self.seq2pair = SequenceToPair(config)
        self.row_attn = RowAttention(config.pair_width)
        self.pair_mlp = PairMlp(config.pair_width)

    def forward(self, x_BNC: Tensor, pairs_BPPC: Tensor | None) -> Tensor:
        """(B, P, P, C); without pairs they begin."""
        y_BPPC: Tensor = self.seq2pair(x_BNC)
        y_BPPC = y_BPPC if pairs_BPPC is None else pairs_BPPC + y_BPPC
        y_BPPC = y_BPPC + self.row_attn(y_BPPC)
        found: Tensor = y_BPPC + self.pair_mlp(y_BPPC)
        return found


class SequenceToPair(nn.Module):
    """Tokens (B, N, C) to pairs (B, P, P, C): products of queries and keys, half of the products of either
    with the distance, and a sum of projections of both bins."""

    def __init__(self, config: AlphaGenomeConfig) -> None:
        super().__init__()
        width, heads, size = config.trunk_width, config.pair_heads, config.pair_key_size
        self.heads, self.distances = heads, config.distances
        self.max_position = config.max_tokens // BIN_TOKENS
        self.norm_seq2pair = RmsNorm(width)
        self.linear_q = nn.Linear(width, heads * size, bias=False)
        self.linear_k = nn.Linear(width, heads * size, bias=False)
        self.linear_pos_features = nn.Linear(2 * config.distances, heads * size)
        self.q_r_bias = nn.Parameter(torch.empty(1, 1, heads, size))
        self.k_r_bias = nn.Parameter(torch.empty(1, 1, heads, size))
        self.linear_y_q = nn.Linear(width, config.pair_width, bias=False)
        self.linear_y_k = nn.Linear(width, config.pair_width, bias=False)
        self.linear_pair = nn.Linear(heads, config.pair_width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh biases."""
        for bias in (self.q_r_bias, self.k_r_bias):
            nn.init.normal_(bias, std=(2 / bias.shape[2]) ** 0.5)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """(B, P, P, C): rows are the queries' bins."""
        x_BPC = self.norm_seq2pair(
            x_BNC.reshape(len(x_BNC), -1, BIN_TOKENS, x_BNC.shape[2]).mean(2)
        )
        query_BPHK, key_BPHK = (
            layer(x_BPC).unflatten(2, (self.heads, -1)) for layer in (self.linear_q, self.linear_k)
        )
        features_LF = distance_features(x_BPC.shape[1], self.distances, self.max_position)
        distances_LHK = self.linear_pos_features(features_LF.to(x_BPC)).unflatten(
            1, (self.heads, -1)
        )
        products_BHPP = torch.einsum("bqhc,bkhc->bhqk", query_BPHK, key_BPHK)
        query_distance_BHPP = _by_distance(query_BPHK + self.q_r_bias, distances_LHK)
        key_distance_BHPP = _by_distance(key_BPHK + self.k_r_bias, distances_LHK).transpose(2, 3)
        products_BHPP = products_BHPP + 0.5 * (query_distance_BHPP + key_distance_BHPP)
        active_BPC = functional.gelu(x_BPC, approximate="tanh")
        sum_BPPC = self.linear_y_q(active_BPC).unsqueeze(2) + self.linear_y_k(active_BPC)[:, None]
        pairs_BPPC: Tensor = self.linear_pair(products_BHPP.movedim(1, 3)) + sum_BPPC
        return pairs_BPPC


def _by_distance(x_BPHK: Tensor, distances_LHK: Tensor) -> Tensor:
    """The products (B, H, P, P) of each bin, its row, with the encoding of the distance to every other bin."""
    bins = x_BPHK.shape[1]
    products_BHPL = torch.einsum("bphk,lhk->bhpl", x_BPHK, distances_LHK)
    bins_P = torch.arange(bins, device=x_BPHK.device)
    offsets_PP = bins_P - bins_P.unsqueeze(1) + bins
    return products_BHPL.gather(3, offsets_PP.expand(*products_BHPL.shape[:2], -1, -1))


def distance_features(bins: int, count: int, max_distance: int) -> Tensor:
    """The features (2 P, 2 F) of the distances -P to P - 1: whether each is below a number of bins, of which there
    are `count` up to about `max_position`, ever further apart; and the same with the distance's sign."""
    distances_L = torch.arange(-bins, bins, dtype=torch.float64)
    widths_F = torch.arange(count) + geometric(max_distance - count + 1, count, count)
    near_LF = (widths_F > distances_L.abs().unsqueeze(1)).double()
    return torch.cat([near_LF, distances_L.sign().unsqueeze(1) * near_LF], dim=1)


class RowAttention(nn.Module):
    """Attention of the pairs (B, P, P, C) of a row to each other, with one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RmsNorm(width)
        self.linear_q = nn.Linear(width, width, bias=False)
        self.linear_k = nn.Linear(width, width, bias=False)
        self.linear_v = NearZeroLinear(width, width)

    def forward(self, pairs_BPPC: Tensor) -> Tensor:
        """(B, P, P, C)."""
        x_BPPC = self.norm(pairs_BPPC)
        query, key, value = (
            layer(x_BPPC) for layer in (self.linear_q, self.linear_k, self.linear_v)
        )
        return functional.scaled_dot_product_attention(query, key, value)


class PairMlp(nn.Module):
    """A hidden layer of twice the channels, behind a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RmsNorm(width)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), NearZeroLinear(2 * width, width)

    def forward(self, pairs_BPPC: Tensor) -> Tensor:
        """(B, P, P, C)."""
        found: Tensor = self.linear2(self.linear1(self.norm(pairs_BPPC)).relu())
        return found


class NearZeroLinear(nn.Linear):
    """A linear layer whose weights begin near zero, or with `std` 0 at zero."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, std: float = INITIAL_STD
    ) -> None:
        self.std = std
        super().__init__(inputs, outputs, bias=bias)

    def reset_parameters(self) -> None:
        """Fresh values."""
        nn.init.normal_(self.weight, std=self.std)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
