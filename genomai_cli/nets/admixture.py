"""Whether a genome is a mixture of reference groups rather than a member of one.

Shape suffixes: B samples, G groups, S sites.
"""

import torch
from torch import Tensor

STEPS = 30
FIRST_SHARE = 0.8  # of the best single group, where the search begins


def mixture_gain(alternate_BS: Tensor, total_BS: Tensor, frequency_GS: Tensor) -> Tensor:
    """By how many nats (B,) a mixture of the groups explains the alleles better than the best group.

    The mixture's shares are of maximum likelihood, found by expectation-maximisation with the groups'
    frequencies held fixed (Tang et al. 2005, Genet Epidemiol 28:289), starting near the best group.
    `frequency_GS` is of the alternate allele, strictly between 0 and 1. Can be slightly negative where
    the search has not come back all the way to a single group.
    """
    reference_BS = total_BS - alternate_BS
    single_BG = alternate_BS @ frequency_GS.log().T + reference_BS @ torch.log1p(-frequency_GS).T
    shares_BG = _first_shares(single_BG)
    alleles_B1 = total_BS.sum(1, keepdim=True).clamp(min=1)
    for _ in range(STEPS):
        mixed_BS = shares_BG @ frequency_GS
        explained_BG = (alternate_BS / mixed_BS) @ frequency_GS.T
        explained_BG += (reference_BS / (1 - mixed_BS)) @ (1 - frequency_GS).T
        shares_BG = shares_BG * explained_BG / alleles_B1
    mixed_BS = shares_BG @ frequency_GS
    mixture_B = (alternate_BS * mixed_BS.log() + reference_BS * torch.log1p(-mixed_BS)).sum(1)
    return mixture_B - single_BG.max(1).values


def _first_shares(single_BG: Tensor) -> Tensor:
    groups = single_BG.shape[1]
    rest = (1 - FIRST_SHARE) / max(1, groups - 1)
    shares_BG = torch.full_like(single_BG, rest)
    return shares_BG.scatter(1, single_BG.argmax(1, keepdim=True), FIRST_SHARE)
