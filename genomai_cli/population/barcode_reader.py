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
        given = np.frombuffer(record.held.encode("ascii"), np.uint8)
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
        require_alleles(record, letters, self.panel)
        copies = letters_to_genotypes(letters, self.panel)
        letters = genotypes_to_letters(copies, self.panel)
        strands = resolve(letters) if self.haplotypes else letters[None]
        windows = [self.tokenizer.encode(row.tobytes().decode("ascii")) for row in strands]
        used = int((copies >= 0).sum())
        heterozygous, reference = (int((copies == number).sum()) for number in (1, 0))
        assumed = round(assumed_letters(record) * (indices >= 0).sum() / len(given))
        sites = len(self.panel)
        read = BarcodeModelInput(
            record.name, windows, used, sites, heterozygous, reference, copies, assumed
        )
        if self.frequency is None or record.uncertain is None or not is_own:
            return read
        return with_uncertain(read, record.uncertain, self.frequency)


def with_uncertain(
    read: BarcodeModelInput, uncertain: UncertainGenotypes, frequency_S: Array
) -> BarcodeModelInput:
    """The same with what is known of uncertain genotypes, given the mean allele frequencies of a model's populations.

    Genotypes that were chosen by what they are remain as they are called: what is left out there is not missing.
    """
    likelihood_S3 = likelihoods_of(uncertain, frequency_S)
    told_S = (likelihood_S3 != likelihood_S3[:, :1]).any(axis=1)
    certain_S = (read.copies >= 0) & ~told_S
    likelihood_S3[certain_S] = np.eye(3, dtype=np.float32)[read.copies[certain_S]]
    likeliest_S = likelihood_S3.argmax(axis=1)
    used = int((told_S | certain_S).sum())
    reference = int((likelihood_S3[:, 0] == 1).sum()) - (len(told_S) - used)
    if not told_S.any() or lacks_reference(reference, used):
        return read
    _, worth_1S = Genotypes(likelihood_S3[told_S][None], np.ones(1)).dosage(frequency_S[told_S])
    return replace(
        read,
        used_letters=used,
        heterozygous=int((likeliest_S == 1).sum()),
        reference=reference,
        uncertain=likelihood_S3,
        weight=float(certain_S.sum() + worth_1S.sum()),
    )
