"""Inputs that are broken: files cut and changed at random, hostile names, and those of ../shared/torture.

    python -m benchmarks.reliability.hostile_inputs --count 300

Every command that reads the kind must end with status 0, or with one clear line; never with an "unexpected" error, a
traceback, a crash, or a file that is half-written.
"""

import argparse
import gzip
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability.hostile_bundles import BUNDLES
from benchmarks.reliability.isolated import load_everything, run

REPOSITORY = Path(__file__).parents[2]
TORTURE = REPOSITORY.parent / "shared" / "torture"
EXAMPLES = REPOSITORY / "examples"
SUFFIXES = (".fa", ".fasta", ".fq", ".fastq", ".vcf", ".gz", ".bcf", ".txt", ".bgz")
DNA_MODEL = str(BUNDLES / "transformer-kmers")
COMMANDS = (
    ["tokenize"],
    ["classify"],
    ["classify", "--model", DNA_MODEL],
    ["augment", "--mask", "0.1"],
    ["denoise"],
    ["embed", "--to", "tsv"],
)
NAMES = (
    b"\x1b[31m",
    b"J\xf6rg",
    b"\xe2\x80\xa8",
    b"\x00",
    b"$\\frac{1}{$",
    b"-",
    b"x" * 5000,
    b"\xed\xa0\x80",
    b"..",
)


def intact_files() -> list[tuple[str, bytes]]:
    """The files that are damaged: the repository's examples, the made-up torture files of the tests, and those of
    ../shared."""
    files = [(path.name, path.read_bytes()) for path in sorted(EXAMPLES.glob("samples*"))]
    for folder in sorted(path for path in TORTURE.glob("*") if path.is_dir()):
        files += [
            (path.name, path.read_bytes())
            for path in sorted(folder.iterdir())
            if path.suffix in SUFFIXES and path.stat().st_size < 1 << 20
        ]
    return files


def broken_inputs(
    rng: random.Random, files: list[tuple[str, bytes]]
) -> Iterator[tuple[str, bytes]]:
    """Endless inputs: a file as it is, cut, changed, doubled, compressed and cut, or with a hostile name."""
    while True:
        name, data = rng.choice(files)
        damage = rng.choice(
            ("whole", "cut", "changed", "doubled", "gzip cut", "named", "without ends")
        )
        if damage == "cut":
            data = data[: rng.randrange(len(data) + 1)]
        elif damage == "changed":
            content = bytearray(data)
            for _ in range(rng.randrange(1, 8)):
                if content:
                    content[rng.randrange(len(content))] = rng.randrange(256)
            data = bytes(content)
        elif damage == "doubled":
            data += data
        elif damage == "gzip cut":
            compressed = gzip.compress(data, 1)
            data = compressed[: rng.randrange(1, len(compressed))]
        elif damage == "named":
            data = data.replace(b">", b">" + rng.choice(NAMES)).replace(
                b"\tFORMAT\t", b"\tFORMAT\t" + rng.choice(NAMES)
            )
        elif damage == "without ends":
            data = data.replace(b"\n", b"")
        yield f"{name} {damage}", data


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    load_everything()
    rng, files = random.Random(options.seed), intact_files()
    endings, faults, unfinished_count, slowest, largest = Counter[str](), 0, 0, 0.0, 0.0
    inputs = broken_inputs(rng, files)
    for _ in range(options.count):
        description, data = next(inputs)
        arguments = rng.choice(COMMANDS)
        with tempfile.TemporaryDirectory() as folder:
            input_file, target = Path(folder) / "input", Path(folder) / "out.tsv"
            input_file.write_bytes(data)
            outcome = run([*arguments, input_file, "-o", target])
            endings["refused" if outcome.refused else "taken"] += 1
            slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.megabytes)
            left_files = {path.name for path in Path(folder).iterdir()} - {"input"}
            is_unfinished = left_files != ({"out.tsv"} if outcome.status == 0 else set())
            unfinished_count += is_unfinished
            if (
                fault := outcome.fault(seconds=20)
                or ("left " + ", ".join(sorted(left_files))) * is_unfinished
            ):
                faults += 1
                last_lines = outcome.stderr.strip().splitlines()[-1:] or [""]
                print(description, *arguments, fault, last_lines[0][:160], sep="\t", flush=True)
    print(
        f"{options.count} broken inputs of {len(files)} files: {endings['refused']} refused, {endings['taken']} taken, "
        f"{faults} faults; slowest {slowest:.2f} s, most memory {largest:.0f} MB"
    )


if __name__ == "__main__":
    main()
