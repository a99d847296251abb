"""Genotypes that are not certain: what PL, GL, GP and DS say of calls that are missing or doubtful.

A caller that saw one or two reads knows more than "missing" and less than a genotype. PL (phred) and GL (log10) are
likelihoods of the reads given each genotype. Where FORMAT has DS the genotypes were imputed: GP are posterior
probabilities then, given the imputation panel too, and DS is the expected number of alternate alleles. A call that is
there and certain counts as it is written.

Shape suffixes: N samples, K of them, G genotypes of a record in the order of VCF (0/0 0/1 1/1 0/2 ...).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.formats.genotypes import ABSENT
from genomai_cli.formats.sample_fields import SampleFields

Values = NDArray[np.float32]
Flags = NDArray[np.bool_]
MAX_ALTERNATIVE = (
    0.01  # the likelihood of all others, relative to that of a certain genotype: PL 20
)
MIN_CERTAIN_GQ = 20
DOSAGE_TOLERANCE = 0.1  # of a dosage to an integer, which then is a genotype
MAX_ALLELES = 6
_KEYS = ("PL", "GL", "GP")
POSTERIOR = frozenset({"GP", "DS"})  # probabilities


@dataclass(frozen=True, eq=False)
class GenotypeEvidence:
    """The values (N, G) of a field (`key`) of a record, all 1 where they are not needed.

    They are likelihoods, or with `posterior` probabilities.
    """

    key: str
    values: Values

    @property
    def posterior(self) -> bool:
        """Whether the values are probabilities and no likelihoods."""
        return self.key in POSTERIOR

    def is_informative(self) -> Flags:
        """For which samples (N,) the genotypes differ in their values."""
        informative: Flags = (self.values != self.values[:, :1]).any(axis=1)
        return informative

    def restricted_to(self, samples: Flags) -> "GenotypeEvidence | None":
        """The evidence for some samples (N,) only; None if nothing remains."""
        values = np.where(samples[:, None], self.values, np.float32(1))
        evidence = replace(self, values=values)
        return evidence if evidence.is_informative().any() else None

    def is_certain(self) -> Flags:
        """Which samples (N,) have a certain genotype."""
        ascending = np.sort(self.values, axis=1)
        others = (
            ascending[:, -2] if not self.posterior else ascending.sum(axis=1) - ascending[:, -1]
        )
        certain: Flags = others <= MAX_ALTERNATIVE * ascending[:, -1]
        return certain

    def calls(self) -> NDArray[np.int16]:
        """The likeliest genotypes (N, 2)."""
        pairs = np.array(_allele_pairs(self.values.shape[1]), np.int16)
        found: NDArray[np.int16] = pairs[self.values.argmax(axis=1)]
        return found

    def of_alleles(self, roles: Sequence[int]) -> Values | None:
        """Values (N, 3) of 0, 1 and 2 copies of the allele whose role is 1, beside the one of role 0.

        Other alleles have role -1; samples that are likelier to have one of them get equal values. None if an
        allele of either role is not in the record.
        """
        if not {0, 1} <= set(roles):
            return None
        by_copies = np.zeros((len(self.values), 4), np.float32)  # the last is of other alleles
        for genotype, (first, second) in enumerate(_allele_pairs(self.values.shape[1])):
            allele_roles = roles[first], roles[second]
            copies = 3 if -1 in allele_roles else sum(allele_roles)
            value = self.values[:, genotype]
            combined = (
                by_copies[:, copies] + value
                if self.posterior
                else np.maximum(by_copies[:, copies], value)
            )
            by_copies[:, copies] = combined
        values = by_copies[:, :3]
        largest = values.max(axis=1, keepdims=True)
        values = np.where(
            by_copies[:, 3:] > largest, np.float32(1), values / np.maximum(largest, 1e-30)
        )
        values[~self.is_informative()] = 1
        return values


def _allele_pairs(genotypes: int) -> list[tuple[int, int]]:
    """The alleles of genotypes, in the order of VCF."""
    alleles = int((np.sqrt(8 * genotypes + 1) - 1) / 2)
    return [(first, second) for second in range(alleles) for first in range(second + 1)]


def evidence_of(
    genotypes: NDArray[np.int16], alleles: int, fields: SampleFields
) -> GenotypeEvidence | None:
    """The evidence for the calls (N, 2) that are missing or uncertain; None if there is none."""
    key = _most_informative_key(alleles, fields)
    if key is None:
        return None
    uncalled = (genotypes == MISSING).any(axis=1)
    queried = uncalled | _may_be_uncertain(fields, key) & ~(genotypes == ABSENT).any(axis=1)
    rows = np.flatnonzero(queried)
    values = np.ones((len(genotypes), alleles * (alleles + 1) // 2), np.float32)
    if len(rows):
        haploid = genotypes[rows, 1] == ABSENT
        values[rows] = _genotype_values(key, fields.rows(key, rows), haploid, alleles)
    evidence = GenotypeEvidence(key, values)
    return evidence.restricted_to(uncalled | ~evidence.is_certain())


def evidence_of_dosages(
    genotypes: NDArray[np.int16], dosages: NDArray[np.float32]
) -> GenotypeEvidence | None:
    """The same of calls (N, 2) of two alleles by their dosages (N,); one that is none says nothing."""
    values = np.ones((len(genotypes), 3), np.float32)
    valid = (dosages >= 0) & (dosages <= 2)
    values[valid] = _dosage_probabilities(dosages[valid])
    evidence = GenotypeEvidence("DS", values)
    return evidence.restricted_to((genotypes == MISSING).any(axis=1) | ~evidence.is_certain())


def _most_informative_key(alleles: int, fields: SampleFields) -> str | None:
    """The most informative field of those about all alleles of the record."""
    if not 2 <= alleles <= MAX_ALLELES:
        return None
    if not fields.has("DS"):
        return next((key for key in _KEYS if fields.has(key)), None)
    return "GP" if fields.has("GP") else "DS" if alleles == 2 else None


def _may_be_uncertain(fields: SampleFields, key: str) -> Flags | np.bool_:
    """Whose calls may be uncertain; GQ tells it of calls that were made from reads, where they have one."""
    if key in ("PL", "GL") and fields.has("GQ"):
        return fields.below("GQ", MIN_CERTAIN_GQ) | ~fields.given("GQ")
    return np.bool_(True)


def _genotype_values(
    key: str, field_values: NDArray[np.float64], haploid: Flags, alleles: int
) -> Values:
    """The values (K, G) of a field as likelihoods, the largest 1, or probabilities; all 1 where incomplete."""
    values = np.ones((len(field_values), alleles * (alleles + 1) // 2), np.float32)
    count = (~np.isnan(field_values)).sum(axis=1)
    if key == "DS":
        complete = (count == 1) & (field_values[:, 0] >= 0) & (field_values[:, 0] <= 2)
        values[complete] = _dosage_probabilities(field_values[complete, 0])
        return values
    complete = count == values.shape[1]
    if complete.any():
        rows = field_values[complete, : values.shape[1]]
        values[complete] = _probabilities(rows) if key == "GP" else _likelihoods(key, rows)
    haploid = haploid & (count == alleles) & (key != "GP")
    if haploid.any():
        allele_likelihoods = _likelihoods(key, field_values[haploid, :alleles])
        pairs = np.array(_allele_pairs(values.shape[1]))
        values[haploid] = allele_likelihoods[:, pairs].mean(
            axis=2
        )  # of one allele, like a single read
    return values


def _probabilities(field_values: NDArray[np.float64]) -> Values:
    """Probabilities as they are; all 1 where they are none, as before VCF 4.3, when GP was phred-scaled."""
    valid = (field_values >= 0).all(axis=1) & (
        np.abs(field_values.sum(axis=1) - 1) < DOSAGE_TOLERANCE
    )
    return np.where(valid[:, None], field_values, 1).astype(np.float32)


def _likelihoods(key: str, field_values: NDArray[np.float64]) -> Values:
    """Likelihoods, the largest 1, from PL or GL."""
    logs = field_values if key == "GL" else -field_values / 10
    likelihoods: Values = (10 ** (logs - logs.max(axis=1, keepdims=True))).astype(np.float32)
    return likelihoods


def _dosage_probabilities(dosage: NDArray[np.floating]) -> Values:
    """Probabilities (K, 3) of a dosage: a genotype if it is near an integer, else both alleles by themselves.

    A dosage does not say how certain it is. That both alleles are drawn at half of it is the least certain it can be
    for an individual, and at the frequency of the population it says nothing, as it should without information.
    """
    frequency = dosage / 2
    probabilities = np.stack(
        [(1 - frequency) ** 2, 2 * frequency * (1 - frequency), frequency**2], axis=1
    )
    nearest = np.rint(dosage)
    near_integer = np.abs(dosage - nearest) <= DOSAGE_TOLERANCE
    probabilities[near_integer] = np.eye(3)[nearest[near_integer].astype(np.int64)]
    return probabilities.astype(np.float32)
