"""`genomai evaluate --task generation`: its files, its table, what it refuses."""

import json

import numpy as np
import pytest
from conftest import MISSING, assert_expected, run, variant_text

pytestmark = pytest.mark.usefixtures("few_trees")

GROUPS = (
    "data allele_frequency linkage neighbours copies components nearest_real told_apart "
    "independent mosaic-20 privacy"
)
GENERATION = ["evaluate", "--task", "generation"]


@pytest.fixture(scope="module")
def files(cohort, tmp_path_factory):
    """Generated samples, which are real ones with some alleles changed, and other real ones, as VCF."""
    folder, rng = tmp_path_factory.mktemp("generated"), np.random.default_rng(5)
    alleles = cohort.alleles[cohort.alleles.min(axis=(1, 2)) > MISSING]
    copied = alleles[rng.integers(len(alleles), size=20)]
    mutated = copied ^ (rng.random(copied.shape) < 0.1)
    names = [f"synthetic_{'NOA' if i % 2 else 'SOC'}_{i}" for i in range(20)]
    (folder / "synthetic.vcf").write_text(variant_text(names, mutated))
    others = (rng.random((12, *alleles.shape[1:])) < 0.5).astype(np.int8)
    (folder / "others.vcf").write_text(variant_text([f"o{i}" for i in range(12)], others))
    return folder


def values(result):
    assert result.status == 0, result.stderr
    return {(group, metric): value for group, metric, value, *_ in result.rows[1:]}


def test_the_table(cohort, files):
    others = ["--held-out", files / "others.vcf"]
    result = run([*GENERATION, cohort.newcomers, files / "synthetic.vcf", *others])
    assert result.status == 0, result.stderr
    groups = {group: rows for group, rows in _by_group(result.rows[1:])}
    assert result.rows[0] == ["group", "metric", "value", "low", "high", "baseline"]
    assert list(groups) == GROUPS.split()
    # Counts and shares do not depend on the machine's arithmetic.
    retained = [row for group in ("data", "neighbours", "copies") for row in groups[group]]
    assert_expected("evaluate-generation.tsv", "".join("\t".join(row) + "\n" for row in retained))
    assert "synthetic.vcf: 20 samples at 120 sites, phased" in result.stderr


def test_simple_generators_draw_within_the_groups_given(cohort, files):
    command = [*GENERATION, cohort.vcf, files / "synthetic.vcf"]
    ungrouped, grouped = run(command), run([*command, "--groups", cohort.labels])
    assert "mosaic-20: pieces of real haplotypes" in ungrouped.stderr
    assert "among all real samples" in ungrouped.stderr
    assert "groups of the real samples" in grouped.stderr
    one, other = values(ungrouped), values(grouped)
    for generator in ("independent", "mosaic-20"):
        assert (generator, "told_apart:haplotype_auc_trees") in one
        assert one[generator, "linkage:r2_r"] != other[generator, "linkage:r2_r"]
    assert one["allele_frequency", "r"] == other["allele_frequency", "r"]


def test_groups_of_nobody_are_refused(cohort, files, tmp_path):
    (tmp_path / "groups.tsv").write_text("sample\tpop\nsomebody\tGBR\n")
    command = [*GENERATION, cohort.vcf, files / "synthetic.vcf"]
    result = run([*command, "--groups", tmp_path / "groups.tsv"])
    assert result.status == 1
    assert "groups.tsv: no label of a real sample" in result.stderr
    result = run(["evaluate", "p.tsv", "--truth", "t.tsv", "--groups", "g.tsv"])
    assert (result.status, "--groups is not for --task class" in result.stderr) == (2, True)


def test_samples_nearer_to_the_training_samples_are_warned_of(cohort, files, tmp_path):
    arguments = ["--held-out", files / "others.vcf", cohort.vcf, cohort.vcf]
    result = run([*GENERATION, *arguments, "--report", tmp_path / "page.html"])
    assert "some may be near-copies" in result.stderr
    assert "it gives away who was trained on" in result.stderr
    assert "some may be near-copies" in (tmp_path / "page.html").read_text()
    assert "near-copies" not in run([*GENERATION, cohort.vcf, files / "others.vcf"]).stderr


def _by_group(rows):
    groups = {}
    for row in rows:
        groups.setdefault(row[0], []).append(row)
    return groups.items()


