"""The odd and broken files of other parsers' tests: records or one clear line, never anything else."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genomai_cli.errors import GenomaiError
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.vcf import read_variants
from genomai_cli.population.barcode import read_barcodes
from genomai_cli.population.panel import Panel

TORTURE = Path(__file__).parents[3] / "shared" / "torture"
SECONDS = 5
NOTHING_TO_USE = ("no samples", "is empty")
PANEL = """chrom\tpos_grch37\tpos_grch38\tref\talt
1\t3062915\t.\tG\tT
1\t3106154\t.\tA\tC
20\t14370\t.\tG\tA
20\t17330\t.\tT\tA
"""

pytestmark = pytest.mark.skipif(not TORTURE.exists(), reason="../shared/torture is not here")
FILES = sorted(path for path in TORTURE.glob("*/*") if path.is_file())


@contextmanager
def time_limit(path: Path) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"{path} takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


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


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in FILES}))
def test_every_file_gives_records_or_one_clear_line(folder: str, panel: Panel, capfd) -> None:
    for path in (path for path in FILES if path.parent.name == folder):
        message = outcome(path)
        assert "\n" not in message
        assert not message or message.startswith(str(path))
        barcode_outcome(path, panel)
    assert capfd.readouterr() == ("", "")


def barcode_outcome(path: Path, panel: Panel) -> str:
    try:
        with time_limit(path), open_input(path) as source:
            if source.has_variants:
                read_barcodes([source], panel)
    except GenomaiError as error:
        return str(error)
    return ""


def of(folder: str, pattern: str) -> list[Path]:
    return [path for path in FILES if path.parent.name == folder and path.match(pattern)]


@pytest.mark.parametrize("path", of("hts-specs", "*__passed__*"), ids=lambda path: path.name)
def test_valid_vcf_is_accepted(path: Path) -> None:
    message = outcome(path)
    assert not message or any(words in message for words in NOTHING_TO_USE)


@pytest.mark.parametrize("path", of("biopython", "*error_*"), ids=lambda path: path.name)
def test_faulty_fastq_is_refused(path: Path) -> None:
    assert outcome(path)


@pytest.mark.parametrize("path", of("htslib", "*multiline.fq"), ids=lambda path: path.name)
def test_wrapped_fastq_is_accepted(path: Path) -> None:
    assert outcome(path) == ""
