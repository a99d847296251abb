"""An exponential average of a network's weights, which generalises better than the weights of the last step.

As in torch's `AveragedModel`, but as tensors rather than a second network, so that weights shared out among processes
are averaged where they lie.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Average:
    """The average of a network's parameters; buffers are the network's own."""

    def __init__(self, network: nn.Module, keep: float) -> None:
        self._network, self._keep = network, keep
        self.updates = 0
        self.weights = [parameter.detach().clone() for parameter in network.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's weights; the first time they are the average."""
        for average, parameter in zip(self.weights, self._network.parameters(), strict=True):
            if self.updates:
                average.lerp_(parameter, 1 - self.kept())
            else:
                average.copy_(parameter)
        self.updates += 1

    def kept(self) -> float:
        """How much of the average an update keeps; it forgets its beginning: a plain mean's share at first."""
        return min(self._keep, (self.updates + 1) / (self.updates + 10))

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Put the average in the network's place for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, parameter in zip(self.weights, self._network.parameters(), strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)
