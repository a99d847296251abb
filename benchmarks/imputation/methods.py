"""What restores the untyped sites of a window of linked sites: simple methods, the copying model, and programs on VCFs.

Each gives the probabilities (N, S, 3) of the genotypes. Beagle: Browning, Zhou and Browning 2018, Am J Hum Genet
103:338.
"""

import argparse
import compileall
import gzip
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import genomai_cli
from benchmarks.imputation.scores import Row
from genomai_cli.population.networks.haplotype_copying import HaplotypeReference, genotypes_of

OURS, BEAGLE, MINIMAC = "genomai denoise", "Beagle 5", "minimac4"
COPYING = "copying model (Li and Stephens)"
MOST_FREQUENT, RIDGE_REGRESSION = "most frequent genotype", "ridge regression"
PHASED, UNPHASED = "phased", "no phase"
BCFTOOLS = "bcftools"
PENALTY = 100.0  # of the ridge regression


@dataclass(frozen=True, eq=False)
class Window:
    """Alleles (M, 2, S) of those learnt from, those (N, 2, S) of those to judge, of which the sites `typed` (K,) are
    shown, and the places (S,) of the sites."""

    learnt: np.ndarray
    judged: np.ndarray
    typed: np.ndarray
    places: np.ndarray


def most_frequent(window: Window) -> np.ndarray:
    """How often each genotype of a site is among those learnt from."""
    copies = window.learnt.sum(axis=1)
    counts = np.stack([(copies == number).sum(axis=0) + 0.5 for number in range(3)], axis=1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return np.broadcast_to(shares, (len(window.judged), *shares.shape))


def ridge_regression(window: Window) -> np.ndarray:
    """Dosages by ridge regression on the typed ones, and as probabilities those of the two nearest genotypes."""
    learnt = window.learnt.sum(axis=1).astype(np.float64)
    asked = window.judged.sum(axis=1)[:, window.typed].astype(np.float64)
    mean = learnt.mean(axis=0)
    known = (learnt - mean)[:, window.typed]
    weights = np.linalg.solve(
        known.T @ known + PENALTY * np.eye(known.shape[1]), known.T @ (learnt - mean)
    )
    dosage = np.clip((asked - mean[window.typed]) @ weights + mean, 0, 2)
    return np.clip(1 - np.abs(dosage[..., None] - np.arange(3)), 0, 1)


def copied(window: Window, phase: str, rate: float, error: float) -> np.ndarray:
    """The copying model alone, not calibrated, at these rates of switches a base and of errors."""
    shapes = HaplotypeReference.shapes(2 * len(window.learnt), window.learnt.shape[2])
    arrays = {name: np.zeros(shape, kind) for name, (shape, kind) in shapes.items()}
    reference = HaplotypeReference(arrays)
    reference.set_haplotypes(window.learnt, window.places.astype(np.float64))
    reference.rate[...], reference.error[...] = rate, error
    shown = np.full_like(window.judged, -1)
    shown[:, :, window.typed] = window.judged[:, :, window.typed]
    known = np.full(len(shown), phase == PHASED)
    return genotypes_of(reference.pairs(shown, known).astype(np.float64))


def beagle(program: str, typed: Path, reference: Path, out: Path) -> Path:
    """The VCF that Beagle makes, on one thread."""
    run(program, f"gt={typed}", f"ref={reference}", f"out={out}", "gp=true", "nthreads=1")
    return out.with_suffix(".vcf.gz")


def minimac(program: str, typed: Path, reference: Path, out: Path) -> Path:
    """The VCF that minimac4 (Das et al. 2016, Nat Genet 48:1284) makes, on one thread, of phased genotypes."""
    panel, asked, made = (out.with_suffix(end) for end in (".msav", ".typed.bcf", ".vcf.gz"))
    run(program, "--compress-reference", str(reference), "-o", str(panel))
    run(BCFTOOLS, "view", "-Ob", "-o", str(asked), str(typed))
    run(BCFTOOLS, "index", "-f", str(asked))
    run(program, str(panel), str(asked), "-f", "GT,GP", "-O", "vcf.gz", "-o", str(made), "-t", "1")
    return made


def programs_of(options: argparse.Namespace) -> Mapping[str, Sequence[str]]:
    """What has to be installed for a method, by its name."""
    return {BEAGLE: [options.beagle], MINIMAC: [options.minimac4, BCFTOOLS]}


def add_programs(parser: argparse.ArgumentParser) -> None:
    """Options for the programs that others have written."""
    for name in ("beagle", "minimac4"):
        parser.add_argument(
            f"--{name}", default=name, metavar="PROGRAM", help="default: %(default)s"
        )


def left_out(method: str, phase: str, options: argparse.Namespace) -> str | None:
    """Why there is no row of a method, None if there is one; it is told on standard error."""
    reason = None
    absent = [p for p in programs_of(options).get(method, ()) if not shutil.which(p)]
    if absent:
        reason = f"{absent[0]} is not installed"
    elif method == MINIMAC and phase == UNPHASED:
        reason = "it reads genotypes with phase"
    if reason:
        print(f"{phase}, {method}: left out, {reason}", file=sys.stderr, flush=True)
    return reason


def denoise(model: Path, typed: Path, out: Path) -> Path:
    """The VCF that `genomai denoise` makes, on one thread."""
    run(sys.executable, "-m", "genomai_cli", "denoise", "-q", "--model", str(model),
        "--device", "cpu", "--threads", "1", str(typed), "-o", str(out))  # fmt: skip
    return out


def compile_modules() -> None:
    """Ours are compiled before anything is timed, as installing them does."""
    compileall.compile_dir(Path(genomai_cli.__file__).parent, quiet=1)


def run(*command: str) -> None:
    """Run a program whose messages nobody reads."""
    began, before = time.perf_counter(), _of_programs()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for spent in _clocks:
        spent.add(Spent(time.perf_counter() - began, _of_programs() - before))


@dataclass
class Spent:
    """Seconds by the clock, and of the processor."""

    wall: float = 0.0
    processor: float = 0.0

    def add(self, other: "Spent") -> None:
        """Count these as well."""
        self.wall += other.wall
        self.processor += other.processor


_clocks: list[Spent] = []


@contextmanager
def clocked() -> Iterator[Spent]:
    """What the programs take that are run inside, their start-up included; without any, what is done here takes."""
    spent = Spent()
    _clocks.append(spent)
    began, before = time.perf_counter(), time.process_time()
    try:
        yield spent
    finally:
        _clocks.remove(spent)
    if not spent.wall:
        spent.add(Spent(time.perf_counter() - began, time.process_time() - before))


def _of_programs() -> float:
    """Seconds of the processor that finished programs have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def without_phase(lines: Sequence[str]) -> str:
    """The text of a VCF whose calls have no phase."""
    return "".join(line if line[0] == "#" else line.replace("|", "/") for line in lines)


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


def times(rows: Sequence[Row], prepared: Spent | None = None) -> str:
    """A table of the programs' seconds, and of our preparation where it was made."""
    people = len(rows[0].score.places)
    lines = [
        f"Seconds for {people:,} people, every program on one thread, its start-up included:\n",
        "| hidden | program | seconds | of the processor |",
        "| --- | --- | ---: | ---: |",
    ]
    for row in rows:
        if row.method in (OURS, BEAGLE, MINIMAC):
            lines.append(
                f"| {row.condition} | {row.method} | {row.seconds:.1f} | {row.processor:.1f} |"
            )
    if prepared is not None:
        name = "genomai pretrain --for imputation"
        lines.append(f"| once | {name} | {prepared.wall:.1f} | {prepared.processor:.1f} |")
    return "\n".join(lines) + "\n"
