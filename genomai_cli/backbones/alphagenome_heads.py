"""AlphaGenome's heads: tracks of assays, contact maps, splice sites, their usage and junctions, each organism its own.

A track's prediction is that of a network's scale, on which large values are compressed, and its inverse on the scale
of the experiment: in units of the track's mean over bins that are not zero (`track_means`). Tracks behind the last
real one fill a head up; their mean is 0, and so are they.

Shape suffixes: B sequences, T bases, N tokens of 128 bases, P bins of 2,048 bases, L positions, C channels, O tracks,
S splice sites of a kind, U tissues, J channels of a junction.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.alphagenome_layers import (
    TOKEN_BASES,
    AlphaGenomeConfig,
    OrganismLinear,
    rotary,
)

BASES = 1
ASSAYS: dict[str, tuple[int, ...]] = {  # and the resolutions of their tracks, in bases
    "atac": (BASES, TOKEN_BASES),
    "dnase": (BASES, TOKEN_BASES),
    "procap": (BASES, TOKEN_BASES),
    "cage": (BASES, TOKEN_BASES),
    "rna_seq": (BASES, TOKEN_BASES),
    "chip_tf": (TOKEN_BASES,),
    "chip_histone": (TOKEN_BASES,),
}
SQUASH_POWERS = {"rna_seq": 0.75}  # powers of the experiment's values
MIN_INITIAL_VALUE = 1e-4  # that a track begins with
INITIAL_GAIN = 0.1  # of fresh weights, so that tracks begin near their means
LINEAR_UP_TO = 10.0  # on the network's scale
SPLICE_SITE_CLASSES = (
    "pos_donor",
    "pos_acceptor",
    "neg_donor",
    "neg_acceptor",
)  # the classes of sites, in order
NO_SITE = -1  # fills the positions where there are fewer sites


class Embeddings(NamedTuple):
    """The inputs of the heads: of bases (B, C, T), of tokens (B, C, N), of pairs of bins (B, P, P, C)."""

    bases: Tensor
    tokens: Tensor
    pairs: Tensor


class AlphaGenomeHeads(nn.Module):
    """Embeddings to the outputs of every head that has tracks, by the released names.

    An assay has `predictions_1bp` and `predictions_128bp` (B, L, O) on the scale of the experiment, and the same
    `scaled_` to that of the network; `contact_maps` has `predictions` (B, P, P, O). `splice_sites_classification` has
    `logits` and `predictions` (B, T, 5) of donor and acceptor of the forward strand, of the other, and neither;
    `splice_sites_usage` the same of each tissue's; `splice_sites_junction` the counts (B, S, S, 2 U) of each pair of
    donor and acceptor, the forward strand first, with `splice_site_positions` (B, 4, S) and `splice_junction_mask`.
    """

    def __init__(self, config: AlphaGenomeConfig) -> None:
        super().__init__()
        tracks, count = config.tracks, config.organisms
        base_width = 2 * config.width
        widths = {BASES: base_width, TOKEN_BASES: 2 * config.trunk_width}
        self.assays = nn.ModuleDict(
            {
                name: TrackHead(name, {r: widths[r] for r in resolutions}, count, tracks[name])
                for name, resolutions in ASSAYS.items()
                if name in tracks
            }
        )
        self.contact_maps = self.splice_sites = self.splice_usage = self.splice_junctions = None
        if "contact_maps" in tracks:
            self.contact_maps = ContactMaps(count, config.pair_width, tracks["contact_maps"])
        if "splice_sites" in tracks:
            self.splice_sites = OrganismLinear(count, base_width, tracks["splice_sites"])
        if "splice_site_usage" in tracks:
            self.splice_usage = OrganismLinear(count, base_width, tracks["splice_site_usage"])
        if "splice_junctions" in tracks and "splice_sites" in tracks:
            self.splice_junctions = SpliceJunctions(config)

    @property
    def means(self) -> dict[str, Tensor]:
        """The means of each assay's tracks (organisms, O), 0 for padding columns."""
        return {name: head.track_means for name, head in self.assays.items()}  # type: ignore[misc]

    def initialize_track(self, head: str, organism: int, column: int, scaled: float) -> None:
        """Set a track's biases so that its values are about that on the network's scale."""
        assay: TrackHead = self.assays[head]  # type: ignore[assignment]
        for name, layer in assay.convs.items():
            size = functional.softplus(assay.residual_scales[name][organism, column])
            initial = max(scaled / float(size), MIN_INITIAL_VALUE)
            biases: Tensor = layer.bias  # type: ignore[assignment]
            biases[organism, column] = math.log(math.expm1(initial))

    @property
    def base_resolution_assays(self) -> frozenset[str]:
        """The assays with values of single bases."""
        return frozenset(name for name in self.assays if BASES in ASSAYS[name])

    def values_along_genome(
        self, head: str, embeddings: Embeddings, organism_B: Tensor, max_bin: int
    ) -> tuple[int, Tensor]:
        """The values of one base (B, L, O) along the genome that a head has, on the scale of the experiment or as
        probabilities, in the largest of its bins of at most so many bases, or else its smallest; with the size of
        the bin."""
        if head == "splice_sites" and self.splice_sites is not None:
            logits_BT5: Tensor = self.splice_sites(embeddings.bases, organism_B)
            return BASES, logits_BT5.softmax(2)
        if head == "splice_site_usage" and self.splice_usage is not None:
            usage_BTO: Tensor = self.splice_usage(embeddings.bases, organism_B)
            return BASES, usage_BTO.sigmoid()
        assay: TrackHead = self.assays[head]  # type: ignore[assignment]
        size = max((r for r in assay.resolutions if r <= max_bin), default=assay.resolutions[0])
        scaled_BLO = assay.scaled(embeddings, organism_B, size)
        return size, assay.to_experiment_scale(scaled_BLO, organism_B, size) / size

    def forward(self, embeddings: Embeddings, organism_B: Tensor) -> dict[str, dict[str, Tensor]]:
        """See the class."""
        found = {name: head(embeddings, organism_B) for name, head in self.assays.items()}
        if self.contact_maps is not None:
            found["contact_maps"] = {"predictions": self.contact_maps(embeddings.pairs, organism_B)}
        if self.splice_sites is not None:
            logits_BT5 = self.splice_sites(embeddings.bases, organism_B)
            outputs = {"logits": logits_BT5, "predictions": logits_BT5.softmax(2)}
            found["splice_sites_classification"] = outputs
        if self.splice_usage is not None:
            logits_BTO = self.splice_usage(embeddings.bases, organism_B)
            outputs = {"logits": logits_BTO, "predictions": logits_BTO.sigmoid()}
            found["splice_sites_usage"] = outputs
        if self.splice_junctions is not None:
            probabilities_BT5 = found["splice_sites_classification"]["predictions"]
            outputs = self.splice_junctions(embeddings.bases, probabilities_BT5, organism_B)
            found["splice_sites_junction"] = outputs
        return found


