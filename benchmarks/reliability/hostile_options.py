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
LEFT_OUT = frozenset(("help", "version", "output", "device"))  # say nothing, or are set here
SECONDS = 60


def options_of(command: str) -> list[Any]:
    """The options of a command, as click knows them."""
    from genomai_cli.cli.app import load_command

    return [
        parameter
        for parameter in load_command(command).params
        if parameter.param_type_name == "option" and parameter.name not in LEFT_OUT
    ]


def hostile(job: jobs.Job, option: Any, rng: random.Random) -> list[str]:
    """The job's words with the option, in place of where it stands already."""
    spelt = max(option.opts, key=len)
    kept, words = list(job.words), []
    while kept:
        word = kept.pop(0)
        if word.partition("=")[0] in option.opts:
            if "=" not in word and not option.is_flag:
                kept.pop(0)
            continue
        words.append(word)
    if option.is_flag:
        return [*words, spelt]
    value = rng.choice(rng.choice((NUMBERS, NAMES)))
    return [*words, f"{spelt}={value}"]


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="how many command lines")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    load_everything()
    rng, ends, faults = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as made:
        undisturbed = Path(made)
        inputs = jobs.write_inputs(undisturbed)
        for _ in range(options.count):
            job = rng.choice(jobs.JOBS)
            words = hostile(job, rng.choice(options_of(job.words[0])), rng)
            with jobs.folder_with(inputs, undisturbed) as folder:
                ended = run([*words, "-o", job.output], limit=SECONDS, folder=folder)
                ends["refused" if ended.refused else "taken"] += 1
                there = {path.name for path in folder.iterdir()} - {*inputs, job.output}
                half = "left " + ", ".join(sorted(there)) if ended.status and there else ""
            if found := ended.fault(seconds=SECONDS, megabytes=4096) or half:
                faults += 1
                last = ended.stderr.strip().splitlines()[-1:] or [""]
                print(job.name, repr(words[-1])[:80], found, last[0][:200], sep="\t", flush=True)
    print(
        f"{options.count} command lines of {len(jobs.JOBS)} commands: {ends['refused']} refused, "
        f"{ends['taken']} taken, {faults} faults"
    )


if __name__ == "__main__":
    main()
