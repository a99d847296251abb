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
from numpy.typing import NDArray

TURNS = 1
STATES = 64
DRAWS = 3
SEED = 0x115
LEAST = np.float32(1e-30)

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


class Copying(Protocol):
    """What is asked of the copying model; see `haplotype_copying.Mosaic`."""

    @property
    def alleles(self) -> NDArray[np.uint8]: ...
    @property
    def stay(self) -> Floats: ...
    @property
    def error(self) -> float: ...

    def copied(self, one_BK: Floats, own_B: Numbers) -> tuple[Floats, Floats]: ...


def phases(mosaic: Copying, told_BK3: Floats, own_B: Numbers) -> Floats:
    """Evidence (B, X, 2, K) for allele 1 on both haplotypes, of so many phases drawn by the likelihoods of
    genotypes."""
    draws = np.random.default_rng(SEED).random((DRAWS, told_BK3.shape[1]))
    states_BJ = _states(mosaic, told_BK3, own_B)
    alleles_BJK = np.ascontiguousarray(mosaic.alleles.T[states_BJ])
    pairs = Pairs(alleles_BJK, mosaic.stay, mosaic.error)
    path_BX2K = pairs.paths(told_BK3, draws.astype(np.float32))
    return _evidence(told_BK3[:, None], path_BX2K, mosaic.error)


def _states(mosaic: Copying, told_BK3: Floats, own_B: Numbers) -> Numbers:
    """The reference haplotypes (B, J) that one of the two haplotypes copies, by how likely, on the whole and
    anywhere."""
    usual_K = mosaic.alleles.mean(axis=1, dtype=np.float32).clip(0.001, 0.999)
    usual_BK = np.broadcast_to(usual_K, told_BK3.shape[:2])
    apart_BK = told_BK3[..., 1] / np.maximum(told_BK3.sum(axis=2), LEAST)
    surest_B1 = apart_BK.argmax(axis=1)[:, None]
    first_BK = (np.arange(len(usual_K)) == surest_B1) & (apart_BK > 0.5)
    mass_BH = mosaic.copied(beside(told_BK3, usual_BK), own_B)[1]
    partner_BK = usual_BK
    for turn in range(2 * TURNS):
        laid = np.float32(turn % 2 == 0)
        one_BK = np.where(first_BK, laid, beside(told_BK3, partner_BK))
        partner_BK, copied_BH = mosaic.copied(one_BK, own_B)
        if turn >= 2 * TURNS - 2:
            mass_BH = mass_BH + copied_BH
    return _greatest(mass_BH, min(STATES, mass_BH.shape[1]))


def _greatest(values_BH: Floats, count: int) -> Numbers:
    """The numbers (B, J) of the greatest values, in descending order."""
    found_BJ = np.sort(np.argpartition(-values_BH, count - 1, axis=1)[:, :count], axis=1)
    order_BJ = np.argsort(-np.take_along_axis(values_BH, found_BJ, 1), axis=1, kind="stable")
    return np.take_along_axis(found_BJ, order_BJ, 1)


def beside(told_BK3: Floats, partner_BK: Floats) -> Floats:
    """The evidence (B, K) of genotypes' likelihoods for allele 1 of a haplotype whose partner has it with these
    probabilities."""
    zero, one, two = np.moveaxis(told_BK3, -1, 0)
    for_one = one * (1 - partner_BK) + two * partner_BK
    for_none = zero * (1 - partner_BK) + one * partner_BK
    total = for_one + for_none
    return np.where(total > 0, for_one / np.maximum(total, LEAST), np.float32(0.5))


def _evidence(told: Floats, path_BX2K: NDArray[np.uint8], error: float) -> Floats:
    """What the likelihoods of genotypes (B, 1, K, 3) say of each haplotype (B, X, 2, K), beside what its partner has by
    the path: of known heterozygotes as the path has them, and nothing where that has one allele twice."""
    path = path_BX2K.astype(np.float32)
    one, other = np.moveaxis(path * (1 - 2 * error) + error, 2, 0)
    zero_, one_, two_ = np.moveaxis(told, -1, 0)
    partners = []
    for own, its in ((one, other), (other, one)):
        with_one = its * ((1 - own) * one_ + own * two_)
        with_none = (1 - its) * ((1 - own) * zero_ + own * one_)
        partners.append(with_one / np.maximum(with_one + with_none, LEAST))
    return np.stack([beside(told, partner) for partner in partners], axis=2)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Both haplotypes of individuals at once, each a mosaic of `alleles` (B, J, K), the individual's own states."""

    alleles: NDArray[np.uint8]
    stay: Floats
    error: float

    def paths(self, told_BK3: Floats, draws_XK: Floats) -> NDArray[np.uint8]:
        """The alleles (B, X, 2, K) of what both copy, for every row of numbers from 0 to 1 that choose one path."""
        from genomai_cli.population.networks.copying_kernel import paths  # noqa: PLC0415 - it loads numba

        return paths(self.alleles, self.stay, self._seen(told_BK3), draws_XK)

    def _seen(self, told_BK3: Floats) -> Floats:
        """How likely genotypes are (B, K, 3), by how many of the two copied alleles are 1."""
        right, wrong = 1 - self.error, self.error
        zero, one, two = np.moveaxis(told_BK3, -1, 0)
        mixed = 2 * right * wrong * one
        none = right**2 * zero + mixed + wrong**2 * two
        either = (right**2 + wrong**2) * one + right * wrong * (zero + two)
        both = right**2 * two + mixed + wrong**2 * zero
        seen_BK3 = np.stack([none, either, both], axis=-1)
        seen_BK3 /= np.maximum(seen_BK3.max(axis=2, keepdims=True), LEAST)
        return seen_BK3
