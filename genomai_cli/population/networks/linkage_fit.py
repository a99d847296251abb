"""How much one allele says of another one, beside the allele frequencies of the phenotype, fitted pair by pair.

It is where the training of a denoiser's linkage begins: pairs in full linkage, and sites that are hardly ever
heterozygous, need weights that gradients, which vanish as guesses become sure, find slowly.

Shape suffixes: N individuals, G phenotypes, S sites, E pairs of alleles.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 0.1  # of the penalty on weights, which pairs in full linkage would drive beyond all bounds
ROUNDS = 25  # of Newton's method
SIGNIFICANT = (
    12.0  # twice the gain in log-likelihood of two weights below which they are taken for noise
)
LEAST_SHARE, LARGEST_SHARE = 0.01, 0.995  # of the nats of a site, that another one is taken to know
BLOCK = 1 << 16  # pairs at once


@dataclass(frozen=True, eq=False)
class Effects:
    """Of E pairs, what adds to the logit of allele 1 at the second: `weights` (3, E) of the first's surplus over its
    frequency, of 1 and of its allele; and the `share` (E,) of the second's nats that the first knows."""

    weights: Tensor
    share: Tensor


def of_pairs(
    alleles_N2S: Tensor, phenotype_N: Tensor, frequency_GS: Tensor, pairs_2E: Tensor
) -> Effects:
    """What alleles say of others on the same haplotype, for pairs of sites from and to."""
    parts = []
    first = alleles_N2S.flatten(0, 1)
    group = phenotype_N.repeat_interleave(2)
    for begin in range(0, pairs_2E.shape[1], BLOCK):
        pairs = pairs_2E[:, begin : begin + BLOCK]
        counts = _joint(first, first, group, pairs, len(frequency_GS))
        parts.append(_fitted(counts, frequency_GS[:, pairs[0]], frequency_GS[:, pairs[1]]))
    return _joined(parts)


def of_partners(alleles_N2S: Tensor, phenotype_N: Tensor, frequency_GS: Tensor) -> Effects:
    """What alleles say of those at the same site of the individual's other haplotype, for each site."""
    same = torch.arange(alleles_N2S.shape[2]).expand(2, -1)
    one, other = alleles_N2S.flatten(0, 1), alleles_N2S.flip(1).flatten(0, 1)
    counts = _joint(other, one, phenotype_N.repeat_interleave(2), same, len(frequency_GS))
    return _fitted(counts, frequency_GS, frequency_GS)


def _joint(
    first_RS: Tensor, second_RS: Tensor, group_R: Tensor, pairs_2E: Tensor, groups: int
) -> Tensor:
    """How many rows of each group have both alleles of a pair known, by the two alleles (G, 2, 2, E)."""
    counts = torch.zeros(groups, 2, 2, pairs_2E.shape[1], dtype=torch.float64)
    for number in torch.unique(group_R).tolist():
        member = group_R == number
        one, two = first_RS[member], second_RS[member]
        for a in range(2):
            has_a = (one == a).double()
            for b in range(2):
                both_SS = has_a.T @ (two == b).double()
                counts[number, a, b] = both_SS[pairs_2E[0], pairs_2E[1]]
    return counts


def _fitted(counts: Tensor, first_GE: Tensor, second_GE: Tensor) -> Effects:
    """Penalised logistic regression of the second allele on the first, with the phenotype's frequency as offset, by
    Newton's method."""
    offset = torch.logit(second_GE.double())[:, None]
    first = torch.arange(2.0, dtype=torch.float64)[:, None].expand(
        len(first_GE), 2, first_GE.shape[1]
    )
    told = torch.stack([first - first_GE[:, None], torch.ones_like(first), first])
    total, ones = counts.sum(2), counts[:, :, 1]
    ridge = RIDGE * torch.eye(3, dtype=torch.float64)
    weights = torch.zeros(counts.shape[3], 3, dtype=torch.float64)
    for _ in range(ROUNDS):
        guess = torch.sigmoid(offset + torch.einsum("fgae,ef->gae", told, weights))
        slope = torch.einsum("fgae,gae->ef", told, ones - total * guess) - RIDGE * weights
        spread = total * guess * (1 - guess)
        curvature = torch.einsum("fgae,hgae,gae->efh", told, told, spread) + ridge
        weights += torch.linalg.solve(curvature, slope).clamp(-1, 1)
    without = _nats(offset.expand_as(first), ones, total)
    gain = without - _nats(offset + torch.einsum("fgae,ef->gae", told, weights), ones, total)
    share = (gain / without.clamp(min=1e-9)).clamp(LEAST_SHARE, LARGEST_SHARE)
    clear = 2 * gain > SIGNIFICANT
    return Effects(
        torch.where(clear, weights.T, 0.0).float(),
        torch.where(clear, share, LEAST_SHARE).float(),
    )


def _nats(logits: Tensor, ones: Tensor, total: Tensor) -> Tensor:
    """The surprise (E,) of all second alleles."""
    log = torch.nn.functional.logsigmoid
    return -(ones * log(logits) + (total - ones) * log(-logits)).sum((0, 1))


def _joined(parts: list[Effects]) -> Effects:
    if not parts:
        return Effects(torch.zeros(3, 0), torch.zeros(0))
    weights = torch.cat([part.weights for part in parts], dim=1)
    return Effects(weights, torch.cat([part.share for part in parts]))
