"""Folders of interrupted runs that are damaged, and then resumed.

    python -m benchmarks.reliability.damaged_folders --count 60

A `pretrain`, a `train` and an `embed` are killed when their folder holds something to go on from. Then one file
of it is damaged, and the run resumed: it must end with one line that names a path, or give the bytes of an undisturbed
run.
"""

import argparse
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.reliability import jobs
from benchmarks.reliability.isolated import load_everything, run

Damage = Callable[[bytes, random.Random], bytes]
DAMAGES: dict[str, Damage | None] = {
    "empty": lambda data, rng: b"",
    "cut": lambda data, rng: data[: rng.randrange(len(data))] if data else b"",
    "cut by 8": lambda data, rng: data[:-8],
    "random": lambda data, rng: rng.randbytes(len(data)),
    "a byte changed": lambda data, rng: _flip_bit(data, rng),
    "longer": lambda data, rng: data + rng.randbytes(64),
    "zeros": lambda data, rng: bytes(len(data)),
    "missing": None,
}


def _flip_bit(data: bytes, rng: random.Random) -> bytes:
    content = bytearray(data)
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


FOLDERS = ("train", "pretrain", "embed")


def with_few_steps(job: jobs.Job) -> jobs.Job:
    """The command with a checkpoint at nearly every one of few steps."""
    arguments = job.arguments
    for old, new in (("steps=150", "steps=60"), ("every=50", "every=20"), ("=0.05", "=0.0001")):
        arguments = tuple(argument.replace(old, new) for argument in arguments)
    return replace(job, words=arguments)


def run_interrupted(job: jobs.Job, folder: Path) -> Path:
    """The folder of unfinished work of a run that was killed; RuntimeError if every run ended before."""
    for _ in range(5):
        process = subprocess.Popen(job.command(), cwd=folder, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            unfinished = [*folder.glob("*.training/*.pt"), *folder.glob("*.partial/*")]
            if any(file.stat().st_size for file in unfinished):
                process.send_signal(signal.SIGKILL)
                process.wait()
                return unfinished[0].parent
            time.sleep(0.002)
        target = folder / job.output
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    raise RuntimeError(f"{job.name} was over before it could be killed")


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--count", type=int, default=40, help="how many damages of each command's folder"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    load_everything()
    rng, endings, faults = random.Random(options.seed), Counter[str](), 0
    for job in (with_few_steps(job) for job in jobs.JOBS if job.name in FOLDERS):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            jobs.write_sequences(folder)
            expected = jobs.run_to_end(job, folder)
            target = folder / job.output
            shutil.rmtree(target) if target.is_dir() else target.unlink()
            run_folder = run_interrupted(job, folder)
            files = sorted(
                path.relative_to(run_folder) for path in run_folder.rglob("*") if path.is_file()
            )
            for _ in range(options.count):
                file, damage = rng.choice(files), rng.choice([*DAMAGES])
                fault, ending = damage_and_resume(
                    job, folder, run_folder.relative_to(folder) / file, damage, rng, expected
                )
                endings[ending] += 1
                if fault:
                    faults += 1
                    print(job.name, file, damage, fault, sep="\t", flush=True)
    counts_text = ", ".join(f"{count} {name}" for name, count in sorted(endings.items()))
    print(
        f"{sum(endings.values())} damaged folders of {len(FOLDERS)} commands: {counts_text}; {faults} faults"
    )


def damage_and_resume(
    job: jobs.Job, folder: Path, file: Path, damage: str, rng: random.Random, expected: bytes
) -> tuple[str, str]:
    """The fault after resuming a damaged copy of the folder, empty if there is none; and how the run ended."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "work"
        shutil.copytree(folder, copy)
        change = DAMAGES[damage]
        if change is None:
            (copy / file).unlink()
        else:
            (copy / file).write_bytes(change((copy / file).read_bytes(), rng))
        outcome = run([*job.arguments, "-o", job.output, "--resume"], folder=copy)
        last_line = (outcome.stderr.strip().splitlines() or [""])[-1]
        if fault := outcome.fault(seconds=60):
            return f"{fault}: {last_line[:200]}", "faulty"
        if outcome.refused:
            names_file = ".training" in last_line or ".partial" in last_line
            return ("" if names_file else f"names no file: {last_line[:200]}"), "refused"
        if job.content(copy) == expected:
            return "", "went on to the same bytes"
        return "other bytes than undisturbed", "went on to other bytes"


if __name__ == "__main__":
    main()
