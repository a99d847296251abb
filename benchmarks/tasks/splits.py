"""A task of short sequences: the training part, and the development part that methods are evaluated on.

Test parts are never opened. Sequences with near-duplicates are one individual (`Samples.individuals`), so that what a
method holds out of its own training part has no copies in the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.crossvalidation.trials import Rows, subset
from genomai_cli.errors import InputError
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.tables import read_labels
from genomai_cli.inputs.samples import Samples
from genomai_cli.records import SequenceRecord
from genomai_cli.training.labelled_data import digest, folds, gather, remaining_rows

HEAD = "label"
TRAIN, DEV = "train", "dev"
FOLDS = 5
SPLIT_SEED = 0  # of a task without a development part: its first fifth is one


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled sequences of one task. `stranded` says that they are promoters, which have a direction; the peaks of
    proteins on DNA, and enhancers, are read on both strands."""

    name: str
    train: Samples
    dev: Samples

    @classmethod
    def read(cls, folder: Path) -> "Task":
        """The task in a folder with `train` and, but for iEnhancer, `dev`, as FASTA and labels."""
        train = _samples(folder, TRAIN)
        if (folder / f"{DEV}.fa.gz").exists():
            return cls(folder.name, train, _samples(folder, DEV, train.classes))
        dev = folds(train, FOLDS, SPLIT_SEED)[0]
        return cls(folder.name, subset(train, remaining_rows(train, dev)), subset(train, dev))

    @property
    def stranded(self) -> bool:
        """See the class."""
        return self.name.startswith("prom")

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return len(self.train.classes[HEAD])

    @property
    def labels(self) -> Rows:
        """The labels (N,) of the development part."""
        return self.dev.labels[HEAD]

    @cached_property
    def digest(self) -> str:
        """A digest of both parts."""
        return digest(self.train) + digest(self.dev)

    def held_out(self, seed: int = 0) -> list[Rows]:
        """Fifths of the training part, no near-duplicates in two of them."""
        return folds(self.train, FOLDS, seed)


def records_of(samples: Samples) -> list[SequenceRecord]:
    """The samples as records."""
    return [SequenceRecord(*pair) for pair in zip(samples.names, samples.sequences, strict=True)]


def task_folders(data: Path, names: Sequence[str] | None) -> list[Path]:
    """The folders of these tasks, or of all; InputError for one that is not there."""
    folders = sorted(folder for folder in data.iterdir() if folder.is_dir())
    if names is None:
        return folders
    known = {folder.name: folder for folder in folders}
    for name in names:
        if name not in known:
            raise InputError(f"no task {name} (there are: {', '.join(known)})", path=data)
    return [known[name] for name in names]


def _samples(folder: Path, part: str, classes: dict[str, list[str]] | None = None) -> Samples:
    table = read_labels(folder / f"{part}.labels.tsv.gz")
    labels = {HEAD: table.column(HEAD)}
    with open_input(folder / f"{part}.fa.gz") as source:
        records = read_sequences(source)
        return gather(records, labels, merge_near_duplicates=part == TRAIN, classes=classes)[0]
