"""Parts of a sequence ensemble: what they count, and what must not change their answers."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.alphabet import complement
from genomai_cli.backbones.base import build_network
from genomai_cli.backbones.heads import attach_heads, logits, token_gradients
from genomai_cli.backbones.kmer_counts import KmerCounts
from genomai_cli.backbones.sequence_ensemble import (
    Convolution,
    ConvolutionConfig,
    PositionRegression,
    PositionsConfig,
    _dropped,
    codes_of_ids,
    one_hot,
    reverse_complement_one_hot,
)
from genomai_cli.errors import BundleError

PAD = 5
BOTH_STRANDS = {"kind": "convolution", "filters": 6, "channels": 4, "embedding": 3}
GIVEN_STRAND = BOTH_STRANDS | {"both_strands": False, "bins": 3, "length": 12}
DNA = st.text("ACGTN", min_size=1, max_size=40)


def codes(*texts):
    """Ids (B, L) and mask of texts, padded at the right."""
    longest = max(map(len, texts))
    rows = [["ACGTN".index(c) for c in text] + [PAD] * (longest - len(text)) for text in texts]
    ids_BL = torch.tensor(rows)
    return ids_BL, ids_BL != PAD


def network(*parts, outputs=2):
    """A network of these parts whose statistics of normalisation are no longer those at the beginning."""
    torch.manual_seed(0)
    model = build_network(
        {"kind": "sequence_ensemble", "outputs": outputs, "parts": list(parts), "longest": 100}
    )
    attach_heads(model, {"label": outputs})
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)):
        norm.running_mean.uniform_(-0.2, 0.4)
        norm.running_var.uniform_(0.2, 1.5)
        norm.bias.data.uniform_(-0.5, 0.5)
    return model.double().eval()


@given(DNA, st.integers(1, 4), st.booleans())
@settings(deadline=None)
def test_kmers_are_counted_as_by_hand(text, longest, both_strands):
    counts = KmerCounts(longest, both_strands=both_strands)
    found = counts.frequencies(counts(codes(text)[0]))[0]
    start = 0
    for k in range(1, longest + 1):
        kmers = [text[i : i + k] for i in range(len(text) - k + 1)]
        kmers = [kmer for kmer in kmers if "N" not in kmer]
        kmer_strands = [
            [kmer, complement(kmer)[::-1]] if both_strands else [kmer] for kmer in kmers
        ]
        expected_counts = Counter(min(strand) for strand in kmer_strands)
        size = counts.sizes[k - 1]
        shares = sorted(found[start : start + size].tolist(), reverse=True)
        expected = sorted((n / len(kmers) for n in expected_counts.values()), reverse=True)
        assert shares[: len(expected)] == pytest.approx(expected)
        assert sum(shares[len(expected) :]) == 0
        start += size


@given(DNA)
@settings(deadline=None)
def test_a_sequence_and_its_reverse_complement_get_the_same_answer(text):
    other = complement(text)[::-1]
    model = network({"kind": "kmers", "longest": 3}, BOTH_STRANDS)
    found = [logits(model, *codes(sequence, "ACGT" * 12))["label"][0] for sequence in (text, other)]
    assert torch.allclose(*found, atol=1e-12)


@given(st.lists(DNA, min_size=2, max_size=4))
@settings(deadline=None)
def test_padding_changes_no_answer(texts):
    model = network(
        {"kind": "kmers", "longest": 2},
        BOTH_STRANDS,
        GIVEN_STRAND,
        {"kind": "positions", "length": 9},
    )
    batched = logits(model, *codes(*texts))["label"]
    single = torch.cat([logits(model, *codes(text))["label"] for text in texts])
    assert torch.allclose(batched, single, atol=1e-12)


def test_the_other_strand_is_reversed_in_front_of_the_padding():
    codes_BL, real_BL = codes_of_ids(*codes("AACGN", "GT"))
    other_BLA = reverse_complement_one_hot(one_hot(codes_BL), real_BL)
    expected, _ = codes_of_ids(*codes("NCGTT", "AC"))
    assert torch.equal(other_BLA, one_hot(expected))


def substituted(ids_BL, position, base):
    """The same ids with another base at a position of all sequences."""
    other_BL = ids_BL.clone()
    other_BL[:, position] = base
    return other_BL


@pytest.mark.parametrize("both_strands", [True, False])
def test_slopes_of_regressions_are_effects_of_substitutions(both_strands):
    model = network(
        {"kind": "kmers", "longest": 4, "both_strands": both_strands},
        {"kind": "positions", "length": 7},
    )
    model.parts[0].deviation.uniform_(0.5, 2.0)
    ids_BL, real_BL = codes("ACGTTGCA", "GATTNC", "AC")
    weights = {"label": torch.tensor([[0.5, -1.0]]).repeat(3, 1).double()}
    gradients_BLV = token_gradients(model, ids_BL, real_BL, weights)
    reference_B = (logits(model, ids_BL, real_BL)["label"] * weights["label"]).sum(1)
    for row, position in [(0, 0), (0, 5), (0, 7), (1, 2), (1, 5), (2, 1)]:
        for base in range(4):
            other_BL = substituted(ids_BL, position, base)
            after_B = (logits(model, other_BL, real_BL)["label"] * weights["label"]).sum(1)
            expected = (
                gradients_BLV[row, position, base]
                - gradients_BLV[row, position, ids_BL[row, position]]
            )
            assert expected.item() == pytest.approx((after_B - reference_B)[row].item(), abs=1e-12)


@pytest.mark.parametrize("part", [BOTH_STRANDS, GIVEN_STRAND])
def test_slopes_of_convolutions_are_finite_differences(part):
    model = network(part)
    (convolution,) = model.parts
    codes_BL, real_BL = codes_of_ids(*codes("ACGTTGCANGCA", "GATTACA"))
    weight_BO = torch.tensor([[1.0, -0.5], [0.3, 2.0]]).double()
    gradients_BLA = convolution.base_gradients(codes_BL, real_BL, weight_BO)
    one_hot_BLA = one_hot(codes_BL).double()
    step = 1e-6
    for row, position, base in [(0, 0, 1), (0, 4, 3), (0, 11, 0), (1, 3, 2), (1, 6, 0)]:
        moved_BLA = one_hot_BLA.clone()
        moved_BLA[row, position, base] += step
        values = [
            (convolution._outputs(x, real_BL)[0] * weight_BO).sum()
            for x in (moved_BLA, one_hot_BLA)
        ]
        found = (values[0] - values[1]).item() / step
        assert gradients_BLA[row, position, base].item() == pytest.approx(found, abs=1e-4)


def test_positions_tell_where_a_letter_stands():
    part = PositionRegression(PositionsConfig(3), 2)
    assert part.features(codes("CAT")[0]).tolist() == [[0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]]
    assert part.features(codes("C")[0]).tolist() == [[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]


def test_vectors_are_the_embeddings_and_heads_read_logits():
    model = network({"kind": "kmers", "longest": 2}, BOTH_STRANDS, outputs=3)
    ids_BL, real_BL = codes("ACGTACGTAC", "GGT")
    assert model.pooled(ids_BL, real_BL).shape == (2, model.hidden_size) == (2, 3)
    assert model.head_vectors(ids_BL, real_BL).shape == (2, 6)


@pytest.mark.parametrize("part", [{"kind": "nothing"}, {"kind": "kmers", "wide": 3}, {}])
def test_an_unknown_part_is_refused(part):
    with pytest.raises(BundleError, match="sequence_ensemble"):
        build_network({"kind": "sequence_ensemble", "outputs": 2, "parts": [part]})


@given(DNA)
@settings(deadline=None)
def test_filters_answer_in_means_over_four_letters(text):
    torch.manual_seed(0)
    part = Convolution(ConvolutionConfig(filters=6, channels=4, embedding=3), 2).double()
    ids_BL, real_BL = codes(text, "ACGT" * 10)
    one_hot_BLA = one_hot(codes_of_ids(ids_BL, real_BL)[0]).double()
    found_BPC = part._filtered(one_hot_BLA, real_BL)
    padded_BLA = torch.nn.functional.pad(one_hot_BLA, (0, 0, 7, 7))
    for position in range(0, ids_BL.shape[1], 4):
        responses = [
            part.filters(padded_BLA[:, i : i + 15].mT.flatten(1)).relu() * real_BL[:, i, None]
            for i in range(position, min(position + 4, ids_BL.shape[1]))
        ]
        assert torch.allclose(found_BPC[:, position // 4], sum(responses) / 4)


def test_dropout_keeps_the_sum_and_drops_its_share():
    torch.manual_seed(0)
    values = torch.ones(1001, 7)
    dropped = _dropped(values, 0.2, True)
    assert float((dropped == 0).float().mean()) == pytest.approx(51 / 256, abs=0.02)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(_dropped(values, 0.2, False), values)
