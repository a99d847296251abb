"""Memory that one long record takes, by the letter.

    python -m benchmarks.reliability.long_records --letters 60000000

Each command reads a FASTA of one record, of two thirds of the letters and of all of them; the growth between the two,
by letter, is what a record of any length would take (the first 64 MiB of an output are held back on purpose). Of the
record that `embed` reads only the first letters are known: windows of unknown ones cost no network.
"""

import argparse
import random
import tempfile
from pathlib import Path

from benchmarks.reliability.hostile_bundles import BUNDLES
from benchmarks.reliability.isolated import load_everything, run

MODEL = str(BUNDLES / "transformer-kmers")
LINE = 60
COMMANDS = {
    "tokenize": ("tokenize",),
    "tokenize --to hdf5": ("tokenize", "--to", "hdf5"),
    "tokenize --to fasta": ("tokenize", "--to", "fasta"),
    "embed --model": ("embed", "--model", MODEL, "--to", "tsv"),
    "augment --mask": ("augment", "--mask", "0.1"),
    "augment --mutate --crop --revcomp": (
        "augment",
        "--mutate",
        "0.1",
        "--crop",
        "0.9",
        "--revcomp",
    ),
    "denoise": ("denoise",),
}


def write_record(path: Path, letters: int, known: int) -> None:
    """A record of so many letters in lines, of which all behind the first `known` are N."""
    rng = random.Random(letters)
    block = "".join(rng.choices("ACGT", k=LINE * 1000))
    with path.open("w") as file:
        file.write(">long\n")
        for start in range(0, letters, LINE * 1000):
            text = block if start < known else "N" * len(block)
            file.writelines(
                text[start_of_line : start_of_line + LINE] + "\n"
                for start_of_line in range(0, len(text), LINE)
            )


def main() -> None:
    """Print a row a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--letters", type=int, default=120_000_000)
    parser.add_argument("--only", help="commands that begin so")
    options = parser.parse_args()
    load_everything()
    sizes = (options.letters * 2 // 3, options.letters)
    print("command", *(f"MB at {size:,}" for size in sizes), "bytes a letter", "status", sep="\t")
    for name, arguments in COMMANDS.items():
        if options.only and not name.startswith(options.only):
            continue
        peaks, status = [], set[int]()
        for size in sizes:
            with tempfile.TemporaryDirectory() as temporary:
                record = Path(temporary) / "long.fa"
                write_record(record, size, 100_000 if name.startswith("embed") else size)
                outcome = run([*arguments, record, "-o", Path(temporary) / "out"], limit=600)
            peaks.append(outcome.megabytes)
            status.add(outcome.status)
        growth = (peaks[1] - peaks[0]) * 2**20 / (sizes[1] - sizes[0])
        print(
            name, *(f"{peak:.0f}" for peak in peaks), f"{growth:.2f}", *status, sep="\t", flush=True
        )


if __name__ == "__main__":
    main()
