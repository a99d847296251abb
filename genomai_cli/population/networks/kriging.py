"""Genotypes from those of reference individuals: kriging, haplotype copying, and a calibration of what they predict.

The more similar two individuals are at the sites known of one, the more similar they are at the others: that is a
Gaussian process over individuals (Rasmussen and Williams 2006, chapter 2), whose mean is that of a kernel ridge
regression. It works for any set of known sites, needs no phase, and holds where genotypes are not made of long
haplotypes. Where they are, the copying model is more accurate (`haplotype_copying`). A small MLP turns both predictions
into probabilities; `kriging_fit` calibrates it.

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
    genotypes_of,
    rows_by_pattern,
)

KERNEL_WIDTH = 3.0  # times the mean squared distance of two individuals at the known sites
RIDGE = 0.1  # variance of what the known sites cannot predict; the kernel's is 1
LOG_OFFSET = np.float32(0.01)  # added to predictions before their logarithm
COPYING_LOG_OFFSET = np.float32(1e-4)  # the same for the copying model's
KRIGING_FEATURES, COPYING_FEATURES = 12, 4  # of a prediction by kriging, and by copying
HIDDEN = 16
BATCH_SIZE = 32  # individuals that one thread calibrates at once


@dataclass(frozen=True, eq=False)
class KrigingSystem:
    """The training individuals at some `sites` (K,): their `mean` copies (K,), the `surplus` (N, K) over these, the
    `mean_distance` of two of them, squared, and the Cholesky `factor` U (N, N) of their kernel with the ridge."""

    sites: Numbers
    mean: Floats
    surplus: Floats
    mean_distance: float
    factor: Floats


class KrigingReference:
    """Predicts genotypes from copies (N, S) of allele 1 of training individuals, -1 where unknown, and perhaps from
    their haplotypes.

    `kriging_fit.fill` determines all arrays.
    """

    def __init__(
        self, copies: Alleles, haplotypes: HaplotypeReference | None, calibration: "Calibration"
    ) -> None:
        self.copies, self.haplotypes, self.calibration = copies, haplotypes, calibration
        self._system: KrigingSystem | None = None
        self._cached_targets: tuple[Floats, Floats] | None = None

    @staticmethod
    def shapes(individuals: int, sites: int, haplotypes: bool = False) -> Shapes:
        """The arrays that `of` reads."""
        calibration = Calibration.shapes(
            sites, KRIGING_FEATURES + (COPYING_FEATURES if haplotypes else 0)
        )
        parts = {"calibration": calibration}
        if haplotypes:
            parts["haplotypes"] = HaplotypeReference.shapes(2 * individuals, sites)
        part_shapes = {
            f"{part}.{n}": shape for part, shapes in parts.items() for n, shape in shapes.items()
        }
        return {"copies": ((individuals, sites), "int8")} | part_shapes

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> "KrigingReference":
        """One on these arrays, which are not copied."""
        copying = arrays_within(arrays, "haplotypes")
        haplotypes = HaplotypeReference(copying) if copying else None
        return cls(arrays["copies"], haplotypes, Calibration(arrays_within(arrays, "calibration")))

    def set_genotypes(self, copies_NS: Alleles) -> None:
        """Copy the individuals' genotypes, and compute the genotypes' frequencies."""
        self.copies[...] = copies_NS
        self._system = self._cached_targets = None
        self.calibration.set_frequencies(copies_NS)

    @threads.single_threaded_blas()
    def genotypes(
        self, alleles_B2S: Alleles, phased_B: Flags, likelihoods_BS3: Floats | None = None
    ) -> tuple[Floats, Floats | None]:
        """The probabilities (B, S, 3) of the genotypes, given those of which both alleles are known, and the
        haplotypes' own (B, S, 4), if there are any: those of ordered pairs of alleles, not calibrated.

        `phased_B` is whether it is known which allele lies on which haplotype. Likelihoods of genotypes, equal where
        they are uninformative, are used where an allele is unknown; individuals with any are predicted by the
        haplotypes alone.
        """
        copies_BS = copies_of(alleles_B2S)
        pairs_BS4 = None
        if self.haplotypes is not None:
            pairs_BS4 = self.haplotypes.pairs(alleles_B2S, phased_B, None, likelihoods_BS3)
        genotypes_BS3 = np.empty((*copies_BS.shape, 3), np.float32)
        for rows in rows_by_pattern(copies_BS >= 0):
            sites_K = np.flatnonzero(copies_BS[rows[0]] >= 0)
            weights_NB = self._weights(copies_BS[rows][:, sites_K], sites_K)
            self._targets()  # before several threads ask for them

            def calibrate_rows(
                first: int, step: int, rows: Numbers, known: int, weights_NB: Floats
            ) -> None:
                for begin in range(first * BATCH_SIZE, len(rows), step * BATCH_SIZE):
                    batch, copying = rows[begin : begin + BATCH_SIZE], None
                    if pairs_BS4 is not None:
                        copying = copying_features(pairs_BS4[batch], phased_B[batch])
                    predicted_BS2 = self._predictions(weights_NB[:, begin : begin + BATCH_SIZE])
                    genotypes_BS3[batch] = softmax(self.calibration(predicted_BS2, known, copying))

            shared = rows, len(sites_K), weights_NB
            threads.run_strided(
                threads.count(), -(-len(rows) // BATCH_SIZE), calibrate_rows, *shared
            )
        if likelihoods_BS3 is not None and pairs_BS4 is not None:
            informative_BS = (likelihoods_BS3 != likelihoods_BS3[..., :1]).any(axis=2)
            soft_B = (informative_BS & (alleles_B2S < 0).any(axis=1)).any(axis=1)
            genotypes_BS3[soft_B] = genotypes_of(pairs_BS4[soft_B])
        return genotypes_BS3, pairs_BS4

    @threads.single_threaded_blas()
    def leave_one_out(self, sites_K: Numbers, rows_B: Numbers) -> Floats:
        """The predictions (B, S, 2) from these sites of some of the training individuals, each without that individual.

        They follow from the one solution with all individuals (Rasmussen and Williams 2006, eq. 5.12).
        """
        factor_NN = self._system_at(sites_K).factor
        unit_NB = np.zeros((len(self.copies), len(rows_B)), np.float32)
        unit_NB[rows_B, np.arange(len(rows_B))] = 1
        inverse_NB = _solve(factor_NN, unit_NB)
        targets_N2S, mean_2S = self._targets()
        diagonal_B1 = np.take_along_axis(inverse_NB, rows_B[None], 0).T
        residual_BX = (inverse_NB.T @ targets_N2S.reshape(len(targets_N2S), -1)) / diagonal_B1
        left_out_B2S = targets_N2S[rows_B] + mean_2S - residual_BX.reshape(-1, *mean_2S.shape)
        return left_out_B2S.swapaxes(1, 2)

    def _weights(self, copies_BK: Alleles, sites_K: Numbers) -> Floats:
        """The weights (N, B) of each training individual's targets, given genotypes at these sites."""
        if not len(sites_K):
            return np.zeros((len(self.copies), len(copies_BK)), np.float32)
        system = self._system_at(sites_K)
        surplus_BK = (copies_BK - system.mean) * (copies_BK >= 0)
        return _solve(system.factor, _kernel(system.surplus, surplus_BK, system.mean_distance))

    def _predictions(self, weights_NB: Floats) -> Floats:
        """The predictions (B, S, 2)."""
        targets_N2S, mean_2S = self._targets()
        predicted_BX = weights_NB.T @ targets_N2S.reshape(len(targets_N2S), -1)
        predicted_B2S = predicted_BX.reshape(-1, *mean_2S.shape)
        predicted_B2S += mean_2S
        return predicted_B2S.swapaxes(1, 2)

    def _system_at(self, sites_K: Numbers) -> KrigingSystem:
        """The training individuals at these sites; those of the last sites are cached."""
        if self._system is None or not np.array_equal(self._system.sites, sites_K):
            copies_NK = self.copies[:, sites_K]
            known_NK = copies_NK >= 0
            sum_K = (copies_NK * known_NK).sum(axis=0)
            mean_K = (sum_K / np.maximum(known_NK.sum(axis=0), 1)).astype(np.float32)
            surplus_NK = (copies_NK - mean_K) * known_NK
            mean_distance = 2 * float(surplus_NK.var(axis=0).sum())
            kernel_NN = _kernel(surplus_NK, surplus_NK, mean_distance)
            np.fill_diagonal(kernel_NN, kernel_NN.diagonal() + np.float32(RIDGE))
            factor_NN = linalg.cholesky(kernel_NN.T, overwrite_a=True, check_finite=False)
            self._system = KrigingSystem(sites_K, mean_K, surplus_NK, mean_distance, factor_NN)
        return self._system

    def _targets(self) -> tuple[Floats, Floats]:
        """The indicators (N, 2, S) of the genotypes less the mean, 0 where unknown; and the mean (2, S)."""
        if self._cached_targets is None:
            indicators_N2S = np.stack([self.copies == 1, self.copies == 2], axis=1).astype(
                np.float32
            )
            known_NS = self.copies >= 0
            mean_2S = indicators_N2S.sum(axis=0) / np.maximum(known_NS.sum(axis=0), 1).astype(
                np.float32
            )
            indicators_N2S -= mean_2S
            if not known_NS.all():
                indicators_N2S *= known_NS[:, None]
            self._cached_targets = indicators_N2S, mean_2S
        return self._cached_targets


