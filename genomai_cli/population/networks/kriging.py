"""Genotypes from those of reference individuals: kriging, and a calibration of its predictions.

The more similar two individuals are at the sites known of one, the more similar they are at the others: that is a
Gaussian process over individuals (Rasmussen and Williams 2006, chapter 2), whose mean is that of a kernel ridge
regression. It works for any set of known sites, needs no phase, and holds where genotypes are not made of long
haplotypes. Its predictions, shrunk and without bounds, become probabilities by a small MLP, which is calibrated on
reference individuals left out one by one, at many sets of known sites.

Shape suffixes: B individuals, N reference individuals, S sites, K known sites, C features of a prediction, X examples;
3 genotypes by their copies of allele 1, 2 of them, the heterozygote and the homozygote of allele 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

SPREAD = 3.0  # the kernel's width, in squared distances of two people at the known sites
RIDGE = 0.1  # variance of what the known sites cannot say, beside the kernel's of 1
SMALLEST = 0.01  # added to predictions before their logarithm
FEATURES = 12
HIDDEN = 16


class KrigingReference(nn.Module):
    """Copies (N, S) of allele 1 of training individuals, -1 where unknown, and what follows from them for others.

    It has no trainable parameters: `fit` determines everything.
    """

    copies: Tensor

    def __init__(self, people: int, sites: int) -> None:
        super().__init__()
        self.register_buffer("copies", torch.zeros(people, sites, dtype=torch.int8))
        self.calibration = Calibration(sites)

    def learn(self, copies_NS: Tensor) -> None:
        """Take over the people, and how frequent genotypes are among them."""
        self.copies.copy_(copies_NS)
        counts_S3 = torch.stack([(copies_NS == number).sum(0) for number in range(3)], dim=1)
        self.calibration.base.copy_(functional.normalize(counts_S3 + 0.5, p=1, dim=1).log())

    def genotypes(self, copies_BS: Tensor) -> Tensor:
        """The probabilities (B, S, 3) of the genotypes, given those that are not -1."""
        found_BS3 = self.calibration.base.new_empty(*copies_BS.shape, 3)
        for rows, sites_K in _by_sites(copies_BS):
            predicted_BS2 = self._predicted(copies_BS[rows][:, sites_K], sites_K)
            found_BS3[rows] = self.calibration(predicted_BS2, len(sites_K)).softmax(dim=2)
        return found_BS3

    def left_out(self, sites_K: Tensor) -> Tensor:
        """What these sites would predict (N, S, 2) of each training individual without that individual.

        That follows from the one solution with everybody (Rasmussen and Williams 2006, eq. 5.12).
        """
        surplus_NK = self._surplus(self.copies[:, sites_K], sites_K)
        inverse_NN = torch.cholesky_inverse(self._factor(surplus_NK))
        truth_NS2, mean_S2 = self._targets()
        gap_NX = (inverse_NN @ truth_NS2.flatten(1)) / inverse_NN.diagonal()[:, None]
        left_out_NS2: Tensor = truth_NS2 + mean_S2 - gap_NX.view_as(truth_NS2)
        return left_out_NS2

    def _predicted(self, copies_BK: Tensor, sites_K: Tensor) -> Tensor:
        """The predictions (B, S, 2) from genotypes at these sites."""
        truth_NS2, mean_S2 = self._targets()
        if not len(sites_K):
            return mean_S2.expand(len(copies_BK), -1, -1)
        surplus_NK = self._surplus(self.copies[:, sites_K], sites_K)
        like_BN = self._kernel(self._surplus(copies_BK, sites_K), surplus_NK)
        weights_NB = torch.cholesky_solve(like_BN.T, self._factor(surplus_NK))
        said_BX = weights_NB.T @ truth_NS2.flatten(1)
        predicted_BS2: Tensor = said_BX.view(len(copies_BK), *mean_S2.shape) + mean_S2
        return predicted_BS2

    def _surplus(self, copies: Tensor, sites_K: Tensor) -> Tensor:
        """Copies as they differ from the mean; those that are unknown do not."""
        reference_NK = self.copies[:, sites_K]
        known_NK = reference_NK >= 0
        total_K = (reference_NK * known_NK).sum(0).to(self.calibration.mean)
        mean_K = total_K / known_NK.sum(0).clamp(min=1)
        surplus: Tensor = (copies - mean_K) * (copies >= 0)
        return surplus

    def _kernel(self, one_BK: Tensor, other_NK: Tensor) -> Tensor:
        """How alike people are (B, N), from 0 to 1."""
        apart_BN = (one_BK.square().sum(1)[:, None] + other_NK.square().sum(1)) - 2 * (
            one_BK @ other_NK.T
        )
        usual = 2 * other_NK.var(dim=0, correction=0).sum()
        return torch.exp(-apart_BN.clamp(min=0) / (SPREAD * usual).clamp(min=1e-6))

    def _factor(self, surplus_NK: Tensor) -> Tensor:
        """The Cholesky factor (N, N) of the kernel of the training individuals, with the ridge."""
        like_NN = self._kernel(surplus_NK, surplus_NK)
        like_NN.diagonal().add_(RIDGE)
        factor_NN: Tensor = torch.linalg.cholesky(like_NN)
        return factor_NN

    def _targets(self) -> tuple[Tensor, Tensor]:
        """Which genotypes the people have (N, S, 2), less the mean (S, 2), 0 where unknown; and the mean."""
        is_NS2 = torch.stack([self.copies == 1, self.copies == 2], dim=2).to(self.calibration.mean)
        known_NS1 = (self.copies >= 0).unsqueeze(2)
        mean_S2 = is_NS2.sum(0) / known_NS1.sum(0).clamp(min=1)
        return (is_NS2 - mean_S2) * known_NS1, mean_S2


class Calibration(nn.Module):
    """Predictions (B, S, 2), by how many sites they were made, to logits (B, S, 3) of the genotypes.

    All its values are buffers: they are not trained together with a network.
    """

    base: Tensor
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    last: Tensor

    def __init__(self, sites: int) -> None:
        super().__init__()
        self.register_buffer("base", torch.zeros(sites, 3))
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        self.register_buffer("weight", torch.zeros(FEATURES, HIDDEN))
        self.register_buffer("bias", torch.zeros(HIDDEN))
        self.register_buffer("last", torch.zeros(HIDDEN + 1, 3))

    def forward(self, predicted_BS2: Tensor, known: int) -> Tensor:
        """The logits of all sites."""
        base_BS3 = self.base.expand(len(predicted_BS2), -1, -1)
        return self.logits(self.features(predicted_BS2, base_BS3, known))

    def features(self, predicted: Tensor, base: Tensor, known: int) -> Tensor:
        """What is told of predictions (..., 2) at sites of these frequencies (..., 3): (..., C)."""
        one, two = predicted.unbind(-1)
        copies = (one + 2 * two).clamp(0, 2)
        shares = (one, two, 1 - one - two, copies / 2, 1 - copies / 2)
        logs = [(share.clamp(0, 1) + SMALLEST).log() for share in shares]
        sites = torch.full_like(one, (known + 1) / len(self.base)).log()
        return torch.cat([torch.stack([one, two, copies, *logs, sites], dim=-1), base], dim=-1)

    def logits(self, features: Tensor) -> Tensor:
        """The MLP (..., C) to (..., 3)."""
        hidden = torch.tanh((features - self.mean) / self.scale @ self.weight + self.bias)
        logits: Tensor = hidden @ self.last[:-1] + self.last[-1]
        return logits


def _by_sites(copies_BS: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """People of whom the same sites are known, by their numbers, with those sites (K,)."""
    patterns_XS, which_B = torch.unique(copies_BS >= 0, dim=0, return_inverse=True)
    for number, pattern_S in enumerate(patterns_XS):
        yield (which_B == number).nonzero()[:, 0], pattern_S.nonzero()[:, 0]


SETS = 16  # of known sites
MIN_KNOWN, MAX_KNOWN = 0.01, 0.6  # shares of the sites that are known
EXAMPLES = 400_000
STEPS, BATCH, LEARNING_RATE = 600, 8192, 0.02
SEED = 0x11B


@dataclass(frozen=True)
class Examples:
    """Features (X, C) of predictions for people left out, and their genotypes (X,)."""

    features: Tensor
    genotypes: Tensor


def fill(library: KrigingReference, copies_NS: Tensor) -> None:
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


def _examples(library: KrigingReference, rng: np.random.Generator) -> Iterator[Examples]:
    """Of each set of known sites, predictions at other sites where the person's genotype is known."""
    people, sites = library.copies.shape
    for known_K in known_site_sets(sites, rng):
        left_out_NS2 = library.left_out(torch.from_numpy(known_K))
        hidden = np.setdiff1d(np.arange(sites), known_K)
        if not len(hidden):
            continue
        count = min(EXAMPLES // SETS, people * len(hidden))
        person_X = torch.from_numpy(rng.integers(people, size=count))
        site_X = torch.from_numpy(rng.choice(hidden, size=count))
        known_X = library.copies[person_X, site_X] >= 0
        person_X, site_X = person_X[known_X], site_X[known_X]
        calibration = library.calibration
        features_XC = calibration.features(
            left_out_NS2[person_X, site_X], calibration.base[site_X], len(known_K)
        )
        yield Examples(features_XC, library.copies[person_X, site_X].long())


def known_site_sets(sites: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Sets of sites as they may be known, sparse and dense, every other one with even gaps as on an array."""
    for number, share in enumerate(np.geomspace(MIN_KNOWN, MAX_KNOWN, SETS)):
        count = min(max(1, round(share * sites)), sites - 1)
        if number % 2:
            start = rng.random() * sites / count
            yield np.unique((start + np.arange(count) * sites / count).astype(np.int64) % sites)
        else:
            yield np.sort(rng.choice(sites, size=count, replace=False))
