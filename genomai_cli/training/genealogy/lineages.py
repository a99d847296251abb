"""The lineages of genomes: the leaves of their tree, each summed up by the shares of its genomes that have a variant.

The share is drawn towards that of the node above, and so on to the root: a few genomes say little by themselves. What
chance does, the mutations of one genome, is counted in those that nobody else of a lineage has.

Shape suffixes: N genomes, V variants, K lineages, J nodes of the tree, E entries, Z styles.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.nets.lineages import SMALLEST, LineageNetwork, LineagesConfig
from genomai_cli.nets.profile import VariantTable
from genomai_cli.training.genealogy.census import Census
from genomai_cli.training.genealogy.tree import Floats, Numbers, Tree

TOWARDS = 0.5  # genomes that the node above is worth
PRIVATE = 0.3  # genomes that a variant is believed to be in by chance, beside those in which it was seen so
NOTABLE = (3.0, 0.01)  # an entry is a share so many times that of chance, and at least this


@dataclass(frozen=True, eq=False)
class Lineages:
    """What a `LineageNetwork` holds: the `share` of a lineage's genomes that have a variant (E,), that by `chance`
    (V,), how frequent each style and lineage is (Z, K), and the share of carriers `reported` in each style (Z, V)."""

    lineage: Numbers
    variant: Numbers
    share: Floats
    chance: Floats
    frequency: Floats
    reported: Floats
    table: VariantTable

    def sizes(self) -> dict[str, int]:
        """The sizes of the network that holds them."""
        styles, lineages = self.frequency.shape
        return {
            "sites": len(self.table.major),
            "variants": len(self.table.site),
            "lineages": lineages,
            "entries": len(self.lineage),
            "styles": styles,
        }

    def fill(self, network: LineageNetwork) -> None:
        """Give the network these values."""
        network.table.load_state_dict(self.table.state_dict())
        values = {
            "lineage": self.lineage,
            "variant": self.variant,
            "odds": _logit(self.share),
            "chance": _logit(self.chance),
            "weight": np.log(np.maximum(self.frequency, SMALLEST)),
            "reported": _logit(self.reported),
        }
        with torch.no_grad():
            for name, array in values.items():
                getattr(network, name).copy_(torch.from_numpy(array))

    def network(self) -> LineageNetwork:
        """A network of them."""
        made = LineageNetwork(LineagesConfig(**self.sizes()), {})
        self.fill(made)
        return made.eval().requires_grad_(False)


def summary(
    census: Census,
    tree: Tree,
    style_N: Numbers | None = None,
    reported_ZV: Floats | None = None,
) -> Lineages:
    """The lineages that are the leaves of a tree, of genomes of one style or of several."""
    if style_N is None or reported_ZV is None:
        style_N = np.zeros(len(census.has), np.int64)
        reported_ZV = np.ones((1, census.has.variants))
    nodes, leaves = len(tree.parent), np.unique(tree.leaf)
    has_JV = tree.summed(census.has.counts(tree.leaf, nodes))
    told_JV = tree.summed(np.bincount(tree.leaf, minlength=nodes)[:, None].astype(np.float32))
    told_JV = told_JV - tree.summed(census.unknown.counts(tree.leaf, nodes))
    private_V = (has_JV[leaves] == 1).sum(axis=0)
    chance_V = (private_V + PRIVATE) / len(census.has)
    shares_KV = _shares(tree, has_JV, told_JV)[leaves]
    times, smallest = NOTABLE
    lineage_E, variant_E = np.nonzero(shares_KV > np.maximum(times * chance_V, smallest))
    number_N = np.searchsorted(leaves, tree.leaf)
    code_N = style_N * len(leaves) + number_N
    members_ZK = np.bincount(code_N, minlength=len(reported_ZV) * len(leaves))
    return Lineages(
        lineage_E,
        variant_E,
        shares_KV[lineage_E, variant_E].astype(np.float64),
        chance_V,
        _frequencies(members_ZK.reshape(len(reported_ZV), -1)),
        reported_ZV,
        census.table,
    )


def _frequencies(members_ZK: Numbers) -> Floats:
    """How frequent each style and lineage is: a style half as in the corpus and half as all styles, since nobody
    knows what files there will be; a lineage half as in the style and half as in all genomes."""
    style_Z1 = members_ZK.sum(axis=1, keepdims=True) / members_ZK.sum()
    style_Z1 = (style_Z1 + 1 / len(members_ZK)) / 2
    own_ZK = members_ZK / np.maximum(members_ZK.sum(axis=1, keepdims=True), 1)
    all_K = members_ZK.sum(axis=0) / members_ZK.sum()
    frequency_ZK: Floats = style_Z1 * (own_ZK + all_K) / 2
    return frequency_ZK


def _shares(
    tree: Tree, has_JV: NDArray[np.float32], told_JV: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The share of each node's genomes with each variant (J, V), drawn towards that of the node above."""
    shares_JV = np.empty_like(has_JV)
    shares_JV[0] = (has_JV[0] + 0.01) / (told_JV[0] + 1)
    for node, above in enumerate(tree.parent[1:].tolist(), start=1):
        shares_JV[node] = (has_JV[node] + TOWARDS * shares_JV[above]) / (told_JV[node] + TOWARDS)
    return shares_JV


def _logit(share: Floats) -> Floats:
    inside = np.clip(share, SMALLEST, 1 - SMALLEST)
    found: Floats = np.log(inside) - np.log1p(-inside)
    return found
