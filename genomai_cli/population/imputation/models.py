"""Models of people at a panel's sites: one that knows populations, and any that tells alleles by itself.

The genotypes of people at a panel's sites, after what is known of them.

Shape suffixes: B people, S sites, P phenotypes, K populations, 2 haplotypes; 4 ordered pairs of alleles 00 01 10
11, S sites; 4 ordered pairs of alleles 00 01 10 11; 3 genotypes, by copies of allele 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from genomai_cli.denoising.base import (
    UNKNOWN,
    Alleles,
    Flags,
    PeopleModel,
    Probabilities,
    Settings,
    left_out,
    normalised,
)
from genomai_cli.population.labels import REFERENCE, Phenotypes
from genomai_cli.population.networks.denoiser import DenoiserNetwork
from genomai_cli.population.panel import Panel

ALLELES_A_BATCH = 1 << 22
MOST_AT_ONCE = 256


class PeopleOfHaplotypes:
    """Asks a module with `allele_probabilities`; its two haplotypes are independent given what is known."""

    def __init__(self, module: nn.Module, panel: Panel, device: torch.device) -> None:
        self.panel = panel
        self.batch = _batch(len(panel), module)
        self._module, self._device = module, device

    @torch.inference_mode()
    def pairs(self, alleles_B2S: Alleles, phased_BS: Flags) -> Probabilities:
        """See `PeopleModel`."""
        alleles = torch.from_numpy(alleles_B2S).to(self._device)
        phased = torch.from_numpy(phased_BS).to(self._device)
        p_B2S = self._module.allele_probabilities(alleles, phased)  # type: ignore[operator]
        return _pairs(p_B2S.double()).cpu().numpy()


class PeopleOfPopulations:
    """Asks a `DenoiserNetwork`, which is told how probable each population is as the person's.

    That follows from the known alleles and the populations' frequencies, as if sites were independent. The
    heterozygotes of unknown phase take turns on which haplotype the alternate allele lies: the genotype beside a
    linked one is the same either way.
    """

    def __init__(self, network: DenoiserNetwork, panel: Panel, phenotypes: Phenotypes) -> None:
        self.panel = panel
        self.batch = _batch(len(panel), network)
        self._network = network
        people = phenotypes.parts(REFERENCE)
        table = network.frequency
        counts_K = torch.tensor(list(people.values())).to(table)
        self._log_prior_K = (counts_K / counts_K.sum()).log()
        numbers_K = torch.tensor([phenotypes.number(name) for name in people], device=table.device)
        self._weights_KP = nn.functional.one_hot(numbers_K, len(phenotypes)).to(table)
        with torch.inference_mode():
            self._blocks = network.linkage.blocks()
            self._frequency_KS = network.frequencies(self._weights_KP)

    @torch.inference_mode()
    def pairs(self, alleles_B2S: Alleles, phased_BS: Flags) -> Probabilities:
        """See `PeopleModel`."""
        placed_B2S = take_turns(alleles_B2S, phased_BS)
        alleles = torch.from_numpy(placed_B2S).to(self._frequency_KS)
        told_BP = self.populations(alleles) @ self._weights_KP
        p_B2S = self._network(alleles, told_BP, self._blocks).sigmoid()
        return _pairs(p_B2S.double()).cpu().numpy()

    def populations(self, alleles_B2S: Tensor) -> Tensor:
        """The posterior probabilities (B, K) of the populations."""
        known_B2S = (alleles_B2S >= 0).to(alleles_B2S.dtype)
        one_BS = (alleles_B2S * known_B2S).sum(1)
        zero_BS = known_B2S.sum(1) - one_BS
        log_BK = one_BS @ self._frequency_KS.log().T + zero_BS @ torch.log1p(-self._frequency_KS).T
        posterior_BK: Tensor = (log_BK + self._log_prior_K).softmax(1)
        return posterior_BK


def take_turns(alleles_B2S: Alleles, phased_BS: Flags) -> Alleles:
    """The alleles, those of every other heterozygote of unknown phase the other way round than in the one before."""
    known_BS = (alleles_B2S != UNKNOWN).all(axis=1)
    unordered_BS = known_BS & ~phased_BS & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
    second_BS = np.cumsum(unordered_BS, axis=1) % 2
    placed_B2S = alleles_B2S.copy()
    for number, row in enumerate((second_BS, 1 - second_BS)):
        placed_B2S[:, number] = np.where(unordered_BS, row, alleles_B2S[:, number])
    return placed_B2S


def _pairs(p_B2S: Tensor) -> Tensor:
    """The ordered pairs (B, S, 4) of two independent haplotypes."""
    one, other = p_B2S.unbind(1)
    pairs = [(1 - one) * (1 - other), (1 - one) * other, one * (1 - other), one * other]
    return torch.stack(pairs, dim=2)


def _batch(sites: int, module: nn.Module) -> int:
    fits = max(1, min(MOST_AT_ONCE, ALLELES_A_BATCH // sites))
    return int(getattr(module, "batch", fits))


def compatible(alleles_B2S: Alleles) -> Flags:
    """Which ordered pairs (B, S, 4) agree with the alleles that are known."""
    one, other = (
        np.stack([(row == UNKNOWN) | (row == allele) for allele in range(2)], axis=-1)
        for row in (alleles_B2S[:, 0], alleles_B2S[:, 1])
    )
    pairs: Flags = (one[..., :, None] & other[..., None, :]).reshape(*one.shape[:-1], 4)
    return pairs


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
