"""Phases drawn by a compiled loop; see `haplotype_phases`.

Each individual is walked by itself, its states in the processor's nearest caches, in single precision.

Shape suffixes: B individuals, K typed sites, J states of an individual, X draws; 3 genotypes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli import threads
from genomai_cli.backbones.compiled import compiled

Array = NDArray[Any]
ZERO: Any = np.float32(0)
ONE: Any = np.float32(1)  # a plain 1 would make doubles of them
TINY: Any = np.float32(1e-30)


def paths(alleles_BJK: Array, stay_K: Array, emission_BK3: Array, draws_XK: Array) -> Array:
    """The alleles (B, X, 2, K) of what both haplotypes copy; see `DiploidModel.paths`."""
    individuals, states, typed = alleles_BJK.shape
    path_BX2K = np.empty((individuals, len(draws_XK), 2, typed), np.uint8)

    def walk(first: int, step: int) -> None:
        forward_KJJ = np.empty((typed, states, states), np.float32)
        rows_KJ, columns_KJ = np.empty((2, typed, states), np.float32)
        emission_2J, from_J = np.empty((2, states), np.float32), np.empty(states, np.float32)
        for b in range(first, individuals, step):
            _draw(
                alleles_BJK[b], stay_K, emission_BK3[b], draws_XK, forward_KJJ, rows_KJ, columns_KJ, emission_2J,
                from_J, path_BX2K[b],
            )  # fmt: skip

    threads.run_strided(threads.count(), individuals, walk)
    return path_BX2K


@compiled
def _draw(
    alleles_JK: Array, stay_K: Array, emission_K3: Array, draws_XK: Array, forward_KJJ: Array, rows_KJ: Array,
    columns_KJ: Array, emission_2J: Array, from_J: Array, path_X2K: Array,
) -> None:  # fmt: skip
    """Both haplotypes of an individual."""
    states, typed = alleles_JK.shape
    total = ONE
    for k in range(typed):
        stay = stay_K[k] if k else ZERO
        switch, inverse = (ONE - stay) / np.float32(states), ONE / (total + TINY)
        same, other = stay * stay * inverse, stay * switch * inverse
        total = ZERO
        before = k - 1 if k else 0
        for j in range(states):
            one = alleles_JK[j, k]
            emission_2J[0, j], emission_2J[1, j] = emission_K3[k, one], emission_K3[k, one + 1]
            from_J[j] = other * columns_KJ[before, j] if k else ZERO
        for j in range(states):
            columns_KJ[k, j] = ZERO
        for i in range(states):
            one, row = alleles_JK[i, k], ZERO
            base = switch * switch
            if k == 0:
                for j in range(states):
                    forward_KJJ[0, i, j] = base * emission_2J[one, j]
            else:
                base += other * rows_KJ[before, i]
                for j in range(states):
                    prior = same * forward_KJJ[before, i, j] + from_J[j] + base
                    forward_KJJ[k, i, j] = prior * emission_2J[one, j]
            for j in range(states):
                row += forward_KJJ[k, i, j]
            for j in range(states):
                columns_KJ[k, j] += forward_KJJ[k, i, j]
            rows_KJ[k, i] = row
            total += row
    for x in range(draws_XK.shape[0]):
        i = j = -1
        for k in range(typed - 1, -1, -1):
            stay = stay_K[k + 1] if i >= 0 else ZERO
            switch = (ONE - stay) / np.float32(states)
            cumulative = 0.0
            for row in range(states):
                weight = switch * rows_KJ[k, row] + (
                    stay * forward_KJJ[k, row, j] if j >= 0 else ZERO
                )
                cumulative += weight * (switch + (stay if row == i else ZERO))
            threshold, cumulative = draws_XK[x, k] * cumulative, 0.0
            chosen = states - 1
            for row in range(states):
                weight = switch * rows_KJ[k, row] + (
                    stay * forward_KJJ[k, row, j] if j >= 0 else ZERO
                )
                part = weight * (switch + (stay if row == i else ZERO))
                if cumulative + part >= threshold:
                    chosen = row
                    break
                cumulative += part
            outer = switch + (stay if chosen == i else ZERO)
            other_chosen = states - 1
            for column in range(states):
                weight = outer * forward_KJJ[k, chosen, column]
                cumulative += weight * (switch + (stay if column == j else ZERO))
                if cumulative >= threshold:
                    other_chosen = column
                    break
            i, j = chosen, other_chosen
            path_X2K[x, 0, k], path_X2K[x, 1, k] = alleles_JK[i, k], alleles_JK[j, k]
