"""The report on generated people: every measure beside what held-out real people would have in their place.

Shape suffixes: N people, S sites, C components.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genomai_cli.errors import InputError
from genomai_cli.metrics.classification import Estimate, wilson_interval
from genomai_cli.population.evaluation import privacy, structure
from genomai_cli.population.evaluation.genotypes import People
from genomai_cli.population.panel import BUILDS, Panel

Measures = dict[str, Estimate]
Report = dict[str, Measures]
"""Measures by group; whole numbers are counts. The baseline is the measure of held-out real people."""
NAN = float("nan")
QUANTILES = {"minimum": 0.0, "p05": 0.05, "median": 0.5}
MIXED = (":", ",")  # in the names of phenotypes of several parts


@dataclass(frozen=True, eq=False)
class Material:
    """What is compared, at sites known in all of it: `real` people are those that the generator learnt from."""

    panel: Panel
    real: People
    synthetic: People
    held_out: People | None = None

    @classmethod
    def of(
        cls, panel: Panel, real: People, synthetic: People, held_out: People | None = None
    ) -> "Material":
        """The people at the sites where all files say something; without phase if one of them has none.

        InputError if there are no such sites, too few people, or haplotypes beside genotypes without phase.
        """
        people = [real, synthetic, *([held_out] if held_out else [])]
        if any(len(each) < 2 for each in people):
            raise InputError("fewer than two people cannot be compared", path=panel.name)
        if len({each.alleles.shape[1] for each in people}) > 1:
            people = [_each_haplotype(each) for each in people]
        if not all(each.phased for each in people):
            people = [each.without_phase() for each in people]
        known_S = np.all([(each.alleles >= 0).any(axis=(0, 1)) for each in people], axis=0)
        if not known_S.any():
            raise InputError("no site that all files know", path=panel.name)
        sites = np.flatnonzero(known_S)
        at_sites = [each.at(sites) for each in people]
        return cls(panel.subset(sites), *at_sites)


def _each_haplotype(people: People) -> People:
    """Every haplotype as a person of its own."""
    if not people.phased:
        raise InputError("haplotypes and genotypes without phase cannot be compared", path="-")
    count, ploidy, sites = people.alleles.shape
    names = [name for name in people.names for _ in range(ploidy)]
    return replace(people, names=names, alleles=people.alleles.reshape(count * ploidy, 1, sites))


def report(material: Material, seed: int) -> Report:
    """Every measure that needs no predictions; `seed` thins the larger set and draws the bootstrap."""
    real, synthetic, held_out = material.real, material.synthetic, material.held_out
    with_baseline = {
        "allele_frequency": frequency_measures,
        "linkage": linkage_measures,
        "neighbours": lambda real, other: neighbour_measures(real, other, seed),
        "copies": copy_measures,
        "nearest_real": distance_measures,
        "components": component_measures,
    }
    found: Report = {"data": _sizes(material)}
    for group, measure in with_baseline.items():
        values = measure(real, synthetic)
        beside = measure(real, held_out) if held_out else {}
        found[group] = {
            name: replace(value, baseline=beside[name].value if name in beside else None)
            for name, value in values.items()
        }
    found["linkage"] |= decay_measures(material)
    if held_out:
        found["privacy"] = privacy_measures(material)
    return found


def _sizes(material: Material) -> Measures:
    counts = {"real": len(material.real), "synthetic": len(material.synthetic)}
    if material.held_out:
        counts["held_out"] = len(material.held_out)
    counts |= {"sites": len(material.panel), "phased": int(material.real.phased)}
    return {name: _plain(count) for name, count in counts.items()}


def frequency_measures(real: People, other: People) -> Measures:
    """Pearson's r of the allele frequencies over the sites, and how far they are apart."""
    one, two = structure.frequencies(real), structure.frequencies(other)
    gaps = np.abs(one - two)
    return {
        "r": _plain(structure.correlation(one, two)),
        "mean_difference": _plain(float(gaps.mean())),
        "largest_difference": _plain(float(gaps.max())),
    }


def linkage_measures(real: People, other: People) -> Measures:
    """Pearson's r of linkage over all pairs of sites: of r^2 (the usual measure), and of r with its sign."""
    upper = np.triu_indices(real.alleles.shape[2], 1)
    one, two = (structure.linkage(people)[upper] for people in (real, other))
    return {
        "r2_r": _plain(structure.correlation(one**2, two**2)),
        "signed_r": _plain(structure.correlation(one, two)),
    }


def decay_measures(material: Material) -> Measures:
    """By the distance of two sites: the number of pairs, the mean r^2 of real and generated people, and Pearson's r of
    r^2 over the pairs."""
    panel = material.panel
    positions = max((panel.positions[build] for build in BUILDS), key=np.count_nonzero)
    places_S = np.where(positions > 0, positions.astype(np.float64), np.nan)
    real_SS, other_SS = map(structure.linkage, (material.real, material.synthetic))
    measures: Measures = {}
    for name, bin_ in structure.decay(real_SS, other_SS, np.array(panel.chrom), places_S).items():
        measures[f"pairs:{name}"] = _plain(bin_.pairs)
        measures[f"mean_r2_real:{name}"] = _plain(bin_.real)
        measures[f"mean_r2:{name}"] = _plain(bin_.synthetic)
        measures[f"r2_r:{name}"] = _plain(bin_.r)
    return measures


def neighbour_measures(real: People, other: People, seed: int) -> Measures:
    """Nearest-neighbour adversarial accuracy, `closeness.adversarial_accuracy`."""
    found = privacy.adversarial_accuracy(real, other, np.random.default_rng(seed))
    measures = {name: Estimate(v, *found.intervals[name]) for name, v in found.values.items()}
    return {"people_compared": _plain(found.people), **measures}


def copy_measures(real: People, other: People) -> Measures:
    """How many haplotypes (if phased) and people are the same as a real one at every site."""
    rows, people = privacy.exact_copies(other, real)
    measures = {"exact_haplotypes": rows} if other.phased else {}
    return {name: _plain(n) for name, n in {**measures, "exact_people": people}.items()}


def distance_measures(real: People, other: People) -> Measures:
    """Quantiles of the distance from the nearest real people, `closeness.nearest_by_person`."""
    gaps = privacy.nearest_by_person(other, real)
    gaps = gaps[
        np.isfinite(gaps)
    ]  # of those who know nothing that a real one knows, nothing can be told
    return {
        n: _plain(float(np.quantile(gaps, q)) if len(gaps) else NAN) for n, q in QUANTILES.items()
    }


def component_measures(real: People, other: People) -> Measures:
    """Principal components of the real people: the overlap of the histograms on the plane of the first two, and the
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


def privacy_measures(material: Material) -> Measures:
    """Membership inference, `closeness.membership_auc`, with real people as members and held-out ones as others."""
    if material.held_out is None:
        return {}
    members, others = (
        privacy.nearest_by_person(people, material.synthetic)
        for people in (material.real, material.held_out)
    )
    area, (low, high) = privacy.membership_auc(members, others)
    return {"membership_auc": Estimate(area, low, high, 0.5)}


def recognition_measures(
    requested: Mapping[str, str], called: Mapping[str, Sequence[str]]
) -> Measures:
    """The share of generated people who are recognised as what was asked for: whose calls, one from each head, hold the
    label of their request. All, then by request; mixtures and `null` are left out. Wilson intervals."""
    asked = {
        name: label
        for name, label in requested.items()
        if name in called and label != "null" and not any(mark in label for mark in MIXED)
    }
    right = {name: label in called[name] for name, label in asked.items()}
    groups = {"all": list(asked)}
    for name, label in asked.items():
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
