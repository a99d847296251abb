"""The walks of `haplotype_blocks` as compiled loops: the same answers, in a quarter of the time.

Haplotypes to impute are walked side by side, a group at a time, so that what is kept of them stays in the processor's
caches. The innermost loops are over a group and write one array each: no more can be told apart when they are
vectorised.

Shape suffixes: B haplotypes to impute, L of them that are walked together, H reference haplotypes, S sites, K typed
sites, X blocks, U states and V kinds of haplotypes, of a block or, in a `Layout`, of all blocks; 2 coefficients, of a
or b and of 1; 4 sums, of a, b, ab and 1.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.backbones.compiled import compiled
from genomai_cli.population.networks.block_layout import Layout

Array = NDArray[Any]
ZERO: Any = np.float32(0)
ONE: Any = np.float32(1)  # a plain 1 would make doubles of them
TINY: Any = np.float32(1e-30)
ORDER = (2, 0, 1, 3)  # of ab, a, b and 1 among sums


@compiled
def _leave_out(values_HL: Array, own_L: Array) -> None:
    """0 for both haplotypes of the individuals of the reference themselves, where they are any."""
    lanes = values_HL.shape[1]
    for b in range(lanes):
        if own_L[b] >= 0:
            values_HL[2 * own_L[b], b] = ZERO
            values_HL[2 * own_L[b] + 1, b] = ZERO


@compiled
def _expand(values_HL: Array, state_H: Array, state_2UL: Array) -> None:
    """The coefficients of each haplotype's state applied to its value."""
    lanes = values_HL.shape[1]
    for h in range(len(state_H)):
        u = state_H[h]
        for b in range(lanes):
            values_HL[h, b] = state_2UL[0, u, b] * values_HL[h, b] + state_2UL[1, u, b]


@compiled
def _evidence(
    group: int, error: Any, one_BK: Array, own_B: Array, seen_K2L: Array, own_L: Array, each_L: Array, haplotypes: int
) -> None:  # fmt: skip
    """How likely evidence is by the allele that is copied, whose own haplotypes are left out, and the share of each
    haplotype where any may be copied, for the haplotypes of a group; those that it lacks are like nothing."""
    lanes = own_L.shape[0]
    for b in range(lanes):
        row = group * lanes + b
        there = row < len(one_BK)
        own_L[b] = own_B[row] if there else -1
        each_L[b] = ONE / np.float32(haplotypes - (2 if own_L[b] >= 0 else 0))
        for k in range(len(seen_K2L)):
            one = one_BK[row, k] if there else np.float32(0.5)
            likely = one * (ONE - error) + (ONE - one) * error
            seen_K2L[k, 0, b], seen_K2L[k, 1, b] = ONE - likely, likely


@compiled
def _forward(
    layout: Layout, stay_K: Array, seen_K2L: Array, own_L: Array, each_L: Array,
    alpha_XHL: Array, counts_VL: Array, forward_U2L: Array,
) -> None:  # fmt: skip
    """The values a of all blocks, how many haplotypes kinds have, and the coefficients at each typed site with its
    evidence."""
    lanes = own_L.shape[0]
    blocks, haplotypes = layout.state.shape
    weight_2UL = np.empty((2, layout.most_states, lanes), np.float32)
    state_2UL = np.empty((2, layout.most_states, lanes), np.float32)
    total_L, switch_L = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    for h in range(haplotypes):
        for b in range(lanes):
            alpha_XHL[0, h, b] = each_L[b]
    for x in range(blocks):
        alpha_HL, state_H, kind_H = alpha_XHL[x], layout.state[x], layout.kind[x]
        _leave_out(alpha_HL, own_L)
        first_kind, end_kind = layout.kinds_at[x], layout.kinds_at[x + 1]
        for v in range(first_kind, end_kind):
            for b in range(lanes):
                counts_VL[v, b] = layout.sizes[v]
        for b in range(lanes):
            if own_L[b] >= 0:
                counts_VL[first_kind + kind_H[2 * own_L[b]], b] -= ONE
                counts_VL[first_kind + kind_H[2 * own_L[b] + 1], b] -= ONE
        first, end = layout.typed_at[x], layout.typed_at[x + 1]
        states = layout.states_at[first + 1] - layout.states_at[first]
        weight_2UL[:, :states] = ZERO
        for h in range(haplotypes):
            u = state_H[h]
            for b in range(lanes):
                weight_2UL[0, u, b] += alpha_HL[h, b]
        for v in range(first_kind, end_kind):
            u = layout.state_of_kind[v]
            for b in range(lanes):
                weight_2UL[1, u, b] += counts_VL[v, b]
        state_2UL[0, :states], state_2UL[1, :states] = ONE, ZERO
        for k in range(first, end):
            at, stay = layout.states_at[k], stay_K[k + 1]
            total_L[:] = ZERO
            for u in range(states):
                allele = layout.one[at + u]
                for i in range(2):
                    for b in range(lanes):
                        state_2UL[i, u, b] *= seen_K2L[k, allele, b]
                    for b in range(lanes):
                        total_L[b] += state_2UL[i, u, b] * weight_2UL[i, u, b]
            for b in range(lanes):
                total_L[b] = ONE / max(total_L[b], TINY)
                switch_L[b] = (ONE - stay) * each_L[b]
            for u in range(states):
                for i in range(2):
                    for b in range(lanes):
                        found = state_2UL[i, u, b] * total_L[b]
                        forward_U2L[at + u, i, b] = found
                        state_2UL[i, u, b] = found * stay
                for b in range(lanes):
                    state_2UL[1, u, b] += switch_L[b]
        if x + 1 < blocks:
            next_HL = alpha_XHL[x + 1]
            for h in range(haplotypes):
                for b in range(lanes):
                    next_HL[h, b] = alpha_HL[h, b]
            _expand(next_HL, state_H, state_2UL)


