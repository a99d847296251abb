"""Training by several processes at once, as `torchrun` starts them: one a GPU, or several on CPUs.

Each process reads its slice of every batch. With DDP (Li et al. 2020, arXiv:2006.15704) all hold the whole network and
average their gradients; with FSDP (Zhao et al. 2023, arXiv:2304.11277; torch's `fully_shard`) each holds a share of
every weight, for networks that do not fit into one GPU. Process 0 alone writes files and talks.

The processes that train one network together, and what it is to be alone.

Shape suffixes: B samples of one process, D width.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from genomai_cli import device as devices
from genomai_cli.errors import UsageError
from genomai_cli.objectives.base import ProcessGroup, SingleProcess


class Processes(ProcessGroup, Protocol):
    """A group that a training loop can ask to act as one."""

    @property
    def shard(self) -> bool:
        """Whether each process has only a share of the network."""

    def parallel(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network on the device, so that its gradients are those of all processes' batches together."""

    def any_process(self, *flags: bool) -> tuple[bool, ...]:
        """Which of the flags any process has raised; all processes get the same answer."""

    def mean(self, number: Tensor) -> Tensor:
        """The mean over the processes, without gradients."""

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """The full tensor, as one process alone would have it, of a tensor of which each may have a share."""

    def shard_like(self, tensor: Tensor, like: Tensor) -> Tensor:
        """This process's share of a full tensor, sharded as `like` is."""


class OneProcess(SingleProcess):
    """A loop that trains by itself."""

    shard = False

    def parallel(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network itself, on the device."""
        return network.to(device)

    def any_process(self, *flags: bool) -> tuple[bool, ...]:
        """The flags themselves."""
        return flags

    def mean(self, number: Tensor) -> Tensor:
        """The number itself."""
        return number.detach()

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def shard_like(self, tensor: Tensor, like: Tensor) -> Tensor:
        """The tensor itself."""
        del like
        return tensor


ONE_PROCESS = OneProcess()

# Process 0 reads the whole corpus while the others wait; torchrun ends them all when one dies.
TIMEOUT = timedelta(days=7)
REQUIRED_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def launched_by_torchrun() -> bool:
    """Whether torchrun has started this process as one of several."""
    return (
        all(name in os.environ for name in REQUIRED_VARIABLES) and int(os.environ["WORLD_SIZE"]) > 1
    )


class TorchrunProcesses:
    """The processes of torchrun; with `shard`, each holds only a share of the network."""

    def __init__(self, device: torch.device, *, shard: bool) -> None:
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self.device, self.shard = device, shard

    def parallel(self, network: nn.Module, device: torch.device) -> nn.Module:
        """DDP around the network, or the network with its weights shared out."""
        if self.shard:
            return self._sharded(network, device)
        device_ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(network.to(device), device_ids)

    def _sharded(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network's repeated layers are shared out one by one, so that few are whole at any time."""
        from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - as slow to load as torch
        from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

        mesh = init_device_mesh(device.type, (self.size,))
        lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
        for layer in (layer for layers in lists for layer in layers):
            # One that holds others is a network, whose own weights belong to the outermost module.
            if not any(isinstance(submodule, nn.ModuleList) for submodule in layer.modules()):
                fully_shard(layer, mesh=mesh)
        # Resharded after every forward pass, also one without gradients: between steps all weights are shares.
        fully_shard(network, mesh=mesh, reshard_after_forward=True)
        return network

    def gather(self, rows_BD: Tensor) -> Tensor:
        """The rows of all processes in their order (size * B, D), through which gradients flow back."""
        gathered: Tensor = _Gather.apply(rows_BD)  # type: ignore[no-untyped-call]
        return gathered

    def total(self, number: Tensor) -> Tensor:
        """The sum over the processes, without gradients."""
        total = number.detach().to(self.device, copy=True)
        distributed.all_reduce(total)
        return total

    def mean(self, number: Tensor) -> Tensor:
        """The mean over the processes, without gradients."""
        return self.total(number) / self.size

    def any_process(self, *flags: bool) -> tuple[bool, ...]:
        """Which of the flags any process has raised."""
        raised = torch.tensor([float(flag) for flag in flags], device=self.device)
        distributed.all_reduce(raised, distributed.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised.tolist())

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """All processes' shares put together, on the CPU."""
        from torch.distributed.tensor import DTensor  # noqa: PLC0415

        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return full.cpu() if self.shard else full

    def shard_like(self, tensor: Tensor, like: Tensor) -> Tensor:
        """This process's share of a full tensor, sharded as `like` is."""
        from torch.distributed.tensor import DTensor, distribute_tensor  # noqa: PLC0415

        if not isinstance(like, DTensor):
            return tensor
        return distribute_tensor(tensor, like.device_mesh, like.placements)


class _Gather(torch.autograd.Function):
    """All processes' rows; the gradients of all processes flow back to each one's rows."""

    @staticmethod
    def forward(context: Any, rows_BD: Tensor) -> Tensor:
        parts = [torch.empty_like(rows_BD) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows_BD.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]


@contextmanager
def join_processes(name: str, *, shard: bool = False) -> Iterator[tuple[Processes, torch.device]]:
    """The processes that torchrun started, this one alone without it, and the device called `name` to use.

    Raises UsageError for a device that cannot be shared out, and for `shard` without other processes.
    """
    if not launched_by_torchrun():
        if shard:
            raise UsageError(
                "--shard shares the network out among processes: start them with torchrun"
            )
        yield ONE_PROCESS, devices.choose(name)
        return
    device = _device(name)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield TorchrunProcesses(device, shard=shard), device
    finally:
        distributed.destroy_process_group()


def wait_for_all(processes: Processes) -> None:
    """Go on when every process has come here."""
    if processes.size > 1:
        distributed.barrier()


def broadcast_text(processes: Processes, text: str) -> str:
    """The text of the first process, on all."""
    texts: list[Any] = [text]
    if processes.size > 1:
        distributed.broadcast_object_list(texts)
    return str(texts[0])


def _device(name: str) -> torch.device:
    """This process's device: each its own GPU, or all the CPU."""
    device = devices.choose(name)
    if device.type == "mps":
        return torch.device("cpu")
    if device.type == "cuda":
        if device.index is not None:
            raise UsageError(f"--device {name}: with torchrun each process takes its own; say cuda")
        return devices.choose(f"cuda:{os.environ['LOCAL_RANK']}")
    return device
