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
ENDINGS = (".fa", ".fasta", ".fq", ".fastq", ".vcf", ".gz", ".bcf", ".txt", ".bgz")
OF_DNA = str(BUNDLES / "transformer-kmers")
COMMANDS = (
    ["tokenize"],
    ["classify"],
    ["classify", "--model", OF_DNA],
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


def whole_files() -> list[tuple[str, bytes]]:
    """What is broken: the repository's examples, the made-up torture files of the tests, and those of ../shared."""
    found = [(path.name, path.read_bytes()) for path in sorted(EXAMPLES.glob("samples*"))]
    for folder in sorted(path for path in TORTURE.glob("*") if path.is_dir()):
        found += [
            (path.name, path.read_bytes())
            for path in sorted(folder.iterdir())
            if path.suffix in ENDINGS and path.stat().st_size < 1 << 20
        ]
    return found


def broken(rng: random.Random, files: list[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Endless inputs: a file as it is, cut, changed, doubled, compressed and cut, or with a hostile name."""
    while True:
        name, data = rng.choice(files)
        how = rng.choice(
            ("whole", "cut", "changed", "doubled", "gzip cut", "named", "without ends")
        )
        if how == "cut":
            data = data[: rng.randrange(len(data) + 1)]
        elif how == "changed":
            content = bytearray(data)
            for _ in range(rng.randrange(1, 8)):
                if content:
                    content[rng.randrange(len(content))] = rng.randrange(256)
            data = bytes(content)
        elif how == "doubled":
            data += data
        elif how == "gzip cut":
            packed = gzip.compress(data, 1)
            data = packed[: rng.randrange(1, len(packed))]
        elif how == "named":
            data = data.replace(b">", b">" + rng.choice(NAMES)).replace(
                b"\tFORMAT\t", b"\tFORMAT\t" + rng.choice(NAMES)
            )
        elif how == "without ends":
            data = data.replace(b"\n", b"")
        yield f"{name} {how}", data


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    load_everything()
    rng, files = random.Random(options.seed), whole_files()
    ends, faults, left, slowest, largest = Counter[str](), 0, 0, 0.0, 0.0
    inputs = broken(rng, files)
    for _ in range(options.count):
        what, data = next(inputs)
        words = rng.choice(COMMANDS)
        with tempfile.TemporaryDirectory() as folder:
            given, target = Path(folder) / "input", Path(folder) / "out.tsv"
            given.write_bytes(data)
            ended = run([*words, given, "-o", target])
            ends["refused" if ended.refused else "taken"] += 1
            slowest, largest = max(slowest, ended.seconds), max(largest, ended.megabytes)
            there = {path.name for path in Path(folder).iterdir()} - {"input"}
            half = there != ({"out.tsv"} if ended.status == 0 else set())
            left += half
            if found := ended.fault(seconds=20) or ("left " + ", ".join(sorted(there))) * half:
                faults += 1
                last = ended.stderr.strip().splitlines()[-1:] or [""]
                print(what, *words, found, last[0][:160], sep="\t", flush=True)
    print(
        f"{options.count} broken inputs of {len(files)} files: {ends['refused']} refused, {ends['taken']} taken, "
        f"{faults} faults; slowest {slowest:.2f} s, most memory {largest:.0f} MB"
    )


if __name__ == "__main__":
    main()
