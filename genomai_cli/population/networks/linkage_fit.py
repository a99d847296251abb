"""The effect of one allele on the logit of another, given the allele frequencies of the phenotype, fitted pair by pair.

These are the initial values of a denoiser's linkage: pairs in full linkage, and sites that are hardly ever
heterozygous, need weights that gradients, which vanish as predictions become certain, find slowly.

Shape suffixes: N individuals, G phenotypes, S sites, E pairs of alleles.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 0.1  # penalty on the weights, which would be infinite for pairs in full linkage
NEWTON_STEPS = 25
MIN_DEVIANCE = 12.0  # twice the gain in log-likelihood: with less, weights are set to 0
MIN_SHARE, MAX_SHARE = 0.01, 0.995  # of the nats of a site that another one explains
PAIRS_PER_BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class Effects:
    """Of E pairs, the effect on the logit of allele 1 at the second: `weights` (3, E) of the first's surplus over its
    frequency, of 1 and of its allele; and the `share` (E,) of the second's nats that the first explains."""

    weights: Tensor
    share: Tensor


def pair_effects(
    alleles_N2S: Tensor, phenotype_N: Tensor, frequency_GS: Tensor, pairs_2E: Tensor
) -> Effects:
    """The effects of alleles on others of the same haplotype, for ordered pairs of sites."""
    parts = []
    first = alleles_N2S.flatten(0, 1)
    group = phenotype_N.repeat_interleave(2)
    for begin in range(0, pairs_2E.shape[1], PAIRS_PER_BLOCK):
        pairs = pairs_2E[:, begin : begin + PAIRS_PER_BLOCK]
        counts = _joint_counts(first, first, group, pairs, len(frequency_GS))
        parts.append(_fitted(counts, frequency_GS[:, pairs[0]], frequency_GS[:, pairs[1]]))
    return _concatenated(parts)


def partner_effects(alleles_N2S: Tensor, phenotype_N: Tensor, frequency_GS: Tensor) -> Effects:
    """The effects of alleles on those at the same site of the individual's other haplotype, for each site."""
    same = torch.arange(alleles_N2S.shape[2]).expand(2, -1)
    one, other = alleles_N2S.flatten(0, 1), alleles_N2S.flip(1).flatten(0, 1)
    counts = _joint_counts(other, one, phenotype_N.repeat_interleave(2), same, len(frequency_GS))
    return _fitted(counts, frequency_GS, frequency_GS)


def _joint_counts(
    first_RS: Tensor, second_RS: Tensor, group_R: Tensor, pairs_2E: Tensor, groups: int
) -> Tensor:
    """The numbers of rows of each group in which both alleles of a pair are known, by these alleles (G, 2, 2, E)."""
    counts = torch.zeros(groups, 2, 2, pairs_2E.shape[1], dtype=torch.float64)
    for number in torch.unique(group_R).tolist():
        member = group_R == number
        first, second = first_RS[member], second_RS[member]
        for a in range(2):
            has_a = (first == a).double()
            for b in range(2):
                joint_SS = has_a.T @ (second == b).double()
                counts[number, a, b] = joint_SS[pairs_2E[0], pairs_2E[1]]
    return counts


def _fitted(counts: Tensor, first_GE: Tensor, second_GE: Tensor) -> Effects:
    """Penalised logistic regression of the second allele on the first, with the phenotype's frequency as offset, by
    Newton's method."""
    offset = torch.logit(second_GE.double())[:, None]
    first = torch.arange(2.0, dtype=torch.float64)[:, None].expand(
        len(first_GE), 2, first_GE.shape[1]
    )
    features = torch.stack([first - first_GE[:, None], torch.ones_like(first), first])
    total, ones = counts.sum(2), counts[:, :, 1]
    ridge = RIDGE * torch.eye(3, dtype=torch.float64)
    weights = torch.zeros(counts.shape[3], 3, dtype=torch.float64)
    for _ in range(NEWTON_STEPS):
        probability = torch.sigmoid(offset + torch.einsum("fgae,ef->gae", features, weights))
        slope = torch.einsum("fgae,gae->ef", features, ones - total * probability) - RIDGE * weights
        variance = total * probability * (1 - probability)
        curvature = torch.einsum("fgae,hgae,gae->efh", features, features, variance) + ridge
        weights += torch.linalg.solve(curvature, slope).clamp(-1, 1)
    null_nats = _nats(offset.expand_as(first), ones, total)
    gain = null_nats - _nats(offset + torch.einsum("fgae,ef->gae", features, weights), ones, total)
    share = (gain / null_nats.clamp(min=1e-9)).clamp(MIN_SHARE, MAX_SHARE)
    significant = 2 * gain > MIN_DEVIANCE
    return Effects(
        torch.where(significant, weights.T, 0.0).float(),
        torch.where(significant, share, MIN_SHARE).float(),
    )


def _nats(logits: Tensor, ones: Tensor, total: Tensor) -> Tensor:
    """The negative log-likelihood (E,) of all second alleles."""
    log = torch.nn.functional.logsigmoid
    return -(ones * log(logits) + (total - ones) * log(-logits)).sum((0, 1))


def _concatenated(parts: list[Effects]) -> Effects:
    if not parts:
        return Effects(torch.zeros(3, 0), torch.zeros(0))
    weights = torch.cat([part.weights for part in parts], dim=1)
    return Effects(weights, torch.cat([part.share for part in parts]))
