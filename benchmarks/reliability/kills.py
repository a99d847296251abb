"""Commands that are killed at random moments, by SIGKILL, SIGTERM, SIGINT and SIGHUP.

    python -m benchmarks.reliability.kills --count 40

After every kill an output is whole or not there, and what was there before is as it was; the same command then runs to
its end (`--resume` where there is one) and gives the bytes of a run that nobody disturbed; no temporary file is left.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py

from benchmarks.reliability.hostile_bundles import BUNDLES

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MODEL = str(BUNDLES / "transformer-kmers")


@dataclass(frozen=True)
class Job:
    """A command whose output is `output`; `content` is what of it must be the same."""

    name: str
    words: tuple[str, ...]
    output: str
    resumes: bool

    def content(self, folder: Path) -> bytes:
        """The bytes that count: of a bundle its weights, of HDF5 its vectors."""
        target = folder / self.output
        if self.output.endswith(".h5"):
            with h5py.File(target) as file:
                return bytes(file["embeddings"][:].tobytes())
        return (target / "model.safetensors" if target.is_dir() else target).read_bytes()


SMALL = tuple(
    f"--set={setting}"
    for setting in (
        *(
            f"optimization.{one}"
            for one in ("steps=150", "evaluate_every=50", "checkpoint_every=0.05", "batch_size=8")
        ),
        *("network.layers=1", "network.width=16", "network.feed_forward=16"),
    )
)
JOBS = (
    Job(
        "train",
        (
            "train",
            "s.fa",
            "--labels",
            "l.tsv",
            "-o",
            "m",
            "--recipe",
            "sequences",
            "--set=split.folds=1",
            *SMALL,
        ),
        "m",
        True,
    ),
    Job("pretrain", ("pretrain", "s.fa", "--objective", "masked", "-o", "p", *SMALL), "p", True),
    Job("embed", ("embed", "s.fa", "--model", MODEL, "-o", "e.h5"), "e.h5", True),
    Job("classify", ("classify", "s.fa", "--model", MODEL, "-o", "c.tsv"), "c.tsv", False),
    Job("tokenize", ("tokenize", "s.fa", "-o", "t.tsv.gz"), "t.tsv.gz", False),
    Job(
        "augment",
        ("augment", "s.fa", "--mask", "0.2", "--views", "20", "-o", "a.fa"),
        "a.fa",
        False,
    ),
)


def write_inputs(folder: Path) -> None:
    """Some hundred labelled sequences."""
    rng = random.Random(1)
    rows = []
    with (folder / "s.fa").open("w") as file:
        for number in range(200):
            letters, label = (("ACGT", "x"), ("AACG", "y"))[number % 2]
            file.write(f">s{number}\n{''.join(rng.choice(letters) for _ in range(90))}\n")
            rows.append(f"s{number}\t{label}\n")
    (folder / "l.tsv").write_text("sample\tkind\n" + "".join(rows))


def run(
    words: tuple[str, ...], folder: Path, kill_after: float | None = None, by: int = 0
) -> tuple[int, str]:
    """The command's status and messages; killed after so many seconds, if it runs that long."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "genomai_cli", *words]
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment
    )
    if kill_after is not None:
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(by)
    _, messages = process.communicate(timeout=600)
    return process.returncode, messages.decode(errors="replace")


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, counts, faults = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as made:
        undisturbed, expected, seconds = Path(made), {}, {}
        write_inputs(undisturbed)
        for job in JOBS:
            began = time.monotonic()
            status, messages = run(job.words, undisturbed)
            assert status == 0, messages
            seconds[job.name], expected[job.name] = (
                time.monotonic() - began,
                job.content(undisturbed),
            )
        for number in range(options.count):
            job, by = JOBS[number % len(JOBS)], rng.choice(SIGNALS)
            found = killed(
                job, by, rng.uniform(0, seconds[job.name]), undisturbed, expected[job.name], counts
            )
            if found:
                faults += 1
                print(job.name, by.name, found, sep="\t", flush=True)
    told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{options.count} kills of {len(JOBS)} commands ({told}): {faults} faults")


def killed(
    job: Job,
    by: signal.Signals,
    after: float,
    undisturbed: Path,
    expected: bytes,
    counts: "Counter[str]",
) -> str:
    """What is wrong after a kill, nothing if all is well."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in ("s.fa", "l.tsv"):
            shutil.copy(undisturbed / name, folder)
        status, messages = run(job.words, folder, after, by)
        counts["finished before" if status == 0 else by.name] += 1
        if "Traceback" in messages or "unexpected" in messages:
            return f"a traceback: {messages.strip().splitlines()[-1][:200]}"
        if (folder / job.output).exists() and job.content(folder) != expected:
            return "an output that is not whole"
        if status:
            begun = any(folder.glob("*.training")) or any(folder.glob("*.partial"))
            again = (*job.words, "--resume") if job.resumes and begun else job.words
            status, messages = run(again, folder)
            if status:
                again = (*job.words, "--force") if "--force starts over" in messages else job.words
                status, messages = run(again, folder)
            if status:
                return f"does not go on: {messages.strip().splitlines()[-1][:200]}"
        if job.content(folder) != expected:
            return "other bytes than undisturbed"
        left = {path.name for path in folder.iterdir()} - {"s.fa", "l.tsv", job.output}
        return f"left {', '.join(sorted(left))}" if left else ""


if __name__ == "__main__":
    main()
