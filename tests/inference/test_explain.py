"""Attributions of letters: exact where the model is simple, the same by either method there, mirrored by the other
strand, and independent of how sequences are batched."""

import likelihood_bundles
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.alphabet import complement
from genomai_cli.errors import UsageError
from genomai_cli.inference.batching import Batching
from genomai_cli.inference.explain import Explainer, labels_to_explain
from genomai_cli.inference.label_odds import LabelOdds
from genomai_cli.inference.letter_effects import GRADIENT, MUTAGENESIS
from genomai_cli.inference.substitution_picture import rows_of
from genomai_cli.records import SequenceRecord

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = {"label": ["bound", "free"]}
KMERS = {"kind": "kmers", "longest": 3}
CONVOLUTION = {"kind": "convolution", "filters": 6, "channels": 4, "embedding": 3, "width": 5}
DNA = st.text("ACGTN", min_size=3, max_size=30)
SIZES = {
    "dnabert": likelihood_bundles.DNABERT,
    "transformer": {"width": 8, "heads": 2, "layers": 1, "feed_forward": 8, "positions": 20},
    "hyenadna": {"width": 8, "layers": 1, "feed_forward": 8, "positions": 34},
    "caduceus": {"width": 8, "layers": 1},
}


def ensemble(*parts, labels=LABELS, numbers=None, **sizes):
    """A bundle of these parts."""
    return likelihood_bundles.bundle(
        "sequence_ensemble",
        likelihood_bundles.CHARACTERS,
        "",
        labels,
        numbers,
        outputs=sum(map(len, labels.values())) + len(numbers or {}),
        parts=list(parts),
        **sizes,
    )


def explained(
    bundle, texts, method=MUTAGENESIS, *, both_strands=False, label=None, batch_size=None
):
    """The explanations of some sequences."""
    odds = LabelOdds(bundle, both_strands=both_strands, batching=Batching(windows=batch_size))
    explainer = Explainer(odds, labels_to_explain(bundle, None, label), method)
    records = [SequenceRecord(f"r{number}", text) for number, text in enumerate(texts)]
    return [explanation for _, explanation in explainer.explain(records)]


@pytest.fixture(scope="module")
def kmers():
    return ensemble(KMERS)


@pytest.fixture(scope="module")
def ensemble_bundle():
    return ensemble(KMERS, CONVOLUTION)


def test_attributions_of_a_kmer_regression_are_its_exact_contributions(kmers):
    """By hand: of every k-mer that covers a letter its weight, less the mean weight with the other bases."""
    text = "ACGTTGCA"
    (part,) = kmers.classifier.networks[0].parts
    (head,) = kmers.classifier.networks[0].heads
    weight = (head.weight @ part.linear.weight).detach().numpy()
    (explanation,) = explained(kmers, [text], label="bound")

    def score(letters):
        codes = torch.tensor([["ACGT".index(letter) for letter in letters]])
        (shares, _) = torch.autograd.grad(part(codes).sum(), part.linear.weight)[0]  # of k-mers
        return (
            weight[0] - weight[1]
        ) @ shares.numpy()  # of two labels the log odds are a difference

    for position, letter in enumerate(text):
        others = [
            text[:position] + base + text[position + 1 :] for base in "ACGT" if base != letter
        ]
        expected = score(text) - np.mean([score(other) for other in others])
        assert explanation.attributions[position] == pytest.approx(expected, abs=1e-9)


