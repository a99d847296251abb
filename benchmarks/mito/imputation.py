"""Hidden letters of mitochondrial genomes restored: our denoiser beside baselines, on people held out in turn.

    python -m benchmarks.mito.imputation -o table.tsv --markdown table.md > /dev/null
    python -m benchmarks.mito.imputation --methods reference,nearest

The people are the 2,002 genomes of the 1000 Genomes Project, in five folds by individual; a method learns from the
world's 36,960 genomes and four fifths of the people, and fills in the letters that are hidden in the last fifth.
Genomes of the world may be those of the same people: the last rows of the table are about that.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.command_line import DATA, MITO, MODELS, parser_of, say, write_optional
from benchmarks.crossvalidation.trials import Rows
from benchmarks.mito.genomes import Genomes
from benchmarks.mito.imputers import (
    BundleRestorer,
    ByCopies,
    ByModel,
    ByNearest,
    ByRecipe,
    ByReference,
    Method,
    Restorer,
    TrainingGenomes,
    identical,
)
from benchmarks.mito.masking import (
    CONDITIONS,
    MAIN,
    UNKNOWN,
    Codes,
    ImputationScores,
    Row,
    hidden_mask,
    markdown,
    row,
    tsv,
)
from benchmarks.mito.substitutions import corrections
from genomai_cli.alphabet import codes_of
from genomai_cli.bundles import bundle as bundles
from genomai_cli.formats.streams import open_inputs
from genomai_cli.mapping.vcf_genomes import read_genomes
from genomai_cli.training.labelled_data import folds, remaining_rows

WORLD = MITO / "world.vcf.gz"
REFERENCE = MITO / "rCRS.fa"
PRETRAINED = MODELS / "mito-pretrained"
OURS = "mito-denoiser"
ALL, NO_TWINS, NONE = "all", "no twins", "none"
WITHOUT_TWIN = "60 %, of people without a twin in the world,"
NOTE = """
A twin is a genome of the world that has the same letters as the person wherever people of the project differ;
{twins} of the {people} people have one, {alone} have none. Hidden are a share of the letters at random, or half of
the circle in a piece. Letters right are of all hidden letters, variants are letters that rCRS does not have, false
changes are letters of rCRS that were replaced. ECE is the calibration error of the probability of a letter other than
that of rCRS, of letters where it is above 0.01.
"""
ERRORS = """
Letters exchanged at random (`genomai denoise --error-rate 0.001`), complete genomes of the first fold:

