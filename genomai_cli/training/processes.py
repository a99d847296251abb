"""The processes that train one network together, and what it is to be alone."""

from typing import Protocol

from torch import Tensor, nn

from genomai_cli.objectives.base import Alone, Group


class Processes(Group, Protocol):
    """A group that a training loop can ask to act as one."""

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network so that its gradients are those of all processes' batches together."""

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Which of the wishes any process has; all processes get the same answer."""

    def mean(self, number: Tensor) -> Tensor:
        """The mean over the processes, without gradients."""


class OneProcess(Alone):
    """A loop that trains by itself."""

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network itself."""
        return network

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """The wishes themselves."""
        return wishes

    def mean(self, number: Tensor) -> Tensor:
        """The number itself."""
        return number.detach()


ALONE = OneProcess()