class TrackHead(nn.Module):
    """The tracks of an assay, for each resolution a linear layer of its own."""

    def __init__(self, assay: str, widths: Mapping[int, int], organisms: int, tracks: int) -> None:
        super().__init__()
        self.squash_power = SQUASH_POWERS.get(assay)
        self.convs = nn.ModuleDict(
            {
                f"{r}": OrganismLinear(organisms, width, tracks, INITIAL_GAIN)
                for r, width in widths.items()
            }
        )
        self.residual_scales = nn.ParameterDict(
            {f"{r}": nn.Parameter(torch.ones(organisms, tracks)) for r in widths}
        )
        self.track_means: Tensor
        self.register_buffer("track_means", torch.ones(organisms, tracks))

    def forward(self, embeddings: Embeddings, organism_B: Tensor) -> dict[str, Tensor]:
        """See `AlphaGenomeHeads`."""
        found = {}
        for name in self.convs:
            scaled_BLO = self.scaled(embeddings, organism_B, int(name))
            found[f"scaled_predictions_{name}bp"] = scaled_BLO
            found[f"predictions_{name}bp"] = self.to_experiment_scale(
                scaled_BLO, organism_B, int(name)
            )
        return found

    @property
    def resolutions(self) -> list[int]:
        """Bases of a bin, the smallest first."""
        return sorted(map(int, self.convs))

    def scaled(self, embeddings: Embeddings, organism_B: Tensor, resolution: int) -> Tensor:
        """The predictions (B, L, O) of the network's scale."""
        name = str(resolution)
        x_BCL = embeddings.bases if resolution == BASES else embeddings.tokens
        size_B1O = functional.softplus(self.residual_scales[name][organism_B]).unsqueeze(1)
        found_BLO: Tensor = functional.softplus(self.convs[name](x_BCL, organism_B)) * size_B1O
        return found_BLO

    def to_experiment_scale(
        self, scaled_BLO: Tensor, organism_B: Tensor, resolution: int
    ) -> Tensor:
        """The same on the scale of the experiment, summed over the bases of a bin."""
        means_BO = self.track_means[organism_B]
        return experiment_scale(scaled_BLO, means_BO, resolution, self.squash_power)

    def to_network_scale(self, values_BLO: Tensor, organism_B: Tensor) -> Tensor:
        """The mean values a base (B, L, O) of an experiment's bins on the network's scale."""
        means_B1O = self.track_means[organism_B].unsqueeze(1)
        return network_scale(values_BLO / means_B1O.clamp(min=1e-12), self.squash_power)


