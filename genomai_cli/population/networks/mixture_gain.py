"""By how much a mixture of groups explains a sample better than a single one.

Shape suffixes: B samples, S sites, G groups.
"""

import torch
from torch import Tensor

from genomai_cli.population.networks.genotype_likelihoods import Polynomial, is_known
from genomai_cli.population.networks.genotype_mlp import naive_bayes

EM_STEPS = 30
FIRST_SHARE = 0.8  # of the best single group, where the search begins


def mixture_gain(alternate_BS: Tensor, total_BS: Tensor, frequency_GS: Tensor) -> Tensor:
    """By how many nats (B,) a mixture of the groups explains the alleles better than the best group.

    The mixture's shares are of maximum likelihood, found by expectation-maximisation with the groups'
    frequencies held fixed (Tang et al. 2005, Genet Epidemiol 28:289), starting near the best group.
    `frequency_GS` is of the alternate allele, strictly between 0 and 1. Slightly negative where
    the search has not converged to a single group.
    """
    reference_BS = total_BS - alternate_BS
    single_BG = naive_bayes(alternate_BS, total_BS, frequency_GS)
    shares_BG = _first_shares(single_BG)
    alleles_B1 = total_BS.sum(1, keepdim=True).clamp(min=1)
    for _ in range(EM_STEPS):
        mixed_BS = shares_BG @ frequency_GS
        explained_BG = (alternate_BS / mixed_BS) @ frequency_GS.T
        explained_BG += (reference_BS / (1 - mixed_BS)) @ (1 - frequency_GS).T
        shares_BG = shares_BG * explained_BG / alleles_B1
    mixed_BS = shares_BG @ frequency_GS
    mixture_B = (alternate_BS * mixed_BS.log() + reference_BS * torch.log1p(-mixed_BS)).sum(1)
    return mixture_B - single_BG.max(1).values


def mixture_gain_of(likelihood_S3: Tensor, frequency_GS: Tensor) -> Tensor:
    """The gain of one sample from its genotypes' likelihoods: the expected alleles, given the mixture, replace the
    observed ones (Skotte et al. 2013, Genetics 195:693)."""
    known_S = is_known(likelihood_S3)
    data, frequency_GS = Polynomial.of(likelihood_S3[known_S]), frequency_GS[:, known_S]
    single_G = data.probabilities(frequency_GS).log().sum(1)
    share_1G = _first_shares(single_G.unsqueeze(0))
    for _ in range(EM_STEPS):
        mixed_1S = share_1G @ frequency_GS
        _, slope_1S, _ = data.terms(mixed_1S)
        alternate_1S = slope_1S + 2 * mixed_1S
        explained_1G = (alternate_1S / mixed_1S) @ frequency_GS.T
        explained_1G += ((2 - alternate_1S) / (1 - mixed_1S)) @ (1 - frequency_GS).T
        share_1G = share_1G * explained_1G / max(1, 2 * mixed_1S.shape[1])
    return data.probabilities(share_1G @ frequency_GS).log().sum() - single_G.max()


def _first_shares(single_BG: Tensor) -> Tensor:
    groups = single_BG.shape[1]
    rest = (1 - FIRST_SHARE) / max(1, groups - 1)
    shares_BG = torch.full_like(single_BG, rest)
    return shares_BG.scatter(1, single_BG.argmax(1, keepdim=True), FIRST_SHARE)
