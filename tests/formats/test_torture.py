"""Odd and broken files, like those of other parsers' tests: records or one clear line, never anything else."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import needs_shared, shared_files
from torture_files import FAULTY, ODD, VALID

from genomai_cli.errors import GenomaiError
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.vcf import read_variants
from genomai_cli.population.barcode import read_barcodes
from genomai_cli.population.panel import Panel

CPU_SECONDS = 5  # of the processor
WALL_SECONDS = 120  # by the clock: a read that never ends
NOTHING_TO_USE = ("no samples", "is empty")
PANEL = """chrom\tpos_grch37\tpos_grch38\tref\talt
1\t3062915\t.\tG\tT
1\t3106154\t.\tA\tC
20\t14370\t.\tG\tA
20\t17330\t.\tT\tA
"""

FILES = shared_files("torture/*/*")


@contextmanager
def time_limit(path: Path) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"{path} takes more than {CPU_SECONDS} s")

    limits = {
        signal.ITIMER_PROF: (signal.SIGPROF, CPU_SECONDS),
        signal.ITIMER_REAL: (signal.SIGALRM, WALL_SECONDS),
    }
    handlers = {number: signal.signal(number, stop) for number, _ in limits.values()}
    try:
        for timer, (_, seconds) in limits.items():
            signal.setitimer(timer, seconds)
        yield
    finally:
        for timer in limits:
            signal.setitimer(timer, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def outcome(path: Path) -> str:
    """What is wrong with a file, nothing if it can be read to its end."""
    try:
        with time_limit(path), open_input(path) as source:
            records = (
                read_variants(source).records if source.has_variants else read_sequences(source)
            )
            for _ in records:
                pass
    except GenomaiError as error:
        return str(error)
    return ""


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    (tmp_path / "panel.tsv").write_text(PANEL)
    return Panel.read(tmp_path / "panel.tsv")


def barcode_outcome(path: Path, panel: Panel) -> str:
    try:
        with time_limit(path), open_input(path) as source:
            if source.has_variants:
                read_barcodes([source], panel)
    except GenomaiError as error:
        return str(error)
    return ""


def accepted(message: str) -> bool:
    return not message or any(text in message for text in NOTHING_TO_USE)


def write_file(folder: Path, files: dict[str, bytes], name: str) -> Path:
    (folder / name).write_bytes(files[name])
    return folder / name


@pytest.mark.parametrize("name", [*VALID, *FAULTY, *ODD])
def test_a_file_gives_records_or_one_clear_line(
    name: str, tmp_path: Path, panel: Panel, capfd
) -> None:
    path = write_file(tmp_path, VALID | FAULTY | ODD, name)
    for message in (outcome(path), barcode_outcome(path, panel)):
        assert "\n" not in message
        assert not message or message.startswith(str(path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", VALID)
def test_a_valid_file_is_accepted(name: str, tmp_path: Path) -> None:
    assert accepted(outcome(write_file(tmp_path, VALID, name)))


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_file_is_refused(name: str, tmp_path: Path) -> None:
    assert outcome(write_file(tmp_path, FAULTY, name))


# --- extra: the files of the parsers themselves ------------------------------------------------------


def files_of(folder: str, pattern: str) -> list[Path]:
    return [path for path in FILES if path.parent.name == folder and path.match(pattern)]


@needs_shared
@pytest.mark.parametrize("folder", sorted({path.parent.name for path in FILES}))
def test_every_file_gives_records_or_one_clear_line(folder: str, panel: Panel, capfd) -> None:
    for path in files_of(folder, "*"):
        for message in (outcome(path), barcode_outcome(path, panel)):
            assert "\n" not in message
            assert not message or message.startswith(str(path))
    assert capfd.readouterr() == ("", "")


@needs_shared
@pytest.mark.parametrize("path", files_of("hts-specs", "*__passed__*"), ids=lambda path: path.name)
def test_vcf_that_a_validator_passes_is_accepted(path: Path) -> None:
    assert accepted(outcome(path))


@needs_shared
@pytest.mark.parametrize("path", files_of("biopython", "*error_*"), ids=lambda path: path.name)
def test_fastq_that_biopython_refuses_is_refused(path: Path) -> None:
    assert outcome(path)


@needs_shared
@pytest.mark.parametrize("path", files_of("htslib", "*multiline.fq"), ids=lambda path: path.name)
def test_wrapped_fastq_of_htslib_is_accepted(path: Path) -> None:
    assert outcome(path) == ""
