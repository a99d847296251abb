"""`genomai align`: rankings both ways, pairs and their test, every way in, and what is refused."""

import gzip
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import (
    POPULATIONS,
    SITES,
    assert_expected,
    common_allele,
    run,
    run_process,
    site,
)
from crossmodal_bundle import BIAS, LABELS, with_phenotypes

pytestmark = pytest.mark.usefixtures("one_thread")
HEADER = ["sample", "phenotype", "similarity", "rank"]
BCFTOOLS = shutil.which("bcftools")
HETEROZYGOTES = {"AG": "R", "CT": "Y", "GC": "S", "TA": "W", "AC": "M", "TG": "K"}
RECORDS = """\
what\tsuperpop\tpop\tsex\tlatitude\tlongitude
north\tNORTH\t.\t.\t.\t.
noa woman\tNORTH\tNOA\tF\t.\t.
soc\t.\tSOC\t.\t10.5\t-20
just a man\t.\t.\tM\t.\t.
"""


def barcode(mother, father, known=range(SITES)):
    """The barcode of a child of two populations: their common alleles, N at the sites that are not known."""
    letters = []
    for number in range(SITES):
        _, _, ref, alt = site(number)
        copies = common_allele(mother, number) + common_allele(father, number)
        letters.append((ref, HETEROZYGOTES[ref + alt], alt)[copies] if number in known else "N")
    return "".join(letters)


BARCODES = {
    "noa": barcode("NOA", "NOA"),
    "mixed": barcode("NOB", "SOC", range(10, SITES)),
    "nobody": "N" * SITES,
    "few": barcode("SOC", "SOC", range(4)),
}
FASTA = "".join(f">{name}\n{letters}\n" for name, letters in BARCODES.items())


@pytest.fixture(scope="module")
def model(handmade_bundle, tmp_path_factory):
    """The handmade bundle with the handmade network attached to it."""
    return with_phenotypes(handmade_bundle, tmp_path_factory.mktemp("models") / "handmade")


@pytest.fixture(scope="module")
def align(model):
    """Aligns with the handmade model."""

    def run_align(*arguments, stdin=b""):
        return run(["align", "--device", "cpu", "--model", model, *arguments], stdin=stdin)

    return run_align


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "records.tsv"
    path.write_text(RECORDS)
    return path


def vector(name):
    """The vector of a barcode by hand: its alleles summed along the axes of the populations, divided by the root of
    their number, and the bias."""
    rows = []
    for number, letter in enumerate(BARCODES[name]):
        _, _, ref, alt = site(number)
        copies = {ref: 0, HETEROZYGOTES[ref + alt]: 1, alt: 2}.get(letter)
        common = np.array([common_allele(p, number) for p in LABELS])
        rows.append(0 * common if copies is None else (copies - 1) * (2 * common - 1))
    known = SITES - BARCODES[name].count("N")
    return np.append(np.sum(rows, axis=0) / np.sqrt(known), BIAS)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


# --- rankings -----------------------------------------------------------------------------------


def test_the_table(align):
    result = align(stdin=FASTA)
    assert result.status == 0
    assert (
        result.stderr == "genomai align: warning: 1 samples have no site that the model can use\n"
    )
    assert_expected("align.tsv", result.stdout)


def test_similarities_by_hand(align):
    rows = align(stdin=FASTA).rows[1:]
    axes = dict(zip(LABELS, np.eye(4)[:3], strict=True))
    parents = {s: sum(axes[p] for p in LABELS if POPULATIONS[p] == s) for s in ("NORTH", "SOUTH")}
    for sample, record, similarity, _ in rows:
        if record != "UNKNOWN":
            phenotype_vector = axes[record] + parents[POPULATIONS[record]]
            assert float(similarity) == pytest.approx(
                cosine(vector(sample), phenotype_vector), abs=1e-6
            )


def test_records_of_a_file(align, records):
    result = align("--phenotypes", records, stdin=FASTA)
    assert result.status == 0
    assert_expected("align-records.tsv", result.stdout)


def test_ranks_are_those_of_the_similarities(align, cohort, records):
    rows = align("--phenotypes", records, cohort.newcomers).rows
    assert rows[0] == HEADER
    by_sample = {}
    for sample, _, similarity, rank in rows[1:]:
        if sample != "nobody":
            by_sample.setdefault(sample, []).append((float(similarity), int(rank)))
    assert list(by_sample) == [name for name in cohort.names if name != "nobody"]
    for sample_rows in by_sample.values():
        assert [rank for _, rank in sample_rows] == [1, 2, 3, 4]
        assert sample_rows == sorted(sample_rows, reverse=True, key=lambda pair: pair[0])


