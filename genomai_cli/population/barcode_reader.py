"""Reads barcodes for a model, also those of panels that have more or fewer sites than its own."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import UNKNOWN_LETTER
from genomai_cli.errors import InputError
from genomai_cli.population.barcode import (
    assumed_letters,
    genotypes_to_letters,
    letters_to_genotypes,
    require_alleles,
    resolve,
)
from genomai_cli.population.barcode_calls import BarcodeModelInput
from genomai_cli.population.call_patterns import lacks_reference
from genomai_cli.population.mixtures import Genotypes
from genomai_cli.population.panel import Panel
from genomai_cli.population.uncertain_calls import likelihoods_of
from genomai_cli.records import SequenceRecord, UncertainGenotypes
from genomai_cli.tokenizers import Tokenizer

Array = NDArray[np.float64]


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
        frequency: Array | None = None,
    ) -> None:
        self.model, self.panel, self.haplotypes = model, panel, haplotypes
        self.tokenizer, self.panels = tokenizer, panels
        self.frequency = (
            frequency  # (S,) where genotypes may be uncertain; None of a model of letters alone
        )
        self.own_indices = np.arange(len(self.panel))

    @cached_property
    def indices(self) -> dict[int, NDArray[np.int64]]:
        """The indices of the panel's sites in barcodes, by their length; other panels are only now loaded."""
        by_length = {len(self.panel): self.own_indices}
        for other in self.panels():
            indices = self.panel.indices_in(other)
            if (indices >= 0).sum() == min(
                len(self.panel), len(other)
            ):  # one has all of the other's
                by_length.setdefault(len(other), indices)
        return by_length

    def __call__(self, record: SequenceRecord) -> BarcodeModelInput:
        record_letters = np.frombuffer(record.held.encode("ascii"), np.uint8)
        is_own = len(record_letters) == len(self.panel)
        indices = self.own_indices if is_own else self.indices.get(len(record_letters))
        if indices is None:
            sizes = " or ".join(map(str, sorted(self.indices)))
            raise InputError(
                f"{record.name} has {len(record_letters)} letters: a barcode for the model {self.model} "
                f"has {sizes}",
                path=record.path,
                line=record.line or None,
            )
        letters = np.where(indices < 0, np.uint8(UNKNOWN_LETTER), record_letters[indices])
        require_alleles(record, letters, self.panel)
        copies = letters_to_genotypes(letters, self.panel)
        letters = genotypes_to_letters(copies, self.panel)
        window_letters = resolve(letters) if self.haplotypes else letters[None]
        windows = [self.tokenizer.encode(row.tobytes().decode("ascii")) for row in window_letters]
        called = int((copies >= 0).sum())
        heterozygous, reference = (int((copies == number).sum()) for number in (1, 0))
        assumed = round(assumed_letters(record) * (indices >= 0).sum() / len(record_letters))
        sites = len(self.panel)
        read = BarcodeModelInput(
            record.name, windows, called, sites, heterozygous, reference, copies, assumed
        )
        if self.frequency is None or record.uncertain is None or not is_own:
            return read
        return with_uncertain(read, record.uncertain, self.frequency)


def with_uncertain(
    read: BarcodeModelInput, uncertain: UncertainGenotypes, frequency_S: Array
) -> BarcodeModelInput:
    """The same with likelihoods of uncertain genotypes, given the mean allele frequencies of a model's populations.

    Calls that were chosen by genotype remain as they are: genotypes left out there are not missing.
    """
    likelihood_S3 = likelihoods_of(uncertain, frequency_S)
    uncertain_S = (likelihood_S3 != likelihood_S3[:, :1]).any(axis=1)
    certain_S = (read.copies >= 0) & ~uncertain_S
    likelihood_S3[certain_S] = np.eye(3, dtype=np.float32)[read.copies[certain_S]]
    likeliest_S = likelihood_S3.argmax(axis=1)
    informative = int((uncertain_S | certain_S).sum())
    reference = int((likelihood_S3[:, 0] == 1).sum()) - (len(uncertain_S) - informative)
    if not uncertain_S.any() or lacks_reference(reference, informative):
        return read
    _, information_1S = Genotypes(likelihood_S3[uncertain_S][None], np.ones(1)).dosage(
        frequency_S[uncertain_S]
    )
    return replace(
        read,
        used_letters=informative,
        heterozygous=int((likeliest_S == 1).sum()),
        reference=reference,
        uncertain=likelihood_S3,
        weight=float(certain_S.sum() + information_1S.sum()),
    )
