"""The denoiser of a bundle that holds reference haplotypes and no network: of its arrays alone, without torch."""

from collections.abc import Iterable

from genomai_cli.bundles import catalog
from genomai_cli.bundles.stored import StoredBundle, bundle_errors
from genomai_cli.denoising.base import Settings
from genomai_cli.population.imputation.barcodes import BarcodeDenoiser
from genomai_cli.population.imputation.models import ReferenceHaplotypeModel
from genomai_cli.population.networks.haplotype_imputer import HaplotypeImputer, ImputerConfig
from genomai_cli.population.panel import Panel
from genomai_cli.population.panel_files import panel_in


def denoiser_of(
    bundle: StoredBundle, settings: Settings, other_panels: Iterable[Panel]
) -> BarcodeDenoiser:
    """The denoiser by the bundle's haplotypes; barcodes of the other panels are read too, where they share its sites.
    BundleError for a config or arrays of another kind."""
    with bundle_errors(bundle.path / catalog.CONFIG):
        panel = panel_in(bundle.path, bundle.config)
        config = ImputerConfig.of(bundle.network)
        shapes = HaplotypeImputer.shapes(config)
    imputer = HaplotypeImputer(config, bundle.arrays(shapes))
    model = ReferenceHaplotypeModel(imputer, panel)
    return BarcodeDenoiser(model, other_panels, settings, bundle.name)
