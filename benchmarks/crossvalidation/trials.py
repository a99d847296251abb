"""People in folds, sites hidden, methods tried: the out-of-fold probabilities of everybody, kept on disk.

Every method sees the same folds and the same hidden sites; what it does with its own people (choose
settings, select sites, calibrate) is its affair and happens inside the fold.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import read_labels
from genomai_cli.inputs.samples import Samples
from genomai_cli.population.barcode import letters_to_genotypes, read_barcodes
from genomai_cli.population.panel import Panel
from genomai_cli.training.labelled_data import folds, gather, remaining_rows

Array = NDArray[np.float64]
Letters = NDArray[np.uint8]
Rows = NDArray[np.int64]
Conditions = dict[str, NDArray[np.bool_]]

VCF, LABELS, PANEL = "train.grch37.vcf.gz", "train.labels.tsv", "panel.tsv"
HEADS = {"superpop": "superpopulation", "pop": "population"}
HIDDEN = (0, 25, 50, 75, 90)  # per cent of the sites
KIDD = "kidd55"
_MISSING = ord("N")


@dataclass(frozen=True, eq=False)
class Cohort:
    """Labelled people and the panel that their barcodes follow."""

    samples: Samples
    panel: Panel

    @classmethod
    def read(cls, folder: Path) -> "Cohort":
        """The training individuals in a folder as shared/data/1kgp."""
        panel = Panel.read(folder / PANEL)
        table = read_labels(folder / LABELS)
        labels = {head: table.column(column) for head, column in HEADS.items()}
        barcodes = read_barcodes(open_inputs([folder / VCF]), panel)
        samples, _ = gather(barcodes.records(), labels)
        return cls(samples, panel)

    @property
    def test_conditions(self) -> Sequence[object]:
        """The shares of sites that are hidden in tests."""
        return HIDDEN

    def digest(self) -> str:
        """A digest of everything that a method is trained on."""
        return digest(self.samples, self.panel.sha256)

    def fold(self, number: int, seed: int, rows: Rows) -> "Fold":
        """The fold with the people in `rows` as test set and all others as training set."""
        letters = self.samples.letters[rows]
        known = conditions(len(self.samples), self.panel, seed)
        test = {
            condition: np.where(mask[rows], letters, np.uint8(_MISSING))
            for condition, mask in known.items()
        }
        train = subset(self.samples, remaining_rows(self.samples, rows))
        return Fold(number, seed, self.panel, train, test)


@dataclass(frozen=True, eq=False)
class Fold:
    """Training samples, and the letters (n, sites) of the test people under every condition."""

    number: int
    seed: int
    panel: Panel
    train: Samples
    test: dict[str, Letters]

    def copies(self, letters: Letters) -> NDArray[np.int8]:
        """Copies of the alternate allele, -1 where missing."""
        return letters_to_genotypes(letters, self.panel)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Predictions of a method in a fold: `probabilities[condition, head]` (n, classes), NaN for UNKNOWN."""

    probabilities: dict[tuple[str, str], Array]
    seconds: float  # of training
    sites: int  # that it reads
    note: str = ""


class CohortLike(Protocol):
    """Labelled people who can be divided into folds."""

    @property
    def samples(self) -> Samples:
        """Everybody."""

    @property
    def test_conditions(self) -> Sequence[object]:
        """The conditions of tests."""

    def digest(self) -> str:
        """A digest of everything that a method is trained on."""

    def fold(self, number: int, seed: int, rows: Rows) -> Any:
        """The people in `rows` as test set, and the others as training set."""


class Method(Protocol):
    """A classifier of populations."""

    @property
    def name(self) -> str:
        """Its name in the row and in the names of files."""

    @property
    def settings(self) -> str:
        """What its results depend on, except the code."""

    def run(self, fold: Any) -> Outcome:
        """Train on the fold's training samples, then predict the test people."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """A method's outcomes in the folds, put together in the order of the cohort: `rows` of it were tested."""

    probabilities: dict[tuple[str, str], Array]
    seconds: float  # the mean of the folds
    sites: int
    rows: Rows


