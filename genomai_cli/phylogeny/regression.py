"""Multinomial logistic regression on the variants of a genome: the field's baseline, attached to the networks.

A variant enters as its presence less its frequency, a site that is unknown as nothing.

Shape suffixes: B genomes, S sites, V variants, P classes.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from genomai_cli.backbones.classifier import LIKELIHOOD
from genomai_cli.phylogeny.variant_network import VariantTable


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
        return {LIKELIHOOD: self.log_odds(ids_BS)}

    def log_odds(self, ids_BS: Tensor) -> Tensor:
        """The log odds (B, P) of every class."""
        odds_BP: Tensor = self(ids_BS)
        return odds_BP

    def forward(self, ids_BS: Tensor) -> Tensor:
        """The log odds of every class."""
        odds_BP: Tensor = self.table.surplus(ids_BS) @ self.weight + self.bias
        return odds_BP
