"""Genotypes from those of reference individuals: kriging, haplotype copying, and a calibration of what they predict.

The more similar two individuals are at the sites known of one, the more similar they are at the others: that is a
Gaussian process over individuals (Rasmussen and Williams 2006, chapter 2), whose mean is that of a kernel ridge
regression. It works for any set of known sites, needs no phase, and holds where genotypes are not made of long
haplotypes. Where they are made of such, the copying model knows better (`haplotype_copying`). A small MLP makes
probabilities of both predictions; `kriging_fit` calibrates it.

Shape suffixes: B individuals, N reference individuals, S sites, K known sites, C features of a prediction; 3 genotypes
by their copies of allele 1, 2 of them, the heterozygote and the homozygote of allele 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy import linalg

from genomai_cli import threads
from genomai_cli.population.networks.haplotype_copying import (
    Alleles,
    Array,
    Flags,
    Floats,
    HaplotypeReference,
    Numbers,
    Shapes,
    alike,
    genotypes_of,
)

SPREAD = 3.0  # the kernel's width, in squared distances of two people at the known sites
RIDGE = 0.1  # variance of what the known sites cannot say, beside the kernel's of 1
SMALLEST = np.float32(0.01)  # added to predictions before their logarithm
SMALLEST_COPIED = np.float32(1e-4)  # the same, of the copying model's
FEATURES, COPIED = 12, 4  # of a prediction by kriging, and by copying
HIDDEN = 16
AT_ONCE = 32  # individuals that are told at once, by one thread


@dataclass(frozen=True, eq=False)
class Solved:
    """The training individuals at some `sites` (K,): their `mean` copies (K,), the `surplus` (N, K) over these, how far
    `apart` two of them are in the mean, squared, and the Cholesky `factor` U (N, N) of their kernel with the ridge."""

    sites: Numbers
    mean: Floats
    surplus: Floats
    apart: float
    factor: Floats


class KrigingReference:
    """Copies (N, S) of allele 1 of training individuals, -1 where unknown, perhaps with their haplotypes, and what
    follows from them for others.

    `kriging_fit.fill` determines everything.
    """

    def __init__(
        self, copies: Alleles, haplotypes: HaplotypeReference | None, calibration: "Calibration"
    ) -> None:
        self.copies, self.haplotypes, self.calibration = copies, haplotypes, calibration
        self._solved: Solved | None = None
        self._truth: tuple[Floats, Floats] | None = None

    @staticmethod
    def shapes(people: int, sites: int, haplotypes: bool = False) -> Shapes:
        """The arrays that `of` reads."""
        calibration = Calibration.shapes(sites, FEATURES + (COPIED if haplotypes else 0))
        parts = {"calibration": calibration}
        if haplotypes:
            parts["haplotypes"] = HaplotypeReference.shapes(2 * people, sites)
        inside = {f"{part}.{n}": told for part, of in parts.items() for n, told in of.items()}
        return {"copies": ((people, sites), "int8")} | inside

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> "KrigingReference":
        """What these arrays are, which are not copied."""
        copying = within(arrays, "haplotypes")
        haplotypes = HaplotypeReference(copying) if copying else None
        return cls(arrays["copies"], haplotypes, Calibration(within(arrays, "calibration")))

    def learn(self, copies_NS: Alleles) -> None:
        """Take over the people, and how frequent genotypes are among them."""
        self.copies[...] = copies_NS
        self._solved = self._truth = None
        self.calibration.learn(copies_NS)

    @threads.single_threaded_blas()
    def genotypes(
        self, alleles_B2S: Alleles, phased_B: Flags, likelihoods_BS3: Floats | None = None
    ) -> tuple[Floats, Floats | None]:
        """The probabilities (B, S, 3) of the genotypes, given those of which both alleles are known, and the
        haplotypes' own (B, S, 4), if there are any: those of ordered pairs of alleles, not calibrated.

        `phased_B` says of whom it is known which allele lies on which haplotype. Likelihoods of genotypes, all alike
        where they say nothing, count where the alleles are unknown; who has some is told by the haplotypes alone.
        """
        copies_BS = copies_of(alleles_B2S)
        pairs_BS4 = None
        if self.haplotypes is not None:
            pairs_BS4 = self.haplotypes.pairs(alleles_B2S, phased_B, None, likelihoods_BS3)
        found_BS3 = np.empty((*copies_BS.shape, 3), np.float32)
        for rows in alike(copies_BS >= 0):
            sites_K = np.flatnonzero(copies_BS[rows[0]] >= 0)
            weights_NB = self._weights(copies_BS[rows][:, sites_K], sites_K)
            self._targets()  # before several threads ask for them

            def tell(first: int, step: int, rows: Numbers, known: int, weights_NB: Floats) -> None:
                for at in range(first * AT_ONCE, len(rows), step * AT_ONCE):
                    some, beside = rows[at : at + AT_ONCE], None
                    if pairs_BS4 is not None:
                        beside = copied_features(pairs_BS4[some], phased_B[some])
                    told_BS2 = self._predicted(weights_NB[:, at : at + AT_ONCE])
                    found_BS3[some] = softmax(self.calibration(told_BS2, known, beside))

            shared = rows, len(sites_K), weights_NB
            threads.run_strided(threads.count(), -(-len(rows) // AT_ONCE), tell, *shared)
        if likelihoods_BS3 is not None and pairs_BS4 is not None:
            says_BS = (likelihoods_BS3 != likelihoods_BS3[..., :1]).any(axis=2)
            soft_B = (says_BS & (alleles_B2S < 0).all(axis=1)).any(axis=1)
            found_BS3[soft_B] = genotypes_of(pairs_BS4[soft_B])
        return found_BS3, pairs_BS4

    @threads.single_threaded_blas()
    def left_out(self, sites_K: Numbers, some_B: Numbers) -> Floats:
        """What these sites would predict (B, S, 2) of some of the training individuals, each without that individual.

        That follows from the one solution with everybody (Rasmussen and Williams 2006, eq. 5.12).
        """
        factor_NN = self._at(sites_K).factor
        unit_NB = np.zeros((len(self.copies), len(some_B)), np.float32)
        unit_NB[some_B, np.arange(len(some_B))] = 1
        inverse_NB = _solution(factor_NN, unit_NB)
        truth_N2S, mean_2S = self._targets()
        own_B1 = np.take_along_axis(inverse_NB, some_B[None], 0).T
        gap_BX = (inverse_NB.T @ truth_N2S.reshape(len(truth_N2S), -1)) / own_B1
        left_out_B2S = truth_N2S[some_B] + mean_2S - gap_BX.reshape(-1, *mean_2S.shape)
        return left_out_B2S.swapaxes(1, 2)

    def _weights(self, copies_BK: Alleles, sites_K: Numbers) -> Floats:
        """What the targets of each training individual count (N, B), given genotypes at these sites."""
        if not len(sites_K):
            return np.zeros((len(self.copies), len(copies_BK)), np.float32)
        solved = self._at(sites_K)
        surplus_BK = (copies_BK - solved.mean) * (copies_BK >= 0)
        return _solution(solved.factor, _kernel(solved.surplus, surplus_BK, solved.apart))

    def _predicted(self, weights_NB: Floats) -> Floats:
        """The predictions (B, S, 2)."""
        truth_N2S, mean_2S = self._targets()
        said_BX = weights_NB.T @ truth_N2S.reshape(len(truth_N2S), -1)
        said_B2S = said_BX.reshape(-1, *mean_2S.shape)
        said_B2S += mean_2S
        return said_B2S.swapaxes(1, 2)

    def _at(self, sites_K: Numbers) -> Solved:
        """The training individuals at these sites, kept until others are asked for."""
        if self._solved is None or not np.array_equal(self._solved.sites, sites_K):
            copies_NK = self.copies[:, sites_K]
            known_NK = copies_NK >= 0
            sum_K = (copies_NK * known_NK).sum(axis=0)
            mean_K = (sum_K / np.maximum(known_NK.sum(axis=0), 1)).astype(np.float32)
            surplus_NK = (copies_NK - mean_K) * known_NK
            apart = 2 * float(surplus_NK.var(axis=0).sum())
            like_NN = _kernel(surplus_NK, surplus_NK, apart)
            np.fill_diagonal(like_NN, like_NN.diagonal() + np.float32(RIDGE))
            factor_NN = linalg.cholesky(like_NN.T, overwrite_a=True, check_finite=False)
            self._solved = Solved(sites_K, mean_K, surplus_NK, apart, factor_NN)
        return self._solved

    def _targets(self) -> tuple[Floats, Floats]:
        """Which genotypes the people have (N, 2, S), less the mean (2, S), 0 where unknown; and the mean."""
        if self._truth is None:
            is_N2S = np.stack([self.copies == 1, self.copies == 2], axis=1).astype(np.float32)
            known_NS = self.copies >= 0
            mean_2S = is_N2S.sum(axis=0) / np.maximum(known_NS.sum(axis=0), 1).astype(np.float32)
            is_N2S -= mean_2S
            if not known_NS.all():
                is_N2S *= known_NS[:, None]
            self._truth = is_N2S, mean_2S
        return self._truth


class Calibration:
    """Predictions (B, S, 2), by how many sites they were made, to logits (B, S, 3) of the genotypes.

    `base` (S, 3) are the logarithms of how frequent genotypes are; the others are of the MLP.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays
        self.base: Floats = arrays["base"]

    @staticmethod
    def shapes(sites: int, features: int = FEATURES) -> Shapes:
        """What it is made of."""
        sizes = {
            "base": (sites, 3),
            "mean": (features,),
            "scale": (features,),
            "weight": (features, HIDDEN),
            "bias": (HIDDEN,),
            "last": (HIDDEN + 1, 3),
        }
        return {name: (size, "float32") for name, size in sizes.items()}

    def learn(self, copies_NS: Alleles) -> None:
        """Take over how frequent genotypes are."""
        counts_S3 = np.stack([(copies_NS == number).sum(axis=0) for number in range(3)], axis=1)
        shares_S3 = (counts_S3 + 0.5) / (counts_S3 + 0.5).sum(axis=1, keepdims=True)
        self.base[...] = np.log(shares_S3)
        self.arrays["scale"][...] = 1

    def part(self, sites: slice) -> "Calibration":
        """The same for some of the sites, on the same values."""
        return Calibration({**self.arrays, "base": self.base[sites]})

    def __call__(self, predicted_BS2: Floats, known: int, copied: Floats | None = None) -> Floats:
        """The logits of all sites."""
        return self.logits(self.features(predicted_BS2, known, copied))

    def features(self, predicted_BS2: Floats, known: int, copied: Floats | None = None) -> Floats:
        """What is told of predictions (B, S, 2), and of those of the copying model (`copied_features`): (B, S, C)."""
        one, two = np.moveaxis(predicted_BS2, -1, 0)
        copies = np.clip(one + 2 * two, 0, 2)
        shares = (one, two, 1 - one - two, copies / 2, 1 - copies / 2)
        logs = [np.log(np.clip(share, 0, 1) + SMALLEST) for share in shares]
        sites = np.full_like(one, np.log(np.float32((known + 1) / len(self.base))))
        base = (np.broadcast_to(base_S, one.shape) for base_S in self.base.T)
        columns = [one, two, copies, *logs, sites, *base]
        columns += [] if copied is None else list(np.moveaxis(copied, -1, 0))
        return np.moveaxis(np.stack(columns), 0, -1)  # a feature lies together, which is faster

    def logits(self, features: Floats) -> Floats:
        """The MLP (..., C) to (..., 3)."""
        mean, scale, weight, bias, last = (
            self.arrays[name] for name in ("mean", "scale", "weight", "bias", "last")
        )
        inner = weight / scale[:, None]
        features_CX = np.moveaxis(features, -1, 0).reshape(features.shape[-1], -1)
        hidden_HX = inner.T @ features_CX
        hidden_HX += (bias - mean @ inner)[:, None]
        np.tanh(hidden_HX, out=hidden_HX)
        logits_3X: Array = last[:-1].T @ hidden_HX
        logits_3X += last[-1][:, None]
        logits: Floats = np.moveaxis(logits_3X.reshape(3, *features.shape[:-1]), 0, -1)
        return logits


