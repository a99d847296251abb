"""`genomai classify`: the table, every way in, builds and alleles, what it refuses, and what it leaves behind."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import (
    PRIOR,
    SITES,
    assert_expected,
    common_allele,
    run,
    run_process,
    site,
    variant_text,
)

from genomai_cli import __version__
from genomai_cli.bundles import catalog
from genomai_cli.formats.bgzf import is_bgzf

pytestmark = pytest.mark.usefixtures("one_thread")
HEADER = ["sample", "superpop", "superpop_p", "pop", "pop_p", "used", "call_rate", "flags", "model"]
PROBABILITIES = ["superpop:NORTH", "superpop:SOUTH", "pop:NOA", "pop:NOB", "pop:SOC"]
HETEROZYGOTES = {"AG": "R", "CT": "Y", "GC": "S", "TA": "W", "AC": "M", "TG": "K"}
BCFTOOLS = shutil.which("bcftools")
needs_bcftools = pytest.mark.skipif(not BCFTOOLS, reason="bcftools is not installed here")


def letter(number, copies):
    """The IUPAC letter of this number of copies of alt at a site."""
    _, _, ref, alt = site(number)
    return (ref, HETEROZYGOTES[ref + alt], alt)[copies]


def barcode(mother, father, known=range(SITES)):
    """The barcode of a child of two populations: their common alleles, N at the sites that are not known."""
    copies = [common_allele(mother, n) + common_allele(father, n) for n in range(SITES)]
    return "".join(letter(n, copies[n]) if n in known else "N" for n in range(SITES))


@pytest.fixture(scope="module")
def tiny(tiny_bundle):
    """Classifies with the tiny bundle."""

    def classify(*arguments, stdin=b""):
        return run(["classify", "--device", "cpu", "--model", tiny_bundle, *arguments], stdin=stdin)

    return classify


@pytest.fixture(scope="module")
def handmade(handmade_bundle):
    """Classifies with the handmade bundle."""

    def classify(*arguments, stdin=b""):
        return run(
            ["classify", "--device", "cpu", "--model", handmade_bundle, *arguments], stdin=stdin
        )

    return classify


@pytest.fixture(scope="module")
def expected(tiny, cohort):
    """The newcomers' table."""
    result = tiny("--probs", cohort.newcomers)
    assert result.status == 0
    return result


BARCODES = {
    "northerner": barcode("NOA", "NOB"),
    "southerner few sites": barcode("SOC", "SOC", range(3)),
    "child of two": barcode("NOB", "SOC"),
    "one": barcode("NOA", "NOA", [0]),
    "two": barcode("NOA", "NOA", [2]),
    "haplotype": barcode("NOA", "NOA", range(50)),
    "nobody": "N" * SITES,
}
FASTA = "".join(f">{name}\n{letters}\n" for name, letters in BARCODES.items())


def test_the_table(handmade):
    result = handmade(stdin=FASTA)
    assert (result.status, result.stderr) == (0, "")
    assert_expected("classify.tsv", result.stdout)


def test_the_table_with_every_labels_probability(handmade):
    assert_expected("classify-probs.tsv", handmade("--probs", stdin=FASTA).stdout)


def test_probabilities_by_hand(handmade):
    # One homozygote of the allele that has the frequency 0.8 in NOA and NOB, and 0.2 in SOC.
    (row,) = handmade("--probs", stdin=f">x\n{BARCODES['one']}\n").rows[1:]
    joint = [prior * f**2 for prior, f in zip(PRIOR, (0.8, 0.8, 0.2), strict=True)]
    noa, nob, soc = (p / sum(joint) for p in joint)
    assert row[len(HEADER) :] == [
        f"{probability:.4f}" for probability in (noa + nob, soc, noa, nob, soc)
    ]
    assert row[1:5] == ["NORTH", f"{noa + nob:.4f}", "NOA", f"{noa:.4f}"]


def test_columns(expected, tiny, cohort):
    assert expected.rows[0] == HEADER + PROBABILITIES
    plain = tiny(cohort.newcomers)
    assert plain.rows[0] == HEADER
    assert plain.rows == [row[: len(HEADER)] for row in expected.rows]


def test_rows_come_in_input_order(expected, cohort):
    assert [row[0] for row in expected.rows[1:]] == cohort.names


