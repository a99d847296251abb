"""Labelled mitochondrial genomes in folds, and the parts of a genome by which a method judges people.

All genomes stand in the coordinates of rCRS. A method learns from complete genomes and judges complete ones, halves,
quarters and stretches of 2,000 letters.

Shape suffixes: N genomes, L letters of the reference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.crossvalidation.trials import Letters, Rows, digest, subset
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.tables import read_labels
from genomai_cli.inputs.samples import Samples
from genomai_cli.mapping.mapper import Mapper
from genomai_cli.mapping.reference import Reference
from genomai_cli.phylogeny.genome_input import GenomeInput
from genomai_cli.records import SequenceRecord
from genomai_cli.training.labelled_data import gather, remaining_rows

Mask = NDArray[np.bool_]

GENOMES, LABELS, HAPLOGROUPS = "mt.train.fa.gz", "train.labels.tsv", "mt.train.haplogroups.tsv"
HEADS = {"superpop": "superpopulation", "pop": "population"}
COMPLETE, HALVES, QUARTERS, SHORT = "complete", "halves", "quarters", "2 kb"
PARTS = {COMPLETE: 1, HALVES: 2, QUARTERS: 4, SHORT: 8}  # how many of each are tested
SHORT_LETTERS = 2000


@dataclass(frozen=True, eq=False)
class Genomes:
    """Labelled people and their genomes, all of the reference's length."""

    samples: Samples
    reference: Reference

    @classmethod
    def read(cls, folder: Path, reference: Path) -> "Genomes":
        """The genomes in a folder as shared/data/1kgp, and the circular reference in a FASTA file."""
        circular_reference = Reference.read(reference, circular=True)
        table = read_labels(folder / LABELS)
        labels = {head: table.column(column) for head, column in HEADS.items()}
        haplogroups = read_labels(folder / HAPLOGROUPS).column("haplogroup")
        labels["haplogroup"] = {name: group[0] for name, group in haplogroups.items()}
        records, check = (
            mapped(folder / GENOMES, circular_reference),
            GenomeInput(circular_reference).check_record,
        )
        samples, _ = gather(records, labels, check=check)
        return cls(samples, circular_reference)

    @property
    def test_conditions(self) -> Sequence[object]:
        """The parts of genomes."""
        return [f"{part}:{count}" for part, count in PARTS.items()]

    def digest(self) -> str:
        """A digest of everything that a method is trained on."""
        return digest(self.samples, self.reference.sha256)

    def fold(self, number: int, seed: int, rows: Rows) -> "GenomeFold":
        """The fold with the people in `rows` as test set and all others as training set."""
        train = subset(self.samples, remaining_rows(self.samples, rows))
        letters = self.samples.letters[rows]
        names = [self.samples.names[row] for row in rows]
        return GenomeFold(number, seed, self.reference, train, names, letters)


@dataclass(frozen=True, eq=False)
class GenomeFold:
    """Training samples, and the names and letters (N, L) of the test people."""

    number: int
    seed: int
    reference: Reference
    train: Samples
    names: list[str]
    letters: Letters


def mapped(file: Path, reference: Reference) -> Iterator[SequenceRecord]:
    """The genomes of a FASTA file in the reference's coordinates; those that do not map to it are left out."""
    mapper = Mapper(reference)
    with open_input(file) as source:
        for record in read_sequences(source):
            mapping = mapper(record.held)
            if mapping is not None:
                letters = mapping.letters.tobytes().decode("ascii")
                yield SequenceRecord(record.name, letters)


def part_masks(size: int) -> dict[str, Mask]:
    """The letters (L,) that each part of a genome has, `complete`, `halves 1`, `halves 2` and so on."""
    positions = np.arange(size)
    masks = {COMPLETE: np.ones(size, np.bool_)}
    for part, count in PARTS.items():
        if part == COMPLETE:
            continue
        length = SHORT_LETTERS if part == SHORT else -(-size // count)
        for number in range(count):
            begin = number * size // count
            masks[f"{part} {number + 1}"] = (positions - begin) % size < length
    return masks


def part_of(condition: str) -> str:
    """Which of `PARTS` a stretch is one of."""
    return condition if condition == COMPLETE else condition.rpartition(" ")[0]


def apply_mask(letters_NL: Letters, mask_L: Mask) -> Letters:
    """The genomes with N for every letter outside of the mask."""
    return np.where(mask_L, letters_NL, np.uint8(ord("N")))
