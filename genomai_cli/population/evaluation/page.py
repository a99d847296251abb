"""How good generated samples are, as a page: measures beside real samples, allele frequencies, linkage by distance.

It draws sites, never people: nobody's genotypes or coordinates are in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.population.evaluation import structure
from genomai_cli.population.evaluation.generation import Comparison, Measures, Report
from genomai_cli.population.evaluation.genotypes import SampleGenotypes
from genomai_cli.population.panel import Panel
from genomai_cli.reports import drawings
from genomai_cli.reports.evaluation import estimate_cells
from genomai_cli.reports.page import Page
from genomai_cli.reports.sections import (
    Column,
    Facts,
    Notes,
    Picture,
    Pictures,
    Section,
    Table,
    Tile,
    Tiles,
)

REAL_R2, GENERATED_R2 = "mean_r2_real:", "mean_r2:"  # of linkage, by the distance of two sites
DESCRIPTIONS = {
    "allele_frequency": {
        "r": "correlation of the allele frequencies over the sites; 1 is ideal",
        "mean_difference": "mean difference of the frequencies",
        "largest_difference": "the largest difference of a site",
    },
    "linkage": {
        "r2_r": "correlation of r² over all pairs of sites; 1 is ideal",
        "signed_r": "correlation of r with its sign",
    },
    "neighbours": {
        "aats": "nearest-neighbour adversarial accuracy: 0.5 is ideal, above it generated and real samples lie apart, "
        "below it copies are among them",
        "aats_truth": "the share of real samples that are nearer to a real one than to a generated one",
        "aats_synthetic": "the share of generated samples that are nearer to a generated one",
    },
    "copies": {
        "exact_haplotypes": "haplotypes that a real person has at every known site",
        "exact_people": "generated people who equal a real one at every known site",
    },
    "nearest_real": {
        "minimum": "the smallest distance of a generated sample from its nearest real one",
        "p01": "1 % of them are nearer",
        "p05": "5 % of them are nearer",
        "median": "half of them are nearer",
        "extreme": "the share of generated samples among the 1 % that are nearest, of generated and other real samples "
        "together; no more than that of real ones is ideal",
        "extreme_p": "how likely so many of them or more are by chance",
    },
    "components": {
        "overlap": "overlap on the plane of the first two principal components; 1 is ideal",
        "wasserstein_mean": "mean distance on the components, in standard deviations; 0 is ideal",
    },
    "told_apart": {
        "auc_dosages": "area under the ROC curve of a regression on dosages that tells generated samples from real "
        "ones; 0.5 is ideal",
        "auc_regression": "of a regression on dosages, heterozygosity and pairs of near sites",
        "auc_trees": "of boosted trees on the same",
        "haplotype_auc_alleles": "of a regression on the alleles of single haplotypes",
        "haplotype_auc_regression": "of a regression on these and on where near sites differ",
        "haplotype_auc_trees": "of boosted trees on the same",
    },
    "privacy": {
        "membership_auc": "area under the ROC curve of telling who was trained on; 0.5 tells nothing",
        "nearer_training": "the share of generated samples nearer to one trained on than to one held out, of as many; "
        "0.5 tells nothing",
    },
    "recognised": {"all": "the share of people whom a classifier calls what was asked for"},
}
LIMITS = (
    "Groups are reference samples: similarity to them is neither race nor ethnicity.",
    "Measures are of a panel's sites alone. No copies and an area of 0.5 show no leak by these tests; others "
    "may find one.",
)


@dataclass(frozen=True, eq=False)
class Frequencies:
    """The allele frequencies of the sites by name: of the real samples, and of the generated ones."""

    names: Sequence[str]
    real: NDArray[np.float64]
    generated: NDArray[np.float64]

    @classmethod
    def of(cls, comparison: Comparison) -> "Frequencies":
        """The frequencies of the samples that are compared."""
        real = structure.frequencies(comparison.real)
        return cls.compared(real, comparison.synthetic, comparison.panel)

    @classmethod
    def compared(
        cls, real: NDArray[np.float64], generated: SampleGenotypes, panel: Panel
    ) -> "Frequencies":
        """The frequencies of generated samples, and given ones of real samples."""
        return cls(panel.loci, real, structure.frequencies(generated))


def quality_page(
    title: str,
    report: Report,
    notes: Mapping[str, str],
    frequencies: Frequencies | None,
    facts: Mapping[str, str],
) -> Page:
    """The page of a report, with notes on its groups."""
    pictures = [*_frequencies(frequencies), *_decay(report.get("linkage", {}))]
    sections: list[Section] = [_tiles(report)]
    sections += (
        [Pictures("What they have in common with real samples", pictures)] if pictures else []
    )
    sections += [_table(report), *_notes(notes), Facts("How it was made", facts)]
    return Page(
        title, "Made-up samples, none of whom is a person.", [*sections, Notes("Limits", LIMITS)]
    )


def _tiles(report: Report) -> Tiles:
    tiles = [
        Tile(name.replace("_", " "), f"{estimate.value:,}")
        for name, estimate in report["data"].items()
        if name != "phased"
    ]
    shown_measures = (
        ("allele_frequency", "r", "r of frequencies"),
        ("linkage", "r2_r", "r of linkage"),
        ("neighbours", "aats", "adversarial accuracy"),
        ("told_apart", "auc_trees", "AUC of telling apart"),
        ("told_apart", "haplotype_auc_trees", "AUC of haplotypes"),
        ("privacy", "membership_auc", "membership AUC"),
    )
    for group, name, label in shown_measures:
        value = report.get(group, {}).get(name)
        if value is not None and np.isfinite(value.value):
            tiles.append(Tile(label, f"{value.value:.3f}"))
    copies = report.get("copies", {}).get("exact_people")
    if copies is not None and np.isfinite(copies.value):
        tiles.append(Tile("copies of people", f"{copies.value:,}", warn=copies.value > 0))
    return Tiles(tiles)


def _frequencies(frequencies: Frequencies | None) -> Iterator[Picture]:
    if frequencies is None:
        return
    svg = drawings.points(
        frequencies.real,
        frequencies.generated,
        x="real samples",
        y="generated samples",
        names=frequencies.names,
    )
    caption = f"A mark a site, {len(frequencies.names):,} in all; on the line both are equal."
    if len(frequencies.names) > drawings.MAX_POINTS:
        caption = f"A mark a site, {drawings.MAX_POINTS:,} of {len(frequencies.names):,}; on the line both are equal."
    yield Picture("Frequencies of the alternate alleles", svg, caption)


def _decay(linkage: Measures) -> Iterator[Picture]:
    """Mean r² by the distance of two sites, where it was measured."""
    bins = [name.removeprefix(REAL_R2) for name in linkage if name.startswith(REAL_R2)]
    if not bins:
        return
    lines = [
        drawings.Curve(name, range(len(bins)), [linkage[key + of].value for of in bins], dots=True, colour=colour)
        for name, key, colour in (("real", REAL_R2, 4), ("generated", GENERATED_R2, 3))
    ]  # fmt: skip
    svg = drawings.curves(lines, x="distance of two sites", y="mean r²", ticks=bins)
    yield Picture("Linkage by distance", svg, "Sites on different chromosomes are apart.")


def _table(report: Report) -> Table:
    columns = [
        Column("group", filtered=True),
        Column("measure"),
        Column("value", number=True),
        Column("low", number=True, description="95 % interval"),
        Column("high", number=True, description="95 % interval"),
        Column("other real samples", number=True, description="what they have in place of generated ones"),
        Column("which is"),
    ]  # fmt: skip
    rows = [
        (group, name, *estimate_cells(estimate), _description(group, name))
        for group, measures in report.items()
        for name, estimate in measures.items()
    ]
    return Table("Measures", columns, rows)


def _description(group: str, name: str) -> str:
    """The description of a measure; those of simple generators are named `group:measure`."""
    inner_group, _, measure = name.partition(":")
    return DESCRIPTIONS.get(group, {}).get(name) or DESCRIPTIONS.get(inner_group, {}).get(
        measure, ""
    )


def _notes(notes: Mapping[str, str]) -> Iterator[Table]:
    if notes:
        columns = [Column("group"), Column("note")]
        yield Table("What is measured against what", columns, [*notes.items()], prose=True)