def test_a_label_stands_beside_its_probability(expected):
    for row in expected.rows[1:-1]:
        fields = dict(zip(expected.rows[0], row, strict=True))
        for head in ("superpop", "pop"):
            assert fields[f"{head}_p"] == fields[f"{head}:{fields[head]}"]
            probabilities = [
                float(fields[name]) for name in PROBABILITIES if name.startswith(f"{head}:")
            ]
            assert sum(probabilities) == pytest.approx(1, abs=2e-4)
            assert float(fields[f"{head}_p"]) == max(probabilities)


def test_a_sample_without_a_usable_site_is_unknown(expected):
    unknown = ["UNKNOWN", "."] * 2
    assert expected.rows[-1] == [
        "nobody", *unknown, "0", "0.0000", "LOW_CALL_RATE", "tiny@1.0.0", *["."] * 5
    ]  # fmt: skip


def test_most_newcomers_are_placed_right(expected):
    correct = [row[0].startswith(row[3]) for row in expected.rows[1:7]]
    assert sum(correct) >= 4


def test_the_build_is_told_on_standard_error(expected, cohort):
    assert expected.stderr == (
        f"genomai classify: {cohort.newcomers}: GRCh37, {SITES} of {SITES} panel sites\n"
    )


def test_quiet_says_nothing(tiny, cohort):
    assert tiny("-q", cohort.newcomers).stderr == ""


def test_standard_input_gives_the_same_bytes(tiny, cohort, expected):
    assert tiny("--probs", stdin=cohort.newcomers).output == expected.output
    assert tiny("--probs", "-", stdin=cohort.newcomers).output == expected.output


def test_a_pipe_gives_the_same_bytes(tiny_bundle, cohort, expected):
    command = ["classify", "--device", "cpu", "--model", tiny_bundle, "--probs"]
    result = run_process([*command, "--threads", "1"], stdin=cohort.newcomers)
    assert result.status == 0
    assert result.output == expected.output


def test_the_barcodes_of_tokenize_give_the_same_bytes(tiny, tiny_bundle, cohort, expected):
    panel = tiny_bundle / "panel.tsv"
    fasta = run(["tokenize", "--to", "fasta", "--panel", panel, cohort.newcomers])
    assert fasta.status == 0
    assert tiny("--probs", stdin=fasta.output).output == expected.output


@pytest.mark.parametrize("suffix", [".gz", ".bgz"])
def test_compressed_input_gives_the_same_bytes(tiny, cohort, expected, tmp_path, suffix):
    path = tmp_path / "no-telling-name"
    if suffix == ".gz":
        path.write_bytes(gzip.compress(cohort.newcomers.read_bytes()))
    else:
        from genomai_cli.formats.outputs import atomic_output

        with atomic_output(tmp_path / "x.gz") as out:
            out.write(cohort.newcomers.read_bytes())
        (tmp_path / "x.gz").rename(path)
        assert is_bgzf(path.read_bytes()[:18])
    assert tiny("--probs", path).output == expected.output
    assert tiny("--probs", stdin=path).output == expected.output


@needs_bcftools
@pytest.mark.parametrize("form", ["b", "u", "z"])
def test_bcf_gives_the_same_bytes(tiny, cohort, expected, tmp_path, form):
    path = tmp_path / "newcomers"
    subprocess.run(
        [BCFTOOLS, "view", "-O", form, "-o", path, cohort.newcomers],
        check=True,
        capture_output=True,
    )
    assert tiny("--probs", path).output == expected.output
    assert tiny("--probs", stdin=path).output == expected.output


@needs_bcftools
def test_an_indexed_file_gives_the_same_bytes(tiny, cohort, expected, tmp_path):
    path = tmp_path / "newcomers.bcf"
    subprocess.run([BCFTOOLS, "view", "-Ob", "-o", path, cohort.newcomers], check=True)
    subprocess.run([BCFTOOLS, "index", path], check=True)
    assert tiny("--probs", path).output == expected.output


SWAPPED = frozenset(range(0, SITES, 7))


@pytest.mark.parametrize(
    "changes",
    [
        {"build": "GRCh38"},
        {"prefix": "chr"},
        {"swapped": SWAPPED},
        {"build": "GRCh38", "prefix": "chr", "swapped": SWAPPED},
    ],
    ids=["GRCh38", "chr", "swapped", "all"],
)
def test_other_builds_prefixes_and_allele_orders_have_the_same_rows(
    tiny, cohort, expected, changes
):
    result = tiny("--probs", stdin=cohort.variant_text(**changes))
    assert result.output == expected.output
    assert changes.get("build", "GRCh37") in result.stderr