@compiled
def _backward(
    layout: Layout, x: int, stay_K: Array, seen_K2L: Array, each_L: Array, alpha_HL: Array, beta_HL: Array,
    counts_VL: Array, of_kind_V4L: Array, of_state_U4L: Array, after_K2UL: Array,
) -> None:  # fmt: skip
    """The sums of a, b, ab and 1 over the haplotypes of each kind and of each state of a block, and the coefficients of
    what is behind each of its typed sites, the evidence of the next one included."""
    lanes = beta_HL.shape[1]
    first_kind, kinds = layout.kinds_at[x], layout.kinds_at[x + 1] - layout.kinds_at[x]
    first, end = layout.typed_at[x], layout.typed_at[x + 1]
    states = layout.states_at[first + 1] - layout.states_at[first]
    kind_H = layout.kind[x]
    of_kind_V4L[:kinds, :3] = ZERO
    for v in range(kinds):
        for b in range(lanes):
            of_kind_V4L[v, 3, b] = counts_VL[first_kind + v, b]
    for h in range(len(kind_H)):
        v = kind_H[h]
        for b in range(lanes):
            of_kind_V4L[v, 0, b] += alpha_HL[h, b]
        for b in range(lanes):
            of_kind_V4L[v, 1, b] += beta_HL[h, b]
        for b in range(lanes):
            of_kind_V4L[v, 2, b] += alpha_HL[h, b] * beta_HL[h, b]
    of_state_U4L[:states] = ZERO
    for v in range(kinds):
        _add(of_kind_V4L[v], of_state_U4L[layout.state_of_kind[first_kind + v]])
    is_last = x + 1 == len(layout.kind)
    after_K2UL[end - first, 0, :states] = ZERO if is_last else ONE
    after_K2UL[end - first, 1, :states] = ONE if is_last else ZERO
    total_L = np.empty(lanes, np.float32)
    for k in range(end - 1, first - 1, -1):
        at, stay = layout.states_at[k], stay_K[k + 1]
        here, behind = after_K2UL[k - first], after_K2UL[k - first + 1]
        total_L[:] = ZERO
        for u in range(states):
            allele = layout.one[at + u]
            for i in range(2):
                switch = ONE - stay if i else ZERO
                for b in range(lanes):
                    here[i, u, b] = (behind[i, u, b] * stay + switch) * seen_K2L[k, allele, b]
                for b in range(lanes):
                    total_L[b] += here[i, u, b] * of_state_U4L[u, 1 + 2 * i, b]
        for b in range(lanes):
            total_L[b] = ONE / max(total_L[b] * each_L[b], TINY)
        for u in range(states):
            for i in range(2):
                for b in range(lanes):
                    here[i, u, b] *= total_L[b]


