"""A report on what was generated: against what the bundle knows of the samples trained on, or against those themselves.

The measures are those of `evaluation.generation`; what cannot be computed is there too, with the reason.
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
NOTHING = Estimate(NAN, NAN, NAN)
AREAS = tuple(
    f"{of}_{judge}"
    for of, plain in (("auc", "dosages"), ("haplotype_auc", "alleles"))
    for judge in (plain, "regression", "trees")
)
EXPECTED = {  # the measures of each group that a report without them still names
    "allele_frequency": ("r", "mean_difference", "largest_difference"),
    "linkage": ("r2_r", "signed_r"),
    "neighbours": ("aats", "aats_truth", "aats_synthetic"),
    "copies": ("exact_haplotypes", "exact_people"),
    "components": ("overlap", "wasserstein_mean"),
    "nearest_real": ("minimum", "p01", "p05", "median", "extreme", "extreme_p"),
    "told_apart": AREAS,
    **{generator.name: tuple(f"told_apart:{name}" for name in AREAS) for generator in SIMPLE},
    "privacy": ("membership_auc", "nearer_training"),
    "recognised": ("all",),
}
OF_PEOPLE = [
    *("neighbours", "copies", "nearest_real", "told_apart"),
    *(generator.name for generator in SIMPLE),
    "privacy",
]
NEEDS_REAL = (
    "not measured, since the model keeps nobody's genotypes: give the people with --against"
)
NEEDS_PHASE = "not measured: mosaics need haplotypes, and not all samples are phased"
NEEDS_OTHERS = (
    "not measured: give people who were not learnt from with --held-out, beside --against"
)
NEEDS_TREES = "boosted trees need the library scikit-learn: pip install 'genomai[detection]'"
NO_SUMMARY = "not measured, since the model has no summaries of the people learnt from: give them with --against"
OTHER_PEOPLE = "not measured, since summaries are of everybody: give people like those asked for with --against"
OF_SUMMARY = "beside the model's summaries of the people learnt from"
BY_RECORDS = (
    "not measured, since people were asked for by records: give people like them with --against"
)
OF_FREQUENCIES = "beside the model's frequencies of the phenotypes asked for"
Recogniser = Callable[[Sequence[SequenceRecord]], Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class Quality:
    """Measures by group, and what is to be said of a group."""

    report: Report
    notes: Mapping[str, str]

    @property
    def remarks(self) -> list[str]:
        """What is measured against what, and what is not measured and why: a line a note, without alarms."""
        alarms = generation.alarms(self.report)
        groups: dict[str, list[str]] = {}
        for group, note in self.notes.items():
            if group not in alarms:
                groups.setdefault(note, []).append(group)
        return [f"{', '.join(of)}: {note}" for note, of in groups.items()]


def gathered(made: Sequence[SyntheticIndividual]) -> SampleGenotypes:
    """Generated people as the measures take them."""
    alleles_N2S = np.stack([person.alleles for person in made])
    requested = {person.name: person.phenotype for person in made}
    return SampleGenotypes([person.name for person in made], alleles_N2S, True, requested)


@dataclass(frozen=True, eq=False)
class Known:
    """What the bundle knows: its network with the phenotypes' frequencies, and summaries of everybody."""

    network: GenotypeDenoiser
    phenotypes: Phenotypes
    summary: Summary | None
    everybody: bool  # whether individuals in the proportions of the training samples were requested

    @classmethod
    def of(cls, bundle: Bundle, summary: Summary | None, *, everybody: bool) -> "Known":
        """What a generator's bundle knows; the summaries are a file beside it."""
        network = bundle.classifier.networks[0]
        assert isinstance(network, GenotypeDenoiser)
        return cls(network, Phenotypes.from_config(bundle.config), summary, everybody)

    def frequencies(self, made: SampleGenotypes) -> np.ndarray | None:
        """The frequencies (S,) that people like these should have: those of everybody, or of the phenotypes; None for
        people who were asked for by records."""
        if self.summary is not None and self.everybody:
            return self.summary.frequency
        parts = (part for text in made.requested.values() for part in text.split(","))
        if any(part.partition(":")[0] not in self.phenotypes.names for part in parts):
            return None
        return _frequencies(made, self)


