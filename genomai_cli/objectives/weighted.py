"""The registry of self-supervised objectives, and several of them weighted together as one module.

A new objective is one class as `base.Objective` describes it, its settings, and one entry in `OBJECTIVES`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genomai_cli.nets.classifier import Classifier
from genomai_cli.objectives import contrastive, crossmodal, diffusion, masked
from genomai_cli.objectives.base import Alone, Alphabet, Group, Model, Objective
from genomai_cli.objectives.contrastive import Contrastive, ContrastiveSettings
from genomai_cli.objectives.crossmodal import Crossmodal, CrossmodalSettings
from genomai_cli.objectives.diffusion import Diffusion, DiffusionSettings
from genomai_cli.objectives.masked import Masked, MaskedSettings


@dataclass(frozen=True)
class Kind:
    """An objective's class and that of its settings, with the least and the largest value of each."""

    settings: type
    objective: Callable[[Any, Alphabet], Objective]
    limits: Mapping[str, tuple[float, float]]


OBJECTIVES: dict[str, Kind] = {
    "contrastive": Kind(ContrastiveSettings, Contrastive, contrastive.LIMITS),
    "masked": Kind(MaskedSettings, Masked, masked.LIMITS),
    "diffusion": Kind(DiffusionSettings, Diffusion, diffusion.LIMITS),
    "crossmodal": Kind(CrossmodalSettings, Crossmodal, crossmodal.LIMITS),
}


def check_objective(name: str, weight: object) -> None:
    """ValueError unless there is such an objective and its weight is a positive number."""
    if name not in OBJECTIVES:
        raise ValueError(f"no objective {name!r} (there are: {', '.join(OBJECTIVES)})")
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 < float(weight) < math.inf:  # type: ignore[arg-type]
        raise ValueError(f"objectives.{name} is a weight above 0, not {weight!r}")


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
        """The loss (K,) of each of the K objectives, in their order and not weighted.

        While it learns, the views are this process's part of the group's batch; otherwise they are a batch by
        themselves.
        """
        group = self.group if self.training else Alone()
        network, inputs = self.classifier.members[0], self.classifier.inputs
        losses = [
            objective.loss(
                Model(network, self.companions[objective.name], inputs),
                views[objective.name],
                group,
            )
            for objective in self.objectives
        ]
        return torch.stack(losses)
