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
CERTAIN = 0.01  # a genotype is, if no other is as likely as this share of it: PL 20
CERTAIN_GQ = 20
WHOLE = 0.1  # how near to an integer a dosage is a genotype
MOST_ALLELES = 6
_KEYS = ("PL", "GL", "GP")
POSTERIOR = frozenset({"GP", "DS"})  # probabilities


@dataclass(frozen=True, eq=False)
class GenotypeEvidence:
    """What a field (`key`) of a record says: `values` (N, G), all 1 where it is not asked.

    They are likelihoods, or with `posterior` probabilities.
    """

    key: str
    values: Values

    @property
    def posterior(self) -> bool:
        """Whether the values are probabilities and no likelihoods."""
        return self.key in POSTERIOR

    def given(self) -> Flags:
        """For whom (N,) they say something."""
        given: Flags = (self.values != self.values[:, :1]).any(axis=1)
        return given

    def where(self, samples: Flags) -> "GenotypeEvidence | None":
        """That of some samples (N,) only; None if nothing remains."""
        values = np.where(samples[:, None], self.values, np.float32(1))
        found = replace(self, values=values)
        return found if found.given().any() else None

    def certain(self) -> Flags:
        """Who has one genotype beyond doubt (N,)."""
        ordered = np.sort(self.values, axis=1)
        rest = ordered[:, -2] if not self.posterior else ordered.sum(axis=1) - ordered[:, -1]
        certain: Flags = rest <= CERTAIN * ordered[:, -1]
        return certain

    def calls(self) -> NDArray[np.int16]:
        """The likeliest genotypes (N, 2)."""
        pairs = np.array(_pairs(self.values.shape[1]), np.int16)
        found: NDArray[np.int16] = pairs[self.values.argmax(axis=1)]
        return found

    def of_alleles(self, roles: Sequence[int]) -> Values | None:
        """Values (N, 3) of 0, 1 and 2 copies of the allele whose role is 1, beside the one of role 0.

        Others, of role -1, are no part of the question: whoever rather has one of them gets equal values. None if an
        allele of either role is not in the record.
        """
        if not {0, 1} <= set(roles):
            return None
        found = np.zeros((len(self.values), 4), np.float32)  # the last is of other alleles
        for genotype, (one, other) in enumerate(_pairs(self.values.shape[1])):
            pair = roles[one], roles[other]
            copies = 3 if -1 in pair else sum(pair)
            value = self.values[:, genotype]
            joined = (
                found[:, copies] + value if self.posterior else np.maximum(found[:, copies], value)
            )
            found[:, copies] = joined
        own = found[:, :3]
        largest = own.max(axis=1, keepdims=True)
        own = np.where(found[:, 3:] > largest, np.float32(1), own / np.maximum(largest, 1e-30))
        own[~self.given()] = 1
        return own


def _pairs(genotypes: int) -> list[tuple[int, int]]:
    """The alleles of genotypes, in the order of VCF."""
    alleles = int((np.sqrt(8 * genotypes + 1) - 1) / 2)
    return [(one, other) for other in range(alleles) for one in range(other + 1)]


def evidence_of(
    genotypes: NDArray[np.int16], alleles: int, fields: SampleFields
) -> GenotypeEvidence | None:
    """What is known of the calls (N, 2) that are missing or uncertain; None if there is nothing."""
    key = _key(alleles, fields)
    if key is None:
        return None
    uncalled = (genotypes == MISSING).any(axis=1)
    asked = uncalled | _doubtful(fields, key) & ~(genotypes == ABSENT).any(axis=1)
    rows = np.flatnonzero(asked)
    values = np.ones((len(genotypes), alleles * (alleles + 1) // 2), np.float32)
    if len(rows):
        haploid = genotypes[rows, 1] == ABSENT
        values[rows] = _natural(key, fields.rows(key, rows), haploid, alleles)
    found = GenotypeEvidence(key, values)
    return found.where(uncalled | ~found.certain())


def evidence_of_dosages(
    genotypes: NDArray[np.int16], dosages: NDArray[np.float32]
) -> GenotypeEvidence | None:
    """The same of calls (N, 2) of two alleles by their dosages (N,); one that is none says nothing."""
    values = np.ones((len(genotypes), 3), np.float32)
    whole = (dosages >= 0) & (dosages <= 2)
    values[whole] = _of_dosage(dosages[whole])
    found = GenotypeEvidence("DS", values)
    return found.where((genotypes == MISSING).any(axis=1) | ~found.certain())


def _key(alleles: int, fields: SampleFields) -> str | None:
    """The field that tells most, of those that speak about all alleles of the record."""
    if not 2 <= alleles <= MOST_ALLELES:
        return None
    if not fields.has("DS"):
        return next((key for key in _KEYS if fields.has(key)), None)
    return "GP" if fields.has("GP") else "DS" if alleles == 2 else None


def _doubtful(fields: SampleFields, key: str) -> Flags | np.bool_:
    """Whose calls may be uncertain; GQ tells it of calls that were made from reads."""
    if key in ("PL", "GL") and fields.has("GQ"):
        return fields.below("GQ", CERTAIN_GQ)
    return np.bool_(True)


def _natural(key: str, given: NDArray[np.float64], haploid: Flags, alleles: int) -> Values:
    """The values (K, G) of a field as likelihoods, the largest 1, or probabilities; all 1 where they are not whole."""
    found = np.ones((len(given), alleles * (alleles + 1) // 2), np.float32)
    count = (~np.isnan(given)).sum(axis=1)
    if key == "DS":
        whole = (count == 1) & (given[:, 0] >= 0) & (given[:, 0] <= 2)
        found[whole] = _of_dosage(given[whole, 0])
        return found
    whole = count == found.shape[1]
    if whole.any():
        rows = given[whole, : found.shape[1]]
        found[whole] = _probabilities(rows) if key == "GP" else _likelihoods(key, rows)
    haploid = haploid & (count == alleles) & (key != "GP")
    if haploid.any():
        one = _likelihoods(key, given[haploid, :alleles])
        pairs = np.array(_pairs(found.shape[1]))
        found[haploid] = one[:, pairs].mean(axis=2)  # of one allele, like a single read
    return found


def _probabilities(given: NDArray[np.float64]) -> Values:
    """Probabilities as they are; all 1 where they are none, as before VCF 4.3, when GP was phred-scaled."""
    sound = (given >= 0).all(axis=1) & (np.abs(given.sum(axis=1) - 1) < WHOLE)
    return np.where(sound[:, None], given, 1).astype(np.float32)


def _likelihoods(key: str, given: NDArray[np.float64]) -> Values:
    """Likelihoods, the largest 1, from PL or GL."""
    logs = given if key == "GL" else -given / 10
    found: Values = (10 ** (logs - logs.max(axis=1, keepdims=True))).astype(np.float32)
    return found


def _of_dosage(dosage: NDArray[np.floating]) -> Values:
    """Probabilities (K, 3) of a dosage: a genotype if it is near an integer, else both alleles by themselves.

    A dosage does not say how certain it is. That both alleles are drawn at half of it is the least certain it can be
    for a person, and at the frequency of the population it says nothing, as it should where imputation knew nothing.
    """
    alone = dosage / 2
    found = np.stack([(1 - alone) ** 2, 2 * alone * (1 - alone), alone**2], axis=1)
    nearest = np.rint(dosage)
    whole = np.abs(dosage - nearest) <= WHOLE
    found[whole] = np.eye(3)[nearest[whole].astype(np.int64)]
    return found.astype(np.float32)
