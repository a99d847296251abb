"""Flags of the call of a barcode, and when its label is withheld.

Shape suffix: S sites.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.backbones.classifier import LIKELIHOOD
from genomai_cli.inputs.base import FlagText, ModelInput
from genomai_cli.population.barcode_faults import REFERENCE_CALLS
from genomai_cli.population.call_patterns import HAPLOID_CALLS, VARIANTS_ONLY, lacks_reference
from genomai_cli.population.networks.likelihood import (
    INFORMATION,
    MIXTURE,
    NOVELTY,
    SELECTED,
    SURPRISE,
)

ADMIXED_ABOVE = 10.0  # nats by which a mixture of groups explains a sample better than one
SURPRISE_ABOVE = 6.0  # standard deviations less likely than members; of bundles without novelty
FLAG_TEXTS = {
    "LOW_CALL_RATE": FlagText(
        "The known sites tell so little that labels may well be wrong.",
        "Genotype more of the model's sites, or call them with their reference calls (a gVCF). If the file lists "
        "variants "
        "only, say so with --absent-is-ref. Until then go by the probability, and not by the label.",
    ),
    "HAPLOID": FlagText(
        "No call is heterozygous: read as one haplotype, not as a person.",
        "Expected of haplotypes, of haploid calls and of mitochondria. Of a person it points to calls that a "
        "filter or a "
        "caller has made homozygous: look at how the file was made.",
    ),
    VARIANTS_ONLY: FlagText(
        "(Almost) no call is homozygous for the reference, as in a list of variants only: labels rest on less, "
        "or are UNKNOWN.",
        f"Better {REFERENCE_CALLS}.",
    ),
    "ADMIXED": FlagText(
        "A mixture of the groups explains the alleles better than any single one.",
        "Read the fractions instead of the label. A mixture of two people's DNA looks alike: where fractions "
        "surprise, check the "
        "sample for contamination (heterozygosity, allele balance).",
    ),
    "NOVEL": FlagText(
        "Unlike the members of every reference group.",
        "Do not use the label: ancestry from elsewhere, another species, another assembly, a swapped or damaged "
        "file. Look where "
        "the sample lies on the map, and check build, strand and sample sheet.",
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class BarcodeModelInput(ModelInput):
    """A barcode as a network reads it.

    heterozygous, reference: how many of its calls are heterozygous, or homozygous for the reference; copies: (S,) of
    the alternate allele, -1 where missing; assumed: how many of its calls are in no file. `likelihoods` are there if
    some genotypes are uncertain, and `weight` is then how many certain ones are worth as much.
    """

    heterozygous: int
    reference: int
    copies: NDArray[np.int8]
    assumed: int = 0
    uncertain: NDArray[np.float32] | None = None
    weight: float | None = None

    @property
    def likelihoods(self) -> NDArray[np.float32] | None:
        """See `ModelInput`."""
        return self.uncertain

    @property
    def share(self) -> float:
        """See `ModelInput`."""
        effective_letters = self.used_letters if self.weight is None else self.weight
        return effective_letters / self.usable_letters if self.usable_letters else 0.0

    @property
    def call_rate(self) -> float:
        """See `ModelInput`."""
        return (
            max(self.share - self.assumed / self.usable_letters, 0) if self.usable_letters else 0.0
        )

    @property
    def is_haplotype(self) -> bool:
        """Whether it is taken for one haplotype; single reads are no sign of one."""
        calls = self.used_letters >= HAPLOID_CALLS
        return calls and not self.heterozygous and self.uncertain is None

    @property
    def selected(self) -> bool:
        """Whether the calls were chosen by genotype, by their number alone."""
        return bool(lacks_reference(self.reference, self.used_letters))

    @property
    def uniform(self) -> bool:
        """Whether they are all heterozygous, or all homozygous."""
        return self.heterozygous in (0, self.used_letters)


def flags(read: ModelInput, scores: Mapping[str, Tensor]) -> Iterator[str]:
    """HAPLOID, VARIANTS_ONLY, ADMIXED, NOVEL; the last two are about genotypes that were not chosen."""
    assert isinstance(read, BarcodeModelInput)
    if read.is_haplotype:
        yield "HAPLOID"
    if _is_selected(read, scores):
        yield VARIANTS_ONLY
        return
    if MIXTURE in scores and float(scores[MIXTURE]) > ADMIXED_ABOVE:
        yield "ADMIXED"
    surprising = SURPRISE in scores and float(scores[SURPRISE]) > SURPRISE_ABOVE
    if surprising or (NOVELTY in scores and float(scores[NOVELTY]) > 0):
        yield "NOVEL"


def is_enough(scores: Mapping[str, Tensor]) -> bool | None:
    """Whether the known sites are informative enough for labels; None for a model without this score."""
    return float(scores[INFORMATION]) >= 1 if INFORMATION in scores else None


def withheld(read: ModelInput, scores: Mapping[str, Tensor]) -> bool:
    """Whether there is to be no label: calls chosen by genotype that are no evidence, at all or to a model without a
    likelihood, and samples far from every population."""
    assert isinstance(read, BarcodeModelInput)
    if _is_selected(read, scores):
        return LIKELIHOOD not in scores or read.uniform
    return NOVELTY in scores and float(scores[NOVELTY]) > 1


def _is_selected(read: BarcodeModelInput, scores: Mapping[str, Tensor]) -> bool:
    """Whether the calls were chosen by genotype: by the likelihood, or by their number."""
    if SELECTED in scores:
        return bool(scores[SELECTED] > 0)
    return read.selected
