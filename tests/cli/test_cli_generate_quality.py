"""`genomai generate --quality`: measures of generated samples, and the summaries of real ones they are based on."""

import json
import shutil

import numpy as np
import pytest
from conftest import SITES, run
from test_cli_generate import generated, pretrained

from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError
from genomai_cli.population.evaluation import generation, structure, summary
from genomai_cli.population.evaluation.genotypes import SampleGenotypes
from genomai_cli.population.evaluation.summary import MIN_COUNT, Summary
from genomai_cli.population.generation import quality
from genomai_cli.population.panel import Panel

pytestmark = pytest.mark.usefixtures("one_thread", "few_trees")


@pytest.fixture(scope="module")
def generator(cohort, one_thread, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "maker"
    assert pretrained(cohort, folder, "--labels", cohort.labels).status == 0
    return folder


def linked_samples(count, seed, sites=40):
    """SampleGenotypes whose neighbouring sites are linked."""
    rng = np.random.default_rng(seed)
    alleles = rng.random((count, 2, sites)) < np.linspace(0.1, 0.9, sites)
    alleles[:, :, 1::2] ^= alleles[:, :, ::2] & (rng.random((count, 2, sites // 2)) < 0.7)
    return SampleGenotypes([f"p{n}" for n in range(count)], alleles.astype(np.int8), True)


def quality_report(generator, tmp_path, *arguments, name="report.tsv"):
    file = tmp_path / name
    result = generated(generator, "--steps", "8", "--quality", file, *arguments)
    return result, file


def read_report(file):
    header, *lines = (line.split("\t") for line in file.read_text().splitlines())
    assert header == ["group", "metric", "value", "low", "high", "baseline", "note"]
    return {(line[0], line[1]): line[2:] for line in lines}


def test_the_report_and_the_people_go_to_different_files(generator, tmp_path):
    for options in ([], ["-o", tmp_path / "out"]):
        result = run(
            [
                "generate",
                "--model",
                generator,
                "--quality",
                options[-1] if options else "-",
                *options,
            ]
        )
        assert (result.status, result.stdout) == (2, "")
        assert "--output and --quality are the same file" in result.stderr


# --- summaries -----------------------------------------------------------------------------------


def test_summaries_say_the_same_as_the_people_themselves():
    real, synthetic = linked_samples(300, 1), linked_samples(200, 2)
    summary = Summary.from_arrays(Summary.of(real).to_arrays())  # as stored, in half precision
    linkage = generation.linkage_measures(real, synthetic)
    assert summary.linkage_measures(synthetic) == pytest.approx(
        {name: estimate.value for name, estimate in linkage.items()}, abs=2e-3
    )
    frequency = generation.frequency_measures(real, synthetic)
    assert summary.frequency_measures(synthetic) == pytest.approx(
        {name: estimate.value for name, estimate in frequency.items()}, abs=1e-5
    )
    components = generation.component_measures(real, synthetic)
    from_summary = summary.component_measures(synthetic)
    assert from_summary["wasserstein_mean"] == pytest.approx(
        components["wasserstein_mean"].value, abs=0.05
    )
    assert from_summary["overlap"] == pytest.approx(components["overlap"].value, abs=0.25)


def test_people_are_most_like_themselves():
    real = linked_samples(300, 1)
    measures = Summary.of(real).component_measures(real)
    assert measures == pytest.approx({"overlap": 1, "wasserstein_mean": 0}, abs=1e-9)
    shifted = linked_samples(300, 1)
    shifted = SampleGenotypes(shifted.names, 1 - shifted.alleles, True)
    shifted_measures = Summary.of(real).component_measures(shifted)
    assert shifted_measures["overlap"] < 0.5


def test_a_summary_has_nobody_in_it():
    real = linked_samples(60, 3)
    summary = Summary.of(real)
    counts = summary.plane * len(real)
    assert (np.rint(counts[counts > 0]) >= MIN_COUNT).all()
    for name, array in summary.to_arrays().items():
        assert not set(array.shape) & {60, 120}, name


def test_of_many_sites_the_linkage_of_some_is_kept(monkeypatch):
    monkeypatch.setattr("genomai_cli.population.evaluation.summary.MAX_SITES", 10)
    real = linked_samples(300, 3)
    summary = Summary.of(real)
    assert (len(summary.frequency), len(summary.linkage)) == (40, 45)
    assert summary.linkage_measures(real)["r2_r"] == pytest.approx(1)
    assert summary.component_measures(real)["overlap"] == pytest.approx(1)


def test_unphased_people_have_another_linkage_than_phased_ones():
    real = linked_samples(60, 4)
    assert Summary.of(real).linkage_measures(real.without_phase()) == {}


# --- the bundle's --------------------------------------------------------------------------------


def test_pretraining_writes_the_summaries_of_everybody(generator, cohort):
    found = summary.read(generator)
    assert (found.samples, found.phased, len(found.frequency)) == (75, True, SITES)
    assert summary.FILE in json.loads((generator / catalog.CONFIG).read_text())["files"]
    assert catalog.problems(generator) == []


def test_summaries_can_be_added_to_a_bundle_that_has_none(generator, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(generator, old)
    config = json.loads((old / catalog.CONFIG).read_text())
    del config["files"][summary.FILE]
    (old / catalog.CONFIG).write_text(json.dumps(config))
    (old / summary.FILE).unlink()
    assert summary.read(old) is None
    _, file = quality_report(old, tmp_path, "-n", "6")
    assert read_report(file)["linkage", "r2_r"][-1] == quality.NEEDS_SUMMARY
    summary.add(old, summary.read(generator))
    assert catalog.problems(old) == []
    assert summary.read(old).samples == 75


def test_damaged_summaries_are_refused(generator, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(generator, damaged)
    (damaged / summary.FILE).write_bytes(b"nothing")
    with pytest.raises(BundleError, match="damaged"):
        summary.read(damaged)


# --- the report ----------------------------------------------------------------------------------


def test_without_real_people_the_report_says_what_it_cannot_know(generator, tmp_path):
    result, file = quality_report(generator, tmp_path, "-n", "40")
    assert result.stdout.count(">") == 40
    unknown = "neighbours, copies, nearest_real, told_apart, independent, mosaic-20, privacy"
    assert f"quality: {unknown}: not measured, since the model keeps nobody's" in result.stderr
    known = "allele_frequency, linkage, components"
    assert f"quality: {known}: beside the model's summaries" in result.stderr
    found = read_report(file)
    for group, measures in quality.MEASURES_BY_GROUP.items():
        for name in measures:
            assert (group, name) in found
    assert float(found["allele_frequency", "r"][0]) > 0.9
    assert 0 <= float(found["components", "overlap"][0]) <= 1
    assert found["data", "learnt_from"][0] == "75"
    for group in ("neighbours", "copies", "nearest_real", "privacy"):
        assert found[group, quality.MEASURES_BY_GROUP[group][0]][0] == "."
        assert "--against" in found[group, quality.MEASURES_BY_GROUP[group][0]][-1]
    assert found["recognised", "all"][-1] == "the model ancestry-967 reads other sites"


def test_the_people_written_are_those_without_a_report(generator, tmp_path):
    result, _ = quality_report(generator, tmp_path, "-n", "3")
    assert result.output == generated(generator, "--steps", "8", "-n", "3").output


def test_a_page_beside_the_same_people(generator, cohort, tmp_path):
    page, options = tmp_path / "page.html", ["--steps", "8", "-n", "12"]
    plain = generated(generator, *options)
    assert generated(generator, *options, "--report", page).output == plain.output
    text = page.read_text()
    assert "12 people made up by" in text
    assert "the model keeps nobody" in text
    assert "Frequencies of the alternate alleles" in text
    assert "Linkage by distance" not in text
    against = ["--against", cohort.newcomers, "--report", page]
    assert generated(generator, *options, *against).output == plain.output
    assert "Linkage by distance" in page.read_text()


def test_some_are_compared_with_the_frequencies_of_their_phenotype(generator, tmp_path):
    _, file = quality_report(generator, tmp_path, "-n", "80", "--phenotype", "SOC")
    found = read_report(file)
    assert found["allele_frequency", "r"][-1] == quality.AGAINST_FREQUENCIES
    assert float(found["allele_frequency", "r"][0]) > 0.9
    assert found["linkage", "r2_r"][0] == "."
    assert found["linkage", "r2_r"][-1] == quality.NEEDS_MATCHED


@pytest.mark.parametrize("phenotype", ["NORTH", "null", "NOA:1,SOC:3"])
def test_coarse_mixed_and_unknown_phenotypes_have_frequencies_too(generator, tmp_path, phenotype):
    _, file = quality_report(generator, tmp_path, "-n", "60", "--phenotype", phenotype)
    assert float(read_report(file)["allele_frequency", "r"][0]) > 0.8


def test_against_real_people_it_is_what_evaluate_says(generator, cohort, tmp_path):
    comparison_options = ["--held-out", cohort.newcomers, "--groups", cohort.labels]
    options = ["-n", "10", "--against", cohort.vcf, *comparison_options]
    fasta = tmp_path / "made.fa"
    _, file = quality_report(generator, tmp_path, *options, "--haplotypes", "-o", fasta)
    arguments = ["--panel", cohort.panel, *comparison_options, cohort.vcf, fasta]
    expected = run(["evaluate", "--task", "generation", *arguments])
    assert expected.status == 0, expected.stderr
    found = read_report(file)
    for group, metric, *values in expected.rows[1:]:
        assert found[group, metric][:4] == values, (group, metric)


def test_the_report_as_json(generator, cohort, tmp_path):
    options = ["-n", "5", "--against", cohort.vcf]
    _, file = quality_report(generator, tmp_path, *options, name="report.json")
    report = json.loads(file.read_text())
    assert (report["schema_version"], report["model"]) == (1, "maker@1.0.0")
    assert report["groups"]["privacy"]["membership_auc"]["value"] is None
    assert report["notes"]["privacy"] == quality.NEEDS_HELD_OUT
    assert 0 <= report["groups"]["neighbours"]["aats"]["value"] <= 1


def test_recognition_is_of_those_whose_phenotype_the_classifier_knows(cohort):
    panel = Panel.read(cohort.panel)
    synthetic = linked_samples(4, 5, sites=SITES)
    synthetic = SampleGenotypes(
        list("abcd"), synthetic.alleles, True, {"a": "EUR", "b": "EUR", "c": "null", "d": "XYZ"}
    )
    classified = []

    def classify(records):
        classified.extend(record.name for record in records)
        return {"a": ["EUR", "GBR"], "b": ["AFR", "YRI"]}

    found = quality.compare_labels(synthetic, panel, classify, frozenset(["EUR", "AFR"]))
    assert classified == ["a", "b"]
    assert found.report["recognised"]["all"].value == 0.5
    unknown = quality.compare_labels(synthetic, panel, classify, frozenset(["ABC"]))
    assert "knows none" in unknown.notes["recognised"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--against x.vcf", "are for --quality"),
        ("--held-out x.vcf", "are for --quality"),
        ("--groups x.tsv", "are for --quality"),
        ("--quality q.tsv --groups x.tsv", "--groups needs --against"),
        ("--quality q.tsv --held-out x.vcf", "--held-out needs --against"),
    ],
)
def test_wrong_usage(generator, arguments, message):
    result = run(["generate", "--model", generator, *arguments.split()])
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr


def test_pairs_of_sites_are_all_pairs_once():
    real = linked_samples(30, 6, sites=6)
    summary = Summary.of(real)
    assert len(summary.linkage) == 15
    assert summary.linkage[0] == pytest.approx(structure.linkage(real)[0, 1])
