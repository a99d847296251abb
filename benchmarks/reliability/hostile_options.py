"""Options with values that are none: of every command of `jobs`, every option with hostile numbers, names and paths.

    python -m benchmarks.reliability.hostile_options --count 400

The command must end with status 0, or with one clear line; never with an "unexpected" error, a traceback, a crash, or a
file that is half-written.
"""

import argparse
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.reliability import jobs
from benchmarks.reliability.isolated import load_everything, run

NUMBERS = (
    "0",
    "-1",
    "1",
    "1e308",
    "nan",
    "inf",
    "-inf",
    "99999999999999999999",
    "0x10",
    "",
    " ",
    "٣",
)
NAMES = (
    "no-such-thing", "", ".", "..", "/", "/dev/null", "/dev/full", "/proc/self/mem", "x" * 5000, "\x1b[31m", "a\nb",
    "a=b=c", "a,b,,c", ":", "-", "--", "$\\frac{1}{$", "ä\u2028", "s.fa", "m/model", "[1, 2", "a.b.c=1",
)  # fmt: skip
EXCLUDED_OPTIONS = frozenset(
    ("help", "version", "output", "device")
)  # print and end, or are set here
SECONDS = 60


def options_of(command: str) -> list[Any]:
    """The options of a command, as click knows them."""
    from genomai_cli.cli.app import load_command

    return [
        parameter
        for parameter in load_command(command).params
        if parameter.param_type_name == "option" and parameter.name not in EXCLUDED_OPTIONS
    ]


def hostile_arguments(job: jobs.Job, option: Any, rng: random.Random) -> list[str]:
    """The job's arguments with a hostile value of the option, which replaces the job's own."""
    flag = max(option.opts, key=len)
    remaining, arguments = list(job.arguments), []
    while remaining:
        argument = remaining.pop(0)
        if argument.partition("=")[0] in option.opts:
            if "=" not in argument and not option.is_flag:
                remaining.pop(0)
            continue
        arguments.append(argument)
    if option.is_flag:
        return [*arguments, flag]
    value = rng.choice(rng.choice((NUMBERS, NAMES)))
    return [*arguments, f"{flag}={value}"]


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="how many command lines")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    load_everything()
    rng, endings, faults = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as temporary:
        undisturbed = Path(temporary)
        inputs = jobs.write_inputs(undisturbed)
        for _ in range(options.count):
            job = rng.choice(jobs.JOBS)
            arguments = hostile_arguments(job, rng.choice(options_of(job.arguments[0])), rng)
            with jobs.folder_with(inputs, undisturbed) as folder:
                outcome = run([*arguments, "-o", job.output], limit=SECONDS, folder=folder)
                endings["refused" if outcome.refused else "taken"] += 1
                left_files = {path.name for path in folder.iterdir()} - {*inputs, job.output}
                leftover = (
                    "left " + ", ".join(sorted(left_files)) if outcome.status and left_files else ""
                )
            if fault := outcome.fault(seconds=SECONDS, megabytes=4096) or leftover:
                faults += 1
                last_lines = outcome.stderr.strip().splitlines()[-1:] or [""]
                print(
                    job.name,
                    repr(arguments[-1])[:80],
                    fault,
                    last_lines[0][:200],
                    sep="\t",
                    flush=True,
                )
    print(
        f"{options.count} command lines of {len(jobs.JOBS)} commands: {endings['refused']} refused, "
        f"{endings['taken']} taken, {faults} faults"
    )


if __name__ == "__main__":
    main()