def test_unphased_genotypes_have_the_same_rows(tiny, cohort, expected):
    text = cohort.variant_text().replace("|", "/").replace("1/0", "0/1")
    assert tiny("--probs", stdin=text).output == expected.output


def test_a_cohort_split_by_chromosome_is_read_as_one(tiny, cohort, expected, tmp_path):
    lines = cohort.variant_text().splitlines(keepends=True)
    head = [line for line in lines if line.startswith("#")]
    for chrom in ("1", "2"):
        body = [line for line in lines if line.startswith(f"{chrom}\t")]
        (tmp_path / chrom).write_text("".join(head + body))
    assert tiny("--probs", tmp_path / "2", tmp_path / "1").output == expected.output


def test_absent_is_ref_reads_a_list_of_variants(tiny, tiny_bundle, cohort):
    alleles = cohort.alleles[:6]
    lines = variant_text(cohort.names[:6], alleles).splitlines(keepends=True)
    full = tiny(stdin="".join(lines))
    monomorphic = [line for line in lines if "1|" not in line and "|1" not in line and "|" in line]
    assert monomorphic
    shorter = "".join(line for line in lines if line not in monomorphic)
    shortened = tiny("--absent-is-ref", stdin=shorter)
    rate = HEADER.index("call_rate")
    assert [row[:rate] + row[rate + 1 :] for row in shortened.rows] == [
        row[:rate] + row[rate + 1 :] for row in full.rows
    ]
    assert {row[rate] for row in shortened.rows[1:]} == {f"{1 - len(monomorphic) / SITES:.4f}"}
    panel = tiny_bundle / "panel.tsv"
    command = ["tokenize", "--to", "fasta", "--absent-is-ref", "--panel", panel]
    assert tiny(stdin=run(command, stdin=shorter).output).output == shortened.output
    assert tiny(stdin=shorter).output != full.output


def fasta_of(*names):
    return "".join(f">{name}\n{BARCODES[name]}\n" for name in names)


def wrapped(text, width):
    return "\n".join(text[start : start + width] for start in range(0, len(text), width))


@pytest.mark.parametrize(
    "text",
    [
        f">northerner\n{BARCODES['northerner'].lower()}\n",
        f">northerner some words\n{wrapped(BARCODES['northerner'], 11)}\n",
        f">northerner\r\n{wrapped(BARCODES['northerner'], 60)}\r\n".replace("\n", "\r\n").replace(
            "\r\r", "\r"
        ),
        f"\n>northerner\n\n{BARCODES['northerner']}",
        f"@northerner\n{BARCODES['northerner']}\n+\n{'I' * SITES}\n",
    ],
    ids=["lower case", "wrapped", "CRLF", "blank lines, no last line end", "FASTQ"],
)
def test_the_letters_count_not_their_layout(handmade, text):
    assert handmade(stdin=text).output == handmade(stdin=fasta_of("northerner")).output


def test_repeated_names_keep_their_rows(handmade):
    rows = handmade(stdin=fasta_of("one", "one", "two")).rows
    assert [row[0] for row in rows[1:]] == ["one", "one", "two"]
    assert rows[1] == rows[2]


def test_haplotypes_are_flagged(tiny, tiny_bundle, cohort):
    panel = tiny_bundle / "panel.tsv"
    strands = run(["tokenize", "--to", "fasta", "--haplotypes", "--panel", panel, cohort.newcomers])
    rows = tiny(stdin=strands.output).rows[1:]
    assert [row[0] for row in rows[:3]] == ["NOA_new1_A", "NOA_new1_B", "NOA_new2_A"]
    for name, *_, flags, _ in rows[:14]:
        assert "HAPLOID" in flags.split(","), name


def test_inputs_follow_one_another(handmade, cohort, tmp_path):
    for name, samples in (("a.fa", ["one", "two"]), ("b.fa", ["northerner"])):
        (tmp_path / name).write_text(fasta_of(*samples))
    result = handmade(tmp_path / "b.fa", cohort.newcomers, tmp_path / "a.fa")
    names = ["northerner", *cohort.names, "one", "two"]
    assert [row[0] for row in result.rows[1:]] == names
    separate = [
        handmade(file).rows[1:] for file in (tmp_path / "b.fa", cohort.newcomers, tmp_path / "a.fa")
    ]
    assert result.rows[1:] == [row for rows in separate for row in rows]


