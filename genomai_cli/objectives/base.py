"""The interface of self-supervised objectives, and what they know about the samples.

An objective makes views of letters (numpy, an rng for every draw) and, from what a network says of them, a
loss. What it trains beside the network is a companion (`backbones/heads.py`), counted apart from the model.

Supervised learning: the cross-entropy of every head, a missing label left out.

The registry of self-supervised objectives, and several of them weighted together as one module.

A new objective is one class as `base.Objective` describes it, its settings, and one entry in `OBJECTIVES`.

Shape suffixes: B samples, L letters, T tokens, A letters that can stand at a position.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli import registry
from genomai_cli.alphabet import BASE_LETTERS, MISSING, Letters
from genomai_cli.backbones.base import Network
from genomai_cli.backbones.classifier import Classifier
from genomai_cli.diffusion.denoisers import Noising
from genomai_cli.tokenizers import Tokenizer

Views = dict[str, NDArray[np.int64]]
"""Arrays (B, T) by name; those whose names begin with `targets` hold `NO_TARGET` where there is nothing to predict."""
NO_TARGET = -1
WINDOW_STARTS = "begins"  # the view (B, 1) of the positions among all letters of the corpus at which windows begin


@dataclass(frozen=True, eq=False)
class Alphabet:
    """What the samples are: how they become tokens, and whether they are `aligned`, rows of one set of sites.

    `choices` (sites or 1, A) holds the letters that can stand at a position; `noising` is their layout for
    diffusion, by default that of the tokens, `phenotype_layout` that of samples with their phenotypes; `tracks` are the
    values over the letters, see `inputs.tracks.TrackWindows`.
    """

    tokenizer: Tokenizer
    aligned: bool = False
    choices: Letters = field(default_factory=lambda: BASE_LETTERS[None])
    noising: Noising | None = None
    phenotype_layout: Any = None
    tracks: Any = None

    def mask(self, ids_BT: Tensor) -> Tensor | None:
        """Which tokens (B, T) are real, for sequences, which are padded; None for rows, which are not."""
        return None if self.aligned else ids_BT != self.tokenizer.pad_id


class ProcessGroup(Protocol):
    """The processes that train together, by which a loss over their common batch gets the other processes' rows."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def gather(self, rows_BD: Tensor) -> Tensor:
        """The rows of all processes in their order (size * B, D), through which gradients flow back."""

    def total(self, number: Tensor) -> Tensor:
        """The sum over the processes, without gradients."""


class SingleProcess:
    """A group of one."""

    rank = 0
    size = 1

    def gather(self, rows_BD: Tensor) -> Tensor:
        """The rows themselves."""
        return rows_BD

    def total(self, number: Tensor) -> Tensor:
        """The number itself."""
        return number.detach()


@dataclass(frozen=True)
class Model:
    """The network as an objective sees it; `inputs` turns ids (B, T) into what it reads, `head` is the objective's
    auxiliary head."""

    network: Network
    head: nn.Module
    inputs: Callable[[Tensor], Tensor]


class Objective(Protocol):
    """One way to learn without labels."""

    settings_class: ClassVar[type]  # its section of a recipe: a frozen dataclass
    limits: ClassVar[
        Mapping[str, tuple[float, float]]
    ]  # the least and the largest value of each setting
    input_kind: ClassVar[
        str | None
    ]  # in `registry.INPUT_KINDS`, if it takes the place of the recipe's

    @property
    def name(self) -> str:
        """The name in the registry, in recipes and in a bundle's tensors."""

    @property
    def settings(self) -> Any:
        """What the recipe says of it."""

    @classmethod
    def check(cls, settings: Any, alphabet: Alphabet, recipe: Any) -> None:
        """TrainingError for an alphabet or a recipe's network that the objective cannot be used with."""

    def auxiliary(self) -> dict[str, Any]:
        """The config of the head that is trained with the network, for `heads.build_auxiliary`."""

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """The network's inputs and targets from the samples, drawn at random."""

    def loss(self, model: Model, views: Mapping[str, Tensor], group: ProcessGroup) -> Tensor:
        """This process's share of the loss in nats; the mean over the processes is that of the common batch."""

    def bits_per_base(self, nats: float) -> float | None:
        """The loss in bits for each base of DNA; None for a loss that is no likelihood of bases."""


def objective_class(name: str) -> Any:
    """The class of the objective of that name; KeyError if there is none."""
    return registry.find(registry.OBJECTIVES, name)


def check_objective(name: str, weight: object) -> None:
    """ValueError unless there is such an objective and its weight is a positive number."""
    if name not in registry.OBJECTIVES:
        raise ValueError(f"no objective {name!r} (there are: {', '.join(registry.OBJECTIVES)})")
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 < float(weight) < math.inf:  # type: ignore[arg-type]
        raise ValueError(f"objectives.{name} is a weight above 0, not {weight!r}")


def mean_over(sum_: Tensor, count: Tensor, group: ProcessGroup) -> Tensor:
    """This process's sum over the mean count of a process."""
    return sum_ * group.size / group.total(count.to(sum_.dtype)).clamp(min=1)


def cross_entropy(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
    """The sum over the heads of the mean cross-entropy, in nats.

    `logits` holds (B, C) a head, `labels` the class numbers (B,), -1 where there is no label.
    """
    return sum(
        functional.cross_entropy(logits[head].float(), labels[head], ignore_index=MISSING)
        for head in logits
        if bool((labels[head] != MISSING).any())
    )  # type: ignore[return-value]


class Learner(nn.Module):
    """A classifier's first network with the auxiliary of its objectives: views in, losses out.

    `weights` gives each objective's part in the sum.
    """

    weights: Tensor

    def __init__(
        self,
        classifier: Classifier,
        auxiliary: Mapping[str, nn.Module],
        objectives: Mapping[Objective, float],
        group: ProcessGroup,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.auxiliary = nn.ModuleDict(auxiliary)
        self.objectives = tuple(objectives)
        self.group = group
        weights = torch.tensor(list(objectives.values()), dtype=torch.float32)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, views: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """The loss (K,) of each of the K objectives, in their order and not weighted.

        While it trains, the views are this process's part of the group's batch; otherwise they are a batch by
        themselves.
        """
        group = self.group if self.training else SingleProcess()
        network, inputs = self.classifier.networks[0], self.classifier.inputs
        losses = [
            objective.loss(
                Model(network, self.auxiliary[objective.name], inputs),
                views[objective.name],
                group,
            )
            for objective in self.objectives
        ]
        return torch.stack(losses)
