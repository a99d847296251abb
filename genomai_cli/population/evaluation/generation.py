"""The report of `genomai evaluate --task generation`: generated samples compared with real ones, measure by measure.

Each measure has a baseline: the value that held-out real samples have in the place of the generated ones. Besides,
there are measures of samples that simple generators make of the real ones (`simple_generators`).

Shape suffixes: N samples, S sites, C components.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import LabelTable
from genomai_cli.metrics.classification import Estimate, wilson_interval
from genomai_cli.population.evaluation import privacy, structure
from genomai_cli.population.evaluation.detection import areas, detection
from genomai_cli.population.evaluation.genotypes import SampleGenotypes
from genomai_cli.population.evaluation.simple_generators import SIMPLE, Generator
from genomai_cli.population.panel import Panel

Measures = dict[str, Estimate]
Report = dict[str, Measures]
"""Measures by group; whole numbers are counts. The baseline is the measure of held-out real samples."""
NAN = float("nan")
QUANTILES = {"minimum": 0.0, "p01": 0.01, "p05": 0.05, "median": 0.5}
ALARM_P = 0.01  # p-value below which samples are said to be nearer than real ones are
MIXTURE_MARKS = (":", ",")  # in the names of phenotypes of several parts


@dataclass(frozen=True, eq=False)
class Comparison:
    """The genotypes that are compared, at sites known in all of them; the generator was trained on the `real` ones.

    Simple generators make samples within the `groups` of real ones, which are named by sample; without, of all."""

    panel: Panel
    real: SampleGenotypes
    synthetic: SampleGenotypes
    held_out: SampleGenotypes | None = None
    groups: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        panel: Panel,
        real: SampleGenotypes,
        synthetic: SampleGenotypes,
        held_out: SampleGenotypes | None = None,
        groups: LabelTable | None = None,
    ) -> "Comparison":
        """The samples at the sites with calls in all files; without phase if one of them has none.

        InputError if there are no such sites, too few samples, haplotypes beside genotypes without phase, or groups of
        nobody.
        """
        group_of = {} if groups is None else _groups(groups, real)
        samples = [real, synthetic, *([held_out] if held_out else [])]
        if any(len(each) < 2 for each in samples):
            raise InputError("fewer than two samples cannot be compared", path=panel.name)
        if len({each.alleles.shape[1] for each in samples}) > 1:
            samples = [_each_haplotype(each) for each in samples]
        if not all(each.phased for each in samples):
            samples = [each.without_phase() for each in samples]
        known_S = np.all([(each.alleles >= 0).any(axis=(0, 1)) for each in samples], axis=0)
        if not known_S.any():
            raise InputError("no site that all files know", path=panel.name)
        sites = np.flatnonzero(known_S)
        real, synthetic, *others = (each.at(sites) for each in samples)
        held_out_samples = others[0] if others else None
        return cls(panel.subset(sites), real, synthetic, held_out_samples, group_of)

    def generate(self, generator: Generator, seed: int) -> SampleGenotypes | None:
        """The samples that a simple generator makes of the real ones, as many as there are generated ones, at most as
        many as real ones; None if it needs haplotypes, which are not known."""
        real, rng = self.real, np.random.default_rng(seed)
        if generator.needs_phase and not real.phased:
            return None
        names = [self.groups.get(name, "") for name in real.names]
        group_N = np.unique(names, return_inverse=True)[1]
        generated = replace(real, alleles=generator.generate(real.alleles, group_N, rng))
        generated = generated if real.phased else replace(generated, phased=True).without_phase()
        chosen = rng.permutation(len(generated))[: len(self.synthetic)]
        return generated.chosen(np.sort(chosen))


def _groups(table: LabelTable, real: SampleGenotypes) -> dict[str, str]:
    """The labels of the real samples in the first column."""
    labels = table.column(next(iter(table.columns)))
    group_of = {name: labels[name] for name in real.names if name in labels}
    if not group_of:
        raise InputError("no label of a real sample", path=table.path)
    return group_of


def _each_haplotype(samples: SampleGenotypes) -> SampleGenotypes:
    """Every haplotype as a sample of its own."""
    if not samples.phased:
        raise InputError("haplotypes and genotypes without phase cannot be compared", path="-")
    count, ploidy, sites = samples.alleles.shape
    names = [name for name in samples.names for _ in range(ploidy)]
    return replace(samples, names=names, alleles=samples.alleles.reshape(count * ploidy, 1, sites))


def report(
    comparison: Comparison,
    seed: int,
    simple: Sequence[Generator] = SIMPLE,
    baseline_areas: Measures | None = None,
) -> Report:
    """Every measure that needs no predictions; `seed` thins the larger set and draws the bootstrap and the samples of
    simple generators. `baseline_areas` is how well real samples are told from real ones, if that has been measured."""
    real, synthetic, held_out = comparison.real, comparison.synthetic, comparison.held_out
    with_baseline = {
        "allele_frequency": frequency_measures,
        "linkage": linkage_measures,
        "neighbours": lambda real, other: neighbour_measures(real, other, seed),
        "copies": copy_measures,
        "components": component_measures,
    }
    found: Report = {"data": _sizes(comparison)}
    for group, measure in with_baseline.items():
        values = measure(real, synthetic)
        reference = measure(real, held_out) if held_out else {}
        found[group] = {
            name: replace(value, baseline=reference[name].value if name in reference else None)
            for name, value in values.items()
        }
    found["linkage"] |= decay_measures(comparison)
    found["nearest_real"] = distance_measures(comparison)
    found["told_apart"] = detection_measures(
        comparison, baseline_areas or real_areas(comparison, seed), seed
    )
    found |= {g.name: m for g in simple if (m := simple_measures(comparison, g, seed))}
    if held_out:
        found["privacy"] = privacy_measures(comparison, seed)
    return found


def alarms(report: Report) -> dict[str, str]:
    """By group, a message where generated samples are nearer to those trained on than other real samples are."""
    messages, near = {}, report.get("nearest_real", {})
    if "extreme_p" in near and near["extreme_p"].value < ALARM_P:
        generated, real, p = (
            near["extreme"].value,
            near["extreme"].baseline or 0.0,
            near["extreme_p"].value,
        )
        messages["nearest_real"] = (
            f"{generated:.2%} of the generated samples, and {real:.2%} of other real ones, are among the "
            f"{privacy.EXTREME:.0%} nearest to those trained on (p = {p:.1g}): some may be near-copies"
        )
    share = report.get("privacy", {}).get("nearer_training")
    if share is not None and share.low > 0.5:
        messages["privacy"] = (
            f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f}) of what is generated is nearer to samples "
            "trained on than to those held out, where 0.5 tells nothing: it gives away who was trained on"
        )
    return messages


def _sizes(comparison: Comparison) -> Measures:
    counts = {"real": len(comparison.real), "synthetic": len(comparison.synthetic)}
    if comparison.held_out:
        counts["held_out"] = len(comparison.held_out)
    counts |= {"sites": len(comparison.panel), "phased": int(comparison.real.phased)}
    return {name: _without_interval(count) for name, count in counts.items()}


def frequency_measures(real: SampleGenotypes, other: SampleGenotypes) -> Measures:
    """Pearson's r of the allele frequencies over the sites, and how far they are apart."""
    one, two = structure.frequencies(real), structure.frequencies(other)
    gaps = np.abs(one - two)
    return {
        "r": _without_interval(structure.correlation(one, two)),
        "mean_difference": _without_interval(float(gaps.mean())),
        "largest_difference": _without_interval(float(gaps.max())),
    }


