"""Forward-backward of the copying model in few states: haplotypes that are alike at a block of typed sites are one.

At site k of a block the probability of copying haplotype j is A_k(u) a(j) + B_k(u): a is what it was where the block
begins, u the state of j, which is its alleles at the typed sites of the block. What the sites behind k say is
C_k(u) b(j) + D_k(u), with b of the block behind. So sites are walked in states, of which there are few, and haplotypes
only from block to block; the sums of a, b and ab over haplotypes of one kind, alike at all sites of the block, serve
all its sites. Nothing is approximated (the reduction of states of Das et al. 2016, Nat Genet 48:1284, in which the
untyped sites do not matter to the walk).

Shape suffixes: B haplotypes to impute, H reference haplotypes, S sites, K typed sites, U states and V kinds of
haplotypes of a block; 2 coefficients, of a or b and of 1; 3 sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LEAST_KINDS, KINDS_SHARE = 16, 1 / 12  # of a block: a longer one has fewer walks over haplotypes
LONGEST = 64  # typed sites of a block, which grows by the typed ones of so many sites
STEP = 20
MOST_AT_ONCE, VALUES_AT_ONCE = (
    128,
    1 << 23,
)  # haplotypes to impute, and values that are kept of them
TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Block:
    """The `typed` sites (of all typed ones) from one to before another, and the `sites` (of all) that are told by it.

    The `state` and the `kind` (H,) of each haplotype, the `order` (H,) of kinds, which is that of states as well, where
    in it each kind (V,) begins, the state of each kind, the first kind of each state (U,); whether states have allele
    `one` (K, U) at typed sites, the `alleles` (S, V) of kinds at all, and where in these each typed site `begins`.
    """

    typed: slice
    sites: slice
    state: Tensor
    kind: Tensor
    order: Tensor
    first_of_kind: Tensor
    state_of_kind: Tensor
    first_of_state: Tensor
    one: Tensor
    alleles: Tensor
    begins: Sequence[int]

    def by_kind(self, values_HB: Tensor) -> Tensor:
        """The sums (V, B) over the haplotypes of each kind."""
        return functional.embedding_bag(self.order, values_HB, self.first_of_kind, mode="sum")

    def by_state(self, values_VB: Tensor) -> Tensor:
        """The sums (U, B) over the kinds of each state."""
        kinds = torch.arange(len(values_VB), device=values_VB.device)
        return functional.embedding_bag(kinds, values_VB, self.first_of_state, mode="sum")


def _block(
    reference_SH: Tensor,
    typed: slice,
    at_K: NDArray[np.int64],
    sites: slice,
    kind_H: NDArray[np.int64],
) -> Block:
    """`kind_H` numbers haplotypes that are alike at the sites, `at_K` says which of the sites are typed."""
    device, typed_KH = reference_SH.device, reference_SH[torch.from_numpy(at_K)].cpu().numpy()
    state_H = refined(np.zeros_like(kind_H), typed_KH)
    _, one_of_V = np.unique(kind_H, return_index=True)
    by_state_V = np.argsort(state_H[one_of_V], kind="stable")
    kind_H, one_of_V = np.argsort(by_state_V)[kind_H], one_of_V[by_state_V]
    state_V = state_H[one_of_V]
    order_H = np.argsort(kind_H, kind="stable")
    first_V = np.searchsorted(kind_H[order_H], np.arange(len(one_of_V)))
    first_U = np.searchsorted(state_V, np.arange(state_V[-1] + 1))
    return Block(
        typed=typed,
        sites=sites,
        state=torch.from_numpy(state_H).to(device),
        kind=torch.from_numpy(kind_H).to(device),
        order=torch.from_numpy(order_H).to(device),
        first_of_kind=torch.from_numpy(first_V).to(device),
        state_of_kind=torch.from_numpy(state_V).to(device),
        first_of_state=torch.from_numpy(first_U).to(device),
        one=torch.from_numpy(typed_KH[:, one_of_V[first_U]] > 0).to(device),
        alleles=reference_SH[sites][:, torch.from_numpy(one_of_V).to(device)].float(),
        begins=(at_K - sites.start).tolist(),
    )


def refined(kind_H: NDArray[np.int64], rows_SH: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers of haplotypes, of which two are the same if they were before and alleles in all these rows are."""
    for byte_H in np.packbits(rows_SH, axis=0):
        key_H = kind_H << 8 | byte_H
        there = np.zeros(int(key_H.max()) + 1, np.bool_)
        there[key_H] = True
        keys = np.flatnonzero(there)
        number = np.empty(len(there), np.int64)
        number[keys] = np.arange(len(keys))
        kind_H = number[key_H]
    return kind_H


def blocks_of(reference_SH: Tensor, typed_K: Tensor) -> list[Block]:
    """Blocks of neighbouring typed sites, as long as few kinds of haplotypes are in each."""
    reference, typed = reference_SH.cpu().numpy(), typed_K.cpu().numpy()
    sites, count = reference.shape
    most = max(LEAST_KINDS, int(count * KINDS_SHARE))
    begins, ends = np.append(0, typed[1:]), np.append(typed[1:], sites)
    found, first, kind_H = [], 0, np.zeros(count, np.int64)
    step = max(1, STEP * len(typed) // sites)
    for k in range(0, len(typed), step):
        last = min(k + step, len(typed))
        more = reference[begins[k] : ends[last - 1]]
        more_H = refined(kind_H, more)
        if k > first and (more_H.max() >= most or last - first > LONGEST):
            found.append((first, k, kind_H))
            first, more_H = k, refined(np.zeros_like(kind_H), more)
        kind_H = more_H
    found.append((first, len(typed), kind_H))
    return [
        _block(
            reference_SH, slice(a, b), typed[a:b], slice(int(begins[a]), int(ends[b - 1])), kinds
        )
        for a, b, kinds in found
    ]
