"""Integrated gradients: what each number of an input adds to a function (Sundararajan, Taly & Yan 2017, ICML).

A function of an input is followed along the straight path from a baseline to the input. The mean of its gradients on
the path times the way from one to the other divides the function's rise among the input's numbers, with nothing left
over (equation 1, and the axiom of completeness). Where an input is a sum of parts, the mean gradients times a part are
what that part adds.

Shape suffixes: B inputs, X numbers of an input.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
"""Inputs (B, X) to one number each (B,), every one by itself."""
METHOD = "integrated gradients (Sundararajan et al. 2017)"
PATH_BREAKS = (
    0.0,
    1e-3,
    1e-2,
    1e-1,
    1.0,
)  # of the path: near its beginning layer norms turn quickly
POINTS_PER_PART = 16  # of each part: Gauss-Legendre's are exact for polynomials of degree 31


def mean_gradients(function: Function, inputs_BX: Tensor, baseline_BX: Tensor) -> Tensor:
    """The mean (B, X) of the gradients on the path from the baseline to the inputs."""
    difference_BX = inputs_BX - baseline_BX
    mean_BX = torch.zeros_like(difference_BX)
    for point, weight in path_points():
        mean_BX += weight * _gradient(function, baseline_BX + point * difference_BX)
    return mean_BX


def path_points() -> list[tuple[float, float]]:
    """Points between 0 and 1, and their weights, by the rule of Gauss and Legendre in each part of the path."""
    points, weights = np.polynomial.legendre.leggauss(POINTS_PER_PART)
    nodes: list[tuple[float, float]] = []
    for begin, end in pairwise(PATH_BREAKS):
        size = end - begin
        nodes += zip(begin + size * (points + 1) / 2, size * weights / 2, strict=True)
    return [(float(point), float(weight)) for point, weight in nodes]


def _gradient(function: Function, point_BX: Tensor) -> Tensor:
    with torch.enable_grad():
        point_BX = point_BX.detach().requires_grad_()
        (gradient_BX,) = torch.autograd.grad(function(point_BX).sum(), point_BX)
    return gradient_BX
