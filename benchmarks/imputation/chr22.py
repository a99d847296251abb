"""A stretch of chromosome 22 with every tenth site typed: `genomai denoise` beside Beagle and a copying model.

    python -m benchmarks.imputation.chr22 --markdown benchmarks/imputation/chr22.md > benchmarks/imputation/chr22.tsv

Folds are by individual; in each, the recipe `region` learns from the other people, and they are Beagle's reference
(Browning, Zhou and Browning 2018, Am J Hum Genet 103:338; the row is left out where no `beagle` is installed, which
`--beagle` names). Both programs read a VCF of the typed sites, with phase or without, and write one of all; seconds are
those of the programs on one thread, start-up included. What is restored comes of the model's library, not of its
network, so that `--set optimization.steps=20` makes the same table in a fraction of the time.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.command_line import DATA, RUNS, parser_of, write_asked
from benchmarks.generation.quality import Cohort
from benchmarks.imputation.methods import (
    BEAGLE,
    COPYING,
    MOST_FREQUENT,
    OURS,
    PHASED,
    UNPHASED,
    Window,
    beagle,
    copied,
    denoise,
    most_frequent,
    read_probabilities,
    times,
    without_phase,
)
from benchmarks.imputation.panel import PEOPLE, folds, made
from benchmarks.imputation.scores import Concordance, Row, markdown, tsv
from genomai_cli.formats.outputs import atomic_output
from genomai_cli.formats.vcf_rewrite import write_variants
from genomai_cli.population.generation.output import sites
from genomai_cli.population.panel import GRCH37

KEPT = RUNS / "imputation" / "chr22"
EVERY = 10
RATE = (
    1e-5  # switches a base; of 1e-6 to 1e-4, and ERROR of 0.001 to 0.03, the best on the first fold
)
ERROR = 0.01  # a copied allele differs so often


@dataclass(frozen=True, eq=False)
class Fold:
    """The people to judge and those to learn from; `folder` holds what is made on the way."""

    cohort: Cohort
    learn: np.ndarray
    judge: np.ndarray
    typed: np.ndarray
    folder: Path
    beagle: str

    @property
    def places(self) -> Mapping[tuple[str, int], int]:
        """The numbers of the sites by contig and position."""
        return self.cohort.panel.index(GRCH37)

    @property
    def window(self) -> Window:
        """The same without files."""
        alleles = self.cohort.people.alleles
        positions = self.cohort.panel.positions[GRCH37]
        return Window(alleles[self.learn], alleles[self.judge], self.typed, positions)

    def asked(self, phase: str) -> Path:
        """A VCF of the typed sites of those to judge."""
        path = self.folder / f"typed-{phase.replace(' ', '-')}.vcf"
        columns = [sites(self.cohort.panel, GRCH37)[site] for site in self.typed]
        names = {self.cohort.people.names[row]: "." for row in self.judge}
        alleles = self.cohort.people.alleles[self.judge][:, :, self.typed]
        with atomic_output(path) as out:
            write_variants(out, columns, names, alleles, build=GRCH37, contigs={}, source="truth")
        if phase == UNPHASED:
            path.write_text(without_phase(path.read_text().splitlines(keepends=True)))
        return path


Method = Callable[[Fold, str], np.ndarray]
"""The probabilities (N, S, 3) of the genotypes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all folds; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    rows = list(judged(Cohort.read(options.data, linked=True), options))
    sys.stdout.writelines(tsv(rows))
    write_asked(options.markdown, markdown(rows) + "\n" + times(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = parser_of(
        __doc__, data=DATA, folds=5, judged=None, seed=0, set=[], runs=KEPT, markdown=None
    )
    made.add_argument("--beagle", default="beagle", metavar="PROGRAM", help="default: %(default)s")
    return made


def judged(cohort: Cohort, options: argparse.Namespace) -> Iterator[Row]:
    """The rows, of everybody in the folds that are judged."""
    parts = folds(cohort, options.folds, options.seed)[: options.judged]
    truth = cohort.people.alleles[np.concatenate(parts)].sum(axis=1).astype(np.int64)
    typed = np.arange(0, truth.shape[1], EVERY)
    hidden = np.ones(truth.shape, bool)
    hidden[:, typed] = False
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    seconds: dict[tuple[str, str], float] = {}
    for number, part in enumerate(parts):
        learn = np.setdiff1d(np.arange(len(cohort.people)), part)
        folder = options.runs / f"fold{number}"
        how = ("--recipe", "region", "--panel", str(folder / PEOPLE))
        made(cohort, learn, folder, options, how)
        fold = Fold(cohort, learn, part, typed, folder, options.beagle)
        for phase, name in conditions(options.beagle):
            began = time.perf_counter()
            found.setdefault((phase, name), []).append(METHODS[name](fold, phase))
            taken = time.perf_counter() - began
            seconds[phase, name] = seconds.get((phase, name), 0.0) + taken
        print(f"fold {number}: {len(part)} people judged", file=sys.stderr, flush=True)
    rows: dict[tuple[str, str], Row] = {}
    for (phase, name), parts_of in found.items():
        score = Concordance.of(truth, np.concatenate(parts_of), hidden)
        beside = rows.get((phase, BEAGLE)) if name == OURS else None
        rows[phase, name] = Row(phase, name, score, seconds[phase, name], beside)
    yield from rows.values()


def conditions(beagle: str) -> Iterator[tuple[str, str]]:
    """What is told of phase, and the method."""
    for phase in (PHASED, UNPHASED):
        for name in METHODS:
            if name == BEAGLE and not shutil.which(beagle):
                continue
            yield phase, name


def by_beagle(fold: Fold, phase: str) -> np.ndarray:
    """Beagle, with those learnt from as its reference."""
    made = beagle(fold.beagle, fold.asked(phase), fold.folder / PEOPLE, fold.folder / "beagle")
    return read_probabilities(made, fold.places, fold.typed)


def by_denoise(fold: Fold, phase: str) -> np.ndarray:
    """`genomai denoise` with the model of the fold."""
    made = denoise(fold.folder / "model", fold.asked(phase), fold.folder / "restored.vcf.gz")
    return read_probabilities(made, fold.places, fold.typed)


METHODS: dict[str, Method] = {
    MOST_FREQUENT: lambda fold, phase: most_frequent(fold.window),
    COPYING: lambda fold, phase: copied(fold.window, phase, RATE, ERROR),
    BEAGLE: by_beagle,
    OURS: by_denoise,
}

if __name__ == "__main__":
    main()
