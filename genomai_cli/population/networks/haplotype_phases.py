"""Phases of genotypes, or of their likelihoods, by the copying model.

1. Each of the two haplotypes is read with what the other is thought to have, by turns, beginning with the allele
   frequencies; the surest heterozygote is laid down.
2. The reference haplotypes that these two may copy anywhere, `STATES` of them, make a model of both haplotypes at once,
   whose states are their pairs (as Browning and Browning 2009, Am J Hum Genet 84:210, use fewer states).
3. Phases are drawn from it, each of which is then imputed.

Shape suffixes: B individuals, H reference haplotypes, K typed sites, J states, X draws; 2
haplotypes, 3 genotypes.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

TURNS = 1
STATES = 64
DRAWS = 3
SEED = 0x115
LEAST = 1e-30


class Copying(Protocol):
    """What is asked of the copying model; see `haplotype_copying.Mosaic`."""

    @property
    def alleles(self) -> Tensor: ...
    @property
    def stay(self) -> Tensor: ...
    @property
    def error(self) -> float: ...

    def copied(self, one_BK: Tensor, own_B: Tensor) -> tuple[Tensor, Tensor]: ...


def phases(mosaic: Copying, told_BK3: Tensor, own_B: Tensor) -> Tensor:
    """Evidence (B, X, 2, K) for allele 1 on both haplotypes, of so many phases drawn by the likelihoods of
    genotypes."""
    draws = np.random.default_rng(SEED).random((DRAWS, told_BK3.shape[1]))
    states_BJ = _states(mosaic, told_BK3, own_B)
    pairs = Pairs(mosaic.alleles.T[states_BJ], mosaic.stay, mosaic.error)
    path_BX2K = pairs.paths(told_BK3, torch.from_numpy(draws).to(told_BK3))
    return _evidence(told_BK3[:, None], path_BX2K, mosaic.error)


def _states(mosaic: Copying, told_BK3: Tensor, own_B: Tensor) -> Tensor:
    """The reference haplotypes (B, J) that one of the two haplotypes copies, by how likely, on the whole and
    anywhere."""
    usual_BK = mosaic.alleles.mean(1).clamp(0.001, 0.999).expand(told_BK3.shape[:2])
    apart_BK = told_BK3[..., 1] / told_BK3.sum(2).clamp(min=LEAST)
    first_BK = torch.zeros_like(apart_BK, dtype=torch.bool)
    first_BK.scatter_(1, apart_BK.argmax(1, keepdim=True), True)
    first_BK &= apart_BK > 0.5
    mass_BH = mosaic.copied(beside(told_BK3, usual_BK), own_B)[1]
    partner_BK = usual_BK
    for turn in range(2 * TURNS):
        laid = float(turn % 2 == 0)
        one_BK = torch.where(first_BK, laid, beside(told_BK3, partner_BK))
        partner_BK, copied_BH = mosaic.copied(one_BK, own_B)
        if turn >= 2 * TURNS - 2:
            mass_BH = mass_BH + copied_BH
    return mass_BH.topk(min(STATES, mass_BH.shape[1]), dim=1).indices


def beside(told_BK3: Tensor, partner_BK: Tensor) -> Tensor:
    """The evidence (B, K) of genotypes' likelihoods for allele 1 of a haplotype whose partner has it with these
    probabilities."""
    zero, one, two = told_BK3.unbind(-1)
    for_one = one * (1 - partner_BK) + two * partner_BK
    for_none = zero * (1 - partner_BK) + one * partner_BK
    total = for_one + for_none
    return torch.where(total > 0, for_one / total.clamp(min=LEAST), 0.5)


def _evidence(told: Tensor, path_BX2K: Tensor, error: float) -> Tensor:
    """What the likelihoods of genotypes (B, 1, K, 3) say of each haplotype (B, X, 2, K), beside what its partner has by
    the path: of known heterozygotes as the path has them, and nothing where that has one allele twice."""
    path = path_BX2K.to(told)
    one, other = (path * (1 - 2 * error) + error).unbind(2)
    zero_, one_, two_ = told.unbind(-1)
    partners = []
    for own, its in ((one, other), (other, one)):
        with_one = its * ((1 - own) * one_ + own * two_)
        with_none = (1 - its) * ((1 - own) * zero_ + own * one_)
        partners.append(with_one / (with_one + with_none).clamp(min=LEAST))
    return torch.stack([beside(told, partner) for partner in partners], dim=2)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Both haplotypes of individuals at once, each a mosaic of `alleles` (B, J, K), the individual's own states."""

    alleles: Tensor
    stay: Tensor
    error: float

    def paths(self, told_BK3: Tensor, draws_XK: Tensor) -> Tensor:
        """The alleles (B, X, 2, K) of what both copy, for every row of numbers from 0 to 1 that choose one path."""
        from genomai_cli.population.networks.copying_kernel import paths  # noqa: PLC0415 - it loads numba

        arrays = (
            self.alleles.to(torch.uint8),
            self.stay,
            self._seen(told_BK3).float(),
            draws_XK.float(),
        )
        drawn_BX2K = paths(*(part.cpu().contiguous().numpy() for part in arrays))
        return torch.from_numpy(drawn_BX2K).to(told_BK3.device)

    def _seen(self, told_BK3: Tensor) -> Tensor:
        """How likely genotypes are (B, K, 3), by how many of the two copied alleles are 1."""
        right, wrong = 1 - self.error, self.error
        zero, one, two = told_BK3.unbind(-1)
        mixed = 2 * right * wrong * one
        none = right**2 * zero + mixed + wrong**2 * two
        either = (right**2 + wrong**2) * one + right * wrong * (zero + two)
        both = right**2 * two + mixed + wrong**2 * zero
        seen_BK3 = torch.stack([none, either, both], dim=-1)
        return (seen_BK3 / seen_BK3.amax(2, keepdim=True).clamp(min=LEAST)).contiguous()
