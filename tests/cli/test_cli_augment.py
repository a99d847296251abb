"""`genomai augment`: its inputs, its outputs, what it refuses."""

import gzip
import json

import pytest
from conftest import POPULATIONS, assert_expected, run
from test_architecture import modules_after

FASTA = ">one first\nACGTACGTACGTACGTACGT\n>two\nRYSWKMNNNNACGTACGT\n>one\nGGGGGGGGGGCCCCCCCCCC\n"


@pytest.fixture
def fasta(tmp_path):
    (tmp_path / "in.fa").write_text(FASTA)
    return tmp_path / "in.fa"


def records(text):
    lines = text.splitlines()
    return {title[1:].split()[0]: letters for title, letters in zip(lines[::2], lines[1::2], strict=True)}  # fmt: skip


def test_views_of_sequences(fasta):
    options = "--views 2 --mask 0.15 --crop 0.8 --mutate 0.1 --revcomp --seed 3"
    result = run(["augment", *options.split(), fasta])
    assert result.status == 0, result.stderr
    assert_expected("augment.fa", result.stdout)


def test_gaps_of_an_alignment_are_taken_out():
    options = ["augment", "--mask", "0.3", "--seed", "2"]
    aligned = run(options, FASTA.replace("ACGTACGT\n>two", "ACGT--AC.GT\n>two"))
    assert aligned.output == run(options, FASTA).output
    assert "3 gaps of an alignment (- or .) in 1 sequences: taken out" in aligned.stderr


def test_standard_input_gives_the_same(fasta):
    expected = run(["augment", "--mask", "0.5", fasta]).output
    assert run("augment --mask 0.5", stdin=fasta).output == expected
    assert run("augment --mask 0.5 -", stdin=gzip.compress(FASTA.encode())).output == expected


def test_an_output_named_gz_is_compressed(fasta, tmp_path):
    result = run(["augment", "--revcomp", fasta, "-o", tmp_path / "out.fa.gz"])
    assert (result.status, result.output) == (0, b"")
    with gzip.open(tmp_path / "out.fa.gz", "rt") as handle:
        assert handle.read() == run(["augment", "--revcomp", fasta]).stdout


def test_nothing_asked_for_is_wrong_usage(fasta):
    result = run(["augment", fasta, "--views", "3"])
    assert result.status == 2
    for option in ("--mask", "--crop", "--mutate", "--revcomp", "--diffuse", "--cross"):
        assert option in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mask", "1.5"], "--mask"),
        (["--mask", "nan"], "--mask"),
        (["--views", "0", "--mask", "0.1"], "--views"),
        (["--cross"], "--cross needs --labels"),
        (["--mask", "0.1", "--labels", "x.tsv"], "--labels is for"),
        (["--mask", "0.1", "--group", "x"], "--group is for --cross and --diffuse"),
        (["--mask", "0.1", "--labels-out", "x.tsv"], "--labels-out needs --labels"),
        (["--mask", "0.1", "--labels", "x", "--labels-out", "y", "-o", "./y"], "the same file"),
        (["--mask", "0.1", "--haplotypes"], "--haplotypes needs a VCF"),
    ],
)
def test_wrong_options_are_wrong_usage(fasta, options, message):
    result = run(["augment", fasta, *options])
    assert result.status == 2
    assert result.stdout == ""
    assert message in result.stderr


def test_barcodes_of_a_vcf_and_in_fasta_have_the_same_views(cohort):
    options = ["--mask", "0.1", "--crop", "0.9", "--mutate", "0.2", "--panel", cohort.panel]
    of_vcf = run(["augment", *options, cohort.newcomers])
    fasta = run(["tokenize", "--to", "fasta", "--panel", cohort.panel, cohort.newcomers]).output
    assert run(["augment", *options], stdin=fasta).output == of_vcf.output
    views = records(of_vcf.stdout)
    assert len(views) == len(cohort.names)
    assert {len(letters) for letters in views.values()} == {120}


def test_the_panel_is_that_of_the_model(cohort, handmade_bundle):
    by_model = run(["augment", "--mutate", "0.5", "--model", handmade_bundle, cohort.newcomers])
    assert by_model.status == 0
    by_panel = run(["augment", "--mutate", "0.5", "--panel", cohort.panel, cohort.newcomers])
    assert by_model.output == by_panel.output


