"""A report on generated individuals, compared with the statistics that the bundle holds or with real samples.

The measures are those of `evaluation.generation`; those that cannot be computed are listed too, with the reason.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion.phenotypes import Phenotypes
from genomai_cli.formats.tables import LabelTable
from genomai_cli.metrics.classification import Estimate
from genomai_cli.population.barcode import genotypes_to_letters
from genomai_cli.population.evaluation import generation
from genomai_cli.population.evaluation.generation import Comparison, Measures, Report
from genomai_cli.population.evaluation.genotypes import SampleGenotypes
from genomai_cli.population.evaluation.simple_generators import SIMPLE
from genomai_cli.population.evaluation.summary import Summary, compare_frequencies
from genomai_cli.population.generation.sampler import SyntheticIndividual
from genomai_cli.population.networks.denoiser import GenotypeDenoiser
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord

NAN = math.nan
NOT_MEASURED = Estimate(NAN, NAN, NAN)
AUC_MEASURES = tuple(
    f"{prefix}_{detector}"
    for prefix, features in (("auc", "dosages"), ("haplotype_auc", "alleles"))
    for detector in (features, "regression", "trees")
)
MEASURES_BY_GROUP = {  # named in every report, with NaN where they are not measured
    "allele_frequency": ("r", "mean_difference", "largest_difference"),
    "linkage": ("r2_r", "signed_r"),
    "neighbours": ("aats", "aats_truth", "aats_synthetic"),
    "copies": ("exact_haplotypes", "exact_people"),
    "components": ("overlap", "wasserstein_mean"),
    "nearest_real": ("minimum", "p01", "p05", "median", "extreme", "extreme_p"),
    "told_apart": AUC_MEASURES,
    **{
        generator.name: tuple(f"told_apart:{name}" for name in AUC_MEASURES) for generator in SIMPLE
    },
    "privacy": ("membership_auc", "nearer_training"),
    "recognised": ("all",),
}
GROUPS_NEEDING_SAMPLES = [
    *("neighbours", "copies", "nearest_real", "told_apart"),
    *(generator.name for generator in SIMPLE),
    "privacy",
]
NEEDS_REAL = (
    "not measured, since the model keeps nobody's genotypes: give the people with --against"
)
NEEDS_PHASE = "not measured: mosaics need haplotypes, and not all samples are phased"
NEEDS_HELD_OUT = (
    "not measured: give people who were not learnt from with --held-out, beside --against"
)
NEEDS_TREES = "boosted trees need the library scikit-learn: pip install 'genomai[detection]'"
NEEDS_SUMMARY = "not measured, since the model has no summaries of the people learnt from: give them with --against"
NEEDS_MATCHED = "not measured, since summaries are of everybody: give people like those asked for with --against"
AGAINST_SUMMARY = "beside the model's summaries of the people learnt from"
NEEDS_SAMPLES_OF_RECORDS = (
    "not measured, since people were asked for by records: give people like them with --against"
)
AGAINST_FREQUENCIES = "beside the model's frequencies of the phenotypes asked for"
Recogniser = Callable[[Sequence[SequenceRecord]], Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class Quality:
    """Measures by group, and notes on groups."""

    report: Report
    notes: Mapping[str, str]

    @property
    def remarks(self) -> list[str]:
        """The notes, which say how groups are measured or why they are not: a line a note, without alarms."""
        alarms = generation.alarms(self.report)
        groups: dict[str, list[str]] = {}
        for group, note in self.notes.items():
            if group not in alarms:
                groups.setdefault(note, []).append(group)
        return [f"{', '.join(names)}: {note}" for note, names in groups.items()]


def synthetic_genotypes(individuals: Sequence[SyntheticIndividual]) -> SampleGenotypes:
    """Generated individuals as genotypes for the measures."""
    alleles_N2S = np.stack([individual.alleles for individual in individuals])
    requested = {individual.name: individual.phenotype for individual in individuals}
    return SampleGenotypes(
        [individual.name for individual in individuals], alleles_N2S, True, requested
    )


@dataclass(frozen=True, eq=False)
class BundleStatistics:
    """Statistics that a bundle holds: its network with the phenotypes' frequencies, and summaries of all samples."""

    network: GenotypeDenoiser
    phenotypes: Phenotypes
    summary: Summary | None
    representative: (
        bool  # whether the requested individuals have the proportions of the training samples
    )

    @classmethod
    def of(
        cls, bundle: Bundle, summary: Summary | None, *, representative: bool
    ) -> "BundleStatistics":
        """The statistics of a generator's bundle; the summaries are a file in its folder."""
        network = bundle.classifier.networks[0]
        assert isinstance(network, GenotypeDenoiser)
        return cls(network, Phenotypes.from_config(bundle.config), summary, representative)

    def frequencies(self, synthetic: SampleGenotypes) -> np.ndarray | None:
        """The expected frequencies (S,) of these individuals: those of all samples, or of the phenotypes; None for
        individuals that were requested by records."""
        if self.summary is not None and self.representative:
            return self.summary.frequency
        parts = (part for text in synthetic.requested.values() for part in text.split(","))
        if any(part.partition(":")[0] not in self.phenotypes.names for part in parts):
            return None
        return _frequencies(synthetic, self)


