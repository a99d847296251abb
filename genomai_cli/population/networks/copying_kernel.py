"""Phases drawn by a compiled loop, where `numba` is installed: the answers of `haplotype_phases` without.

Each individual is walked by itself, its states in the processor's nearest caches, in single precision.

Shape suffixes: B individuals, K typed sites, J states of an individual, X draws; 3 genotypes.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.backbones.compiled import compiled, each, numba

Array = NDArray[Any]
ZERO: Any = np.float32(0)
ONE: Any = np.float32(1)  # a plain 1 would make doubles of them
TINY: Any = np.float32(1e-30)


def is_compiled(tensor: Tensor) -> bool:
    """Whether the loop can take the place of tensors like this."""
    fits = tensor.device.type == "cpu" and tensor.dtype == torch.float32
    return numba is not None and fits


def paths(alleles_BJK: Array, stay_K: Array, seen_BK3: Array, draws_XK: Array) -> Array:
    """The alleles (B, X, 2, K) of what both haplotypes copy; see `Pairs.paths`."""
    shape = (len(alleles_BJK), len(draws_XK), 2, len(stay_K))
    path_BX2K = np.empty(shape, np.uint8)
    each(len(alleles_BJK), _draw, alleles_BJK, stay_K, seen_BK3, draws_XK, path_BX2K)
    return path_BX2K


@compiled
def _draw(
    first: int, step: int, alleles_BJK: Array, stay_K: Array, seen_BK3: Array, draws_XK: Array, path_BX2K: Array
) -> None:  # fmt: skip
    """Both haplotypes of every `step`-th individual from the first on."""
    states, typed = alleles_BJK.shape[1:]
    forward_KJJ = np.empty((typed, states, states), np.float32)
    rows_KJ, columns_KJ = (
        np.empty((typed, states), np.float32),
        np.empty((typed, states), np.float32),
    )
    seen_2J, from_J = np.empty((2, states), np.float32), np.empty(states, np.float32)
    for b in range(first, len(alleles_BJK), step):
        alleles = alleles_BJK[b]
        total = ONE
        for k in range(typed):
            stay = stay_K[k] if k else ZERO
            switch, inverse = (ONE - stay) / np.float32(states), ONE / max(total, TINY)
            same, other = stay * stay * inverse, stay * switch * inverse
            for j in range(states):
                one = alleles[j, k]
                seen_2J[0, j], seen_2J[1, j] = seen_BK3[b, k, one], seen_BK3[b, k, one + 1]
                from_J[j] = other * columns_KJ[k - 1, j] if k else ZERO
            here, columns = forward_KJJ[k], columns_KJ[k]
            before, columns[:], total = forward_KJJ[max(k - 1, 0)], ZERO, ZERO
            for i in range(states):
                one, row = alleles[i, k], ZERO
                base = switch * switch
                if k == 0:
                    for j in range(states):
                        here[i, j] = base * seen_2J[one, j]
                else:
                    base += other * rows_KJ[k - 1, i]
                    for j in range(states):
                        here[i, j] = (same * before[i, j] + from_J[j] + base) * seen_2J[one, j]
                for j in range(states):
                    row += here[i, j]
                for j in range(states):
                    columns[j] += here[i, j]
                rows_KJ[k, i] = row
                total += row
        for x in range(len(draws_XK)):
            i = j = -1
            for k in range(typed - 1, -1, -1):
                here = forward_KJJ[k]
                stay = stay_K[k + 1] if i >= 0 else ZERO
                switch = (ONE - stay) / np.float32(states)
                total = 0.0
                for row in range(states):
                    weight = switch * rows_KJ[k, row] + (stay * here[row, j] if j >= 0 else ZERO)
                    total += weight * (switch + (stay if row == i else ZERO))
                wanted, sum_ = draws_XK[x, k] * total, 0.0
                chosen = states - 1
                for row in range(states):
                    weight = switch * rows_KJ[k, row] + (stay * here[row, j] if j >= 0 else ZERO)
                    part = weight * (switch + (stay if row == i else ZERO))
                    if sum_ + part >= wanted:
                        chosen = row
                        break
                    sum_ += part
                outer = switch + (stay if chosen == i else ZERO)
                other = states - 1
                for column in range(states):
                    sum_ += (
                        outer * here[chosen, column] * (switch + (stay if column == j else ZERO))
                    )
                    if sum_ >= wanted:
                        other = column
                        break
                i, j = chosen, other
                path_BX2K[b, x, 0, k], path_BX2K[b, x, 1, k] = alleles[i, k], alleles[j, k]
