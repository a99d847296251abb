"""The recipe `auto`: the parts that win on held-out samples, weighed and calibrated."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from genomai_cli.alphabet import complement
from genomai_cli.backbones.sequence_ensemble import Convolution, ConvolutionConfig
from genomai_cli.bundles.bundle import load, save
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.samples import Samples
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.training import selection
from genomai_cli.training.loss_pictures import steps_picture
from genomai_cli.training.model_card import classifier_card
from genomai_cli.training.recipe import read
from genomai_cli.training.selection import BOTH, SINGLE
from genomai_cli.training.sequence_parts import LabelledCodes

MOTIF, OTHER = "TGACTCA", "TGAGTCA"


def labelled(count, insert_signal, seed=0, length=30, **heads):
    """Sequences of two kinds by `insert_signal(kind, letters, rng)`, and labels of more heads."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, count)
    texts = [insert_signal(kind, "".join(rng.choice(list("ACGT"), length)), rng) for kind in kinds]
    names = [f"s{number}" for number in range(count)]
    labels, classes = {"label": kinds.astype(np.int64)}, {"label": ["no", "yes"]}
    for head, label_of in heads.items():
        labels[head] = np.array([label_of(text) for text in texts], np.int64)
        classes[head] = [f"{head}{n}" for n in range(3)]
    return Samples(names, texts, labels, classes, np.arange(count))


def motif_at_random(kind, letters, rng):
    """The motif, on either strand, at any position of those of the kind."""
    start = int(rng.integers(0, len(letters) - len(MOTIF)))
    motif = str(rng.choice([MOTIF, OTHER])) if kind else ""
    return letters[:start] + motif + letters[start + len(motif) :]


def letters_in_the_middle(kind, letters, rng):
    """A letter that stands in the middle of those of the kind."""
    del rng
    return letters[:15] + ("AA" if kind else "TT") + letters[17:]


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """Networks that train in a second."""
    small = partial(ConvolutionConfig, filters=24, channels=8, embedding=8)
    monkeypatch.setattr(selection, "ConvolutionConfig", small)
    monkeypatch.setattr(selection, "FOLDS", 3)
    monkeypatch.setattr(selection, "MIN_EPOCHS", 3)
    monkeypatch.setattr(selection, "EPOCHS", 3)
    monkeypatch.setattr(selection, "MAX_K", {True: 4, False: 3})


def fitted(samples, **options):
    """The model of samples, small."""
    recipe, _ = read("auto")
    return selection.fit(samples, recipe, SequenceInput(), **({"budget": 900.0} | options))


def weights_bytes(fitted_model, folder):
    """The bytes of a model's weights."""
    save(fitted_model.bundle, folder, Extras("# m\n", ""))
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def motifs():
    """Samples of a motif on either strand."""
    return labelled(160, motif_at_random)


def test_both_strands_are_read_together_where_strands_do_not_matter(motifs):
    fitted_model = fitted(motifs)
    assert fitted_model.bundle.config["provenance"]["strand"] == BOTH
    validation = fitted_model.validation["label"]
    assert validation["n"] == len(motifs)
    assert validation["candidates"]["together"]["mcc"] > 0.3
    assert {"k-mer regression, both strands", "convolution, both strands"} < set(
        validation["candidates"]
    )


def test_strand_and_position_are_told_apart_where_they_matter():
    fitted_model = fitted(labelled(160, letters_in_the_middle))
    assert fitted_model.bundle.config["provenance"]["strand"] == SINGLE
    assert fitted_model.validation["label"]["accuracy"] > 0.95


def test_the_same_input_and_seed_give_the_same_bytes(motifs, one_thread, tmp_path):
    first, second = (weights_bytes(fitted(motifs), tmp_path / name) for name in "ab")
    assert first == second


def test_several_heads_and_missing_labels():
    samples = labelled(120, motif_at_random, first=lambda text: "ACG".find(text[0]))
    fitted_model = fitted(samples, budget=1.0)
    assert set(fitted_model.bundle.heads) == {"label", "first"}
    assert fitted_model.validation["first"]["n"] < fitted_model.validation["label"]["n"]
    ids = torch.zeros(2, 30, dtype=torch.long)
    logs = fitted_model.bundle.classifier.double()(ids)
    assert logs["first"].shape == (2, 3)


