"""Forward-backward of the copying model in few states: haplotypes that are equal at a block of typed sites are one.

At site k of a block the probability of copying haplotype j is A_k(u) a(j) + B_k(u): a is that where the block begins, u
the state of j, which is its alleles at the typed sites of the block. The likelihood of the sites behind k is
C_k(u) b(j) + D_k(u), with b of the block behind. So sites are walked in states, of which there are few, and haplotypes
only from block to block; the sums of a, b and ab over haplotypes of one kind, equal at all sites of the block, serve
all its sites. Nothing is approximated (the reduction of states of Das et al. 2016, Nat Genet 48:1284, in which the
untyped sites do not matter to the walk).

Shape suffixes: H reference haplotypes, S sites, K typed sites, U states and V kinds of
haplotypes of a block.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_KINDS, KINDS_SHARE = (
    16,
    1 / 12,
)  # limit of the kinds of a block, absolute and as a share of the haplotypes
MAX_BLOCK_SITES = 64  # typed sites of a block
SITES_PER_STEP = 20  # a block grows by the typed ones among so many sites

Numbers = NDArray[np.int64]
Alleles = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Block:
    """A range of `sites` (S,), of which the indices `typed` (K,) within it are typed.

    The `state` and the `kind` (H,) of each haplotype, and the state of each kind (V,), by which kinds are sorted; the
    alleles of states at typed sites (K, U), and of kinds at all sites (S, V).
    """

    sites: slice
    state: Numbers
    kind: Numbers
    state_of_kind: Numbers
    state_alleles: Alleles
    kind_alleles: Alleles
    typed: Numbers


def block_of(alleles_SH: Alleles, typed_K: Numbers, sites: slice, kind_H: Numbers) -> Block:
    """The block of these sites, of which `typed_K` are typed; equal haplotypes have equal numbers `kind_H`."""
    state_H = refined(np.zeros_like(kind_H), alleles_SH[typed_K])
    _, representative_V = np.unique(kind_H, return_index=True)
    order_V = np.argsort(state_H[representative_V], kind="stable")
    kind_H, representative_V = np.argsort(order_V)[kind_H], representative_V[order_V]
    state_V = state_H[representative_V]
    first_U = np.searchsorted(state_V, np.arange(state_V[-1] + 1))
    alleles_SV = alleles_SH[:, representative_V]
    return Block(
        sites, state_H, kind_H, state_V, alleles_SV[typed_K][:, first_U], alleles_SV, typed_K
    )


def refined(kind_H: Numbers, rows_SH: Alleles) -> Numbers:
    """Numbers of haplotypes, of which two are the same if they were before and alleles in all these rows are."""
    for byte_H in np.packbits(rows_SH, axis=0):
        key_H = kind_H << 8 | byte_H
        present = np.zeros(int(key_H.max()) + 1, np.bool_)
        present[key_H] = True
        keys = np.flatnonzero(present)
        number = np.empty(len(present), np.int64)
        number[keys] = np.arange(len(keys))
        kind_H = number[key_H]
    return kind_H


def blocks_of(reference_SH: Alleles, typed_K: Numbers) -> list[Block]:
    """Blocks of neighbouring typed sites, as long as few kinds of haplotypes are in each."""
    sites, count = reference_SH.shape
    max_kinds = max(MIN_KINDS, int(count * KINDS_SHARE))
    begins, ends = np.append(0, typed_K[1:]), np.append(typed_K[1:], sites)
    blocks, first, kind_H = [], 0, np.zeros(count, np.int64)
    step = max(1, SITES_PER_STEP * len(typed_K) // sites)
    for k in range(0, len(typed_K), step):
        last = min(k + step, len(typed_K))
        rows_SH = reference_SH[begins[k] : ends[last - 1]]
        refined_H = refined(kind_H, rows_SH)
        if k > first and (refined_H.max() >= max_kinds or last - first > MAX_BLOCK_SITES):
            blocks.append((first, k, kind_H))
            first, refined_H = k, refined(np.zeros_like(kind_H), rows_SH)
        kind_H = refined_H
    blocks.append((first, len(typed_K), kind_H))
    spans = [
        (slice(a, b), slice(int(begins[a]), int(ends[b - 1])), kinds) for a, b, kinds in blocks
    ]
    return [
        block_of(reference_SH[span], typed_K[typed_span] - span.start, span, kinds)
        for typed_span, span, kinds in spans
    ]
