"""Self-supervised objectives: their losses by hand, what their views show, and the auxiliary heads they train."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli import tokenizers
from genomai_cli.alphabet import reverse_complement
from genomai_cli.augmentations import (
    PADDING,
    crop,
    lengths,
    mask,
    mask_outside,
    random_spans,
    reverse_complement_rows,
    substitute,
)
from genomai_cli.backbones import heads
from genomai_cli.backbones.base import build_network
from genomai_cli.errors import BundleError
from genomai_cli.objectives.base import (
    NO_TARGET,
    Alphabet,
    Learner,
    Model,
    SingleProcess,
    check_objective,
    objective_class,
)
from genomai_cli.objectives.contrastive import Contrastive, ContrastiveSettings, info_nce
from genomai_cli.objectives.masked import Masked, MaskedSettings, masked_cross_entropy
from genomai_cli.tokenizers.batch import covering_tokens, encode_rows

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIGS = [
    {"kind": "kmers", "k": 3, "stride": 1},
    {"kind": "kmers", "k": 4, "stride": 4},
    {"kind": "kmers", "k": 2, "stride": 3},
    {"kind": "symmetric", "k": 3},
    {"kind": "characters"},
    {"kind": "iupac"},
]
SINGLE_PROCESS = SingleProcess()
DEFAULT_SETTINGS = dict(contrastive=ContrastiveSettings(), masked=MaskedSettings())


def rows(*sequences):
    """Sequences as padded rows."""
    array = np.full((len(sequences), max(map(len, sequences))), PADDING, np.uint8)
    for row, sequence in zip(array, sequences, strict=True):
        row[: len(sequence)] = np.frombuffer(sequence.encode(), np.uint8)
    return array


def text(row):
    """A row's letters."""
    return row[row != PADDING].tobytes().decode()


def rng(seed=0):
    return np.random.default_rng(seed)


SEQUENCES = st.lists(st.text("ACGTN", min_size=6, max_size=40), min_size=1, max_size=5)


class TestRows:
    @given(SEQUENCES, st.sampled_from(CONFIGS))
    def test_rows_are_encoded_as_single_sequences_are(self, sequences, config):
        tokenizer = tokenizers.from_config(config)
        ids = encode_rows(tokenizer, rows(*sequences))
        for sequence, row_ids in zip(sequences, ids, strict=True):
            expected = tokenizer.encode(sequence)
            assert row_ids[: len(expected)].tolist() == expected.tolist()
            assert (row_ids[len(expected) :] == tokenizer.pad_id).all()

    def test_sequences_shorter_than_a_token_are_padding(self):
        tokenizer = tokenizers.from_config({"kind": "kmers", "k": 4})
        assert encode_rows(tokenizer, rows("AC", "A")).tolist() == [[256], [256]]


