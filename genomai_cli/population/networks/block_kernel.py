"""The copying model in blocks by compiled loops; see `haplotype_blocks` for what they compute.

Haplotypes to impute are walked side by side, a group at a time, so that their arrays stay in the processor's caches.
The innermost loops are over a group and write one array each: with more the compiler does not vectorise them. To
compile them takes seconds, hence: no loop calls another one, which would be compiled into it once more, and short loops
end at a size of an array, since those of a known length would be unrolled.

Shape suffixes: B haplotypes to impute, L of them that are walked together, H reference haplotypes, S sites, K typed
sites, X blocks, U states and V kinds of haplotypes, of a block or, in a `Layout`, of all blocks; 2 coefficients, of a
or b and of 1, or alleles of a typed site; 4 sums, of ab, a, b and 1, or their coefficients.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.backbones.compiled import compiled

Array = NDArray[Any]
ZERO: Any = np.float32(0)
ONE: Any = np.float32(1)  # a plain 1 would make doubles of them
TINY: Any = np.float32(1e-30)


@compiled
def forward(
    typed_at: Array, kinds_at: Array, states_at: Array, state_XH: Array, state_V: Array, one_U: Array, stay_K: Array,
    emission_K2L: Array, excluded_L: Array, prior_L: Array, counts_VL: Array, scale_L: Array, weight_2UL: Array,
    state_2UL: Array, alpha_XHL: Array, forward_U2L: Array,
) -> None:  # fmt: skip
    """The values a of all blocks, from those of the first, and the coefficients at each typed site with its
    evidence."""
    blocks, haplotypes, lanes = alpha_XHL.shape
    for x in range(blocks):
        first, end = typed_at[x], typed_at[x + 1]
        states = states_at[first + 1] - states_at[first]
        for i in range(weight_2UL.shape[0]):
            start = ZERO if i else ONE
            for u in range(states):
                for b in range(lanes):
                    weight_2UL[i, u, b] = ZERO
                for b in range(lanes):
                    state_2UL[i, u, b] = start
        for h in range(haplotypes):
            u = state_XH[x, h]
            for b in range(lanes):
                weight_2UL[0, u, b] += alpha_XHL[x, h, b]
        for v in range(kinds_at[x], kinds_at[x + 1]):
            u = state_V[v]
            for b in range(lanes):
                weight_2UL[1, u, b] += counts_VL[v, b]
        for k in range(first, end):
            at, stay = states_at[k], stay_K[k + 1]
            for b in range(lanes):
                scale_L[b] = TINY
            for u in range(states):
                allele = one_U[at + u]
                for i in range(weight_2UL.shape[0]):
                    for b in range(lanes):
                        state_2UL[i, u, b] *= emission_K2L[k, allele, b]
                    for b in range(lanes):
                        scale_L[b] += state_2UL[i, u, b] * weight_2UL[i, u, b]
            for b in range(lanes):
                scale_L[b] = ONE / scale_L[b]
            for u in range(states):
                for i in range(weight_2UL.shape[0]):
                    switch = ONE - stay if i else ZERO
                    for b in range(lanes):
                        forward_U2L[at + u, i, b] = state_2UL[i, u, b] * scale_L[b]
                    for b in range(lanes):
                        state_2UL[i, u, b] = forward_U2L[at + u, i, b] * stay + switch * prior_L[b]
        if x + 1 < blocks:
            for h in range(haplotypes):
                individual, u = np.int32(h >> 1), state_XH[x, h]
                for b in range(lanes):
                    a = state_2UL[0, u, b] * alpha_XHL[x, h, b] + state_2UL[1, u, b]
                    alpha_XHL[x + 1, h, b] = ZERO if excluded_L[b] == individual else a


@compiled
def backward(
    x: int, typed_at: Array, kinds_at: Array, states_at: Array, state_XH: Array, kind_XH: Array, state_V: Array,
    one_U: Array, stay_K: Array, emission_K2L: Array, excluded_L: Array, prior_L: Array, counts_VL: Array,
    scale_L: Array, alpha_XHL: Array, beta_HL: Array, kind_sums_V4L: Array, state_sums_U4L: Array, backward_K2UL: Array,
) -> None:  # fmt: skip
    """From the block behind to block x: b, which is 0 behind the last one, the sums of ab, a, b and 1 over the
    haplotypes of each kind and of each state, and the backward coefficients at each of its typed sites, with the
    evidence of the next one; in the first row those with the evidence of the first typed site itself."""
    blocks, haplotypes, lanes = alpha_XHL.shape
    first_kind, kinds = kinds_at[x], kinds_at[x + 1] - kinds_at[x]
    first, end = typed_at[x], typed_at[x + 1]
    states = states_at[first + 1] - states_at[first]
    sums, coefficients = kind_sums_V4L.shape[1], backward_K2UL.shape[1]
    if x + 1 < blocks:
        for h in range(haplotypes):
            individual, u = np.int32(h >> 1), state_XH[x + 1, h]
            for b in range(lanes):
                value = backward_K2UL[0, 0, u, b] * beta_HL[h, b] + backward_K2UL[0, 1, u, b]
                beta_HL[h, b] = ZERO if excluded_L[b] == individual else value
    for v in range(kinds):
        for i in range(sums):
            for b in range(lanes):
                kind_sums_V4L[v, i, b] = ZERO
        for b in range(lanes):
            kind_sums_V4L[v, 3, b] = counts_VL[first_kind + v, b]
    for h in range(haplotypes):
        v = kind_XH[x, h]
        for b in range(lanes):
            kind_sums_V4L[v, 0, b] += alpha_XHL[x, h, b] * beta_HL[h, b]
        for b in range(lanes):
            kind_sums_V4L[v, 1, b] += alpha_XHL[x, h, b]
        for b in range(lanes):
            kind_sums_V4L[v, 2, b] += beta_HL[h, b]
    for u in range(states):
        for i in range(sums):
            for b in range(lanes):
                state_sums_U4L[u, i, b] = ZERO
        for i in range(coefficients):
            behind = ONE if i == (x + 1 == blocks) else ZERO
            for b in range(lanes):
                backward_K2UL[end - first, i, u, b] = behind
    for v in range(kinds):
        u = state_V[first_kind + v]
        for i in range(sums):
            for b in range(lanes):
                state_sums_U4L[u, i, b] += kind_sums_V4L[v, i, b]
    for k in range(end - 1, first - 1, -1):
        at, stay, row = states_at[k], stay_K[k + 1], k - first
        for b in range(lanes):
            scale_L[b] = TINY
        for u in range(states):
            allele = one_U[at + u]
            for i in range(coefficients):
                switch = ONE - stay if i else ZERO
                for b in range(lanes):
                    coefficient = backward_K2UL[row + 1, i, u, b] * stay + switch
                    backward_K2UL[row, i, u, b] = coefficient * emission_K2L[k, allele, b]
                for b in range(lanes):
                    scale_L[b] += backward_K2UL[row, i, u, b] * state_sums_U4L[u, 2 + i, b]
        for b in range(lanes):
            scale_L[b] = ONE / (scale_L[b] * prior_L[b])
        for i in range(coefficients):
            for u in range(states):
                for b in range(lanes):
                    backward_K2UL[row, i, u, b] *= scale_L[b]


@compiled
def imputed(
    x: int, typed_at: Array, states_at: Array, site_K: Array, carriers_at: Array, carriers: Array, carrier_state: Array,
    stay_before_S: Array, stay_behind_S: Array, prior_L: Array, forward_U2L: Array, kind_sums_V4L: Array,
    state_sums_U4L: Array, backward_K2UL: Array, sums_4L: Array, total_L: Array, one_L: Array, imputed_BS: Array,
) -> None:  # fmt: skip
    """The probability of allele 1 at the sites between the typed ones of block x; before the first typed site of all,
    from the backward coefficients alone."""
    sums, lanes = sums_4L.shape
    first, count = typed_at[x], imputed_BS.shape[0]
    states = states_at[first + 1] - states_at[first]
    for k in range(first if x else -1, typed_at[x + 1]):
        at, row = states_at[k if k > 0 else 0], k - first + 1
        for b in range(lanes):
            total_L[b] = ZERO
        for u in range(states):
            for b in range(lanes):
                of_a, of_1 = forward_U2L[at + u, 0, b], forward_U2L[at + u, 1, b]
                forward_sum = of_a * state_sums_U4L[u, 1, b] + of_1 * state_sums_U4L[u, 3, b]
                product = of_a * state_sums_U4L[u, 0, b] + of_1 * state_sums_U4L[u, 2, b]
                total_L[b] += (
                    backward_K2UL[row, 0, u, b] * product
                    + backward_K2UL[row, 1, u, b] * forward_sum
                )
        for s in range(site_K[k + 1], site_K[k + 2]):
            before, behind = stay_before_S[s], stay_behind_S[s]
            both_stay, only_before = before * behind, before * (ONE - behind)
            only_behind, neither = (ONE - before) * behind, (ONE - before) * (ONE - behind)
            for b in range(lanes):
                one_L[b] = ZERO
            c, end = carriers_at[s], carriers_at[s + 1]
            while c < end:  # all kinds of a state, which are adjacent
                u = carrier_state[c]
                for i in range(sums):
                    for b in range(lanes):
                        sums_4L[i, b] = ZERO
                while c < end and carrier_state[c] == u:
                    v = carriers[c]
                    for i in range(sums):
                        for b in range(lanes):
                            sums_4L[i, b] += kind_sums_V4L[v, i, b]
                    c += 1
                for b in range(lanes):
                    of_a, of_1 = forward_U2L[at + u, 0, b], forward_U2L[at + u, 1, b]
                    of_b, of_none = backward_K2UL[row, 0, u, b], backward_K2UL[row, 1, u, b]
                    forward_sum = of_a * sums_4L[1, b] + of_1 * sums_4L[3, b]
                    backward_sum = of_b * sums_4L[2, b] + of_none * sums_4L[3, b]
                    product = (
                        of_b * (of_a * sums_4L[0, b] + of_1 * sums_4L[2, b]) + of_none * forward_sum
                    )
                    rest = (only_behind * backward_sum + neither * sums_4L[3, b]) * prior_L[b]
                    one_L[b] += only_before * forward_sum + both_stay * product + rest
            for b in range(count):
                imputed_BS[b, s] = one_L[b] / (ONE + both_stay * (total_L[b] - ONE))


@compiled
def copying_shares(
    x: int, typed_at: Array, states_at: Array, state_XH: Array, one_U: Array, stay_K: Array, emission_K2L: Array,
    alpha_XHL: Array, beta_HL: Array, forward_U2L: Array, state_sums_U4L: Array, backward_K2UL: Array,
    product_4UL: Array, sum_4UL: Array, mass_L: Array, site_L: Array, left_out_K2L: Array, sum_HL: Array, max_HL: Array,
) -> None:  # fmt: skip
    """The probability of copying each allele at the typed sites of block x, by the evidence of all other sites, and of
    copying each haplotype, by all sites: its sum over typed sites, and the maximum of its means in blocks."""
    pairs, _, lanes = product_4UL.shape
    first, end = typed_at[x], typed_at[x + 1]
    states = states_at[first + 1] - states_at[first]
    for i in range(pairs):
        for u in range(states):
            for b in range(lanes):
                sum_4UL[i, u, b] = ZERO
    for k in range(first, end):
        at, row, stay = states_at[k], k - first + 1, stay_K[k + 1]
        for b in range(lanes):
            site_L[b] = TINY
        for i in range(left_out_K2L.shape[1]):
            for b in range(lanes):
                left_out_K2L[k, i, b] = ZERO
        for u in range(states):
            allele = one_U[at + u]
            for b in range(lanes):
                mass_L[b] = ZERO
            for n in range(pairs):
                i, j = n >> 1, n & 1
                switch = ONE - stay if j else ZERO
                for b in range(lanes):
                    coefficient = backward_K2UL[row, j, u, b] * stay + switch
                    product_4UL[n, u, b] = forward_U2L[at + u, i, b] * coefficient
                for b in range(lanes):
                    mass_L[b] += product_4UL[n, u, b] * state_sums_U4L[u, n, b]
            for b in range(lanes):
                site_L[b] += mass_L[b]
            for b in range(lanes):
                left_out_K2L[k, allele, b] += mass_L[b] / emission_K2L[k, allele, b]
        for b in range(lanes):
            site_L[b] = ONE / site_L[b]
        for n in range(pairs):
            for u in range(states):
                for b in range(lanes):
                    sum_4UL[n, u, b] += product_4UL[n, u, b] * site_L[b]
    per_site = ONE / np.float32(end - first)
    for h in range(beta_HL.shape[0]):
        u = state_XH[x, h]
        for b in range(lanes):
            of_a = sum_4UL[0, u, b] * beta_HL[h, b] + sum_4UL[1, u, b]
            of_1 = sum_4UL[3, u, b] + sum_4UL[2, u, b] * beta_HL[h, b]
            mass_L[b] = of_a * alpha_XHL[x, h, b] + of_1
        for b in range(lanes):
            sum_HL[h, b] += mass_L[b]
        for b in range(lanes):
            max_HL[h, b] = max(max_HL[h, b], mass_L[b] * per_site)
