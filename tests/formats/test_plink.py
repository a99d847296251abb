"""PLINK .bed with .bim and .fam: alleles by their letters, whatever A1 is; damage refused; same calls as from VCF."""

import shutil
import subprocess

import numpy as np
import pytest
from conftest import GRCH38_SHIFT, run, site

from genomai_cli.errors import InputError
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.plink import read_bed
from genomai_cli.formats.streams import open_input

pytest.importorskip("bed_reader")
COMPLEMENT = str.maketrans("ACGT", "TGCA")
TWO_BITS = {0: 3, 1: 2, 2: 0, -1: 1}  # of copies of A1, as the format has them


def write_plink(stem, names, markers, copies):
    """Files of markers (contig, position, a1, a2) and copies of A1 (samples, markers), -1 for none."""
    fam = "".join(f"f{number} {name} 0 0 0 -9\n" for number, name in enumerate(names))
    stem.with_suffix(".fam").write_text(fam)
    rows = (f"{c}\tm{i}\t0\t{p}\t{a1}\t{a2}\n" for i, (c, p, a1, a2) in enumerate(markers))
    stem.with_suffix(".bim").write_text("".join(rows))
    data = bytearray(b"\x6c\x1b\x01")
    for column in np.asarray(copies).T:
        padded = [*column, *[0] * (-len(column) % 4)]
        codes = [TWO_BITS[int(c)] if i < len(column) else 0 for i, c in enumerate(padded)]
        data += bytes(
            sum(code << 2 * index for index, code in enumerate(codes[start : start + 4]))
            for start in range(0, len(codes), 4)
        )
    stem.with_suffix(".bed").write_bytes(bytes(data))
    return stem.with_suffix(".bed")


def as_plink(stem, cohort, *, a1_is="alt", other_strand=(), shift=0):
    """The cohort's newcomers as PLINK files, whose A1 is the alternate, the reference or the rarer allele."""
    copies = np.where((cohort.alleles < 0).any(1), -1, cohort.alleles.sum(1))
    markers, columns = [], []
    for number in range(copies.shape[1]):
        chrom, position, ref, alt = site(number)
        column = copies[:, number]
        rarer_is_ref = column[column >= 0].mean() > 1
        a1_is_ref = {"alt": False, "ref": True, "rarer": rarer_is_ref}[a1_is]
        a1, a2 = (ref, alt) if a1_is_ref else (alt, ref)
        called = column[column >= 0]
        a1_copies = np.where(column < 0, -1, 2 - column) if a1_is_ref else column
        if a1_is == "rarer" and not a1_copies[a1_copies >= 0].any() and len(called):
            a1 = "0"  # as PLINK writes a marker at which nobody differs
        if number in other_strand:
            a1, a2 = a1.translate(COMPLEMENT), a2.translate(COMPLEMENT)
        markers.append((chrom, position + shift, a1, a2))
        columns.append(a1_copies)
    return write_plink(stem, cohort.names, markers, np.stack(columns, 1))


def classify(bundle, file):
    result = run(["classify", "--model", bundle, file])
    assert result.status == 0, result.stderr
    return result


@pytest.mark.parametrize("a1_is", ["alt", "ref", "rarer"])
@pytest.mark.parametrize("shift", [0, GRCH38_SHIFT])
def test_the_calls_of_a_vcf_whatever_a1_is(handmade_bundle, cohort, a1_is, shift, tmp_path):
    bed = as_plink(tmp_path / "people", cohort, a1_is=a1_is, shift=shift)
    assert (
        classify(handmade_bundle, bed).stdout == classify(handmade_bundle, cohort.newcomers).stdout
    )


def test_a_file_on_the_other_strand_is_complemented(handmade_bundle, cohort, tmp_path):
    bed = as_plink(tmp_path / "people", cohort, a1_is="rarer", other_strand=range(120))
    found = classify(handmade_bundle, bed)
    assert found.stdout == classify(handmade_bundle, cohort.newcomers).stdout
    assert "complement" in found.stderr or "strand" in found.stderr


def test_palindromic_sites_are_missing_where_strands_are_mixed(cohort, tmp_path):
    """Their letters do not tell, and the order of A1 and A2 means nothing."""
    bed = as_plink(tmp_path / "people", cohort, other_strand=range(0, 120, 4))
    barcodes = run(["tokenize", "--to", "fasta", "--panel", cohort.panel, bed]).stdout
    letters = barcodes.split(">")[1].splitlines()[1]
    palindromic = [n for n in range(120) if {*site(n)[2:]} in ({"A", "T"}, {"C", "G"})]
    assert {letters[n] for n in palindromic} == {"N"}
    expected = run(["tokenize", "--to", "fasta", "--panel", cohort.panel, cohort.newcomers]).stdout
    expected_letters = expected.split(">")[1].splitlines()[1]
    others = set(range(120)) - set(palindromic)
    assert [letters[n] for n in others] == [expected_letters[n] for n in others]


