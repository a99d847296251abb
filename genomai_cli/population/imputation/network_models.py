"""Networks that predict alleles as genotype models, and the denoiser of their bundles.

A network conditioned on populations gets the posterior probabilities of these; any other network that predicts alleles
is used as it is.

Shape suffixes: B individuals, S sites, P phenotypes, K populations; 2 haplotypes.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genomai_cli.alphabet import MISSING
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.denoising.base import Flags, Probabilities, Settings
from genomai_cli.diffusion.phenotypes import REFERENCE, Phenotypes
from genomai_cli.errors import BundleError
from genomai_cli.population.imputation.barcodes import BarcodeDenoiser
from genomai_cli.population.imputation.models import (
    Alleles,
    Calls,
    GenotypeModel,
    ReferenceHaplotypeModel,
    batch_size,
)
from genomai_cli.population.networks.denoiser import DenoiserNetwork
from genomai_cli.population.networks.haplotype_imputer import Window
from genomai_cli.population.networks.imputer_network import ImputerNetwork
from genomai_cli.population.panel import Panel


def denoiser_of(bundle: Bundle, settings: Settings, others: Iterable[Any]) -> BarcodeDenoiser:
    """The denoiser of a bundle of a panel; barcodes of the panels among `others` are read too, where they share its
    sites. BundleError for a bundle that predicts no alleles."""
    panels = [other for other in others if isinstance(other, Panel)]
    return BarcodeDenoiser(model_of(bundle), panels, settings, bundle.name)


def model_of(bundle: Bundle) -> GenotypeModel:
    """The genotype model of a bundle; BundleError for one that predicts none."""
    panel, network = bundle.coordinates, bundle.classifier.networks[0]
    if isinstance(network, ImputerNetwork):
        return ReferenceHaplotypeModel(network.imputer, panel)
    if isinstance(network, DenoiserNetwork):
        return PopulationDenoiserModel(network, panel, Phenotypes.from_config(bundle.config))
    candidates = [network, *(bundle.auxiliary[name] for name in sorted(bundle.auxiliary))]
    for module in candidates:
        if hasattr(module, "allele_probabilities"):
            return AlleleNetworkModel(module, panel)
    raise BundleError(
        f"the model {bundle.name!r} restores nothing: it tells people apart, not alleles"
    )


class AlleleNetworkModel:
    """The model of a module with `allele_probabilities`; its two haplotypes are independent given the calls."""

    def __init__(self, module: nn.Module, panel: Panel) -> None:
        self.panel = panel
        self.batch_size = _batch_size(len(panel), module)
        self.windows = [Window.full(len(panel))]
        self.frequency: NDArray[np.float64] | None = None
        self._module = module
        self._device = next(iter(module.state_dict().values())).device

    @torch.inference_mode()
    def haplotypes(self, calls: Calls, window: Window) -> Probabilities:
        """See `GenotypeModel`."""
        del window
        alleles_B2S, phased_BS = calls.alleles, calls.phased
        alleles = torch.from_numpy(alleles_B2S).to(self._device)
        phased = torch.from_numpy(phased_BS).to(self._device)
        probability_B2S: Tensor = self._module.allele_probabilities(alleles, phased)  # type: ignore[operator]
        return probability_B2S.double().cpu().numpy()


class PopulationDenoiserModel:
    """The model of a `DenoiserNetwork`, given the posterior probability of each population.

    That follows from the known alleles and the populations' frequencies, as if sites were independent. Heterozygotes of
    unknown phase have the alternate allele on either haplotype in turn, and half a genotype without phase has it on the
    first: the genotype at a linked site is the same either way.
    """

    def __init__(self, network: DenoiserNetwork, panel: Panel, phenotypes: Phenotypes) -> None:
        self.panel = panel
        self.batch_size = _batch_size(len(panel), network)
        self.windows = [Window.full(len(panel))]
        self.frequency: NDArray[np.float64] | None = None
        self._network = network
        sizes = phenotypes.finest_labels(REFERENCE)
        table = network.frequency
        counts_K = torch.tensor(list(sizes.values())).to(table)
        self._log_prior_K = (counts_K / counts_K.sum()).log()
        numbers_K = torch.tensor([phenotypes.number(name) for name in sizes], device=table.device)
        self._weights_KP = nn.functional.one_hot(numbers_K, len(phenotypes)).to(table)
        with torch.inference_mode():
            self._blocks = network.linkage.blocks()
            self._frequency_KS = network.frequencies(self._weights_KP)

    @torch.inference_mode()
    def haplotypes(self, calls: Calls, window: Window) -> Probabilities:
        """See `GenotypeModel`."""
        del window
        ordered_B2S = alternate_phase(calls.alleles, calls.phased)
        alleles = torch.from_numpy(ordered_B2S).to(self._frequency_KS)
        weights_BP = self.populations(alleles) @ self._weights_KP
        probability_B2S: Tensor = self._network(alleles, weights_BP, self._blocks).sigmoid()
        return probability_B2S.double().cpu().numpy()

    def populations(self, alleles_B2S: Tensor) -> Tensor:
        """The posterior probabilities (B, K) of the populations."""
        known_B2S = (alleles_B2S >= 0).to(alleles_B2S.dtype)
        one_BS = (alleles_B2S * known_B2S).sum(1)
        zero_BS = known_B2S.sum(1) - one_BS
        log_BK = one_BS @ self._frequency_KS.log().T + zero_BS @ torch.log1p(-self._frequency_KS).T
        posterior_BK: Tensor = (log_BK + self._log_prior_K).softmax(1)
        return posterior_BK


def alternate_phase(alleles_B2S: Alleles, phased_BS: Flags) -> Alleles:
    """The alleles in an order that does not depend on that of calls without phase: the two of every second heterozygote
    are exchanged, and of half a genotype the known allele is the first."""
    known_BS = (alleles_B2S != MISSING).all(axis=1)
    unordered_BS = known_BS & ~phased_BS & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
    second_BS = np.cumsum(unordered_BS, axis=1) % 2
    ordered_B2S = alleles_B2S.copy()
    for number, row in enumerate((second_BS, 1 - second_BS)):
        ordered_B2S[:, number] = np.where(unordered_BS, row, alleles_B2S[:, number])
    unplaced_BS = (alleles_B2S[:, 0] == MISSING) & ~phased_BS
    ordered_B2S[:, ::-1] = np.where(unplaced_BS[:, None], alleles_B2S, ordered_B2S[:, ::-1])
    return ordered_B2S


def _batch_size(sites: int, module: nn.Module) -> int:
    return int(getattr(module, "batch", batch_size(sites)))
