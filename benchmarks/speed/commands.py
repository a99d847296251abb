"""How long the commands take, as whole processes: start-up, tokenizing, classifying and aligning 2,504 made-up people.

    python -m benchmarks.speed.commands [--runs 5]

Prints a TSV: command, median and slowest seconds. The people are drawn from the allele frequencies of the
shipped model `ancestry-967`, so that no data are needed; their VCF is phased, bgzipped, 967 sites. The 1,000 phenotype
records are the model's own with some columns left out and their places moved.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from genomai_cli.bundles import catalog
from genomai_cli.formats.outputs import atomic_text
from genomai_cli.population.panel import GRCH37, Panel
from genomai_cli.population.phenotypes import RECORDS as RECORDS_FILE
from genomai_cli.population.phenotypes import read_phenotypes

PEOPLE, RECORDS = 2504, 1000


def write_cohort(path: Path) -> None:
    """A VCF of people of all populations in turn, every allele drawn by itself."""
    folder = catalog.find("ancestry-967")
    panel = Panel.read(folder / catalog.PANEL)
    theta = load_file(folder / catalog.WEIGHTS)["likelihood.theta"]
    frequency = 1 / (1 + np.exp(-theta[np.arange(PEOPLE) % len(theta)]))
    alleles = np.random.default_rng(0).random((2, *frequency.shape)) < frequency
    genotypes = np.char.add(
        np.char.add(alleles[0].astype(int).astype(str), "|"), alleles[1].astype(int).astype(str)
    )
    with atomic_text(path) as out:
        out.write(
            '##fileformat=VCFv4.2\n##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        )
        names = "\t".join(f"person_{number}" for number in range(PEOPLE))
        out.write(f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{names}\n")
        for site in range(len(panel)):
            coordinates = (panel.chrom[site], panel.positions[GRCH37][site], panel.rsid[site])
            fixed_columns = "\t".join(
                map(str, (*coordinates, panel.ref[site], panel.alt[site], ".", "PASS", ".", "GT"))
            )
            out.write(fixed_columns + "\t" + "\t".join(genotypes[:, site]) + "\n")


def write_records(path: Path) -> None:
    """Phenotype records with any of the columns that the model knows, no two the same."""
    table = read_phenotypes(catalog.find("ancestry-967") / RECORDS_FILE)
    rng = np.random.default_rng(0)
    with atomic_text(path) as out:
        out.write("\t".join(["record", *table.columns]) + "\n")
        for number in range(RECORDS):
            values = {name: table.column(name)[number % len(table)] for name in table.columns}
            for name, max_shift in (("latitude", 3.0), ("longitude", 3.0)):
                values[name] = (
                    f"{float(values[name] or 0) + rng.uniform(-max_shift, max_shift):.3f}"
                )
            values["sex"] = (None, "female", "male")[number % 3]
            if number % 3 == 1:
                values["pop"] = None
            if number % 3 == 2:
                values["superpop"] = None
            fields = [value or "." for value in values.values()]
            out.write("\t".join([f"record_{number}", *fields]) + "\n")


def seconds(command: list[str], runs: int) -> list[float]:
    """The wall time of each run, after one that is not counted."""
    durations = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        durations.append(time.perf_counter() - began)
    return durations[1:]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    genomai = [sys.executable, "-m", "genomai_cli"]
    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder) / "cohort.vcf.gz"
        write_cohort(cohort)
        records = Path(folder) / "records.tsv"
        write_records(records)
        align = [*genomai, "align", str(cohort), "--phenotypes", str(records), "--threads", "2"]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
            "genomai --help": [*genomai, "--help"],
            f"genomai tokenize, {PEOPLE:,} people": [*genomai, "tokenize", "--to", "fasta", str(cohort)],
            f"genomai classify, {PEOPLE:,} people": [*genomai, "classify", str(cohort)],
            f"genomai classify --model genomai-v2, {PEOPLE:,} people": [
                *genomai, "classify", "--model", "genomai-v2", str(cohort),
            ],
            f"genomai align, {PEOPLE:,} people and {RECORDS:,} records": align,
            "the same with --attention and --plot": [
                *align, "--attention", f"{folder}/why.h5", "--plot", f"{folder}/why.png",
            ],
        }  # fmt: skip
        print("command\tmedian_seconds\tslowest_seconds")
        for name, command in commands.items():
            durations = seconds(command, runs if "v2" not in name else 1)
            print(f"{name}\t{statistics.median(durations):.2f}\t{max(durations):.2f}", flush=True)


if __name__ == "__main__":
    main()
