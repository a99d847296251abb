"""What `genomai score` costs of variants: records a second, processor time and memory, and whether rows are the same.

    python -m benchmarks.speed.variants > benchmarks/speed/variants.tsv
    python -m benchmarks.speed.variants --variants 500 --set network.width=64

Makes a random reference of 5 Mb, SNVs and indels on it in order, and a model with the random weights of a preset;
then runs the program as processes of their own, over the file, from a pipe, and for several batch sizes. The first row
tells what the program costs without variants, which `a_processor_second` leaves out; on idle processors, as many times
as many are scored a second as there are threads.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.command_line import format_number, names, parser_of
from genomai_cli import tokenizers
from genomai_cli.alphabet import BASES
from genomai_cli.backbones.base import complete_config
from genomai_cli.backbones.heads import build_auxiliary
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.bundles.writing import Extras
from genomai_cli.inference.likelihood import HEADS, MASKED, NEXT_TOKEN
from genomai_cli.inputs.sequences import SequenceInput, vocabulary_sizes
from genomai_cli.training import recipe

CONTIGS = 5
INDELS = 0.1  # of the variants, half of them deletions
LONGEST_INDEL = 5
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@dataclass(frozen=True)
class Row:
    """One run of the program; `rows` begins the SHA-256 of what it wrote."""

    model: str
    run: str
    variants: int
    seconds: float
    processor_seconds: float
    a_processor_second: float
    peak_mb: float
    rows: str


def write_task(
    folder: Path, letters: int, variants: int, preset: str, changes: Sequence[str]
) -> None:
    """The reference, all variants, none of them, and the model."""
    rng = np.random.default_rng(0)
    size = letters // CONTIGS
    texts = {f"chr{n + 1}": "".join(rng.choice(list(BASES), size)) for n in range(CONTIGS)}
    records = (f">{name}\n{text}\n" for name, text in texts.items())
    (folder / "reference.fa").write_text("".join(records))
    variants_a_contig = variants // CONTIGS
    lines = [
        line
        for name, text in texts.items()
        for line in variant_lines(name, text, variants_a_contig, rng)
    ]
    (folder / "variants.vcf").write_text(HEADER + "".join(lines))
    (folder / "none.vcf").write_text(HEADER)
    save_model(folder / "model", preset, changes)


def variant_lines(name: str, text: str, count: int, rng: np.random.Generator) -> Iterator[str]:
    """Lines of a VCF, in order of position."""
    for index in np.sort(rng.choice(len(text) - LONGEST_INDEL - 1, count, replace=False)):
        draw, length = rng.random(), int(rng.integers(1, LONGEST_INDEL + 1))
        ref, alt = text[index], str(rng.choice([base for base in BASES if base != text[index]]))
        if draw < INDELS / 2:
            ref, alt = text[index : index + 1 + length], text[index]
        elif draw < INDELS:
            alt = text[index] + "".join(rng.choice(list(BASES), length))
        yield f"{name}\t{index + 1}\t.\t{ref}\t{alt}\t.\t.\t.\n"


def save_model(folder: Path, preset: str, changes: Sequence[str]) -> None:
    """A bundle of the preset's network and head for tokens, not trained."""
    torch.manual_seed(0)
    plan, _ = recipe.read(preset, changes)
    tokenizer = tokenizers.from_config(plan.tokenizer)
    head = next(HEADS[kind] for kind in (NEXT_TOKEN, MASKED) if HEADS[kind] in plan.objectives)
    config = {
        "name": preset,
        "version": "0",
        "description": "not trained",
        "input": {"kind": "sequence"},
        "tokenizer": tokenizer.to_config(),
        "network": complete_config(plan.network | vocabulary_sizes(tokenizer)),
        "members": 1,
        "heads": {},
        "companions": {head: {"kind": "words", "vocabulary": len(tokenizer.vocabulary)}},
        "provenance": {},
    }
    classifier = bundles.build(config, SequenceInput())
    auxiliary = dict(build_auxiliary(config["companions"], classifier.networks[0]).items())
    bundle = Bundle(config, classifier, SequenceInput(), "", auxiliary)
    bundles.save(bundle, folder, Extras(f"# {preset}\n", ""))


def measure(folder: Path, name: str, variants: int, options: Sequence[str]) -> Row:
    """One run; `pipe` reads standard input, `none` no variants."""
    source = folder / ("none.vcf" if name == "none" else "variants.vcf")
    command = [sys.executable, "-m", "genomai_cli", "score", "--model", str(folder / "model")]
    command += [
        "--reference",
        str(folder / "reference.fa"),
        "-o",
        str(folder / "rows.tsv"),
        *options,
    ]
    command += ["-" if name == "pipe" else str(source)]
    began = time.perf_counter()
    with source.open("rb") as handle, (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=handle, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit((folder / "log").read_text())
    digest = hashlib.sha256((folder / "rows.tsv").read_bytes()).hexdigest()[:12]
    processor = usage.ru_utime + usage.ru_stime
    return Row("", name, variants, seconds, processor, 0.0, usage.ru_maxrss / 1024, digest)


def main() -> None:
    """Print the rows as they are measured."""
    parser = parser_of(__doc__, methods=["hyenadna-tiny"], set=[], threads=2)
    parser.add_argument(
        "--letters", type=int, default=5_000_000, metavar="N", help="of the reference"
    )
    parser.add_argument("--variants", type=int, default=10_000, metavar="N")
    parser.add_argument(
        "--runs",
        default="none,file,pipe,batch-1,batch-64,one-thread",
        metavar="NAME,...",
        type=names,
    )
    options = parser.parse_args()
    print("\t".join(field.name for field in fields(Row)), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for preset in options.methods:
            write_task(folder, options.letters, options.variants, preset, options.set)
            for row in rows_of(folder, preset, options):
                print("\t".join(cells(row)), flush=True)


def rows_of(folder: Path, preset: str, options: Namespace) -> Iterator[Row]:
    """A row each run."""
    idle_seconds = 0.0
    for run in options.runs:
        threads = 1 if run == "one-thread" else options.threads
        arguments = ["--threads", str(threads)]
        if run.startswith("batch-"):
            arguments += ["--batch-size", run.removeprefix("batch-")]
        row = measure(folder, run, 0 if run == "none" else options.variants, arguments)
        idle_seconds = row.processor_seconds if run == "none" else idle_seconds
        speed = row.variants / (row.processor_seconds - idle_seconds + 1e-9)
        yield replace(row, model=preset, a_processor_second=speed)


def cells(row: Row) -> Iterator[str]:
    """The row's figures."""
    for value in astuple(row):
        yield format_number(value) if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
