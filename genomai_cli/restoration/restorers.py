"""The restorer of FASTA entries that suits a bundle."""

from collections.abc import Iterable

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.panels.panel import Panel
from genomai_cli.restoration.anchored import GenomeRestorer
from genomai_cli.restoration.barcodes import BarcodeRestorer
from genomai_cli.restoration.base import Settings
from genomai_cli.restoration.guessing import GuessedDna, GuessedGenomes
from genomai_cli.restoration.models import model_of
from genomai_cli.restoration.passage import Restorer
from genomai_cli.restoration.plain import DnaRestorer


def restorer_of(bundle: Bundle, settings: Settings, panels: Iterable[Panel] = ()) -> Restorer:
    """What reads and restores entries for this model; `panels` are others whose barcodes are accepted where they
    share its sites. BundleError for a model that restores nothing."""
    model = model_of(bundle)
    if isinstance(model, GuessedGenomes):
        return GenomeRestorer(model, settings, bundle.name)
    if isinstance(model, GuessedDna):
        return DnaRestorer(model, settings, bundle.name)
    return BarcodeRestorer(model, panels, settings, bundle.name)
