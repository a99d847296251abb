"""Bytes that nobody thought of: hypothesis, or atheris where it is installed, on whatever reads bytes of strangers.

    python -m benchmarks.reliability.fuzz --minutes 10
    python -m benchmarks.reliability.fuzz --minutes 10 --engine atheris --only tables

Every target may refuse its input with a `GenomaiError`, and nothing else. hypothesis changes whole files a little and
shrinks what fails; atheris is led by the code that an input reaches.
"""

import argparse
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.reliability.hostile_bundles import BUNDLES
from benchmarks.reliability.truncation import intact_files

MODEL = BUNDLES / "transformer-kmers"
PANEL = "chrom\tpos_grch37\tpos_grch38\tref\talt\n1\t100\t.\tG\tT\n1\t200\t.\tA\tC\n20\t14370\t.\tG\tA\n"
TABLE = b'sample\tkind\tage\na\tx\t3\nb\ty\t.\nc\t"z"\t-1e5\n'
RAW = b"# rsid\tchromosome\tposition\tgenotype\nrs1\t1\t100\tGT\nrs2\t1\t200\tAA\nrs3\tMT\t7\tC\n"
MAX_BYTES = 1 << 16  # bytes of an input


@contextmanager
def temporary_file(data: bytes, name: str = "input") -> Iterator[Path]:
    """A file with these bytes."""
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if os.path.isdir("/dev/shm") else None
    ) as temporary:
        path = Path(temporary) / name
        path.write_bytes(data)
        yield path


def records(data: bytes) -> None:
    """Any input, to its end."""
    from genomai_cli.formats.fasta import read_sequences
    from genomai_cli.formats.streams import open_input
    from genomai_cli.formats.vcf import read_variants

    with temporary_file(data) as path, open_input(path) as source:
        for _ in (
            read_variants(source, with_fields=True).records
            if source.has_variants
            else read_sequences(source)
        ):
            pass


def entries(data: bytes) -> None:
    """FASTA as it is written: the entries joined are the input."""
    from genomai_cli.formats.fasta import read_entries
    from genomai_cli.formats.kinds import Kind
    from genomai_cli.formats.streams import open_input

    with temporary_file(data) as path, open_input(path) as source:
        if source.kind is Kind.FASTA:
            joined = b"".join(entry.raw for entry in read_entries(source))
            assert source.compression != "plain" or joined == data.removeprefix(b"\xef\xbb\xbf")


def barcodes(data: bytes) -> None:
    """Samples at the sites of a panel."""
    from genomai_cli.formats.streams import open_input
    from genomai_cli.population.barcode import read_barcodes
    from genomai_cli.population.panel import Panel

    with (
        temporary_file(PANEL.encode(), "panel.tsv") as panel,
        temporary_file(data) as path,
        open_input(path) as source,
    ):
        if source.has_variants:
            for record in read_barcodes([source], Panel.read(panel), likelihoods=True).records():
                assert len(record.sequence) == 3


def tokenizers(data: bytes) -> None:
    """Every tokenizer on any text: as many tokens as it says, in one piece or several, and back where it can."""
    from genomai_cli.tokenizers import from_config

    text = data.decode("latin-1")
    for config in (
        {"kind": "characters"},
        {"kind": "iupac"},
        {"kind": "kmers", "k": 3},
        {"kind": "symmetric", "k": 3},
    ):
        tokenizer = from_config(config)
        ids = tokenizer.encode(text)
        assert len(ids) == tokenizer.length(len(text))
        if tokenizer.can_decode:
            assert len(tokenizer.decode(ids)) in (len(text), 0)


def tables(data: bytes) -> None:
    """Labels, and sequences in a column."""
    from genomai_cli.formats import tables as read

    table = read.parse_table(data, "input")
    column = read.sequence_column(table)
    if column is not None:
        list(read.sequences_of(table, column))
    read.labels_of(table)


def panels(data: bytes) -> None:
    """A panel's file."""
    from genomai_cli.population.panel import Panel

    with temporary_file(data, "panel.tsv") as path:
        Panel.read(path)


def bundles(data: bytes) -> None:
    """A bundle with this config."""
    import torch

    from genomai_cli.bundles import bundle

    with temporary_file(data, "config.json") as path:
        (path.parent / "model.safetensors").write_bytes((MODEL / "model.safetensors").read_bytes())
        bundle.load(str(path.parent), torch.device("cpu"))


def weights(data: bytes) -> None:
    """A bundle with these weights."""
    import torch

    from genomai_cli.bundles import bundle

    with temporary_file(data, "model.safetensors") as path:
        (path.parent / "config.json").write_bytes((MODEL / "config.json").read_bytes())
        bundle.load(str(path.parent), torch.device("cpu"))


def checkpoints(data: bytes) -> None:
    """A file of torch.save."""
    from genomai_cli.bundles.stored import bundle_errors
    from genomai_cli.bundles.torch_archive import TorchArchive

    with temporary_file(data, "x.pt") as path, bundle_errors(path):
        archive = TorchArchive([path])
        for name in archive.keys():  # noqa: SIM118
            archive.tensor(name)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        records,
        entries,
        barcodes,
        tokenizers,
        tables,
        panels,
        bundles,
        weights,
        checkpoints,
    )
}


