"""A stretch of chromosome 22 with every tenth site typed: `genomai denoise` beside Beagle and a copying model.

    python -m benchmarks.imputation.chr22 --markdown benchmarks/imputation/chr22.md > benchmarks/imputation/chr22.tsv

Folds are by individual; in each, `pretrain --for imputation` keeps the other people, who are also the reference of
Beagle and minimac4 (rows of programs that are not installed are left out, and said). All programs read a VCF of the
typed sites, with phase or without, and write one of all; seconds are those of the programs on one thread, start-up
included.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.command_line import DATA, RUNS, parser_of, write_asked
from benchmarks.generation.quality import Cohort
from benchmarks.imputation.methods import (
    BEAGLE,
    COPYING,
    MINIMAC,
    MOST_FREQUENT,
    OURS,
    PHASED,
    RIDGE_REGRESSION,
    UNPHASED,
    Spent,
    Window,
    add_programs,
    beagle,
    clocked,
    compile_modules,
    copied,
    denoise,
    left_out,
    minimac,
    most_frequent,
    read_probabilities,
    ridge_regression,
    times,
    without_phase,
)
from benchmarks.imputation.panel import PEOPLE, everybody_else, folds, made
from benchmarks.imputation.scores import Concordance, Row, markdown, tsv
from genomai_cli import threads
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
    minimac4: str

    @property
    def places(self) -> Mapping[tuple[str, int], int]:
        """The numbers of the sites by contig and position."""
        return self.cohort.panel.index(GRCH37)

    @property
    def window(self) -> Window:
        """The same without files."""
        alleles = self.cohort.samples.alleles
        positions = self.cohort.panel.positions[GRCH37]
        return Window(alleles[self.learn], alleles[self.judge], self.typed, positions)

    def asked(self, phase: str) -> Path:
        """A VCF of the typed sites of those to judge."""
        path = self.folder / f"typed-{phase.replace(' ', '-')}.vcf"
        columns = [sites(self.cohort.panel, GRCH37)[site] for site in self.typed]
        names = {self.cohort.samples.names[row]: "." for row in self.judge}
        alleles = self.cohort.samples.alleles[self.judge][:, :, self.typed]
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
    threads.use(1)
    compile_modules()
    rows = list(judged(Cohort.read(options.data, linked=True), options))
    sys.stdout.writelines(tsv(rows))
    write_asked(options.markdown, markdown(rows) + "\n" + times(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = parser_of(
        __doc__, data=DATA, folds=5, judged=None, seed=0, set=[], runs=KEPT, markdown=None
    )
    add_programs(made)
    return made


def judged(cohort: Cohort, options: argparse.Namespace) -> Iterator[Row]:
    """The rows, of everybody in the folds that are judged."""
    parts = folds(cohort, options.folds, options.seed)[: options.judged]
    truth = cohort.samples.alleles[np.concatenate(parts)].sum(axis=1).astype(np.int64)
    typed = np.arange(0, truth.shape[1], EVERY)
    hidden = np.ones(truth.shape, bool)
    hidden[:, typed] = False
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    seconds: dict[tuple[str, str], Spent] = {}
    asked = list(conditions(options))
    for number, part in enumerate(parts):
        learn = everybody_else(cohort, part)
        folder = options.runs / f"fold{number}"
        how = ("--for", "imputation")
        made(cohort, learn, folder, options, how)
        fold = Fold(cohort, learn, part, typed, folder, options.beagle, options.minimac4)
        for phase, name in asked:
            with clocked() as spent:
                found.setdefault((phase, name), []).append(METHODS[name](fold, phase))
            seconds.setdefault((phase, name), Spent()).add(spent)
        print(f"fold {number}: {len(part)} people judged", file=sys.stderr, flush=True)
    rows: dict[tuple[str, str], Row] = {}
    for (phase, name), parts_of in found.items():
        score = Concordance.of(truth, np.concatenate(parts_of), hidden)
        beside = rows.get((phase, BEAGLE)) if name == OURS else None
        spent = seconds[phase, name]
        rows[phase, name] = Row(phase, name, score, spent.wall, beside, spent.processor)
    yield from rows.values()


def conditions(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """What is told of phase, and the method."""
    for phase in (PHASED, UNPHASED):
        for name in METHODS:
            if not left_out(name, phase, options):
                yield phase, name


def by_beagle(fold: Fold, phase: str) -> np.ndarray:
    """Beagle, with those learnt from as its reference."""
    made = beagle(fold.beagle, fold.asked(phase), fold.folder / PEOPLE, fold.folder / "beagle")
    return read_probabilities(made, fold.places, fold.typed)


def by_minimac(fold: Fold, phase: str) -> np.ndarray:
    """Minimac4, with those learnt from as its reference."""
    out = fold.folder / "minimac"
    made = minimac(fold.minimac4, fold.asked(phase), fold.folder / PEOPLE, out)
    return read_probabilities(made, fold.places, fold.typed)


def by_denoise(fold: Fold, phase: str) -> np.ndarray:
    """`genomai denoise` with the model of the fold."""
    made = denoise(fold.folder / "model", fold.asked(phase), fold.folder / "restored.vcf.gz")
    return read_probabilities(made, fold.places, fold.typed)


METHODS: dict[str, Method] = {
    MOST_FREQUENT: lambda fold, phase: most_frequent(fold.window),
    RIDGE_REGRESSION: lambda fold, phase: ridge_regression(fold.window),
    COPYING: lambda fold, phase: copied(fold.window, phase, RATE, ERROR),
    BEAGLE: by_beagle,
    MINIMAC: by_minimac,
    OURS: by_denoise,
}

if __name__ == "__main__":
    main()
