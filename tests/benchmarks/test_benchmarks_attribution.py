"""`benchmarks/alignment/attribution.py` on made-up samples and a handmade model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import POPULATIONS, SITES
from crossmodal_bundle import LABELS, with_phenotypes

from benchmarks.alignment import attribution
from benchmarks.alignment.attribution import (
    Explanations,
    RecordClassifier,
    deletions,
    rank_of,
    records_of,
)
from benchmarks.alignment.crossmodal import PhenotypedCohort
from genomai_cli.bundles import bundle as bundles
from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import read_labels
from genomai_cli.population.barcode import read_barcodes
from genomai_cli.population.networks.crossmodal import crossmodal_of
from genomai_cli.population.panel import Panel
from genomai_cli.training.labelled_data import gather

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(handmade_bundle, tmp_path_factory):
    return with_phenotypes(handmade_bundle, tmp_path_factory.mktemp("models") / "handmade")


@pytest.fixture(scope="module")
def phenotyped(cohort):
    """The made-up cohort."""
    panel, table = Panel.read(cohort.panel), read_labels(cohort.labels)
    records = read_barcodes(open_inputs([cohort.vcf]), panel).records()
    samples, _ = gather(records, {"pop": table.column("population")})
    groups = [{"superpop": s, "pop": p} for p, s in POPULATIONS.items()]
    label_rows = [table.row(name) for name in samples.names]
    sample_labels = [
        {"superpop": row["superpopulation"], "pop": row["population"]} for row in label_rows
    ]
    return PhenotypedCohort(samples, panel, sample_labels, groups)


@pytest.fixture(scope="module")
def bundle(folder):
    return bundles.load(str(folder), torch.device("cpu"), torch.float64)


@pytest.fixture(scope="module")
def copies(phenotyped):
    return phenotyped.copies


def test_records_are_in_the_order_of_the_labels(phenotyped):
    assert records_of(phenotyped, "superpop").names == ("NORTH", "SOUTH")
    assert records_of(phenotyped, "superpop").columns == {"superpop": ("NORTH", "SOUTH")}
    assert records_of(phenotyped, "pop").names == tuple(LABELS)


def test_the_record_classifier_predicts_as_the_command_does(phenotyped, bundle, copies):
    classifier = RecordClassifier(bundle, records_of(phenotyped, "pop"))
    vectors = crossmodal_of(bundle).sample_vectors(torch.from_numpy(copies.astype(np.int64)))
    assert (classifier.predict(copies) == (vectors @ classifier.records.T).argmax(1).numpy()).all()
    assert classifier.attributions(copies[:3], np.zeros(3, int)).shape == (3, SITES)


def test_hiding_the_top_sites_harms_more_than_hiding_others(
    phenotyped, bundle, copies, monkeypatch
):
    monkeypatch.setattr(attribution, "HIDDEN_COUNTS", (0, 40))
    classifier = RecordClassifier(bundle, records_of(phenotyped, "pop"))
    predicted = classifier.predict(copies)  # all are right before anything is hidden
    accuracy = {}
    for kind, count, correct in deletions(classifier, copies, predicted, seed=0):
        accuracy.setdefault((kind, count), []).append(correct.mean())
    assert accuracy["top", 0] == [1.0]
    assert accuracy["random", 0] == [1.0] * attribution.RANDOM_DRAWS
    assert len(accuracy["random", 40]) == attribution.RANDOM_DRAWS
    assert accuracy["top", 40][0] < min(accuracy["random", 40]) - 0.3


def test_every_sample_is_explained_by_the_model_of_its_fold(phenotyped, bundle, monkeypatch):
    monkeypatch.setattr(attribution, "HIDDEN_COUNTS", (0, 20))
    rows = np.arange(len(phenotyped))
    parts = [rows[::2], rows[1::2]]
    outcomes = [attribution.explain_fold(phenotyped, bundle, part, seed=0) for part in parts]
    explanations = Explanations.pooled(outcomes, np.argsort(np.concatenate(parts)))
    pooled = Explanations.pooled([attribution.explain_fold(phenotyped, bundle, rows, seed=0)], rows)
    np.testing.assert_allclose(explanations.values["pop"], pooled.values["pop"])
    for head in ("superpop", "pop"):
        np.testing.assert_array_equal(
            explanations.correct[head, "top", 20], pooled.correct[head, "top", 20]
        )
        correct_counts = explanations.correct[head, "random", 20] * attribution.RANDOM_DRAWS
        np.testing.assert_allclose(correct_counts, correct_counts.round())
        assert (
            explanations.correct[head, "random", 0] == explanations.correct[head, "top", 0]
        ).all()
    for _, _, value in attribution.correlations(phenotyped, explanations):
        assert -1 <= value <= 1


def test_markers_and_tables(phenotyped, monkeypatch):
    monkeypatch.setattr(attribution, "MARKERS", {"rs1426654": "NORTH"})
    monkeypatch.setattr(attribution, "MIN_FREQUENCY_DIFFERENCE", 0.05)
    panel = phenotyped.panel
    with_marker = replace(phenotyped, panel=replace(panel, rsid=("rs1426654", *panel.rsid[1:])))
    in_group = phenotyped.label_indices("superpop") == 0
    values = np.zeros((len(in_group), SITES))
    values[in_group, 0], values[in_group, 7] = 2.0, 3.0
    kinds = [(head, kind) for head in ("superpop", "pop") for kind in ("top", "random")]
    correct = {
        (head, kind, count): np.ones(1)
        for head, kind in kinds
        for count in attribution.HIDDEN_COUNTS
    }
    explanations = Explanations({"superpop": values, "pop": values}, correct)
    (marker,) = attribution.markers(with_marker, explanations, seed=0, repeats=20)
    assert (marker.rank, marker.lowest, marker.highest, marker.rank_of_group) == (2, 2, 2, 2)
    assert set(marker.populations) <= {"NOA", "NOB"}
    text = attribution.markdown(with_marker, explanations, seed=0)
    assert "| rs1426654 | SLC24A5 | NORTH |" in text
    assert "| **2** | 2-2 | 2 |" in text
    lines = list(attribution.tsv(with_marker, explanations, seed=0))
    assert "markers\trs1426654 SLC24A5 NORTH\trank\t2\n" in lines
    assert "deletion\tpop 10\trandom\t1.0000\n" in lines


def test_ranks_count_from_the_largest():
    assert [rank_of(np.array([0.5, -1, 3]), site) for site in range(3)] == [2, 3, 1]
