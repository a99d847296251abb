"""How much a site tells about the group that a person comes from."""

import numpy as np
from numpy.typing import NDArray


def informativeness(copies: NDArray[np.int8], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """I_n of every site, in nats: the mutual information of an allele and its group.

    `copies` (samples, sites) counts alternate alleles, -1 where missing; `groups` (samples,) numbers the
    groups from 0, all of them taken as equally frequent. Source: Rosenberg et al. 2003, Am J Hum Genet
    73:1402, equation 4.
    """
    frequency = np.stack([_frequency(copies[groups == g]) for g in np.unique(groups)])
    within: NDArray[np.float64] = _entropy(frequency).mean(axis=0)
    return _entropy(frequency.mean(axis=0)) - within


def most_informative(
    copies: NDArray[np.int8], groups: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """The numbers of the `count` sites with the highest I_n, in panel order."""
    best = np.argsort(-informativeness(copies, groups), kind="stable")[:count]
    return np.sort(best)


def _frequency(copies: NDArray[np.int8]) -> NDArray[np.float64]:
    known = copies >= 0
    alternate = np.where(known, copies, 0).sum(axis=0)
    frequency: NDArray[np.float64] = alternate / np.maximum(2 * known.sum(axis=0), 1)
    return frequency


def _entropy(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(frequency, 1e-12, 1 - 1e-12)
    entropy: NDArray[np.float64] = -inside * np.log(inside) - (1 - inside) * np.log(1 - inside)
    return entropy
