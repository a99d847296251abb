"""The network of one layer that is solved: against scikit-learn, primal and dual, and with sites missing."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from genomai_cli.backbones.heads import attach_heads, logits
from genomai_cli.population.networks.genotype_regression import (
    GenotypeRegression,
    GenotypeRegressionConfig,
)

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = {"region": 2, "place": 4}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def samples_of(rng, count, sites):
    """Copies (N, S) of four places in two regions, and the labels."""
    frequency_PS = rng.uniform(0.1, 0.9, (2, sites))[[0, 0, 1, 1]] + rng.normal(0, 0.1, (4, sites))
    place_N = np.arange(count) % 4
    copies_NS = rng.binomial(2, frequency_PS.clip(0.02, 0.98)[place_N])
    labels = {"region": torch.from_numpy(place_N // 2), "place": torch.from_numpy(place_N)}
    return torch.from_numpy(copies_NS), labels


def fitted(copies, labels, width=12, penalty=0.1):
    network = GenotypeRegression(GenotypeRegressionConfig(copies.shape[1], width, penalty))
    attach_heads(network, CLASSES).double().solve(copies, labels)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(("count", "sites"), [(60, 200), (200, 60)], ids=["dual", "primal"])
def test_logits_are_those_of_ridge_regression(rng, count, sites):
    copies, labels = samples_of(rng, count, sites)
    network = fitted(copies, labels)
    x = copies.numpy() - copies.numpy().mean(axis=0)
    target = np.eye(4)[labels["place"].numpy()]
    scale = (x**2).sum() / count
    ridge = Ridge(alpha=0.1 * scale, fit_intercept=False).fit(x, target - target.mean(axis=0))
    expected = ridge.predict(x) + target.mean(axis=0)
    found = logits(network, copies)["place"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_new_samples_are_told_apart_with_half_of_the_sites(rng):
    copies, labels = samples_of(rng, 400, 300)
    network = fitted(copies[:200], {head: rows[:200] for head, rows in labels.items()})
    masked = copies[200:].masked_fill(torch.from_numpy(rng.random((200, 300)) < 0.5), -1)
    is_correct = logits(network, masked)["region"].argmax(1) == labels["region"][200:]
    assert float(is_correct.double().mean()) > 0.95


def test_a_missing_site_adds_nothing_and_the_rest_is_scaled_up(rng):
    copies, labels = samples_of(rng, 60, 40)
    network = fitted(copies, labels)
    masked = copies.clone()
    masked[:, 20:] = -1
    pooled = (copies[:, :20] - 2 * network.frequency[:20]) @ network.weight[:20]
    torch.testing.assert_close(network.pooled(masked), 2 * pooled)
    without_sites = network.pooled(torch.full_like(copies[:1], -1))
    assert not without_sites.any()


def test_a_sample_without_a_label_of_a_head_teaches_the_others(rng):
    copies, labels = samples_of(rng, 80, 100)
    labels["place"] = labels["place"].clone()
    labels["place"][::2] = -1
    found = logits(fitted(copies, labels), copies)
    assert float((found["region"].argmax(1) == labels["region"]).double().mean()) == 1
    assert torch.isfinite(found["place"]).all()


def test_what_heads_do_not_use_holds_principal_components(rng):
    copies, labels = samples_of(rng, 80, 100)
    network = fitted(copies, labels)
    used = (network.heads[1].weight.abs().sum(0) > 0).sum()
    assert 3 <= used <= 4
    rest = network.pooled(copies)[:, used:]
    first = np.linalg.svd(copies.numpy() - copies.numpy().mean(axis=0))[0][:, 0]
    assert abs(np.corrcoef(rest[:, 0].numpy(), first)[0, 1]) > 0.999
    assert float(rest[:, 0].std(correction=0)) == pytest.approx(1, abs=0.01)
