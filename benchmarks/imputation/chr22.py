"""A stretch of chromosome 22 with every tenth site typed: `genomai denoise` beside Beagle and a copying model.

    python -m benchmarks.imputation.chr22 --markdown benchmarks/imputation/chr22.md > benchmarks/imputation/chr22.tsv

Folds are by individual; in each, the recipe `region` learns from the other people, and they are Beagle's reference
(Browning, Zhou and Browning 2018, Am J Hum Genet 103:338; the row is left out where no `beagle` is installed, which
`--beagle` names). Both programs read a VCF of the typed sites, with phase or without, and write one of all; seconds are
those of the programs on one thread, start-up included. What is restored comes of the model's library, not of its
network, so that `--set optimization.steps=20` makes the same table in a fraction of the time.
"""

import argparse
import gzip
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.command_line import DATA, RUNS, parser_of, write_asked
from benchmarks.generation.quality import Cohort
from benchmarks.imputation.panel import PEOPLE, folds, made
from benchmarks.imputation.scores import Concordance, Row, markdown, tsv
from genomai_cli.formats.outputs import atomic_output
from genomai_cli.formats.vcf_rewrite import write_variants
from genomai_cli.population.generation.output import sites
from genomai_cli.population.networks.haplotype_copying import HaplotypeReference
from genomai_cli.population.networks.kriging import genotypes_of
from genomai_cli.population.panel import GRCH37

KEPT = RUNS / "imputation" / "chr22"
EVERY = 10
RATE = (
    1e-5  # switches a base; of 1e-6 to 1e-4, and ERROR of 0.001 to 0.03, the best on the first fold
)
ERROR = 0.01  # a copied allele differs so often
OURS, BEAGLE = "genomai denoise", "Beagle 5"
PHASED, UNPHASED = "phased", "no phase"


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

    def asked(self, phase: str) -> Path:
        """A VCF of the typed sites of those to judge."""
        path = self.folder / f"typed-{phase.replace(' ', '-')}.vcf"
        columns = [sites(self.cohort.panel, GRCH37)[site] for site in self.typed]
        names = {self.cohort.people.names[row]: "." for row in self.judge}
        alleles = self.cohort.people.alleles[self.judge][:, :, self.typed]
        with atomic_output(path) as out:
            write_variants(out, columns, names, alleles, build=GRCH37, contigs={}, source="truth")
        if phase == UNPHASED:
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(x if x[0] == "#" else x.replace("|", "/") for x in lines))
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


def most_frequent(fold: Fold, phase: str) -> np.ndarray:
    """How often each genotype of a site is among those learnt from."""
    del phase
    copies = fold.cohort.people.alleles[fold.learn].sum(axis=1)
    counts = np.stack([(copies == number).sum(axis=0) + 0.5 for number in range(3)], axis=1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return np.broadcast_to(shares, (len(fold.judge), *shares.shape))


def copied(fold: Fold, phase: str) -> np.ndarray:
    """The copying model alone, not calibrated, at the rates chosen on the first fold."""
    alleles, panel = fold.cohort.people.alleles, fold.cohort.panel
    learnt = torch.from_numpy(alleles[fold.learn])
    reference = HaplotypeReference(2 * len(learnt), alleles.shape[2])
    reference.learn(learnt, torch.from_numpy(panel.positions[GRCH37]).double())
    reference.rate.fill_(RATE)
    reference.error.fill_(ERROR)
    shown = np.full_like(alleles[fold.judge], -1)
    shown[:, :, fold.typed] = alleles[fold.judge][:, :, fold.typed]
    known = torch.full((len(shown),), phase == PHASED)
    return genotypes_of(reference.pairs(torch.from_numpy(shown), known)).double().numpy()


def by_beagle(fold: Fold, phase: str) -> np.ndarray:
    """Beagle, with those learnt from as its reference."""
    out = fold.folder / "beagle"
    given = [f"gt={fold.asked(phase)}", f"ref={fold.folder / PEOPLE}", f"out={out}"]
    run(fold.beagle, *given, "gp=true", "nthreads=1")
    return read_probabilities(out.with_suffix(".vcf.gz"), fold.places, fold.typed)


def by_denoise(fold: Fold, phase: str) -> np.ndarray:
    """`genomai denoise` with the model of the fold."""
    out = fold.folder / "restored.vcf.gz"
    denoise(fold.folder / "model", fold.asked(phase), out)
    return read_probabilities(out, fold.places, fold.typed)


def denoise(model: Path, typed: Path, out: Path) -> None:
    """`genomai denoise` on one thread."""
    run(sys.executable, "-m", "genomai_cli", "denoise", "-q", "--model", str(model),
        "--device", "cpu", "--threads", "1", str(typed), "-o", str(out))  # fmt: skip


def run(*command: str) -> None:
    """Run a program whose messages nobody reads."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def read_probabilities(
    path: Path, places: Mapping[tuple[str, int], int], typed: np.ndarray
) -> np.ndarray:
    """The GP (N, S, 3) of the hidden sites of a VCF, whose numbers are those of `places`; NaN at the typed ones."""
    found = np.empty((len(places), 0, 3))
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line[0] == "#":
                continue
            columns = line.rstrip("\n").split("\t")
            if not found.size:
                found = np.full((len(places), len(columns) - 9, 3), np.nan)
            keys = columns[8].split(":")
            site = places[columns[0], int(columns[1])]
            if site not in typed:
                values = [cell.split(":")[keys.index("GP")] for cell in columns[9:]]
                found[site] = [[float(p) for p in value.split(",")] for value in values]
    return found.swapaxes(0, 1)


def times(rows: Sequence[Row]) -> str:
    """Seconds of the two programs."""
    told = [
        f"{r.method}, {r.condition}: {r.seconds:.0f} s" for r in rows if r.method in (OURS, BEAGLE)
    ]
    people = len(rows[0].score.places)
    return f"Time for {people:,} people on one thread: {'; '.join(told)}.\n"


COPYING = "copying model (Li and Stephens)"
METHODS: dict[str, Method] = {
    "most frequent genotype": most_frequent,
    COPYING: copied,
    BEAGLE: by_beagle,
    OURS: by_denoise,
}

if __name__ == "__main__":
    main()
