"""Arrays of numpy as the buffers of a network: stored with it, and not trained by gradient."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from genomai_cli.population.networks.haplotype_copying import Array, Shapes


class ArrayModule(nn.Module):
    """Buffers of these shapes, zeros at first; a dot in a name stands for a module inside."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        for name, (shape, dtype) in shapes.items():
            path, _, leaf = name.rpartition(".")
            module: nn.Module = self
            if path:
                if path not in self._modules:
                    self.add_module(path, nn.Module())
                module = self.get_submodule(path)
            module.register_buffer(leaf, torch.zeros(shape, dtype=getattr(torch, dtype)))

    def arrays(self) -> dict[str, Array]:
        """The arrays by name, in single precision."""
        return {name: _array(buffer) for name, buffer in self.named_buffers()}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Copy the values of arrays."""
        for name, buffer in self.named_buffers():
            buffer.copy_(torch.from_numpy(arrays[name]))


def _array(buffer: torch.Tensor) -> Array:
    values: Array = buffer.cpu().numpy()
    return values.astype(np.float32, copy=False) if buffer.is_floating_point() else values
