"""How long newcomers wait from a clone to a first result, and to a first model of their own.

    python -m benchmarks.speed.newcomers > benchmarks/speed/newcomers.tsv
    python -m benchmarks.speed.newcomers --python .venv/bin/python

Three paths, in the shell as the documentation has them, each in the same clone of this repository: a VCF to classify;
a cohort with labels and a panel of its own; FASTA with labels. Prints the seconds of every step, and those since the
path began. Files that readers would bring are made before, which is not counted. Clone and installation, into a new
environment, count in every path; with `--python` nothing is installed, and that interpreter runs the clone.
"""

import argparse
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.command_line import REPOSITORY

HEADER = ("path", "step", "seconds", "since_the_start")
CLONE = ("clone", f"git clone -q {shlex.quote(str(REPOSITORY))} .")
INSTALLATION = (
    ("environment", "python3 -m venv .venv"),
    ("install", ".venv/bin/python -m pip install -q -c constraints.txt ."),
)
PATHS = {
    "a VCF": (
        ("first result", "genomai classify examples/samples.vcf.gz > populations.tsv"),
        (
            "page",
            "genomai classify examples/samples.vcf.gz --report report.html > populations.tsv",
        ),
    ),
    "a cohort, an own panel": (
        (
            "first result",
            "genomai classify --proportions superpop GBR.vcf YRI.vcf CHB.vcf > mixtures.tsv",
        ),
        (
            "first model",
            "genomai train GBR.vcf YRI.vcf CHB.vcf --labels labels.tsv --head pop=pop --panel sites.vcf -o my-model",
        ),
        ("its calls", "genomai classify --model ./my-model GBR.vcf YRI.vcf CHB.vcf > calls.tsv"),
    ),
    "FASTA, labels": (
        ("first result", "genomai embed promoters.fa > vectors.tsv"),
        (
            "first model",
            "genomai train promoters.fa --labels classes.tsv --time 30s -o promoters",
        ),
        ("its calls", "genomai classify --model ./promoters promoters.fa > calls.tsv"),
        ("why", "genomai explain --model ./promoters --method gradient promoters.fa > why.tsv"),
    ),
}
COHORT = r"""
for group in GBR YRI CHB; do
    genomai generate --phenotype $group -n 40 --seed 1 --to vcf -o $group.vcf
done
{ echo 'sample pop'; for group in GBR YRI CHB; do
    grep '^#CHROM' $group.vcf | cut -f 10- | tr '\t' '\n' | sed "s/$/ $group/"; done; } | tr ' ' '\t' > labels.tsv
cut -f 1-8 GBR.vcf | awk '/^#/ || n++ % 2 == 0' > sites.vcf
"""


@dataclass(frozen=True)
class Checkout:
    """A folder with a clone in it, and what runs the program there; None: what the clone's `.venv` has."""

    folder: Path
    python: Path | None

    def run(self, line: str) -> float:
        """The seconds of a line of shell; SystemExit with its messages where it fails."""
        began = time.perf_counter()
        process = subprocess.run(
            ["sh", "-euc", line],
            cwd=self.folder,
            env=os.environ | self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise SystemExit(f"{line}\n{process.stderr}")
        return time.perf_counter() - began

    def _environment(self) -> dict[str, str]:
        if self.python is None:
            return {"PATH": f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}"}
        programs = self.folder.parent / "bin"
        programs.mkdir(exist_ok=True)
        program = programs / "genomai"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(str(self.python))} -m genomai_cli "$@"\n')
        program.chmod(0o755)
        return {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(self.folder)}


def make_sequences(folder: Path) -> None:
    """Two thousand made-up sequences of 200 letters, half of them with more C and G, and their classes."""
    rng = np.random.default_rng(1)
    kinds = ["gc" if number % 2 else "at" for number in range(2000)]
    probabilities = {"at": [0.3, 0.2, 0.2, 0.3], "gc": [0.2, 0.3, 0.3, 0.2]}
    sequences = ["".join(rng.choice(list("ACGT"), 200, p=probabilities[kind])) for kind in kinds]
    fasta = "".join(f">s{number}\n{sequence}\n" for number, sequence in enumerate(sequences))
    rows = "".join(f"s{number}\t{kind}\n" for number, kind in enumerate(kinds))
    (folder / "promoters.fa").write_text(fasta)
    (folder / "classes.tsv").write_text(f"name\tclass\n{rows}")


def timed(python: Path | None) -> Iterator[tuple[str, str, float, float]]:
    """The rows of the table, as the steps end."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Checkout(Path(folder) / "genomai", python)
        clone.folder.mkdir()
        steps = (CLONE,) if python else (CLONE, *INSTALLATION)
        shared = [(step, clone.run(line)) for step, line in steps]
        clone.run(COHORT)
        make_sequences(clone.folder)
        for path, path_steps in PATHS.items():
            elapsed = 0.0
            for step, seconds in shared:
                elapsed += seconds
                yield path, step, seconds, elapsed
            for step, line in path_steps:
                seconds = clone.run(line)
                elapsed += seconds
                yield path, step, seconds, elapsed


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", type=Path, help="an interpreter with what genomai needs")
    options = parser.parse_args()
    print(*HEADER, sep="\t")
    for path, step, seconds, elapsed in timed(options.python and options.python.absolute()):
        print(path, step, f"{seconds:.1f}", f"{elapsed:.1f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