@dataclass(frozen=True, eq=False)
class Trial:
    """A cohort in folds, of which all or the first `max_folds` are run, and the folder of the outcomes."""

    cohort: CohortLike
    seed: int
    count: int
    folder: Path
    say: Callable[[str], None] = lambda _: None
    max_folds: int | None = None

    def pooled(self, method: Method, *, fresh: bool = False) -> Pooled:
        """The out-of-fold probabilities of all people tested; stored folds are loaded, unless `fresh`."""
        parts = folds(self.cohort.samples, self.count, self.seed)[: self.max_folds]
        outcomes = [self._outcome(method, n, rows, fresh) for n, rows in enumerate(parts)]
        rows = np.concatenate(parts)
        order = np.argsort(rows)
        keys = outcomes[0].probabilities
        tables = {k: np.concatenate([o.probabilities[k] for o in outcomes])[order] for k in keys}
        seconds = float(np.mean([outcome.seconds for outcome in outcomes]))
        return Pooled(tables, seconds, outcomes[0].sites, rows[order])

    def _outcome(self, method: Method, number: int, rows: Rows, fresh: bool) -> Outcome:
        file = self.folder / f"{method.name}-fold{number}.npz"
        key = self._key(method)
        outcome = None if fresh else load(file, key)
        if outcome is None:
            outcome = method.run(self.fold(number, rows))
            save(file, outcome, key)
        tag = f"{method.name}, fold {number + 1} of {self.count}"
        self.say(f"{tag}: {self._summary(outcome, rows)} {outcome.note}".rstrip())
        return outcome

    def fold(self, number: int, rows: Rows) -> Any:
        """The fold with the people in `rows` as test set and all others as training set."""
        return self.cohort.fold(number, self.seed, rows)

    def _key(self, method: Method) -> str:
        values = {
            "data": self.cohort.digest(),
            "seed": self.seed,
            "folds": self.count,
            "hidden": self.cohort.test_conditions,
            "settings": method.settings,
        }
        return json.dumps(values, sort_keys=True)

    def _summary(self, outcome: Outcome, rows: Rows) -> str:
        truth = self.cohort.samples.labels
        first, _ = next(iter(outcome.probabilities))
        tables = {head: outcome.probabilities.get((first, head)) for head in truth}
        accuracies = [
            f"{head} {float((table.argmax(axis=1) == truth[head][rows]).mean()):.3f}"
            for head, table in tables.items()
            if table is not None
        ]
        return f"{', '.join(accuracies)}, learnt in {outcome.seconds:.1f} s"


def conditions(sample_count: int, panel: Panel, seed: int) -> Conditions:
    """For every condition which sites are known (people, sites); with more hidden, the same and others."""
    draws = np.random.default_rng([seed, 0x41DE]).random((sample_count, len(panel)))
    known = {str(percent): draws >= percent / 100 for percent in HIDDEN}
    kidd = np.array([KIDD in tags.split(",") for tags in panel.tags])
    return {**known, KIDD: np.tile(kidd, (sample_count, 1))}


def digest(samples: Samples, *extra: str) -> str:
    """A digest of sequences, labels and whatever else models are trained on."""
    parts = [samples.letters.tobytes(), repr(samples.classes).encode()]
    parts += [samples.labels[head].tobytes() for head in sorted(samples.labels)]
    return hashlib.sha256(b"".join([*parts, *(text.encode() for text in extra)])).hexdigest()


def subset(samples: Samples, rows: Rows) -> Samples:
    """Only these samples, the classes' numbers staying as they are."""
    return Samples(
        [samples.names[row] for row in rows],
        [samples.sequences[row] for row in rows],
        {head: labels[rows] for head, labels in samples.labels.items()},
        samples.classes,
        samples.individuals[rows],
    )


def save(file: Path, outcome: Outcome, key: str) -> None:
    """Store an outcome, with a key of the data and settings behind it."""
    tables = {"/".join(k): v.astype(np.float32) for k, v in outcome.probabilities.items()}
    metadata = {
        "key": key,
        "seconds": outcome.seconds,
        "sites": outcome.sites,
        "note": outcome.note,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part")
    with temporary.open("wb") as handle:
        np.savez_compressed(handle, about=np.array(json.dumps(metadata)), **tables)
    temporary.replace(file)


def load(file: Path, key: str) -> Outcome | None:
    """The outcome stored in the file; None if there is none, or one with another key."""
    if not file.is_file():
        return None
    with np.load(file) as stored:
        metadata = json.loads(str(stored["about"]))
        if metadata["key"] != key:
            return None
        tables = {name: stored[name].astype(np.float64) for name in stored.files if name != "about"}
    probabilities = {(name.split("/")[0], name.split("/")[1]): t for name, t in tables.items()}
    return Outcome(probabilities, metadata["seconds"], metadata["sites"], metadata["note"])


def by_condition(
    fold: Fold, predict: Callable[[Letters], Mapping[str, Array]]
) -> dict[tuple[str, str], Array]:
    """The probabilities that `predict` returns for the fold's test people under every condition."""
    return {
        (condition, head): table
        for condition, letters in fold.test.items()
        for head, table in predict(letters).items()
    }
