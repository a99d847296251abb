"""The copying model as compiled loops for a processor, where `numba` is installed: the answers of `haplotype_copying`
and `haplotype_phases` without.

Each haplotype, or both of an individual, is walked by itself, its states in the processor's nearest caches, in single
precision.

Shape suffixes: B haplotypes or individuals, H reference haplotypes or states, S sites, K typed sites, J states of an
individual, X draws; 3 genotypes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.backbones.compiled import compiled, each, numba

Array = NDArray[Any]
ZERO: Any = np.float32(0)
ONE: Any = np.float32(1)  # a plain 1 would make doubles of them
TWO: Any = np.float32(2)
TINY: Any = np.float32(1e-30)


def is_compiled(tensor: Tensor) -> bool:
    """Whether the loops can take the place of tensors like this."""
    fits = tensor.device.type == "cpu" and tensor.dtype == torch.float32
    return numba is not None and fits


def imputed(
    reference_SH: Array,
    typed_K: Array,
    between: Sequence[Array],
    one_BK: Array,
    own_B: Array,
    error: float,
) -> Array:
    """The probability (B, S) of allele 1; see `Mosaic.imputed`."""
    out_BS = np.empty((len(one_BK), len(reference_SH)), np.float32)
    each(
        len(one_BK),
        _impute,
        reference_SH,
        typed_K,
        *between,
        one_BK,
        own_B,
        np.float32(error),
        out_BS,
    )
    return out_BS


def copied(
    alleles_KH: Array, stay_K: Array, one_BK: Array, own_B: Array, error: float
) -> tuple[Array, Array]:
    """See `Mosaic.copied`: (B, K) and (B, H)."""
    without_BK = np.empty(one_BK.shape, np.float32)
    mass_BH = np.empty((len(one_BK), alleles_KH.shape[1]), np.float32)
    each(
        len(one_BK),
        _copy,
        alleles_KH,
        stay_K,
        one_BK,
        own_B,
        np.float32(error),
        without_BK,
        mass_BH,
    )
    return without_BK, mass_BH


def paths(alleles_BJK: Array, stay_K: Array, seen_BK3: Array, draws_XK: Array) -> Array:
    """The alleles (B, X, 2, K) of what both haplotypes copy; see `Pairs.paths`."""
    shape = (len(alleles_BJK), len(draws_XK), 2, len(stay_K))
    path_BX2K = np.empty(shape, np.uint8)
    each(len(alleles_BJK), _draw, alleles_BJK, stay_K, seen_BK3, draws_XK, path_BX2K)
    return path_BX2K


@compiled
def _forward(
    alleles_KH: Array, stay_K: Array, likely_K: Array, own: int, ahead_KH: Array, total_K: Array
) -> None:
    """What is copied at each typed site by those before it (K, H), and its sums (K,) with that site's evidence."""
    count = alleles_KH.shape[1]
    each_one = ONE / np.float32(count)
    for k in range(len(stay_K)):
        row, allele = ahead_KH[k], alleles_KH[k]
        base, more = ONE - likely_K[k], TWO * likely_K[k] - ONE
        total = ZERO
        if k == 0:
            for j in range(count):
                row[j] = each_one
                total += each_one * (base + more * np.float32(allele[j]))
        else:
            before, old = ahead_KH[k - 1], alleles_KH[k - 1]
            scale, fresh = stay_K[k] / total_K[k - 1], (ONE - stay_K[k]) * each_one
            old_base, old_more = (
                scale * (ONE - likely_K[k - 1]),
                scale * (TWO * likely_K[k - 1] - ONE),
            )
            for j in range(count):
                x = before[j] * (old_base + old_more * np.float32(old[j])) + fresh
                row[j] = x
                total += x * (base + more * np.float32(allele[j]))
        if own >= 0:
            for j in range(2 * own, 2 * own + 2):
                total -= row[j] * (base + more * np.float32(allele[j]))
                row[j] = 0
        total_K[k] = max(total, TINY)


