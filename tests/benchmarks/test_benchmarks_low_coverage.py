"""The benchmark of low coverage: simulated reads, what is called from them, and the table."""

import numpy as np

from benchmarks.ancestry.low_coverage import (
    LabelledGenotypes,
    Predictions,
    Row,
    call_genotypes,
    markdown,
    predict_by_naive_bayes,
    simulate_likelihoods,
    tsv,
)

COPIES = np.random.default_rng(1).integers(-1, 3, (40, 300)).astype(np.int8)
TABLE = np.array([[1, 0.5, 0.001], [0.3, 1, 0.3], [0, 0.004, 1], [1, 1, 1]])


def test_reads_are_where_genotypes_are_and_tell_them_at_depth():
    rng = np.random.default_rng(2)
    deep = simulate_likelihoods(COPIES, 40.0, rng)
    assert (call_genotypes(deep, certain=True) == COPIES).mean() > 0.99
    shallow = simulate_likelihoods(COPIES, 0.5, rng)
    assert (shallow[COPIES < 0] == 1).all()
    assert (call_genotypes(shallow, certain=False) >= 0).mean() < 0.5
    assert np.isclose((shallow != 1).any(-1)[COPIES >= 0].mean(), 1 - np.exp(-0.5), atol=0.02)


def test_calls_are_the_likeliest_or_the_certain_ones():
    assert call_genotypes(TABLE[None], certain=False).tolist() == [[0, 1, 2, -1]]
    assert call_genotypes(TABLE[None], certain=True).tolist() == [[-1, -1, 2, -1]]


def test_naive_bayes_finds_members_and_sums_up_groups():
    rng = np.random.default_rng(3)
    frequency = rng.uniform(0.1, 0.9, (3, 300))
    truth = np.arange(60) % 3
    samples = LabelledGenotypes(
        [str(n) for n in range(60)],
        rng.binomial(2, frequency[truth]).astype(np.int8),
        {"pop": [f"P{n}" for n in truth], "superpop": ["G" if n < 2 else "H" for n in truth]},
    )
    predictions = predict_by_naive_bayes(samples, simulate_likelihoods(samples.copies, 1.0, rng))
    assert isinstance(predictions, Predictions)
    assert predictions.labels == samples.labels
    assert (predictions.probabilities["superpop"] >= predictions.probabilities["pop"]).all()


def test_tables():
    row = Row(0.5, "likeliest calls", 10, 1.0, 0.5, -0.2, -0.4, 0.0, 0.0, 0.1, 0, 0.05)
    assert next(iter(tsv([row]))).startswith("depth\tmethod\tn\t")
    assert "| 0.5 | likeliest calls | 1.000 | 0.500 | -0.200 (-0.400 to +0.000) |" in markdown(
        [row]
    )