class TestAugmentations:
    def test_flipped_rows_are_reverse_complements(self):
        flipped = reverse_complement_rows(rows("AACG", "TG", "AC"), np.array([True, True, False]))
        assert [text(row) for row in flipped] == ["CGTT", "CA", "AC"]

    @given(SEQUENCES)
    def test_flipping_twice_changes_nothing(self, sequences):
        letters = rows(*sequences)
        all_rows = np.ones(len(letters), np.bool_)
        assert (
            reverse_complement_rows(reverse_complement_rows(letters, all_rows), all_rows) == letters
        ).all()
        assert (
            text(reverse_complement_rows(letters, all_rows)[0])
            == reverse_complement(np.frombuffer(sequences[0].encode(), np.uint8)).tobytes().decode()
        )

    @given(SEQUENCES, st.floats(0.1, 1))
    def test_a_crop_is_a_stretch_of_the_sequence(self, sequences, share):
        cropped = crop(rows(*sequences), share, rng())
        for sequence, row in zip(sequences, cropped, strict=True):
            assert text(row) in sequence
            assert len(text(row)) == max(1, round(share * len(sequence)))

    def test_crops_begin_anywhere(self):
        cropped = crop(rows(*["ACGTACGTAC"] * 400), 0.8, rng())
        starts = {text(row) for row in cropped}
        assert starts == {"ACGTACGT", "CGTACGTA", "GTACGTAC"}

    @given(SEQUENCES, st.floats(0.1, 1))
    def test_masking_outside_keeps_positions(self, sequences, share):
        letters = rows(*sequences)
        visible = mask_outside(letters, share, rng())
        assert (lengths(visible) == lengths(letters)).all()
        assert ((visible == letters) | (visible == ord("N"))).all()

    @pytest.mark.parametrize("span", [1, 3, 6])
    def test_runs_cover_the_share_asked_for(self, span):
        spans = random_spans((200, 500), 0.15, rng(), span)
        assert spans.mean() == pytest.approx(0.15, abs=0.01)

    @given(st.integers(1, 6), st.integers(0, 50))
    def test_runs_are_as_long_as_asked_for(self, span, seed):
        spans = random_spans((1, 200), 0.1, rng(seed), span)[0]
        edges = np.flatnonzero(np.diff(spans.astype(int)))  # runs at the ends may be cut short
        inside = edges[spans[edges + 1].argmax() :] if len(edges) else edges
        assert (np.diff(inside)[::2] >= span).all()

    def test_masked_letters_are_missing_and_others_untouched(self):
        letters = rows("ACGT" * 100)
        masked = mask(letters, 0.3, rng(), span=2)
        is_masked = masked == ord("N")
        assert 0.2 < is_masked.mean() < 0.4
        assert (masked[~is_masked] == letters[~is_masked]).all()

    def test_substitutes_are_other_bases_each_as_likely(self):
        letters = rows("A" * 30_000)
        changed = substitute(letters, 0.5, rng())[0]
        counts = {base: (changed == ord(base)).mean() for base in "ACGTN"}
        assert counts["A"] == pytest.approx(0.5, abs=0.02)
        for base in "CGT":
            assert counts[base] == pytest.approx(1 / 6, abs=0.02)

    def test_missing_letters_are_not_substituted(self):
        assert text(substitute(rows("NNNN"), 1.0, rng())[0]) == "NNNN"

    def test_substitutes_at_a_site_are_its_own_letters(self):
        choices = np.array(
            [[ord("A"), ord("G"), 0], [ord("C"), 0, 0], [ord("A"), ord("T"), ord("W")]]
        )
        substituted = {text(row) for row in substitute(
            rows(*["ACA"] * 100), 1.0, rng(), choices=choices.astype(np.uint8)
        )}  # fmt: skip
        assert substituted == {"GCT", "GCW"}


class TestInfoNCE:
    def test_the_loss_by_hand(self):
        first = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
        second = torch.tensor([[1.0, 1.0], [0.0, 5.0]])
        # Cosines: (1,1)/sqrt 2 with both axes, and (0,1): rows of the first view against the second.
        c = math.sqrt(0.5)
        cosines = [[c, 0.0], [c, 1.0]]
        t = 0.5

        def nats(row, target):
            return -row[target] / t + math.log(sum(math.exp(value / t) for value in row))

        forward = (nats(cosines[0], 0) + nats(cosines[1], 1)) / 2
        columns = list(zip(*cosines, strict=True))
        backward = (nats(columns[0], 0) + nats(columns[1], 1)) / 2
        assert float(info_nce(first, second, t, SINGLE_PROCESS)) == pytest.approx(
            (forward + backward) / 2
        )

    def test_vectors_that_are_all_the_same_give_the_log_of_the_batch(self):
        same = torch.ones(7, 3)
        assert float(info_nce(same, same, 0.1, SINGLE_PROCESS)) == pytest.approx(math.log(7))

    def test_the_length_of_the_vectors_does_not_count(self):
        first, second = torch.randn(5, 4), torch.randn(5, 4)
        scaled = info_nce(first * 100, second * 0.01, 0.2, SINGLE_PROCESS)
        assert float(scaled) == pytest.approx(
            float(info_nce(first, second, 0.2, SINGLE_PROCESS)), rel=1e-4
        )


