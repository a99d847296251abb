"""Adaptation of another model's network: all of it is trained, its heads alone, or low-rank changes.

LoRA (Hu et al. 2022, arXiv:2106.09685): every linear layer's weight W becomes W + alpha/rank B A, of which A (rank, in)
and B (out, rank), which begins with 0, are trained, and W is not. When training has ended they are added up, so that
the network is what it was, with other values.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from genomai_cli.errors import TrainingError, UsageError

FULL, PROBE, LORA = "full", "probe", "lora"
HEADS = "heads."  # begins the names of a network's heads


@dataclass(frozen=True)
class Adaptation:
    """`kind` is full, probe (the heads alone are trained) or lora; `rank` and `alpha` are those of the changes."""

    kind: str = FULL
    rank: int = 8
    alpha: float = 16.0

    def check(self, *, has_start: bool, fits_in_closed_form: bool = False) -> None:
        """UsageError for a run without a network to adapt."""
        if self.kind != FULL and not has_start:
            raise UsageError(f"--adapt {self.kind} keeps what a network knows: name a --model")
        if self.kind != FULL and fits_in_closed_form:
            raise UsageError(f"--adapt {self.kind}: networks that are solved are not trained")

    def apply(self, network: nn.Module) -> None:
        """Freeze all but the parameters to train; TrainingError for a network without linear layers."""
        if self.kind == FULL:
            return
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith(HEADS))
        if self.kind == LORA:
            layers = list(_linear_layers(network))
            if not layers:
                raise TrainingError("--adapt lora: the network has no linear layers")
            for layer in layers:
                low_rank = LowRank(layer.weight, self.rank, self.alpha)
                parametrize.register_parametrization(layer, "weight", low_rank)

    def training_mode(self, network: nn.Module) -> None:
        """Put the network in training mode, of a probe its heads alone: no dropout in the vectors that they read, and
        statistics of normalisation stay."""
        network.train(self.kind != PROBE)
        if self.kind == PROBE:
            network.get_submodule(HEADS.rstrip(".")).train()

    def trainable_count(self, network: nn.Module) -> int:
        """How many values training changes."""
        return sum(p.numel() for p in network.parameters() if p.requires_grad)

    def merge(self, network: nn.Module) -> None:
        """Make the network plain again, the changes added to its weights."""
        for layer in _linear_layers(network):
            if parametrize.is_parametrized(layer, "weight"):
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        for parameter in network.parameters():
            parameter.requires_grad_(True)

    def provenance(self, trained_values: int) -> dict[str, str | int | float]:
        """The settings for the provenance in a bundle's config."""
        settings: dict[str, str | int | float] = {
            "kind": self.kind,
            "trained_values": trained_values,
        }
        return settings | ({"rank": self.rank, "alpha": self.alpha} if self.kind == LORA else {})


class LowRank(nn.Module):
    """A weight (out, in) and its low-rank change, added up."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.a = nn.Parameter(weight.new_empty(rank, inputs))
        self.b = nn.Parameter(weight.new_zeros(outputs, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight (out, in)."""
        return weight + self.scale * (self.b @ self.a)


def _linear_layers(network: nn.Module) -> Iterator[nn.Linear]:
    """The linear layers of the network, without its heads."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Linear) and not name.startswith(HEADS):
            yield module
