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

from benchmarks.command_line import DATA, RUNS, parser_of, write_optional
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
    ProgramTime,
    Window,
    add_programs,
    beagle,
    compile_modules,
    copying_model,
    denoise,
    measured_time,
    minimac,
    most_frequent,
    omission_reason,
    read_probabilities,
    ridge_regression,
    time_table,
    without_phase,
)
from benchmarks.imputation.panel import SAMPLES_VCF, folds, other_rows, pretrained_bundle
from benchmarks.imputation.scores import Concordance, Row, markdown, tsv
from genomai_cli import threads
from genomai_cli.formats.outputs import atomic_output
from genomai_cli.formats.vcf_rewrite import write_variants
from genomai_cli.population.generation.output import sites
from genomai_cli.population.panel import GRCH37

RESULTS = RUNS / "imputation" / "chr22"
TYPED_STRIDE = 10
RATE = (
    1e-5  # switches a base; of 1e-6 to 1e-4, and ERROR of 0.001 to 0.03, the best on the first fold
)
ERROR = 0.01  # a copied allele differs so often


@dataclass(frozen=True, eq=False)
class Fold:
    """The reference and the target samples; `folder` holds intermediate files."""

    cohort: Cohort
    reference_rows: np.ndarray
    target_rows: np.ndarray
    typed: np.ndarray
    folder: Path
    beagle: str
    minimac4: str

    @property
    def site_index(self) -> Mapping[tuple[str, int], int]:
        """The indices of the sites by contig and position."""
        return self.cohort.panel.index(GRCH37)

    @property
    def window(self) -> Window:
        """The alleles as a window."""
        alleles = self.cohort.samples.alleles
        positions = self.cohort.panel.positions[GRCH37]
        return Window(
            alleles[self.reference_rows], alleles[self.target_rows], self.typed, positions
        )

    def typed_vcf(self, phase: str) -> Path:
        """Write a VCF of the typed sites of the target samples."""
        path = self.folder / f"typed-{phase.replace(' ', '-')}.vcf"
        columns = [sites(self.cohort.panel, GRCH37)[site] for site in self.typed]
        names = {self.cohort.samples.names[row]: "." for row in self.target_rows}
        alleles = self.cohort.samples.alleles[self.target_rows][:, :, self.typed]
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
    rows = list(evaluated_rows(Cohort.read(options.data, linked=True), options))
    sys.stdout.writelines(tsv(rows))
    write_optional(options.markdown, markdown(rows) + "\n" + time_table(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = parser_of(
        __doc__, data=DATA, folds=5, judged=None, seed=0, set=[], runs=RESULTS, markdown=None
    )
    add_programs(parser)
    return parser


def evaluated_rows(cohort: Cohort, options: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table, of all samples of the evaluated folds."""
    parts = folds(cohort, options.folds, options.seed)[: options.judged]
    truth = cohort.samples.alleles[np.concatenate(parts)].sum(axis=1).astype(np.int64)
    typed = np.arange(0, truth.shape[1], TYPED_STRIDE)
    hidden = np.ones(truth.shape, bool)
    hidden[:, typed] = False
    probabilities: dict[tuple[str, str], list[np.ndarray]] = {}
    times: dict[tuple[str, str], ProgramTime] = {}
    method_conditions = list(conditions(options))
    for number, part in enumerate(parts):
        reference_rows = other_rows(cohort, part)
        folder = options.runs / f"fold{number}"
        pretrain_options = ("--for", "imputation")
        pretrained_bundle(cohort, reference_rows, folder, options, pretrain_options)
        fold = Fold(cohort, reference_rows, part, typed, folder, options.beagle, options.minimac4)
        for phase, name in method_conditions:
            with measured_time() as elapsed:
                probabilities.setdefault((phase, name), []).append(METHODS[name](fold, phase))
            times.setdefault((phase, name), ProgramTime()).add(elapsed)
        print(f"fold {number}: {len(part)} people judged", file=sys.stderr, flush=True)
    rows: dict[tuple[str, str], Row] = {}
    for (phase, name), fold_probabilities in probabilities.items():
        score = Concordance.of(truth, np.concatenate(fold_probabilities), hidden)
        baseline = rows.get((phase, BEAGLE)) if name == OURS else None
        elapsed = times[phase, name]
        rows[phase, name] = Row(phase, name, score, elapsed.wall, baseline, elapsed.processor)
    yield from rows.values()


def conditions(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """The conditions: with phase or without, and the method."""
    for phase in (PHASED, UNPHASED):
        for name in METHODS:
            if not omission_reason(name, phase, options):
                yield phase, name


def by_beagle(fold: Fold, phase: str) -> np.ndarray:
    """Beagle, with the reference samples of the fold."""
    imputed = beagle(
        fold.beagle, fold.typed_vcf(phase), fold.folder / SAMPLES_VCF, fold.folder / "beagle"
    )
    return read_probabilities(imputed, fold.site_index, fold.typed)


def by_minimac(fold: Fold, phase: str) -> np.ndarray:
    """Minimac4, with the reference samples of the fold."""
    out = fold.folder / "minimac"
    imputed = minimac(fold.minimac4, fold.typed_vcf(phase), fold.folder / SAMPLES_VCF, out)
    return read_probabilities(imputed, fold.site_index, fold.typed)


def by_denoise(fold: Fold, phase: str) -> np.ndarray:
    """`genomai denoise` with the model of the fold."""
    imputed = denoise(fold.folder / "model", fold.typed_vcf(phase), fold.folder / "restored.vcf.gz")
    return read_probabilities(imputed, fold.site_index, fold.typed)


METHODS: dict[str, Method] = {
    MOST_FREQUENT: lambda fold, phase: most_frequent(fold.window),
    RIDGE_REGRESSION: lambda fold, phase: ridge_regression(fold.window),
    COPYING: lambda fold, phase: copying_model(fold.window, phase, RATE, ERROR),
    BEAGLE: by_beagle,
    MINIMAC: by_minimac,
    OURS: by_denoise,
}

if __name__ == "__main__":
    main()
