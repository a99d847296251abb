"""Multinomial logistic regression on the variants of a genome: the field's baseline, attached to the networks.

A variant enters as its presence less its frequency, a site that is unknown as nothing. The fit is a convex problem, so
nothing is drawn, stopped early or tuned.

Shape suffixes: B genomes, N genomes to fit, S sites, V variants, P classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from genomai_cli.backbones.classifier import LIKELIHOOD
from genomai_cli.phylogeny.variant_network import VariantTable
from genomai_cli.training.minimisation import minimise

ITERATIONS = 150


@dataclass(frozen=True)
class RegressionSettings:
    """The logistic regression on variants attached to the networks: of which head, with what penalty on its weights."""

    head: str
    penalty: float = 1.0

    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {"penalty": (0, math.inf)}

    def config(self, nesting: Mapping[str, list[int]]) -> dict[str, Any]:
        """Its entry in a bundle's config."""
        return {"head": self.head, "nesting": dict(nesting)}


class VariantRegression(nn.Module):
    """Ids of bases (B, S) to the log odds (B, P) of the classes, up to a constant a genome."""

    name: ClassVar[str] = "regression"
    needs_float64: ClassVar[bool] = False

    weight: Tensor
    bias: Tensor

    def __init__(self, classes: int, sites: int, variants: int) -> None:
        super().__init__()
        self.table = VariantTable(sites, variants)
        self.register_buffer("weight", torch.zeros(variants, classes))
        self.register_buffer("bias", torch.zeros(classes))

    def scores(self, ids_BS: Tensor) -> dict[str, Tensor]:
        """The log odds (B, P) alone."""
        return self.fused(ids_BS)

    def fused(self, ids_BS: Tensor) -> dict[str, Tensor]:
        """The log odds (B, P) of every class."""
        return {LIKELIHOOD: self(ids_BS)}

    def forward(self, ids_BS: Tensor) -> Tensor:
        """The log odds of every class."""
        odds_BP: Tensor = self.table.centred_presence(ids_BS) @ self.weight + self.bias
        return odds_BP


def fit_regression(
    table: VariantTable, ids_NS: Tensor, classes_N: Tensor, count: int, *, penalty: float
) -> VariantRegression:
    """Multinomial logistic regression of the classes 0 ... `count` - 1 on the variants of the table.

    It minimises the summed cross-entropy plus half the `penalty` times the squared weights (Hastie et al. 2009,
    section 4.4; scikit-learn's C is 1 / `penalty`).
    """
    centred_NV = table.centred_presence(ids_NS).double()
    present_V = (centred_NV > 0).any(0)  # the others are collinear with the bias
    x_NV = centred_NV[:, present_V]
    weight_VP = torch.zeros(x_NV.shape[1], count, dtype=torch.float64, requires_grad=True)
    bias_P = torch.zeros(count, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        fit = cross_entropy(x_NV @ weight_VP + bias_P, classes_N, reduction="sum")
        return fit + 0.5 * penalty * weight_VP.square().sum()

    minimise([weight_VP, bias_P], loss, iterations=ITERATIONS, history=20)
    regression = VariantRegression(count, len(table.major), len(table.site))
    regression.table.load_state_dict(table.state_dict())
    regression.weight[present_V] = weight_VP.detach().float()
    regression.bias.copy_(bias_P.detach())
    return regression
