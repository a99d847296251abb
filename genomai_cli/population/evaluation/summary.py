"""Summaries of a generator's training samples, kept in its bundle to compare generated samples with them.

Allele frequencies, the correlation of every two sites, the axes of the principal components with their quantiles, and
how many samples lie in each cell of the plane of the first two components, if at least `MIN_COUNT` do: nobody's
genotypes can be read from it. Bundles made before there were summaries can be given them with `add`.

Shape suffixes: N samples, S sites, E pairs of sites, C components, Q quantiles.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError
from genomai_cli.population.evaluation import structure
from genomai_cli.population.evaluation.genotypes import SampleGenotypes

Array = NDArray[np.float64]
FILE = "people.safetensors"  # in the bundle of a generator
MIN_COUNT = 3
MAX_SITES = 2500  # between which linkage is stored; of more, as many evenly chosen ones
LEVELS_Q = np.linspace(0.025, 0.975, 39)
MARGIN = 0.05  # of the samples' range on each side, which the plane's cells cover too


@dataclass(frozen=True, eq=False)
class Summary:
    """The summaries of `samples` samples; `phased` ones have their linkage between haplotypes."""

    samples: int
    phased: bool
    frequency: Array  # (S,)
    linkage: Array  # (E,) r of every pair
    components: structure.Components
    quantiles: Array  # (Q, C)
    plane: Array  # the share of samples in each cell (CELLS, CELLS), rare ones left out
    limits: Array  # (2, 2) lowest and highest of each axis

    @classmethod
    def of(cls, samples: SampleGenotypes) -> "Summary":
        """The summaries of real samples."""
        all_sites, samples = samples, samples.at(_stored_sites(samples.alleles.shape[2]))
        components = structure.Components.of(samples)
        coordinates_NC = components(samples)
        limits = _limits(coordinates_NC[:, :2])
        counts = _counts(coordinates_NC, limits)
        counts[counts < MIN_COUNT] = 0
        return cls(
            len(samples),
            samples.phased,
            structure.frequencies(all_sites),
            structure.linkage(samples)[_pairs(samples.alleles.shape[2])],
            components,
            np.quantile(coordinates_NC, LEVELS_Q, axis=0),
            counts / len(samples),
            limits,
        )

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """As a bundle stores it: half precision where that is enough."""
        components = self.components
        return {
            "people": np.array([self.samples, self.phased], np.int64),
            "frequency": self.frequency.astype(np.float32),
            "linkage": self.linkage.astype(np.float16),
            "components.means": components.means.astype(np.float32),
            "components.scales": components.scales.astype(np.float32),
            "components.axes": components.axes.astype(np.float32),
            "components.deviations": components.deviations.astype(np.float32),
            "components.quantiles": self.quantiles.astype(np.float32),
            "components.plane": self.plane.astype(np.float32),
            "components.limits": self.limits.astype(np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "Summary":
        """The inverse of `to_arrays`; KeyError if something is missing."""
        values = {name: array.astype(np.float64) for name, array in arrays.items()}
        names = ("means", "scales", "axes", "deviations")
        components = structure.Components(*(values[f"components.{name}"] for name in names))
        samples, phased = values["people"].tolist()
        rest = (values[f"components.{name}"] for name in ("quantiles", "plane", "limits"))
        return cls(
            int(samples), bool(phased), values["frequency"], values["linkage"], components, *rest
        )

    def frequency_measures(self, other: SampleGenotypes) -> dict[str, float]:
        """`compare_frequencies` with the training samples."""
        return compare_frequencies(self.frequency, other)

    def linkage_measures(self, other: SampleGenotypes) -> dict[str, float]:
        """As in `evaluation.generation`: Pearson's r over all pairs of sites of r^2, and of r with its sign."""
        if other.phased != self.phased:
            return {}
        other = other.at(_stored_sites(len(self.frequency)))
        other_E = structure.linkage(other)[_pairs(other.alleles.shape[2])]
        return {
            "r2_r": structure.correlation(self.linkage**2, other_E**2),
            "signed_r": structure.correlation(self.linkage, other_E),
        }

    def component_measures(self, other: SampleGenotypes) -> dict[str, float]:
        """How much of the plane of the first two components is shared, over the cells with samples in them, and the
        mean over the components of the Wasserstein distance between quantiles, in standard deviations."""
        coordinates_NC = self.components(other.at(_stored_sites(len(self.frequency))))
        other_plane = _counts(coordinates_NC, self.limits) / len(other)
        # 0 of a few samples, none of whom shares a cell with two others.
        plane_total = self.plane.sum()
        gaps_QC = np.abs(np.quantile(coordinates_NC, LEVELS_Q, axis=0) - self.quantiles)
        return {
            "overlap": float(np.minimum(self.plane, other_plane).sum() / plane_total)
            if plane_total
            else float("nan"),
            "wasserstein_mean": float(gaps_QC.mean()),
        }


def compare_frequencies(frequency_S: Array, other: SampleGenotypes) -> dict[str, float]:
    """Pearson's r of allele frequencies over the sites, and how far they are apart."""
    other_S = structure.frequencies(other)
    gaps_S = np.abs(frequency_S - other_S)
    return {
        "r": structure.correlation(frequency_S, other_S),
        "mean_difference": float(np.nanmean(gaps_S)),
        "largest_difference": float(np.nanmax(gaps_S)),
    }


def _stored_sites(sites: int) -> NDArray[np.int64]:
    """The indices of the sites whose linkage is stored."""
    return np.linspace(0, sites - 1, min(sites, MAX_SITES)).astype(np.int64)


def _pairs(sites: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first, second = np.triu_indices(sites, 1)
    return first, second


def _limits(coordinates_N2: Array) -> Array:
    low, high = coordinates_N2.min(axis=0), coordinates_N2.max(axis=0)
    margin = MARGIN * (high - low)
    return np.stack([low - margin, high + margin], axis=1)


def _counts(coordinates_NC: Array, limits: Array) -> Array:
    """How many samples lie in each cell of the plane of the first two components; those outside nowhere."""
    cells = structure.CELLS
    if coordinates_NC.shape[1] < 2:
        return np.zeros((cells, cells))
    ranges = [(float(low), float(high)) for low, high in limits]
    return np.histogram2d(coordinates_NC[:, 0], coordinates_NC[:, 1], bins=cells, range=ranges)[0]


def to_bytes(summary: Summary) -> bytes:
    """The file's content."""
    return bytes(safetensors.numpy.save(summary.to_arrays()))


def read(name: str | Path) -> Summary | None:
    """The summaries in the bundle of this name or folder, None if it has none; BundleError for a damaged file."""
    file = catalog.file_in(catalog.find(name), FILE)
    if file is None:
        return None
    try:
        catalog.shapes_in(file)
        return Summary.from_arrays(safetensors.numpy.load_file(file))
    except (SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"{file}: damaged: {error}") from error


def add(folder: Path, summary: Summary) -> None:
    """Put summaries into a bundle, with their checksum; weights and all else stay as they are."""
    config = catalog.read_config(folder)
    file = folder / FILE
    file.write_bytes(to_bytes(summary))
    config["files"] = config["files"] | {FILE: catalog.sha256(file)}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / catalog.CONFIG).write_text(text, encoding="utf-8")
