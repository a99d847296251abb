"""People of the 1000 Genomes Project with their phenotypes, and a crossmodal network made from some of them."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.crossvalidation.trials import LABELS, VCF, Array, Rows
from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import read_labels
from genomai_cli.inputs.samples import Samples
from genomai_cli.population.barcode import letters_to_genotypes, read_barcodes
from genomai_cli.population.networks.crossmodal import CrossmodalNetwork
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords
from genomai_cli.population.panel import Panel
from genomai_cli.population.phenotype_encoding import encode
from genomai_cli.population.phenotype_input import PhenotypeInput
from genomai_cli.population.phenotypes import (
    Columns,
    PhenotypeTable,
    degrees,
    location_anchors,
    read_phenotypes,
    unit_vectors,
)
from genomai_cli.training import corpus_writer, recipe
from genomai_cli.training.labelled_data import gather
from genomai_cli.training.pretraining import piece_cutter, pretrain

EARTH_RADIUS = 6371.0  # km
GRID_SIZE = 4000  # points about 360 km apart
SUPERPOP, POP, SEX, LOCATION = "superpop", "pop", "sex", ("latitude", "longitude")
Phenotypes = dict[str, str | None]


@dataclass(frozen=True, eq=False)
class PhenotypedCohort:
    """Labelled people: `phenotypes` of each of the `samples`, as in a phenotype table; `groups` has one record for each
    population, in alphabetical order, with its sampling location."""

    samples: Samples
    panel: Panel
    phenotypes: list[Phenotypes]
    groups: list[Phenotypes]

    @classmethod
    def read(cls, folder: Path, records: Path) -> "PhenotypedCohort":
        """The training individuals in a folder as shared/data/1kgp, with locations from a table of records."""
        table = read_phenotypes(records)
        groups = [{name: v[row] for name, v in table.columns.items()} for row in range(len(table))]
        labels = read_labels(folder / LABELS)
        panel = Panel.read(folder / "panel.tsv")
        barcodes = read_barcodes(open_inputs([folder / VCF]), panel)
        heads = {POP: labels.column("population")}
        samples, _ = gather(barcodes.records(), heads)
        phenotypes_of = {phenotypes[POP]: phenotypes for phenotypes in groups}
        label_rows = [labels.row(name) for name in samples.names]
        phenotypes = [{**phenotypes_of[row["population"]], SEX: row["sex"]} for row in label_rows]
        return cls(samples, panel, phenotypes, groups)

    def __len__(self) -> int:
        return len(self.phenotypes)

    @property
    def copies(self) -> np.ndarray:
        """Copies of the alternate alleles (N, S)."""
        return letters_to_genotypes(self.samples.letters, self.panel)

    def label_indices(self, column: str) -> Rows:
        """The index (N,) of each person's label among those of the column, in alphabetical order."""
        return np.unique(
            [str(phenotypes[column]) for phenotypes in self.phenotypes], return_inverse=True
        )[1]

    def labels(self, column: str) -> list[str]:
        """The labels of a column, in alphabetical order."""
        return sorted({str(phenotypes[column]) for phenotypes in self.phenotypes})

    def locations(self) -> Array:
        """Where each person was sampled, a point of the unit sphere (N, 3)."""
        return locations_of(self.phenotypes)

    def table(self, rows: Rows) -> PhenotypeTable:
        """The phenotypes of these rows."""
        return as_table(
            [self.phenotypes[row] for row in rows], [self.samples.names[r] for r in rows]
        )


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network, and the columns that it knows."""

    network: CrossmodalNetwork

    @torch.no_grad()
    def similarities(self, copies: np.ndarray, records: Sequence[Phenotypes]) -> Array:
        """The cosines (N, R) of people and records."""
        table = as_table(records, [str(number) for number in range(len(records))])
        encoded = encode(table, self.network.columns)
        samples_NE = self.network.sample_vectors(torch.from_numpy(copies.astype(np.int64)))
        cosines_NR: Array = (
            (samples_NE @ self.network.record_vectors(PhenotypeRecords.of(encoded)).T)
            .double()
            .numpy()
        )
        return cosines_NR

    def nearest_locations(self, copies: np.ndarray) -> Array:
        """The most similar location (N, 3) of a grid on the globe."""
        points = location_anchors(GRID_SIZE)
        records = [
            dict(zip(LOCATION, map(str, location), strict=True)) for location in degrees(points)
        ]
        return points[self.similarities(copies, records).argmax(axis=1)]


def as_table(phenotypes: Sequence[Phenotypes], names: Sequence[str]) -> PhenotypeTable:
    """Phenotypes as a table of records."""
    columns = sorted({name for row in phenotypes for name in row})
    lines = tuple(range(2, len(phenotypes) + 2))
    values = {name: tuple(row.get(name) for row in phenotypes) for name in columns}
    return PhenotypeTable("benchmark", tuple(names), lines, values)


def train_network(
    cohort: PhenotypedCohort, rows: Rows, plan: recipe.Recipe, seed: int, say: Callable[[str], None]
) -> Network:
    """The network that `genomai pretrain --objective crossmodal` trains on these rows of the cohort."""
    table = cohort.table(rows)
    columns = Columns.of(table)
    kind = PhenotypeInput(cohort.panel, False, columns_read=columns, table=table)
    encoded_rows = kind.layout.rows(cohort.samples.letters[rows], encode(table, columns))
    with tempfile.TemporaryDirectory() as folder:
        corpus = corpus_writer.write(
            Path(folder) / "corpus",
            zip(table.names, encoded_rows, strict=True),
            piece_cutter(plan, kind),
            holdout=plan.split.holdout,
            seed=seed,
        )
        pretrained = pretrain(corpus, plan, kind, seed=seed)
    network = pretrained.bundle.classifier.networks[0]
    assert isinstance(network, CrossmodalNetwork)
    say(
        f"learnt from {len(rows)} in {pretrained.facts['seconds']} s, {pretrained.facts['held_out']}"
    )
    return Network(network.eval().requires_grad_(False))


def ranks(similarity_NR: Array, truth_N: Rows) -> Array:
    """The rank (N,) of the true record, from 1; records that are as similar share the mean of their ranks."""
    own_N1 = similarity_NR[np.arange(len(truth_N)), truth_N][:, None]
    above_N = (similarity_NR > own_N1 + 1e-9).sum(axis=1)
    equal_N = (np.abs(similarity_NR - own_N1) <= 1e-9).sum(axis=1)
    return 1 + above_N + (equal_N - 1) / 2


def locations_of(phenotypes: Sequence[Phenotypes]) -> Array:
    """The locations of records, points of the unit sphere (R, 3)."""
    return unit_vectors(
        *(np.array([float(str(f[column])) for f in phenotypes]) for column in LOCATION)
    )


def kilometres(first: Array, second: Array) -> Array:
    """The distance on the globe between points of the unit sphere."""
    return EARTH_RADIUS * np.arccos(np.clip((first * second).sum(axis=-1), -1, 1))


def with_columns(groups: Sequence[Phenotypes], *columns: str) -> list[Phenotypes]:
    """The groups' records with these columns only."""
    return [{name: phenotypes[name] for name in columns} for phenotypes in groups]


def cached(
    file: Path, key: str, compute: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays that `compute` returns, stored in the file and loaded again as long as the key is the same."""
    if file.is_file():
        with np.load(file) as stored:
            if str(stored["key"]) == key:
                return {name: stored[name] for name in stored.files if name != "key"}
    arrays = dict(compute())
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part")
    with temporary.open("wb") as handle:
        np.savez_compressed(handle, key=np.array(key), **arrays)
    temporary.replace(file)
    return arrays
