"""A million records through a pipe: the time and the most memory, beside those of a tenth of them.

    python -m benchmarks.reliability.streams --records 1000000

Flat memory is that of a tenth, and a little: what grows is told in bytes a record. Rows that come out are counted.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO

from benchmarks.reliability import jobs
from benchmarks.reliability.hostile_bundles import BUNDLES

DNA_MODEL = str(BUNDLES / "transformer-kmers")
BATCH = 1000  # records
CALLS = "\t.\t.\t.\tGT\t0|1\t1|1\n"
SITES = BUNDLES / "sites"
HEADER = (
    '##fileformat=VCFv4.2\n##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\tS2\n"
)
COMMANDS = {
    "tokenize": ("FASTA", ("tokenize",)),
    "tokenize --to fasta": ("FASTA", ("tokenize", "--to", "fasta")),
    "augment": ("FASTA", ("augment", "--mask", "0.1", "--revcomp")),
    "denoise": ("FASTA", ("denoise",)),
    "classify": ("FASTA", ("classify", "--model", DNA_MODEL)),
    "embed": ("FASTA", ("embed", "--model", DNA_MODEL, "--to", "tsv")),
    "classify VCF": ("VCF", ("classify", "--model", str(SITES))),
    "denoise VCF": ("VCF", ("denoise", "--model", str(BUNDLES / "denoiser"))),
    "tokenize VCF": ("VCF", ("tokenize", "--haplotypes", "--model", str(SITES))),
}


def fasta(records: int) -> Iterator[str]:
    """Records of 40 letters."""
    rng = random.Random(0)
    letters = "".join(rng.choices("ACGT", k=10_000))
    for start in range(0, records, BATCH):
        numbers = range(start, min(start + BATCH, records))
        yield "".join(f">r{n}\n{letters[n % 9000 : n % 9000 + 40]}\n" for n in numbers)


def vcf(records: int) -> Iterator[str]:
    """Records of two samples, those of the panel's sites first on their chromosomes."""
    sites: dict[str, list[list[str]]] = {}
    for line in (SITES / "panel.tsv").read_text().splitlines()[1:]:
        chrom, position, _, _, ref, alt = line.split("\t")[:6]
        sites.setdefault(chrom, []).append([chrom, position, ".", ref, alt])
    yield HEADER
    records_a_contig = records // len(sites)
    for chrom, rows in sites.items():
        rows.sort(key=lambda row: int(row[1]))
        yield "".join("\t".join(row) + CALLS for row in rows)
        first_position = int(rows[-1][1]) + 1
        for start in range(0, records_a_contig, BATCH):
            numbers = range(
                first_position + start, first_position + min(start + BATCH, records_a_contig)
            )
            yield "".join(f"{chrom}\t{n}\t.\tA\tG{CALLS}" for n in numbers)


KINDS = {"FASTA": fasta, "VCF": vcf}


def run(kind: str, arguments: tuple[str, ...], records: int) -> tuple[int, float, float, int]:
    """The command's status, seconds, most memory in MB, and lines of output; its standard input is a pipe."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "genomai_cli", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = threading.Thread(target=_feed, args=(process.stdin, kind, records))
        feeder.start()
        lines = sum(1 for _ in process.stdout)
        feeder.join()
        status, megabytes = jobs.wait_for(process)
        if status:
            messages.seek(0)
            print(messages.read().decode(errors="replace")[-300:], file=sys.stderr)
    return status, time.monotonic() - began, megabytes, lines


def _feed(target: IO[bytes], kind: str, records: int) -> None:
    try:
        for text in KINDS[kind](records):
            target.write(text.encode())
        target.close()
    except BrokenPipeError:
        pass  # its status says so


def main() -> None:
    """Print a row a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--only", choices=COMMANDS)
    options = parser.parse_args()
    sizes = (options.records // 10, options.records)
    columns = (f"MB at {size:,}" for size in sizes)
    print("command", "records a second", *columns, "bytes a record", "lines", "status", sep="\t")
    for name, (kind, arguments) in COMMANDS.items():
        if options.only in (None, name):
            (_, _, small_peak, _), (status, seconds, large_peak, lines) = (
                run(kind, arguments, size) for size in sizes
            )
            growth = (large_peak - small_peak) * 2**20 / (sizes[1] - sizes[0])
            rate = options.records / seconds
            print(
                name,
                f"{rate:.0f}",
                f"{small_peak:.0f}",
                f"{large_peak:.0f}",
                f"{growth:.1f}",
                lines,
                status,
                sep="\t",
                flush=True,
            )


if __name__ == "__main__":
    main()
