"""The same bytes, whatever hash seed, locale, time zone, threads and batches there are, from a file and a pipe.

    python -m benchmarks.reliability.sameness

Every command of `jobs` runs in each of the settings, and its output is compared with that of a plain run. What is
trained on other numbers of threads is told apart: sums of single precision are then shared out otherwise.
"""

import argparse
import gzip
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.reliability import jobs


@dataclass(frozen=True)
class Setting:
    """Differences from a plain run; `only` names the commands it applies to."""

    name: str
    variables: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    only: frozenset[str] = frozenset(job.name for job in jobs.JOBS)
    compressed: bool = False


BATCHED = frozenset({"classify", "classify VCF", "embed", "score", "explain"})
TRAINED = frozenset({"train", "pretrain"})
READS_FASTA = frozenset(job.name for job in jobs.JOBS if "s.fa" in job.arguments) - TRAINED
SETTINGS = (
    Setting("another hash seed", {"PYTHONHASHSEED": "1"}),
    Setting("and another", {"PYTHONHASHSEED": "4294967295"}),
    Setting("the C locale", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    Setting("another time zone", {"TZ": "Pacific/Chatham"}),
    Setting("two threads", {"OMP_NUM_THREADS": "2"}),
    Setting("batches of one", options=("--batch-size", "1"), only=BATCHED),
    Setting("batches of seven", options=("--batch-size", "7"), only=BATCHED),
    Setting("compressed input", only=READS_FASTA, compressed=True),
)


def difference_from_plain(
    job: jobs.Job, setting: Setting, undisturbed: Path, inputs: list[str]
) -> str:
    """How the outcome differs from that of a plain run, empty if it does not."""
    with jobs.folder_with(inputs, undisturbed) as folder:
        if setting.compressed:
            fasta = folder / "s.fa"
            (folder / "s.fa.gz").write_bytes(gzip.compress(fasta.read_bytes()))
            fasta.unlink()
            arguments = tuple(
                "s.fa.gz" if argument == "s.fa" else argument for argument in job.arguments
            )
            job = replace(job, words=arguments)
        status, messages = jobs.run(
            job, folder, None, 0, *setting.options, variables=setting.variables
        )
        if status:
            return f"status {status}: {messages.strip().splitlines()[-1:]}"
        return "" if job.content(folder) == job.content(undisturbed) else "other bytes"


def main() -> None:
    """Print a line a difference, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[job.name for job in jobs.JOBS])
    options = parser.parse_args()
    counts = Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs = jobs.write_inputs(folder)
        for job in jobs.JOBS:
            if options.only not in (None, job.name):
                continue
            jobs.run_to_end(job, folder)
            differences = {
                setting.name: difference_from_plain(job, setting, folder, inputs)
                for setting in SETTINGS
                if job.name in setting.only
            }
            for setting, difference in differences.items():
                counts["other" if difference else "the same"] += 1
                if difference:
                    print(job.name, setting, difference, sep="\t", flush=True)
    print(
        f"{sum(counts.values())} runs of {len(jobs.JOBS)} commands: {counts['the same']} the same bytes, "
        f"{counts['other']} other"
    )


if __name__ == "__main__":
    main()
