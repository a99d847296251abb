"""The copying model in blocks, see `haplotype_blocks`, walked on the processor by the loops of `block_kernel`.

Shape suffixes: B haplotypes to impute, L of them that are walked together, H reference haplotypes, S sites, K typed
sites, U states and V kinds of haplotypes of all blocks; 2 alleles or coefficients, 4 sums.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from genomai_cli import threads
from genomai_cli.population.networks import block_kernel
from genomai_cli.population.networks.block_layout import Array, Layout

LANES, VECTOR = 64, 16  # haplotypes that are walked together, at most and by the vector


class ReducedCopying:
    """The copying model of the reference haplotypes of these blocks: how likely (K,) there is no switch since the typed
    site before, and its error."""

    def __init__(self, layout: Layout, stay_K: Array, error: float) -> None:
        self._layout = layout
        self._stay_K = np.append(stay_K, np.float32(0))
        self._error = np.float32(error)

    def imputed(self, one_BK: Array, own_B: Array, between: Sequence[Array]) -> Array:
        """The probability (B, S) of allele 1; see `haplotype_copying.Mosaic.between`. Both haplotypes of an individual
        of the reference, `own_B` where that is not -1, are left out."""
        near_S, keep_S = between
        found_BS = np.empty((len(one_BK), len(near_S)), np.float32)

        def told(group: "Group", rows: slice) -> None:
            of_4L, all_L, one_L = group.empty(4), group.empty(), group.empty()
            at = self._layout
            for x in group.blocks():
                block_kernel.imputed(
                    x, at.typed_at, at.states_at, at.site, at.carriers_at, at.carriers, at.carrier_state, near_S,
                    keep_S, group.each_L, group.forward_U2L, group.of_kind_V4L, group.of_state_U4L, group.after_K2UL,
                    of_4L, all_L, one_L, found_BS[rows],
                )  # fmt: skip

        self._walk(told, one_BK, own_B)
        return found_BS

    def copied(self, one_BK: Array, own_B: Array) -> tuple[Array, Array]:
        """The probability (B, K) of allele 1 by all other sites' evidence, and how much each haplotype is copied
        (B, H): its mean probability, and the greatest of the means of blocks. `own_B` as in `imputed`."""
        at, error = self._layout, self._error
        without_BK = np.empty(one_BK.shape, np.float32)
        mass_BH = np.empty((len(one_BK), at.state.shape[1]), np.float32)

        def told(group: "Group", rows: slice) -> None:
            here_4UL, mean_4UL = (group.empty(4, at.most_states) for _ in range(2))
            here_L, site_L, without_K2L = (
                group.empty(),
                group.empty(),
                group.empty(one_BK.shape[1], 2),
            )
            sum_HL, most_HL = np.zeros((2, *group.beta_HL.shape), np.float32)
            for x in group.blocks():
                block_kernel.shares(
                    x, at.typed_at, at.states_at, at.state, at.one, self._stay_K, group.seen_K2L,
                    group.alpha_XHL, group.beta_HL, group.forward_U2L, group.of_state_U4L, group.after_K2UL,
                    here_4UL, mean_4UL, here_L, site_L, without_K2L, sum_HL, most_HL,
                )  # fmt: skip
            without_2BK = without_K2L.transpose(1, 2, 0)[:, : rows.stop - rows.start]
            share_BK = without_2BK[1] / (without_2BK.sum(axis=0) + block_kernel.TINY)
            without_BK[rows] = share_BK * (1 - error) + (1 - share_BK) * error
            mass_HL = sum_HL / np.float32(one_BK.shape[1]) + most_HL
            group.leave_out(mass_HL)
            mass_BH[rows] = mass_HL.T[: rows.stop - rows.start]

        self._walk(told, one_BK, own_B)
        return without_BK, mass_BH

    def _walk(self, told: "Callable[[Group, slice], None]", one_BK: Array, own_B: Array) -> None:
        """Call `told` with every group, walked forward, and with which haplotypes it has."""
        count = len(one_BK)
        groups = -(-count // LANES)
        lanes = -(-count // (groups * VECTOR)) * VECTOR  # as few as possible for nothing

        def walk(first: int, step: int) -> None:
            group = Group(self._layout, self._stay_K, lanes)
            for begin in range(first * lanes, count, step * lanes):
                rows = slice(begin, min(begin + lanes, count))
                group.begin(one_BK[rows], own_B[rows], self._error)
                told(group, rows)

        threads.run_strided(threads.count(), -(-count // lanes), walk)


class Group:
    """So many haplotypes that are walked together, and the memory that their walks take: for group after group."""

    def __init__(self, layout: Layout, stay_K: Array, lanes: int) -> None:
        self._layout, self._stay_K, self._lanes = layout, stay_K, lanes
        blocks, haplotypes = layout.state.shape
        self.own_L = np.empty(lanes, np.int32)
        self.each_L, self._scale_L = self.empty(), self.empty()
        self.seen_K2L = self.empty(len(stay_K) - 1, 2)
        self._counts_VL = self.empty(len(layout.sizes))
        self._weight_2UL, self._state_2UL = (self.empty(2, layout.most_states) for _ in range(2))
        self.alpha_XHL, self.beta_HL = self.empty(blocks, haplotypes), self.empty(haplotypes)
        self.forward_U2L = self.empty(len(layout.one), 2)
        self.after_K2UL = self.empty(layout.most_typed + 1, 2, layout.most_states)
        self.of_kind_V4L = self.empty(layout.most_kinds, 4)
        self.of_state_U4L = self.empty(layout.most_states, 4)

    def empty(self, *shape: int) -> Array:
        """Memory for a number of each haplotype (..., L)."""
        return np.empty((*shape, self._lanes), np.float32)

    def begin(self, one_BK: Array, own_B: Array, error: np.float32) -> None:
        """Take up haplotypes by their evidence, and walk all blocks forward. What is lacking to a group is like
        nothing."""
        at, size = self._layout, len(one_BK)
        haplotypes = at.state.shape[1]
        likely_BK = one_BK * (1 - error) + (1 - one_BK) * error
        self.seen_K2L[..., size:] = 0.5
        self.seen_K2L[:, 0, :size], self.seen_K2L[:, 1, :size] = 1 - likely_BK.T, likely_BK.T
        self.own_L[:size], self.own_L[size:] = own_B, -1
        there_L = np.flatnonzero(self.own_L >= 0)
        self.each_L[:] = 1 / haplotypes
        self.each_L[there_L] = 1 / (haplotypes - 2)
        self._counts_VL[:] = at.sizes[:, None]
        for haplotype in range(2):
            kinds_XL = at.kinds_at[:-1, None] + at.kind[:, 2 * self.own_L[there_L] + haplotype]
            self._counts_VL[kinds_XL, there_L] -= 1
        self.alpha_XHL[0] = self.each_L
        self.leave_out(self.alpha_XHL[0])
        block_kernel.forward(
            at.typed_at, at.kinds_at, at.states_at, at.state, at.state_of_kind, at.one, self._stay_K, self.seen_K2L,
            self.own_L, self.each_L, self._counts_VL, self._scale_L, self._weight_2UL, self._state_2UL,
            self.alpha_XHL, self.forward_U2L,
        )  # fmt: skip

    def leave_out(self, values_HL: Array) -> None:
        """0 for both haplotypes of the individuals of the reference themselves."""
        there_L = np.flatnonzero(self.own_L >= 0)
        for haplotype in range(2):
            values_HL[2 * self.own_L[there_L] + haplotype, there_L] = 0

    def blocks(self) -> Iterator[int]:
        """From the last block to the first, each walked backward before it is given."""
        at = self._layout
        self.beta_HL[:] = 0
        for x in range(len(at.state) - 1, -1, -1):
            block_kernel.backward(
                x, at.typed_at, at.kinds_at, at.states_at, at.state, at.kind, at.state_of_kind, at.one, self._stay_K,
                self.seen_K2L, self.own_L, self.each_L, self._counts_VL, self._scale_L, self.alpha_XHL, self.beta_HL,
                self.of_kind_V4L, self.of_state_U4L, self.after_K2UL,
            )  # fmt: skip
            yield x
