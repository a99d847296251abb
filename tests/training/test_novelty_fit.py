"""What a model takes for unlike its training sequences."""

import numpy as np
import pytest
import torch

from genomai_cli.alphabet import complement
from genomai_cli.backbones.sequence_novelty import NOVELTY, SequenceNovelty
from genomai_cli.inputs.samples import Samples
from genomai_cli.training.novelty_fit import WITHHELD_SHARE, _bound, fit_novelty
from genomai_cli.training.sequence_parts import LabelledCodes

LENGTH = 60


def chain(rng, length=LENGTH):
    """A sequence in which a G seldom follows a C, of 60 % A and T."""
    letters = rng.choice(list("ACGT"), length, p=[0.3, 0.2, 0.2, 0.3])
    for position in range(1, length):
        if letters[position - 1] == "C" and letters[position] == "G" and rng.random() < 0.9:
            letters[position] = "A"
    return "".join(letters)


def fitted(texts, folds=5):
    labels = {"label": np.arange(len(texts)) % 2}
    samples = Samples(
        list(texts), list(texts), labels, {"label": ["a", "b"]}, np.arange(len(texts))
    )
    data = LabelledCodes.of(samples, 4096)
    return fit_novelty(data, [np.arange(fold, len(texts), folds) for fold in range(folds)])


def margins(novelty, *texts):
    longest = max(map(len, texts))
    rows = [["ACGTN".index(c) for c in text.ljust(longest, "N")] for text in texts]
    return novelty.scores(torch.tensor(rows))[NOVELTY]


@pytest.fixture(scope="module")
def novelty():
    rng = np.random.default_rng(0)
    return fitted([chain(rng) for _ in range(3000)])


def test_few_of_the_same_kind_are_flagged(novelty):
    rng = np.random.default_rng(1)
    scores = margins(novelty, *[chain(rng) for _ in range(2000)])
    assert 0.002 < float((scores > 0).double().mean()) < 0.02
    assert float((scores > 1).double().mean()) < 0.002


@pytest.mark.parametrize(
    "text", ["ACGTA", "A" * LENGTH, "CA" * (LENGTH // 2), "GCG" * (LENGTH // 3)]
)
def test_what_no_training_sequence_is_like_gets_no_label(novelty, text):
    assert float(margins(novelty, text)) > 1


def test_lengths(novelty):
    rng = np.random.default_rng(2)
    texts = [chain(rng, length) for length in (58, 64, 80, 150)]
    assert (margins(novelty, *texts) > 0).tolist() == [False, False, True, True]
    assert (margins(novelty, *texts) > 1).tolist() == [False, False, False, True]


def test_another_chain_of_the_same_letters_is_flagged(novelty):
    rng = np.random.default_rng(3)
    shuffled = ["".join(rng.permutation(list(chain(rng)))) for _ in range(300)]
    assert float((margins(novelty, *shuffled) > 0).double().mean()) > 0.1


def test_the_other_strand_has_the_same_margin_in_any_batch(novelty):
    rng = np.random.default_rng(4)
    texts = [chain(rng, length) for length in (5, 30, 60)]
    reverse_complements = [complement(text)[::-1] for text in texts]
    together = margins(novelty, *texts)
    alone = torch.cat([margins(novelty, text) for text in reverse_complements])
    assert torch.allclose(together, alone, atol=1e-9)


@pytest.mark.parametrize("texts", [["ACG", "AAG"] * 6, ["ACGTACGTAC"] * 12])
def test_few_short_and_equal_sequences_have_finite_values(texts):
    fitted_novelty = fitted(texts)
    assert all(
        bool(value.isfinite().all()) for value in fitted_novelty.float().state_dict().values()
    )
    assert float(margins(fitted_novelty, texts[0])) <= 0
    assert float(margins(fitted_novelty, "A" * 50)) > 1


def test_it_is_stored_and_read(novelty):
    loaded = SequenceNovelty().double()
    loaded.load_state_dict(novelty.state_dict())
    assert torch.equal(margins(loaded, "ACGTACGTAA"), margins(novelty, "ACGTACGTAA"))


def test_bounds_of_few_values_are_those_of_a_tail():
    values = torch.from_numpy(np.sort(np.random.default_rng(5).exponential(size=20_000)))
    few = values[::200]
    assert _bound(values, 0.004) == pytest.approx(-np.log(0.004), rel=0.1)
    assert _bound(few, WITHHELD_SHARE) == pytest.approx(-np.log(WITHHELD_SHARE), rel=0.4)
    assert _bound(few, WITHHELD_SHARE) > float(few[-1])