@compiled
def _add(one_4L: Array, sum_4L: Array) -> None:
    one_F, sum_F = one_4L.ravel(), sum_4L.ravel()
    for i in range(len(one_F)):
        sum_F[i] += one_F[i]


@compiled
def _said(of_4L: Array, forward_2L: Array, behind_2UL: Array, u: int, said_4L: Array) -> None:
    """Added up: how much haplotypes of a state, of which these are the sums of a, b, ab and 1, are copied at a typed
    site, what is behind says of them, the product of these two, and how many they are."""
    lanes = said_4L.shape[1]
    copied_L = np.empty(lanes, np.float32)
    for b in range(lanes):
        copied_L[b] = forward_2L[0, b] * of_4L[0, b] + forward_2L[1, b] * of_4L[3, b]
    for b in range(lanes):
        said_4L[0, b] += copied_L[b]
    for b in range(lanes):
        said_4L[1, b] += behind_2UL[0, u, b] * of_4L[1, b] + behind_2UL[1, u, b] * of_4L[3, b]
    for b in range(lanes):
        said_4L[2, b] += behind_2UL[1, u, b] * copied_L[b]
    for b in range(lanes):
        both = forward_2L[0, b] * of_4L[2, b] + forward_2L[1, b] * of_4L[1, b]
        said_4L[2, b] += behind_2UL[0, u, b] * both
    for b in range(lanes):
        said_4L[3, b] += of_4L[3, b]


@compiled
def _of_all(
    layout: Layout, k: int, forward_U2L: Array, behind_2UL: Array, of_state_U4L: Array, said_4L: Array
) -> None:  # fmt: skip
    """What `_said` says of all haplotypes."""
    at = layout.states_at[k]
    said_4L[:] = ZERO
    for u in range(layout.states_at[k + 1] - at):
        _said(of_state_U4L[u], forward_U2L[at + u], behind_2UL, u, said_4L)


@compiled
def _of_carriers(
    layout: Layout, s: int, k: int, forward_U2L: Array, behind_2UL: Array, of_kind_V4L: Array, of_4L: Array,
    said_4L: Array,
) -> None:  # fmt: skip
    """What `_said` says of the haplotypes that have allele 1 at a site; kinds of a state are neighbours."""
    at = layout.states_at[k]
    said_4L[:] = ZERO
    c, end = layout.carriers_at[s], layout.carriers_at[s + 1]
    while c < end:
        u = layout.carrier_state[c]
        of_4L[:] = ZERO
        while c < end and layout.carrier_state[c] == u:
            _add(of_kind_V4L[layout.carriers[c]], of_4L)
            c += 1
        _said(of_4L, forward_U2L[at + u], behind_2UL, u, said_4L)


@compiled
def _group_arrays(layout: Layout, sites: int, lanes: int) -> tuple[Array, ...]:
    """What walks of a group write: evidence, own individuals and shares, what `_forward` gives, b, and what `_backward`
    gives."""
    blocks, haplotypes = layout.state.shape
    states, kinds, typed = layout.most_states, layout.most_kinds, layout.most_typed
    return (
        np.empty((sites, 2, lanes), np.float32),
        np.empty(lanes, np.int64),
        np.empty(lanes, np.float32),
        np.empty((blocks, haplotypes, lanes), np.float32),
        np.empty((haplotypes, lanes), np.float32),
        np.empty((len(layout.sizes), lanes), np.float32),
        np.empty((len(layout.one), 2, lanes), np.float32),
        np.empty((typed + 1, 2, states, lanes), np.float32),
        np.empty((kinds, 4, lanes), np.float32),
        np.empty((states, 4, lanes), np.float32),
    )


