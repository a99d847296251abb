"""The report of `genomai evaluate --task generation`: generated samples compared with real ones, measure by measure.

Each measure has a baseline: the value that held-out real samples have in the place of the generated ones.

Shape suffixes: N samples, S sites, C components.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genomai_cli.errors import InputError
from genomai_cli.metrics.classification import Estimate, wilson_interval
from genomai_cli.population.evaluation import privacy, structure
from genomai_cli.population.evaluation.detection import areas, detection
from genomai_cli.population.evaluation.genotypes import SampleGenotypes
from genomai_cli.population.panel import BUILDS, Panel

Measures = dict[str, Estimate]
Report = dict[str, Measures]
"""Measures by group; whole numbers are counts. The baseline is the measure of held-out real samples."""
NAN = float("nan")
QUANTILES = {"minimum": 0.0, "p05": 0.05, "median": 0.5}
MIXED = (":", ",")  # in the names of phenotypes of several parts


@dataclass(frozen=True, eq=False)
class Comparison:
    """The genotypes that are compared, at sites known in all of them; the generator was trained on the `real` ones."""

    panel: Panel
    real: SampleGenotypes
    synthetic: SampleGenotypes
    held_out: SampleGenotypes | None = None

    @classmethod
    def of(
        cls,
        panel: Panel,
        real: SampleGenotypes,
        synthetic: SampleGenotypes,
        held_out: SampleGenotypes | None = None,
    ) -> "Comparison":
        """The samples at the sites where all files say something; without phase if one of them has none.

        InputError if there are no such sites, too few samples, or haplotypes beside genotypes without phase.
        """
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
        at_sites = [each.at(sites) for each in samples]
        return cls(panel.subset(sites), *at_sites)


def _each_haplotype(samples: SampleGenotypes) -> SampleGenotypes:
    """Every haplotype as a sample of its own."""
    if not samples.phased:
        raise InputError("haplotypes and genotypes without phase cannot be compared", path="-")
    count, ploidy, sites = samples.alleles.shape
    names = [name for name in samples.names for _ in range(ploidy)]
    return replace(samples, names=names, alleles=samples.alleles.reshape(count * ploidy, 1, sites))


def report(comparison: Comparison, seed: int) -> Report:
    """Every measure that needs no predictions; `seed` thins the larger set and draws the bootstrap."""
    real, synthetic, held_out = comparison.real, comparison.synthetic, comparison.held_out
    with_baseline = {
        "allele_frequency": frequency_measures,
        "linkage": linkage_measures,
        "neighbours": lambda real, other: neighbour_measures(real, other, seed),
        "copies": copy_measures,
        "nearest_real": distance_measures,
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
    found["told_apart"] = detection_measures(comparison, seed)
    if held_out:
        found["privacy"] = privacy_measures(comparison)
    return found


def _sizes(comparison: Comparison) -> Measures:
    counts = {"real": len(comparison.real), "synthetic": len(comparison.synthetic)}
    if comparison.held_out:
        counts["held_out"] = len(comparison.held_out)
    counts |= {"sites": len(comparison.panel), "phased": int(comparison.real.phased)}
    return {name: _plain(count) for name, count in counts.items()}


def frequency_measures(real: SampleGenotypes, other: SampleGenotypes) -> Measures:
    """Pearson's r of the allele frequencies over the sites, and how far they are apart."""
    one, two = structure.frequencies(real), structure.frequencies(other)
    gaps = np.abs(one - two)
    return {
        "r": _plain(structure.correlation(one, two)),
        "mean_difference": _plain(float(gaps.mean())),
        "largest_difference": _plain(float(gaps.max())),
    }


def linkage_measures(real: SampleGenotypes, other: SampleGenotypes) -> Measures:
    """Pearson's r of linkage over all pairs of sites: of r^2 (the usual measure), and of r with its sign."""
    upper = np.triu_indices(real.alleles.shape[2], 1)
    one, two = (structure.linkage(samples)[upper] for samples in (real, other))
    return {
        "r2_r": _plain(structure.correlation(one**2, two**2)),
        "signed_r": _plain(structure.correlation(one, two)),
    }


