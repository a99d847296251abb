"""An order of very many things that needs no memory: a permutation computed place by place.

A Feistel network (Luby and Rackoff 1988, SIAM J Comput 17:373) turns a place into another one, all places of a power
of four into each other; places beyond the end walk on until they fall inside (Black and Rogaway 2002, "cycle walking").
"""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

Numbers = NDArray[np.uint64]


def mixed(numbers: Numbers, seed: int) -> Numbers:
    """Numbers that look random and are a function of those given and the seed (SplitMix64)."""
    x: Numbers = numbers.astype(np.uint64) + _STEP * np.array([seed + 1], np.uint64)
    x = (x ^ (x >> np.uint64(30))) * _MULTIPLIERS[0]
    x = (x ^ (x >> np.uint64(27))) * _MULTIPLIERS[1]
    return x ^ (x >> np.uint64(31))


def shuffled(places: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """What stands at these places of an endless sequence of epochs, each `count` things in an order of its own."""
    epochs, within = np.divmod(places, count)
    found = np.empty_like(within)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        key = int(mixed(np.array([epoch], np.uint64), seed)[0])
        found[chosen] = _permuted(within[chosen], count, key)
    return found


def _permuted(places: NDArray[np.int64], count: int, key: int) -> NDArray[np.int64]:
    half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    moved = _feistel(places.astype(np.uint64), half, key)
    while (outside := moved >= count).any():
        moved[outside] = _feistel(moved[outside], half, key)
    return moved.astype(np.int64)


def _feistel(places: Numbers, half: np.uint64, key: int) -> Numbers:
    """Another place of the 2^(2 half) for each."""
    low = np.uint64((1 << int(half)) - 1)
    left, right = places >> half, places & low
    for number in range(ROUNDS):
        left, right = right, left ^ (mixed(right, (key + number) % 2**63) & low)
    return (left << half) | right
