"""Input that is read at the sites of a panel: what barcodes and haplotypes have in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genomai_cli.bundles import catalog
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.base import InputKind
from genomai_cli.population import barcode_calls
from genomai_cli.population.barcode import letters_to_genotypes
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
        letters = np.frombuffer(record.held.encode("ascii"), np.uint8)
        if len(letters) == len(self.panel):
            yield from barcode_calls.faults(letters_to_genotypes(letters, self.panel))

    def advice(self, fault: str) -> str:
        """The advice for VARIANTS_ONLY."""
        return barcode_calls.ADVICE.get(fault, "")