def decay_measures(comparison: Comparison) -> Measures:
    """By the distance of two sites: the number of pairs, the mean r^2 of real and generated samples, and Pearson's r of
    r^2 over the pairs."""
    panel = comparison.panel
    positions = max((panel.positions[build] for build in BUILDS), key=np.count_nonzero)
    position_S = np.where(positions > 0, positions.astype(np.float64), np.nan)
    real_SS, other_SS = map(structure.linkage, (comparison.real, comparison.synthetic))
    measures: Measures = {}
    for name, bin_ in structure.decay(real_SS, other_SS, np.array(panel.chrom), position_S).items():
        measures[f"pairs:{name}"] = _plain(bin_.pairs)
        measures[f"mean_r2_real:{name}"] = _plain(bin_.real)
        measures[f"mean_r2:{name}"] = _plain(bin_.synthetic)
        measures[f"r2_r:{name}"] = _plain(bin_.r)
    return measures


def neighbour_measures(real: SampleGenotypes, other: SampleGenotypes, seed: int) -> Measures:
    """Nearest-neighbour adversarial accuracy, `privacy.adversarial_accuracy`."""
    found = privacy.adversarial_accuracy(real, other, np.random.default_rng(seed))
    measures = {name: Estimate(v, *found.intervals[name]) for name, v in found.values.items()}
    return {"people_compared": _plain(found.samples), **measures}


def copy_measures(real: SampleGenotypes, other: SampleGenotypes) -> Measures:
    """How many haplotypes (if phased) and samples equal a real one at every site."""
    rows, samples = privacy.exact_copies(other, real)
    measures = {"exact_haplotypes": rows} if other.phased else {}
    return {name: _plain(n) for name, n in {**measures, "exact_people": samples}.items()}


def distance_measures(real: SampleGenotypes, other: SampleGenotypes) -> Measures:
    """Quantiles of the distance from the nearest real samples, `privacy.nearest_by_sample`."""
    gaps = privacy.nearest_by_sample(other, real)
    gaps = gaps[np.isfinite(gaps)]  # infinite where no site is known in a real sample too
    return {
        n: _plain(float(np.quantile(gaps, q)) if len(gaps) else NAN) for n, q in QUANTILES.items()
    }


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
    return {name: _plain(value) for name, value in measures.items()}


def detection_measures(comparison: Comparison, seed: int) -> Measures:
    """How well classifiers tell generated samples, `detection.detection`; beside that, how well they tell held-out real
    samples, or one half of the real ones from the other. Then the sites and pairs that differ most."""
    panel, real = comparison.panel, comparison.real
    found = detection(real, comparison.synthetic, panel, np.random.default_rng(seed))
    one, other = (real, comparison.held_out) if comparison.held_out else _halves(real, seed)
    usual = areas(one, other, panel, np.random.default_rng(seed))
    measures = {n: replace(area, baseline=usual[n].value) for n, area in found.areas.items()}
    for kind, differing in (("heterozygosity", found.heterozygosity), ("linkage_r", found.linkage)):
        for name, (made, seen) in differing.items():
            measures[f"{kind}:{name}"] = Estimate(made, NAN, NAN, seen)
    return measures


def _halves(samples: SampleGenotypes, seed: int) -> tuple[SampleGenotypes, SampleGenotypes]:
    order = np.random.default_rng(seed).permutation(len(samples))
    one, other = np.array_split(order, 2)
    return samples.chosen(np.sort(one)), samples.chosen(np.sort(other))


def privacy_measures(comparison: Comparison) -> Measures:
    """Membership inference, `privacy.membership_auc`, with real samples as members and held-out ones as others."""
    if comparison.held_out is None:
        return {}
    members, others = (
        privacy.nearest_by_sample(samples, comparison.synthetic)
        for samples in (comparison.real, comparison.held_out)
    )
    area, (low, high) = privacy.membership_auc(members, others)
    return {"membership_auc": Estimate(area, low, high, 0.5)}


def recognition_measures(
    requested: Mapping[str, str], called: Mapping[str, Sequence[str]]
) -> Measures:
    """The share of generated samples that a classifier recognises: whose calls, one from each head, hold the phenotype
    requested. All, then by request; mixtures and `null` are left out. Wilson intervals."""
    single = {
        name: label
        for name, label in requested.items()
        if name in called and label != "null" and not any(mark in label for mark in MIXED)
    }
    right = {name: label in called[name] for name, label in single.items()}
    groups = {"all": list(single)}
    for name, label in single.items():
        groups.setdefault(f"as:{label}", []).append(name)
    return {
        group: Estimate(
            sum(right[name] for name in names) / len(names),
            *wilson_interval(sum(right[name] for name in names), len(names)),
        )
        for group, names in sorted(groups.items())
        if names
    }


def _plain(value: float) -> Estimate:
    return Estimate(value, NAN, NAN)
