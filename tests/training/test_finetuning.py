"""The loss of labelled samples, and how a classifier is put together."""

import numpy as np
import pytest
import torch
from conftest import labelled_samples, same

from genomai_cli.errors import TrainingError
from genomai_cli.inputs.samples import Hints, Samples
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.objectives.base import cross_entropy
from genomai_cli.population.barcode import letters_to_genotypes
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.hints import LetterHints
from genomai_cli.population.panel import most_informative
from genomai_cli.training import finetuning
from genomai_cli.training.finetuning import hint_loss
from genomai_cli.training.labelled_data import (
    folds,
    remaining_rows,
)
from genomai_cli.training.recipe import from_tables

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_missing_label_does_not_enter_the_loss():
    scores = {"a": torch.tensor([[2.0, 0.0], [0.0, 9.0]]), "b": torch.zeros(2, 3)}
    labels = {"a": torch.tensor([0, -1]), "b": torch.tensor([-1, -1])}
    assert float(cross_entropy(scores, labels)) == pytest.approx(np.log1p(np.exp(-2)))


def test_the_loss_of_several_heads_is_the_sum_of_their_means():
    scores = {"a": torch.zeros(4, 2), "b": torch.zeros(4, 3)}
    labels = {"a": torch.tensor([0, 1, 0, 1]), "b": torch.tensor([2, -1, -1, -1])}
    assert float(cross_entropy(scores, labels)) == pytest.approx(np.log(2) + np.log(3))


def test_the_loss_of_hints_is_their_mean_squared_distance_where_there_are_any():
    hidden = torch.tensor([[[1.0, 2.0, 5.0], [0.0, 0.0, 5.0]]], requires_grad=True)
    values = torch.tensor([[[0.0, 0.0], [torch.nan, torch.nan]]])
    loss = hint_loss(hidden, Hints(values, 3.0))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(3 * (1 + 4) / 2)
    assert hidden.grad[0].tolist() == [[3.0, 6.0, 0.0], [0.0, 0.0, 0.0]]


def test_more_hints_than_features_are_refused():
    with pytest.raises(TrainingError, match=r"4 groups .*, not 3: --set views\.hints=0"):
        hint_loss(torch.zeros(1, 2, 3), Hints(torch.zeros(1, 2, 4), 1.0))


@pytest.fixture(scope="module")
def labelled_panel(cohort):
    return labelled_samples(cohort)


RECIPE = {
    "name": "tiny",
    "tokenizer": {"kind": "iupac"},
    "network": {"kind": "sites", "width": 8},
    "input": {"kind": "barcode"},
    "likelihood": {"head": "pop", "axes": 1},
    "split": {"folds": 3},
    "optimization": {"steps": 6, "batch_size": 8, "evaluate_every": 3},
}


TRANSFORMER = {
    "tokenizer": {"kind": "symmetric", "k": 1},
    "network": {"kind": "transformer", "width": 16, "heads": 2, "layers": 1, "feed_forward": 16},
    "split": {"folds": 1},
    "optimization": {"steps": 60, "batch_size": 8, "evaluate_every": 60, "learning_rate": 1e-2},
}


def fit(labelled_panel, seed=0, **changed):
    samples, panel = labelled_panel
    return finetuning.fit(samples, from_tables(RECIPE | changed), BarcodeInput(panel), seed=seed)


@pytest.fixture(scope="module")
def fitted(labelled_panel):
    """A model of three networks, and what each was trained and validated on."""
    members, train_member = [], finetuning.train_member

    def spy(network, member, *rest, **options):
        members.append(member)
        train_member(network, member, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "train_member", spy)
        return fit(labelled_panel), members


