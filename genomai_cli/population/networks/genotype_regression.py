"""Ridge regression of class indicators on genotypes, in closed form: a network of one linear layer.

All heads are regressed together (Hastie et al. 2009, section 3.4). With more sites than samples the solution is in the
dual, from the inner products of the samples (kernel ridge regression with the genomic relationship matrix, VanRaden
2008), so that no matrix of sites by sites is made. A vector holds a sample's coordinates along the directions that the
heads use, the strongest first, and then along the leading principal components. A site that is missing adds nothing,
and the sum is scaled up to the number of sites.

Shape suffixes: B and N samples, S sites, D width, C classes of all heads, E the smaller of samples and sites.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genomai_cli.alphabet import MISSING
from genomai_cli.backbones.base import Network
from genomai_cli.population.networks.genotype_likelihoods import surplus

NEGLIGIBLE = 1e-6  # of the strongest direction


@dataclass(frozen=True)
class GenotypeRegressionConfig:
    """Sizes of a `GenotypeRegression`, and the `penalty` for samples that have unit length on average."""

    sites: int
    width: int = 32
    penalty: float = 0.1


class GenotypeRegression(Network):
    """Copies of the alternate allele (B, S), -1 where missing, or likelihoods (B, S, 3), to vectors (B, D)."""

    config_class = GenotypeRegressionConfig
    reads_allele_counts = True
    reads_likelihoods = True
    fits_in_closed_form = True
    num_layers = 1
    frequency: Tensor
    weight: Tensor

    def __init__(self, config: GenotypeRegressionConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_size = config.width
        self.register_buffer("frequency", torch.full((config.sites,), 0.5))
        self.weight = nn.Parameter(torch.zeros(config.sites, config.width))

    def pooled(
        self, inputs: Tensor, mask_BT: Tensor | None = None, layer: int | None = None
    ) -> Tensor:
        """One vector a sample (B, D), at every layer."""
        del mask_BT, layer  # what is missing has -1 copies
        if inputs.dim() == 3:  # likelihoods of genotypes
            surplus_BS, known_BS = surplus(inputs, self.frequency)
        else:
            surplus_BS, known_BS = self._surplus(inputs), inputs >= 0
        known_B1 = known_BS.sum(1, keepdim=True).clamp(min=1)
        vectors_BD: Tensor = surplus_BS @ self.weight
        return vectors_BD * (self.config.sites / known_B1)

    def _surplus(self, copies_BS: Tensor) -> Tensor:
        """The copies beyond those expected, 0 where missing."""
        surplus_BS: Tensor = copies_BS.to(self.frequency.dtype) - 2 * self.frequency
        return surplus_BS.masked_fill_(copies_BS < 0, 0)

    @torch.no_grad()
    def solve(self, inputs: Tensor, labels: Mapping[str, Tensor]) -> None:
        """The regression of the labels of every head (N,), `MISSING` where unknown, on the samples' copies (N, S)."""
        known_S = (inputs >= 0).sum(0).clamp(min=1)
        self.frequency.copy_(inputs.clamp(min=0).sum(0) / (2 * known_S))
        x_NS = self._surplus(inputs)
        targets_NC, means = _indicators(labels, {n: h.out_features for n, h in self._heads})
        weight_SC, components_SD = _ridge(x_NS, targets_NC, self.config.penalty, self.hidden_size)
        values_C, rotation_CC = torch.linalg.eigh(weight_SC.T @ weight_SC)
        label_axes = min(self.hidden_size, int((values_C > NEGLIGIBLE * values_C.max()).sum()))
        rotation_CD = rotation_CC.flip(1)[:, :label_axes]
        self.weight.zero_()
        self.weight[:, :label_axes] = (weight_SC @ rotation_CD).to(self.weight.dtype)
        component_axes = min(self.hidden_size - label_axes, components_SD.shape[1])
        self.weight[:, label_axes : label_axes + component_axes] = components_SD[
            :, :component_axes
        ].to(self.weight.dtype)
        begin = 0
        for name, head in self._heads:
            head.weight.zero_()
            head.weight[:, :label_axes] = rotation_CD[begin : begin + head.out_features]
            head.bias.copy_(means[name])
            begin += head.out_features

    @property
    def _heads(self) -> list[tuple[str, nn.Linear]]:
        heads = self.heads
        return list(zip(heads.names, heads, strict=True))  # type: ignore[arg-type, union-attr]


def _indicators(
    labels: Mapping[str, Tensor], classes: Mapping[str, int]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The indicators (N, C) of all classes less their means, and the means by head; 0 for an unknown label."""
    columns, means = [], {}
    for head, count in classes.items():
        known_N = labels[head] != MISSING
        one_hot_NC = nn.functional.one_hot(labels[head].clamp(min=0), count).double()
        means[head] = one_hot_NC[known_N].mean(0)
        columns.append((one_hot_NC - means[head]) * known_N.unsqueeze(1))
    return torch.cat(columns, dim=1), means


def _ridge(x_NS: Tensor, y_NC: Tensor, penalty: float, width: int) -> tuple[Tensor, Tensor]:
    """Weights (S, C), and the leading principal axes (S, at most `width`), along which samples have unit variance."""
    samples, sites = x_NS.shape
    dual = samples < sites
    gram_EE = (x_NS @ x_NS.T if dual else x_NS.T @ x_NS).double()
    scale = float(x_NS.square().sum()) / samples
    values_E, vectors_EE = torch.linalg.eigh(gram_EE / max(scale, 1e-12))
    targets_EC = y_NC if dual else (x_NS.T.double() @ y_NC) / scale
    solved_EC = vectors_EE @ ((vectors_EE.T @ targets_EC) / (values_E + penalty).unsqueeze(1))
    leading_D = values_E.flip(0)[:width].clamp(min=NEGLIGIBLE)
    leading_ED = vectors_EE.flip(1)[:, :width] * (samples**0.5)
    if dual:
        primal = x_NS.T.double() @ torch.cat([solved_EC, leading_ED / leading_D], dim=1) / scale
        return primal[:, : y_NC.shape[1]], primal[:, y_NC.shape[1] :] * _signs(
            primal[:, y_NC.shape[1] :]
        )
    axes_SD = leading_ED / (scale * leading_D).sqrt()
    return solved_EC, axes_SD * _signs(axes_SD)


def _signs(axes_SD: Tensor) -> Tensor:
    """The sign of the largest entry of each axis: those of eigenvectors are arbitrary."""
    largest_1D = axes_SD.abs().argmax(0, keepdim=True)
    return axes_SD.gather(0, largest_1D).sign()
