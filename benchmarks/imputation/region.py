"""A region with ordinary recombination, every tenth site typed: `genomai denoise` beside Beagle and simpler methods.

    python -m benchmarks.imputation.region --markdown benchmarks/imputation/region.md > benchmarks/imputation/region.tsv

The region is simulated (`../shared/data/region`): reference individuals with phase, others of whom every tenth site is
typed, and the truth of those. Nothing is chosen on it: rates and calibration come of the reference alone. Beagle stands
in the table where it is installed. What is restored comes of the reference individuals, so that few steps of the
network are trained.
"""

import argparse
import gzip
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.command_line import DATA, RUNS, parser_of, write_asked
from benchmarks.imputation.chr22 import (
    BEAGLE,
    COPYING,
    OURS,
    PHASED,
    UNPHASED,
    denoise,
    read_probabilities,
    run,
    times,
)
from benchmarks.imputation.scores import Concordance, Row, markdown, tsv
from genomai_cli.formats.genotypes import parse_genotypes
from genomai_cli.population.networks.haplotype_copying import HaplotypeReference
from genomai_cli.population.networks.kriging import genotypes_of

RIDGE_REGRESSION, PENALTY = "ridge regression", 100.0
RATE, ERROR = 1e-6, 1e-3  # of the copying model alone: what `pretrain` chose on the reference
REFERENCE, TYPED, TRUTH = "1.ref.vcf.gz", "1.typed.vcf.gz", "1.truth.vcf.gz"


