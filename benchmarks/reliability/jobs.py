"""Small runs of every command that works for a while, and what of their outputs must always be the same bytes."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py

from benchmarks.reliability.hostile_bundles import BUNDLES

MODEL = str(BUNDLES / "transformer-kmers")
COHORT = str(BUNDLES / "denoiser")
PEOPLE = 400
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


@dataclass(frozen=True)
class Job:
    """A command with its `-o OUTPUT`; `resumes` if it has `--resume`."""

    name: str
    arguments: tuple[str, ...]
    output: str
    resumes: bool = False

    def command(self) -> list[str]:
        """The command line, to be run in the folder of the inputs."""
        return [sys.executable, "-m", "genomai_cli", *self.arguments, "-o", self.output]

    def content(self, folder: Path) -> bytes:
        """The bytes that count: of a bundle its weights, of HDF5 its arrays."""
        target = folder / self.output
        if self.output.endswith(".h5"):
            return _arrays(target)
        return (target / "model.safetensors" if target.is_dir() else target).read_bytes()


def _arrays(path: Path) -> bytes:
    contents: list[bytes] = []

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            contents.append(f"{name} {item.shape} {item[...].tolist()}".encode())

    with h5py.File(path) as file:
        file.visititems(collect)
    return b"\n".join(contents)


JOBS = (
    Job(
        "train",
        ("train", "s.fa", "--labels", "l.tsv", "--recipe=sequences", "--set=split.folds=1", *SMALL),
        "m",
        resumes=True,
    ),
    Job("pretrain", ("pretrain", "s.fa", "--objective=masked", *SMALL), "p", resumes=True),
    Job("embed", ("embed", "s.fa", "--model", MODEL), "e.h5", resumes=True),
    Job("score", ("score", "s.fa", "--model", str(BUNDLES / "masked")), "sc.tsv", resumes=True),
    Job("classify", ("classify", "s.fa", "--model", MODEL), "c.tsv"),
    Job("classify VCF", ("classify", "p.vcf.gz", "--model", str(BUNDLES / "sites")), "pc.tsv"),
    Job("explain", ("explain", "s.fa", "--model", MODEL, "--method", "gradient"), "x.h5"),
    Job("tokenize", ("tokenize", "s.fa"), "t.tsv.gz"),
    Job("tokenize to HDF5", ("tokenize", "s.fa", "--to", "hdf5"), "t.h5"),
    Job("augment", ("augment", "s.fa", "--mask", "0.2", "--views", "20"), "a.fa"),
    Job("denoise", ("denoise", "s.fa", "--model", str(BUNDLES / "diffusion-dna")), "d.fa"),
    Job("denoise VCF", ("denoise", "p.vcf.gz", "--model", COHORT), "pd.vcf.gz"),
    Job("generate", ("generate", "-n", "300", "--model", COHORT, "--to", "vcf"), "g.vcf.gz"),
    Job(
        "generate DNA",
        ("generate", "-n", "40", "--model", str(BUNDLES / "diffusion-dna")),
        "g.fa",
    ),
    Job("align", ("align", "p.vcf.gz", "--model", str(BUNDLES / "attached")), "al.tsv"),
    Job(
        "evaluate",
        ("evaluate", "--task", "generation", "p.vcf.gz", "q.vcf.gz"),
        "ev.tsv",
    ),
)


def write_sequences(folder: Path) -> list[str]:
    """Some hundred labelled sequences, by their files' names."""
    rng = random.Random(1)
    rows = []
    with (folder / "s.fa").open("w") as file:
        for number in range(200):
            letters, label = (("ACGTN", "x"), ("AACGN", "y"))[number % 2]
            text = "".join(rng.choices(letters, (9, 9, 9, 9, 1), k=90))
            file.write(f">s{number}\n{text}\n")
            rows.append(f"s{number}\t{label}\n")
    (folder / "l.tsv").write_text("sample\tkind\n" + "".join(rows))
    return ["s.fa", "l.tsv"]


def write_inputs(folder: Path) -> list[str]:
    """The inputs of all commands: sequences, and made-up people; their names."""
    seed_of_file = {"p.vcf.gz": "1", "q.vcf.gz": "2"}
    for name, seed in seed_of_file.items():
        arguments = (
            "generate",
            "-n",
            str(PEOPLE),
            "--model",
            COHORT,
            "--to",
            "vcf",
            "--seed",
            seed,
        )
        run_to_end(Job("people", arguments, name), folder)
    return [*write_sequences(folder), *seed_of_file]


@contextmanager
def folder_with(inputs: list[str], source: Path) -> Iterator[Path]:
    """A new folder with copies of these files of the folder `source`."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in inputs:
            shutil.copy(source / name, temporary)
        yield Path(temporary)


def run_to_end(job: Job, folder: Path) -> bytes:
    """The content of the output of a run; AssertionError with its messages if it fails."""
    status, messages = run(job, folder)
    assert status == 0, messages
    return job.content(folder)


def run(
    job: Job,
    folder: Path,
    kill_after: float | None = None,
    signal_number: int = 0,
    *extra_arguments: str,
    variables: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """The command's status and messages; killed after so many seconds, if it runs that long."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | dict(variables or {})
    process = subprocess.Popen(
        [*job.command(), *extra_arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    if kill_after is not None:
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal_number)
    _, messages = process.communicate(timeout=600)
    return process.returncode, messages.decode(errors="replace")


def wait_for(process: "subprocess.Popen[bytes]") -> tuple[int, float]:
    """Wait for a process: its status, and its peak memory in MB."""
    _, wait_status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(wait_status)
    return process.returncode, usage.ru_maxrss / 1024
