"""The registry of self-supervised objectives, and several of them weighted together as one module.

A new objective is one class as `base.Objective` describes it, its settings, and one entry in `OBJECTIVES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genomai_cli.nets.classifier import Classifier
from genomai_cli.objectives.base import Group, Material, Model, Objective
from genomai_cli.objectives.contrastive import Contrastive, ContrastiveSettings
from genomai_cli.objectives.masked import Masked, MaskedSettings


@dataclass(frozen=True)
class Kind:
    """An objective's class and that of its settings."""

    settings: type
    objective: Callable[[Any, Material], Objective]


OBJECTIVES: dict[str, Kind] = {
    "contrastive": Kind(ContrastiveSettings, Contrastive),
    "masked": Kind(MaskedSettings, Masked),
}


class Learner(nn.Module):
    """A classifier's first network with the companions of its objectives: views in, losses out.

    `weights` gives each objective's part in the sum.
    """

    weights: Tensor

    def __init__(
        self,
        classifier: Classifier,
        companions: Mapping[str, nn.Module],
        objectives: Mapping[Objective, float],
        group: Group,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.companions = nn.ModuleDict(companions)
        self.objectives = tuple(objectives)
        self.group = group
        weights = torch.tensor(list(objectives.values()), dtype=torch.float32)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, views: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """The loss (K,) of each of the K objectives, in their order and not weighted."""
        network, inputs = self.classifier.members[0], self.classifier.inputs
        losses = [
            objective.loss(
                Model(network, self.companions[objective.name], inputs),
                views[objective.name],
                self.group,
            )
            for objective in self.objectives
        ]
        return torch.stack(losses)