def test_equally_similar_records_keep_their_order(align, tmp_path):
    path = tmp_path / "twins.tsv"
    path.write_text("id\tpop\nb\tNOA\na\tNOA\n")
    rows = align("--phenotypes", path, stdin=FASTA).rows[1:3]
    assert [row[1] for row in rows] == ["b", "a"]
    assert rows[0][2] == rows[1][2]


@pytest.mark.parametrize("top", [1, 2, 9])
def test_top(align, cohort, top):
    all_rows = align(cohort.newcomers).rows[1:]
    top_rows = align("--top", str(top), cohort.newcomers).rows[1:]
    assert top_rows == [row for row in all_rows if row[3] == "." or int(row[3]) <= top]


def test_reverse(align, cohort, records):
    all_rows = align("--phenotypes", records, cohort.newcomers).rows[1:]
    result = align("--phenotypes", records, "--reverse", cohort.newcomers)
    assert result.rows[0] == HEADER
    rows = result.rows[1:]
    assert {tuple(row[:3]) for row in rows} == {tuple(row[:3]) for row in all_rows if row[3] != "."}
    samples = len(cohort.names) - 1  # nobody is not among them
    assert [int(row[3]) for row in rows] == [*range(1, samples + 1)] * 4
    names = [line.split("\t")[0] for line in RECORDS.splitlines()[1:]]
    assert [row[1] for row in rows[::samples]] == names
    for start in range(0, len(rows), samples):
        similarities = [float(row[2]) for row in rows[start : start + samples]]
        assert similarities == sorted(similarities, reverse=True)


def test_reverse_with_top_is_the_beginning_of_each(align, cohort, records):
    all_rows = align("--phenotypes", records, "--reverse", cohort.newcomers).rows[1:]
    top_rows = align("--phenotypes", records, "--reverse", "--top", "2", cohort.newcomers).rows[1:]
    assert top_rows == [row for row in all_rows if int(row[3]) <= 2]


def test_reverse_holds_no_more_samples_than_asked_for(align, cohort, records, monkeypatch):
    expected = align("--phenotypes", records, "--reverse", "--top", "3", cohort.newcomers)
    monkeypatch.setattr("genomai_cli.population.alignment.tables._SAMPLES_PER_MERGE", 2)
    assert align("--phenotypes", records, "--reverse", "--top", "3", cohort.newcomers) == expected


# --- ways in ------------------------------------------------------------------------------------


def test_standard_input_pipes_and_compression_give_the_same_bytes(align, model, cohort, tmp_path):
    expected = align(cohort.newcomers)
    assert expected.status == 0
    path = tmp_path / "no-telling-name"
    path.write_bytes(gzip.compress(cohort.newcomers.read_bytes()))
    assert align(path).output == expected.output
    assert align("-", stdin=cohort.newcomers).output == expected.output
    command = ["align", "--device", "cpu", "--model", model, "--threads", "1"]
    assert run_process(command, stdin=cohort.newcomers).output == expected.output


def test_barcodes_give_the_same_bytes(align, model, cohort):
    fasta = run(["tokenize", "--to", "fasta", "--panel", model / "panel.tsv", cohort.newcomers])
    assert align(stdin=fasta.output).output == align(cohort.newcomers).output


@pytest.mark.skipif(not BCFTOOLS, reason="bcftools is not installed here")
def test_bcf_gives_the_same_bytes(align, cohort, tmp_path):
    path = tmp_path / "newcomers.bcf"
    subprocess.run(
        [BCFTOOLS, "view", "-Ob", "-o", path, cohort.newcomers], check=True, capture_output=True
    )
    assert align(path).output == align(cohort.newcomers).output


@pytest.mark.parametrize("build", ["GRCh37", "GRCh38"])
def test_both_builds_and_chr_give_the_same_bytes(align, cohort, build):
    text = cohort.variant_text(build=build, prefix="chr", swapped=frozenset(range(0, SITES, 3)))
    result = align(stdin=text)
    assert f"{build}, {SITES} of {SITES} panel sites" in result.stderr
    assert result.output == align(cohort.newcomers).output


