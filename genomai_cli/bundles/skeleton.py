"""Networks without values: built on the meta device, which takes no memory, and no larger than the weights for them.

A config may name any sizes. What it describes is refused at the first parameter that the file of weights cannot hold,
before anything is allocated and however many layers it asks for.
"""

import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from genomai_cli.errors import BundleError

# Parameters that are registered twice, tied to others or replaced while a network is built.
_TENSORS_FACTOR, _TENSORS_MARGIN = 4, 1000
_CALLS_PER_TENSOR = 20  # of functions for a tensor, at most


def _empty_arange(*bounds: float, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """An empty tensor of the length that `arange` gives."""
    begin, end, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    integral = all(isinstance(bound, int) for bound in bounds)
    result_dtype = dtype or (torch.int64 if integral else None)
    return torch.empty(max(0, math.ceil((end - begin) / step)), dtype=result_dtype)


def _empty_repeat(tensor: Tensor, *times: int) -> Tensor:
    """An empty tensor of the shape that `repeat` gives."""
    sizes = (1,) * (len(times) - tensor.dim()) + tuple(tensor.shape)
    return torch.empty(*map(operator.mul, sizes, times), dtype=tensor.dtype)


# What torch does on the meta device in Python, for which it would import its compiler (1.5 s); only shapes count there.
_SHAPES: dict[Any, Callable[..., Any]] = {
    torch.eye: lambda rows, columns=None, **_: torch.empty(rows, columns or rows),
    torch.arange: _empty_arange,
    Tensor.repeat: _empty_repeat,
    torch.logit: lambda tensor, *_, **__: tensor.clone(),
} | dict.fromkeys(
    (
        Tensor.copy_,
        Tensor.log,
        Tensor.normal_,
        Tensor.uniform_,
        Tensor.bernoulli_,
        Tensor.exponential_,
        Tensor.random_,
    ),
    lambda tensor, *_, **__: tensor,
)


@dataclass
class Budget:
    """What a file of weights holds: so many tensors, and not more values than bytes; and the work of building those."""

    source: Path
    tensors: int
    values: int
    calls: int  # of torch's functions: layers are copied, too

    @classmethod
    def of(cls, source: Path, tensors: int, size: int) -> "Budget":
        """The budget of a file with so many tensors and bytes, and some room for those that do not come from it."""
        max_tensors = _TENSORS_FACTOR * tensors + _TENSORS_MARGIN
        return cls(
            source, max_tensors, _TENSORS_FACTOR * size + (1 << 20), _CALLS_PER_TENSOR * max_tensors
        )

    def take(self, module: nn.Module, name: str, tensor: Tensor | None) -> None:
        """Count a tensor of a network that is being built; BundleError when there are more than the file has."""
        del module, name
        if tensor is not None:
            self.tensors -= 1
            self.values -= tensor.numel()
        self.check()

    def check(self) -> None:
        """BundleError if it is used up."""
        if min(self.tensors, self.values, self.calls) < 0:
            raise BundleError(
                f"{self.source}: the config asks for a larger network than its weights"
            )


class _ShapesOnly(TorchFunctionMode):
    """Nothing is drawn or computed for tensors without memory."""

    def __init__(self, budget: Budget | None) -> None:
        super().__init__()
        self._budget = budget

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if self._budget is not None:
            self._budget.calls -= 1
            self._budget.check()
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else options["tensor"]
        return _SHAPES.get(func, func)(*args, **options)


@contextmanager
def without_memory(budget: Budget | None = None) -> Iterator[None]:
    """Modules made in the block have shapes and no values; with a `budget` no more of them than that."""
    hooks = []
    if budget is not None:
        hooks = [
            register_module_parameter_registration_hook(budget.take),
            register_module_buffer_registration_hook(budget.take),
        ]
    try:
        with torch.device("meta"), _ShapesOnly(budget):
            yield
    finally:
        for hook in hooks:
            hook.remove()
