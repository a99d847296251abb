"""What the letters of a row of the corpus stand for."""

from dataclasses import dataclass

from genomai_cli.anchoring.reference import Reference
from genomai_cli.anchoring.sites import VariableSites
from genomai_cli.panels.panel import Panel
from genomai_cli.panels.people import PersonRows
from genomai_cli.panels.phenotypes import Phenotypes
from genomai_cli.phenotypes.columns import Columns
from genomai_cli.phenotypes.rows import DescribedRows


@dataclass(frozen=True)
class Places:
    """What the letters of a row stand for: the sites of a panel, or those of a reference that are read.

    Of a reference the corpus holds whole genomes; where `sites` are not given, they follow from the corpus. With
    `phenotypes`, which may be none, a row is a person; with `columns`, a person's barcode and phenotype record.
    """

    panel: Panel | None = None
    reference: Reference | None = None
    sites: VariableSites | None = None
    phenotypes: Phenotypes | None = None
    columns: Columns | None = None

    @property
    def people(self) -> PersonRows | None:
        """How the rows hold people, if they do."""
        if self.panel is None or self.phenotypes is None:
            return None
        return PersonRows(len(self.panel), len(self.phenotypes.labels))

    @property
    def described(self) -> DescribedRows | None:
        """How the rows hold people with phenotype records, if they do."""
        if self.panel is None or self.columns is None:
            return None
        return DescribedRows(len(self.panel), self.columns)

    @property
    def row(self) -> int | None:
        """How many letters a record of the corpus has; None for sequences of any length."""
        if self.people is not None:
            return len(self.people)
        if self.described is not None:
            return len(self.described)
        if self.panel is not None:
            return len(self.panel)
        return len(self.reference) if self.reference is not None else None


NOWHERE = Places()
