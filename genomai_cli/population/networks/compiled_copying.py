"""The copying model in blocks by compiled loops, where `numba` is installed: the answers of `haplotype_blocks`.

Shape suffixes: B haplotypes to impute, H reference haplotypes, S sites, K typed sites.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genomai_cli.backbones.compiled import each
from genomai_cli.population.networks import block_kernel
from genomai_cli.population.networks.block_layout import Array, layout_of
from genomai_cli.population.networks.haplotype_blocks import Block

LANES, VECTOR = 64, 16  # haplotypes that are walked together, at most and by the vector


class CompiledCopying:
    """See `ReducedCopying`."""

    def __init__(self, blocks: Sequence[Block], stay_K: Tensor, error: float) -> None:
        self._layout = layout_of(blocks)
        self._stay_K, self._error = np.append(stay_K.numpy(), np.float32(0)), np.float32(error)

    def imputed(self, one_BK: Tensor, own_B: Tensor, between: Sequence[Tensor]) -> Tensor:
        """The probability (B, S) of allele 1; see `haplotype_copying.Mosaic.between`."""
        near_S, keep_S = (part.numpy() for part in between)
        found_BS = np.empty((len(one_BK), len(near_S)), np.float32)
        self._walk(block_kernel.imputed, one_BK, own_B, near_S, keep_S, found_BS)
        return torch.from_numpy(found_BS)

    def copied(self, one_BK: Tensor, own_B: Tensor) -> tuple[Tensor, Tensor]:
        """See `ReducedCopying.copied`."""
        without_BK = np.empty(one_BK.shape, np.float32)
        mass_BH = np.empty((len(one_BK), self._layout.state.shape[1]), np.float32)
        self._walk(block_kernel.copied, one_BK, own_B, without_BK, mass_BH)
        return torch.from_numpy(without_BK), torch.from_numpy(mass_BH)

    def _walk(self, loop: Any, one_BK: Tensor, own_B: Tensor, *arrays: Array) -> None:
        given = (
            np.ascontiguousarray(one_BK.numpy(), np.float32),
            np.ascontiguousarray(own_B.numpy()),
        )
        groups = -(-len(one_BK) // LANES)
        lanes = -(-len(one_BK) // (groups * VECTOR)) * VECTOR  # as few as possible for nothing
        groups = -(-len(one_BK) // lanes)
        each(groups, loop, lanes, self._layout, self._stay_K, self._error, *given, *arrays)
