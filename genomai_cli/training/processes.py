"""The processes that train one network together, and what it is to be alone."""

from typing import Protocol

import torch
from torch import Tensor, nn

from genomai_cli.objectives.base import Alone, Group


class Processes(Group, Protocol):
    """A group that a training loop can ask to act as one."""

    @property
    def shard(self) -> bool:
        """Whether each process has only a share of the network."""

    def parallel(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network on the device, so that its gradients are those of all processes' batches together."""

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Which of the wishes any process has; all processes get the same answer."""

    def mean(self, number: Tensor) -> Tensor:
        """The mean over the processes, without gradients."""

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor as one process alone would have it, of which each may have a share."""

    def share(self, tensor: Tensor, like: Tensor) -> Tensor:
        """This process's share of a whole tensor, shared out as another is."""


class OneProcess(Alone):
    """A loop that trains by itself."""

    shard = False

    def parallel(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network itself, on the device."""
        return network.to(device)

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """The wishes themselves."""
        return wishes

    def mean(self, number: Tensor) -> Tensor:
        """The number itself."""
        return number.detach()

    def whole(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def share(self, tensor: Tensor, like: Tensor) -> Tensor:
        """The tensor itself."""
        del like
        return tensor


ALONE = OneProcess()
