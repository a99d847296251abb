"""Phases of genotypes, or of their likelihoods, by the copying model.

1. Each of the two haplotypes is read given the expected alleles of the other, alternately, beginning with the allele
   frequencies; the most certain heterozygote gets a phase at first.
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

ITERATIONS = 1
STATES = 64
DRAWS = 3
SEED = 0x115
TINY = np.float32(1e-30)

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


class CopyingModel(Protocol):
    """The copying model as phasing needs it; see `haplotype_copying.Mosaic`."""

    @property
    def alleles(self) -> NDArray[np.uint8]: ...
    @property
    def stay(self) -> Floats: ...
    @property
    def error(self) -> float: ...

    def posteriors(self, evidence_BK: Floats, excluded_B: Numbers) -> tuple[Floats, Floats]: ...


def phases(mosaic: CopyingModel, likelihoods_BK3: Floats, excluded_B: Numbers) -> Floats:
    """Evidence (B, X, 2, K) for allele 1 on both haplotypes, in `DRAWS` phases sampled given the likelihoods of
    genotypes."""
    draws = np.random.default_rng(SEED).random((DRAWS, likelihoods_BK3.shape[1]))
    states_BJ = _states(mosaic, likelihoods_BK3, excluded_B)
    alleles_BJK = np.ascontiguousarray(mosaic.alleles.T[states_BJ])
    model = DiploidModel(alleles_BJK, mosaic.stay, mosaic.error)
    path_BX2K = model.paths(likelihoods_BK3, draws.astype(np.float32))
    return _path_evidence(likelihoods_BK3[:, None], path_BX2K, mosaic.error)


def _states(mosaic: CopyingModel, likelihoods_BK3: Floats, excluded_B: Numbers) -> Numbers:
    """The indices (B, J) of the reference haplotypes that either haplotype most probably copies, overall and in any
    block."""
    frequency_K = mosaic.alleles.mean(axis=1, dtype=np.float32).clip(0.001, 0.999)
    frequency_BK = np.broadcast_to(frequency_K, likelihoods_BK3.shape[:2])
    heterozygous_BK = likelihoods_BK3[..., 1] / np.maximum(likelihoods_BK3.sum(axis=2), TINY)
    surest_site_B1 = heterozygous_BK.argmax(axis=1)[:, None]
    assigned_BK = (np.arange(len(frequency_K)) == surest_site_B1) & (heterozygous_BK > 0.5)
    evidence_BK = evidence_given_partner(likelihoods_BK3, frequency_BK)
    _, mass_BH = mosaic.posteriors(evidence_BK, excluded_B)
    partner_BK = frequency_BK
    for iteration in range(2 * ITERATIONS):
        assigned = np.float32(iteration % 2 == 0)
        evidence_BK = np.where(
            assigned_BK, assigned, evidence_given_partner(likelihoods_BK3, partner_BK)
        )
        partner_BK, added_BH = mosaic.posteriors(evidence_BK, excluded_B)
        if iteration >= 2 * ITERATIONS - 2:
            mass_BH = mass_BH + added_BH
    return _largest(mass_BH, min(STATES, mass_BH.shape[1]))


def _largest(values_BH: Floats, count: int) -> Numbers:
    """The indices (B, J) of the largest values, in descending order."""
    indices_BJ = np.sort(np.argpartition(-values_BH, count - 1, axis=1)[:, :count], axis=1)
    order_BJ = np.argsort(-np.take_along_axis(values_BH, indices_BJ, 1), axis=1, kind="stable")
    return np.take_along_axis(indices_BJ, order_BJ, 1)


def evidence_given_partner(likelihoods_BK3: Floats, partner_BK: Floats) -> Floats:
    """The evidence (B, K) of genotypes' likelihoods for allele 1 of a haplotype whose partner has it with these
    probabilities."""
    zero, one, two = np.moveaxis(likelihoods_BK3, -1, 0)
    for_one = one * (1 - partner_BK) + two * partner_BK
    for_none = zero * (1 - partner_BK) + one * partner_BK
    total = for_one + for_none
    return np.where(total > 0, for_one / np.maximum(total, TINY), np.float32(0.5))


def _path_evidence(likelihoods: Floats, path_BX2K: NDArray[np.uint8], error: float) -> Floats:
    """The evidence (B, X, 2, K) of genotypes' likelihoods (B, 1, K, 3) for allele 1 of each haplotype, given the
    alleles of a sampled path: known heterozygotes are as in the path, or no evidence where that has one allele
    twice."""
    path = path_BX2K.astype(np.float32)
    first, second = np.moveaxis(path * (1 - 2 * error) + error, 2, 0)
    zero, one, two = np.moveaxis(likelihoods, -1, 0)
    partner_probabilities = []
    for own_allele, partner_allele in ((first, second), (second, first)):
        with_one = partner_allele * ((1 - own_allele) * one + own_allele * two)
        with_none = (1 - partner_allele) * ((1 - own_allele) * zero + own_allele * one)
        partner_probabilities.append(with_one / np.maximum(with_one + with_none, TINY))
    return np.stack(
        [evidence_given_partner(likelihoods, partner) for partner in partner_probabilities], axis=2
    )


@dataclass(frozen=True, eq=False)
class DiploidModel:
    """Both haplotypes of individuals at once, each a mosaic of `alleles` (B, J, K), the individual's own states."""

    alleles: NDArray[np.uint8]
    stay: Floats
    error: float

    def paths(self, likelihoods_BK3: Floats, draws_XK: Floats) -> NDArray[np.uint8]:
        """The alleles (B, X, 2, K) that both copy, in a path for each row of uniform random numbers."""
        from genomai_cli.population.networks.copying_kernel import paths  # noqa: PLC0415 - it loads numba

        return paths(self.alleles, self.stay, self._emissions(likelihoods_BK3), draws_XK)

    def _emissions(self, likelihoods_BK3: Floats) -> Floats:
        """The emission probabilities (B, K, 3) of the data, by how many of the two copied alleles are 1."""
        match, mismatch = 1 - self.error, self.error
        zero, one, two = np.moveaxis(likelihoods_BK3, -1, 0)
        mixed = 2 * match * mismatch * one
        none = match**2 * zero + mixed + mismatch**2 * two
        either = (match**2 + mismatch**2) * one + match * mismatch * (zero + two)
        both = match**2 * two + mixed + mismatch**2 * zero
        emission_BK3 = np.stack([none, either, both], axis=-1)
        emission_BK3 /= np.maximum(emission_BK3.max(axis=2, keepdims=True), TINY)
        return emission_BK3
