"""Input that is read at the sites of a panel: what barcodes and haplotypes have in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genomai_cli.bundles import catalog
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.base import InputKind
from genomai_cli.population.barcode_faults import BarcodeFaults
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord


@dataclass(frozen=True, eq=False)
class PanelInput(InputKind):
    """A kind of input at the sites of a panel, which lies in the bundle."""

    panel: Panel

    explain_alternative = (
        "it reads the sites of a panel; "
        "`genomai align --attention FILE` tells what each site adds to similarities"
    )

    def write(self, folder: Path) -> None:
        """Write the panel."""
        self.panel.write(folder / catalog.PANEL)

    @property
    def coordinates(self) -> Panel:
        """The panel."""
        return self.panel

    def signature(self) -> dict[str, str]:
        """The panel's digest."""
        return {"panel": self.panel.sha256}

    def require_same(self, other: InputKind, name: str) -> None:
        """TrainingError for a model of other sites."""
        if self.signature().get("panel") != other.signature().get("panel"):
            message = (
                f"the model to begin from, {name}, has other sites: use its panel.tsv as --panel"
            )
            raise TrainingError(message)

    def faults(self, record: SequenceRecord) -> Iterator[str]:
        """VARIANTS_ONLY, where the record is a barcode of the panel."""
        return BarcodeFaults(self.panel).faults(record)

    def advice(self, fault: str) -> str:
        """The advice for VARIANTS_ONLY."""
        return BarcodeFaults(self.panel).advice(fault)
