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
    ByCopies,
    ByModel,
    ByNearest,
    ByRecipe,
    ByReference,
    Known,
    Method,
    OfBundle,
    Restorer,
    identical,
)
from benchmarks.mito.masking import (
    CONDITIONS,
    MAIN,
    UNKNOWN,
    Codes,
    Judged,
    Row,
    hidden,
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
    """A row: its title, the method, and which genomes of the world that learns from."""

    title: str
    method: Method
    world: str = ALL


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = Data.read(options)
    say(f"{len(data.people)} people, {len(data.world)} genomes of the world")
    rows: list[Row] = []
    chosen = entries(options)
    titles = {entry.method.name: entry.title for entry in chosen}
    for entry in chosen:
        rows += data.rows(entry)
        write_optional(options.output, tsv(rows))
        write_optional(options.markdown, markdown(rows, titles) + note(data))
    sys.stdout.writelines(tsv(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = parser_of(
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
    made.add_argument(
        "--world", type=Path, default=WORLD, metavar="VCF", help="default: %(default)s"
    )
    made.add_argument("--errors", type=int, default=0, metavar="N",
                      help="also put wrong letters into N genomes of the first fold")  # fmt: skip
    made.add_argument("--only", type=int, metavar="N", help="judge only the first N folds")
    return made


def entries(options: argparse.Namespace) -> list[Entry]:
    """The rows, the simplest first."""
    pretrained = bundles.load(str(options.pretrained.resolve()), torch.device("cpu"))
    changes = tuple(options.set)
    ours = [ByRecipe(OURS + ending, OURS, changes) for ending in ("", "-people-only", "-no-twins")]
    all_entries = [
        Entry("always rCRS", ByReference()),
        Entry("nearest of the people learnt from", ByNearest("nearest")),
        Entry("nearest of world and people", ByNearest("nearest-world", world=True)),
        Entry(
            "the same, twins left out", ByNearest("nearest-world-no-twins", world=True), NO_TWINS
        ),
        Entry(
            "posterior mean of all genomes, which holds everybody's", ByCopies("copies", ours[0])
        ),
        Entry(
            "`mito-pretrained`, learnt from the world only", ByModel("mito-pretrained", pretrained)
        ),
        Entry("**`mito-denoiser`**", ours[0]),
        Entry("**`mito-denoiser`**, learnt from the people only", ours[1], NONE),
        Entry("**`mito-denoiser`**, twins left out", ours[2], NO_TWINS),
    ]
    wanted = options.methods
    return [e for e in all_entries if wanted is None or e.method.name in wanted]


class Data:
    """People in folds, the genomes of the world, and which letters are hidden when."""

    def __init__(self, people: Genomes, world: Codes, options: argparse.Namespace) -> None:
        self.reference, self.world, self.seed = people.reference, world, options.seed
        self.codes_L = codes_of(people.reference.letters)
        self.people: Codes = codes_of(people.samples.letters)
        self.parts: list[Rows] = folds(people.samples, options.folds, options.seed)[: options.only]
        self.rest = [remaining_rows(people.samples, part) for part in self.parts]
        known_NL = (self.people != UNKNOWN) & (self.codes_L != UNKNOWN)
        self.varying = np.flatnonzero(((self.people != self.codes_L) & known_NL).any(axis=0))
        self.errors, self.corrected = options.errors, list[str]()
        self.twin_N = identical(self.people, world, self.varying)

    @classmethod
    def read(cls, options: argparse.Namespace) -> "Data":
        """Everything from its files."""
        people = Genomes.read(options.data, options.reference)
        (world,) = read_genomes(open_inputs([options.world]), people.reference, absent_is_ref=True)
        rows = [np.frombuffer(r.sequence.encode("ascii"), np.uint8) for r in world.records()]
        return cls(people, codes_of(np.stack(rows)), options)

    def rows(self, entry: Entry) -> list[Row]:
        """The rows of a method, the people of all folds together."""
        judged: dict[str, list[Judged]] = {condition: [] for condition in CONDITIONS}
        seconds = []
        for number, (part, rest) in enumerate(zip(self.parts, self.rest, strict=True), start=1):
            began = time.perf_counter()
            restorer = entry.method.learn(self._known(entry, part, rest))
            seconds.append(time.perf_counter() - began)
            say(f"{entry.method.name}, fold {number}: {seconds[-1]:.0f} s to learn")
            if self.errors and number == 1 and isinstance(restorer, OfBundle):
                some = self.people[part[: self.errors]]
                told = corrections(restorer.bundle, some, self.codes_L, self.seed)
                self.corrected.append(f"{entry.title}: {told}")
            for condition, of in judged.items():
                of.append(self._judged(restorer, condition, part))
        joined = {condition: Judged.joined(of) for condition, of in judged.items()}
        alone = np.flatnonzero(~self.twin_N[np.concatenate(self.parts)])
        joined[WITHOUT_TWIN] = joined[MAIN].of_people(alone)
        mean, name = float(np.mean(seconds)), entry.method.name
        return [row(name, condition, of, mean) for condition, of in joined.items()]

    def _judged(self, restorer: Restorer, condition: str, part: Rows) -> Judged:
        letters = len(self.reference)
        hidden_NL = hidden(condition, len(self.people), letters, self.seed)[part]
        truth_NL = self.people[part]
        found = restorer(np.where(hidden_NL, np.uint8(UNKNOWN), truth_NL))
        return Judged.of(found, truth_NL, hidden_NL, self.codes_L)

    def _known(self, entry: Entry, part: Rows, rest: Rows) -> Known:
        world = self.world
        if entry.world == NO_TWINS:
            world = world[~identical(world, self.people[part], self.varying)]
        elif entry.world == NONE:
            world = world[:0]
        return Known(self.reference, world, self.people[rest], self.seed)


def note(data: Data) -> str:
    """What is said below the tables."""
    twins, people = int(data.twin_N.sum()), len(data.people)
    said = NOTE.format(twins=twins, people=people, alone=people - twins)
    corrected = "".join(f"- {line}\n" for line in data.corrected)
    return said + (ERRORS + corrected if corrected else "")


if __name__ == "__main__":
    main()
