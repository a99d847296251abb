"""Many commands at once, for minutes: the same bytes every time, nothing left behind, memory as in the beginning.

    python -m benchmarks.reliability.soak --minutes 10 --parallel 24

Each place runs one command of `jobs` after the other, in a folder of its own. The growth is of the mean over commands
of the most memory that their runs took, in the last third against the first.
"""

import argparse
import os
import random
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reliability import jobs


@dataclass
class Soak:
    """The findings so far: (seconds since the beginning, MB) of the runs of each command, and a line a fault."""

    undisturbed: Path
    inputs: list[str]
    deadline: float
    began: float = field(default_factory=time.monotonic)
    peaks: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self, worker: int) -> None:
        """Run one command after the other until the time is over."""
        rng = random.Random(worker)
        while time.monotonic() < self.deadline:
            job = rng.choice(jobs.JOBS)
            fault, megabytes = self.run_once(job)
            with self.lock:
                self.peaks[job.name].append((time.monotonic() - self.began, megabytes))
                if fault:
                    self.faults.append(f"{job.name}\t{fault}")
                    print(self.faults[-1], flush=True)

    def run_once(self, job: jobs.Job) -> tuple[str, float]:
        """The fault of a run, empty if there is none, and its peak memory in MB."""
        with (
            jobs.folder_with(self.inputs, self.undisturbed) as folder,
            tempfile.TemporaryFile() as messages,
        ):
            process = subprocess.Popen(
                job.command(),
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            status, megabytes = jobs.wait_for(process)
            if status:
                messages.seek(0)
                last_lines = messages.read().decode(errors="replace").strip().splitlines()[-1:]
                return f"status {status}: {' '.join(last_lines)[:200]}", megabytes
            left_files = {path.name for path in folder.iterdir()} - {*self.inputs, job.output}
            if left_files:
                return f"left {', '.join(sorted(left_files))}", megabytes
            same = job.content(folder) == job.content(self.undisturbed)
            return "" if same else "other bytes than alone", megabytes

    def growth(self) -> float:
        """By how many MB the last third of runs took more than the first third."""
        span, increases = time.monotonic() - self.began, []
        for runs in self.peaks.values():
            early = [megabytes for at, megabytes in runs if at < span / 3]
            late = [megabytes for at, megabytes in runs if at > span * 2 / 3]
            if early and late:
                increases.append(sum(late) / len(late) - sum(early) / len(early))
        return sum(increases) / max(1, len(increases))


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--parallel", type=int, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs = jobs.write_inputs(folder)
        for job in jobs.JOBS:
            jobs.run_to_end(job, folder)
        soak = Soak(folder, inputs, time.monotonic() + 60 * options.minutes)
        workers = [threading.Thread(target=soak.work, args=(n,)) for n in range(options.parallel)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        runs = [megabytes for of_job in soak.peaks.values() for _, megabytes in of_job]
        print(
            f"{len(runs)} runs of {len(soak.peaks)} commands, {options.parallel} at once, in "
            f"{(time.monotonic() - soak.began) / 60:.1f} minutes: {len(soak.faults)} faults; "
            f"most memory {max(runs):.0f} MB, growth {soak.growth():.1f} MB"
        )


if __name__ == "__main__":
    main()
