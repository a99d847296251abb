"""Concatenated regions, and the memory and time of a program."""

import gzip
import subprocess
import sys

import pytest

from benchmarks.imputation.speed import concatenate_regions, measure

VCF = (
    "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\tc\n"
    "22\t7\ts0\tA\tG\t.\tPASS\t.\tGT\t0|0\t0|1\t1|1\n22\t9\ts1\tA\tG\t.\tPASS\t.\tGT\t0|0\t0|1\t1|1\n"
)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "one.vcf.gz"
    path.write_bytes(gzip.compress(VCF.encode()))
    return path


def test_concatenated_regions_follow_one_another(source, tmp_path):
    concatenate_regions(source, tmp_path / "three.vcf.gz", 3)
    lines = gzip.decompress((tmp_path / "three.vcf.gz").read_bytes()).decode().splitlines()
    assert lines[:2] == VCF.splitlines()[:2]
    records = [line.split("\t") for line in lines[2:]]
    assert [r[1] for r in records] == ["7", "9", "500007", "500009", "1000007", "1000009"]
    assert len({r[2] for r in records}) == 6
    for first, second in zip(records[::2], records[1::2], strict=True):
        assert sorted(first[9:]) == ["0|0", "0|1", "1|1"]
        assert first[9:] == second[9:]  # the same samples stay together


def test_memory_and_time_are_those_of_the_program():
    program = "x = bytearray(200 << 20); x[::4096] = b'1' * len(x[::4096])"
    usage = measure(1, "once", "python", "1", [sys.executable, "-c", program])
    assert 200 < usage.memory < 1000
    assert usage.processor > 0


def test_a_program_that_fails_ends_the_benchmark():
    with pytest.raises(subprocess.CalledProcessError):
        measure(1, "once", "python", "1", [sys.executable, "-c", "raise SystemExit(3)"])
