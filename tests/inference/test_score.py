"""Log-likelihoods: by hand for next-token and masked models, over windows, strands and batches, and what is refused."""

import copy
import json
import math

import likelihood_bundles
import numpy as np
import pytest
import tiny_causal
import torch
from conftest import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.alphabet import as_letters, as_text, reverse_complement
from genomai_cli.bundles import bundle as bundles
from genomai_cli.device import to_single_precision
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.inference.batching import Batching
from genomai_cli.inference.likelihood import Likelihood, Settings, has_likelihood
from genomai_cli.inference.score import score_sequences, totals
from genomai_cli.records import SequenceRecord
from genomai_cli.sources.records import OtherLetters
from genomai_cli.tokenizers import from_config

pytestmark = pytest.mark.usefixtures("one_thread")
DNA = st.text("ACGTN", min_size=2, max_size=30)
FEW_EXAMPLES = settings(max_examples=15)
TEXT = "ACGTTGANCATTGACCATGAGATACAGGATTACAN"


@pytest.fixture(scope="module")
def causal():
    with pytest.MonkeyPatch.context() as patch:
        tiny_causal.register(patch)
        yield likelihood_bundles.causal()


@pytest.fixture(scope="module")
def masked():
    return likelihood_bundles.masked()


def scores(bundle, *texts, batching=None, **options):
    likelihood = Likelihood(bundle, Settings(**options), batching or Batching())
    records = [SequenceRecord(f"s{number}", text) for number, text in enumerate(texts)]
    return [scored.score for scored in totals(score_sequences(likelihood, records))]


def log_probabilities(bundle, text, **options):
    likelihood = Likelihood(bundle, Settings(**options))
    chunks = list(score_sequences(likelihood, [SequenceRecord("s", text)]))
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    return np.concatenate([chunk.means for chunk in chunks])


def other_strand(text):
    return as_text(reverse_complement(as_letters(text)))


def next_token(bundle, text):
    """The log-probability of each base but the first, from prefixes of the text one by one."""
    network, head = bundle.classifier.networks[0], bundle.auxiliary["causal"]
    ids = torch.from_numpy(bundle.tokenizer.encode(text)).long()
    with torch.no_grad():
        log_probs = [
            head(network(ids[None, :end]))[0, -1].log_softmax(0)[ids[end]]
            for end in range(1, len(ids))
        ]
    return [
        float(log_prob) if letter != "N" else math.nan
        for log_prob, letter in zip(log_probs, text[1:], strict=True)
    ]


def one_masked(bundle, text, position):
    """The log-probability of a base with the three 3-mers over it masked, by the formula, one 3-mer after the other."""
    network, head, tokenizer = (
        bundle.classifier.networks[0],
        bundle.auxiliary["masked"],
        bundle.tokenizer,
    )
    ids = bundle.tokenizer.encode(text)
    covering = [token for token in range(position - 2, position + 1) if 0 <= token < len(ids)]
    masked_ids = ids.copy()
    masked_ids[covering] = tokenizer.mask_id
    with torch.no_grad():
        states = network(torch.from_numpy(tokenizer.template(masked_ids)).long()[None])
        logits = network.lm_logits(head, states)[0]
    probabilities = []
    for token in covering:
        kmer = text[token : token + 3]
        if "N" in kmer:
            continue
        offset = position - token
        kmers = [kmer[:offset] + base + kmer[offset + 1 :] for base in "ACGT"]
        kmer_ids = [tokenizer.vocabulary.index(kmer) for kmer in kmers]
        probabilities.append(
            logits[token + 1, kmer_ids].softmax(0)["ACGT".index(text[position])].item()
        )
    return math.log(np.mean(probabilities)) if probabilities else math.nan


