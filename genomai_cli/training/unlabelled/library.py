"""Fills the library of a region network, and calibrates it on people left out one by one, at many sets of known sites.

Shape suffixes: N people learnt from, S sites, K known sites, X examples, C features of a prediction.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from genomai_cli.nets.library import FEATURES, HIDDEN, Calibration, Library

SETS = 16  # of known sites
FEWEST, MOST_KNOWN = 0.01, 0.6  # shares of the sites that are known
EXAMPLES = 400_000
STEPS, BATCH, LEARNING_RATE = 600, 8192, 0.02
SEED = 0x11B


@dataclass(frozen=True)
class Examples:
    """Features (X, C) of predictions for people left out, and their genotypes (X,)."""

    features: Tensor
    genotypes: Tensor


def fill(library: Library, copies_NS: Tensor) -> None:
    """Take over the people, and calibrate by them; the same people always give the same values."""
    library.learn(copies_NS)
    rng = np.random.default_rng(SEED)
    with torch.no_grad():
        parts = list(_examples(library, rng))
    features = torch.cat([part.features for part in parts])
    genotypes = torch.cat([part.genotypes for part in parts])
    calibrate(library.calibration, Examples(features, genotypes), rng)


def calibrate(calibration: Calibration, examples: Examples, rng: np.random.Generator) -> float:
    """Set the values to those that make the genotypes likely; the last batch's cross-entropy in nats."""
    calibration.mean.copy_(examples.features.mean(dim=0))
    calibration.scale.copy_(examples.features.std(dim=0).clamp(min=1e-3))
    inner = rng.normal(scale=FEATURES**-0.5, size=(FEATURES, HIDDEN))
    outer = rng.normal(scale=0.1 * HIDDEN**-0.5, size=(HIDDEN + 1, 3))
    calibration.weight.copy_(torch.from_numpy(inner))
    calibration.last.copy_(torch.from_numpy(outer))
    values = [calibration.weight, calibration.bias, calibration.last]
    optimizer = torch.optim.Adam([value.requires_grad_() for value in values], LEARNING_RATE)
    size = min(BATCH, 1 + len(examples.features) // 8)
    loss = torch.zeros(())
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / STEPS)
        chosen = torch.from_numpy(rng.integers(len(examples.features), size=size))
        logits = calibration.logits(examples.features[chosen])
        loss = functional.cross_entropy(logits, examples.genotypes[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for value in values:
        value.requires_grad_(False)
    return float(loss.detach())


def _examples(library: Library, rng: np.random.Generator) -> Iterator[Examples]:
    """Of each set of known sites, predictions at other sites where the person's genotype is known."""
    people, sites = library.copies.shape
    for known_K in known_sets(sites, rng):
        left_out_NS2 = library.left_out(torch.from_numpy(known_K))
        hidden = np.setdiff1d(np.arange(sites), known_K)
        if not len(hidden):
            continue
        count = min(EXAMPLES // SETS, people * len(hidden))
        person_X = torch.from_numpy(rng.integers(people, size=count))
        site_X = torch.from_numpy(rng.choice(hidden, size=count))
        told_X = library.copies[person_X, site_X] >= 0
        person_X, site_X = person_X[told_X], site_X[told_X]
        calibration = library.calibration
        features_XC = calibration.features(
            left_out_NS2[person_X, site_X], calibration.base[site_X], len(known_K)
        )
        yield Examples(features_XC, library.copies[person_X, site_X].long())


def known_sets(sites: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Sets of sites as they may be known, sparse and dense, every other one with even gaps as on an array."""
    for number, share in enumerate(np.geomspace(FEWEST, MOST_KNOWN, SETS)):
        count = min(max(1, round(share * sites)), sites - 1)
        if number % 2:
            start = rng.random() * sites / count
            yield np.unique((start + np.arange(count) * sites / count).astype(np.int64) % sites)
        else:
            yield np.sort(rng.choice(sites, size=count, replace=False))