"""


@dataclass(frozen=True)
class Entry:
    """A row: its title, the method, and the genomes of the world in its training data."""

    title: str
    method: Method
    world: str = ALL


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = Data.read(options)
    say(f"{len(data.samples)} people, {len(data.world)} genomes of the world")
    rows: list[Row] = []
    selected = entries(options)
    titles = {entry.method.name: entry.title for entry in selected}
    for entry in selected:
        rows += data.rows(entry)
        write_optional(options.output, tsv(rows))
        write_optional(options.markdown, markdown(rows, titles) + note(data))
    sys.stdout.writelines(tsv(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    command_line = parser_of(
        __doc__,
        data=DATA,
        reference=REFERENCE,
        pretrained=PRETRAINED,
        folds=5,
        methods=None,
        seed=0,
        threads=1,
        set=[],
        output=None,
        markdown=None,
    )
    command_line.add_argument(
        "--world", type=Path, default=WORLD, metavar="VCF", help="default: %(default)s"
    )
    command_line.add_argument("--errors", type=int, default=0, metavar="N",
                      help="also put wrong letters into N genomes of the first fold")  # fmt: skip
    command_line.add_argument("--only", type=int, metavar="N", help="judge only the first N folds")
    return command_line


def entries(options: argparse.Namespace) -> list[Entry]:
    """The rows, the simplest first."""
    pretrained = bundles.load(str(options.pretrained.resolve()), torch.device("cpu"))
    changes = tuple(options.set)
    denoisers = [
        ByRecipe(OURS + ending, OURS, changes) for ending in ("", "-people-only", "-no-twins")
    ]
    all_entries = [
        Entry("always rCRS", ByReference()),
        Entry("nearest of the people learnt from", ByNearest("nearest")),
        Entry("nearest of world and people", ByNearest("nearest-world", world=True)),
        Entry(
            "the same, twins left out", ByNearest("nearest-world-no-twins", world=True), NO_TWINS
        ),
        Entry(
            "posterior mean of all genomes, which holds everybody's",
            ByCopies("copies", denoisers[0]),
        ),
        Entry(
            "`mito-pretrained`, learnt from the world only", ByModel("mito-pretrained", pretrained)
        ),
        Entry("**`mito-denoiser`**", denoisers[0]),
        Entry("**`mito-denoiser`**, learnt from the people only", denoisers[1], NONE),
        Entry("**`mito-denoiser`**, twins left out", denoisers[2], NO_TWINS),
    ]
    requested = options.methods
    return [e for e in all_entries if requested is None or e.method.name in requested]


class Data:
    """People in folds, the genomes of the world, and which letters are hidden when."""

    def __init__(self, genomes: Genomes, world: Codes, options: argparse.Namespace) -> None:
        self.reference, self.world, self.seed = genomes.reference, world, options.seed
        self.codes_L = codes_of(genomes.reference.letters)
        self.samples: Codes = codes_of(genomes.samples.letters)
        self.test_folds: list[Rows] = folds(genomes.samples, options.folds, options.seed)[
            : options.only
        ]
        self.train_folds = [remaining_rows(genomes.samples, part) for part in self.test_folds]
        known_NL = (self.samples != UNKNOWN) & (self.codes_L != UNKNOWN)
        self.variable_positions = np.flatnonzero(
            ((self.samples != self.codes_L) & known_NL).any(axis=0)
        )
        self.error_genomes, self.correction_lines = options.errors, list[str]()
        self.has_twin_N = identical(self.samples, world, self.variable_positions)

    @classmethod
    def read(cls, options: argparse.Namespace) -> "Data":
        """Everything from its files."""
        genomes = Genomes.read(options.data, options.reference)
        (world,) = read_genomes(open_inputs([options.world]), genomes.reference, absent_is_ref=True)
        rows = [np.frombuffer(r.sequence.encode("ascii"), np.uint8) for r in world.records()]
        return cls(genomes, codes_of(np.stack(rows)), options)

    def rows(self, entry: Entry) -> list[Row]:
        """The rows of a method, the people of all folds together."""
        scores_by_condition: dict[str, list[ImputationScores]] = {
            condition: [] for condition in CONDITIONS
        }
        seconds = []
        for number, (test_rows, train_rows) in enumerate(
            zip(self.test_folds, self.train_folds, strict=True), start=1
        ):
            began = time.perf_counter()
            restorer = entry.method.learn(self._training_genomes(entry, test_rows, train_rows))
            seconds.append(time.perf_counter() - began)
            say(f"{entry.method.name}, fold {number}: {seconds[-1]:.0f} s to learn")
            if self.error_genomes and number == 1 and isinstance(restorer, BundleRestorer):
                sample_codes = self.samples[test_rows[: self.error_genomes]]
                summary = corrections(restorer.bundle, sample_codes, self.codes_L, self.seed)
                self.correction_lines.append(f"{entry.title}: {summary}")
            for condition, scores in scores_by_condition.items():
                scores.append(self._scores(restorer, condition, test_rows))
        pooled = {
            condition: ImputationScores.concatenated(scores)
            for condition, scores in scores_by_condition.items()
        }
        without_twin = np.flatnonzero(~self.has_twin_N[np.concatenate(self.test_folds)])
        pooled[WITHOUT_TWIN] = pooled[MAIN].subset(without_twin)
        mean, name = float(np.mean(seconds)), entry.method.name
        return [row(name, condition, scores, mean) for condition, scores in pooled.items()]

    def _scores(self, restorer: Restorer, condition: str, test_rows: Rows) -> ImputationScores:
        letters = len(self.reference)
        hidden_NL = hidden_mask(condition, len(self.samples), letters, self.seed)[test_rows]
        truth_NL = self.samples[test_rows]
        restored = restorer(np.where(hidden_NL, np.uint8(UNKNOWN), truth_NL))
        return ImputationScores.of(restored, truth_NL, hidden_NL, self.codes_L)

    def _training_genomes(self, entry: Entry, test_rows: Rows, train_rows: Rows) -> TrainingGenomes:
        world = self.world
        if entry.world == NO_TWINS:
            world = world[~identical(world, self.samples[test_rows], self.variable_positions)]
        elif entry.world == NONE:
            world = world[:0]
        return TrainingGenomes(self.reference, world, self.samples[train_rows], self.seed)


def note(data: Data) -> str:
    """The text below the tables."""
    twins, sample_count = int(data.has_twin_N.sum()), len(data.samples)
    text = NOTE.format(twins=twins, people=sample_count, alone=sample_count - twins)
    lines = "".join(f"- {line}\n" for line in data.correction_lines)
    return text + (ERRORS + lines if lines else "")


if __name__ == "__main__":
    main()
