"""Summaries of a barcode model's training samples: the sources of mixtures, and axes of principal components.

A source is a set of allele frequencies that a sample's alleles may come from. For the finest head there is one a label.
For a coarser head there is one a label too, of those populations of the label that are no mixtures themselves; where
all of them are (the admixed Americans of the 1000 Genomes Project), the source is what is left of their members'
alleles when the other sources have explained what they can: an ancestral component, estimated by
expectation-maximisation as in supervised ADMIXTURE with one unknown cluster (Alexander and Lange 2011, BMC
Bioinformatics 12:246). So the fraction AMR is that of Indigenous American ancestry, not of being like a Puerto Rican.

Shape suffixes: N samples, S sites, K sources, J axes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError
from genomai_cli.population.mixtures import Genotypes, independent_fractions
from genomai_cli.population.networks.likelihood_fit import signs
from genomai_cli.population.panel import with_mean_of_others

Array = NDArray[np.float64]
AXES = 10
MIN_FREQUENCY = 0.002  # no source is more certain of an allele than this
COMPONENT_STEPS = 24  # of expectation-maximisation
# Of the purest population of mixtures: where the search for its component begins.
INITIAL_PURITY = 0.8
SHRINKAGE_FOLDS = 5
_STORED_DTYPE = np.float16  # a frequency is then known to 0.0005, less than its standard error


@dataclass(frozen=True, eq=False)
class Sources:
    """Allele frequencies (K, S) of the labels of one head, between 0 and 1 exclusively."""

    head: str
    labels: tuple[str, ...]
    frequency: Array


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal components: x = (copies - 2 mean) / deviation of a sample is about `directions` (S, J) times its
    coordinates (J,). `eigenvalues` (J,) are the variances of the training samples' coordinates, `centres` the mean
    coordinates (J,) of each label of the finest head, and `spreads` their covariances (J, J), which older bundles lack.
    """

    mean: Array
    directions: Array
    eigenvalues: Array
    centres: Mapping[str, list[float]]
    spreads: Mapping[str, list[list[float]]] = field(default_factory=dict)

    def coordinates(self, genotypes: Genotypes, count: int) -> Array:
        """The first `count` coordinates (N, count) of samples, by least squares on the sites that each has.

        All J are fitted together, since directions that are orthogonal over all sites are not so over some
        (Patterson's lsqproject); NaN for a sample with fewer sites than twice the axes.
        """
        deviation_S = np.sqrt(2 * self.mean * (1 - self.mean))
        copies_NS, known_NS = genotypes.dosage(self.mean)
        x_NS = (copies_NS - 2 * self.mean) / deviation_S * known_NS
        axes = self.directions.shape[1]
        products_SJJ = self.directions[:, :, None] * self.directions[:, None, :]
        normal_NJJ = (known_NS @ products_SJJ.reshape(len(products_SJJ), -1)).reshape(
            -1, axes, axes
        )
        # A trace of a prior, which says that coordinates are finite, keeps few sites from a singular matrix.
        normal_NJJ += np.diag(1e-6 / self.eigenvalues)
        coordinates_NJ = np.linalg.solve(normal_NJJ, (x_NS @ self.directions)[..., None])[..., 0]
        coordinates_NJ[known_NS.sum(1) < 2 * axes] = np.nan
        return np.asarray(coordinates_NJ[:, :count], np.float64)


@dataclass(frozen=True, eq=False)
class Structure:
    """The sources by head, the axes, and the label of the coarsest head that each label of the finest belongs to."""

    sources: Mapping[str, Sources]
    axes: Axes
    parents: Mapping[str, str] = field(default_factory=dict)

    def write(self, file: Path) -> None:
        """Write a file that `read` reads."""
        labels = {head: list(found.labels) for head, found in self.sources.items()}
        tensors = {f"frequency.{head}": found.frequency for head, found in self.sources.items()}
        tensors |= {"mean": self.axes.mean, "directions": self.axes.directions}
        metadata = {
            "labels": labels,
            "eigenvalues": self.axes.eigenvalues.tolist(),
            "centres": dict(self.axes.centres),
            "spreads": dict(self.axes.spreads),
            "parents": dict(self.parents),
        }
        arrays = {name: tensor.astype(_STORED_DTYPE) for name, tensor in tensors.items()}
        save_file(arrays, file, {"structure": json.dumps(metadata)})

    @classmethod
    def read(cls, file: Path) -> Self:
        """The structure in a bundle's file; BundleError if it is damaged."""
        catalog.shapes_in(file)
        try:
            with safe_open(file, "numpy") as opened:
                metadata = json.loads(opened.metadata()["structure"])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            arrays = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
            sources = {
                head: Sources(head, tuple(labels), _bounded(arrays[f"frequency.{head}"]))
                for head, labels in metadata["labels"].items()
            }
            axes = Axes(
                arrays["mean"],
                arrays["directions"],
                np.array(metadata["eigenvalues"]),
                metadata["centres"],
                metadata.get("spreads", {}),
            )
            return cls(sources, axes, metadata.get("parents", {}))
        except Exception as error:
            raise BundleError(f"{file}: damaged: {error!r}") from error