def test_the_model_answers_in_double_precision(tiny, cohort, monkeypatch):
    from genomai_cli.bundles import bundle as bundles

    loaded, load = [], bundles.load

    def spy(*arguments):
        loaded.append(load(*arguments))
        return loaded[0]

    monkeypatch.setattr(bundles, "load", spy)
    assert tiny(cohort.newcomers).status == 0
    dtypes = {str(p.dtype) for p in loaded[0].classifier.parameters()}
    assert dtypes == {"torch.float64"}


def test_the_same_bytes_again(tiny, cohort, expected):
    assert tiny("--probs", cohort.newcomers).output == expected.output


LATE_FAULT = fasta_of(*["one"] * 400) + ">broken\nACGT\n"
BAD_INPUTS = {
    "empty": (b"", "<stdin>: the input is empty"),
    "blank": (b"\n \n", "<stdin>: the input is empty"),
    "garbage": (b"garbage and nothing else", "<stdin>:1: not FASTA, FASTQ, VCF or BCF"),
    "binary": (bytes(range(1, 200)), "<stdin>:1: not FASTA, FASTQ, VCF or BCF"),
    "truncated gzip": (gzip.compress(FASTA.encode())[:-40], "truncated"),
    "header of gzip": (b"\x1f\x8b\x08\x00", "truncated"),
    "foreign letter": (b">a\nACGT\nACXT\n", "<stdin>:3: 'X' is not a nucleotide letter"),
    "too short": (b">a\nACGT\n", "<stdin>:1: a has 4 letters: a barcode for the model tiny has 120"),
    "late": (LATE_FAULT.encode(), "<stdin>:801: broken has 4 letters"),
    "no sample": (b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n", "no samples"),
    "only a header": (
        b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tA\n",
        "no records",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_line_and_nothing_else(tiny, tmp_path, case):
    content, message = BAD_INPUTS[case]
    result = tiny(stdin=content)
    assert result.status == 1
    assert result.output == b""
    assert result.stderr.startswith("genomai classify: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert tiny("-o", tmp_path / "out.tsv", stdin=content).status == 1
    assert list(tmp_path.iterdir()) == []


def test_a_vcf_of_other_sites_is_refused_with_both_counts(tiny, cohort):
    other_sites = cohort.variant_text().replace("\n1\t", "\n5\t").replace("\n2\t", "\n6\t")
    result = tiny(stdin=other_sites)
    assert result.status == 1
    assert "matches 0 of 120 panel sites in GRCh37 and 0 in GRCh38" in result.stderr


def test_a_truncated_vcf_is_refused(tiny, cohort):
    compressed = gzip.compress(cohort.newcomers.read_bytes())
    result = tiny(stdin=compressed[: len(compressed) // 2])
    assert (result.status, result.output) == (1, b"")


def test_a_missing_file_is_told_before_any_work(tiny, cohort, tmp_path):
    result = tiny(cohort.newcomers, tmp_path / "nowhere.vcf")
    assert (result.status, result.output) == (1, b"")
    assert result.stderr == (
        f"genomai classify: {tmp_path / 'nowhere.vcf'}: no such file or directory\n"
    )


def test_an_unknown_model_is_told_with_those_there_are(models_folder, tiny_bundle, cohort):
    shutil.copytree(tiny_bundle, models_folder / "tiny")
    result = run(["classify", "--model", "tyni", cohort.newcomers])
    assert (result.status, result.output) == (1, b"")
    assert result.stderr.startswith("genomai classify: no model named 'tyni': installed are ")
    assert "tiny" in result.stderr


def test_a_model_is_found_by_name(models_folder, tiny_bundle, cohort, expected):
    shutil.copytree(tiny_bundle, models_folder / "tiny")
    result = run(["classify", "--device", "cpu", "--probs", "--model", "tiny", cohort.newcomers])
    assert result.output == expected.output


def test_barcodes_of_an_installed_models_larger_panel_are_accepted(
    models_folder, tiny_bundle, handmade_bundle, cohort
):
    shutil.copytree(tiny_bundle, models_folder / "tiny")
    small = models_folder / "small"
    files = [cohort.vcf, "--labels", cohort.labels, "--panel", cohort.panel, "-o", small]
    network = "network.width=8 network.heads=2 network.layers=1 network.feed_forward=8"
    steps = "optimization.steps=4 optimization.batch_size=8 optimization.evaluate_every=4"
    settings = f"input.best_sites=40 {network} {steps}".split()
    trained = run(
        ["train", *files, "--recipe", "genomai-v2", "--device", "cpu"]
        + [argument for setting in settings for argument in ("--set", setting)]
    )
    assert trained.status == 0, trained.stderr
    command = ["classify", "--device", "cpu", "--probs", "--model", "small"]
    from_vcf = run([*command, cohort.newcomers])
    used = from_vcf.rows[0].index("used")
    assert {row[used] for row in from_vcf.rows[1:8]} == {"40"}
    long, short = (
        run(["tokenize", "--to", "fasta", "--panel", panel, cohort.newcomers]).output
        for panel in (tiny_bundle / "panel.tsv", small / "panel.tsv")
    )
    assert run(command, stdin=long).output == from_vcf.output
    assert run(command, stdin=short).output == from_vcf.output
    refused = run(command, stdin=">x\nACGT\n")
    assert "a barcode for the model small has 40 or 120" in refused.stderr


@pytest.mark.parametrize("damage", ["config.json", "panel.tsv"])
def test_another_models_damage_does_not_matter(
    models_folder, tiny_bundle, cohort, tiny, expected, damage
):
    other = shutil.copytree(tiny_bundle, models_folder / "other")
    (other / damage).write_text("{")
    assert tiny("--probs", cohort.newcomers).output == expected.output


def test_a_model_of_plain_dna_reads_sequences_of_any_length(tiny_sequence_bundle):
    command = ["classify", "--device", "cpu", "--model", tiny_sequence_bundle]
    result = run(command, stdin=f">a\n{'GCCGC' * 30}\n>b\n{'ATTAA' * 5}\n>c\nAC\n")
    assert result.rows[0] == [
        "sample",
        "content",
        "content_p",
        "used",
        "call_rate",
        "flags",
        "model",
    ]
    assert [row[:2] for row in result.rows[1:]] == [["a", "gc"], ["b", "at"], ["c", "UNKNOWN"]]
    assert [row[3] for row in result.rows[1:]] == ["150", "25", "0"]


def test_a_model_of_plain_dna_reads_no_vcf(tiny_sequence_bundle, cohort):
    result = run(["classify", "--model", tiny_sequence_bundle, cohort.newcomers])
    assert (result.status, result.output) == (1, b"")
    assert "has no panel: it does not read VCF" in result.stderr


def test_output_file_is_written_whole(tiny, cohort, expected, tmp_path):
    for name in ("out.tsv", "out.tsv.gz"):
        result = tiny("--probs", cohort.newcomers, "-o", tmp_path / name)
        assert (result.status, result.output) == (0, b"")
    assert (tmp_path / "out.tsv").read_bytes() == expected.output
    compressed = (tmp_path / "out.tsv.gz").read_bytes()
    assert is_bgzf(compressed[:18])
    assert gzip.decompress(compressed) == expected.output
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.tsv", "out.tsv.gz"]


def test_a_run_that_fails_leaves_the_output_before(tiny, tmp_path):
    (tmp_path / "out.tsv").write_text("of yesterday\n")
    assert tiny("-o", tmp_path / "out.tsv", stdin=LATE_FAULT).status == 1
    assert (tmp_path / "out.tsv").read_text() == "of yesterday\n"
    assert [file.name for file in tmp_path.iterdir()] == ["out.tsv"]


def test_report_json(tiny, tiny_bundle, cohort, tmp_path):
    tiny("--report-json", tmp_path / "run.json", cohort.newcomers)
    report = json.loads((tmp_path / "run.json").read_text())
    assert (report["schema_version"], report["version"]) == (1, __version__)
    assert (report["command"], report["status"]) == ("classify", "done")
    digest = catalog.sha256(tiny_bundle / "model.safetensors")
    assert report["model"] == {"name": "tiny", "version": "1.0.0", "sha256": digest}
    assert report["inputs"] == [str(cohort.newcomers)]
    assert report["records"] == {"read": 9, "used": 8, "refused": 1}
    assert report["device"] == "cpu"
    assert report["details"]["builds"] == ["GRCh37"]
    assert report["arguments"]["model"] == str(tiny_bundle)


@pytest.fixture(scope="module")
def variants_only(cohort):
    """The newcomers as a VCF without homozygous reference calls."""
    alleles = cohort.alleles.copy()
    alleles.transpose(0, 2, 1)[(cohort.alleles == 0).all(axis=1)] = -1
    return variant_text(cohort.names, alleles)


def test_a_list_of_variants_is_told_with_its_remedy(tiny, expected, variants_only):
    result = tiny(stdin=variants_only)
    flags = {row[0]: row[7].split(",") for row in result.rows[1:]}
    assert [
        name for name, sample_flags in flags.items() if "VARIANTS_ONLY" not in sample_flags
    ] == ["sparse", "nobody"]
    (line,) = [line for line in result.stderr.splitlines() if "VARIANTS_ONLY" in line]
    assert "7 of 9 samples" in line
    assert "--absent-is-ref" in line
    assert "bcftools merge -0" in line
    labels = {row[0]: row[1] for row in expected.rows[1:]}
    assert sum(labels[row[0]] == row[1] for row in result.rows[1:7]) >= 5


def test_complete_calls_are_no_list_of_variants(expected):
    assert "VARIANTS_ONLY" not in expected.stderr


def test_report_json_counts_flags(tiny, variants_only, tmp_path):
    tiny("--report-json", tmp_path / "run.json", stdin=variants_only)
    counts = json.loads((tmp_path / "run.json").read_text())["details"]["flags"]
    assert counts["VARIANTS_ONLY"] == 7
    assert counts["LOW_CALL_RATE"] >= 2


def test_report_json_of_a_failure(tiny, tmp_path):
    tiny("--report-json", tmp_path / "run.json", stdin=">a\nACGT\n")
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["status"] == "failed"
    assert "a has 4 letters" in report["error"]


def test_a_closed_pipe_ends_it_in_silence(tiny_bundle, cohort, tmp_path):
    (tmp_path / "many.fa").write_text(fasta_of(*["northerner"] * 3000))
    command = f"{sys.executable} -m genomai_cli classify --threads 1 --model {tiny_bundle} {tmp_path}/many.fa"
    result = subprocess.run(
        ["bash", "-c", f"{command} | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
        timeout=120,
    )
    first, status = result.stdout.splitlines()
    assert first == "\t".join(HEADER)
    assert status == "141"
    assert result.stderr == ""


@pytest.mark.parametrize(
    "options", ["--batch-size 0", "--threads 0", "--device tpu", "--probs=yes", "--frobnicate"]
)
def test_wrong_usage(tiny, cohort, options):
    result = tiny(cohort.newcomers, *options.split())
    assert (result.status, result.output) == (2, b"")


class TestMeasures:
    """Fractions of ancestry and principal components, after the other columns."""

    def test_columns_come_after_the_others(self, tiny, cohort, expected):
        result = tiny("--probs", "--proportions", "superpop", "--pcs", "2", cohort.newcomers)
        added_columns = [
            "fraction:NORTH",
            "fraction:SOUTH",
            "fraction_se:NORTH",
            "fraction_se:SOUTH",
            "PC1",
            "PC2",
        ]
        assert result.rows[0] == expected.rows[0] + added_columns
        assert [row[: -len(added_columns)] for row in result.rows] == expected.rows
        for row in result.rows[1:]:
            assert row[1] == "UNKNOWN" or abs(float(row[-6]) + float(row[-5]) - 1) < 2e-4

    def test_the_fractions_go_into_a_file_as_admixture_writes_it(self, tiny, cohort, tmp_path):
        result = tiny("--q", tmp_path / "x.Q", "--proportions", "pop", cohort.newcomers)
        fractions = [line.split(" ") for line in (tmp_path / "x.Q").read_text().splitlines()]
        rows = [row for row in result.rows[1:] if row[1] != "UNKNOWN"]
        assert [len(row) for row in fractions] == [3] * len(rows)
        names = (tmp_path / "x.Q.samples").read_text().splitlines()
        assert names == [row[0] for row in rows]
        columns = [result.rows[0].index(f"fraction:{label}") for label in ("NOA", "NOB", "SOC")]
        for values, row in zip(fractions, rows, strict=True):
            assert [f"{float(value):.4f}" for value in values] == [
                row[column] for column in columns
            ]

    @pytest.mark.parametrize("options", [[], ["--q", "x.Q"], ["--report", "x.html"]])
    def test_the_axes_go_into_a_file_as_plink2_writes_it(
        self, tiny, cohort, tmp_path, options, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        result = tiny("--eigenvec", "x.eigenvec", "--pcs", "2", *options, cohort.newcomers)
        header, *axes = [line.split("\t") for line in Path("x.eigenvec").read_text().splitlines()]
        assert header == ["#IID", "PC1", "PC2"]
        measured_rows = [row for row in result.rows[1:] if row[-1] != "."]
        assert len(axes) == len(measured_rows) > 0
        for (name, *values), row in zip(axes, measured_rows, strict=True):
            assert name == row[0]
            assert [float(value) for value in values] == pytest.approx(
                [float(value) for value in row[-2:]], abs=6e-5
            )

    def test_nothing_to_read_has_no_fractions(self, tiny, tmp_path):
        text = f">nothing\n{'N' * SITES}\n"
        options = ["--eigenvec", tmp_path / "x.eigenvec"]
        result = tiny("--q", tmp_path / "x.Q", "--pcs", "1", *options, stdin=text)
        assert result.rows[1][-5:] == ["."] * 5
        assert (tmp_path / "x.Q").read_text() == (tmp_path / "x.Q.samples").read_text() == ""
        assert (tmp_path / "x.eigenvec").read_text() == "#IID\tPC1\n"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--pcs", "99"], "--pcs 99: the model has"),
            (["--eigenvec", "x.eigenvec"], "--eigenvec needs --pcs N: how many axes"),
            (["--proportions", "sex"], "--proportions sex: the model's heads are superpop, pop"),
        ],
    )
    def test_what_the_model_does_not_have_is_one_line(
        self, tiny, cohort, tmp_path, options, message
    ):
        result = tiny(*options, "--q", tmp_path / "x.Q", cohort.newcomers)
        assert result.status == 2
        assert not result.output
        assert message in result.stderr.splitlines()[-1]
        assert not list(tmp_path.iterdir())

    def test_a_model_without_axes_says_so(self, handmade, cohort):
        result = handmade("--pcs", "1", cohort.newcomers)
        assert result.status == 1
        assert not result.output
        assert "train it again" in result.stderr


class TestRawData:
    """Raw data of a consumer test are read at the panel's sites, as a VCF of the same person is."""

    @staticmethod
    def raw(cohort, sample, *, complement=False, sites=range(SITES)):
        """One of the newcomers as a file of 23andMe."""
        lines = ["# This data file generated by 23andMe at: now", "# build 37"]
        for number in sites:
            chromosome, position, ref, alt = site(number)
            alleles = cohort.alleles[sample, :, number]
            letters = "--" if (alleles < 0).any() else "".join((ref, alt)[a] for a in alleles)
            if complement:
                letters = letters.translate(str.maketrans("ACGT", "TGCA"))
            lines.append(f"rs{number}\t{chromosome}\t{position}\t{letters}")
        return "\n".join(lines) + "\n"

    def test_they_give_the_row_of_a_vcf(self, tiny, cohort, expected, tmp_path):
        for sample in range(4):
            name = expected.rows[1 + sample][0]
            path = tmp_path / f"{name}.txt"
            path.write_text(self.raw(cohort, sample))
            result = tiny("--probs", path)
            assert result.rows[1] == expected.rows[1 + sample]
            assert "swapped" not in result.stderr

    def test_the_other_strand_is_turned(self, tiny, cohort, expected, tmp_path):
        path = tmp_path / f"{expected.rows[1][0]}.txt"
        path.write_text(self.raw(cohort, 0, complement=True))
        result = tiny("--probs", path)
        assert result.rows[1] == expected.rows[1]
        assert "turned from the other strand" in result.stderr

    def test_other_commands_read_them_too(self, tiny_bundle, cohort, tmp_path):
        path = tmp_path / "someone.txt"
        path.write_text(self.raw(cohort, 0))
        result = run(["tokenize", "--to", "fasta", "--model", tiny_bundle, path])
        assert result.stdout.splitlines()[0].startswith(">someone")

    def test_a_bad_line_is_named(self, tiny, cohort, tmp_path):
        path = tmp_path / "someone.txt"
        path.write_text(self.raw(cohort, 0) + "rs9\tnowhere\n")
        result = tiny(path)
        assert result.status == 1
        assert not result.output
        assert f"someone.txt:{SITES + 3}" in result.stderr