class Calibration:
    """Predictions (B, S, 2) and the number of known sites to logits (B, S, 3) of the genotypes.

    `base` (S, 3) are the logarithms of the genotypes' frequencies; the other arrays are those of the MLP.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays
        self.base: Floats = arrays["base"]

    @staticmethod
    def shapes(sites: int, features: int = KRIGING_FEATURES) -> Shapes:
        """Its arrays."""
        sizes = {
            "base": (sites, 3),
            "mean": (features,),
            "scale": (features,),
            "weight": (features, HIDDEN),
            "bias": (HIDDEN,),
            "last": (HIDDEN + 1, 3),
        }
        return {name: (size, "float32") for name, size in sizes.items()}

    def set_frequencies(self, copies_NS: Alleles) -> None:
        """Compute the genotypes' frequencies."""
        counts_S3 = np.stack([(copies_NS == number).sum(axis=0) for number in range(3)], axis=1)
        shares_S3 = (counts_S3 + 0.5) / (counts_S3 + 0.5).sum(axis=1, keepdims=True)
        self.base[...] = np.log(shares_S3)
        self.arrays["scale"][...] = 1

    def part(self, sites: slice) -> "Calibration":
        """A view of some of the sites."""
        return Calibration({**self.arrays, "base": self.base[sites]})

    def __call__(self, predicted_BS2: Floats, known: int, copying: Floats | None = None) -> Floats:
        """The logits of all sites."""
        return self.logits(self.features(predicted_BS2, known, copying))

    def features(self, predicted_BS2: Floats, known: int, copying: Floats | None = None) -> Floats:
        """The features (B, S, C) of predictions (B, S, 2), and those of the copying model (`copying_features`)."""
        heterozygote, homozygote = np.moveaxis(predicted_BS2, -1, 0)
        copies = np.clip(heterozygote + 2 * homozygote, 0, 2)
        shares = (
            heterozygote,
            homozygote,
            1 - heterozygote - homozygote,
            copies / 2,
            1 - copies / 2,
        )
        logs = [np.log(np.clip(share, 0, 1) + LOG_OFFSET) for share in shares]
        sites = np.full_like(heterozygote, np.log(np.float32((known + 1) / len(self.base))))
        base = (np.broadcast_to(base_S, heterozygote.shape) for base_S in self.base.T)
        columns = [heterozygote, homozygote, copies, *logs, sites, *base]
        columns += [] if copying is None else list(np.moveaxis(copying, -1, 0))
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


