"""Every file of ../shared/torture, as it is, through the commands that read its kind.

    python -m benchmarks.reliability.torture --commands 1

Status 0 or one clear line, no hang, no half-written output. Each file goes through so many commands, drawn anew
for each (0: all of them).
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reliability.hostile_bundles import BUNDLES
from benchmarks.reliability.hostile_inputs import TORTURE
from benchmarks.reliability.isolated import Outcome, load_everything, run

SECONDS = 20.0
OF_DNA, MASKED = str(BUNDLES / "transformer-kmers"), str(BUNDLES / "masked")
SCORE, MOST_SCORED = ("score", "--model", MASKED), 100_000  # bytes: it reads every base on its own
DIFFUSION = str(BUNDLES / "diffusion-dna")
OF_ANY = (
    ("tokenize",),
    ("tokenize", "--to", "hdf5"),
    ("tokenize", "--to", "fasta"),
    ("tokenize", "--model", "mito"),
    ("classify",),
    ("embed", "--to", "tsv"),
    ("augment", "--mask", "0.1", "--mutate", "0.1"),
    ("denoise",),
)
OF_SEQUENCES = (
    ("tokenize", "--tokenizer", "bytes"),
    ("classify", "--model", OF_DNA),
    ("embed", "--model", OF_DNA, "--to", "hdf5", "--strand", "both"),
    ("augment", "--crop", "0.5", "--revcomp"),
    ("denoise", "--model", DIFFUSION),
    SCORE,
)
OF_VARIANTS = (
    ("tokenize", "--haplotypes"),
    ("classify", "--absent-is-ref"),
    ("classify", "--model", "mito"),
    ("denoise", "--only-present"),
    ("align", "--top", "1"),
)


def torture_files() -> list[Path]:
    """All of them, none where ../shared is not here."""
    return sorted(path for path in TORTURE.glob("*/*") if path.is_file())


def commands_for(path: Path) -> tuple[tuple[str, ...], ...]:
    """Those that read its kind, by its name; what has no known name goes through all."""
    name = path.name.removesuffix(".gz").removesuffix(".bgz")
    if name.endswith((".vcf", ".bcf")):
        return OF_ANY + OF_VARIANTS
    if name.endswith((".fa", ".fasta", ".fas", ".fq", ".fastq")):
        return OF_ANY + OF_SEQUENCES
    return OF_ANY + OF_VARIANTS + OF_SEQUENCES


def tried(path: Path, words: Sequence[str]) -> tuple[Outcome, str]:
    """How the command ended with the file, and what is wrong with that, nothing if all is well."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out"
        ended = run([*words, path, "-o", target], limit=SECONDS)
        there = {file.name for file in Path(folder).iterdir()}
    if found := ended.fault(seconds=SECONDS):
        return ended, found
    whole = there == ({"out"} if ended.status == 0 else set())
    return ended, "" if whole else f"left {', '.join(sorted(there)) or 'no output'}"


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=1, help="of each file; 0 for all")
    parser.add_argument("--files", type=int, default=0, help="so many, drawn at random; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    load_everything()
    rng, ends, faults, slowest, largest = random.Random(options.seed), Counter[str](), 0, 0.0, 0.0
    files = torture_files()
    files = rng.sample(files, min(options.files or len(files), len(files)))
    for path in files:
        commands = commands_for(path)
        if path.stat().st_size > MOST_SCORED:
            commands = tuple(words for words in commands if words != SCORE)
        for words in rng.sample(commands, options.commands or len(commands)):
            ended, found = tried(path, words)
            ends["refused" if ended.refused else "taken"] += 1
            slowest, largest = max(slowest, ended.seconds), max(largest, ended.megabytes)
            if found:
                faults += 1
                last = (ended.stderr.strip().splitlines() or [""])[-1]
                print(path.relative_to(TORTURE), *words, found, last[:160], sep="\t", flush=True)
    print(
        f"{len(files)} files, {sum(ends.values())} runs: {ends['refused']} refused, {ends['taken']} taken, "
        f"{faults} faults; slowest {slowest:.2f} s, most memory {largest:.0f} MB"
    )


if __name__ == "__main__":
    main()
