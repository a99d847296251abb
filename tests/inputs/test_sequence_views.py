"""Views of plain DNA for training, and the mean over the windows of a sample."""

import numpy as np
import pytest
import torch

from genomai_cli import tokenizers
from genomai_cli.inputs.samples import Samples, TrainingBatch
from genomai_cli.inputs.sequences import SequenceViews, SequenceViewsSettings

pytestmark = pytest.mark.usefixtures("one_thread")


def step_rng(step, seed=1):
    return np.random.default_rng([seed, step])


SEQUENCES = ["ACGTACGTAC", "TTTTT", "ACGNNACGTA", "A", ""]


def sequence_views(max_tokens=50, **views):
    columns = {"kind": np.array([0, 1, 0, 1, 0])}
    samples = Samples(list("abcde"), SEQUENCES, columns, {"kind": ["x", "y"]}, np.arange(5))
    tokenizer = tokenizers.from_config({"kind": "kmers", "k": 3, "stride": 1})
    return SequenceViews(
        samples, tokenizer, SequenceViewsSettings(**views), max_tokens=max_tokens
    ), tokenizer


class TestSequenceViews:
    def test_a_plain_view_is_the_padded_tokens(self):
        views, tokenizer = sequence_views()
        batch = views.plain(np.arange(5))
        assert batch.ids.shape == (5, 8)
        for ids, sequence in zip(batch.ids, SEQUENCES, strict=True):
            tokens = tokenizer.encode(sequence)
            assert ids[: len(tokens)].tolist() == tokens.tolist()
            assert (ids[len(tokens) :] == tokenizer.pad_id).all()
        assert torch.equal(batch.mask, batch.ids != tokenizer.pad_id)
        assert batch.share.tolist() == pytest.approx([1.0, 1.0, 0.8, 1.0, 0.0])

    def test_a_varied_view_without_variation_is_the_plain_one(self):
        views, _ = sequence_views()
        rows = np.arange(5)
        assert torch.equal(views.varied(rows, step_rng(1)).ids, views.plain(rows).ids)

    def test_a_long_sequence_is_cut_at_random_to_what_the_network_can_read(self):
        views, tokenizer = sequence_views(max_tokens=4)
        crops = {tuple(views.varied(np.array([0]), step_rng(s)).ids[0].tolist()) for s in range(40)}
        assert crops == {
            tuple(tokenizer.encode(SEQUENCES[0][start : start + 6]).tolist()) for start in range(5)
        }
        assert views.plain(np.array([0])).ids[0].tolist() == tokenizer.encode("ACGTAC").tolist()

    def test_the_other_strand_is_read_as_often_as_asked_for(self):
        views, tokenizer = sequence_views(reverse_complement=0.5)
        strands = {"there": tokenizer.encode("TTTTT"), "back": tokenizer.encode("AAAAA")}
        batch = views.varied(np.ones(400, np.int64), step_rng(2))
        reverse = [ids.tolist() == strands["back"].tolist() for ids in batch.ids]
        forward = [ids.tolist() == strands["there"].tolist() for ids in batch.ids]
        assert all(a or b for a, b in zip(reverse, forward, strict=True))
        assert np.mean(reverse) == pytest.approx(0.5, abs=0.08)

    def test_the_same_seed_and_step_make_the_same_batch(self):
        views, _ = sequence_views(max_tokens=4, hide=0.5, hide_often=0.5, reverse_complement=0.5)
        one, again = (views.varied(np.arange(5), step_rng(3)) for _ in range(2))
        assert torch.equal(one.ids, again.ids)


def test_the_mean_over_windows_joins_first_and_second_windows():
    scores = {"pop": torch.tensor([[1.0], [2.0], [3.0], [10.0], [20.0], [30.0]])}
    batch = TrainingBatch(torch.zeros(6, 1), 2, torch.ones(3), {})
    assert batch.mean(scores)["pop"].tolist() == [[5.5], [11.0], [16.5]]
