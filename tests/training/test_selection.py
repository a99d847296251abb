"""The recipe `auto`: the parts that win on held-out samples, weighed and calibrated."""

from functools import partial

import numpy as np
import pytest
import torch

from genomai_cli.backbones.sequence_ensemble import Convolution, ConvolutionConfig
from genomai_cli.bundles.bundle import Extras, save
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.samples import Samples
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.training import selection
from genomai_cli.training.model_card import classifier_card
from genomai_cli.training.recipe import read
from genomai_cli.training.selection import BOTH, GIVEN

MOTIF, OTHER = "TGACTCA", "TGAGTCA"


def labelled(count, make, seed=0, length=30, **heads):
    """Sequences of two kinds by `make(kind, letters, rng)`, and labels of more heads."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, count)
    texts = [make(kind, "".join(rng.choice(list("ACGT"), length)), rng) for kind in kinds]
    names = [f"s{number}" for number in range(count)]
    labels, classes = {"label": kinds.astype(np.int64)}, {"label": ["no", "yes"]}
    for head, of in heads.items():
        labels[head] = np.array([of(text) for text in texts], np.int64)
        classes[head] = [f"{head}{n}" for n in range(3)]
    return Samples(names, texts, labels, classes, np.arange(count))


def anywhere(kind, letters, rng):
    """The motif, on either strand, at any place of those of the kind."""
    at = int(rng.integers(0, len(letters) - len(MOTIF)))
    motif = str(rng.choice([MOTIF, OTHER])) if kind else ""
    return letters[:at] + motif + letters[at + len(motif) :]


def in_the_middle(kind, letters, rng):
    """A letter that stands in the middle of those of the kind."""
    del rng
    return letters[:15] + ("AA" if kind else "TT") + letters[17:]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Networks that train in a second."""
    small = partial(ConvolutionConfig, filters=24, channels=8, embedding=8)
    monkeypatch.setattr(selection, "ConvolutionConfig", small)
    monkeypatch.setattr(selection, "FOLDS", 3)
    monkeypatch.setattr(selection, "EPOCHS", 4)
    monkeypatch.setattr(selection, "LONGEST_KMER", {True: 4, False: 3})


def fitted(samples, **options):
    """The model of samples, small."""
    recipe, _ = read("auto")
    return selection.fit(samples, recipe, SequenceInput(), **({"budget": 900.0} | options))


def written(made, folder):
    """The bytes of a model's weights."""
    save(made.bundle, folder, Extras("# m\n", ""))
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def motifs():
    """Samples of a motif on either strand."""
    return labelled(160, anywhere)


def test_both_strands_are_read_together_where_strands_do_not_matter(motifs):
    made = fitted(motifs)
    assert made.bundle.config["provenance"]["strand"] == BOTH
    found = made.validation["label"]
    assert found["n"] == len(motifs)
    assert found["candidates"]["together"]["mcc"] > 0.3
    assert {"k-mer regression, both strands", "convolution, both strands"} < set(
        found["candidates"]
    )


def test_strand_and_place_are_told_apart_where_they_matter():
    made = fitted(labelled(160, in_the_middle))
    assert made.bundle.config["provenance"]["strand"] == GIVEN
    assert made.validation["label"]["accuracy"] > 0.95


def test_the_same_input_and_seed_give_the_same_bytes(motifs, one_thread, tmp_path):
    first, second = (written(fitted(motifs), tmp_path / name) for name in "ab")
    assert first == second


def test_a_run_goes_on_where_it_was_interrupted(motifs, one_thread, tmp_path, monkeypatch):
    whole = written(fitted(motifs), tmp_path / "whole")
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
            fitted(motifs, work=work)
    assert list(work.glob("*.pt"))
    assert written(fitted(motifs, work=work), tmp_path / "resumed") == whole


def test_several_heads_and_missing_labels():
    samples = labelled(120, anywhere, first=lambda text: "ACG".find(text[0]))
    made = fitted(samples, budget=1.0)
    assert set(made.bundle.heads) == {"label", "first"}
    assert made.validation["first"]["n"] < made.validation["label"]["n"]
    ids = torch.zeros(2, 30, dtype=torch.long)
    logs = made.bundle.classifier.double()(ids)
    assert logs["first"].shape == (2, 3)


def test_a_validation_set_is_judged_once_and_never_trained_on(motifs, monkeypatch):
    seen = set()

    def watched(part, data, train, *more):
        seen.update(train.tolist())
        return regress(part, data, train, *more)

    regress = selection.regress
    monkeypatch.setattr(selection, "regress", watched)
    made = fitted(motifs, validation=np.arange(0, 40))
    assert made.bundle.config["provenance"]["folds"] == selection.FOLDS
    assert made.validation["label"]["n"] == 40
    assert seen == set(range(40, len(motifs)))


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
    told = []
    fitted(motifs, budget=0.2, report=told.append)
    assert any(line.startswith("convolution, both strands, fold 1: label MCC") for line in told)
    assert any(line.startswith("the strand given: held-out loss") for line in told)


def test_the_card_shows_the_regression_beside_the_model(motifs):

    made = fitted(motifs, budget=0.2)
    card = classifier_card(made, "genomai train x.fa")
    assert "| k-mer regression, both strands |" in card
    assert "| together |" in card
