"""Genotypes replaced by others, and how many of them `genomai denoise --error-rate` finds.

    python -m benchmarks.imputation.replaced --markdown benchmarks/imputation/replaced.md

Of the people of one fold of `panel.py`, whom `ancestry-generator`, made anew, has not learnt from, a share of the
genotypes is replaced by one of the two others at random; the program is told that share.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pysam

from benchmarks.command_line import DATA, parser_of, write_optional
from benchmarks.generation.quality import Cohort
from benchmarks.imputation import panel
from genomai_cli.formats.outputs import atomic_output
from genomai_cli.formats.vcf_rewrite import write_variants
from genomai_cli.population.generation.output import sites
from genomai_cli.population.panel import GRCH37

TITLES = ("genotypes", "replaced", "changed", "of these replaced", "right then")


def main(arguments: Sequence[str] | None = None) -> None:
    """Replace, restore, count."""
    options = parser().parse_args(arguments)
    cohort = Cohort.read(options.data, linked=False)
    row = [f"{number:,}" for number in counts(*denoised(cohort, options))]
    lines = [TITLES, ["---:"] * len(TITLES), row]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    write_optional(options.markdown, text)
    print(text, end="")


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = parser_of(
        __doc__, data=DATA, folds=5, seed=0, set=[], threads=1, runs=panel.RESULTS, markdown=None
    )
    parser.add_argument(
        "--share", type=float, default=0.01, metavar="X", help="that is replaced (%(default)s)"
    )
    return parser


def denoised(
    cohort: Cohort, options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The genotypes (N, S) of the target samples: true, with replaced ones, and restored."""
    target_rows = panel.folds(cohort, options.folds, options.seed)[0]
    folder = options.runs / "fold0"
    model = panel.ancestry_generator(cohort, panel.other_rows(cohort, target_rows), folder, options)
    truth_NS = cohort.samples.alleles[target_rows].sum(axis=1)
    rng = np.random.default_rng([options.seed, 0xE44])
    replaced_NS = rng.random(truth_NS.shape) < options.share
    input_NS = np.where(replaced_NS, (truth_NS + rng.integers(1, 3, truth_NS.shape)) % 3, truth_NS)
    names = {f"person{number}": "." for number in range(len(target_rows))}
    input_N2S = np.stack([input_NS == 2, input_NS > 0], axis=1).astype(np.int8)
    input_vcf, restored_vcf = folder / "replaced.vcf.gz", folder / "restored.vcf.gz"
    with atomic_output(input_vcf) as out:
        write_variants(out, sites(cohort.panel, GRCH37), names, input_N2S, build=GRCH37,
                       contigs={}, source="benchmarks/imputation/replaced.py")  # fmt: skip
    command = ["denoise", "--model", model, "--error-rate", options.share, "--device", "cpu"]
    command += ["--threads", options.threads, "-q", input_vcf, "-o", restored_vcf]
    subprocess.run([sys.executable, "-m", "genomai_cli", *map(str, command)], check=True)
    return truth_NS, input_NS, genotypes(restored_vcf)


def counts(truth_NS: np.ndarray, input_NS: np.ndarray, restored_NS: np.ndarray) -> list[int]:
    """The numbers of genotypes in the columns `TITLES`."""
    replaced_NS, changed_NS = input_NS != truth_NS, restored_NS != input_NS
    masks = (
        replaced_NS,
        changed_NS,
        changed_NS & replaced_NS,
        changed_NS & (restored_NS == truth_NS),
    )
    return [truth_NS.size, *(int(mask.sum()) for mask in masks)]


def genotypes(file: Path) -> np.ndarray:
    """The copies of allele 1 (N, S) of a VCF without missing genotypes."""
    with pysam.VariantFile(str(file)) as records:
        rows = [[sum(call["GT"]) for call in record.samples.values()] for record in records]
    return np.array(rows).T


if __name__ == "__main__":
    main()
