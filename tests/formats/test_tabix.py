"""An index is used only where it is that of the complete file next to it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pysam
import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats import regions
from genomai_cli.formats.bgzf import END_MARKER
from genomai_cli.formats.fasta_index import index_covers
from genomai_cli.formats.regions import PositionIntervals
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.vcf import read_variants

HEAD = (
    '##fileformat=VCFv4.2\n##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    + "".join(f"##contig=<ID=chr{n},length=2000000>\n" for n in (1, 2, 3))
    + "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\tS2\n"
)


def row(rng: np.random.Generator, contig: int, position: int) -> str:
    noise = "".join("ACGT"[n] for n in rng.integers(0, 4, 30))
    ref = "A" * int(rng.choice([1, 1, 1, 2, 40, 20_000]))
    return f"chr{contig}\t{position}\t.\t{ref}\tG\t.\t.\tN={noise}\tGT\t0/1\t0|0\n"


def write_cohort(
    folder: Path, name: str = "x", contigs: tuple[int, ...] = (1, 2, 3), *, csi: bool = False
) -> Path:
    """Some 150 records a contig, with their index."""
    rng = np.random.default_rng(5)
    text = HEAD
    for contig in (1, 2, 3):
        rows = [
            row(rng, contig, position)
            for position in sorted(rng.choice(1_500_000, 150, replace=False) + 1)
        ]
        text += "".join(rows) if contig in contigs else ""
    plain = folder / f"{name}.vcf"
    plain.write_text(text)
    pysam.tabix_index(str(plain), preset="vcf", force=True, csi=csi)
    return folder / f"{name}.vcf.gz"


def positions_found(path: Path, sites: dict) -> list[tuple[str, int, int, int]]:
    with open_input(path) as source:
        records = read_variants(source, sites, covering=True).records
        return sorted((v.contig, v.position, v.offset, len(v.ref)) for v in records)


def have_lines(path: Path, sites: dict) -> set[bool]:
    """Whether the records have lines, which those that an index led to have not."""
    with open_input(path) as source:
        return {v.line is not None for v in read_variants(source, sites).records}


@pytest.fixture
def always_use_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "_MIN_BYTES_PER_SITE", 0)


def random_sites() -> dict:
    rng = np.random.default_rng(8)
    sites = {str(contig): set(rng.integers(1, 1_600_000, 200).tolist()) for contig in (1, 3)}
    return sites | {
        "2": PositionIntervals([(1, 70_000), (400_000, 900_000), (1_499_000, 1_700_000)])
    }


@pytest.mark.parametrize("csi", [False, True])
def test_an_index_leads_to_the_records_that_the_whole_file_has(
    tmp_path: Path, monkeypatch, csi: bool
) -> None:
    path, sites = write_cohort(tmp_path, csi=csi), random_sites()
    streamed = positions_found(path, sites)
    monkeypatch.setattr(regions, "_MIN_BYTES_PER_SITE", 0)
    assert positions_found(path, sites) == streamed
    assert have_lines(path, {"2": PositionIntervals([(1, 9_000_000)])}) == {False}
    assert len(streamed) > 90


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("with_end_marker", [False, True])
@pytest.mark.usefixtures("always_use_index")
def test_a_truncated_file_is_refused_though_its_index_is_newer(
    tmp_path: Path, fraction: float, with_end_marker: bool
) -> None:
    path = write_cohort(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)] + END_MARKER * with_end_marker)
    os.utime(f"{path}.tbi")
    with pytest.raises(InputError, match=r"truncated|damaged"):
        positions_found(path, random_sites())


@pytest.mark.usefixtures("always_use_index")
def test_a_damaged_block_is_refused_though_the_index_is_whole(tmp_path: Path) -> None:
    path = write_cohort(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    os.utime(f"{path}.tbi")
    with pytest.raises(InputError, match="damaged"):
        positions_found(path, {str(n): PositionIntervals([(1, 2_000_000)]) for n in (1, 2, 3)})


@pytest.mark.parametrize("contigs", [(1,), (1, 2), (2, 3)])
@pytest.mark.usefixtures("always_use_index")
def test_an_index_of_another_file_hides_nothing(tmp_path: Path, contigs: tuple[int, ...]) -> None:
    path, sites = write_cohort(tmp_path), random_sites()
    other = write_cohort(tmp_path, "other", contigs)
    streamed = positions_found(path, sites)
    shutil.copy(f"{other}.tbi", f"{path}.tbi")
    assert positions_found(path, sites) == streamed
    assert have_lines(path, sites) == {True}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.usefixtures("always_use_index")
def test_a_damaged_index_gives_the_same_records_or_none(tmp_path: Path, seed: int) -> None:
    path, sites = write_cohort(tmp_path), random_sites()
    streamed = positions_found(path, sites)
    rng = np.random.default_rng(seed)
    with pysam.BGZFile(f"{path}.tbi") as handle:
        content = bytearray(handle.read())
    for offset in rng.integers(0, len(content), rng.integers(1, 4)):
        content[offset] = rng.integers(256)
    with pysam.BGZFile(f"{path}.tbi", "wb") as handle:
        handle.write(bytes(content[: rng.integers(len(content) // 2, len(content) + 1)]))
    assert positions_found(path, sites) == streamed


@pytest.mark.parametrize("width", [5, 7, 60, 1000])
@pytest.mark.parametrize("end", ["", "\n"])
def test_an_index_of_a_reference_counts_if_it_covers_the_file(
    tmp_path: Path, width: int, end: str
) -> None:
    letters = "ACGTTAGCA" * 40
    lines = "\n".join(letters[start : start + width] for start in range(0, len(letters), width))
    path = tmp_path / "r.fa"
    path.write_text(f">a\n{lines}\n>b\n{lines}{end}")
    pysam.faidx(str(path))
    index = Path(f"{path}.fai")
    assert index_covers(index, path)
    path.write_text(f">a\n{lines}\n>b\n{lines[:-5]}")
    assert not index_covers(index, path)
    path.write_text(f">a\n{lines}\n>b\n{lines}\n>c\n{lines}\n")
    assert not index_covers(index, path)
