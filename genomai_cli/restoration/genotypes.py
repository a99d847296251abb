"""The genotypes of people at a panel's sites, after what is known of them.

Shape suffixes: B people, S sites; 4 ordered pairs of alleles 00 01 10 11; 3 genotypes, by copies of allele 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genomai_cli.restoration.base import (
    UNKNOWN,
    Alleles,
    Flags,
    PeopleModel,
    Probabilities,
    Settings,
)
from genomai_cli.restoration.leaving_out import left_out, normalised
from genomai_cli.restoration.people import compatible

PAIRS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
COPIES = PAIRS.sum(axis=1)


@dataclass(frozen=True, eq=False)
class Calls:
    """What is known of some people: alleles (B, 2, S), 0, 1 or `UNKNOWN`; whether it is known (B, S) on which haplotype
    each lies; and who (B,) is haplotypes rather than genotypes, each allele read by itself."""

    names: Sequence[str]
    alleles: Alleles
    phased: Flags
    haploid: Flags

    def hidden(self, places_BS: Flags) -> Alleles:
        """The alleles without those at some places."""
        return np.where(places_BS[:, None], np.int8(UNKNOWN), self.alleles)

    @property
    def doubtful(self) -> Flags:
        """Where (B, S) something has been read that may be wrong: a whole genotype, or an allele of a haplotype."""
        known = self.alleles != UNKNOWN
        doubtful: Flags = known.all(axis=1) | (self.haploid[:, None] & known.any(axis=1))
        return doubtful


def posterior(model: PeopleModel, calls: Calls, settings: Settings) -> Probabilities:
    """The probabilities (B, S, 4) of the ordered pairs.

    Known alleles are certain; with an error rate, what has been read as a whole is as probable as it and all that is
    known elsewhere make it. Not more people than the model's `batch`.
    """
    certain = compatible(calls.alleles)
    pairs_BS4 = normalised(model.pairs(calls.alleles, calls.phased) * certain)
    doubtful_BS = calls.doubtful
    if settings.error_rate is None or not doubtful_BS.any():
        return pairs_BS4
    left_BS4 = left_out(
        lambda hidden_BS: model.pairs(calls.hidden(hidden_BS), calls.phased),
        doubtful_BS,
        [settings.seeds(name) for name in calls.names],
    )
    likelihood_BS4 = _likelihood(calls, settings.error_rate)
    doubted = normalised(left_BS4[doubtful_BS] * likelihood_BS4[doubtful_BS])
    pairs_BS4[doubtful_BS] = doubted
    return pairs_BS4


def _likelihood(calls: Calls, error_rate: float) -> Probabilities:
    """How probable it is (B, S, 4) to read what was read: one of the two other genotypes at this rate, or of a
    haplotype the other allele."""
    copies_BS1 = calls.alleles.sum(axis=1)[..., None]
    of_person = np.where(copies_BS1 == COPIES, 1 - error_rate, error_rate / 2)
    of_haplotypes = np.ones_like(of_person)
    for alleles_BS, pair_4 in zip(calls.alleles.swapaxes(0, 1), PAIRS.T, strict=True):
        read = np.where(alleles_BS[..., None] == pair_4, 1 - error_rate, error_rate)
        of_haplotypes *= np.where(alleles_BS[..., None] == UNKNOWN, 1.0, read)
    return np.where(calls.haploid[:, None, None], of_haplotypes, of_person)


def genotypes(pairs: Probabilities) -> Probabilities:
    """The genotypes (..., 3) of ordered pairs (..., 4)."""
    return np.stack([pairs[..., 0], pairs[..., 1] + pairs[..., 2], pairs[..., 3]], axis=-1)


def haplotype(pairs: Probabilities, number: int) -> Probabilities:
    """The alleles (..., 2) of the first (0) or the second (1) haplotype."""
    table = pairs.reshape(*pairs.shape[:-1], 2, 2)
    alleles: Probabilities = table.sum(axis=-2 if number else -1)
    return alleles
