"""AlphaGenome (Avsec et al. 2026, doi:10.1038/s41586-025-10014-0): DNA to tracks, through a U-Net around a transformer.

The encoder halves the sequence seven times, to tokens of 128 bases. The tower mixes tokens by attention; beside it
runs a stream of pairs of 2,048-base bins, made of the tokens and read as a bias by attention. The decoder doubles the
tokens back to bases, each time with the encoder's hidden states of that resolution (extended data figure 1). What the
heads read (`alphagenome_heads`) are embeddings of bases, of tokens and of pairs.

A sequence is a multiple of 2,048 bases long and is never filled up: N is read as no base, which is an answer of its
own. Each sequence is of an organism, the feature `organism_index`.

Shape suffixes: B sequences, T bases, N tokens of 128 bases, P bins of 2,048 bases, L positions at any resolution,
C channels, H heads, K channels of a head.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.alphagenome_heads import INITIAL_GAIN, AlphaGenomeHeads, Embeddings
from genomai_cli.backbones.alphagenome_layers import (
    LENGTH_MULTIPLE,
    TOKEN_BASES,
    AlphaGenomeConfig,
    RmsBatchNorm,
    RmsNorm,
    gelu,
)
from genomai_cli.backbones.alphagenome_tower import Tower
from genomai_cli.backbones.alphagenome_tracks import output_slots, sizes_of
from genomai_cli.backbones.base import Backbone
from genomai_cli.errors import UsageError
from genomai_cli.formats.track_table import Track

ORGANISM = "organism_index"  # the feature


class AlphaGenomeNetwork(Backbone):
    """Ids (B, T) of A, C, G, T as 0 to 3, any other for no base, to the embeddings of bases (B, T, D).

    `predict` gives the heads' outputs. There are no layers to choose from.
    """

    config_class = AlphaGenomeConfig
    has_token_gradients = False
    features_read = frozenset({ORGANISM})
    half_precision_stages = frozenset({"splice_sites_usage__predictions"})
    num_layers = 0
    predicts_tracks = True
    length_multiple = LENGTH_MULTIPLE

    def __init__(self, config: AlphaGenomeConfig) -> None:
        super().__init__()
        self.config = config
        width, trunk, count = config.width, config.trunk_width, config.organisms
        self.hidden_size, self.max_length = 2 * width, config.max_tokens * TOKEN_BASES
        self.encoder = Encoder(config)
        self.organism_embed = nn.Embedding(count, trunk)
        self.tower = Tower(config)
        self.decoder = Decoder(config)
        self.embedder_128bp = OutputEmbedder(trunk, 2 * trunk, count)
        self.embedder_1bp = OutputEmbedder(width, 2 * width, count, coarse=2 * trunk)
        self.embedder_pair = PairEmbedder(config.pair_width, count)
        self.tracks = AlphaGenomeHeads(config)

    @classmethod
    def track_sizes(cls, tracks: Sequence[Track], tokens: Mapping[str, int]) -> dict[str, Any]:
        """See `Network`; ids are those of bases, whatever the vocabulary."""
        del tokens
        return sizes_of(tracks)

    @torch.no_grad()
    def set_track_means(
        self, tracks: Sequence[Track], means: Sequence[float], nonzero_fractions: Sequence[float]
    ) -> None:
        """See `Network`; padding columns keep a mean of 0. Heads begin with the mean of all bases, and that of
        contact maps near the expected contacts by distance."""
        for buffer in self.tracks.means.values():
            buffer.zero_()
        for slot, mean, fraction in zip(
            output_slots(tracks), means, nonzero_fractions, strict=True
        ):
            if slot.head in self.tracks.means:
                self.tracks.means[slot.head][slot.organism, slot.column] = mean
                self.tracks.initialize_track(slot.head, slot.organism, slot.column, fraction)
        if self.tracks.contact_maps is not None:
            weight: Tensor = self.tracks.contact_maps.weight
            weight.mul_(INITIAL_GAIN)

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        *,
        layer: int | None = None,
        features: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The embeddings (B, T, D) of bases. Sequences that a mask makes shorter are read one by one, without
        their padding; UsageError for one that is no multiple of 2,048 bases long."""
        del layer
        organism_B = organisms(ids_BT, features)
        if mask_BT is None or mask_BT.all():
            return self.embeddings(ids_BT, organism_B).bases.transpose(1, 2)
        hidden_BTD = self.embedder_1bp.norm.bias.new_zeros(*ids_BT.shape, self.hidden_size)
        for row, real_T in enumerate(mask_BT):
            sequence = self.embeddings(ids_BT[row : row + 1, real_T], organism_B[row : row + 1])
            hidden_BTD[row, real_T] = sequence.bases[0].T
        return hidden_BTD

    def predict(
        self, ids_BT: Tensor, features: Mapping[str, Tensor] | None = None
    ) -> dict[str, dict[str, Tensor]]:
        """The outputs of every head by the released names, see `AlphaGenomeHeads`."""
        organism_B = organisms(ids_BT, features)
        found: dict[str, dict[str, Tensor]] = self.tracks(
            self.embeddings(ids_BT, organism_B), organism_B
        )
        return found

    def embeddings(
        self,
        ids_BT: Tensor,
        organism_B: Tensor,
        stages: dict[str, Tensor] | None = None,
        *,
        bases: bool | Tensor = True,
    ) -> Embeddings:
        """The inputs of the heads; the encoder's hidden states are put into `stages`. See `embed_one_hot`."""
        return self.embed_one_hot(self.one_hot(ids_BT), organism_B, stages, bases=bases)

    def one_hot(self, ids_BT: Tensor) -> Tensor:
        """The indicators (B, 4, T) of bases; UsageError for a length that is no multiple of 2,048."""
        if not ids_BT.shape[1] or ids_BT.shape[1] % LENGTH_MULTIPLE:
            raise UsageError(
                f"AlphaGenome reads multiples of {LENGTH_MULTIPLE:,} bases, not {ids_BT.shape[1]:,}, and fills nothing "
                "up: --window takes a multiple that is no longer than the sequence"
            )
        bases_4 = torch.arange(4, device=ids_BT.device)
        return (ids_BT.unsqueeze(1) == bases_4.unsqueeze(1)).to(self.organism_embed.weight)

    def embed_one_hot(
        self,
        one_hot_B4T: Tensor,
        organism_B: Tensor,
        stages: dict[str, Tensor] | None = None,
        *,
        bases: bool | Tensor = True,
    ) -> Embeddings:
        """The same of indicators of bases. With `bases` False there are none of these, for heads that do not read them,
        and with a mask (B,) of sequences only theirs: the decoder is the costly half."""
        x_BCN, skips = self.encoder(one_hot_B4T)
        if stages is not None:
            stages |= {f"enc_bin_size_{1 << n}": x.transpose(1, 2) for n, x in enumerate(skips)}
            stages["enc_trunk"] = x_BCN.transpose(1, 2)
        x_BNC = x_BCN.transpose(1, 2) + self.organism_embed(organism_B).unsqueeze(1)
        x_BNC, pairs_BPPC = self.tower(x_BNC)
        x_BCN = x_BNC.transpose(1, 2)
        tokens_BCN = self.embedder_128bp(x_BCN, organism_B)
        bases_BCT = x_BCN[..., :0]
        if bases is not False:
            selected = slice(None) if bases is True else bases
            hidden_BCT = self.decoder(x_BCN[selected], [skip[selected] for skip in skips])
            bases_BCT = self.embedder_1bp(hidden_BCT, organism_B[selected], tokens_BCN[selected])
        return Embeddings(bases_BCT, tokens_BCN, self.embedder_pair(pairs_BPPC, organism_B))

    def stages(self, ids_BT: Tensor, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Hidden states, embeddings (B, L, C) and the heads' outputs by the released names."""
        found: dict[str, Tensor] = {}
        organism_B = organisms(ids_BT, features)
        embeddings = self.embeddings(ids_BT, organism_B, found)
        found["embeddings_1bp"] = embeddings.bases.transpose(1, 2)
        found["embeddings_128bp"] = embeddings.tokens.transpose(1, 2)
        found["embeddings_pair"] = embeddings.pairs
        for head, outputs in self.tracks(embeddings, organism_B).items():
            found |= {f"{head}__{name}": value for name, value in outputs.items()}
        return found


def organisms(ids_BT: Tensor, features: Mapping[str, Tensor] | None) -> Tensor:
    """The organism (B,) of each sequence, by default the first, human."""
    if features is None or ORGANISM not in features:
        return ids_BT.new_zeros(len(ids_BT), dtype=torch.long)
    return features[ORGANISM].to(ids_BT.device, torch.long)


class StandardizedConv(nn.Module):
    """A convolution of weights that have mean 0 and variance 1 / fan-in for each output, times a scale."""

    def __init__(self, inputs: int, outputs: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, taps))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = nn.Parameter(torch.ones(outputs, 1, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh values."""
        nn.init.normal_(self.weight, std=self.weight[0].numel() ** -0.5)

    def forward(self, x_BCL: Tensor) -> Tensor:
        """(B, outputs, L)."""
        centred = self.weight - self.weight.mean((1, 2), keepdim=True)
        fan_in = self.weight[0].numel()
        variance = centred.square().mean((1, 2), keepdim=True)
        weight = centred * (torch.rsqrt((variance * fan_in).clamp(min=1e-4)) * self.scale)
        return functional.conv1d(x_BCL, weight, self.bias, padding="same")


class ConvBlock(nn.Module):
    """Norm, GELU, convolution; one of a single tap is not standardised."""

    def __init__(self, inputs: int, outputs: int, taps: int = 5) -> None:
        super().__init__()
        self.norm = RmsBatchNorm(inputs)
        self.conv = (
            nn.Conv1d(inputs, outputs, 1) if taps == 1 else StandardizedConv(inputs, outputs, taps)
        )

    def forward(self, x_BCL: Tensor) -> Tensor:
        """(B, outputs, L)."""
        found: Tensor = self.conv(gelu(self.norm(x_BCL)))
        return found


class DnaEmbedder(nn.Module):
    """One-hot bases (B, 4, T) to hidden states (B, C, T), each of fifteen bases and more."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(4, width, 15, padding="same")
        self.block = ConvBlock(width, width)

    def forward(self, one_hot_B4T: Tensor) -> Tensor:
        """(B, C, T)."""
        x_BCT: Tensor = self.conv1(one_hot_B4T)
        found: Tensor = x_BCT + self.block(x_BCT)
        return found


class DownBlock(nn.Module):
    """Two residual convolutions, of which the first adds channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block1, self.block2 = ConvBlock(inputs, outputs), ConvBlock(outputs, outputs)

    def forward(self, x_BCL: Tensor) -> Tensor:
        """(B, outputs, L)."""
        y_BCL: Tensor = self.block1(x_BCL)
        y_BCL = y_BCL + functional.pad(x_BCL, (0, 0, 0, y_BCL.shape[1] - x_BCL.shape[1]))
        found: Tensor = y_BCL + self.block2(y_BCL)
        return found


class Encoder(nn.Module):
    """One-hot bases (B, 4, T) to tokens (B, C, N), and the hidden states at each resolution, from bases on."""

    def __init__(self, config: AlphaGenomeConfig) -> None:
        super().__init__()
        widths = config.channels
        self.dna_embedder = DnaEmbedder(config.width)
        self.down_blocks = nn.ModuleList(map(DownBlock, widths, widths[1:]))

    def forward(self, one_hot_B4T: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See the class."""
        skips = [self.dna_embedder(one_hot_B4T)]
        for block in self.down_blocks:
            skips.append(block(functional.max_pool1d(skips[-1], 2)))
        return functional.max_pool1d(skips[-1], 2), skips


class UpBlock(nn.Module):
    """Doubles the resolution and adds the encoder's hidden states of it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_in = ConvBlock(inputs, outputs)
        self.residual_scale = nn.Parameter(torch.ones(1))
        self.pointwise = ConvBlock(outputs, outputs, taps=1)
        self.conv_out = ConvBlock(outputs, outputs)

    def forward(self, x_BCL: Tensor, skip_BCL: Tensor) -> Tensor:
        """(B, outputs, 2 L)."""
        y_BCL = self.conv_in(x_BCL) + x_BCL[:, : skip_BCL.shape[1]]
        y_BCL = y_BCL.repeat_interleave(2, 2) * self.residual_scale + self.pointwise(skip_BCL)
        found: Tensor = y_BCL + self.conv_out(y_BCL)
        return found


class Decoder(nn.Module):
    """Tokens (B, C, N) and the encoder's hidden states at each resolution to hidden states (B, C, T) of bases."""

    def __init__(self, config: AlphaGenomeConfig) -> None:
        super().__init__()
        widths = config.channels[::-1]
        self.up_blocks = nn.ModuleList(map(UpBlock, [config.trunk_width, *widths], widths))

    def forward(self, x_BCL: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """See the class."""
        for block, skip_BCL in zip(self.up_blocks, reversed(skips), strict=True):
            x_BCL = block(x_BCL, skip_BCL)
        return x_BCL


class OutputEmbedder(nn.Module):
    """Hidden states (B, C, L) to the heads' embeddings, with an embedding of the organism; `coarse` channels of the
    embeddings at a lower resolution are added, each to its positions."""

    def __init__(self, inputs: int, outputs: int, organisms: int, coarse: int = 0) -> None:
        super().__init__()
        self.project_in = nn.Conv1d(inputs, outputs, 1)
        self.project_skip = nn.Conv1d(coarse, outputs, 1, bias=False) if coarse else None
        self.norm = RmsBatchNorm(outputs)
        self.organism_embed = nn.Embedding(organisms, outputs)

    def forward(
        self, x_BCL: Tensor, organism_B: Tensor, coarse_BCN: Tensor | None = None
    ) -> Tensor:
        """(B, outputs, L)."""
        y_BCL = self.project_in(x_BCL)
        if self.project_skip is not None and coarse_BCN is not None:
            skip_BCN = self.project_skip(coarse_BCN)
            y_BCL = y_BCL + skip_BCN.repeat_interleave(x_BCL.shape[2] // coarse_BCN.shape[2], 2)
        return gelu(self.norm(y_BCL) + self.organism_embed(organism_B).unsqueeze(2))


class PairEmbedder(nn.Module):
    """Pairs (B, P, P, C) to the heads' embeddings, the same for either order of a pair."""

    def __init__(self, width: int, organisms: int) -> None:
        super().__init__()
        self.norm = RmsNorm(width)
        self.organism_embed = nn.Embedding(organisms, width)

    def forward(self, pairs_BPPC: Tensor, organism_B: Tensor) -> Tensor:
        """(B, P, P, C)."""
        even_BPPC = self.norm((pairs_BPPC + pairs_BPPC.transpose(1, 2)) / 2)
        return gelu(even_BPPC + self.organism_embed(organism_B)[:, None, None])