class TestMaskedLoss:
    def test_the_loss_by_hand(self):
        logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
        loss = masked_cross_entropy(logits, torch.tensor([1, 0]), SINGLE_PROCESS)
        assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)

    def test_nothing_masked_is_no_loss(self):
        assert (
            float(masked_cross_entropy(torch.zeros(0, 4), torch.zeros(0).long(), SINGLE_PROCESS))
            == 0
        )

    def test_only_masked_tokens_count(self):
        network, objective, learner = make_learner("masked", {"kind": "kmers", "k": 3})
        views = tensors(objective.views(rows("ACGTACGTAGCTAGCT"), rng()))
        visible = views["targets"] == NO_TARGET
        assert visible.any()
        scored = []

        def predict_masked(head, inputs, chosen, mask):
            scored.append(chosen)
            assert mask.all()
            return torch.zeros(int(chosen.sum()), 67)

        network.predict_masked = predict_masked
        objective.loss(
            Model(network, learner.auxiliary["masked"], lambda ids: ids), views, SINGLE_PROCESS
        )
        assert (scored[0] == ~visible).all()

    @pytest.mark.parametrize("config", CONFIGS)
    def test_special_tokens_are_never_predicted(self, config):
        tokenizer = tokenizers.from_config(config)
        views = Masked(MaskedSettings(share=0.9), Alphabet(tokenizer)).views(
            rows("ACNNGTACGTNACGTTT", "ACGTACN"), rng()
        )
        special = {tokenizer.pad_id, tokenizer.mask_id, tokenizer.unk_id}
        assert not special & set(views["targets"].ravel().tolist())

    def test_something_is_always_masked(self):
        objective = Masked(
            MaskedSettings(share=0.001), Alphabet(tokenizers.from_config(CONFIGS[0]))
        )
        views = objective.views(rows(*["ACGTACGTACGT"] * 50), rng())
        assert ((views["targets"] != NO_TARGET).sum(axis=1) > 0).all()

    def test_the_share_varies_between_samples_if_asked(self):
        tokenizer = tokenizers.from_config({"kind": "characters"})
        objective = Masked(MaskedSettings(share=0.1, most=0.9), Alphabet(tokenizer))
        shares = (objective.views(rows(*["ACGT" * 100] * 300), rng())["targets"] != NO_TARGET).mean(
            1
        )
        assert shares.min() < 0.2
        assert shares.max() > 0.8


def visible_letters(ids, tokenizer, count):
    """Which letters of a sequence its visible tokens tell."""
    is_visible = np.zeros(count, np.bool_)
    for index, token in enumerate(ids):
        if token not in (tokenizer.mask_id, tokenizer.pad_id):
            is_visible[index * tokenizer.stride : index * tokenizer.stride + tokenizer.k] = True
    return is_visible


@settings(deadline=None)
@given(
    st.text("ACGT", min_size=12, max_size=60),
    st.sampled_from(CONFIGS),
    st.integers(1, 7),
    st.floats(0.05, 0.5),
    st.integers(0, 100),
)
def test_a_masked_letter_is_in_no_visible_token(sequence, config, span, share, seed):
    tokenizer = tokenizers.from_config(config)
    objective = Masked(MaskedSettings(share=share, span=span), Alphabet(tokenizer))
    letters = rows(sequence)
    masked = objective._select(letters, rng(seed))
    views = objective.views(letters, rng(seed))
    assert not (visible_letters(views["ids"][0], tokenizer, len(sequence)) & masked[0]).any()
    # Another letter in its place changes nothing that the network sees.
    other = substitute(letters, 1.0, rng())
    replaced = np.where(masked, other, letters)
    assert (objective.views(replaced, rng(seed))["ids"] == views["ids"]).all()
    # What is to be predicted are exactly the tokens over masked letters.
    assert ((views["targets"] != NO_TARGET) == covering_tokens(tokenizer, letters, masked)).all()


def test_bert_shows_some_of_the_tokens_to_be_predicted():
    tokenizer = tokenizers.from_config({"kind": "characters"})
    bert_settings = MaskedSettings(share=0.5, substitute=0.1, keep=0.1)
    letters = rows("ACGT" * 5000)
    views = Masked(bert_settings, Alphabet(tokenizer)).views(letters, rng())
    original = encode_rows(tokenizer, letters)
    selected = views["targets"] != NO_TARGET
    assert (views["ids"][~selected] == original[~selected]).all()
    inputs = views["ids"][selected]
    assert (inputs == tokenizer.mask_id).mean() == pytest.approx(0.8, abs=0.02)
    assert (inputs == original[selected]).mean() == pytest.approx(0.1, abs=0.02)


def test_views_mask_the_share_of_tokens_asked_for_whatever_their_length():
    letters = rows(*["ACGT" * 100] * 50)
    for config in ({"kind": "kmers", "k": 3}, {"kind": "kmers", "k": 6}, {"kind": "characters"}):
        tokenizer = tokenizers.from_config(config)
        objective = Contrastive(ContrastiveSettings(), Alphabet(tokenizer))
        ids = objective.views(letters, rng())["ids_first"]
        assert (ids == tokenizer.mask_id).mean() == pytest.approx(0.15, abs=0.02)
        assert ids.shape[1] == tokenizer.length(320)  # 80 % of the letters


def test_views_of_aligned_sites_keep_their_positions():
    tokenizer = tokenizers.from_config({"kind": "iupac"})
    alphabet = Alphabet(tokenizer, aligned=True, choices=rows(*["AG"] * 50))
    objective = Contrastive(ContrastiveSettings(mask=0.0, reverse_complement=1.0), alphabet)
    ids = objective.views(rows("A" * 50), rng())["ids_first"][0]
    known = np.flatnonzero(ids != tokenizer.unk_id)
    assert len(ids) == 50
    assert (len(known), known[-1] - known[0]) == (40, 39)
    assert set(ids[known]) <= {0, 2}  # A and G, the letters of the sites