def fit_structure(
    copies_NS: NDArray[np.int8],
    labels: Mapping[str, NDArray[np.int64]],
    classes: Mapping[str, Sequence[str]],
    mixtures: Sequence[str],
) -> Structure:
    """The structure of samples from their allele copies (-1 where missing) and labels by head (-1 where missing).

    `mixtures` are the labels of the finest head whose members are themselves mixtures of the coarser ones.
    """
    finest = max(classes, key=lambda head: len(classes[head]))
    is_mixed_N = np.isin(
        labels[finest], [classes[finest].index(m) for m in mixtures if m in classes[finest]]
    )
    sources = {}
    for head, names in classes.items():
        frequency_KS = _frequencies(
            copies_NS, labels[head], len(names), is_mixed_N if head != finest else None
        )
        sources[head] = Sources(head, tuple(names), _bounded(frequency_KS))
    member_KN = labels[finest] == np.arange(len(classes[finest]))[:, None]
    groups = dict(zip(classes[finest], member_KN, strict=True))
    return Structure(sources, _axes(copies_NS, groups), parents_of(labels, classes))


def parents_of(
    labels: Mapping[str, NDArray[np.int64]], classes: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The label of the coarsest head that most members of each label of the finest have; none if that is one head."""
    finest = max(classes, key=lambda head: len(classes[head]))
    coarsest = min(classes, key=lambda head: len(classes[head]))
    if finest == coarsest:
        return {}
    parents = {}
    for number, label in enumerate(classes[finest]):
        of_members = labels[coarsest][labels[finest] == number]
        known = of_members[of_members >= 0]
        if len(known):
            parents[label] = classes[coarsest][int(np.bincount(known).argmax())]
    return parents


def _bounded(frequency: Array) -> Array:
    return np.clip(frequency, MIN_FREQUENCY, 1 - MIN_FREQUENCY)


def _frequencies(
    copies_NS: NDArray[np.int8],
    labels_N: NDArray[np.int64],
    count: int,
    mixed_N: NDArray[np.bool_] | None,
) -> Array:
    """The frequencies (K, S) of each label's members that are no mixtures, or of its component if all are; the mean of
    the others' at sites that are known of none."""
    members = [np.flatnonzero(labels_N == label) for label in range(count)]
    pure = [m if mixed_N is None else m[~mixed_N[m]] for m in members]
    pure = pure if any(map(len, pure)) else members
    known_KS = np.stack([(copies_NS[rows] >= 0).sum(0) for rows in pure])
    frequency_KS = np.stack([_frequency(copies_NS[rows]) for rows in pure])
    frequency_KS = with_mean_of_others(frequency_KS, known_KS)
    has_pure_K = np.array([len(rows) > 0 for rows in pure])
    known_sources_KS = _bounded(frequency_KS[has_pure_K])
    for label in np.flatnonzero(~has_pure_K):
        of_members_NS = copies_NS[members[label]]
        component_S = _component(of_members_NS, known_sources_KS)
        frequency_KS[label] = np.where(
            (of_members_NS >= 0).any(0), component_S, frequency_KS[label]
        )
    return frequency_KS


def _frequency(copies_NS: NDArray[np.int8]) -> Array:
    known_NS = copies_NS >= 0
    frequency_S: Array = (np.where(known_NS, copies_NS, 0).sum(0) + 0.5) / (
        2.0 * known_NS.sum(0) + 1
    )
    return frequency_S


def _component(copies_NS: NDArray[np.int8], known_KS: Array) -> Array:
    """The frequencies (S,) of the one source that the members have besides the known ones."""
    genotypes = Genotypes.of(copies_NS)
    fractions_NK = independent_fractions(genotypes, known_KS).fractions
    is_purest_N = fractions_NK.max(1) <= np.quantile(
        fractions_NK.max(1), 0.3
    )  # least like any of the known
    nearest_S = fractions_NK[is_purest_N].mean(0) @ known_KS
    f_S = _bounded(
        (_frequency(copies_NS[is_purest_N]) - (1 - INITIAL_PURITY) * nearest_S) / INITIAL_PURITY
    )
    alternate_NS, known_NS = np.where(copies_NS >= 0, copies_NS, 0), copies_NS >= 0
    fraction_NK: Array | None = None
    for _ in range(COMPONENT_STEPS):
        sources_KS = np.vstack([known_KS, f_S])
        fraction_NK = independent_fractions(genotypes, sources_KS, fraction_NK, steps=1).fractions
        expected_NS = fraction_NK @ sources_KS
        component_N1 = fraction_NK[:, -1:]
        alternate_S = (component_N1 * f_S * alternate_NS / expected_NS).sum(0)
        reference_NS = (2 * known_NS - alternate_NS) / (1 - expected_NS)
        reference_S = (component_N1 * (1 - f_S) * reference_NS).sum(0)
        f_S = _bounded((alternate_S + 0.1) / (alternate_S + reference_S + 0.2))
    return f_S


def _axes(copies_NS: NDArray[np.int8], groups: Mapping[str, NDArray[np.bool_]]) -> Axes:
    """The leading components of the standardised genotypes (Patterson et al. 2006, PLoS Genet 2:e190).

    Coordinates of samples that the axes were found on are larger than those of others, whose errors the axes have not
    seen; at few sites and many samples by half and more. The ratio is measured by leaving out a fifth of the samples,
    and given to the directions, so that coordinates of new samples are on the scale of the true ones
    (Wang et al. 2015, Am J Hum Genet 96:926, correct the same by augmentation).
    """
    axes = min(AXES, len(copies_NS) // 4, copies_NS.shape[1] // 4)
    mean_S, x_NS = _standardised(copies_NS)
    u_NJ, values_J, directions_SJ = _components(x_NS, axes)
    coordinates_NJ = u_NJ * np.sqrt(values_J)
    shrinkage_J = _shrinkage(x_NS, axes)
    directions_SJ = directions_SJ * np.sqrt(x_NS.shape[1]) * shrinkage_J
    centres = {
        label: [round(float(value), 5) for value in coordinates_NJ[member].mean(0)]
        for label, member in groups.items()
        if member.any()
    }
    return Axes(
        mean_S, directions_SJ, coordinates_NJ.var(0), centres, spreads_of(coordinates_NJ, groups)
    )


def spreads_of(
    coordinates_NJ: Array, groups: Mapping[str, NDArray[np.bool_]]
) -> dict[str, list[list[float]]]:
    """The covariance (J, J) of each group's coordinates, to four digits; of groups of three members or more."""
    return {
        label: [
            [float(f"{value:.4g}") for value in row] for row in np.cov(coordinates_NJ[member].T)
        ]
        for label, member in groups.items()
        if member.sum() > 2  # fewer members would be disclosed
    }


def _standardised(copies_NS: NDArray[np.int8]) -> tuple[Array, Array]:
    """The mean frequency (S,) and the standardised genotypes (N, S), 0 where missing."""
    known_NS = copies_NS >= 0
    mean_S = np.clip(_frequency(copies_NS), 0.01, 0.99)
    deviation_S = np.sqrt(2 * mean_S * (1 - mean_S))
    return mean_S, np.where(known_NS, copies_NS - 2 * mean_S, 0) / deviation_S


def _components(x_NS: Array, axes: int) -> tuple[Array, Array, Array]:
    """The samples' vectors (N, J), the variances (J,) and the directions (S, J) of the leading components."""
    values_N, vectors_NN = np.linalg.eigh(x_NS @ x_NS.T / x_NS.shape[1])
    values_J, u_NJ = values_N[::-1][:axes], vectors_NN[:, ::-1][:, :axes]
    directions_SJ = x_NS.T @ u_NJ / np.sqrt(np.maximum(values_J, 1e-12) * x_NS.shape[1])
    sign_J = signs(directions_SJ)
    return u_NJ * sign_J, values_J, directions_SJ * sign_J


def _shrinkage(x_NS: Array, axes: int) -> Array:
    """By how much (J,) the coordinates of samples that the axes were not found on are smaller, 0 to 1."""
    fold_N = np.arange(len(x_NS)) % SHRINKAGE_FOLDS
    training_NS, held_out_NS = x_NS[fold_N != 0], x_NS[fold_N == 0]
    _, values_J, directions_SJ = _components(training_NS, axes)
    training_variance_J = values_J / len(training_NS)
    held_out_variance_J = ((held_out_NS @ directions_SJ) ** 2).mean(0) / x_NS.shape[1]
    ratio_J: Array = np.clip(np.sqrt(held_out_variance_J / training_variance_J), 0.1, 1)
    return ratio_J
