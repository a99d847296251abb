"""What a model says of a known place if that place is hidden: all places in a few rounds, not one by one.

Shape suffixes: B records, S places.
"""

from collections.abc import Callable, Sequence

import numpy as np

from genomai_cli.restoration.base import Flags, Probabilities

ROUNDS = 16  # in each of them a sixteenth of the places is hidden


def left_out(
    predict: Callable[[Flags], Probabilities],
    known_BS: Flags,
    seeds: Sequence[list[int]],
) -> Probabilities:
    """The predictions (B, S, ...) for every known place, each made without it; 0 elsewhere.

    `predict` is called with the places (B, S) to be hidden. Each record's places fall into disjoint random groups, by
    its own seed.
    """
    size = known_BS.shape[1]
    groups = [np.random.default_rng(seed).permutation(size) % ROUNDS for seed in seeds]
    group_BS = np.stack(groups)
    found: Probabilities | None = None
    for number in range(ROUNDS):
        hidden_BS = known_BS & (group_BS == number)
        if not hidden_BS.any():
            continue
        predicted = predict(hidden_BS)
        found = np.zeros_like(predicted) if found is None else found
        found[hidden_BS] = predicted[hidden_BS]
    return predict(known_BS) * 0 if found is None else found


def corrected(found: Probabilities, observed: np.ndarray, error_rate: float) -> Probabilities:
    """Posterior probabilities (..., A) of A letters, of which the `observed` (...) one was read: it is the true one
    with the probability 1 - `error_rate`, each other one with an equal share of the rest. An observed -1 tells
    nothing."""
    count = found.shape[-1]
    likelihood = np.where(
        np.arange(count) == observed[..., None], 1 - error_rate, error_rate / (count - 1)
    )
    likelihood = np.where(observed[..., None] < 0, 1.0, likelihood)
    return normalised(found * likelihood)


def normalised(weights: Probabilities) -> Probabilities:
    """The weights (..., A) divided by their sum; all alike where the sum is 0."""
    total = weights.sum(axis=-1, keepdims=True)
    shares: Probabilities = np.full_like(weights, 1 / weights.shape[-1])
    np.divide(weights, total, out=shares, where=total > 0)
    return shares
