"""Forward-backward of the copying model in few states: haplotypes that are alike at a block of typed sites are one.

At site k of a block the probability of copying haplotype j is A_k(u) a(j) + B_k(u): a is what it was where the block
begins, u the state of j, which is its alleles at the typed sites of the block. What the sites behind k say is
C_k(u) b(j) + D_k(u), with b of the block behind. So sites are walked in states, of which there are few, and haplotypes
only from block to block; the sums of a, b and ab over haplotypes of one kind, alike at all sites of the block, serve
all its sites. Nothing is approximated (the reduction of states of Das et al. 2016, Nat Genet 48:1284, in which the
untyped sites do not matter to the walk).

Shape suffixes: H reference haplotypes, S sites, K typed sites, U states and V kinds of
haplotypes of a block.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_KINDS, KINDS_SHARE = 16, 1 / 12  # of a block: a longer one has fewer walks over haplotypes
LONGEST = 64  # typed sites of a block, which grows by the typed ones of so many sites
STEP = 20

Numbers = NDArray[np.int64]
Alleles = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Block:
    """Typed sites (K,), and the `sites` from one to before another that are told by them.

    The `state` and the `kind` (H,) of each haplotype, and the state of each kind (V,), in whose order kinds are; the
    alleles of states at typed sites, `one` (K, U), and of kinds at all, `alleles` (S, V); and which of these sites are
    `typed` (K,).
    """

    sites: slice
    state: Numbers
    kind: Numbers
    state_of_kind: Numbers
    one: Alleles
    alleles: Alleles
    typed: Numbers


def _block(alleles_SH: Alleles, typed_K: Numbers, sites: slice, kind_H: Numbers) -> Block:
    """Of the alleles at the sites, of which these are typed; `kind_H` numbers haplotypes that are alike there."""
    state_H = refined(np.zeros_like(kind_H), alleles_SH[typed_K])
    _, one_of_V = np.unique(kind_H, return_index=True)
    by_state_V = np.argsort(state_H[one_of_V], kind="stable")
    kind_H, one_of_V = np.argsort(by_state_V)[kind_H], one_of_V[by_state_V]
    state_V = state_H[one_of_V]
    first_U = np.searchsorted(state_V, np.arange(state_V[-1] + 1))
    alleles_SV = alleles_SH[:, one_of_V]
    return Block(
        sites, state_H, kind_H, state_V, alleles_SV[typed_K][:, first_U], alleles_SV, typed_K
    )


def refined(kind_H: Numbers, rows_SH: Alleles) -> Numbers:
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


def blocks_of(reference_SH: Alleles, typed_K: Numbers) -> list[Block]:
    """Blocks of neighbouring typed sites, as long as few kinds of haplotypes are in each."""
    sites, count = reference_SH.shape
    most = max(LEAST_KINDS, int(count * KINDS_SHARE))
    begins, ends = np.append(0, typed_K[1:]), np.append(typed_K[1:], sites)
    found, first, kind_H = [], 0, np.zeros(count, np.int64)
    step = max(1, STEP * len(typed_K) // sites)
    for k in range(0, len(typed_K), step):
        last = min(k + step, len(typed_K))
        more = reference_SH[begins[k] : ends[last - 1]]
        more_H = refined(kind_H, more)
        if k > first and (more_H.max() >= most or last - first > LONGEST):
            found.append((first, k, kind_H))
            first, more_H = k, refined(np.zeros_like(kind_H), more)
        kind_H = more_H
    found.append((first, len(typed_K), kind_H))
    spans = [(slice(a, b), slice(int(begins[a]), int(ends[b - 1])), kinds) for a, b, kinds in found]
    return [
        _block(reference_SH[span], typed_K[which] - span.start, span, kinds)
        for which, span, kinds in spans
    ]
