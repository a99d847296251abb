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
    """The copying model of the reference haplotypes of a layout, with the probability (K,) of no switch since the typed
    site before, and that of a copying error."""

    def __init__(self, layout: Layout, stay_K: Array, error: float) -> None:
        self._layout = layout
        self._stay_K = np.append(stay_K, np.float32(0))
        self._error = np.float32(error)

    def imputed(self, evidence_BK: Array, excluded_B: Array, stay_around: Sequence[Array]) -> Array:
        """The probability (B, S) of allele 1; `stay_around` are those of `haplotype_copying.Mosaic`. Both haplotypes of
        the individual `excluded_B` of the reference are left out, of none where that is -1."""
        stay_before_S, stay_behind_S = stay_around
        imputed_BS = np.empty((len(evidence_BK), len(stay_before_S)), np.float32)

        def impute(group: "Group", rows: slice) -> None:
            sums_4L, total_L, one_L = group.empty(4), group.empty(), group.empty()
            layout = self._layout
            for x in group.blocks():
                block_kernel.imputed(
                    x, layout.typed_at, layout.states_at, layout.typed_sites, layout.carriers_at, layout.carriers,
                    layout.carrier_state, stay_before_S, stay_behind_S, group.prior_L, group.forward_U2L,
                    group.kind_sums_V4L, group.state_sums_U4L, group.backward_K2UL, sums_4L, total_L, one_L,
                    imputed_BS[rows],
                )  # fmt: skip

        self._walk(impute, evidence_BK, excluded_B)
        return imputed_BS

    def posteriors(self, evidence_BK: Array, excluded_B: Array) -> tuple[Array, Array]:
        """The probability (B, K) of allele 1 by all other sites' evidence, and how much each haplotype is copied
        (B, H): its mean probability plus the maximum of its means in blocks. `excluded_B` as in `imputed`."""
        layout, error = self._layout, self._error
        left_out_BK = np.empty(evidence_BK.shape, np.float32)
        mass_BH = np.empty((len(evidence_BK), layout.state.shape[1]), np.float32)

        def sum_shares(group: "Group", rows: slice) -> None:
            product_4UL, sum_4UL = (group.empty(4, layout.max_states) for _ in range(2))
            mass_L, site_L, left_out_K2L = (
                group.empty(),
                group.empty(),
                group.empty(evidence_BK.shape[1], 2),
            )
            sum_HL, max_HL = np.zeros((2, *group.beta_HL.shape), np.float32)
            for x in group.blocks():
                block_kernel.copying_shares(
                    x, layout.typed_at, layout.states_at, layout.state, layout.state_allele, self._stay_K,
                    group.emission_K2L, group.alpha_XHL, group.beta_HL, group.forward_U2L, group.state_sums_U4L,
                    group.backward_K2UL, product_4UL, sum_4UL, mass_L, site_L, left_out_K2L, sum_HL, max_HL,
                )  # fmt: skip
            left_out_2BK = left_out_K2L.transpose(1, 2, 0)[:, : rows.stop - rows.start]
            share_BK = left_out_2BK[1] / (left_out_2BK.sum(axis=0) + block_kernel.TINY)
            left_out_BK[rows] = share_BK * (1 - error) + (1 - share_BK) * error
            mass_HL = sum_HL / np.float32(evidence_BK.shape[1]) + max_HL
            group.leave_out(mass_HL)
            mass_BH[rows] = mass_HL.T[: rows.stop - rows.start]

        self._walk(sum_shares, evidence_BK, excluded_B)
        return left_out_BK, mass_BH

    def _walk(
        self, visit: "Callable[[Group, slice], None]", evidence_BK: Array, excluded_B: Array
    ) -> None:
        """Call `visit` with every group, walked forward, and the rows of its haplotypes."""
        count = len(evidence_BK)
        groups = -(-count // LANES)
        lanes = -(-count // (groups * VECTOR)) * VECTOR  # as few unused ones as possible

        def walk(first: int, step: int) -> None:
            group = Group(self._layout, self._stay_K, lanes)
            for begin in range(first * lanes, count, step * lanes):
                rows = slice(begin, min(begin + lanes, count))
                group.begin(evidence_BK[rows], excluded_B[rows], self._error)
                visit(group, rows)

        threads.run_strided(threads.count(), -(-count // lanes), walk)


class Group:
    """Buffers for haplotypes that are walked together, reused for group after group."""

    def __init__(self, layout: Layout, stay_K: Array, lanes: int) -> None:
        self._layout, self._stay_K, self._lanes = layout, stay_K, lanes
        blocks, haplotypes = layout.state.shape
        self.excluded_L = np.empty(lanes, np.int32)
        self.prior_L, self._scale_L = self.empty(), self.empty()
        self.emission_K2L = self.empty(len(stay_K) - 1, 2)
        self._counts_VL = self.empty(len(layout.kind_sizes))
        self._weight_2UL, self._state_2UL = (self.empty(2, layout.max_states) for _ in range(2))
        self.alpha_XHL, self.beta_HL = self.empty(blocks, haplotypes), self.empty(haplotypes)
        self.forward_U2L = self.empty(len(layout.state_allele), 2)
        self.backward_K2UL = self.empty(layout.max_typed + 1, 2, layout.max_states)
        self.kind_sums_V4L = self.empty(layout.max_kinds, 4)
        self.state_sums_U4L = self.empty(layout.max_states, 4)

    def empty(self, *shape: int) -> Array:
        """Memory for a number of each haplotype (..., L)."""
        return np.empty((*shape, self._lanes), np.float32)

    def begin(self, evidence_BK: Array, excluded_B: Array, error: np.float32) -> None:
        """Load the evidence of haplotypes, and walk all blocks forward. Unused lanes have no evidence."""
        layout, size = self._layout, len(evidence_BK)
        haplotypes = layout.state.shape[1]
        likely_BK = evidence_BK * (1 - error) + (1 - evidence_BK) * error
        self.emission_K2L[..., size:] = 0.5
        self.emission_K2L[:, 0, :size], self.emission_K2L[:, 1, :size] = (
            1 - likely_BK.T,
            likely_BK.T,
        )
        self.excluded_L[:size], self.excluded_L[size:] = excluded_B, -1
        reference_L = np.flatnonzero(self.excluded_L >= 0)
        self.prior_L[:] = 1 / haplotypes
        self.prior_L[reference_L] = 1 / (haplotypes - 2)
        self._counts_VL[:] = layout.kind_sizes[:, None]
        for haplotype in range(2):
            kinds_XL = (
                layout.kinds_at[:-1, None]
                + layout.kind[:, 2 * self.excluded_L[reference_L] + haplotype]
            )
            self._counts_VL[kinds_XL, reference_L] -= 1
        self.alpha_XHL[0] = self.prior_L
        self.leave_out(self.alpha_XHL[0])
        block_kernel.forward(
            layout.typed_at, layout.kinds_at, layout.states_at, layout.state, layout.state_of_kind, layout.state_allele,
            self._stay_K, self.emission_K2L, self.excluded_L, self.prior_L, self._counts_VL, self._scale_L,
            self._weight_2UL, self._state_2UL, self.alpha_XHL, self.forward_U2L,
        )  # fmt: skip

    def leave_out(self, values_HL: Array) -> None:
        """0 for both haplotypes of the excluded individuals."""
        reference_L = np.flatnonzero(self.excluded_L >= 0)
        for haplotype in range(2):
            values_HL[2 * self.excluded_L[reference_L] + haplotype, reference_L] = 0

    def blocks(self) -> Iterator[int]:
        """Indices from the last block to the first, each walked backward before it is yielded."""
        layout = self._layout
        self.beta_HL[:] = 0
        for x in range(len(layout.state) - 1, -1, -1):
            block_kernel.backward(
                x, layout.typed_at, layout.kinds_at, layout.states_at, layout.state, layout.kind, layout.state_of_kind,
                layout.state_allele, self._stay_K, self.emission_K2L, self.excluded_L, self.prior_L, self._counts_VL,
                self._scale_L, self.alpha_XHL, self.beta_HL, self.kind_sums_V4L, self.state_sums_U4L,
                self.backward_K2UL,
            )  # fmt: skip
            yield x
