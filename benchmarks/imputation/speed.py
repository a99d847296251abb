"""Time and memory of `genomai denoise` and Beagle, on the region and on a stretch that is as long as several.

    python -m benchmarks.imputation.speed --markdown benchmarks/imputation/speed.md > benchmarks/imputation/speed.tsv

The stretch is the region, several times one behind the other, each time with other people in the columns, so that
nothing goes on from one to the next. Every program runs on one thread, and with as many as it takes by itself. Seconds
include its start-up; memory is the most that it has held. The modules of ours are compiled before, as installing them
does.
"""

import argparse
import gzip
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from benchmarks.command_line import DATA, RUNS, parser_of, write_asked
from benchmarks.imputation.methods import (
    BEAGLE,
    OURS,
    PHASED,
    UNPHASED,
    add_programs,
    compile_modules,
    left_out,
    without_phase,
)
from benchmarks.imputation.region import REFERENCE, TYPED

PREPARATION = "genomai pretrain --for imputation"
APART = 500_000  # bases from the beginning of one region to that of the next
FIXED = 9  # columns before the samples'
KIB = 1024
TITLES = ["regions", "hidden", "program", "threads", "seconds", "of the processor", "MiB"]


@dataclass(frozen=True)
class Use:
    """What one run of a program takes; `memory` in MiB."""

    regions: int
    hidden: str
    program: str
    threads: str
    seconds: float
    processor: float
    memory: float

    def cells(self) -> list[str]:
        """As text, as `TITLES` say."""
        regions, hidden, program, threads, *figures = astuple(self)
        return [str(regions), hidden, program, threads, *map("{:.1f}".format, figures)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all programs; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    compile_modules()
    found = [use for regions in options.regions for use in uses(regions, options)]
    rows = [use.cells() for use in found]
    sys.stdout.writelines("\t".join(row) + "\n" for row in [TITLES, *rows])
    lines = [TITLES, ["---:", "---", "---", "---:", "---:", "---:", "---:"], *rows]
    write_asked(options.markdown, "".join(f"| {' | '.join(line)} |\n" for line in lines))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = parser_of(__doc__, runs=RUNS / "imputation" / "speed", markdown=None)
    made.add_argument(
        "--region", type=Path, default=DATA.parent / "region", metavar="DIR", help="its files"
    )
    made.add_argument(
        "--regions",
        type=int,
        nargs="+",
        default=[1, 10],
        metavar="N",
        help="how many, one behind the other (default: 1 10)",
    )
    add_programs(made)
    return made


def uses(regions: int, options: argparse.Namespace) -> Iterator[Use]:
    """What each program takes for so many regions."""
    folder = options.runs / str(regions)
    folder.mkdir(parents=True, exist_ok=True)
    reference, typed = (folder / name for name in (REFERENCE, TYPED))
    for path in (reference, typed):
        stretch(options.region / path.name, path, regions)
    asked = {PHASED: typed, UNPHASED: folder / "typed-no-phase.vcf"}
    with gzip.open(typed, "rt") as lines:
        asked[UNPHASED].write_text(without_phase(list(lines)))
    for threads in ("1", "default"):
        ours = ["--device", "cpu", *(["--threads", "1"] if threads == "1" else [])]
        its = ["nthreads=1"] if threads == "1" else []
        command = [
            sys.executable,
            "-m",
            "genomai_cli",
            "pretrain",
            "-q",
            "--force",
            "--for",
            "imputation",
        ]
        command += [str(reference), "-o", str(folder / "model"), *ours]
        yield used(regions, "once", PREPARATION, threads, command)
        for phase, path in asked.items():
            command = [sys.executable, "-m", "genomai_cli", "denoise", "-q", "--model"]
            command += [
                str(folder / "model"),
                str(path),
                "-o",
                str(folder / "restored.vcf.gz"),
                *ours,
            ]
            yield used(regions, phase, OURS, threads, command)
            if not left_out(BEAGLE, phase, options):
                command = [
                    options.beagle,
                    f"gt={path}",
                    f"ref={reference}",
                    f"out={folder / 'beagle'}",
                    "gp=true",
                    *its,
                ]
                yield used(regions, phase, BEAGLE, threads, command)


def used(regions: int, hidden: str, program: str, threads: str, command: Sequence[str]) -> Use:
    """Run a program whose messages nobody reads."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, spent = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    wall, processor = time.perf_counter() - began, spent.ru_utime + spent.ru_stime
    made = Use(regions, hidden, program, threads, wall, processor, spent.ru_maxrss / KIB)
    print("\t".join(made.cells()), file=sys.stderr, flush=True)
    return made


def stretch(source: Path, target: Path, regions: int) -> None:
    """A VCF with so many regions one behind the other, each with the samples in another order."""
    with gzip.open(source, "rt") as lines:
        text = [line.rstrip("\n") for line in lines]
    records = [line.split("\t") for line in text if line[0] != "#"]
    rng = np.random.default_rng(0)
    with gzip.open(target, "wt", compresslevel=1) as out:
        out.writelines(line + "\n" for line in text if line[0] == "#")
        for number in range(regions):
            order = rng.permutation(len(records[0]) - FIXED) + FIXED
            for chrom, position, name, *rest in records:
                calls = [rest[column - 3] for column in order]
                place = str(int(position) + APART * number)
                fixed = [chrom, place, f"{name}_{number}", *rest[: FIXED - 3]]
                out.write("\t".join([*fixed, *calls]) + "\n")


if __name__ == "__main__":
    main()