class TestFit:
    def test_the_same_seed_makes_the_same_model(self, labelled_panel):
        one_fold = {"folds": 1}
        fits = [fit(labelled_panel, seed, split=one_fold) for seed in (1, 1, 2)]
        states = [finetuned.bundle.classifier.state_dict() for finetuned in fits]
        assert same(states[0], states[1])
        assert not same(states[0], states[2])

    def test_networks_are_validated_on_individuals_they_were_not_trained_on(
        self, labelled_panel, fitted
    ):
        samples, _ = labelled_panel
        _, members = fitted
        for member in members:
            validated = set(samples.individuals[member.validation].tolist())
            assert not validated & set(samples.individuals[member.train].tolist())
            assert len(member.validation) + len(member.train) == len(samples)
        assert sorted(np.concatenate([m.validation for m in members]).tolist()) == list(range(75))

    def test_every_sample_counts_once_in_the_held_out_results(self, fitted):
        validation = fitted[0].validation
        assert {head: scores["n"] for head, scores in validation.items()} == {
            "superpop": 75,
            "pop": 75,
        }
        assert validation["superpop"]["majority"] == pytest.approx(2 / 3, abs=1e-4)
        assert validation["pop"]["accuracy"] > 0.6

    def test_a_single_network_holds_out_the_share_asked_for(self, labelled_panel):
        validation = fit(labelled_panel, split={"folds": 1, "holdout": 0.2}).validation
        assert validation["pop"]["n"] == 15

    def test_a_validation_set_that_is_given_is_never_trained_on(self, labelled_panel, monkeypatch):
        samples, panel = labelled_panel
        rows, trained_on = np.arange(0, 75, 5), []
        fit_evidence = BarcodeInput.fit_evidence

        def spy(kind, evidence_samples, training_rows, recipe):
            trained_on.append(training_rows)
            return fit_evidence(kind, evidence_samples, training_rows, recipe)

        monkeypatch.setattr(BarcodeInput, "fit_evidence", spy)
        recipe = from_tables(RECIPE | {"split": {"folds": 1}})
        finetuned = finetuning.fit(samples, recipe, BarcodeInput(panel), validation=rows)
        assert (
            finetuned.validation["pop"]["n"]
            == finetuned.bundle.config["provenance"]["validation_samples"]
        )
        assert len(trained_on) == 2
        for part in trained_on:
            assert part.tolist() == remaining_rows(samples, rows).tolist()

    def test_what_a_model_knows_without_training_is_not_of_a_validation_set(
        self, labelled_panel, tmp_path
    ):
        samples, panel = labelled_panel
        rows = np.arange(0, 75, 5)
        train = remaining_rows(samples, rows)
        recipe = from_tables(RECIPE | {"split": {"folds": 1}})
        bundle = finetuning.fit(samples, recipe, BarcodeInput(panel), validation=rows).bundle
        copies = letters_to_genotypes(samples.letters, panel)[train]
        frequency = bundle.classifier.networks[0].frequency.numpy()
        assert frequency == pytest.approx(copies.mean(axis=0) / 2, abs=1e-6)
        kind = BarcodeInput(panel)
        evidence = kind.fit_evidence(samples, train, recipe)
        kind.complete_evidence(evidence, samples.at(train), recipe)
        for name, expected in evidence.state_dict().items():
            found = bundle.classifier.evidence.state_dict()[name]
            assert torch.allclose(found, expected.to(found)), name
        expected = kind.with_training_summary(samples.at(train), recipe).structure
        files = tmp_path / "expected", tmp_path / "found"
        for file, structure in zip(files, (expected, bundle.input.structure), strict=True):
            structure.write(file)
        assert files[0].read_bytes() == files[1].read_bytes()

    def test_the_tokens_mean_the_panels_alleles(self, labelled_panel, fitted):
        _, panel = labelled_panel
        bundle = fitted[0].bundle
        letters = bundle.tokenizer.vocabulary
        table = bundle.classifier.encoder.table
        pairs = {"AG": "R", "CT": "Y", "GC": "S", "TA": "W", "AC": "M", "TG": "K"}
        for site in range(6):
            ref, alt = panel.ref[site], panel.alt[site]
            expected = {ref: 0, alt: 2, pairs[ref + alt]: 1}
            assert table[site].tolist() == [expected.get(letter, -1) for letter in letters]

    def test_the_networks_know_the_allele_frequencies(self, labelled_panel, fitted):
        samples, panel = labelled_panel
        copies = letters_to_genotypes(samples.letters, panel)
        for member in fitted[0].bundle.classifier.networks:
            assert member.frequency.numpy() == pytest.approx(copies.mean(axis=0) / 2, abs=1e-6)

    def test_the_best_sites_are_chosen_on_samples_to_train_on(self, labelled_panel):
        samples, panel = labelled_panel
        split = {"folds": 1, "holdout": 0.4}
        fitted = fit(
            labelled_panel,
            input={"kind": "barcode", "best_sites": 20, "best_for": "pop"},
            split=split,
        )
        validation = folds(samples, 2, 0)[0]
        train = remaining_rows(samples, validation)
        copies = letters_to_genotypes(samples.letters, panel)
        chosen = most_informative(copies[train], samples.labels["pop"][train], 20)
        assert fitted.bundle.input.panel.rsid == tuple(panel.rsid[site] for site in chosen)
        of_all_samples = most_informative(copies, samples.labels["pop"], 20)
        assert of_all_samples.tolist() != chosen.tolist()

    def test_a_head_that_no_held_out_sample_has_is_left_out_of_the_results(self, labelled_panel):
        samples, panel = labelled_panel
        rare = np.full(75, -1)
        rare[:4] = [0, 1, 0, 1]
        extended = Samples(
            samples.names,
            samples.sequences,
            samples.labels | {"rare": rare},
            samples.classes | {"rare": ["x", "y"]},
            samples.individuals,
        )
        assert not (rare[folds(extended, 10, 0)[0]] >= 0).any()
        one_fold = RECIPE | {"split": {"folds": 1}}
        fitted = finetuning.fit(extended, from_tables(one_fold), BarcodeInput(panel))
        assert list(fitted.validation) == ["superpop", "pop"]

    def test_another_kind_of_input_than_the_recipes_is_refused(self, labelled_panel):
        with pytest.raises(TrainingError, match="recipe tiny reads barcode, not sequence"):
            finetuning.fit(labelled_panel[0], from_tables(RECIPE), SequenceInput())

    def test_evidence_of_another_kind_of_input_is_refused(self, labelled_panel):
        with pytest.raises(TrainingError, match=r"\[likelihood\] is for barcodes"):
            fit(labelled_panel, likelihood=None, regression={"head": "pop"})

    def test_the_first_features_of_a_token_predict_its_hints(self, labelled_panel):
        samples, panel = labelled_panel

        def hint_error(weight):
            fitted = fit(labelled_panel, **TRANSFORMER, likelihood=None, views={"hints": weight})
            bundle = fitted.bundle
            letter_hints = LetterHints.fit(samples.letters, samples.groups(), panel)
            ids = np.stack([bundle.tokenizer.encode(s) for s in samples.sequences])
            network = bundle.classifier.networks[0]
            with torch.no_grad():
                hidden = network(torch.from_numpy(ids).long())
            hints = letter_hints.of(samples.letters, ids.shape[1])
            return float(hint_loss(hidden, Hints(hints, 1.0)))

        assert hint_error(3.0) < 0.6 * hint_error(0.0)

    def test_hints_are_for_tokens(self, labelled_panel):
        with pytest.raises(TrainingError, match=r"views\.hints is for networks that read"):
            fit(labelled_panel, views={"hints": 1.0})

    def test_a_loss_far_too_large_is_told(self, labelled_panel):
        with pytest.raises(TrainingError, match="lower the learning rate"):
            fit(labelled_panel, optimization={"steps": 9, "learning_rate": 1e30})