@compiled
def imputed(
    first: int, step: int, lanes: int, layout: Layout, stay_K: Array, error: Any, one_BK: Array, own_B: Array,
    near_S: Array, keep_S: Array, found_BS: Array,
) -> None:  # fmt: skip
    """See `ReducedCopying.imputed`: for groups of so many `lanes`, for every `step`-th group from the first on."""
    blocks, haplotypes = layout.state.shape
    (
        seen_K2L, own_L, each_L, alpha_XHL, beta_HL, counts_VL, forward_U2L, after_K2UL, of_kind_V4L, of_state_U4L,
    ) = _group_arrays(layout, len(stay_K) - 1, lanes)  # fmt: skip
    of_4L, said_4L = np.empty((4, lanes), np.float32), np.empty((4, lanes), np.float32)
    all_4L = np.empty((4, lanes), np.float32)
    for group in range(first, (len(one_BK) + lanes - 1) // lanes, step):
        begin, end = group * lanes, min((group + 1) * lanes, len(one_BK))
        _evidence(group, error, one_BK, own_B, seen_K2L, own_L, each_L, haplotypes)
        _forward(layout, stay_K, seen_K2L, own_L, each_L, alpha_XHL, counts_VL, forward_U2L)
        beta_HL[:] = ZERO
        for x in range(blocks - 1, -1, -1):
            _backward(
                layout, x, stay_K, seen_K2L, each_L, alpha_XHL[x], beta_HL, counts_VL, of_kind_V4L, of_state_U4L,
                after_K2UL,
            )  # fmt: skip
            first_k = layout.typed_at[x]
            for k in range(first_k, layout.typed_at[x + 1]):
                behind_2UL = after_K2UL[k - first_k + 1]
                _of_all(layout, k, forward_U2L, behind_2UL, of_state_U4L, all_4L)
                for s in range(layout.place[k], layout.place[k + 1]):
                    near, keep = near_S[s], keep_S[s]
                    both, alone = near * keep, (ONE - near) * (ONE - keep)
                    _of_carriers(layout, s, k, forward_U2L, behind_2UL, of_kind_V4L, of_4L, said_4L)
                    for b in range(end - begin):
                        told = (ONE - keep) * near * said_4L[0, b] + both * said_4L[2, b]
                        told += keep * (ONE - near) * said_4L[1, b] * each_L[b]
                        told += alone * said_4L[3, b] * each_L[b]
                        found_BS[begin + b, s] = told / (ONE + both * (all_4L[2, b] - ONE))
            if x > 0:
                _expand(beta_HL, layout.state[x], after_K2UL[0])
                _leave_out(beta_HL, own_L)
        # Before the first typed site only what it says itself is known, with all that is behind it.
        stay, first_2UL = stay_K[1], after_K2UL[1]
        for i in range(2):
            switch = ONE - stay if i else ZERO
            for u in range(layout.states_at[1]):
                for b in range(lanes):
                    first_2UL[i, u, b] = first_2UL[i, u, b] * stay + switch
        _of_all(layout, 0, forward_U2L, first_2UL, of_state_U4L, all_4L)
        for s in range(layout.place[0]):
            _of_carriers(layout, s, 0, forward_U2L, first_2UL, of_kind_V4L, of_4L, said_4L)
            for b in range(end - begin):
                said = said_4L[2, b] / max(all_4L[2, b], TINY)
                mean = said_4L[3, b] * each_L[b]
                found_BS[begin + b, s] = near_S[s] * said + (ONE - near_S[s]) * mean


@compiled
def copied(
    first: int, step: int, lanes: int, layout: Layout, stay_K: Array, error: Any, one_BK: Array, own_B: Array,
    without_BK: Array, mass_BH: Array,
) -> None:  # fmt: skip
    """See `ReducedCopying.copied`: for groups of so many `lanes`, for every `step`-th group from the first on."""
    blocks, haplotypes = layout.state.shape
    (
        seen_K2L, own_L, each_L, alpha_XHL, beta_HL, counts_VL, forward_U2L, after_K2UL, of_kind_V4L, of_state_U4L,
    ) = _group_arrays(layout, len(stay_K) - 1, lanes)  # fmt: skip
    shape = 4, layout.most_states, lanes
    here_4UL, mean_4UL = np.empty(shape, np.float32), np.empty(shape, np.float32)
    sum_HL, most_HL = (
        np.empty((haplotypes, lanes), np.float32),
        np.empty((haplotypes, lanes), np.float32),
    )
    for group in range(first, (len(one_BK) + lanes - 1) // lanes, step):
        begin, end = group * lanes, min((group + 1) * lanes, len(one_BK))
        _evidence(group, error, one_BK, own_B, seen_K2L, own_L, each_L, haplotypes)
        _forward(layout, stay_K, seen_K2L, own_L, each_L, alpha_XHL, counts_VL, forward_U2L)
        beta_HL[:], sum_HL[:], most_HL[:] = ZERO, ZERO, ZERO
        for x in range(blocks - 1, -1, -1):
            _backward(
                layout, x, stay_K, seen_K2L, each_L, alpha_XHL[x], beta_HL, counts_VL, of_kind_V4L, of_state_U4L,
                after_K2UL,
            )  # fmt: skip
            mean_4UL[:] = ZERO
            for k in range(layout.typed_at[x], layout.typed_at[x + 1]):
                behind_2UL = after_K2UL[k - layout.typed_at[x] + 1]
                _share(
                    layout, k, stay_K[k + 1], error, seen_K2L, forward_U2L, behind_2UL, of_state_U4L,
                    here_4UL, mean_4UL, without_BK[begin:end],
                )  # fmt: skip
            each_site = ONE / np.float32(layout.typed_at[x + 1] - layout.typed_at[x])
            _mass(layout.state[x], alpha_XHL[x], beta_HL, mean_4UL, each_site, sum_HL, most_HL)
            if x > 0:
                _expand(beta_HL, layout.state[x], after_K2UL[0])
                _leave_out(beta_HL, own_L)
        _leave_out(sum_HL, own_L)
        _leave_out(most_HL, own_L)
        for h in range(haplotypes):
            for b in range(end - begin):
                mass_BH[begin + b, h] = sum_HL[h, b] / np.float32(len(stay_K) - 1) + most_HL[h, b]


@compiled
def _share(
    layout: Layout, k: int, stay: Any, error: Any, seen_K2L: Array, forward_U2L: Array, behind_2UL: Array,
    of_state_U4L: Array, here_4UL: Array, mean_4UL: Array, without_BK: Array,
) -> None:  # fmt: skip
    """The probability of allele 1 at a typed site by all other sites' evidence, and the coefficients of ab, a, b and 1
    by which a haplotype is copied there, added to those of the sites before."""
    lanes = of_state_U4L.shape[2]
    at = layout.states_at[k]
    states = layout.states_at[k + 1] - at
    total_L, one_L = np.zeros(lanes, np.float32), np.zeros(lanes, np.float32)
    here_L, without_L = np.zeros(lanes, np.float32), np.empty(lanes, np.float32)
    for u in range(states):
        allele = layout.one[at + u]
        is_one = np.float32(allele)
        without_L[:] = ZERO
        for i in range(2):
            for j in range(2):
                n, switch = 2 * i + j, ONE - stay if j else ZERO
                for b in range(lanes):
                    to = behind_2UL[j, u, b] * stay + switch
                    here_4UL[n, u, b] = forward_U2L[at + u, i, b] * to
                for b in range(lanes):
                    without_L[b] += here_4UL[n, u, b] * of_state_U4L[u, ORDER[n], b]
        for b in range(lanes):
            here_L[b] += without_L[b]
        for b in range(lanes):
            without_L[b] /= seen_K2L[k, allele, b]
        for b in range(lanes):
            total_L[b] += without_L[b]
        for b in range(lanes):
            one_L[b] += without_L[b] * is_one
    for b in range(len(without_BK)):
        share = min(one_L[b] / max(total_L[b], TINY), ONE)
        without_BK[b, k] = share * (ONE - error) + (ONE - share) * error
    for b in range(lanes):
        here_L[b] = ONE / max(here_L[b], TINY)
    for i in range(4):
        for u in range(states):
            for b in range(lanes):
                mean_4UL[i, u, b] += here_4UL[i, u, b] * here_L[b]


@compiled
def _mass(
    state_H: Array, alpha_HL: Array, beta_HL: Array, mean_4UL: Array, each_site: Any,
    sum_HL: Array, most_HL: Array,
) -> None:  # fmt: skip
    """How much each haplotype is copied at the typed sites of a block, added up, and the greatest mean of blocks."""
    lanes = alpha_HL.shape[1]
    here_L = np.empty(lanes, np.float32)
    for h in range(len(state_H)):
        u = state_H[h]
        for b in range(lanes):
            here_L[b] = mean_4UL[3, u, b] + mean_4UL[2, u, b] * beta_HL[h, b]
        for b in range(lanes):
            of_a = mean_4UL[0, u, b] * beta_HL[h, b] + mean_4UL[1, u, b]
            here_L[b] += of_a * alpha_HL[h, b]
        for b in range(lanes):
            sum_HL[h, b] += here_L[b]
        for b in range(lanes):
            most_HL[h, b] = max(most_HL[h, b], here_L[b] * each_site)
