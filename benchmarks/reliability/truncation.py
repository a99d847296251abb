"""Inputs that are cut: at random places, and at every one of their last bytes.

    python -m benchmarks.reliability.truncation --count 60

A cut is refused, or told in a warning, or lies between two records, where no format without an end can tell; what is
left is a cut that nobody tells.
"""

import argparse
import gzip
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability.hostile_inputs import EXAMPLES
from benchmarks.reliability.isolated import Outcome, load_everything, run
from genomai_cli.formats.bgzf import END_MARKER, compress_block

WARNING = "the last line has no line end"
COLUMNS = ("kind", "cuts", "refused", "warned", "between records", "untold")
BETWEEN_RECORDS = ("VCF", "FASTA", "FASTQ")  # of these a cut at a line end leaves a whole file


def intact_files() -> dict[str, bytes]:
    """The repository's examples in every kind."""
    vcf = gzip.decompress((EXAMPLES / "samples.vcf.gz").read_bytes())
    letters = (EXAMPLES / "samples.fa").read_bytes()
    (title, sequence), *_ = (entry.split(b"\n", 1) for entry in letters.split(b">")[1:])
    line = sequence.replace(b"\n", b"")
    wrapped = b"".join(line[at : at + 60] + b"\n" for at in range(0, len(line), 60))
    return {
        "VCF": vcf,
        "VCF, more fields": vcf.replace(b"\tGT\t", b"\tGT:DP\t").replace(b"|1", b"|1:30"),
        "VCF, gzip": gzip.compress(vcf),
        "VCF, BGZF": compress_block(vcf[:60000]) + END_MARKER,
        "BCF": _bcf(vcf),
        "FASTA": letters,
        "FASTA, wrapped": b">" + title + b"\n" + wrapped,
        "FASTA, gzip": gzip.compress(letters),
        "FASTQ": b"@" + title + b"\n" + line + b"\n+\n" + b"I" * len(line) + b"\n",
    }


def _bcf(vcf: bytes) -> bytes:
    import pysam

    with tempfile.TemporaryDirectory() as temporary:
        text, binary = Path(temporary) / "x.vcf", Path(temporary) / "x.bcf"
        text.write_bytes(vcf)
        with (
            pysam.VariantFile(str(text)) as records,
            pysam.VariantFile(str(binary), "wb", header=records.header) as out,
        ):
            for record in records:
                out.write(record)
        return binary.read_bytes()


def cuts(data: bytes, last: int, count: int, rng: random.Random) -> Iterator[int]:
    """The cuts, as lengths of what remains: at each of the last bytes, and `count` random ones after the first
    bytes."""
    yield from range(len(data) - last, len(data))
    yield from (rng.randrange(200, len(data) - last) for _ in range(count))


def reaction_to(outcome: Outcome, remaining: bytes, data: bytes, kind: str) -> str:
    """The column of `COLUMNS` of this outcome, or a fault; a FASTQ record is complete without its line end, by its
    lengths."""
    if outcome.fault(seconds=20):
        return outcome.fault(seconds=20)
    if outcome.refused:
        return "refused"
    if WARNING in outcome.stderr:
        return "warned"
    at_end = remaining.endswith(b"\n") or (kind == "FASTQ" and data.startswith(remaining + b"\n"))
    between = kind.split(",")[0] in BETWEEN_RECORDS and at_end
    return "between records" if between else "untold"


def main() -> None:
    """Print a row a kind, and every cut that nobody tells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="how many random cuts of each kind")
    parser.add_argument(
        "--last", type=int, default=60, help="bytes at the end, of which every one is cut at"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    load_everything()
    rng, total = random.Random(options.seed), Counter[str]()
    print(*COLUMNS, sep="\t")
    for kind, data in intact_files().items():
        counts = Counter[str]()
        for cut in cuts(data, options.last, options.count, rng):
            with tempfile.TemporaryDirectory() as folder:
                input_file = Path(folder) / "input"
                input_file.write_bytes(data[:cut])
                ended = run(
                    ["tokenize", "--to", "fasta", input_file, "-o", Path(folder) / "out.fa"]
                )
            reaction = reaction_to(ended, data[:cut], data, kind)
            counts[reaction] += 1
            if reaction not in COLUMNS[2:5]:
                print(
                    f"# {kind}: {reaction} at {cut} of {len(data)}: ...{data[max(0, cut - 20) : cut]!r}"
                )
        print(
            kind,
            sum(counts.values()),
            *(counts[name] for name in COLUMNS[2:]),
            sep="\t",
            flush=True,
        )
        total += counts
    print("all", sum(total.values()), *(total[name] for name in COLUMNS[2:]), sep="\t")


if __name__ == "__main__":
    main()