def arrays_within(arrays: Mapping[str, Array], part: str) -> dict[str, Array]:
    """The arrays whose names begin with that of a part and a dot, by the rest of their names."""
    prefix = f"{part}."
    return {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}


def copies_of(alleles_B2S: Alleles) -> Alleles:
    """The copies (B, S) of allele 1, -1 where an allele is unknown."""
    known_BS = (alleles_B2S >= 0).all(axis=1)
    return np.where(known_BS, alleles_B2S.sum(axis=1, dtype=np.int8), np.int8(-1))


def copying_features(pairs_BS4: Floats, phased_B: Flags) -> Floats:
    """The features (B, S, 4) of the copying model's pairs: the genotypes' logarithms, and whether phase was known."""
    logs_BS3 = np.log(genotypes_of(pairs_BS4) + COPYING_LOG_OFFSET)
    phased_BS1 = np.broadcast_to(phased_B[:, None, None], (*logs_BS3.shape[:2], 1))
    return np.concatenate([logs_BS3, phased_BS1], axis=2, dtype=np.float32)


def softmax(logits: Floats) -> Floats:
    """The softmax of the last dimension, which is short."""
    parts = np.moveaxis(logits, -1, 0)
    weights: Floats = np.exp(logits - reduce(np.maximum, parts)[..., None])
    weights /= reduce(np.add, np.moveaxis(weights, -1, 0))[..., None]
    return weights


def _solve(factor_NN: Floats, right_NB: Floats) -> Floats:
    """The solution (N, B) of U' U X = R."""
    solution_NB: Floats = linalg.cho_solve((factor_NN, False), right_NB, check_finite=False)
    return solution_NB


def _kernel(one_BK: Floats, other_NK: Floats, mean_distance: float) -> Floats:
    """The Gaussian kernel (B, N) of individuals; `mean_distance` is the mean squared distance of two."""
    distance_BN: Floats = one_BK @ other_NK.T
    distance_BN *= -2
    distance_BN += np.square(one_BK).sum(axis=1)[:, None] + np.square(other_NK).sum(axis=1)
    np.maximum(distance_BN, 0, out=distance_BN)
    distance_BN /= -max(KERNEL_WIDTH * mean_distance, 1e-6)
    return np.exp(distance_BN, out=distance_BN)