def regression_samples(count, seed=0, *, label=False):
    """Sequences of 21 to 30 letters with the share of these that are G or C, ten times as large, from 100."""
    samples = labelled(count, motif_at_random, seed)
    texts = [text[: 30 - number % 10] for number, text in enumerate(samples.sequences)]
    samples = replace(samples, sequences=texts)
    gc_shares = [sum(c in "GC" for c in text) / len(text) for text in samples.sequences]
    values = {"gc": 100 + 10 * np.array(gc_shares)}
    values["gc"][::7] = np.nan
    if label:
        return replace(samples, values=values)
    return replace(samples, values=values, labels={}, classes={})


def outputs_of(fitted_model, *texts):
    """The model's outputs of texts of one length."""
    ids = torch.tensor([["ACGT".index(c) for c in text] for text in texts])
    with torch.no_grad():
        return fitted_model.bundle.classifier.double()(ids)


def test_numbers_are_predicted_with_an_interval():
    fitted_model = fitted(regression_samples(200))
    validation = fitted_model.validation["gc"]
    assert validation["n"] == 200 - 29
    assert validation["pearson"] > 0.9
    assert validation["rmse"] < validation["deviation"] / 2
    assert next(iter(validation["candidates"])).startswith("k-mer regression, ")
    assert fitted_model.bundle.heads == {}
    assert 0 < fitted_model.bundle.numbers["gc"] < 2 * validation["deviation"]
    values = outputs_of(fitted_model, "A" * 30, "ACGT" * 7 + "AC", "GC" * 15)["gc"]
    assert 99 < values[0] < values[1] < values[2] < 111
    card = classifier_card(fitted_model, "genomai train x.fa")
    assert "The interval of gc is the predicted number +-" in card
    assert "| k-mer regression, " in card


def test_labels_and_numbers_together(one_thread, tmp_path):
    samples = regression_samples(120, label=True)
    first, second = (fitted(samples, budget=1.0) for _ in "ab")
    assert set(first.bundle.heads) == {"label"}
    assert set(first.bundle.numbers) == {"gc"}
    assert set(first.validation) == {"label", "gc"}
    assert weights_bytes(first, tmp_path / "a") == weights_bytes(second, tmp_path / "b")
    text = samples.sequences[0]
    one, other = (outputs_of(first, t) for t in (text, complement(text)[::-1]))
    assert first.bundle.config["provenance"]["strand"] == BOTH
    assert torch.allclose(one["gc"], other["gc"], atol=1e-5)
    assert torch.allclose(one["label"], other["label"], atol=1e-5)
    loaded = load(tmp_path / "a", torch.device("cpu"), torch.float64)
    assert loaded.numbers == first.bundle.numbers
    assert torch.allclose(outputs_of(replace(first, bundle=loaded), text)["gc"], one["gc"])


