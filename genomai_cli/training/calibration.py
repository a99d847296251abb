"""Fits a fusion's weights on samples that the networks have not seen, at many levels of missingness."""

from dataclasses import dataclass

import torch
from torch import Tensor

from genomai_cli.backbones.classifier import Fusion
from genomai_cli.objectives.base import cross_entropy
from genomai_cli.training.minimisation import minimise

ITERATIONS = 200
STIFFNESS = 1e-4  # of the penalty on squared weights


@dataclass(frozen=True)
class HeldOut:
    """Scores of samples, each from networks that have not seen it, with their known shares and labels."""

    scores: dict[str, Tensor]
    share: Tensor
    labels: dict[str, Tensor]

    @classmethod
    def joined(cls, parts: list["HeldOut"]) -> "HeldOut":
        """All samples of all parts."""
        return cls(
            _concatenate([part.scores for part in parts]),
            torch.cat([part.share for part in parts]),
            _concatenate([part.labels for part in parts]),
        )


def calibrate(fusion: Fusion, held_out: HeldOut) -> float:
    """Set the weights to those that minimise the cross-entropy; returns it, in nats a sample."""
    fusion.double()
    weights: dict[str, Tensor] = {
        name: value.clone().requires_grad_() for name, value in fusion.named_buffers()
    }

    def loss() -> Tensor:
        logs = torch.func.functional_call(fusion, weights, (held_out.scores, held_out.share))
        penalty = sum(weight.square().sum() for weight in weights.values())
        return cross_entropy(logs, held_out.labels) + STIFFNESS * penalty

    minimise(list(weights.values()), loss, iterations=ITERATIONS)
    fusion.load_state_dict({name: weight.detach() for name, weight in weights.items()})
    with torch.no_grad():
        return float(loss())


def _concatenate(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