def test_the_size_of_batches_does_not_matter(align, cohort, records):
    expected = align("--phenotypes", records, cohort.newcomers)
    for size in ("1", "3"):
        assert (
            align("--phenotypes", records, "--batch-size", size, cohort.newcomers).output
            == expected.output
        )


def test_a_sample_without_a_usable_site_is_unknown(align, cohort):
    rows = [row for row in align(cohort.newcomers).rows if row[0] == "nobody"]
    assert rows == [["nobody", "UNKNOWN", ".", "."]]


def test_the_report(align, cohort, records, tmp_path):
    path = tmp_path / "report.json"
    assert align("--phenotypes", records, "--report-json", path, cohort.newcomers).status == 0
    report = json.loads(path.read_text())
    samples = len(cohort.names)
    assert report["records"] == {"read": samples, "used": samples - 1, "refused": 1}
    assert report["details"]["phenotypes"] == {"file": str(records), "records": 4, "ignored": []}
    assert report["model"]["name"] == "handmade"


def test_columns_that_the_model_does_not_know_are_told(align, tmp_path):
    path = tmp_path / "more.tsv"
    path.write_text("id\tpop\tshoe size\na\tNOA\t42\n")
    result = align("--phenotypes", path, stdin=FASTA)
    assert result.status == 0
    assert f"warning: {path}: columns unknown to the model: shoe size\n" in result.stderr


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\tpop\na\tNOA\na\tNOB\n", r":3: .*again \(first in line 2\)"),
        ("id\tpop\na\tNOA\nb\tMARS\n", r":3: pop 'MARS' is unknown to the model"),
        ("id\tpop\tlatitude\tlongitude\na\tNOA\tfar\t1\n", r":2: latitude is 'far'"),
        ("id\tpop\na\tNOA\nb\t.\n", ":3: nothing is known of b"),
        ("id\tpop\na\tNOA\tNOB\n", ":2: 3 columns where the header has 2"),
        ("id\tpop\n", "a header, but no records"),
        ("", "the input is empty"),
        ("id\n", "two or more columns"),
        ("id\tshoes\na\t42\n", ":1: no column that the model knows"),
    ],
)
def test_a_bad_table_of_phenotypes_is_refused_with_its_line(align, tmp_path, text, message):
    path = tmp_path / "bad.tsv"
    path.write_text(text)
    result = align("--phenotypes", path, stdin=FASTA)
    assert (result.status, result.output) == (1, b"")
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(f"genomai align: {re.escape(str(path))}.*{message}.*", last)


def test_a_model_without_phenotypes_is_refused(handmade_bundle):
    result = run(["align", "--model", handmade_bundle, "--device", "cpu"], stdin=FASTA)
    assert (result.status, result.output) == (1, b"")
    assert "knows no phenotypes" in result.stderr


def test_a_model_without_records_needs_a_table(handmade_bundle, tmp_path, records):
    bare = with_phenotypes(handmade_bundle, tmp_path / "bare", None)
    command = ["align", "--model", bare, "--device", "cpu"]
    result = run(command, stdin=FASTA)
    assert result.status == 2
    assert "give --phenotypes" in result.stderr
    assert run([*command, "--phenotypes", records], stdin=FASTA).status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "x", "--reverse"], "--pairs writes the pairs alone"),
        (["--pairs", "x", "--top", "2"], "--pairs writes the pairs alone"),
        (["--permutations", "9"], "--permutations are of --pairs"),
        (["--plot", "x.pdf"], ".png, .svg, .html"),
        (["--plot-of", "NOA"], "--plot-of is for --plot"),
        (["--phenotypes", "-"], "standard input (-) can be read only once"),
        (["--top", "0"], "--top"),
        (["--attention", "x", "-o", "x"], "--attention and --output are the same file"),
    ],
)
def test_wrong_usage(align, arguments, message):
    result = align(*arguments, stdin=FASTA)
    assert (result.status, result.output) == (2, b"")
    assert message in result.stderr


def test_a_sequence_that_is_no_barcode_is_refused_and_nothing_written(align, tmp_path):
    path = tmp_path / "out.tsv"
    result = align("-o", path, stdin=FASTA + ">odd\nACGT\n")
    assert result.status == 1
    assert "<stdin>:9: odd has 4 letters" in result.stderr
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


# --- pairs --------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path):
    def write_pairs(text):
        path = tmp_path / "pairs.tsv"
        path.write_text(text)
        return path

    return write_pairs