@pytest.mark.parametrize("numbers", [False, True])
def test_a_run_goes_on_where_it_was_interrupted(motifs, one_thread, tmp_path, monkeypatch, numbers):
    samples = regression_samples(120, label=True) if numbers else motifs
    uninterrupted = weights_bytes(fitted(samples), tmp_path / "whole")
    work = tmp_path / "work"
    work.mkdir()
    steps, forward = [0], Convolution.forward

    def interrupted(part, *inputs):
        steps[0] += part.training
        if steps[0] > 60:
            raise KeyboardInterrupt
        return forward(part, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Convolution, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fitted(samples, work=work)
    assert list(work.glob("*.pt"))
    assert weights_bytes(fitted(samples, work=work), tmp_path / "resumed") == uninterrupted


def test_too_few_numbers_cannot_be_learnt():
    samples = regression_samples(60)
    samples.values["gc"][3:] = np.nan
    with pytest.raises(TrainingError, match="head gc: too few samples have a number"):
        fitted(samples)


def test_a_validation_set_is_evaluated_once_and_never_trained_on(motifs, monkeypatch):
    trained_rows = set()

    def spy(part, data, train, *more):
        trained_rows.update(train.tolist())
        return fit_regression(part, data, train, *more)

    fit_regression = selection.fit_regression
    monkeypatch.setattr(selection, "fit_regression", spy)
    fitted_model = fitted(motifs, validation=np.arange(0, 40))
    assert fitted_model.bundle.config["provenance"]["folds"] == selection.FOLDS
    assert fitted_model.validation["label"]["n"] == 40
    assert trained_rows == set(range(40, len(motifs)))


def test_a_head_that_no_held_out_sample_has_is_left_out_of_the_results(motifs, tmp_path):
    rare = np.full(160, -1)
    rare[100:104] = [0, 1, 0, 1]
    samples = replace(
        motifs,
        labels=motifs.labels | {"rare": rare},
        classes=motifs.classes | {"rare": ["x", "y"]},
    )
    lines = []
    fitted_model = fitted(samples, validation=np.arange(0, 40), budget=0.2, report=lines.append)
    assert set(fitted_model.validation) == {"label"}
    assert not [line for line in lines if "nan" in line]
    assert np.isfinite(list(fitted_model.bundle.config["provenance"]["race"].values())).all()
    weights_bytes(fitted_model, tmp_path / "m")
    assert "rare: no held-out sample has a label" in classifier_card(fitted_model, "")
    logs = load(tmp_path / "m", torch.device("cpu")).classifier(torch.zeros(2, 30).long())
    assert logs["rare"].isfinite().all()


def test_near_duplicates_of_one_another_can_be_trained_on_beside_a_validation_set(motifs):
    individuals = np.where(np.arange(160) < 40, np.arange(160), 40)
    fitted_model = fitted(
        replace(motifs, individuals=individuals), validation=np.arange(0, 40), budget=0.2
    )
    assert fitted_model.validation["label"]["n"] == 40
    assert fitted_model.bundle.classifier.evidence.bounds.isfinite().all()


def test_a_small_budget_has_fewer_folds(motifs):
    assert fitted(motifs, budget=0.2).bundle.config["provenance"]["folds"] < selection.FOLDS


def test_one_class_cannot_be_learnt(motifs):
    rare = Samples(
        motifs.names,
        motifs.sequences,
        {"label": np.where(np.arange(160) < 1, 1, 0)},
        motifs.classes,
        motifs.individuals,
    )
    with pytest.raises(TrainingError, match="too few individuals are yes"):
        fitted(rare)


def test_reports_say_what_is_tried(motifs):
    lines, logged = [], []
    fitted(motifs, budget=0.2, report=lines.append, log=logged.append)
    steps = [line for line in lines if line.startswith("convolution, both strands, fold 1, step ")]
    assert len(steps) >= 4
    assert all("label MCC " in line and line.endswith(" left") for line in steps)
    assert {row["part"] for row in logged} == {
        "convolution, both strands, fold 1",
        "convolution, the strand given, fold 1",
    }
    best = [float(row["best_held_out_loss"]) for row in logged]
    assert best[: len(steps)] == sorted(best[: len(steps)], reverse=True)
    assert steps_picture(logged, "m").startswith(b"\x89PNG")
    assert any(line.startswith("convolution, both strands, fold 1: label MCC") for line in lines)
    assert any(line.startswith("the strand given: held-out loss") for line in lines)


def test_longer_sequences_than_are_read_are_told(motifs):
    lines = []
    assert LabelledCodes.of(motifs, 30, lines.append).codes.shape == (160, 30)
    assert not lines
    assert LabelledCodes.of(motifs, 20, lines.append).codes.shape == (160, 20)
    assert "160 of 160 sequences are longer than 20 letters: trained on by their" in lines[0]


def test_the_card_shows_the_regression_beside_the_model(motifs):

    fitted_model = fitted(motifs, budget=0.2)
    card = classifier_card(fitted_model, "genomai train x.fa")
    assert "| k-mer regression, both strands |" in card
    assert "| together |" in card
