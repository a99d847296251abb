"""Weights of several models' logits, or of the numbers they predict, fitted on samples that none of them has seen.

Stacking: Wolpert 1992, Neural Networks 5:241. Weights are not negative: Breiman 1996, Machine Learning 24:49.

Shape suffixes: G models, N samples, C classes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from genomai_cli.training.minimisation import minimise

ITERATIONS = 200
STIFFNESS = 1e-4  # keeps a weight that the samples say nothing about where it is


@dataclass(frozen=True, eq=False)
class Stack:
    """A weight (G,) for each model and a bias (C,), and the loss that they gave: the cross-entropy in nats a sample, of
    numbers half the mean squared error, 0 without samples, for which weights are equal."""

    weight: Tensor
    bias: Tensor
    loss: float

    def __call__(self, logits_GNC: Tensor) -> Tensor:
        """The weighed sum of the logits: (N, C)."""
        weighed_NC = torch.einsum("g,gnc->nc", self.weight.to(logits_GNC), logits_GNC)
        return weighed_NC + self.bias.to(logits_GNC)


def stack(logits_GNC: Tensor, labels_N: Tensor) -> Stack:
    """The weights that minimise the cross-entropy of the labels (N,)."""
    return _stack(logits_GNC, lambda joined_NC: functional.cross_entropy(joined_NC, labels_N))


def stack_numbers(numbers_GN1: Tensor, values_N: Tensor) -> Stack:
    """The weights that minimise the squared error of the values (N,)."""
    return _stack(numbers_GN1, lambda joined_N1: (joined_N1[:, 0] - values_N).square().mean() / 2)


def _stack(logits_GNC: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Stack:
    models, _, classes = logits_GNC.shape
    logits_GNC = logits_GNC.double()
    even = -math.log(models)
    log_G = torch.full((models,), even, dtype=torch.float64, requires_grad=True)
    bias_C = torch.zeros(classes, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        joined_NC = torch.einsum("g,gnc->nc", log_G.exp(), logits_GNC) + bias_C
        spread = (log_G - even).square().sum() + bias_C.square().sum()
        fit = loss_of(joined_NC) if len(joined_NC) else 0.0
        return fit + STIFFNESS * spread

    minimise([log_G, bias_C], loss, iterations=ITERATIONS)
    with torch.no_grad():
        return Stack(log_G.exp(), bias_C.detach(), float(loss()))
