"""A `HaplotypeImputer` as the network of a bundle: it is filled by reference samples, stored, and not trained."""

from collections.abc import Callable, Mapping
from typing import Any

from genomai_cli.population.networks.array_module import ArrayModule
from genomai_cli.population.networks.denoiser import PanelNetwork, People
from genomai_cli.population.networks.haplotype_imputer import (
    HaplotypeImputer,
    ImputerConfig,
    places,
)
from genomai_cli.population.panel import Panel


class ImputerNetwork(PanelNetwork, ArrayModule):
    """Restores genotypes; it has no parameters, and `initialize` determines everything."""

    config_class = ImputerConfig
    filled = True
    hidden_size = num_layers = 0

    def __init__(self, config: ImputerConfig) -> None:
        ArrayModule.__init__(self, HaplotypeImputer.shapes(config))
        self.config = config

    @property
    def imputer(self) -> HaplotypeImputer:
        """What restores, on the values that are here now."""
        return HaplotypeImputer(self.config, self.arrays())

    @classmethod
    def sizes_of(cls, config: Mapping[str, Any], panel: Panel, individuals: int) -> dict[str, int]:
        """See `PanelNetwork`."""
        most = int(config.get("people", ImputerConfig.people))
        return {"people": min(most, individuals), "sites": len(panel)}

    def initialize(self, panel: Panel, people: Callable[[], People]) -> None:
        """See `HaplotypeImputer.learn`."""
        arrays = self.arrays()
        HaplotypeImputer(self.config, arrays).learn(people().alleles.numpy(), places(panel))
        self.take(arrays)
