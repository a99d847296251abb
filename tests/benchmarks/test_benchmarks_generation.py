"""The simple generators of samples, and the benchmark that measures them, on made-up samples."""

import csv
import io

import numpy as np
import pytest
from conftest import panel_text, variant_text

from benchmarks.augmentation import few_labels
from benchmarks.crossvalidation.trials import Cohort
from benchmarks.generation import quality
from genomai_cli.population.evaluation import simple_generators as generators

COHORT, LABELS, PANEL = "train.grch37.vcf.gz", "train.labels.tsv", "panel.tsv"


def group(seed, count=400, sites=30):
    """Haplotypes in which every site equals its neighbour most of the time."""
    rng = np.random.default_rng(seed)
    first = rng.random((count, 1)) < 0.5
    changed = np.cumsum(rng.random((count, sites)) < 0.02, axis=1)
    return ((first + changed) % 2).astype(np.int8)


def agreement(haplotypes):
    """How often neighbouring sites are equal."""
    return float((haplotypes[:, 1:] == haplotypes[:, :-1]).mean())


def test_independent_sites_have_frequencies_but_no_linkage():
    members = group(1)
    generated = generators.independent(members, np.random.default_rng(0))
    assert generated.mean(axis=0) == pytest.approx(members.mean(axis=0), abs=0.1)
    assert agreement(members) > 0.95
    assert agreement(generated) == pytest.approx(0.5, abs=0.05)


def test_mosaics_keep_linkage_within_segments():
    members = group(2)
    agreements = [agreement(generators.mosaic(n)(members, np.random.default_rng(0))) for n in (1, 5, 20)]  # fmt: skip
    assert agreements[0] == pytest.approx(0.5, abs=0.05)
    assert agreements[0] < agreements[1] < agreements[2] < agreement(members)


def test_copies_are_members():
    members = group(3, count=20)
    generated = generators.copies(members, np.random.default_rng(0))
    assert {row.tobytes() for row in generated} <= {row.tobytes() for row in members}


def test_missing_alleles_are_sampled_by_their_frequency():
    members = group(4).reshape(-1, 2, 30)
    hidden = members.copy()
    hidden[::2, :, 7] = -1
    for generator in quality.GENERATORS:
        generated = generator.generate(
            hidden, np.zeros(len(hidden), np.int64), np.random.default_rng(0)
        )
        assert generated.min() == 0
        assert generated[:, :, 7].mean() == pytest.approx(members[1::2, :, 7].mean(), abs=0.1)


def test_generated_samples_come_from_their_own_group():
    alleles = np.zeros((10, 2, 5), np.int8)
    alleles[5:] = 1
    groups = np.repeat([0, 1], 5)
    for generator in quality.GENERATORS[1:]:
        generated = generator.generate(alleles, groups, np.random.default_rng(0))
        assert (generated == alleles).all()


pytestmark = pytest.mark.usefixtures("few_trees")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as shared/data/1kgp, of 80 samples in four populations of two super-populations."""
    cohort_folder, rng = tmp_path_factory.mktemp("cohort"), np.random.default_rng(4)
    names = [f"p{i}" for i in range(80)]
    population = np.arange(80) % 4
    frequency = np.clip(rng.random((2, 60))[population // 2] + 0.1 * population[:, None], 0.05, 0.95)  # fmt: skip
    alleles = (rng.random((80, 2, 60)) < frequency[:, None]).astype(np.int8)
    (cohort_folder / PANEL).write_text(panel_text(60))
    (cohort_folder / COHORT).write_text(variant_text(names, alleles))
    rows = [f"{n}\tPOP{p}\tSUPER{p // 2}\n" for n, p in zip(names, population, strict=True)]
    (cohort_folder / LABELS).write_text("sample\tpopulation\tsuperpopulation\n" + "".join(rows))
    return cohort_folder


def test_the_table_of_generated_samples(folder, tmp_path, capsys):
    file = f"own={folder / COHORT}"
    names_file = tmp_path / "learnt.txt"
    options = ["--held-out", "--repeats", "1", "--file", file, "--learnt", str(names_file)]
    quality.main(["--data", str(folder), *options, "--markdown", str(tmp_path / "table.md")])
    table = csv.DictReader(io.StringIO(capsys.readouterr().out), delimiter="\t")
    rows = {row["generator"]: row for row in table}
    assert list(rows) == ["real", "independent", "mosaic-20", "mosaic-5", "copies", "own"]
    assert rows["real"]["privacy:membership_auc"] == "."
    assert rows["own"]["copies:exact_people"] == "64"  # those learnt from
    assert float(rows["copies"]["privacy:membership_auc"]) > 0.7
    assert float(rows["independent"]["transfer"]) > 0.6
    assert len(names_file.read_text().split()) == 64
    assert len((tmp_path / "table.md").read_text().splitlines()) == 8


def test_files_alone(folder, capsys):
    options = ["--no-simple", "--repeats", "1", "--file", f"own={folder / COHORT}"]
    quality.main(["--data", str(folder), *options])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out), delimiter="\t")
    assert (row["generator"], row["copies:exact_people"]) == ("own", "80")
    assert row["nearest_real:extreme_p"] == "0.000"


def test_the_gain_of_views_is_paired():
    results = [
        few_labels.Result("x", "plain", "pop", 0, 1.0, (0.5, 0.6, 0.7)),
        few_labels.Result("x", "cross", "pop", 0, 1.0, (0.6, 0.7, 0.8)),
    ]
    lines = [line.split("\t") for line in few_labels.tsv(results)]
    assert lines[2][8:] == ["0.1000", "0.1000", "0.1000\n"]


def test_views_bring_their_labels_along(folder):
    cohort = Cohort.read(folder)
    task = few_labels.Task.draw(cohort, 0, None)
    copies, labels = task.training_data(few_labels.ROWS[5], 3, 0)
    labelled_count = len(task.labelled_samples)
    assert copies.shape == (4 * labelled_count, 60)
    assert (
        labels["pop"][labelled_count:] == np.repeat(task.labelled_samples.labels["pop"], 3)
    ).all()
    assert labelled_count + len(task.test_rows) == 80


def test_the_longest_segment_shared_with_one_real_haplotype():
    real = np.array([[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    generated = np.array([[0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1]])
    assert quality.longest_shared(generated, real).tolist() == [3, 6, 1]
