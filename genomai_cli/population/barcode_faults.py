"""What is wrong with how a barcode came about, whichever model reads it; torch is not needed to tell."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genomai_cli.population.barcode import letters_to_genotypes
from genomai_cli.population.call_patterns import VARIANTS_ONLY, lacks_reference
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord

REFERENCE_CALLS = (
    "call the model's sites with their reference calls (a gVCF; bcftools call -T SITES without -v), or, if the file "
    "lists all variants of the sample, say so with --absent-is-ref (and where such files were merged, merge them with "
    "bcftools merge -0, since ./. stays missing)"
)
ADVICE = {
    VARIANTS_ONLY: "(almost) no call is homozygous for the reference, as in a list of variants only, so labels rest on "
    f"less, or are UNKNOWN. Better: {REFERENCE_CALLS}",
}


@dataclass(frozen=True, eq=False)
class BarcodeFaults:
    """Finds faults in the barcodes of a panel."""

    panel: Panel

    @property
    def row_length(self) -> int:
        """The number of sites."""
        return len(self.panel)

    def faults(self, record: SequenceRecord) -> Iterator[str]:
        """VARIANTS_ONLY, where the record is a barcode of the panel."""
        letters_S = np.frombuffer(record.held.encode("ascii"), np.uint8)
        if len(letters_S) != len(self.panel):
            return
        copies_S = letters_to_genotypes(letters_S, self.panel)
        if lacks_reference(int((copies_S == 0).sum()), int((copies_S >= 0).sum())):
            yield VARIANTS_ONLY

    def advice(self, fault: str) -> str:
        """The advice for VARIANTS_ONLY."""
        return ADVICE.get(fault, "")