NETWORK = {
    "kind": "transformer", "width": 16, "heads": 2, "layers": 1, "feed_forward": 16,
    "positions": 64, "dropout": 0.0,
}  # fmt: skip


def make_learner(name, config, seed=0):
    """A network, an objective and the two as a learner."""
    tokenizer = tokenizers.from_config(config)
    torch.manual_seed(seed)
    sizes = {"vocabulary": len(tokenizer.vocabulary), "pad_id": tokenizer.pad_id}
    network = build_network(NETWORK | sizes)
    objective = objective_class(name)(DEFAULT_SETTINGS[name], Alphabet(tokenizer))
    auxiliary = heads.build_auxiliary({name: objective.auxiliary()}, network)

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.networks = torch.nn.ModuleList([network])

        def inputs(self, ids):
            return ids

    return (
        network,
        objective,
        Learner(Classifier(), dict(auxiliary.items()), {objective: 1.0}, SINGLE_PROCESS),
    )


def tensors(views):
    return {name: torch.from_numpy(array) for name, array in views.items()}


@pytest.mark.parametrize(
    "name", DEFAULT_SETTINGS
)  # diffusion is of genotypes of samples: tests/diffusion
class TestEveryObjective:
    def batch(self, objective, seed=1):
        generator = rng(seed)
        letters = np.frombuffer(b"ACGT", np.uint8)[generator.integers(0, 4, (12, 40))]
        return {objective.name: tensors(objective.views(letters, generator))}

    def test_the_same_randomness_gives_the_same_loss(self, name):
        _, objective, learner = make_learner(name, {"kind": "kmers", "k": 2})
        losses = [learner(self.batch(objective, seed)) for seed in (1, 1, 2)]
        assert torch.equal(losses[0], losses[1])
        assert not torch.equal(losses[0], losses[2])

    def test_the_loss_falls_when_one_batch_is_learnt_by_heart(self, name):
        _, objective, learner = make_learner(name, {"kind": "kmers", "k": 2})
        batch = self.batch(objective)
        optimizer = torch.optim.AdamW(learner.parameters(), lr=5e-3)
        losses = []
        for _ in range(60):
            loss = learner(batch).sum()
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert losses[-1] < 0.5 * losses[0]

    def test_gradients_reach_the_network_and_the_auxiliary_head(self, name):
        _, objective, learner = make_learner(name, {"kind": "kmers", "k": 2})
        learner(self.batch(objective)).sum().backward()
        for parameter_name, parameter in learner.named_parameters():
            assert parameter.grad is not None, parameter_name

    def test_a_weight_must_be_positive(self, name):
        check_objective(name, 0.5)
        for weight in (0, -1.0, math.inf, math.nan, True, "1"):
            with pytest.raises(ValueError, match="is a weight above 0"):
                check_objective(name, weight)


def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match=r"no objective 'magic' \(there are: contrastive, masked"):
        check_objective("magic", 1)


@pytest.mark.parametrize("config", [{"kind": "magic"}, {"kind": "projection"}, {}])
def test_damaged_auxiliary_heads_are_refused(config):
    network, _, _ = make_learner("masked", {"kind": "kmers", "k": 2})
    with pytest.raises(BundleError, match="companion"):
        heads.build_auxiliary({"masked": config}, network)


@pytest.mark.parametrize(
    ("config", "inputs"),
    [
        (NETWORK | {"vocabulary": 22, "pad_id": 20}, torch.tensor([[1, 2, 3, 4], [5, 6, 7, 20]])),
        ({"kind": "sites", "sites": 4, "width": 8}, torch.tensor([[0, 1, 2, -1], [2, 2, 0, 1]])),
        (
            {"kind": "profile", "sites": 4, "variants": 5, "width": 8},
            torch.tensor([[0, 1, 2, 3], [3, 4, 4, 0]]),
        ),
    ],
    ids=["transformer", "sites", "profile"],
)
def test_networks_predict_chosen_tokens_as_they_predict_all(config, inputs):
    torch.manual_seed(1)
    network = build_network(config).eval()
    head = network.lm_head(22)
    all_logits = network.predict_masked(head, inputs)
    chosen = torch.tensor([[True, False, True, True], [False, True, False, False]])
    assert all_logits.shape[:2] == (2, 4)
    assert torch.equal(network.predict_masked(head, inputs, chosen), all_logits[chosen])
