"""The shares of a genome that come from each of several reference groups.

Shape suffixes: B samples, G groups, S sites.
"""

import torch
from torch import Tensor

STEPS = 30


def ancestry_shares(alternate_BS: Tensor, total_BS: Tensor, frequency_GS: Tensor) -> Tensor:
    """Shares (B, G) that sum to 1: the maximum-likelihood mixture of the groups' allele frequencies.

    Expectation-maximisation with the frequencies held fixed (Tang et al. 2005, Genet Epidemiol 28:289).
    `frequency_GS` is of the alternate allele, strictly between 0 and 1. A sample without any known site
    gets equal shares.
    """
    reference_BS = total_BS - alternate_BS
    groups = len(frequency_GS)
    shares_BG = alternate_BS.new_full((len(alternate_BS), groups), 1 / groups)
    alleles_B1 = total_BS.sum(1, keepdim=True)
    for _ in range(STEPS):
        mixed_BS = shares_BG @ frequency_GS
        explained_BG = (alternate_BS / mixed_BS) @ frequency_GS.T
        explained_BG += (reference_BS / (1 - mixed_BS)) @ (1 - frequency_GS).T
        updated_BG = shares_BG * explained_BG / alleles_B1
        shares_BG = torch.where(alleles_B1 > 0, updated_BG, shares_BG)
    return shares_BG