@compiled
def _impute(
    first: int, step: int, reference_SH: Array, typed_K: Array, alleles_KH: Array, stay_K: Array, near_S: Array,
    keep_S: Array, mean_S: Array, one_BK: Array, own_B: Array, error: float, out_BS: Array,
) -> None:  # fmt: skip
    """Every `step`-th haplotype from the first on."""
    sites, count = reference_SH.shape
    typed = len(typed_K)
    each_one = ONE / np.float32(count)
    ahead_KH = np.empty((typed, count), np.float32)
    total_K, likely_K = np.empty(typed, np.float32), np.empty(typed, np.float32)
    after, both = np.empty(count, np.float32), np.empty(count, np.float32)
    for b in range(first, len(one_BK), step):
        for k in range(typed):
            likely_K[k] = one_BK[b, k] * (ONE - error) + (ONE - one_BK[b, k]) * error
        _forward(alleles_KH, stay_K, likely_K, own_B[b], ahead_KH, total_K)
        end = sites
        scale, fresh = ZERO, ONE  # of `after`, to what the sites behind say
        for k in range(typed - 1, -1, -1):
            begin, row, allele = typed_K[k], ahead_KH[k], alleles_KH[k]
            inverse = ONE / total_K[k]
            base, more = ONE - likely_K[k], TWO * likely_K[k] - ONE
            last = k == typed - 1
            together = ZERO
            for j in range(count):
                f = row[j] * (base + more * np.float32(allele[j])) * inverse
                row[j] = f
                both[j] = f * after[j] if not last else f
                together += both[j]
            for s in range(begin, end):
                near, keep, copied = near_S[s], keep_S[s], reference_SH[s]
                found = ZERO
                if last:
                    for j in range(count):
                        found += row[j] * np.float32(copied[j])
                    out_BS[b, s] = near * found + (ONE - near) * mean_S[s]
                else:
                    by_both, by_after = keep * near, keep * (ONE - near) * each_one
                    by_row = (ONE - keep) * near
                    for j in range(count):
                        weight = by_both * both[j] + by_after * after[j] + by_row * row[j]
                        found += weight * np.float32(copied[j])
                    found += (ONE - keep) * (ONE - near) * mean_S[s]
                    out_BS[b, s] = found / (keep * (near * together + ONE - near) + ONE - keep)
            total = ZERO
            for j in range(count):
                x = (scale * after[j] + fresh if not last else fresh) * (
                    base + more * np.float32(allele[j])
                )
                both[j] = x
                total += x
            scale_here, fresh_here = scale, fresh
            mean = max(total * each_one, TINY)
            if k == 0 and begin > 0:
                together = ZERO
                for j in range(count):
                    behind = scale_here * after[j] + fresh_here if not last else fresh_here
                    row[j] *= behind
                    together += row[j]
                together = max(together, TINY)
                for s in range(begin):
                    copied, found = reference_SH[s], ZERO
                    for j in range(count):
                        found += row[j] * np.float32(copied[j])
                    out_BS[b, s] = near_S[s] * found / together + (ONE - near_S[s]) * mean_S[s]
            for j in range(count):
                after[j] = both[j] / mean
            scale, fresh = stay_K[k], ONE - stay_K[k]
            end = begin


@compiled
def _copy(
    first: int, step: int, alleles_KH: Array, stay_K: Array, one_BK: Array, own_B: Array, error: float,
    without_BK: Array, mass_BH: Array,
) -> None:  # fmt: skip
    """Every `step`-th haplotype from the first on."""
    typed, count = alleles_KH.shape
    each_one = ONE / np.float32(count)
    ahead_KH = np.empty((typed, count), np.float32)
    total_K, likely_K = np.empty(typed, np.float32), np.empty(typed, np.float32)
    after, here = np.empty(count, np.float32), np.empty(count, np.float32)
    most, sums = np.empty(count, np.float32), np.empty(count, np.float32)
    for b in range(first, len(one_BK), step):
        for k in range(typed):
            likely_K[k] = one_BK[b, k] * (ONE - error) + (ONE - one_BK[b, k]) * error
        _forward(alleles_KH, stay_K, likely_K, own_B[b], ahead_KH, total_K)
        most[:], sums[:], after[:] = 0, 0, 1
        scale, fresh = ZERO, ONE
        for k in range(typed - 1, -1, -1):
            row, allele = ahead_KH[k], alleles_KH[k]
            base, more = ONE - likely_K[k], TWO * likely_K[k] - ONE
            whole, ones = ZERO, ZERO
            seen, total = ZERO, ZERO
            for j in range(count):
                one = np.float32(allele[j])
                likely = base + more * one
                behind = scale * after[j] + fresh
                without = row[j] * behind
                whole += without
                ones += without * one
                here[j] = without * likely
                seen += here[j]
                after[j] = behind * likely
                total += after[j]
            share = min(ones / max(whole, TINY), ONE)
            without_BK[b, k] = share * (ONE - error) + (ONE - share) * error
            inverse = ONE / max(seen, TINY)
            for j in range(count):
                x = here[j] * inverse
                sums[j] += x
                most[j] = x if x > most[j] else most[j]
            scale = stay_K[k] / max(total * each_one, TINY)
            fresh = ONE - stay_K[k]
        for j in range(count):
            mass_BH[b, j] = sums[j] / typed + most[j]


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