def within(arrays: Mapping[str, Array], part: str) -> dict[str, Array]:
    """The arrays whose names begin with that of a part and a dot, by the rest of them."""
    begin = f"{part}."
    return {n.removeprefix(begin): x for n, x in arrays.items() if n.startswith(begin)}


def copies_of(alleles_B2S: Alleles) -> Alleles:
    """The copies (B, S) of allele 1, -1 where an allele is unknown."""
    known_BS = (alleles_B2S >= 0).all(axis=1)
    return np.where(known_BS, alleles_B2S.sum(axis=1, dtype=np.int8), np.int8(-1))


def copied_features(pairs_BS4: Floats, phased_B: Flags) -> Floats:
    """What is told of the copying model's pairs: the genotypes' logarithms, and whether phase was known (B, S, 4)."""
    logs_BS3 = np.log(genotypes_of(pairs_BS4) + SMALLEST_COPIED)
    phased_BS1 = np.broadcast_to(phased_B[:, None, None], (*logs_BS3.shape[:2], 1))
    return np.concatenate([logs_BS3, phased_BS1], axis=2, dtype=np.float32)


def softmax(logits: Floats) -> Floats:
    """The softmax of the last dimension, which is short."""
    parts = np.moveaxis(logits, -1, 0)
    weights: Floats = np.exp(logits - reduce(np.maximum, parts)[..., None])
    weights /= reduce(np.add, np.moveaxis(weights, -1, 0))[..., None]
    return weights


def _solution(factor_NN: Floats, right_NB: Floats) -> Floats:
    """The solution (N, B) of U' U X = R."""
    found_NB: Floats = linalg.cho_solve((factor_NN, False), right_NB, check_finite=False)
    return found_NB


def _kernel(one_BK: Floats, other_NK: Floats, usual: float) -> Floats:
    """How alike people are (B, N), from 0 to 1; `usual` is how far two are apart in the mean, squared."""
    apart_BN: Floats = one_BK @ other_NK.T
    apart_BN *= -2
    apart_BN += np.square(one_BK).sum(axis=1)[:, None] + np.square(other_NK).sum(axis=1)
    np.maximum(apart_BN, 0, out=apart_BN)
    apart_BN /= -max(SPREAD * usual, 1e-6)
    return np.exp(apart_BN, out=apart_BN)