def seeds(name: str) -> list[bytes]:
    """Whole inputs of a target, which are changed."""
    if name == "tables":
        return [TABLE, TABLE.replace(b"\t", b","), b"sequence,label\nACGT,1\nGGCC,0\n", RAW]
    if name == "panels":
        return [PANEL.encode()]
    if name == "bundles":
        return [
            (BUNDLES / bundle / "config.json").read_bytes()
            for bundle in ("transformer-kmers", "masked", "lineages")
        ]
    if name == "weights":
        return [(MODEL / "model.safetensors").read_bytes()]
    if name == "checkpoints":
        return [_checkpoint()]
    return [
        *(data[:6000] if kind == "VCF" else data for kind, data in intact_files().items()),
        RAW,
        SMALL_VCF,
    ]


SMALL_VCF = (
    b"##fileformat=VCFv4.2\n##contig=<ID=1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\tS2\n"
    b"1\t100\t.\tG\tT\t.\tPASS\tEND=120\tGT:DP:GQ:PL:PS\t0/1:3:9:3,0,9:1\t1|1:.:.:.:.\n1\t200\t.\tA\tC,<*>\t.\tq\t.\tGT:GL\t./.:0,-1,-2,-1,-2,-3\t2:.\n"
)


def _checkpoint() -> bytes:
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(
        {"state_dict": {"a.weight": torch.ones(2, 3), "b": torch.zeros(4)}, "step": 3, "name": "x"},
        buffer,
    )
    return buffer.getvalue()


def refused_well(target: Callable[[bytes], None], data: bytes) -> None:
    """Let the target read the data; only what is no refusal gets out."""
    from genomai_cli.errors import GenomaiError

    with suppress(GenomaiError):
        target(data[:MAX_BYTES])


def by_hypothesis(name: str, minutes: float, seed: int) -> tuple[int, str]:
    """How many inputs were tried in the time, and what failed, as small as it gets."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    inputs, count, deadline = seeds(name), 0, time.monotonic() + 60 * minutes
    edits = st.lists(
        st.tuples(st.integers(0, MAX_BYTES), st.integers(0, 12), st.binary(max_size=12)), max_size=6
    )
    files = st.one_of(
        st.tuples(st.sampled_from(inputs), edits), st.tuples(st.binary(max_size=300), edits)
    )

    while time.monotonic() < deadline:

        @seeded(seed + count)
        @settings(
            max_examples=100,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        @given(files)
        def attack(case: tuple[bytes, list[tuple[int, int, bytes]]]) -> None:
            nonlocal count
            count += 1
            refused_well(TARGETS[name], edited(*case))

        try:
            attack()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            notes = " ".join(getattr(error, "__notes__", []))
            return count, f"{type(error).__name__}: {error} {notes}"[:1000]
    return count, ""


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The data with stretches replaced: so many bytes from a position on, by others."""
    for position, length, replacement in edits:
        start = position % (len(data) + 1)
        data = data[:start] + replacement + data[start + length :]
    return data


def by_atheris(name: str, minutes: float, seed: int) -> tuple[int, str]:
    """The same in a process of its own, which libFuzzer ends."""
    import subprocess

    with tempfile.TemporaryDirectory() as temporary:
        corpus = Path(temporary) / "corpus"
        corpus.mkdir()
        for number, data in enumerate(seeds(name)):
            (corpus / str(number)).write_bytes(data[:MAX_BYTES])
        fuzzer_options = [
            f"-max_total_time={int(60 * minutes)}",
            f"-seed={seed + 1}",
            f"-max_len={MAX_BYTES}",
            "-rss_limit_mb=4000",
        ]
        command = [
            sys.executable,
            "-c",
            _ATHERIS,
            name,
            *fuzzer_options,
            f"-artifact_prefix={temporary}/",
            str(corpus),
        ]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = process.stderr.splitlines()
        runs = [line.split()[1] for line in lines if line.startswith("Done ")]
        if process.returncode == 0:
            return int(runs[-1]) if runs else 0, ""
        failing_inputs = [path.read_bytes() for path in Path(temporary).iterdir() if path.is_file()]
        problem = next(
            (line for line in reversed(lines) if "Error" in line or "Exception" in line),
            process.stderr[-300:],
        )
        return 0, f"{problem} {failing_inputs[0][:300]!r}" if failing_inputs else problem


_ATHERIS = """
import sys, atheris
with atheris.instrument_imports(include=["genomai_cli"]):
    import genomai_cli.bundles.bundle, genomai_cli.bundles.torch_archive, genomai_cli.formats.fasta
    import genomai_cli.formats.vcf, genomai_cli.formats.tables, genomai_cli.population.barcode
    import genomai_cli.tokenizers, genomai_cli.formats.bcf, genomai_cli.formats.raw_genotypes
from benchmarks.reliability import fuzz
name = sys.argv.pop(1)
atheris.Setup(sys.argv, lambda data: fuzz.refused_well(fuzz.TARGETS[name], data))
atheris.Fuzz()
"""
ENGINES = {"hypothesis": by_hypothesis, "atheris": by_atheris}


def main() -> None:
    """Print a row a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="of all targets together")
    parser.add_argument("--engine", choices=ENGINES, default="hypothesis")
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 20))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    names = [options.only] if options.only else list(TARGETS)
    total, faults = 0, 0
    print(f"# {options.engine}, seed {options.seed}")
    print("target", "inputs", "fault", sep="\t")
    for name in names:
        count, fault = ENGINES[options.engine](name, options.minutes / len(names), options.seed)
        total, faults = total + count, faults + bool(fault)
        print(name, count, fault or "none", sep="\t", flush=True)
    print("all", total, f"{faults} faults in {options.minutes:g} minutes", sep="\t")


if __name__ == "__main__":
    main()
