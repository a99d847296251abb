"""What a network of genomes reads: the sites at which they differ, and the variants there."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.anchoring.reference import Reference
from genomai_cli.anchoring.sites import VariableSites
from genomai_cli.errors import TrainingError
from genomai_cli.nets.profile import known_variants
from genomai_cli.training.recipe import Recipe

KINDS = ("profile", "lineages")  # of networks that read genomes


def sites_to_read(
    given: VariableSites | None,
    counts: Callable[[], NDArray[np.int64]],
    reference: Reference,
    recipe: Recipe,
) -> VariableSites:
    """The sites that are given, or else where the genomes with these letter counts (L, 4) differ.

    Raises TrainingError if they do so nowhere, or if the recipe's network reads no genomes.
    """
    if recipe.network["kind"] not in KINDS:
        raise TrainingError(
            f"recipe {recipe.name}: anchored genomes need a network of kind {' or '.join(KINDS)}"
        )
    sites = given or VariableSites.of(counts(), reference, recipe.input.fewest)
    if not len(sites):
        raise TrainingError("the genomes differ nowhere: there is nothing to learn from")
    return sites


def sizes(sites: VariableSites, recipe: Recipe) -> dict[str, int]:
    """The sizes of the network that follow from the sites."""
    known = known_variants(torch.from_numpy(sites.counts), recipe.input.fewest)
    return {"sites": len(sites), "variants": int(known.sum())}
