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
    "a byte changed": lambda data, rng: _changed(data, rng),
    "longer": lambda data, rng: data + rng.randbytes(64),
    "zeros": lambda data, rng: bytes(len(data)),
    "missing": None,
}


def _changed(data: bytes, rng: random.Random) -> bytes:
    content = bytearray(data)
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


FOLDERS = ("train", "pretrain", "embed")


def of_few_steps(job: jobs.Job) -> jobs.Job:
    """The command with a checkpoint at nearly every one of few steps."""
    words = job.words
    for old, new in (("steps=150", "steps=60"), ("every=50", "every=20"), ("=0.05", "=0.0001")):
        words = tuple(word.replace(old, new) for word in words)
    return replace(job, words=words)


def interrupted(job: jobs.Job, folder: Path) -> Path:
    """The folder in which the killed run waits; RuntimeError if it was always over before."""
    for _ in range(5):
        process = subprocess.Popen(job.command(), cwd=folder, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            waiting = [*folder.glob("*.training/*.pt"), *folder.glob("*.partial/*")]
            if any(file.stat().st_size for file in waiting):
                process.send_signal(signal.SIGKILL)
                process.wait()
                return waiting[0].parent
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
    rng, ends, faults = random.Random(options.seed), Counter[str](), 0
    for job in (of_few_steps(job) for job in jobs.JOBS if job.name in FOLDERS):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            jobs.write_sequences(folder)
            expected = jobs.finished(job, folder)
            target = folder / job.output
            shutil.rmtree(target) if target.is_dir() else target.unlink()
            waiting = interrupted(job, folder)
            files = sorted(
                path.relative_to(waiting) for path in waiting.rglob("*") if path.is_file()
            )
            for _ in range(options.count):
                file, how = rng.choice(files), rng.choice([*DAMAGES])
                found, end = damaged(
                    job, folder, waiting.relative_to(folder) / file, how, rng, expected
                )
                ends[end] += 1
                if found:
                    faults += 1
                    print(job.name, file, how, found, sep="\t", flush=True)
    told = ", ".join(f"{count} {name}" for name, count in sorted(ends.items()))
    print(
        f"{sum(ends.values())} damaged folders of {len(FOLDERS)} commands: {told}; {faults} faults"
    )


def damaged(
    job: jobs.Job, folder: Path, file: Path, how: str, rng: random.Random, expected: bytes
) -> tuple[str, str]:
    """What is wrong after the damage of a copy of the folder, nothing if all is well; and how the run ended."""
    with tempfile.TemporaryDirectory() as made:
        copy = Path(made) / "work"
        shutil.copytree(folder, copy)
        change = DAMAGES[how]
        if change is None:
            (copy / file).unlink()
        else:
            (copy / file).write_bytes(change((copy / file).read_bytes(), rng))
        ended = run([*job.words, "-o", job.output, "--resume"], folder=copy)
        last = (ended.stderr.strip().splitlines() or [""])[-1]
        if fault := ended.fault(seconds=60):
            return f"{fault}: {last[:200]}", "faulty"
        if ended.refused:
            named = ".training" in last or ".partial" in last
            return ("" if named else f"names no file: {last[:200]}"), "refused"
        if job.content(copy) == expected:
            return "", "went on to the same bytes"
        return "other bytes than undisturbed", "went on to other bytes"


if __name__ == "__main__":
    main()
