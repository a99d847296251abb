"""Which sites of a panel lie near each other on a chromosome, and so may be inherited together.

Shape suffixes: S sites, E ordered pairs of sites.
"""

import numpy as np
from numpy.typing import NDArray

from genomai_cli.panels.panel import BUILDS, Panel

REACH = (
    2_000_000  # base pairs: beyond it, people of one population show no linkage between two sites
)


def places(panel: Panel) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The number of each site's chromosome (S,) and its position there (S,).

    Positions are those of the build that has most; a site without one there is on a chromosome of its own.
    """
    build = max(BUILDS, key=lambda name: int((panel.positions[name] > 0).sum()))
    position_S = panel.positions[build].astype(np.float64)
    _, contig_S = np.unique(np.array(panel.chrom), return_inverse=True)
    contig_S = contig_S.astype(np.int64)
    nowhere = np.flatnonzero(position_S == 0)
    contig_S[nowhere] = contig_S.max() + 1 + np.arange(len(nowhere))
    return contig_S, position_S


def linked_pairs(panel: Panel, reach: float = REACH) -> NDArray[np.int64]:
    """All ordered pairs (2, E) of different sites less than `reach` base pairs apart."""
    contig_S, position_S = places(panel)
    near_SS = np.abs(position_S[:, None] - position_S) < reach
    near_SS &= contig_S[:, None] == contig_S
    np.fill_diagonal(near_SS, False)
    return np.stack(np.nonzero(near_SS)).astype(np.int64)
