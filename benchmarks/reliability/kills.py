"""Commands that are killed at random moments, by SIGKILL, SIGTERM, SIGINT and SIGHUP.

    python -m benchmarks.reliability.kills --count 200

After every kill an output is whole or not there, and what was there before is as it was; the same command then runs to
its end (`--resume` where there is one) and gives the bytes of a run that nobody disturbed; no temporary file is left.
"""

import argparse
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.reliability.jobs import JOBS, Job, finished, folder_with, run, write_inputs

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=32, help="how many kills")
    parser.add_argument("--only", choices=[job.name for job in JOBS])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    jobs = [job for job in JOBS if options.only in (None, job.name)]
    rng, counts, faults = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as made:
        undisturbed, seconds = Path(made), {}
        inputs = write_inputs(undisturbed)
        for job in jobs:
            began = time.monotonic()
            finished(job, undisturbed)
            seconds[job.name] = time.monotonic() - began
        number = 0
        while number - counts[TOO_LATE] < options.count:
            job, by = jobs[number % len(jobs)], rng.choice(SIGNALS)
            after = rng.uniform(0, seconds[job.name])
            number += 1
            found = killed(job, by, after, undisturbed, inputs, counts)
            if found:
                faults += 1
                print(job.name, by.name, f"after {after:.2f} s", found, sep="\t", flush=True)
    told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{options.count} kills of {len(jobs)} commands ({told}): {faults} faults")


TOO_LATE = "came too late"


def killed(
    job: Job,
    by: signal.Signals,
    after: float,
    undisturbed: Path,
    inputs: list[str],
    counts: "Counter[str]",
) -> str:
    """What is wrong after a kill, nothing if all is well."""
    expected = job.content(undisturbed)
    with folder_with(inputs, undisturbed) as folder:
        status, messages = run(job, folder, after, by)
        counts[TOO_LATE if status == 0 else by.name] += 1
        # A traceback that names no file of the program is Python's own, interrupted while it starts.
        if ("Traceback" in messages and "genomai_cli" in messages) or "unexpected" in messages:
            return f"a traceback: {' | '.join(messages.strip().splitlines()[-5:])[:400]}"
        if (folder / job.output).exists() and job.content(folder) != expected:
            return "an output that is not whole"
        if status:
            begun = any(folder.glob("*.training")) or any(folder.glob("*.partial"))
            status, messages = run(job, folder, None, 0, *["--resume"][: job.resumes and begun])
            if status:
                # A bundle that was in its place before the kill is whole, and is refused without --force.
                over = "--force starts over" in messages or "--force replaces it" in messages
                start_over = ["--force"] if over else []
                status, messages = run(job, folder, None, 0, *start_over)
            if status:
                return f"does not go on: {messages.strip().splitlines()[-1][:200]}"
        if job.content(folder) != expected:
            return "other bytes than undisturbed"
        left = {path.name for path in folder.iterdir()} - {*inputs, job.output}
        return f"left {', '.join(sorted(left))}" if left else ""


if __name__ == "__main__":
    main()
