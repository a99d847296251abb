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

from benchmarks.command_line import DATA, RUNS, parser_of, write_optional
from benchmarks.imputation.methods import (
    BEAGLE,
    OURS,
    PHASED,
    UNPHASED,
    add_programs,
    compile_modules,
    omission_reason,
    without_phase,
)
from benchmarks.imputation.region import REFERENCE, TYPED

PREPARATION = "genomai pretrain --for imputation"
REGION_SPACING = 500_000  # bases from the beginning of one region to that of the next
FIXED_COLUMNS = 9  # columns before the samples'
KIB = 1024
TITLES = ["regions", "hidden", "program", "threads", "seconds", "of the processor", "MiB"]


@dataclass(frozen=True)
class ResourceUse:
    """The time and memory of one run of a program; `memory` in MiB."""

    regions: int
    hidden: str
    program: str
    threads: str
    seconds: float
    processor: float
    memory: float

    def cells(self) -> list[str]:
        """As text, in the order of `TITLES`."""
        regions, hidden, program, threads, *figures = astuple(self)
        return [str(regions), hidden, program, threads, *map("{:.1f}".format, figures)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all programs; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    compile_modules()
    resource_uses = [use for regions in options.regions for use in measurements(regions, options)]
    rows = [use.cells() for use in resource_uses]
    sys.stdout.writelines("\t".join(row) + "\n" for row in [TITLES, *rows])
    lines = [TITLES, ["---:", "---", "---", "---:", "---:", "---:", "---:"], *rows]
    write_optional(options.markdown, "".join(f"| {' | '.join(line)} |\n" for line in lines))


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = parser_of(__doc__, runs=RUNS / "imputation" / "speed", markdown=None)
    parser.add_argument(
        "--region", type=Path, default=DATA.parent / "region", metavar="DIR", help="its files"
    )
    parser.add_argument(
        "--regions",
        type=int,
        nargs="+",
        default=[1, 10],
        metavar="N",
        help="how many, one behind the other (default: 1 10)",
    )
    add_programs(parser)
    return parser


def measurements(regions: int, options: argparse.Namespace) -> Iterator[ResourceUse]:
    """The time and memory of each program for so many regions."""
    folder = options.runs / str(regions)
    folder.mkdir(parents=True, exist_ok=True)
    reference, typed = (folder / name for name in (REFERENCE, TYPED))
    for path in (reference, typed):
        concatenate_regions(options.region / path.name, path, regions)
    typed_files = {PHASED: typed, UNPHASED: folder / "typed-no-phase.vcf"}
    with gzip.open(typed, "rt") as lines:
        typed_files[UNPHASED].write_text(without_phase(list(lines)))
    for threads in ("1", "default"):
        genomai_options = ["--device", "cpu", *(["--threads", "1"] if threads == "1" else [])]
        beagle_options = ["nthreads=1"] if threads == "1" else []
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
        command += [str(reference), "-o", str(folder / "model"), *genomai_options]
        yield measure(regions, "once", PREPARATION, threads, command)
        for phase, path in typed_files.items():
            command = [sys.executable, "-m", "genomai_cli", "denoise", "-q", "--model"]
            command += [
                str(folder / "model"),
                str(path),
                "-o",
                str(folder / "restored.vcf.gz"),
                *genomai_options,
            ]
            yield measure(regions, phase, OURS, threads, command)
            if not omission_reason(BEAGLE, phase, options):
                command = [
                    options.beagle,
                    f"gt={path}",
                    f"ref={reference}",
                    f"out={folder / 'beagle'}",
                    "gp=true",
                    *beagle_options,
                ]
                yield measure(regions, phase, BEAGLE, threads, command)


def measure(
    regions: int, hidden: str, program: str, threads: str, command: Sequence[str]
) -> ResourceUse:
    """Run a program whose messages nobody reads."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    wall, processor = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    resource_use = ResourceUse(
        regions, hidden, program, threads, wall, processor, usage.ru_maxrss / KIB
    )
    print("\t".join(resource_use.cells()), file=sys.stderr, flush=True)
    return resource_use


def concatenate_regions(source: Path, target: Path, regions: int) -> None:
    """A VCF with so many regions one behind the other, each with the samples in another order."""
    with gzip.open(source, "rt") as lines:
        text = [line.rstrip("\n") for line in lines]
    records = [line.split("\t") for line in text if line[0] != "#"]
    rng = np.random.default_rng(0)
    with gzip.open(target, "wt", compresslevel=1) as out:
        out.writelines(line + "\n" for line in text if line[0] == "#")
        for number in range(regions):
            order = rng.permutation(len(records[0]) - FIXED_COLUMNS) + FIXED_COLUMNS
            for chrom, position, name, *further_columns in records:
                calls = [further_columns[column - 3] for column in order]
                new_position = str(int(position) + REGION_SPACING * number)
                fixed = [
                    chrom,
                    new_position,
                    f"{name}_{number}",
                    *further_columns[: FIXED_COLUMNS - 3],
                ]
                out.write("\t".join([*fixed, *calls]) + "\n")


if __name__ == "__main__":
    main()