def linkage_measures(real: SampleGenotypes, other: SampleGenotypes) -> Measures:
    """Pearson's r of linkage over all pairs of sites: of r^2 (the usual measure), and of r with its sign."""
    upper = np.triu_indices(real.alleles.shape[2], 1)
    one, two = (structure.linkage(samples)[upper] for samples in (real, other))
    return {
        "r2_r": _without_interval(structure.correlation(one**2, two**2)),
        "signed_r": _without_interval(structure.correlation(one, two)),
    }


def decay_measures(comparison: Comparison) -> Measures:
    """By the distance of two sites: the number of pairs, the mean r^2 of real and generated samples, and Pearson's r of
    r^2 over the pairs."""
    panel = comparison.panel
    positions = panel.positions[panel.build]
    position_S = np.where(positions > 0, positions.astype(np.float64), np.nan)
    real_SS, other_SS = map(structure.linkage, (comparison.real, comparison.synthetic))
    measures: Measures = {}
    for name, bin_ in structure.decay(real_SS, other_SS, np.array(panel.chrom), position_S).items():
        measures[f"pairs:{name}"] = _without_interval(bin_.pairs)
        measures[f"mean_r2_real:{name}"] = _without_interval(bin_.real)
        measures[f"mean_r2:{name}"] = _without_interval(bin_.synthetic)
        measures[f"r2_r:{name}"] = _without_interval(bin_.r)
    return measures