def compare_with_bundle(synthetic: SampleGenotypes, statistics: BundleStatistics) -> Quality:
    """The measures that need no genotypes of real samples."""
    report: Report = {
        "data": _without_intervals(
            {"synthetic": len(synthetic), "sites": synthetic.alleles.shape[2]}
        )
    }
    summary = statistics.summary
    notes = dict.fromkeys(GROUPS_NEEDING_SAMPLES, NEEDS_REAL)
    if summary is None or not statistics.representative:
        notes |= dict.fromkeys(
            ("linkage", "components"), NEEDS_MATCHED if summary else NEEDS_SUMMARY
        )
        expected = statistics.frequencies(synthetic)
        if expected is not None:
            report["allele_frequency"] = _without_intervals(
                compare_frequencies(expected, synthetic)
            )
        notes["allele_frequency"] = (
            NEEDS_SAMPLES_OF_RECORDS if expected is None else AGAINST_FREQUENCIES
        )
        return Quality(report, notes)
    report["data"] |= _without_intervals({"learnt_from": summary.samples})
    report["allele_frequency"] = _without_intervals(summary.frequency_measures(synthetic))
    report["linkage"] = _without_intervals(summary.linkage_measures(synthetic))
    report["components"] = _without_intervals(summary.component_measures(synthetic))
    notes |= dict.fromkeys(("allele_frequency", "linkage", "components"), AGAINST_SUMMARY)
    return Quality(report, notes)


def compare_with_samples(
    synthetic: SampleGenotypes,
    panel: Panel,
    real: SampleGenotypes,
    held_out: SampleGenotypes | None,
    groups: LabelTable | None,
    seed: int,
) -> Quality:
    """All measures of `genomai evaluate --task generation REAL SYNTHETIC`."""
    comparison = generation.Comparison.of(panel, real, synthetic, held_out, groups)
    report = generation.report(comparison, seed)
    notes = notes_of(comparison, report)
    if held_out is None:
        notes["privacy"] = NEEDS_HELD_OUT
    return Quality(report, notes | generation.alarms(report))


def notes_of(comparison: Comparison, report: Report) -> dict[str, str]:
    """Notes on the groups of a comparison with real samples: how simple generators draw, what is missing."""
    count = len(set(comparison.groups.values()))
    where = f"within {count} groups of the real samples" if count else "among all real samples"
    notes = {
        generator.name: f"{generator.description}, {where}"
        if generator.name in report
        else NEEDS_PHASE
        for generator in SIMPLE
    }
    if "auc_trees" not in report["told_apart"]:
        notes["told_apart"] = NEEDS_TREES
    return notes


def compare_labels(
    synthetic: SampleGenotypes, panel: Panel, recognise: Recogniser, labels: frozenset[str]
) -> Quality:
    """The share of individuals that a classifier gives the requested label; `labels` are those it knows."""
    requested = {name for name, label in synthetic.requested.items() if label in labels}
    if not requested:
        return Quality({}, {"recognised": "the classifier knows none of the phenotypes asked for"})
    letters_NS = genotypes_to_letters(synthetic.copies, panel)
    records = [
        SequenceRecord(name, letters.tobytes().decode("ascii"))
        for name, letters in zip(synthetic.names, letters_NS, strict=True)
        if name in requested
    ]
    return Quality(
        {"recognised": generation.recognition_measures(synthetic.requested, recognise(records))}, {}
    )


def merged(parts: Sequence[Quality]) -> Quality:
    """Several reports as one, with all groups; measures that none of them has are NaN."""
    report: Report = {}
    notes: dict[str, str] = {}
    for part in parts:
        report |= part.report
        notes |= part.notes
    order = ["data", *MEASURES_BY_GROUP]
    empty = {
        group: dict.fromkeys(MEASURES_BY_GROUP[group], NOT_MEASURED) for group in MEASURES_BY_GROUP
    }
    measures = {g: report.get(g) or empty.get(g, {}) for g in [*order, *(set(report) - set(order))]}
    return Quality(measures, {g: note for g, note in notes.items() if g in measures})


def _frequencies(synthetic: SampleGenotypes, statistics: BundleStatistics) -> np.ndarray:
    """The frequencies (S,) that the model has of the phenotypes requested, in their proportions."""
    table_PS = statistics.network.frequency.double().cpu().numpy()
    shares_P = np.zeros(len(table_PS))
    for name in synthetic.names:
        for part in synthetic.requested[name].split(","):
            label, _, weight = part.partition(":")
            shares_P += float(weight or 1) * _phenotype_shares(label, statistics.phenotypes)
    expected_S: np.ndarray = shares_P @ table_PS / shares_P.sum()
    return expected_S


def _phenotype_shares(label: str, phenotypes: Phenotypes) -> np.ndarray:
    """The shares (P,) of the phenotypes by which individuals of a label are drawn."""
    parts = {label: 1} if label == phenotypes.names[0] else phenotypes.finest_labels(label)
    shares_P = np.zeros(len(phenotypes))
    for part, count in parts.items():
        shares_P[phenotypes.number(part)] = count / sum(parts.values())
    return shares_P


def _without_intervals(values: Mapping[str, float]) -> Measures:
    return {name: Estimate(value, NAN, NAN) for name, value in values.items()}