class TestNextToken:
    @FEW_EXAMPLES
    @given(DNA)
    def test_each_base_is_predicted_from_those_before_it(self, causal, text):
        per_base = log_probabilities(causal, text)
        assert math.isnan(per_base[0])
        assert per_base[1:] == pytest.approx(next_token(causal, text), nan_ok=True)

    def test_the_sum_is_over_what_was_scored(self, causal):
        (score,) = scores(causal, TEXT)
        expected = next_token(causal, TEXT)
        assert score.log_likelihood == pytest.approx(np.nansum(expected))
        assert score.bases == len(TEXT) - 3  # the first base and two N
        assert score.perplexity == pytest.approx(math.exp(-np.nanmean(expected)))

    def test_a_long_sequence_has_at_least_half_a_window_before_each_base(self, causal):
        per_base = log_probabilities(causal, TEXT, window=12)
        for position in range(12, len(TEXT)):
            start = max(
                0, -(-(position - 11) // 6) * 6
            )  # of the first window that reaches the base
            expected = next_token(causal, TEXT[start : position + 1])[-1]
            assert per_base[position] == pytest.approx(expected, nan_ok=True)

    def test_both_strands_are_the_mean_of_each(self, causal):
        one, other = scores(causal, TEXT, other_strand(TEXT))
        (both,) = scores(causal, TEXT, both_strands=True)
        assert both.log_likelihood == pytest.approx((one.log_likelihood + other.log_likelihood) / 2)
        assert both.bases == (one.bases + other.bases) / 2

    @pytest.mark.parametrize("both_strands", [False, True])
    @pytest.mark.parametrize("window", range(36, 48))
    def test_windows_of_any_length_score_the_same_letters_of_several_at_once(
        self, causal, window, both_strands
    ):
        for tokenizer in ({"k": 3, "stride": 3}, {"k": 6, "stride": 6}, {"k": 4, "stride": 2}):
            triplets = likelihood_bundles.bundle(
                tiny_causal.KIND, {"kind": "kmers", **tokenizer}, "causal"
            )
            (score,) = scores(
                triplets, "ACGTTGATCATT" * 20, window=window, both_strands=both_strands
            )
            assert score.bases == 240 - tokenizer["k"]  # all but the first token's

    @pytest.mark.parametrize("both_strands", [False, True])
    @pytest.mark.parametrize(("k", "stride"), [(3, 3), (4, 2), (6, 1), (5, 3)])
    def test_windows_score_the_letters_that_the_whole_sequence_has(
        self, causal, k, stride, both_strands
    ):
        tokenizer = {"kind": "kmers", "k": k, "stride": stride}
        model = likelihood_bundles.bundle(tiny_causal.KIND, tokenizer, "causal")
        texts = [("ACGTTGATCATTGNACC" * 5)[:length] for length in (60, 61, 62)]
        whole = scores(model, *texts, both_strands=both_strands)
        for window in (2 * (k + stride) + 1, 25, 26):
            windowed = scores(model, *texts, window=window, both_strands=both_strands)
            assert [score.bases for score in windowed] == [score.bases for score in whole]

    def test_a_token_behind_an_unknown_letter_counts_all_its_letters(self, causal):
        triplets = likelihood_bundles.bundle(tiny_causal.KIND, {"kind": "kmers", "k": 3}, "causal")
        scored = ~np.isnan(log_probabilities(triplets, "ACGTNACGTACG"))
        assert scored.tolist() == [False] * 3 + [True, False] + [True] * 7

    def test_a_window_is_encoded_for_its_query_and_for_the_answer(self, causal, monkeypatch):
        texts, encode = [], type(causal.tokenizer).encode

        def spy(tokenizer, text):
            texts.append(text)
            return encode(tokenizer, text)

        monkeypatch.setattr(type(causal.tokenizer), "encode", spy)
        scores(causal, TEXT)
        assert texts == [TEXT, TEXT]

    def test_masking_is_not_for_it(self, causal):
        with pytest.raises(UsageError, match="--mask-every"):
            Likelihood(causal, Settings(mask_every=4))


class TestMasked:
    @settings(max_examples=5)
    @given(st.text("ACGTN", min_size=3, max_size=9))
    def test_each_base_is_predicted_from_all_others(self, masked, text):
        per_base = log_probabilities(masked, text)
        expected = [one_masked(masked, text, position) for position in range(len(text))]
        assert per_base == pytest.approx(expected, nan_ok=True)

    def test_every_nth_base_at_once(self, masked):
        together = log_probabilities(masked, TEXT[:20], mask_every=100)
        assert together == pytest.approx(log_probabilities(masked, TEXT[:20]), nan_ok=True)
        assert log_probabilities(masked, TEXT[:20], mask_every=7) != pytest.approx(
            together, nan_ok=True
        )

    def test_long_sequences_are_scored_once_each_base(self, masked):
        per_base = log_probabilities(masked, TEXT * 4, window=20)
        assert len(per_base) == 4 * len(TEXT)
        letters = np.array(list(TEXT * 4))
        assert (np.isnan(per_base) == (letters == "N")).all()
        assert per_base[:10] == pytest.approx(
            log_probabilities(masked, TEXT[:20])[:10], nan_ok=True
        )

    @pytest.mark.parametrize(("k", "stride"), [(3, 3), (4, 2)])
    def test_tokens_of_several_letters_are_the_same_in_windows(self, k, stride):
        tokenizer = {"kind": "kmers", "k": k, "stride": stride}
        model = likelihood_bundles.bundle(
            "dnabert", tokenizer, "masked", **likelihood_bundles.DNABERT
        )
        texts = [("ACGTTGATCATT" * 3)[:length] for length in (30, 31, 32)]
        whole = scores(model, *texts, both_strands=True)
        for window in (2 * (k + stride), 2 * (k + stride) + 1):
            windowed = scores(model, *texts, window=window, both_strands=True)
            assert [score.bases for score in windowed] == [score.bases for score in whole]


class TestBytes:
    @pytest.fixture
    def bytes_bundle(self, causal):
        return likelihood_bundles.bundle(tiny_causal.KIND, {"kind": "bytes"}, "causal")

    def test_every_character_counts_unless_bases_alone_are_asked_for(self, bytes_bundle):
        (score,) = scores(bytes_bundle, "ACGTNacgt")
        assert score.bases == 8
        (score,) = scores(bytes_bundle, "ACGTNacgt", only_bases=True)
        assert score.bases == 3

    def test_characters_that_are_no_bases_are_reported(self):
        others = OtherLetters()
        for text in ("|D__X|ACGTacgu", "MKTAYNN"):
            others.count(SequenceRecord("s", text), from_config({"kind": "bytes"}))
        other_case, foreign = others.warnings()
        assert other_case.startswith("4 letters of 1 sequences are lower case or U")
        assert foreign.startswith("5 characters of 1 sequences are none of A, C, G and T")

    @needs_shared
    def test_evo_2_scores_as_its_own_code_does(self):
        folder = SHARED / "parity" / "evo2"
        bundle = bundles.load(folder, torch.device("cpu"), torch.float64)
        with open_input(folder / "inputs.fa") as source:
            records = list(read_sequences(source, case_sensitive=True, any_text=True))
        expected = json.loads((folder / "expected_scores.json").read_text())
        scored = scores(bundle, *(record.sequence for record in records))
        assert [s.log_likelihood for s in scored[:2]] == pytest.approx(expected["sum_loglik"], 1e-4)
        assert [s.per_base for s in scored[:2]] == pytest.approx(expected["mean_loglik"], 1e-4)
        (both,) = scores(bundle, records[-1].sequence, both_strands=True)
        (mean,) = expected["short_record_mean_loglik_averaged_with_reverse_complement"]
        assert both.per_base == pytest.approx(mean, 1e-4)


class TestAnyModel:
    @FEW_EXAMPLES
    @given(st.lists(DNA, min_size=1, max_size=5), st.integers(1, 4), st.booleans())
    def test_scores_do_not_depend_on_batches(self, causal, texts, size, both_strands):
        alone = [scores(causal, text, both_strands=both_strands)[0] for text in texts]
        together = scores(
            causal, *texts, batching=Batching(windows=size), both_strands=both_strands
        )
        for one, other in zip(alone, together, strict=True):
            assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-9)
            assert one.bases == other.bases

    def test_scores_of_a_masked_model_do_not_depend_on_batches(self, masked):
        alone = [scores(masked, text)[0].log_likelihood for text in (TEXT[:9], TEXT[:20])]
        together = scores(masked, TEXT[:9], TEXT[:20], batching=Batching(windows=3))
        assert [s.log_likelihood for s in together] == pytest.approx(alone)

    def test_what_has_no_base_has_no_score(self, causal):
        for score in scores(causal, "", "A", "NNN"):
            assert (score.bases, math.isnan(score.total), math.isnan(score.per_base)) == (
                0,
                True,
                True,
            )

    def test_a_window_that_the_model_cannot_read_is_refused(self, masked):
        with pytest.raises(UsageError, match="windows of 8 to 64 letters"):
            Likelihood(masked, Settings(window=65))

    def test_models_without_a_likelihood_are_refused(self, masked):
        assert has_likelihood(masked)
        without = likelihood_bundles.bundle(
            "dnabert", likelihood_bundles.SIX, "", **likelihood_bundles.DNABERT
        )
        assert not has_likelihood(without)
        with pytest.raises(BundleError, match="not trained with the objective masked"):
            Likelihood(without, Settings())
        symmetric = likelihood_bundles.bundle(
            "transformer", {"kind": "symmetric", "k": 3}, "masked", width=8, heads=2
        )
        with pytest.raises(BundleError, match="do not tell a base from its complement"):
            Likelihood(symmetric, Settings())


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_windows_apart_depend_on_nothing_else(kind, threads, request):
    bundle = copy.deepcopy(request.getfixturevalue(kind))
    texts = [TEXT, TEXT[3:], TEXT[:9], other_strand(TEXT)]
    exact = scores(bundle, *texts)
    to_single_precision([bundle.classifier, *bundle.auxiliary.values()])
    alone = [scores(bundle, text, window_by_window=True)[0] for text in texts]
    torch.set_num_threads(threads)
    together = scores(bundle, *texts, window_by_window=True)
    assert torch.get_num_threads() == threads
    assert [one.total for one in together] == [one.total for one in alone]
    for one, other in zip(together, exact, strict=True):
        assert one.total == pytest.approx(other.total, rel=1e-5)
        assert one.bases == other.bases
