"""How widely the training individuals of each population lie on a bundle's principal axes.

    python -m benchmarks.ancestry.spreads [MODEL ...] [--write]

Prints, a row a model, how far the mean coordinates of its populations are from those that the bundle stores, and the
share of individuals inside the ellipses that a report draws as holding 90 %, on axes 1 and 2, and 3 and 4. With
`--write` the covariances go into the bundle's structure.safetensors (`genomai train` puts them there by itself), and
its checksum into config.json. Individuals are put in again on axes that were found with them, so their coordinates are
too large by a ratio an axis, which is taken out by regression on the stored means.

Shape suffixes: N individuals, K populations, J axes.
"""

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ancestry.sites import WIDE_VCF
from benchmarks.command_line import DATA, MODELS
from benchmarks.crossvalidation.trials import HEADS, LABELS, VCF
from genomai_cli.bundles.catalog import STRUCTURE
from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import read_labels
from genomai_cli.population.barcode import letters_to_genotypes, read_barcodes
from genomai_cli.population.mixtures import Genotypes
from genomai_cli.population.panel import Panel
from genomai_cli.population.structure import AXES, Structure, parents_of, spreads_of

Array = NDArray[np.float64]
INSIDE_90 = 4.605  # the 90 % quantile of chi-squared with two degrees of freedom
SHIPPED = ("ancestry", "ancestry-967", "genomai-v2")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=SHIPPED, metavar="MODEL")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    print("model\tpopulations\tcentres_off\tinside_90_axes_12\tinside_90_axes_34")
    for name in options.models:
        print(*row_of(MODELS / name, options.data, write=options.write), sep="\t", flush=True)


def row_of(folder: Path, data: Path, *, write: bool) -> list[str]:
    """A row of the table; see the top of the file."""
    structure = Structure.read(folder / STRUCTURE)
    coordinates_NJ, labels, classes = sample_coordinates(folder, data, structure)
    finest = max(classes, key=lambda head: len(classes[head]))
    groups = {label: labels[finest] == k for k, label in enumerate(classes[finest])}
    means_KJ = np.stack([coordinates_NJ[members].mean(0) for members in groups.values()])
    centres_KJ = np.array([structure.axes.centres[label] for label in groups])
    coordinates_NJ *= (means_KJ * centres_KJ).sum(0) / (means_KJ**2).sum(0)
    max_offset = np.abs(
        np.stack([coordinates_NJ[members].mean(0) for members in groups.values()]) - centres_KJ
    ).max()
    spreads = spreads_of(coordinates_NJ, groups)
    if write:
        axes = replace(structure.axes, spreads=spreads)
        write_structure(folder, replace(structure, axes=axes, parents=parents_of(labels, classes)))
    inside = [
        np.concatenate(
            [is_inside(coordinates_NJ[members], spreads[g], pair) for g, members in groups.items()]
        )
        for pair in ([0, 1], [2, 3])
    ]
    return [
        folder.name,
        str(len(groups)),
        f"{max_offset:.5f}",
        *(f"{members.mean():.3f}" for members in inside),
    ]


def sample_coordinates(
    folder: Path, data: Path, structure: Structure
) -> tuple[Array, dict[str, NDArray[np.int64]], dict[str, list[str]]]:
    """The individuals' coordinates (N, J), and their labels by head with the heads' classes."""
    panel = Panel.read(folder / "panel.tsv")
    files = [data / VCF] + ([data / WIDE_VCF] if len(panel) > 1000 else [])
    barcodes = read_barcodes(open_inputs(files), panel)
    letters = b"".join(record.sequence.encode() for record in barcodes.records())
    copies_NS = letters_to_genotypes(
        np.frombuffer(letters, np.uint8).reshape(-1, len(panel)), panel
    )
    coordinates_NJ = structure.axes.coordinates(Genotypes.of(copies_NS), AXES)
    table = read_labels(data / LABELS)
    classes = {head: list(sources.labels) for head, sources in structure.sources.items()}
    labels = {
        head: np.array(
            [head_labels.index(table.column(HEADS[head])[name]) for name in barcodes.names]
        )
        for head, head_labels in classes.items()
    }
    return coordinates_NJ, labels, classes


def is_inside(
    coordinates_NJ: Array, spread: list[list[float]], pair: list[int]
) -> NDArray[np.bool_]:
    """Whether each member of a group lies inside its ellipse on two axes."""
    centred_N2 = (coordinates_NJ - coordinates_NJ.mean(0))[:, pair]
    inverse_22 = np.linalg.inv(np.array(spread)[np.ix_(pair, pair)])
    return np.asarray(np.einsum("ni,ij,nj->n", centred_N2, inverse_22, centred_N2) <= INSIDE_90)


def write_structure(folder: Path, structure: Structure) -> None:
    """Write the structure and its checksum into the bundle."""
    structure.write(folder / STRUCTURE)
    config = json.loads((folder / "config.json").read_text())
    config["files"][STRUCTURE] = hashlib.sha256((folder / STRUCTURE).read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
