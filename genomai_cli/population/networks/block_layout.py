"""The blocks of `haplotype_blocks` side by side in arrays, as `block_kernel` reads them.

Shape suffixes: H reference haplotypes, S sites, K typed sites, X blocks, U states and V kinds of haplotypes of all
blocks.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genomai_cli.population.networks.haplotype_blocks import Block

Array = NDArray[Any]


class Layout(NamedTuple):
    """The blocks of a walk, side by side.

    The maxima of typed sites, kinds and states of a block; offsets of each block among typed sites and among kinds
    (X + 1), and of the states of each typed site (K + 1); the state and the kind of each haplotype (X, H); of kinds
    their state and number of haplotypes (V,); the alleles of states (U,); the indices of typed sites (K + 2), between 0
    and the number of sites; and the kinds with allele 1 at each site, `carriers`, with their states, whose offsets are
    `carriers_at` (S + 1). Numbers of states and kinds are those within a block.
    """

    max_typed: int
    max_kinds: int
    max_states: int
    typed_at: Array
    kinds_at: Array
    states_at: Array
    state: Array
    kind: Array
    state_of_kind: Array
    kind_sizes: Array
    state_allele: Array
    typed_sites: Array
    carriers_at: Array
    carriers: Array
    carrier_state: Array


def layout_of(blocks: Sequence[Block]) -> Layout:
    """The blocks of a walk side by side."""
    typed = [len(block.state_alleles) for block in blocks]
    states = [block.state_alleles.shape[1] for block in blocks]
    kinds = [len(block.state_of_kind) for block in blocks]
    carriers = [np.nonzero(block.kind_alleles) for block in blocks]
    with_carriers = list(zip(blocks, carriers, strict=True))
    return Layout(
        max_typed=max(typed),
        max_kinds=max(kinds),
        max_states=max(states),
        typed_at=_starts(typed),
        kinds_at=_starts(kinds),
        states_at=_starts(np.repeat(states, typed)),
        state=np.stack([block.state for block in blocks]).astype(np.int32),
        kind=np.stack([block.kind for block in blocks]).astype(np.int32),
        state_of_kind=_joined([block.state_of_kind for block in blocks], np.int32),
        kind_sizes=_joined([np.bincount(block.kind) for block in blocks], np.float32),
        state_allele=_joined([block.state_alleles.ravel() for block in blocks], np.uint8),
        typed_sites=_joined(
            [[0], *(block.typed + block.sites.start for block in blocks), [blocks[-1].sites.stop]],
            np.int64,
        ),
        carriers_at=_starts(
            _joined(
                [
                    np.bincount(rows, minlength=len(b.kind_alleles))
                    for b, (rows, _) in with_carriers
                ],
                np.int64,
            )
        ),
        carriers=_joined([kinds for _, kinds in carriers], np.int32),
        carrier_state=_joined(
            [b.state_of_kind[kinds] for b, (_, kinds) in with_carriers], np.int32
        ),
    )


def _starts(counts: Sequence[int] | Array) -> Array:
    return np.concatenate([[0], np.cumsum(counts)])


def _joined(parts: Sequence[Array | list[int]], kind: type[np.generic]) -> Array:
    return np.concatenate(parts).astype(kind)