def test_json_holds_the_same(cohort, files):
    arguments = [*GENERATION, cohort.vcf, files / "synthetic.vcf"]
    document = json.loads(run([*arguments, "--format", "json"]).stdout)
    assert (document["schema_version"], document["task"]) == (1, "generation")
    table_values = values(run(arguments))
    for group, measures in document["groups"].items():
        for name, estimate in measures.items():
            value = table_values[group, name]
            assert float(value) == pytest.approx(estimate["value"], abs=1e-6)


def test_barcodes_are_compared_without_phase(cohort, files):
    command = ["tokenize", "--to", "fasta", "--panel", cohort.panel]
    fasta = run([*command, files / "synthetic.vcf"]).output
    result = run([*GENERATION, "--panel", cohort.panel, cohort.vcf, "-"], stdin=fasta)
    found = values(result)
    assert found["data", "phased"] == "0"
    assert ("copies", "exact_haplotypes") not in found
    haplotypes = run([*command, "--haplotypes", files / "synthetic.vcf"]).output
    found = values(run([*GENERATION, "--panel", cohort.panel, cohort.vcf, "-"], stdin=haplotypes))
    assert found["data", "phased"] == "1"
    of_vcf = run([*GENERATION, "--panel", cohort.panel, cohort.vcf, files / "synthetic.vcf"])
    assert found == values(of_vcf)


def test_the_share_recognised_as_requested(cohort, files, tmp_path):
    names = [f"synthetic_{'NOA' if i % 2 else 'SOC'}_{i}" for i in range(20)]
    calls = ["NOA"] * 10 + ["UNKNOWN"] * 10
    rows = [f"{name}\t{call}\t0.5\n" for name, call in zip(names, calls, strict=True)]
    (tmp_path / "calls.tsv").write_text("sample\tpop\tpop_p\n" + "".join(rows))
    options = ["--predictions", tmp_path / "calls.tsv"]
    found = values(run([*GENERATION, cohort.vcf, files / "synthetic.vcf", *options]))
    assert found["recognised", "all"] == "0.250000"
    assert found["recognised", "as:NOA"] == "0.500000"
    assert found["recognised", "as:SOC"] == "0.000000"
    result = run([*GENERATION, cohort.vcf, cohort.newcomers, *options])
    assert result.status == 1
    assert "calls.tsv: names none of the generated samples" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one.vcf"], "REAL SYNTHETIC"),
        (["one.vcf", "two.vcf", "--truth", "t.tsv"], "--truth is not for --task generation"),
        (["one.vcf", "two.vcf", "--column", "a=b"], "--column is not for --task generation"),
    ],
)
def test_wrong_options_are_wrong_usage(arguments, message):
    result = run([*GENERATION, *arguments])
    assert result.status == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["p.tsv"], "--truth LABELS"),
        (["p.tsv", "q.tsv", "--truth", "t.tsv"], "one table of predictions"),
        (["p.tsv", "--truth", "t.tsv", "--held-out", "x"], "--held-out is not for --task class"),
    ],
)
def test_options_of_generation_are_not_for_classification(arguments, message):
    result = run(["evaluate", *arguments])
    assert result.status == 2
    assert message in result.stderr


def test_files_that_cannot_be_compared(cohort, files, tmp_path):
    (tmp_path / "dna.fa").write_text(">x\nACGT\n")
    result = run([*GENERATION, cohort.vcf, tmp_path / "dna.fa"])
    assert result.status == 1
    assert "dna.fa:1: x is no barcode of an installed panel" in result.stderr
    result = run([*GENERATION, "-", files / "synthetic.vcf"], stdin=cohort.vcf)
    assert result.status == 2
    assert "--panel or --model" in result.stderr


def test_a_page_beside_the_same_table(cohort, files, tmp_path):
    command = [*GENERATION, cohort.newcomers, files / "synthetic.vcf"]
    result = run([*command, "--report", tmp_path / "page.html"])
    assert result.output == run(command).output
    page = (tmp_path / "page.html").read_text()
    for text in ("Frequencies of the alternate alleles", "Linkage by distance", "adversarial"):
        assert text in page
    assert not [name for name in cohort.names if f">{name}<" in page], "a person is in it"
