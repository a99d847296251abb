"""Kills `genomai pretrain` at random moments, again and again, and asks whether the end is the same to the byte.

    python -m benchmarks.pretraining.kill_resume --times 20 --seed 1

Each trial starts a run, kills it with SIGKILL after a random time, resumes it, kills it again, up to `--kills` times,
then lets it finish; its weights must be those of a run that was never disturbed, and its log too (but for the clock).
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SETTINGS = (
    "network.width=32 network.heads=2 network.layers=1 network.feed_forward=64 network.positions=64 "
    "network.dropout=0.1 tokenizer.k=3 optimization.steps=500 optimization.batch_size=16 "
    "optimization.evaluate_every=25 optimization.checkpoint_every=0.05"
)
CLOCKS = ("tokens_per_second", "time")


def main() -> int:
    """Run the trials; the exit status is 0 if all ended the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fasta = folder / "dna.fa"
        letters = rng.choice(list("ACGT"), (8, 6000))
        fasta.write_text("".join(f">s{i}\n{''.join(row)}\n" for i, row in enumerate(letters)))
        began = time.monotonic()
        finish(start(fasta, folder / "whole"))
        seconds = time.monotonic() - began
        expected = outcome(folder / "whole")
        same_count = 0
        for trial in range(options.times):
            output, kills = folder / f"trial{trial}", 0
            while kills < options.kills:
                if output.exists() and kills:
                    break
                shutil.rmtree(output, ignore_errors=True)  # over before it was killed: once more
                kills += killed(start(fasta, output), rng.uniform(0.1, 0.9) * seconds)
            if not output.exists():
                finish(start(fasta, output))
            is_same = outcome(output) == expected
            same_count += is_same
            print(
                f"trial {trial + 1}: killed {kills} times, {'the same' if is_same else 'DIFFERENT'}"
            )
        print(f"{same_count} of {options.times} the same; an undisturbed run takes {seconds:.1f} s")
    return 0 if same_count == options.times else 1


def start(fasta: Path, output: Path) -> "subprocess.Popen[bytes]":
    """The run, begun or gone on with."""
    changes = [argument for change in SETTINGS.split() for argument in ("--set", change)]
    arguments = [
        "pretrain",
        fasta,
        "-o",
        output,
        "--resume",
        "--device",
        "cpu",
        "--threads",
        "1",
        "-q",
    ]
    command = [
        sys.executable,
        "-m",
        "genomai_cli",
        *map(str, arguments),
        *changes,
        "--set",
        "name=x",
    ]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})


def killed(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Whether the process was still running when it was killed."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def finish(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a run that must succeed."""
    if process.wait():
        raise SystemExit("a run failed")


def outcome(folder: Path) -> tuple[str, list[list[str]]]:
    """The digest of the weights, and the log without the columns of the clock."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    header, *rows = (line.split("\t") for line in (folder / "metrics.tsv").read_text().splitlines())
    columns = [number for number, column in enumerate(header) if column not in CLOCKS]
    return digest, [[row[number] for number in columns] for row in rows]


if __name__ == "__main__":
    sys.exit(main())
