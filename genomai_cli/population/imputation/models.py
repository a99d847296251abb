"""Models of individuals at a panel's sites, and the genotypes of individuals given what is known of them.

A model that knows populations is told which are likely; any other network that predicts alleles by itself is asked as
it is.

Shape suffixes: B individuals, S sites, P phenotypes, K populations; 2 haplotypes; 3 genotypes, by copies of allele 1; 4
ordered pairs of alleles 00 01 10 11.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genomai_cli.alphabet import MISSING
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.denoising.base import Flags, Probabilities, Settings, leave_out, normalised
from genomai_cli.diffusion.phenotypes import REFERENCE, Phenotypes
from genomai_cli.errors import BundleError
from genomai_cli.population.networks.denoiser import DenoiserNetwork
from genomai_cli.population.networks.haplotype_copying import genotypes_of
from genomai_cli.population.networks.haplotype_imputer import HaplotypeImputer, Window, restored
from genomai_cli.population.networks.kriging import KrigingReference
from genomai_cli.population.panel import Panel

Alleles = NDArray[np.int8]
ALLELES_PER_BATCH = 1 << 22
MAX_BATCH = 256


class GenotypeModel(Protocol):
    """Knows individuals at the sites of a panel."""

    panel: Panel
    batch_size: int  # the most individuals at once
    windows: list[Window]  # of the panel's sites
    frequency: NDArray[np.float64] | None  # of allele 1 (S,), of models that read likelihoods

    def haplotypes(self, calls: "Calls", window: Window) -> Probabilities:
        """The probabilities (B, 2, S) of allele 1 on both haplotypes at every site that a window reads, given the calls
        there; given these the two are independent.

        At a site that is known in part or in full they need not agree with what is known.
        """


def model_of(bundle: Bundle) -> GenotypeModel:
    """What the bundle predicts genotypes with; BundleError for one that predicts none."""
    panel, network = bundle.coordinates, bundle.classifier.networks[0]
    if isinstance(network, HaplotypeImputer):
        return ModelOfWindows(network, panel)
    if isinstance(network, DenoiserNetwork):
        return ModelOfPopulations(network, panel, Phenotypes.from_config(bundle.config))
    able = [network, *(bundle.auxiliary[name] for name in sorted(bundle.auxiliary))]
    for module in able:
        if hasattr(module, "allele_probabilities"):
            return ModelOfHaplotypes(module, panel)
    raise BundleError(
        f"the model {bundle.name!r} restores nothing: it tells people apart, not alleles"
    )


class ModelOfHaplotypes:
    """Asks a module with `allele_probabilities`; its two haplotypes are independent given what is known."""

    def __init__(self, module: nn.Module, panel: Panel) -> None:
        self.panel = panel
        self.batch_size = _batch_size(len(panel), module)
        self.windows = [Window.whole(len(panel))]
        self.frequency: NDArray[np.float64] | None = None
        self._module = module
        self._device = next(iter(module.state_dict().values())).device

    @torch.inference_mode()
    def haplotypes(self, calls: "Calls", window: Window) -> Probabilities:
        """See `GenotypeModel`."""
        del window
        alleles_B2S, phased_BS = calls.alleles, calls.phased
        alleles = torch.from_numpy(alleles_B2S).to(self._device)
        phased = torch.from_numpy(phased_BS).to(self._device)
        p_B2S: Tensor = self._module.allele_probabilities(alleles, phased)  # type: ignore[operator]
        return p_B2S.double().cpu().numpy()


class ModelOfWindows:
    """Asks a `HaplotypeImputer`, whose library of one window is kept until another one is asked for."""

    def __init__(self, network: HaplotypeImputer, panel: Panel) -> None:
        self.panel, self.windows = panel, network.windows
        self.frequency: NDArray[np.float64] | None = network.haplotypes.frequencies()
        self.batch_size = _batch_size(max(w.end - w.begin for w in self.windows), network)
        self._network = network
        self._device = network.haplotypes.packed.device
        self._library: tuple[Window, KrigingReference] | None = None

    @torch.inference_mode()
    def haplotypes(self, calls: "Calls", window: Window) -> Probabilities:
        """See `GenotypeModel`."""
        if self._library is None or self._library[0] != window:
            self._library = None
            self._library = window, self._network.library(window)
        alleles = torch.from_numpy(calls.alleles).to(self._device)
        phased = torch.from_numpy(calls.phased).to(self._device)
        told = calls.likelihoods
        told_BS3 = None if told is None else torch.from_numpy(told).to(self._device)
        p_B2S = restored(self._library[1], alleles, phased, told_BS3)
        return p_B2S.double().cpu().numpy()


class ModelOfPopulations:
    """Asks a `DenoiserNetwork`, given the probability of each population to be the individual's.

    That follows from the known alleles and the populations' frequencies, as if sites were independent. The
    heterozygotes of unknown phase take turns on which haplotype the alternate allele lies: the genotype beside a
    linked one is the same either way.
    """

    def __init__(self, network: DenoiserNetwork, panel: Panel, phenotypes: Phenotypes) -> None:
        self.panel = panel
        self.batch_size = _batch_size(len(panel), network)
        self.windows = [Window.whole(len(panel))]
        self.frequency: NDArray[np.float64] | None = None
        self._network = network
        sizes = phenotypes.parts(REFERENCE)
        table = network.frequency
        counts_K = torch.tensor(list(sizes.values())).to(table)
        self._log_prior_K = (counts_K / counts_K.sum()).log()
        numbers_K = torch.tensor([phenotypes.number(name) for name in sizes], device=table.device)
        self._weights_KP = nn.functional.one_hot(numbers_K, len(phenotypes)).to(table)
        with torch.inference_mode():
            self._blocks = network.linkage.blocks()
            self._frequency_KS = network.frequencies(self._weights_KP)

    @torch.inference_mode()
    def haplotypes(self, calls: "Calls", window: Window) -> Probabilities:
        """See `GenotypeModel`."""
        del window
        placed_B2S = alternate_phase(calls.alleles, calls.phased)
        alleles = torch.from_numpy(placed_B2S).to(self._frequency_KS)
        weights_BP = self.populations(alleles) @ self._weights_KP
        p_B2S: Tensor = self._network(alleles, weights_BP, self._blocks).sigmoid()
        return p_B2S.double().cpu().numpy()

    def populations(self, alleles_B2S: Tensor) -> Tensor:
        """The posterior probabilities (B, K) of the populations."""
        known_B2S = (alleles_B2S >= 0).to(alleles_B2S.dtype)
        one_BS = (alleles_B2S * known_B2S).sum(1)
        zero_BS = known_B2S.sum(1) - one_BS
        log_BK = one_BS @ self._frequency_KS.log().T + zero_BS @ torch.log1p(-self._frequency_KS).T
        posterior_BK: Tensor = (log_BK + self._log_prior_K).softmax(1)
        return posterior_BK


def alternate_phase(alleles_B2S: Alleles, phased_BS: Flags) -> Alleles:
    """The alleles, those of every other heterozygote of unknown phase the other way round than in the one before."""
    known_BS = (alleles_B2S != MISSING).all(axis=1)
    unordered_BS = known_BS & ~phased_BS & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
    second_BS = np.cumsum(unordered_BS, axis=1) % 2
    placed_B2S = alleles_B2S.copy()
    for number, row in enumerate((second_BS, 1 - second_BS)):
        placed_B2S[:, number] = np.where(unordered_BS, row, alleles_B2S[:, number])
    return placed_B2S


def _batch_size(sites: int, module: nn.Module) -> int:
    fits = max(1, min(MAX_BATCH, ALLELES_PER_BATCH // sites))
    return int(getattr(module, "batch", fits))


PAIRS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
COPIES = PAIRS.sum(axis=1)


@dataclass(frozen=True, eq=False)
class Calls:
    """What is known of some individuals: alleles (B, 2, S), 0, 1 or `MISSING`; whether it is known (B, S) on which
    haplotype each lies; who (B,) is haplotypes rather than genotypes, each allele read by itself; and, for models that
    read them, likelihoods (B, S, 3) of genotypes that are unknown, all alike where nothing is said."""

    names: Sequence[str]
    alleles: Alleles
    phased: Flags
    haploid: Flags
    likelihoods: NDArray[np.float32] | None = None

    def at(self, sites: slice) -> "Calls":
        """The same at some of the sites."""
        alleles, phased = self.alleles[..., sites], self.phased[:, sites]
        told = None if self.likelihoods is None else self.likelihoods[:, sites]
        return replace(self, alleles=alleles, phased=phased, likelihoods=told)

    def of(self, rows: NDArray[np.int64]) -> "Calls":
        """The same of some of the individuals."""
        columns = (self.alleles[rows], self.phased[rows], self.haploid[rows])
        told = None if self.likelihoods is None else self.likelihoods[rows]
        return Calls([self.names[row] for row in rows], *columns, told)

    def masked(self, sites_BS: Flags) -> "Calls":
        """The same without the alleles at some sites."""
        alleles = np.where(sites_BS[:, None], np.int8(MISSING), self.alleles)
        return replace(self, alleles=alleles)

    @property
    def correctable(self) -> Flags:
        """Where (B, S) something has been read that may be wrong: a whole genotype, or an allele of a haplotype."""
        known = self.alleles != MISSING
        correctable: Flags = known.all(axis=1) | (self.haploid[:, None] & known.any(axis=1))
        return correctable


def posterior(model: GenotypeModel, calls: Calls, settings: Settings) -> Probabilities:
    """The probabilities (B, S, 4) of the ordered pairs at all sites of the panel; see `posterior_in`."""
    parts = [
        posterior_in(window, model, calls.at(window.read), settings) for window in model.windows
    ]
    return np.concatenate(parts, axis=1)


def posterior_in(
    window: Window, model: GenotypeModel, calls: Calls, settings: Settings
) -> Probabilities:
    """The probabilities (B, S, 4) of the ordered pairs at the sites that a window tells, by the calls of those that it
    reads.

    Known alleles are certain; with an error rate, what has been read in full is as probable as it and all that is known
    elsewhere make it. Not more individuals than the model's `batch_size`.
    """
    one_B2S = model.haplotypes(calls, window)
    one_B2S = np.where(calls.alleles == MISSING, one_B2S, calls.alleles)
    correctable_BS = calls.correctable
    if settings.error_rate is None or not correctable_BS.any():
        return _pairs(one_B2S[..., window.told])
    pairs_BS4 = _pairs(one_B2S)
    left_out_BS2 = leave_out(
        lambda masked_BS: model.haplotypes(calls.masked(masked_BS), window).swapaxes(1, 2),
        correctable_BS,
        [settings.seeds(name) for name in calls.names],
    )
    left_out_BS4 = _pairs(left_out_BS2.swapaxes(1, 2))
    likelihood_BS4 = _likelihood(calls, settings.error_rate)
    corrected = normalised(left_out_BS4[correctable_BS] * likelihood_BS4[correctable_BS])
    pairs_BS4[correctable_BS] = corrected
    return pairs_BS4[:, window.told]


def _pairs(one_B2S: Probabilities) -> Probabilities:
    """The probabilities (B, S, 4) of the ordered pairs."""
    first_2BS, second_2BS = (np.stack([1 - one_BS, one_BS]) for one_BS in one_B2S.swapaxes(0, 1))
    found_BS4 = np.empty((*first_2BS.shape[1:], 4))
    for number, (first, second) in enumerate(PAIRS):
        np.multiply(first_2BS[first], second_2BS[second], out=found_BS4[..., number])
    return found_BS4


def _likelihood(calls: Calls, error_rate: float) -> Probabilities:
    """How probable it is (B, S, 4) to read what was read: one of the two other genotypes at this rate, or of a
    haplotype the other allele."""
    copies_BS1 = calls.alleles.sum(axis=1)[..., None]
    of_genotype = np.where(copies_BS1 == COPIES, 1 - error_rate, error_rate / 2)
    of_haplotypes = np.ones_like(of_genotype)
    for alleles_BS, pair_4 in zip(calls.alleles.swapaxes(0, 1), PAIRS.T, strict=True):
        read = np.where(alleles_BS[..., None] == pair_4, 1 - error_rate, error_rate)
        of_haplotypes *= np.where(alleles_BS[..., None] == MISSING, 1.0, read)
    return np.where(calls.haploid[:, None, None], of_haplotypes, of_genotype)


def genotypes(pairs: Probabilities) -> Probabilities:
    """The genotypes (..., 3) of ordered pairs (..., 4)."""
    found: Probabilities = genotypes_of(torch.from_numpy(pairs)).numpy()
    return found


def haplotype(pairs: Probabilities, number: int) -> Probabilities:
    """The alleles (..., 2) of the first (0) or the second (1) haplotype."""
    table = pairs.reshape(*pairs.shape[:-1], 2, 2)
    alleles: Probabilities = table.sum(axis=-2 if number else -1)
    return alleles
