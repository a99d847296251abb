"""What genotypes say about groups of people without anything learnt by gradient: how much likelier they are in each.

Sites count as independent, in Hardy-Weinberg proportions: the sum over a person's sites is that of naive Bayes.

Shape suffixes: B people, S sites, G genotypes, P groups.
"""

import torch
from torch import Tensor, nn

GENOTYPES = 3  # 0, 1 and 2 copies of the alternate allele
RAREST = 1e-3  # no frequency is nearer to 0 or 1


class GroupEvidence(nn.Module):
    """The allele frequencies (S, P) of groups, and how many haplotypes each group's are worth."""

    frequency: Tensor
    worth: Tensor

    def __init__(self, sites: int, groups: int) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.full((sites, groups), 0.5))
        self.register_buffer("worth", torch.full((groups,), 1e9))

    def __len__(self) -> int:
        return self.frequency.shape[1]

    def forward(self, sites: Tensor | None = None) -> Tensor:
        """How much likelier the genotypes (S, G, P) are in a group than in the others on average, in nats.

        `sites` are the numbers of those that are wanted, by default all.
        """
        found_SGP = _logs(self._at(sites)[:, None])
        return found_SGP - found_SGP.mean(2, keepdim=True) if len(self) else found_SGP

    def own(self, genotypes_BSG: Tensor, sites: Tensor | None, members: Tensor) -> Tensor:
        """What of the evidence (B, P) of people is due to their own alleles among those of the group that they are
        `members` (B,) of, -1 for none: the difference to frequencies without them."""
        frequency_SP = self._at(sites)
        copies_G1 = torch.arange(GENOTYPES, device=frequency_SP.device)[:, None]
        without_SGP = (frequency_SP[:, None] * self.worth - copies_G1) / (self.worth - 2)
        due_SGP = _logs(frequency_SP[:, None]) - _logs(without_SGP.clamp(RAREST, 1 - RAREST))
        own_BP = members[:, None] == torch.arange(len(self), device=members.device)
        return genotypes_BSG.flatten(1) @ due_SGP.flatten(0, 1) * own_BP

    def _at(self, sites: Tensor | None) -> Tensor:
        return self.frequency if sites is None else self.frequency[sites]


def _logs(frequency_SGP: Tensor) -> Tensor:
    """The logarithms of how likely each genotype (S, G, P) is at its frequency (S, G or 1, P), up to a constant."""
    copies_G1 = torch.arange(GENOTYPES, device=frequency_SGP.device)[:, None]
    return copies_G1 * frequency_SGP.log() + (2 - copies_G1) * (-frequency_SGP).log1p()
