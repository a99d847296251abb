"""Genotypes that are missing or doubtful, by the likelihoods that a file has of them, at a panel's sites.

Shapes: N samples; `Uncertain` are values (N, 3) of 0, 1 and 2 of the panel's alternate alleles, three equal ones where
nothing is said.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.genotype_evidence import POSTERIOR, GenotypeEvidence
from genomai_cli.records import UncertainGenotypes

Flags = NDArray[np.bool_]
Uncertain = NDArray[np.float16]
MIN_FREQUENCY = 0.01  # of a prior that is divided out of probabilities
NOT_SEEN = "-"  # in place of a letter: whichever allele was not seen


class UncertainRecord(Protocol):
    """A record at a site: its uncertain values, and the field that they are from."""

    uncertain: Uncertain | None
    source: str


@dataclass(frozen=True, eq=False)
class UncertainCalls:
    """`values` (sites, samples, 3) and `posterior` (sites,) of all samples, as `records.UncertainGenotypes` has them of
    one; `counts` are of calls, by the field that they are from."""

    values: Uncertain
    posterior: Flags
    counts: dict[str, int]

    @classmethod
    def of(
        cls,
        site_records: Sequence[UncertainRecord | None],
        samples: int,
        uncalled: dict[int, Flags],
    ) -> "UncertainCalls | None":
        """The values of so many samples from a panel's records, except `uncalled` samples by site; None if there are
        none."""
        records = [(s, r) for s, r in enumerate(site_records) if r and r.uncertain is not None]
        if not records:
            return None
        values = np.ones((len(site_records), samples, 3), np.float16)
        posterior, counts = np.zeros(len(site_records), np.bool_), Counter[str]()
        for site, record in records:
            values[site] = record.uncertain
            if site in uncalled:
                values[site, uncalled[site]] = 1
            posterior[site] = record.source in POSTERIOR
            counts[record.source] += int(is_informative(values[site], values.shape[1]).sum())
        return cls(values, posterior, dict(counts))

    def of_sample(self, number: int) -> UncertainGenotypes:
        """The uncertain genotypes of one sample."""
        return UncertainGenotypes(np.ascontiguousarray(self.values[:, number]), self.posterior)


def uncertain_at_site(
    evidence: GenotypeEvidence, letters: Sequence[str], site_alleles: tuple[str, str]
) -> Uncertain | None:
    """The evidence about alleles of these letters as values of the site's alleles, its ref and alt."""
    values = evidence.of_alleles(_roles(letters, site_alleles))
    return None if values is None else values.astype(np.float16)


def _roles(letters: Sequence[str], site_alleles: tuple[str, str]) -> list[int]:
    """The role of each allele of a record in the panel: 0 its ref, 1 its alt, -1 neither.

    The symbol of any allele that was not seen (<NON_REF>, <*>) is the one of the two that is not named.
    """
    unnamed = [role for role, base in enumerate(site_alleles) if base not in letters]
    symbol = unnamed[0] if len(unnamed) == 1 else -1
    roles = {site_alleles[0]: 0, site_alleles[1]: 1, NOT_SEEN: symbol}
    return [roles.get(letter, -1) for letter in letters]


def is_informative(uncertain: Uncertain | None, samples: int) -> Flags:
    """Which samples (samples,) have values that are not all equal."""
    if uncertain is None:
        return np.zeros(samples, np.bool_)
    return np.asarray((uncertain != uncertain[:, :1]).any(axis=1))


def merged_uncertain(
    first_N: Flags,
    first: Uncertain | None,
    second: Uncertain | None,
    cleared_N: Flags,
) -> Uncertain | None:
    """The first record's values of the samples `first_N`, the second's of the others, uninformative ones of
    `cleared_N`."""
    if first is None and second is None:
        return None
    uninformative = np.ones((len(first_N), 3), np.float16)
    merged = np.where(
        first_N[:, None],
        uninformative if first is None else first,
        uninformative if second is None else second,
    )
    merged[cleared_N] = 1
    return merged


def likelihoods_of(
    uncertain: UncertainGenotypes, frequency_S: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The likelihoods (S, 3), the largest of each site 1.

    Probabilities are divided by their uninformative prior: that of the
    populations' mean frequencies.
    """
    values_S3 = uncertain.values.astype(np.float32)
    sites = np.flatnonzero(uncertain.posterior & (values_S3 != values_S3[:, :1]).any(axis=1))
    f_S = np.clip(frequency_S[sites], MIN_FREQUENCY, 1 - MIN_FREQUENCY)
    prior_S3 = np.stack([(1 - f_S) ** 2, 2 * f_S * (1 - f_S), f_S**2], axis=1)
    ratio_S3 = values_S3[sites] / prior_S3
    values_S3[sites] = ratio_S3 / ratio_S3.max(axis=1, keepdims=True)
    return values_S3