@dataclass(frozen=True, eq=False)
class Table:
    """The genotypes of a VCF: alleles (N, 2, S), and sites by contig and position."""

    alleles: np.ndarray
    places: dict[tuple[str, int], int]

    @classmethod
    def read(cls, path: Path) -> "Table":
        """All records, which have genotypes only."""
        places: dict[tuple[str, int], int] = {}
        found = []
        with gzip.open(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.startswith(b"#"):
                    continue
                columns = line.rstrip(b"\n").split(b"\t", 9)
                places[columns[0].decode(), int(columns[1])] = len(places)
                size = columns[9].count(b"\t") + 1
                found.append(parse_genotypes(columns[9], size, 0, number)[0])
        return cls(np.stack(found).transpose(1, 2, 0).astype(np.int8), places)


@dataclass(frozen=True, eq=False)
class Region:
    """What is known, and where files are made; `typed` (K,) are the numbers of the typed sites."""

    reference: Table
    truth: Table
    typed: np.ndarray
    data: Path
    folder: Path
    beagle: str

    def asked(self, phase: str) -> Path:
        """A VCF of the typed sites."""
        if phase == PHASED:
            return self.data / TYPED
        path = self.folder / "typed-no-phase.vcf"
        with gzip.open(self.data / TYPED, "rt") as lines:
            path.write_text("".join(x if x[0] == "#" else x.replace("|", "/") for x in lines))
        return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge all methods; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    rows = list(judged(options))
    sys.stdout.writelines(tsv(rows))
    write_asked(options.markdown, markdown(rows) + "\n" + times(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = parser_of(__doc__, runs=RUNS / "imputation" / "region", markdown=None)
    made.add_argument(
        "--region", type=Path, default=DATA.parent / "region", metavar="DIR", help="its files"
    )
    made.add_argument("--beagle", default="beagle", metavar="PROGRAM", help="default: %(default)s")
    return made


def judged(options: argparse.Namespace) -> Iterator[Row]:
    """The rows."""
    options.runs.mkdir(parents=True, exist_ok=True)
    reference, truth = (Table.read(options.region / name) for name in (REFERENCE, TRUTH))
    typed = Table.read(options.region / TYPED)
    numbers = np.array([truth.places[place] for place in typed.places])
    region = Region(reference, truth, numbers, options.region, options.runs, options.beagle)
    prepared(region)
    copies = truth.alleles.sum(axis=1).astype(np.int64)
    hidden = np.ones(copies.shape, bool)
    hidden[:, numbers] = False
    for phase in (PHASED, UNPHASED):
        rows: dict[str, Row] = {}
        for name, method in METHODS.items():
            if name == BEAGLE and not shutil.which(options.beagle):
                continue
            began = time.perf_counter()
            score = Concordance.of(copies, method(region, phase), hidden)
            beside = rows.get(BEAGLE) if name == OURS else None
            rows[name] = Row(phase, name, score, time.perf_counter() - began, beside)
            print(f"{phase}, {name}: done", file=sys.stderr, flush=True)
        yield from rows.values()


def prepared(region: Region) -> None:
    """The model of the region, if there is none yet."""
    model, reference = region.folder / "model", region.data / REFERENCE
    if model.exists():
        return
    began = time.perf_counter()
    run(sys.executable, "-m", "genomai_cli", "pretrain", "-q", "--recipe", "region", "--panel", str(reference),
        str(reference), "-o", str(model), "--set", "optimization.steps=20", "--threads", "1")  # fmt: skip
    print(f"made the model in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


def most_frequent(region: Region, phase: str) -> np.ndarray:
    """How often each genotype of a site is among the reference."""
    del phase
    copies = region.reference.alleles.sum(axis=1)
    shares = np.stack([(copies == number).mean(axis=0) for number in range(3)], axis=1)
    return np.broadcast_to(shares, (len(region.truth.alleles), *shares.shape))


def ridge_regression(region: Region, phase: str) -> np.ndarray:
    """Dosages by ridge regression on the typed ones, and as probabilities those of the two nearest genotypes."""
    del phase
    learnt = region.reference.alleles.sum(axis=1).astype(np.float64)
    asked = region.truth.alleles.sum(axis=1)[:, region.typed].astype(np.float64)
    mean = learnt.mean(axis=0)
    known = (learnt - mean)[:, region.typed]
    weights = np.linalg.solve(
        known.T @ known + PENALTY * np.eye(known.shape[1]), known.T @ (learnt - mean)
    )
    dosage = np.clip((asked - mean[region.typed]) @ weights + mean, 0, 2)
    return np.clip(1 - np.abs(dosage[..., None] - np.arange(3)), 0, 1)


def copied(region: Region, phase: str) -> np.ndarray:
    """The copying model alone, not calibrated."""
    learnt = torch.from_numpy(region.reference.alleles)
    place = torch.tensor([position for _, position in region.reference.places]).double()
    reference = HaplotypeReference(2 * len(learnt), learnt.shape[2])
    reference.learn(learnt, place)
    reference.rate.fill_(RATE)
    reference.error.fill_(ERROR)
    shown = np.full_like(region.truth.alleles, -1)
    shown[:, :, region.typed] = region.truth.alleles[:, :, region.typed]
    known = torch.full((len(shown),), phase == PHASED)
    return genotypes_of(reference.pairs(torch.from_numpy(shown), known)).double().numpy()


def by_beagle(region: Region, phase: str) -> np.ndarray:
    """Beagle with the same reference."""
    out = region.folder / "beagle"
    given = [f"gt={region.asked(phase)}", f"ref={region.data / REFERENCE}", f"out={out}"]
    run(region.beagle, *given, "gp=true", "nthreads=1")
    return read_probabilities(out.with_suffix(".vcf.gz"), region.truth.places, region.typed)


def by_denoise(region: Region, phase: str) -> np.ndarray:
    """`genomai denoise`."""
    out = region.folder / "restored.vcf.gz"
    denoise(region.folder / "model", region.asked(phase), out)
    return read_probabilities(out, region.truth.places, region.typed)


Method = Callable[[Region, str], np.ndarray]
"""The probabilities (N, S, 3) of the genotypes."""
METHODS: dict[str, Method] = {
    "most frequent genotype": most_frequent,
    RIDGE_REGRESSION: ridge_regression,
    COPYING: copied,
    BEAGLE: by_beagle,
    OURS: by_denoise,
}

if __name__ == "__main__":
    main()
