"""Reads barcodes for a model, also those of panels that have more or fewer sites than its own."""

from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import UNKNOWN_LETTER
from genomai_cli.errors import InputError
from genomai_cli.population.barcode import (
    assumed_letters,
    genotypes_to_letters,
    letters_to_genotypes,
    resolve,
)
from genomai_cli.population.barcode_calls import BarcodeModelInput
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer


class BarcodeReader:
    """Reads barcodes of the model's panel, of one that contains it, or of one in it, with the rest missing."""

    def __init__(
        self,
        panel: Panel,
        model: str,
        tokenizer: Tokenizer,
        panels: Callable[[], Iterable[Panel]],
        *,
        haplotypes: bool,
    ) -> None:
        self.model, self.panel, self.haplotypes = model, panel, haplotypes
        self.tokenizer, self.panels = tokenizer, panels
        self.own = np.arange(len(self.panel))

    @cached_property
    def indices(self) -> dict[int, NDArray[np.int64]]:
        """Where the sites of the panel stand in barcodes, by their length; the other panels are looked at only now."""
        found = {len(self.panel): self.own}
        for other in self.panels():
            indices = self.panel.indices_in(other)
            if (indices >= 0).sum() == min(
                len(self.panel), len(other)
            ):  # one has all of the other's
                found.setdefault(len(other), indices)
        return found

    def __call__(self, record: SequenceRecord) -> BarcodeModelInput:
        given = np.frombuffer(record.sequence.encode("ascii"), np.uint8)
        is_own = len(given) == len(self.panel)
        indices = self.own if is_own else self.indices.get(len(given))
        if indices is None:
            sizes = " or ".join(map(str, sorted(self.indices)))
            raise InputError(
                f"{record.name} has {len(given)} letters: a barcode for the model {self.model} "
                f"has {sizes}",
                path=record.path,
                line=record.line or None,
            )
        letters = np.where(indices < 0, np.uint8(UNKNOWN_LETTER), given[indices])
        copies = letters_to_genotypes(letters, self.panel)
        letters = genotypes_to_letters(copies, self.panel)
        strands = resolve(letters) if self.haplotypes else letters[None]
        windows = [self.tokenizer.encode(row.tobytes().decode("ascii")) for row in strands]
        used = int((copies >= 0).sum())
        heterozygous, reference = (int((copies == number).sum()) for number in (1, 0))
        assumed = round(assumed_letters(record) * (indices >= 0).sum() / len(given))
        sites = len(self.panel)
        return BarcodeModelInput(
            record.name, windows, used, sites, heterozygous, reference, copies, assumed
        )