def network_scale(values: Tensor, squash_power: float | None = None) -> Tensor:
    """The inverse of `experiment_scale` for values in units of their mean; those below 0 count as 0."""
    values = values.clamp(min=0)
    if squash_power is not None:
        values = values**squash_power
    return torch.where(
        values > LINEAR_UP_TO, 2 * (LINEAR_UP_TO * values).sqrt() - LINEAR_UP_TO, values
    )


def experiment_scale(
    scaled_BLO: Tensor, means_BO: Tensor, resolution: int, squash_power: float | None = None
) -> Tensor:
    """The values (B, L, O) of an experiment, summed over the bases of a bin, from those of the network's scale.

    That is linear up to 10 and goes as a root from there on, after the values were divided by their mean and, where
    there is a `squash_power`, raised to it.
    """
    squared_BLO = (scaled_BLO + LINEAR_UP_TO).square() / (4 * LINEAR_UP_TO)
    found_BLO = torch.where(scaled_BLO > LINEAR_UP_TO, squared_BLO, scaled_BLO)
    if squash_power is not None:
        found_BLO = found_BLO ** (1 / squash_power)
    return found_BLO * (means_BO * resolution).unsqueeze(1)


class ContactMaps(nn.Module):
    """How often two bins of 2,048 bases meet, as each experiment has it."""

    def __init__(self, organisms: int, width: int, tracks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(organisms, width, tracks))
        self.bias = nn.Parameter(torch.zeros(organisms, tracks))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh values."""
        nn.init.normal_(self.weight, std=self.weight.shape[1] ** -0.5)

    def forward(self, pairs_BPPC: Tensor, organism_B: Tensor) -> Tensor:
        """(B, P, P, O)."""
        found = torch.einsum("bpqc,bco->bpqo", pairs_BPPC, self.weight[organism_B])
        return found + self.bias[organism_B][:, None, None]


class SpliceJunctions(nn.Module):
    """How many reads join each donor with each acceptor of its strand in a tissue, among the likeliest sites."""

    def __init__(self, config: AlphaGenomeConfig) -> None:
        super().__init__()
        count, width, tissues = config.organisms, config.junction_width, config.tracks
        self.max_sites, self.threshold = config.splice_sites, config.splice_threshold
        self.max_position = config.max_tokens * TOKEN_BASES
        self.tissues = config.tissues or [tissues["splice_junctions"]] * count
        self.conv = OrganismLinear(count, 2 * config.width, width)
        shape = count, 2, tissues["splice_junctions"], width
        self.rope_params = nn.ParameterDict(
            {site: nn.Parameter(torch.zeros(shape)) for site in SPLICE_SITE_CLASSES}
        )

    def forward(
        self, bases_BCT: Tensor, probabilities_BT5: Tensor, organism_B: Tensor
    ) -> dict[str, Tensor]:
        """See `AlphaGenomeHeads`."""
        positions_B4S = splice_site_positions(probabilities_BT5, self.max_sites, self.threshold)
        mask_BSSO = self._mask(positions_B4S >= 0, organism_B)
        count = int((positions_B4S >= 0).sum(2).max())  # of sites; what follows is masked
        counts_BSSO = self.counts(bases_BCT, positions_B4S[..., :count], organism_B)
        padding = self.max_sites - count
        counts_BSSO = functional.pad(counts_BSSO, (0, 0, 0, padding, 0, padding))
        return {
            "predictions": counts_BSSO.masked_fill(~mask_BSSO, 0.0),
            "splice_site_positions": positions_B4S,
            "splice_junction_mask": mask_BSSO,
        }

    def counts(self, bases_BCT: Tensor, positions_B4S: Tensor, organism_B: Tensor) -> Tensor:
        """The reads (B, S, S, 2 U) of each donor and acceptor at these positions, the forward strand first;
        meaningless where a position is -1."""
        positions_B1X = positions_B4S.clamp(min=0).flatten(1).unsqueeze(1)
        hidden_BCX = bases_BCT.gather(2, positions_B1X.expand(-1, bases_BCT.shape[1], -1))
        hidden_B4SJ = self.conv(hidden_BCX, organism_B).unflatten(1, positions_B4S.shape[1:])
        site_states = [
            self._tissue_states(site, hidden_B4SJ[:, n], positions_B4S[:, n], organism_B)
            for n, site in enumerate(SPLICE_SITE_CLASSES)
        ]
        counts = [
            functional.softplus(torch.einsum("bduj,bauj->bdau", donor, acceptor))
            for donor, acceptor in (site_states[:2], site_states[2:])
        ]
        return torch.cat(counts, dim=3)

    def _tissue_states(
        self, site: str, hidden_BSJ: Tensor, positions_BS: Tensor, organism_B: Tensor
    ) -> Tensor:
        """The hidden states of a kind of sites in each tissue (B, S, U, J), with rotary positions."""
        scale_BUJ, offset_BUJ = self.rope_params[site][organism_B].unbind(1)
        states_BSUJ = scale_BUJ.unsqueeze(1) * hidden_BSJ.unsqueeze(2) + offset_BUJ.unsqueeze(1)
        return rotary(states_BSUJ, positions_BS, self.max_position)

    def _mask(self, known_B4S: Tensor, organism_B: Tensor) -> Tensor:
        """Which pairs are of two sites, in a tissue of the organism: (B, S, S, 2 U)."""
        count = self.rope_params[SPLICE_SITE_CLASSES[0]].shape[2]
        tissues_B1 = torch.tensor(self.tissues, device=organism_B.device)[organism_B].unsqueeze(1)
        real_BU = torch.arange(count, device=organism_B.device) < tissues_B1
        pairs = [known_B4S[:, n].unsqueeze(2) & known_B4S[:, n + 1].unsqueeze(1) for n in (0, 2)]
        return torch.cat([pair.unsqueeze(3) & real_BU[:, None, None] for pair in pairs], dim=3)


def splice_site_positions(probabilities_BT5: Tensor, max_sites: int, threshold: float) -> Tensor:
    """The likeliest positions (B, 4, S) of each kind of site, ascending; where fewer than S = `max_sites` reach the
    threshold, -1 follows. Of equals the first are taken."""
    order_BT4 = probabilities_BT5[..., :4].sort(dim=1, descending=True, stable=True)
    likely_BS4 = order_BT4.values[:, :max_sites] >= threshold
    end = probabilities_BT5.shape[1]
    positions_BS4 = (
        order_BT4.indices[:, :max_sites].masked_fill(~likely_BS4, end).sort(dim=1).values
    )
    positions_BS4 = functional.pad(
        positions_BS4, (0, 0, 0, max_sites - positions_BS4.shape[1]), value=end
    )
    return positions_BS4.masked_fill(positions_BS4 == end, NO_SITE).transpose(1, 2)
