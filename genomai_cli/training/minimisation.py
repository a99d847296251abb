"""Minimises a smooth function of a few tensors by L-BFGS (Liu and Nocedal 1989, Math Program 45:503)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def minimise(
    values: Sequence[Tensor], loss: Callable[[], Tensor], *, iterations: int, history: int = 100
) -> None:
    """Change the values, which need gradients, to those of the smallest loss that so many iterations find.

    `history` is the number of earlier steps in the estimate of the curvature. Lines are searched by the strong Wolfe
    conditions.
    """
    optimizer = torch.optim.LBFGS(
        list(values), max_iter=iterations, history_size=history, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
