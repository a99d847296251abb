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
DNA_MODEL, MASKED_MODEL = str(BUNDLES / "transformer-kmers"), str(BUNDLES / "masked")
SCORE, MAX_SCORED_BYTES = (
    ("score", "--model", MASKED_MODEL),
    100_000,
)  # bytes: it reads every base on its own
DIFFUSION_MODEL = str(BUNDLES / "diffusion-dna")
COMMON_COMMANDS = (
    ("tokenize",),
    ("tokenize", "--to", "hdf5"),
    ("tokenize", "--to", "fasta"),
    ("tokenize", "--model", "mito"),
    ("classify",),
    ("embed", "--to", "tsv"),
    ("augment", "--mask", "0.1", "--mutate", "0.1"),
    ("denoise",),
)
SEQUENCE_COMMANDS = (
    ("tokenize", "--tokenizer", "bytes"),
    ("classify", "--model", DNA_MODEL),
    ("embed", "--model", DNA_MODEL, "--to", "hdf5", "--strand", "both"),
    ("augment", "--crop", "0.5", "--revcomp"),
    ("denoise", "--model", DIFFUSION_MODEL),
    SCORE,
)
VARIANT_COMMANDS = (
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
    """The commands that read files of this kind, by the name; all of them for unknown names."""
    name = path.name.removesuffix(".gz").removesuffix(".bgz")
    if name.endswith((".vcf", ".bcf")):
        return COMMON_COMMANDS + VARIANT_COMMANDS
    if name.endswith((".fa", ".fasta", ".fas", ".fq", ".fastq")):
        return COMMON_COMMANDS + SEQUENCE_COMMANDS
    return COMMON_COMMANDS + VARIANT_COMMANDS + SEQUENCE_COMMANDS


def run_on_file(path: Path, arguments: Sequence[str]) -> tuple[Outcome, str]:
    """How the command ended with the file, and what is wrong with that, nothing if all is well."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out"
        outcome = run([*arguments, path, "-o", target], limit=SECONDS)
        files = {file.name for file in Path(folder).iterdir()}
    if fault := outcome.fault(seconds=SECONDS):
        return outcome, fault
    is_complete = files == ({"out"} if outcome.status == 0 else set())
    return outcome, "" if is_complete else f"left {', '.join(sorted(files)) or 'no output'}"


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=1, help="of each file; 0 for all")
    parser.add_argument("--files", type=int, default=0, help="so many, drawn at random; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    load_everything()
    rng, endings, faults, slowest, largest = (
        random.Random(options.seed),
        Counter[str](),
        0,
        0.0,
        0.0,
    )
    files = torture_files()
    files = rng.sample(files, min(options.files or len(files), len(files)))
    for path in files:
        commands = commands_for(path)
        if path.stat().st_size > MAX_SCORED_BYTES:
            commands = tuple(arguments for arguments in commands if arguments != SCORE)
        for arguments in rng.sample(commands, options.commands or len(commands)):
            outcome, fault = run_on_file(path, arguments)
            endings["refused" if outcome.refused else "taken"] += 1
            slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.megabytes)
            if fault:
                faults += 1
                last_line = (outcome.stderr.strip().splitlines() or [""])[-1]
                print(
                    path.relative_to(TORTURE),
                    *arguments,
                    fault,
                    last_line[:160],
                    sep="\t",
                    flush=True,
                )
    print(
        f"{len(files)} files, {sum(endings.values())} runs: {endings['refused']} refused, {endings['taken']} taken, "
        f"{faults} faults; slowest {slowest:.2f} s, most memory {largest:.0f} MB"
    )


if __name__ == "__main__":
    main()