def test_a_model_of_plain_dna_changes_nothing(fasta, tiny_sequence_bundle):
    plain = run(["augment", "--crop", "0.5", fasta]).output
    assert run(["augment", "--crop", "0.5", "--model", tiny_sequence_bundle, fasta]).output == plain


def test_haplotypes_of_a_vcf(cohort):
    result = run(
        ["augment", "--mask", "0.1", "--haplotypes", "--panel", cohort.panel, cohort.newcomers]
    )
    assert list(records(result.stdout))[:2] == [f"{cohort.names[0]}_{x}_view1" for x in "AB"]


def test_barcodes_have_no_other_strand(cohort):
    result = run(["augment", "--revcomp", "--panel", cohort.panel, cohort.newcomers])
    assert result.status == 2
    assert result.stdout == ""
    assert "no other strand" in result.stderr


# --- crosses ---------------------------------------------------------------------------------


def run_crosses(cohort, *options):
    files = ["--labels", cohort.labels, "--panel", cohort.panel, cohort.vcf]
    return run(["augment", "--cross", *options, *files])


def test_crosses_and_their_labels(cohort, tmp_path):
    files = ["--labels-out", tmp_path / "labels.tsv", "--report-json", tmp_path / "report.json"]
    result = run_crosses(cohort, "--group", "population", "--views", "2", *files)
    assert result.status == 0, result.stderr
    assert ">NOA_0_view2 cross=NOA seed=0\n" in result.stdout
    crosses = records(result.stdout)
    rows = [line.split("\t") for line in (tmp_path / "labels.tsv").read_text().splitlines()]
    assert rows[0] == ["sample", "population", "superpopulation"]
    assert [row[0] for row in rows[1:]] == list(crosses)
    assert {tuple(row[1:]) for row in rows[1:]} == set(POPULATIONS.items())
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["records"] == {"read": 75, "used": 75, "refused": 0}


def test_records_without_a_group_are_left_out(cohort, tmp_path):
    (tmp_path / "some.tsv").write_text("sample\tgroup\nNOA_0\tx\nNOA_1\tx\n")
    files = ["--labels", tmp_path / "some.tsv", "--panel", cohort.panel, cohort.vcf]
    result = run(["augment", "--cross", *files])
    assert list(records(result.stdout)) == ["NOA_0_view1", "NOA_1_view1"]
    assert "warning: 73 records without a group are left out" in result.stderr


def test_a_column_has_to_be_named_where_there_are_several(cohort):
    result = run_crosses(cohort)
    assert result.status == 2
    assert "--group COLUMN, one of: population, superpopulation" in result.stderr


def test_a_column_that_is_not_there(cohort):
    result = run_crosses(cohort, "--group", "region")
    assert result.status == 1
    assert "labels.tsv:1: no column 'region'" in result.stderr


def test_sequences_cannot_be_crossed(fasta, tmp_path):
    (tmp_path / "l.tsv").write_text("sample\tgroup\none\tx\ntwo\tx\n")
    result = run(["augment", "--cross", "--labels", tmp_path / "l.tsv", fasta])
    assert result.status == 1
    assert f"{fasta}:1: one is no barcode of an installed panel" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample\tgroup\nthree\tx\n", "l.tsv: none of the records is in it"),
        ("one\tx\ntwo\tx\n", "l.tsv:1: no header: the first line is of the sample one"),
    ],
)
def test_labels_that_name_nobody_or_have_no_header_are_refused(fasta, tmp_path, text, message):
    (tmp_path / "l.tsv").write_text(text)
    files = ["--labels", tmp_path / "l.tsv", "--labels-out", tmp_path / "out.tsv"]
    result = run(["augment", "--mask", "0.1", *files, fasta])
    assert result.status == 1
    assert message in result.stderr
    assert not (tmp_path / "out.tsv").exists()


def test_torch_stays_closed(fasta):
    assert "torch" not in modules_after(["augment", "--mask", "0.1", str(fasta)])
