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

from benchmarks.reliability.jobs import JOBS, Job, folder_with, run, run_to_end, write_inputs

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
    with tempfile.TemporaryDirectory() as temporary:
        undisturbed, seconds = Path(temporary), {}
        inputs = write_inputs(undisturbed)
        for job in jobs:
            began = time.monotonic()
            run_to_end(job, undisturbed)
            seconds[job.name] = time.monotonic() - began
        number = 0
        while number - counts[TOO_LATE] < options.count:
            job, signal_number = jobs[number % len(jobs)], rng.choice(SIGNALS)
            seconds_before = rng.uniform(0, seconds[job.name])
            number += 1
            fault = killed(job, signal_number, seconds_before, undisturbed, inputs, counts)
            if fault:
                faults += 1
                print(
                    job.name,
                    signal_number.name,
                    f"after {seconds_before:.2f} s",
                    fault,
                    sep="\t",
                    flush=True,
                )
    counts_text = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{options.count} kills of {len(jobs)} commands ({counts_text}): {faults} faults")


TOO_LATE = "came too late"


def killed(
    job: Job,
    signal_number: signal.Signals,
    seconds_before: float,
    undisturbed: Path,
    inputs: list[str],
    counts: "Counter[str]",
) -> str:
    """The fault after a kill, empty if there is none."""
    expected = job.content(undisturbed)
    with folder_with(inputs, undisturbed) as folder:
        status, messages = run(job, folder, seconds_before, signal_number)
        counts[TOO_LATE if status == 0 else signal_number.name] += 1
        # A traceback that names no file of the program is Python's own, interrupted while it starts.
        if ("Traceback" in messages and "genomai_cli" in messages) or "unexpected" in messages:
            return f"a traceback: {' | '.join(messages.strip().splitlines()[-5:])[:400]}"
        if (folder / job.output).exists() and job.content(folder) != expected:
            return "an output that is not whole"
        if status:
            has_partial_output = any(folder.glob("*.training")) or any(folder.glob("*.partial"))
            status, messages = run(
                job, folder, None, 0, *["--resume"][: job.resumes and has_partial_output]
            )
            if status:
                # A bundle that was in its place before the kill is whole, and is refused without --force.
                needs_force = "--force starts over" in messages or "--force replaces it" in messages
                force = ["--force"] if needs_force else []
                status, messages = run(job, folder, None, 0, *force)
            if status:
                return f"does not go on: {messages.strip().splitlines()[-1][:200]}"
        if job.content(folder) != expected:
            return "other bytes than undisturbed"
        left_files = {path.name for path in folder.iterdir()} - {*inputs, job.output}
        return f"left {', '.join(sorted(left_files))}" if left_files else ""


if __name__ == "__main__":
    main()
