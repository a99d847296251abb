"""Imputation of the untyped sites of a window of linked sites: simple methods, the copying model, programs on VCFs.

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
    """Alleles (M, 2, S) of the reference, those (N, 2, S) of the target samples, of which the sites `typed` (K,) are
    shown, and the positions (S,) of the sites."""

    reference: np.ndarray
    target: np.ndarray
    typed: np.ndarray
    positions: np.ndarray


def most_frequent(window: Window) -> np.ndarray:
    """How often each genotype of a site is in the reference."""
    copies = window.reference.sum(axis=1)
    counts = np.stack([(copies == number).sum(axis=0) + 0.5 for number in range(3)], axis=1)
    frequencies = counts / counts.sum(axis=1, keepdims=True)
    return np.broadcast_to(frequencies, (len(window.target), *frequencies.shape))


def ridge_regression(window: Window) -> np.ndarray:
    """Dosages by ridge regression on the typed ones, and as probabilities those of the two nearest genotypes."""
    reference = window.reference.sum(axis=1).astype(np.float64)
    target_typed = window.target.sum(axis=1)[:, window.typed].astype(np.float64)
    mean_dosage = reference.mean(axis=0)
    typed = (reference - mean_dosage)[:, window.typed]
    weights = np.linalg.solve(
        typed.T @ typed + PENALTY * np.eye(typed.shape[1]), typed.T @ (reference - mean_dosage)
    )
    dosage = np.clip((target_typed - mean_dosage[window.typed]) @ weights + mean_dosage, 0, 2)
    return np.clip(1 - np.abs(dosage[..., None] - np.arange(3)), 0, 1)


def copying_model(window: Window, phase: str, rate: float, error: float) -> np.ndarray:
    """The copying model alone, not calibrated, at these rates of switches a base and of errors."""
    shapes = HaplotypeReference.shapes(2 * len(window.reference), window.reference.shape[2])
    arrays = {name: np.zeros(shape, kind) for name, (shape, kind) in shapes.items()}
    reference = HaplotypeReference(arrays)
    reference.set_haplotypes(window.reference, window.positions.astype(np.float64))
    reference.rate[...], reference.error[...] = rate, error
    observed = np.full_like(window.target, -1)
    observed[:, :, window.typed] = window.target[:, :, window.typed]
    phased = np.full(len(observed), phase == PHASED)
    return genotypes_of(reference.pairs(observed, phased).astype(np.float64))


def beagle(program: str, typed: Path, reference: Path, out: Path) -> Path:
    """The VCF that Beagle makes, on one thread."""
    run(program, f"gt={typed}", f"ref={reference}", f"out={out}", "gp=true", "nthreads=1")
    return out.with_suffix(".vcf.gz")


def minimac(program: str, typed: Path, reference: Path, out: Path) -> Path:
    """The VCF that minimac4 (Das et al. 2016, Nat Genet 48:1284) makes, on one thread, of phased genotypes."""
    panel, typed_bcf, imputed = (out.with_suffix(end) for end in (".msav", ".typed.bcf", ".vcf.gz"))
    run(program, "--compress-reference", str(reference), "-o", str(panel))
    run(BCFTOOLS, "view", "-Ob", "-o", str(typed_bcf), str(typed))
    run(BCFTOOLS, "index", "-f", str(typed_bcf))
    run(program, str(panel), str(typed_bcf), "-f", "GT,GP", "-O", "vcf.gz", "-o", str(imputed),
        "-t", "1")  # fmt: skip
    return imputed


def programs_of(options: argparse.Namespace) -> Mapping[str, Sequence[str]]:
    """The programs that have to be installed for a method, by its name."""
    return {BEAGLE: [options.beagle], MINIMAC: [options.minimac4, BCFTOOLS]}


def add_programs(parser: argparse.ArgumentParser) -> None:
    """Options for the programs that others have written."""
    for name in ("beagle", "minimac4"):
        parser.add_argument(
            f"--{name}", default=name, metavar="PROGRAM", help="default: %(default)s"
        )


def omission_reason(method: str, phase: str, options: argparse.Namespace) -> str | None:
    """Why there is no row of a method, None if there is one; printed to standard error."""
    reason = None
    missing_programs = [p for p in programs_of(options).get(method, ()) if not shutil.which(p)]
    if missing_programs:
        reason = f"{missing_programs[0]} is not installed"
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
    """Compile our modules before anything is timed, as installing them does."""
    compileall.compile_dir(Path(genomai_cli.__file__).parent, quiet=1)


def run(*command: str) -> None:
    """Run a program whose messages nobody reads."""
    began, before = time.perf_counter(), _child_seconds()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for measurement in _measurements:
        measurement.add(ProgramTime(time.perf_counter() - began, _child_seconds() - before))


@dataclass
class ProgramTime:
    """Seconds by the clock, and of the processor."""

    wall: float = 0.0
    processor: float = 0.0

    def add(self, other: "ProgramTime") -> None:
        """Count these as well."""
        self.wall += other.wall
        self.processor += other.processor


_measurements: list[ProgramTime] = []


@contextmanager
def measured_time() -> Iterator[ProgramTime]:
    """The time of the programs that are run inside, with their start-up; without any, that of this process."""
    measurement = ProgramTime()
    _measurements.append(measurement)
    began, before = time.perf_counter(), time.process_time()
    try:
        yield measurement
    finally:
        _measurements.remove(measurement)
    if not measurement.wall:
        measurement.add(ProgramTime(time.perf_counter() - began, time.process_time() - before))


def _child_seconds() -> float:
    """Seconds of the processor that finished programs have taken."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def without_phase(lines: Sequence[str]) -> str:
    """The text of a VCF whose calls have no phase."""
    return "".join(line if line[0] == "#" else line.replace("|", "/") for line in lines)


def read_probabilities(
    path: Path, site_index: Mapping[tuple[str, int], int], typed: np.ndarray
) -> np.ndarray:
    """The GP (N, S, 3) of the hidden sites of a VCF, in the order of `site_index`; NaN at the typed ones."""
    probabilities = np.empty((len(site_index), 0, 3))
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line[0] == "#":
                continue
            columns = line.rstrip("\n").split("\t")
            if not probabilities.size:
                probabilities = np.full((len(site_index), len(columns) - 9, 3), np.nan)
            keys = columns[8].split(":")
            site = site_index[columns[0], int(columns[1])]
            if site not in typed:
                values = [cell.split(":")[keys.index("GP")] for cell in columns[9:]]
                probabilities[site] = [[float(p) for p in value.split(",")] for value in values]
    return probabilities.swapaxes(0, 1)


def time_table(rows: Sequence[Row], preparation: ProgramTime | None = None) -> str:
    """A table of the programs' seconds, and of our preparation where it was made."""
    samples = len(rows[0].score.sites)
    lines = [
        f"Seconds for {samples:,} people, every program on one thread, its start-up included:\n",
        "| hidden | program | seconds | of the processor |",
        "| --- | --- | ---: | ---: |",
    ]
    for row in rows:
        if row.method in (OURS, BEAGLE, MINIMAC):
            lines.append(
                f"| {row.condition} | {row.method} | {row.seconds:.1f} | {row.processor:.1f} |"
            )
    if preparation is not None:
        name = "genomai pretrain --for imputation"
        lines.append(f"| once | {name} | {preparation.wall:.1f} | {preparation.processor:.1f} |")
    return "\n".join(lines) + "\n"
