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

from benchmarks.command_line import DATA, parser_of, write_asked
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
    row = [f"{number:,}" for number in counts(*restored(cohort, options))]
    lines = [TITLES, ["---:"] * len(TITLES), row]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    write_asked(options.markdown, text)
    print(text, end="")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = parser_of(
        __doc__, data=DATA, folds=5, seed=0, set=[], threads=1, runs=panel.KEPT, markdown=None
    )
    made.add_argument(
        "--share", type=float, default=0.01, metavar="X", help="that is replaced (%(default)s)"
    )
    return made


def restored(
    cohort: Cohort, options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The genotypes (N, S) of the people as they are, as they are shown, and as they are restored."""
    part = panel.folds(cohort, options.folds, options.seed)[0]
    folder = options.runs / "fold0"
    model = panel.generator_of(cohort, panel.everybody_else(cohort, part), folder, options)
    truth_NS = cohort.samples.alleles[part].sum(axis=1)
    rng = np.random.default_rng([options.seed, 0xE44])
    wrong_NS = rng.random(truth_NS.shape) < options.share
    shown_NS = np.where(wrong_NS, (truth_NS + rng.integers(1, 3, truth_NS.shape)) % 3, truth_NS)
    names = {f"person{number}": "." for number in range(len(part))}
    shown_N2S = np.stack([shown_NS == 2, shown_NS > 0], axis=1).astype(np.int8)
    shown, found = folder / "replaced.vcf.gz", folder / "restored.vcf.gz"
    with atomic_output(shown) as out:
        write_variants(out, sites(cohort.panel, GRCH37), names, shown_N2S, build=GRCH37,
                       contigs={}, source="benchmarks/imputation/replaced.py")  # fmt: skip
    command = ["denoise", "--model", model, "--error-rate", options.share, "--device", "cpu"]
    command += ["--threads", options.threads, "-q", shown, "-o", found]
    subprocess.run([sys.executable, "-m", "genomai_cli", *map(str, command)], check=True)
    return truth_NS, shown_NS, genotypes(found)


def counts(truth_NS: np.ndarray, shown_NS: np.ndarray, found_NS: np.ndarray) -> list[int]:
    """As `TITLES` say."""
    replaced_NS, changed_NS = shown_NS != truth_NS, found_NS != shown_NS
    masks = (replaced_NS, changed_NS, changed_NS & replaced_NS, changed_NS & (found_NS == truth_NS))
    return [truth_NS.size, *(int(mask.sum()) for mask in masks)]


def genotypes(file: Path) -> np.ndarray:
    """The copies of allele 1 (N, S) of a VCF without missing genotypes."""
    with pysam.VariantFile(str(file)) as records:
        rows = [[sum(call["GT"]) for call in record.samples.values()] for record in records]
    return np.array(rows).T


if __name__ == "__main__":
    main()