@given(st.lists(DNA, min_size=1, max_size=3))
@settings(max_examples=15)
def test_for_a_model_that_is_linear_in_each_letter_the_gradient_is_exact(kmers, texts):
    exact, gradient = (explained(kmers, texts, method) for method in (MUTAGENESIS, GRADIENT))
    for one, other in zip(exact, gradient, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.label == other.label
            np.testing.assert_allclose(one.changes, other.changes, atol=1e-9)


@given(DNA)
@settings(max_examples=15)
@pytest.mark.parametrize("method", [MUTAGENESIS, GRADIENT])
def test_the_reverse_complement_gets_mirrored_attributions(ensemble_bundle, method, text):
    one, other = explained(ensemble_bundle, [text, complement(text)[::-1]], method, label="free")
    if one is None:
        assert other is None
        return
    assert one.odds == pytest.approx(other.odds, abs=1e-9)
    np.testing.assert_allclose(one.changes, other.changes[::-1, ::-1], atol=1e-7)


@pytest.mark.parametrize("method", [MUTAGENESIS, GRADIENT])
def test_records_without_a_readable_letter_have_no_explanation(ensemble_bundle, method):
    assert explained(ensemble_bundle, ["NNN", "N"], method, label="free") == [None, None]


def test_changes_are_those_of_the_log_odds(ensemble_bundle):
    text = "ACGNTTGACA"
    odds = LabelOdds(ensemble_bundle, both_strands=False)
    (explanation,) = explained(ensemble_bundle, [text], label="free")
    before, after = odds.of([text, text[:5] + "C" + text[6:]])[:, 1]
    assert explanation.odds == before
    assert explanation.changes[5, 1] == pytest.approx(after - before, abs=1e-12)
    assert np.isnan(explanation.changes[3]).all()
    assert np.isnan(explanation.attributions[3])
    assert np.isnan(explanation.changes[0, 0])
    assert np.isfinite(explanation.attributions).sum() == len(text) - 1
    np.testing.assert_allclose(
        explanation.attributions[[0, 9]], -np.nanmean(explanation.changes[[0, 9]], axis=1)
    )


@pytest.mark.parametrize("method", [MUTAGENESIS, GRADIENT])
def test_neither_company_nor_batch_size_changes_an_attribution(ensemble_bundle, method):
    texts = ["ACGTTGCATTGA", "GGNAT", "TTTTTTTTTTTTTTTTTTTTC"]
    together = explained(ensemble_bundle, texts, method)
    for batch_size in (1, 2):
        for one, other in zip(
            together, explained(ensemble_bundle, texts, method, batch_size=batch_size), strict=True
        ):
            np.testing.assert_allclose(one.changes, other.changes, atol=1e-10)
    for text, one in zip(texts, together, strict=True):
        (alone,) = explained(ensemble_bundle, [text], method)
        np.testing.assert_allclose(one.changes, alone.changes, atol=1e-10)


def test_both_strands_are_the_mean_of_either_reading():
    bundle = ensemble({"kind": "kmers", "longest": 2, "both_strands": False})
    text = "AACGTTTG"
    reverse = complement(text)[::-1]
    for method in (MUTAGENESIS, GRADIENT):
        (mean,) = explained(bundle, [text], method, both_strands=True, label="bound")
        forward, other = explained(bundle, [text, reverse], method, label="bound")
        assert not np.allclose(forward.attributions, other.attributions[::-1], atol=1e-6)
        expected = (forward.attributions + other.attributions[::-1]) / 2
        np.testing.assert_allclose(mean.attributions, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("network", "tokenizer"),
    [
        ("dnabert", likelihood_bundles.SIX),
        ("transformer", {"kind": "kmers", "k": 3, "stride": 1}),
        ("transformer", {"kind": "kmers", "k": 2, "stride": 2}),
        ("transformer", {"kind": "symmetric", "k": 3, "stride": 1}),
        ("hyenadna", {"kind": "dna_characters"}),
        ("caduceus", {"kind": "dna_characters", "case_sensitive": False}),
    ],
    ids=str,
)
def test_the_gradient_is_first_order_in_the_vectors_of_tokens(network, tokenizer):
    """With vectors of tokens that hardly differ, the network is linear between them, and the gradient exact."""
    sizes = SIZES[network]
    bundle = likelihood_bundles.bundle(network, tokenizer, "", LABELS, **sizes)
    table = bundle.classifier.networks[0].token_embedding.weight.data
    table.copy_(0.3 * torch.sin(torch.arange(table.shape[1])) + 1e-5 * table)
    texts = ["ACGTTGCATTGACCATGACA", "GGACATTNAC", "ACGTTGCATTGACCATGACAGGATTACAGGCATTT"]
    exact, gradient = (explained(bundle, texts, m, label="free") for m in (MUTAGENESIS, GRADIENT))
    for one, other in zip(exact, gradient, strict=True):
        largest = np.nanmax(np.abs(one.changes))
        assert largest > 1e-9
        np.testing.assert_allclose(one.changes, other.changes, atol=1e-2 * largest)


def test_the_called_label_is_explained_unless_another_is_asked_for(kmers):
    (called,) = explained(kmers, ["ACGTTGCA"])
    assert called.odds > 0
    (other,) = explained(
        kmers, ["ACGTTGCA"], label="free" if called.label == "label:bound" else "bound"
    )
    np.testing.assert_allclose(other.attributions, -called.attributions, atol=1e-9)


def test_labels_that_can_be_asked_for():
    bundle = ensemble(KMERS, labels={"a": ["x", "y"], "b": ["y", "z", "w"]})
    assert labels_to_explain(bundle, "b", None) == ["b:y", "b:z", "b:w"]
    assert labels_to_explain(bundle, None, "z") == ["b:z"]
    assert labels_to_explain(bundle, "a", "y") == ["a:y"]
    for head, label, message in [
        ("c", None, "--head c: the heads of the model are a, b"),
        (None, None, "--head: which of a, b"),
        (None, "y", "--head: which of a, b"),
        ("a", "z", "--class z: the classes of the model are x, y"),
        (None, "v", "--class v: the classes of the model are x, y, y, z, w"),
    ]:
        with pytest.raises(UsageError, match=message):
            labels_to_explain(bundle, head, label)


def test_a_number_is_explained_by_its_changes():
    numbers = {"y": {"coverage": 0.9, "half_width": 1.0}}
    bundle = ensemble(KMERS, CONVOLUTION, labels={"a": ["x", "z"]}, numbers=numbers)
    assert labels_to_explain(bundle, "y", None) == ["y"]
    assert labels_to_explain(bundle, None, "z") == ["a:z"]
    for head, label, message in [
        (None, None, "--head: which of a, y"),
        ("y", "z", "--class z: the classes of the model are none"),
    ]:
        with pytest.raises(UsageError, match=message):
            labels_to_explain(bundle, head, label)
    text = "ACGTTGCATTGA"

    def value(letters):
        ids = torch.tensor([["ACGT".index(letter) for letter in letters]])
        return bundle.classifier(ids)["y"].item()

    for method in (MUTAGENESIS, GRADIENT):
        odds = LabelOdds(bundle, both_strands=False)
        records = [SequenceRecord("r", text)]
        ((_, explanation),) = Explainer(odds, ["y"], method).explain(records)
        assert explanation.odds == pytest.approx(value(text))
        if method == MUTAGENESIS:
            change = value("C" + text[1:]) - value(text)
            assert explanation.changes[0, 1] == pytest.approx(change, abs=1e-12)
            exact = explanation.attributions
    assert np.corrcoef(exact, explanation.attributions)[0, 1] > 0.8


def test_a_record_without_a_base_has_no_explanation(kmers):
    assert explained(kmers, ["NNNN", "", "ACG"])[:2] == [None, None]


def test_rows_of_a_picture_leave_out_what_is_no_base():
    changes = np.zeros((250, 4))
    changes[[0, 40]] = np.nan
    letters = "N" + "A" * 39 + "N" + "C" * 209
    rows = list(rows_of("x", letters, changes))
    assert [(row.first, len(row.letters)) for row in rows] == [
        (2, 39),
        (42, 70),
        (112, 70),
        (182, 69),
    ]
    assert "".join(row.letters for row in rows) == letters.replace("N", "")