def test_alleles_that_are_no_bases_are_refused(handmade_bundle, cohort, tmp_path):
    bed = as_plink(tmp_path / "people", cohort)
    bim = bed.with_suffix(".bim")
    rows = [line.split("\t")[:4] for line in bim.read_text().splitlines()]
    bim.write_text("".join("\t".join([*row, "1", "2"]) + "\n" for row in rows))
    result = run(["classify", "--model", handmade_bundle, bed])
    assert result.status == 1
    assert "alleles that are no bases" in result.stderr
    assert result.stdout == ""


def write_small_bed(folder):
    markers = [("1", 100, "A", "G"), ("23", 200, "0", "C"), ("1", 300, "T", "0")]
    return write_plink(folder / "x", ["a", "b", "c", "d", "e"], markers, [
        [0, 0, 2], [1, 0, 2], [2, 0, -1], [-1, -1, 2], [1, 0, 2],
    ])  # fmt: skip


def test_records(tmp_path):
    with open_input(write_small_bed(tmp_path)) as source:
        assert source.kind is Kind.PLINK
        file = read_bed(source)
        records = list(file.records)
    assert file.samples == ("a", "b", "c", "d", "e")
    assert file.contigs == {"1": 2, "X": 1}
    assert not file.ordered
    assert [(r.contig, r.position, r.ref, r.alts) for r in records] == [
        ("1", 100, "G", ("A",)),
        ("X", 200, "C", ()),
        ("1", 300, "T", ()),
    ]
    assert records[0].genotypes.tolist() == [[0, 0], [0, 1], [1, 1], [-1, -1], [0, 1]]
    assert records[1].genotypes.tolist() == [[0, 0]] * 3 + [[-1, -1], [0, 0]]
    assert records[2].genotypes.tolist() == [[0, 0]] * 2 + [[-1, -1], [0, 0], [0, 0]]


def refusal(bed):
    with pytest.raises(InputError) as message, open_input(bed) as source:
        list(read_bed(source).records)
    return str(message.value)


def test_damaged_files_are_refused(tmp_path):
    bed = write_small_bed(tmp_path)
    data = bed.read_bytes()
    bed.write_bytes(data[:-1])
    assert "truncated, or not the files that belong to it" in refusal(bed)
    bed.write_bytes(b"\x6c\x1b\x00" + data[3:])
    assert "by samples" in refusal(bed)
    bed.write_bytes(data)
    fam, bim = bed.with_suffix(".fam"), bed.with_suffix(".bim")
    for file, content, message in (
        (fam, "f a 0 0 0\n", "x.fam:1: 5 fields"),
        (bim, "1 m 0 x A C\n", "x.bim:1: 'x' is not a position"),
        (bim, "1 m 0 5 A\n", "x.bim:1: 5 fields"),
    ):
        original = file.read_text()
        file.write_text(content)
        assert message in refusal(bed)
        file.write_text(original)
    fam.write_text("f a 0 0 0 0\n" * 5)
    assert "sample f_a is there 5 times" in refusal(bed)
    fam.unlink()
    assert "no x.fam beside it" in refusal(bed)


def test_an_allele_that_the_bim_does_not_name(tmp_path):
    bed = write_plink(tmp_path / "x", ["a"], [("1", 100, "0", "C")], [[1]])
    assert "calls of an allele that the .bim does not name, in its line 1" in refusal(bed)


def test_a_stream_is_refused(tmp_path):
    bed = write_small_bed(tmp_path)
    result = run(["classify"], stdin=bed)
    assert result.status == 1
    assert "name the file itself" in result.stderr


def test_without_the_library_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bed_reader", None)
    result = run(["classify", write_small_bed(tmp_path)])
    assert result.status == 2
    assert "pip install 'genomai[plink]'" in result.stderr


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("plink2", ["--vcf"]),
        ("plink1.9", ["--vcf"]),
        ("plink1.9", ["--keep-allele-order", "--vcf"]),
    ],
)
def test_files_of_plink_itself(program, arguments, handmade_bundle, cohort, tmp_path):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    command = [program, *arguments, cohort.newcomers, "--make-bed", "--out", tmp_path / "made"]
    command += ["--double-id"] if program == "plink1.9" else []
    completed = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    found = classify(handmade_bundle, tmp_path / "made.bed")
    assert found.stdout == classify(handmade_bundle, cohort.newcomers).stdout