def neighbour_measures(real: SampleGenotypes, other: SampleGenotypes, seed: int) -> Measures:
    """Nearest-neighbour adversarial accuracy, `privacy.adversarial_accuracy`."""
    found = privacy.adversarial_accuracy(real, other, np.random.default_rng(seed))
    measures = {name: Estimate(v, *found.intervals[name]) for name, v in found.values.items()}
    return {"people_compared": _without_interval(found.samples), **measures}


def copy_measures(real: SampleGenotypes, other: SampleGenotypes) -> Measures:
    """How many haplotypes (if phased) and samples equal a real one at every site known of both."""
    rows, samples = privacy.exact_copies(other, real)
    measures = {"exact_haplotypes": rows} if other.phased else {}
    return {name: _without_interval(n) for name, n in {**measures, "exact_people": samples}.items()}


def distance_measures(comparison: Comparison) -> Measures:
    """Quantiles of the distance from the nearest real samples, `privacy.nearest_by_sample`, and whether generated ones
    are extremely near, `privacy.extremes`; as baseline, held-out real samples, or each real one and the others."""
    real, held_out = comparison.real, comparison.held_out
    gaps = _known(privacy.nearest_by_sample(comparison.synthetic, real))
    others = privacy.nearest_by_sample(held_out, real) if held_out else None
    real_gaps = _known(privacy.nearest_other_by_sample(real) if others is None else others)
    measures = {
        name: Estimate(_quantile(gaps, share), NAN, NAN, _quantile(real_gaps, share))
        for name, share in QUANTILES.items()
    }
    if not (len(gaps) and len(real_gaps)):
        return measures
    extremes = privacy.extremes(gaps, real_gaps)
    interval = wilson_interval(extremes.generated, len(gaps))
    shares = extremes.generated / len(gaps), extremes.others / len(real_gaps)
    measures["extreme"] = Estimate(shares[0], *interval, shares[1])
    return measures | {"extreme_p": _without_interval(extremes.p)}


def _known(gaps: privacy.Distances) -> privacy.Distances:
    """Distances are infinite where no site is known in a real sample too."""
    return gaps[np.isfinite(gaps)]


