"""A `HaplotypeImputer` as the network of a bundle: it is stored, and not trained."""

from genomai_cli.backbones.base import Network
from genomai_cli.population.networks.array_module import ArrayModule
from genomai_cli.population.networks.haplotype_imputer import HaplotypeImputer, ImputerConfig


class ImputerNetwork(Network, ArrayModule):
    """Imputes genotypes; it has no parameters, and `imputation.preparation` makes its arrays."""

    config_class = ImputerConfig
    has_vectors = False
    stores_samples = True
    hidden_size = num_layers = 0

    def __init__(self, config: ImputerConfig) -> None:
        ArrayModule.__init__(self, HaplotypeImputer.shapes(config))
        self.config = config

    @property
    def imputer(self) -> HaplotypeImputer:
        """The imputer on the present values of the buffers."""
        return HaplotypeImputer(self.config, self.arrays())
