"""Measures of barcodes in a table of calls, besides labels: fractions of ancestry, and coordinates on principal
axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import BundleError, UsageError
from genomai_cli.inputs.base import ModelInput, ReferenceSpace
from genomai_cli.population.barcode_calls import BarcodeModelInput
from genomai_cli.population.mixtures import (
    Genotypes,
    Windows,
    independent_fractions,
    linked_fractions,
)
from genomai_cli.population.panel import Panel
from genomai_cli.population.structure import Axes, Sources, Structure
from genomai_cli.reports.sections import ReferenceGroup

Array = NDArray[np.float64]
PROPORTIONS, PCS = "proportions", "pcs"  # the measures that can be requested
MAX_LINKED_SOURCES = 8  # sources; the chain's states are the pairs of them


@dataclass(frozen=True, eq=False)
class Proportions:
    """Columns fraction:LABEL, then fraction_se:LABEL, their standard errors."""

    sources: Sources
    windows: Windows
    needs_label: ClassVar[bool] = True  # a sample unlike all groups is no mixture either

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [
            f"{what}:{label}"
            for what in ("fraction", "fraction_se")
            for label in self.sources.labels
        ]

    def __call__(self, model_inputs: Sequence[ModelInput]) -> Array:
        genotypes = genotypes_of(model_inputs)
        frequency_KS = self.sources.frequency
        fractions = (
            linked_fractions(genotypes, frequency_KS, self.windows)
            if len(frequency_KS) <= MAX_LINKED_SOURCES
            else independent_fractions(genotypes, frequency_KS)
        )
        table = np.concatenate([fractions.fractions, fractions.errors], axis=1)
        table[_selected(model_inputs)] = np.nan
        return table


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Columns PC1, PC2 ..."""

    axes: Axes
    count: int
    needs_label: ClassVar[bool] = False

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [f"PC{number + 1}" for number in range(self.count)]

    def __call__(self, model_inputs: Sequence[ModelInput]) -> Array:
        table = self.axes.coordinates(genotypes_of(model_inputs), self.count)
        table[_selected(model_inputs)] = np.nan
        return table


def _selected(reads: Sequence[ModelInput]) -> NDArray[np.bool_]:
    """Samples whose calls were chosen by genotype: they lean to the alternate allele, which is no ancestry."""
    return np.array([isinstance(read, BarcodeModelInput) and read.selected for read in reads])


def genotypes_of(reads: Sequence[ModelInput]) -> Genotypes:
    """The genotypes of barcodes."""
    barcodes = [read for read in reads if isinstance(read, BarcodeModelInput)]
    ploidy_N = np.array([1.0 if read.is_haplotype else 2.0 for read in barcodes])
    genotypes = Genotypes.of(np.stack([read.copies for read in barcodes]), ploidy_N)
    for number, read in enumerate(barcodes):
        if read.likelihoods is not None:
            genotypes.likelihood[number] = read.likelihoods
    return genotypes


def measures_of(
    structure: Structure | None, panel: Panel, requests: Mapping[str, str | int]
) -> list[Proportions | Coordinates]:
    """The requested measures, by `PROPORTIONS` with a head and `PCS` with a number of axes.

    Raises BundleError for a model that keeps nothing of its training samples, UsageError for what it does not have.
    """
    if structure is None:
        raise BundleError(
            "the model keeps no frequencies and axes of its training samples, which --proportions, --q and --pcs "
            "need: train it again, or take another"
        )
    measures: list[Proportions | Coordinates] = []
    if PROPORTIONS in requests:
        sources = structure.sources.get(str(requests[PROPORTIONS]))
        if sources is None:
            available = ", ".join(structure.sources)
            raise UsageError(
                f"--proportions {requests[PROPORTIONS]}: the model's heads are {available}"
            )
        measures.append(Proportions(sources, Windows.of(panel)))
    if PCS in requests:
        count, available = int(requests[PCS]), structure.axes.directions.shape[1]
        if count > available:
            raise UsageError(f"--pcs {count}: the model has {available} principal axes")
        measures.append(Coordinates(structure.axes, count))
    return measures


MAX_AXES = 6  # axes that a report offers
FRACTIONS_CAPTION = (
    "Fractions are shares of a sample's alleles by fixed sources of allele frequencies. They are no family tree, "
    "and name the "
    "nearest sources there are to ancestry from elsewhere. The source of a group whose members are all mixtures "
    "is what the other "
    "sources leave unexplained: of AMR in the 1000 Genomes Project Indigenous American ancestry, not membership "
    "of the group."
)


def reference_space_of(structure: Structure, panel: Panel) -> ReferenceSpace:
    """Where a report shows samples: on the leading axes, with the fractions by the head of fewest labels."""
    head = min(structure.sources, key=lambda name: len(structure.sources[name].labels))
    axes = structure.axes
    count = min(MAX_AXES, axes.directions.shape[1])
    spreads = {name: np.array(rows)[:count, :count] for name, rows in axes.spreads.items()}
    groups = [
        ReferenceGroup(
            name, structure.parents.get(name, ""), np.array(centre)[:count], spreads.get(name)
        )
        for name, centre in axes.centres.items()
    ]
    sources = structure.sources[head]
    fractions = Proportions(sources, Windows.of(panel))
    return ReferenceSpace(
        head, Coordinates(axes, count), fractions, sources.labels, groups, FRACTIONS_CAPTION
    )