PAIRED = "phenotype\tsample\nSOC\tfew\nNOA\tnoa\nNOB\tmixed\nSOC\tmixed\n"


def test_pairs(align, pairs):
    rows_by_pair = {tuple(row[:2]): row for row in align(stdin=FASTA).rows[1:]}
    result = align("--pairs", pairs(PAIRED), stdin=FASTA)
    assert result.status == 0
    expected = [("few", "SOC"), ("noa", "NOA"), ("mixed", "NOB"), ("mixed", "SOC")]
    assert result.rows == [HEADER, *(rows_by_pair[pair] for pair in expected)]


def test_pairs_that_belong_together_are_told_from_chance(align, pairs, tmp_path):
    barcodes = {f"{p}_{n}": barcode(p, p, range(n, SITES)) for p in LABELS for n in range(4)}
    fasta = "".join(f">{name}\n{letters}\n" for name, letters in barcodes.items())
    text = "".join(f"{name}\t{name.split('_')[0]}\n" for name in barcodes)
    report = tmp_path / "report.json"
    file = pairs(f"sample\tphenotype\n{text}")
    result = align("--pairs", file, "--report-json", report, stdin=fasta)
    test = json.loads(report.read_text())["details"]["permutation_test"]
    assert test["pairs"] == 12
    assert test["permutations"] == 9999
    assert test["p"] < 0.001
    assert test["observed"] > test["expected"] + 3 * test["spread"]
    similarities = [float(row[2]) for row in result.rows[1:]]
    assert test["observed"] == pytest.approx(np.mean(similarities), abs=1e-6)
    assert f"p = {test['p']:.4g} in 9999 permutations" in result.stderr


def test_permutations_follow_the_seed(align, cohort, pairs, tmp_path):
    names = cohort.names[:6]
    file = pairs("sample\tphenotype\n" + "".join(f"{n}\t{n[:3]}\n" for n in names))

    def expected_mean(seed):
        report = tmp_path / "report.json"
        options = ["--permutations", "99", "--seed", seed, "--report-json", report]
        assert align("-q", "--pairs", file, *options, cohort.newcomers).stderr == ""
        return json.loads(report.read_text())["details"]["permutation_test"]["expected"]

    assert expected_mean("1") == expected_mean("1") != expected_mean("2")


def test_a_pair_of_a_sample_without_sites_has_no_similarity(align, pairs, tmp_path):
    report = tmp_path / "report.json"
    file = pairs("sample\tphenotype\nnobody\tNOA\nnoa\tNOA\n")
    result = align("--pairs", file, "--report-json", report, stdin=FASTA)
    assert result.rows[1] == ["nobody", "NOA", ".", "."]
    assert json.loads(report.read_text())["details"]["permutation_test"]["pairs"] == 1


def test_pairs_of_nobody_are_not_tested(align, pairs):
    result = align("--pairs", pairs("sample\tphenotype\nnobody\tNOA\n"), stdin=FASTA)
    assert result.status == 0
    assert "permutations" not in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample\tphenotype\nnoa\tNOA\nwho\tNOB\n", ":3: no sample 'who' in the input"),
        ("sample\tphenotype\nnoa\tNOA\nnoa\tMARS\n", ":3: no phenotype 'MARS' in"),
        ("sample\tphenotype\nnoa\tNOA\nnoa\tNOA\n", r":3: the pair of noa and NOA again \(first in line 2\)"),
        ("sample\tphenotype\n\tNOA\n", ":2: a row without a sample"),
        ("sample\tphenotype\nnoa\t \n", ":2: a row without a phenotype"),
        ("sample\tphenotype\n", "a header, but no pairs"),
        ("sample\trecord\nnoa\tNOA\n", ":1: no column 'phenotype'"),
        ("", "the input is empty"),
    ],
)  # fmt: skip
def test_bad_pairs_are_refused_with_their_line(align, pairs, text, message):
    path = pairs(text)
    result = align("--pairs", path, stdin=FASTA)
    assert (result.status, result.output) == (1, b"")
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(f"genomai align: {re.escape(str(path))}.*{message}.*", last)


def test_a_paired_sample_that_is_twice_in_the_input_is_refused(align, pairs):
    path = pairs("sample\tphenotype\nmixed\tNOA\nnoa\tNOA\n")
    result = align("--pairs", path, stdin=FASTA + FASTA)
    assert result.status == 1
    assert f"{path}:3: sample 'noa' is there twice in the input" in result.stderr
