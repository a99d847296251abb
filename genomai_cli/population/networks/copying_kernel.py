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
    first_share = ONE / np.float32(states * states)
    for b in range(first, len(alleles_BJK), step):
        alleles = alleles_BJK[b]
        for k in range(typed):
            stay = stay_K[k]
            switch = (ONE - stay) / np.float32(states)
            here, total = forward_KJJ[k], ZERO
            for i in range(states):
                one = alleles[i, k]
                seen0, seen1 = seen_BK3[b, k, one], seen_BK3[b, k, one + 1]
                base, more = seen0, seen1 - seen0
                row = ZERO
                if k == 0:
                    for j in range(states):
                        here[i, j] = (base + more * np.float32(alleles[j, k])) * first_share
                        row += here[i, j]
                else:
                    before = forward_KJJ[k - 1, i]
                    both = stay * switch * rows_KJ[k - 1, i] + switch * switch
                    other, same = stay * switch, stay * stay
                    for j in range(states):
                        x = same * before[j] + other * columns_KJ[k - 1, j] + both
                        here[i, j] = x * (base + more * np.float32(alleles[j, k]))
                        row += here[i, j]
                rows_KJ[k, i] = row
                total += row
            inverse = ONE / max(total, TINY)
            columns_KJ[k] = 0
            for i in range(states):
                rows_KJ[k, i] *= inverse
                for j in range(states):
                    here[i, j] *= inverse
                    columns_KJ[k, j] += here[i, j]
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
