"""Calibration: temperatures and weights of scores on samples that networks were not trained on."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from genomai_cli.backbones.classifier import LIKELIHOOD, Fusion
from genomai_cli.objectives.base import cross_entropy
from genomai_cli.training.calibration import HeldOut, calibrate

pytestmark = pytest.mark.usefixtures("one_thread")


def overconfident(factor, share, seed, samples=3000):
    """Scores that are `factor` times too large, with labels sampled from the calibrated ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (samples, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (probabilities.cumsum(1) < rng.random((samples, 1))).sum(1)
    return HeldOut(
        {"pop": torch.from_numpy(factor * logits)},
        torch.full((samples,), share, dtype=torch.float64),
        {"pop": torch.from_numpy(labels)},
    )


def log_loss(fusion, held_out):
    return float(cross_entropy(fusion(held_out.scores, held_out.share), held_out.labels))


class TestCalibration:
    def test_the_temperature_of_overconfident_scores_is_found(self):
        held_out = overconfident(4.0, 1.0, 41)
        fusion = Fusion({"pop": 3}, {}).double()
        before = log_loss(fusion, held_out)
        calibrate(fusion, held_out)
        weight = float(fusion.network_pop[0].exp())
        assert weight == pytest.approx(1 / 4, rel=0.08)
        assert log_loss(fusion, held_out) < before - 0.3

    def test_the_temperature_follows_the_share_of_known_sites(self):
        parts = [
            overconfident(*case) for case in ((1.5, 1.0, 42), (4.0, 0.3, 43), (10.0, 0.05, 44))
        ]
        fusion = Fusion({"pop": 3}, {})
        calibrate(fusion, HeldOut.joined(parts))
        for part, factor in zip(parts, (1.5, 4.0, 10.0), strict=True):
            calibrated = fusion(part.scores, part.share)["pop"]
            expected = (part.scores["pop"] / factor).log_softmax(1)
            assert float((calibrated - expected).abs().mean()) < 0.15

    def test_it_helps_with_samples_it_has_not_seen(self):
        fusion = Fusion({"pop": 3}, {}).double()
        unseen = overconfident(3.0, 1.0, 46)
        before = log_loss(fusion, unseen)
        calibrate(fusion, overconfident(3.0, 1.0, 45))
        assert log_loss(fusion, unseen) < before - 0.1
        probabilities = fusion(unseen.scores, unseen.share)["pop"].exp()
        torch.testing.assert_close(probabilities.sum(1), torch.ones(3000, dtype=torch.float64))

    def test_a_source_that_knows_nothing_loses_its_weight(self):
        held_out = overconfident(1.0, 1.0, 47)
        noise = torch.from_numpy(np.random.default_rng(48).normal(0, 3, (3000, 3)))
        scores = {"pop": noise, LIKELIHOOD: held_out.scores["pop"]}
        fusion = Fusion({"pop": 3}, {"pop": [0, 1, 2]})
        calibrate(fusion, HeldOut(scores, held_out.share, held_out.labels))
        assert float(fusion.network_pop[0].exp()) < 0.1
        assert float(fusion.likelihood_pop[0].exp()) == pytest.approx(1, abs=0.1)

    def test_samples_without_a_label_do_not_count(self):
        held_out = overconfident(4.0, 1.0, 49)
        labels = held_out.labels["pop"].clone()
        labels[1000:] = -1
        labelled = HeldOut(
            {"pop": held_out.scores["pop"][:1000]},
            held_out.share[:1000],
            {"pop": held_out.labels["pop"][:1000]},
        )
        fusions = [Fusion({"pop": 3}, {}) for _ in range(2)]
        calibrate(fusions[0], HeldOut(held_out.scores, held_out.share, {"pop": labels}))
        calibrate(fusions[1], labelled)
        torch.testing.assert_close(fusions[0].network_pop, fusions[1].network_pop)

    def test_it_returns_the_loss_it_came_to(self):
        held_out = overconfident(2.0, 1.0, 50)
        fusion = Fusion({"pop": 3}, {})
        assert calibrate(fusion, held_out) == pytest.approx(log_loss(fusion, held_out), abs=0.01)

    @pytest.mark.parametrize("seed", [4, 52, 190])
    def test_a_few_samples_leave_finite_weights(self, seed):
        generator = torch.Generator().manual_seed(seed)
        samples = 1 + seed % 6
        labels = torch.randint(0, 5, (samples,), generator=generator)
        scores = torch.randn(7, samples, 5, generator=generator).double() * 3
        scores += one_hot(labels, 5) * (seed % 7) * 3
        visible = torch.tensor([1, 0.75, 0.5, 0.25, 0.1, 0.04, 0.01], dtype=torch.float64)
        share = visible[:, None] * torch.rand(7, samples, generator=generator).double().clamp(0.7)
        fusion = Fusion({"pop": 5}, {})
        loss = calibrate(
            fusion, HeldOut({"pop": scores.view(-1, 5)}, share.view(-1), {"pop": labels.repeat(7)})
        )
        assert np.isfinite(loss)
        assert torch.isfinite(fusion.network_pop).all()
