"""Phase sets: heterozygotes outside the largest of a chromosome have no phase."""

import io
import shutil
import subprocess

import pytest

from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.phase_sets import PhaseSplits, in_largest_sets
from genomai_cli.formats.streams import Input, open_input
from genomai_cli.formats.vcf import read_variants

BCFTOOLS = shutil.which("bcftools")
HEADER = """\
##fileformat=VCFv4.2
##contig=<ID=1>
##contig=<ID=2>
##FORMAT=<ID=GT,Number=1,Type=String,Description="g">
##FORMAT=<ID=PS,Number=1,Type={kind},Description="p">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb
"""


def vcf(rows, kind="Integer"):
    """A VCF of rows `CHROM CALL CALL`."""
    lines = []
    for number, row in enumerate(rows, start=1):
        contig, *calls = row.split()
        layout = "GT:PS" if ":" in row else "GT"
        lines.append("\t".join([contig, str(number), ".", "A", "C", ".", ".", ".", layout, *calls]))
    return HEADER.format(kind=kind) + "\n".join(lines) + "\n"


def phased(source):
    splits = PhaseSplits()
    records = list(in_largest_sets(read_variants(source, with_fields=True).records, splits))
    assert all(record.fields is None for record in records)
    return [record.phased.tolist() for record in records], splits


def text_input(text):
    return Input("-", Kind.VCF, "plain", io.BytesIO(text.encode()))


SPLIT = [
    "1 0|1:5 0|1:5",
    "1 1|0:7 1|0:5",
    "1 0|1:7 0/1:.",
    "1 1|1:5 0|0:9",
    "2 0|1:8 0|1:8",
    "2 0|1:8 0|1:9",
]
EXPECTED = [[False, True], [True, True], [True, False], [True, True], [True, True], [True, False]]


def test_the_largest_set_of_a_chromosome_keeps_its_phase():
    found, splits = phased(text_input(vcf(SPLIT)))
    assert found == EXPECTED
    assert (splits.calls, splits.samples) == (2, {0, 1})
    assert "2 heterozygous calls of 2 samples are of other phase sets (PS)" in str(splits)
    gatk_text = vcf(SPLIT, "String").replace("PS", "PID")
    assert phased(text_input(gatk_text))[0] == EXPECTED


def test_names_of_sets_may_be_texts():
    rows = [row.replace(":5", ":PATMAT").replace(":7", ":x") for row in SPLIT]
    assert phased(text_input(vcf(rows, "String")))[0] == EXPECTED


def test_a_set_for_each_allele_as_in_vcf_4_4():
    rows = [row.replace(":5", ":a,a").replace(":7", ":b,b") for row in SPLIT]
    text = vcf(rows, "String").replace("PS", "PSL")
    assert phased(text_input(text))[0] == EXPECTED


def test_samples_of_merged_files_have_their_sets_in_different_fields():
    text = vcf(SPLIT)
    rows = [line.split("\t") for line in text.splitlines()[6:]]
    for row in rows:
        row[7:9] = [".", "GT:PS:PID"]
        row[9] += ":."
        call, name = row[10].split(":")
        row[10] = f"{call}:.:{name}"
    merged = HEADER.format(kind="Integer") + "".join("\t".join(row) + "\n" for row in rows)
    assert phased(text_input(merged))[0] == EXPECTED


@pytest.mark.parametrize("rows", [["1 0|1 1|0", "1 0|1 0|1"], ["1 0|1:3 1|0:3", "1 1|0:3 0|1:3"]])
def test_one_set_changes_nothing(rows):
    found, splits = phased(text_input(vcf(rows)))
    assert found == [[True, True]] * 2
    assert splits.calls == 0


def test_phased_calls_without_a_set_are_of_one():
    found, _ = phased(text_input(vcf(["1 0|1 0|1", "1 0|1 0|1", "1 0|1:9 0/1:9"])))
    assert found == [[True, True], [True, True], [False, False]]


def test_bcf_has_the_same_sets(tmp_path):
    if not BCFTOOLS:
        pytest.skip("bcftools is not installed here")
    plain, binary = tmp_path / "x.vcf", tmp_path / "x.bcf"
    plain.write_text(vcf(SPLIT))
    subprocess.run([BCFTOOLS, "view", "-Ob", "-o", binary, plain], check=True)
    assert phased(open_input(binary))[0] == EXPECTED