def _quantile(values: NDArray[np.float32], share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else NAN


def component_measures(real: SampleGenotypes, other: SampleGenotypes) -> Measures:
    """Principal components of the real samples: the overlap of the histograms on the plane of the first two, and the
    Wasserstein distance on each, in standard deviations of the real ones, with its mean."""
    components = structure.Components.of(real)
    one, two = components(real), components(other)
    gaps = [
        structure.wasserstein(first, second) for first, second in zip(one.T, two.T, strict=True)
    ]
    measures = {"wasserstein_mean": float(np.mean(gaps)) if gaps else NAN}
    if len(gaps) > 1:
        measures["overlap"] = structure.overlap(one[:, :2], two[:, :2])
    measures |= {f"wasserstein:PC{number}": gap for number, gap in enumerate(gaps, start=1)}
    return {name: _without_interval(value) for name, value in measures.items()}


def real_areas(comparison: Comparison, seed: int) -> Measures:
    """How well classifiers tell held-out real samples, or one half of the real ones from the other."""
    real, held_out = comparison.real, comparison.held_out
    one, other = (real, held_out) if held_out else _halves(real, seed)
    return areas(one, other, comparison.panel, np.random.default_rng(seed))


def detection_measures(comparison: Comparison, baseline_areas: Measures, seed: int) -> Measures:
    """How well classifiers tell generated samples, `detection.detection`, with `baseline_areas`; then the
    sites and pairs that differ most."""
    panel, real = comparison.panel, comparison.real
    found = detection(real, comparison.synthetic, panel, np.random.default_rng(seed))
    measures = {
        n: replace(area, baseline=baseline_areas[n].value) for n, area in found.areas.items()
    }
    for kind, differing in found.differing.items():
        for name, (generated, real_value) in differing.items():
            measures[f"{kind}:{name}"] = Estimate(generated, NAN, NAN, real_value)
    return measures


def _halves(samples: SampleGenotypes, seed: int) -> tuple[SampleGenotypes, SampleGenotypes]:
    order = np.random.default_rng(seed).permutation(len(samples))
    one, other = np.array_split(order, 2)
    return samples.chosen(np.sort(one)), samples.chosen(np.sort(other))


def simple_measures(comparison: Comparison, generator: Generator, seed: int) -> Measures:
    """Linkage, neighbours, copies and telling apart, `group:metric`, of samples that a simple generator makes of the
    real ones; nothing if it cannot."""
    generated, real = comparison.generate(generator, seed), comparison.real
    if generated is None:
        return {}
    groups = {
        "linkage": linkage_measures(real, generated),
        "neighbours": neighbour_measures(real, generated, seed),
        "copies": copy_measures(real, generated),
        "told_apart": areas(real, generated, comparison.panel, np.random.default_rng(seed)),
    }
    return {
        f"{g}:{name}": value for g, measures in groups.items() for name, value in measures.items()
    }


def privacy_measures(comparison: Comparison, seed: int) -> Measures:
    """Membership inference, `privacy.membership_auc`, with real samples as members and held-out ones as others, and the
    share of generated ones that are nearer to members, `privacy.nearer_training`."""
    real, synthetic, held_out = comparison.real, comparison.synthetic, comparison.held_out
    if held_out is None:
        return {}
    members, others = (
        privacy.nearest_by_sample(samples, synthetic) for samples in (real, held_out)
    )
    area, interval = privacy.membership_auc(members, others)
    rng = np.random.default_rng(seed)
    share, of_share = privacy.nearer_training(synthetic, real, held_out, rng)
    return {
        "membership_auc": Estimate(area, *interval, 0.5),
        "nearer_training": Estimate(share, *of_share, 0.5),
    }


def recognition_measures(
    requested: Mapping[str, str], predicted: Mapping[str, Sequence[str]]
) -> Measures:
    """The share of generated samples that a classifier recognises: whose calls, one from each head, hold the phenotype
    requested. All, then by request; mixtures and `null` are left out. Wilson intervals."""
    single = {
        name: label
        for name, label in requested.items()
        if name in predicted
        and label != "null"
        and not any(mark in label for mark in MIXTURE_MARKS)
    }
    recognised = {name: label in predicted[name] for name, label in single.items()}
    groups = {"all": list(single)}
    for name, label in single.items():
        groups.setdefault(f"as:{label}", []).append(name)
    return {
        group: Estimate(
            sum(recognised[name] for name in names) / len(names),
            *wilson_interval(sum(recognised[name] for name in names), len(names)),
        )
        for group, names in sorted(groups.items())
        if names
    }


def _without_interval(value: float) -> Estimate:
    return Estimate(value, NAN, NAN)