def of_bundle(made: SampleGenotypes, known: Known) -> Quality:
    """What can be said without a real person's genotype."""
    report: Report = {"data": _plain({"synthetic": len(made), "sites": made.alleles.shape[2]})}
    summary = known.summary
    notes = dict.fromkeys(OF_PEOPLE, NEEDS_REAL)
    if summary is None or not known.everybody:
        notes |= dict.fromkeys(("linkage", "components"), OTHER_PEOPLE if summary else NO_SUMMARY)
        expected = known.frequencies(made)
        if expected is not None:
            report["allele_frequency"] = _plain(compare_frequencies(expected, made))
        notes["allele_frequency"] = BY_RECORDS if expected is None else OF_FREQUENCIES
        return Quality(report, notes)
    report["data"] |= _plain({"learnt_from": summary.samples})
    report["allele_frequency"] = _plain(summary.frequency_measures(made))
    report["linkage"] = _plain(summary.linkage_measures(made))
    report["components"] = _plain(summary.component_measures(made))
    notes |= dict.fromkeys(("allele_frequency", "linkage", "components"), OF_SUMMARY)
    return Quality(report, notes)


def against(
    made: SampleGenotypes,
    panel: Panel,
    real: SampleGenotypes,
    held_out: SampleGenotypes | None,
    groups: LabelTable | None,
    seed: int,
) -> Quality:
    """All measures of `genomai evaluate --task generation REAL SYNTHETIC`."""
    comparison = generation.Comparison.of(panel, real, made, held_out, groups)
    report = generation.report(comparison, seed)
    notes = notes_of(comparison, report)
    if held_out is None:
        notes["privacy"] = NEEDS_OTHERS
    return Quality(report, notes | generation.alarms(report))


def notes_of(comparison: Comparison, report: Report) -> dict[str, str]:
    """What is to be said of the groups of a comparison with real people: how simple generators draw, what is
    missing."""
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


def recognition(
    made: SampleGenotypes, panel: Panel, recognise: Recogniser, labels: frozenset[str]
) -> Quality:
    """The share of people whom a classifier recognises as what was requested; `labels` are those it knows."""
    requested = {name for name, label in made.requested.items() if label in labels}
    if not requested:
        return Quality({}, {"recognised": "the classifier knows none of the phenotypes asked for"})
    letters_NS = genotypes_to_letters(made.copies, panel)
    records = [
        SequenceRecord(name, letters.tobytes().decode("ascii"))
        for name, letters in zip(made.names, letters_NS, strict=True)
        if name in requested
    ]
    return Quality(
        {"recognised": generation.recognition_measures(made.requested, recognise(records))}, {}
    )


def complete(parts: Sequence[Quality]) -> Quality:
    """Several reports as one, with all groups; what has no measures is there with NaN."""
    report: Report = {}
    notes: dict[str, str] = {}
    for part in parts:
        report |= part.report
        notes |= part.notes
    order = ["data", *EXPECTED]
    empty = {group: dict.fromkeys(EXPECTED[group], NOTHING) for group in EXPECTED}
    whole = {g: report.get(g) or empty.get(g, {}) for g in [*order, *(set(report) - set(order))]}
    return Quality(whole, {g: note for g, note in notes.items() if g in whole})


def _frequencies(made: SampleGenotypes, known: Known) -> np.ndarray:
    """The frequencies (S,) that the model has of the phenotypes requested, in their proportions."""
    table_PS = known.network.frequency.double().cpu().numpy()
    shares_P = np.zeros(len(table_PS))
    for name in made.names:
        for part in made.requested[name].split(","):
            label, _, weight = part.partition(":")
            shares_P += float(weight or 1) * _finest(label, known.phenotypes)
    expected_S: np.ndarray = shares_P @ table_PS / shares_P.sum()
    return expected_S


def _finest(label: str, phenotypes: Phenotypes) -> np.ndarray:
    """The phenotypes (P,) by which people of a label are drawn, with their shares."""
    parts = {label: 1} if label == phenotypes.names[0] else phenotypes.finest_labels(label)
    shares_P = np.zeros(len(phenotypes))
    for part, count in parts.items():
        shares_P[phenotypes.number(part)] = count / sum(parts.values())
    return shares_P


def _plain(values: Mapping[str, float]) -> Measures:
    return {name: Estimate(value, NAN, NAN) for name, value in values.items()}
