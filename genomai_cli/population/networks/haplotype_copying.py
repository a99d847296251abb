"""Haplotypes as mosaics of reference haplotypes: the copying model (Li and Stephens 2003, Genetics 165:2213).

A haplotype copies one reference haplotype after another; between two sites it switches to any of them, at a rate by
distance, and a copied allele is another one with a small probability. What it copies at untyped sites follows exactly
from all typed ones (forward-backward). Genotypes without phase, and those of which only likelihoods are known, are
phased first: see `haplotype_phases`. `haplotype_blocks` does the work, in single precision.

Shape suffixes: B individuals or haplotypes to impute, H reference haplotypes, S sites, K typed sites; 2 haplotypes, 3
genotypes, 4 ordered pairs of their alleles 00 01 10 11.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.population.networks.block_layout import Layout, layout_of
from genomai_cli.population.networks.haplotype_blocks import blocks_of
from genomai_cli.population.networks.haplotype_phases import phases

if TYPE_CHECKING:
    from genomai_cli.population.networks.reduced_copying import ReducedCopying

MAX_TYPED = 600  # typed sites that are read of an individual, evenly spaced over all of them
SITES_AT_ONCE = 1 << 13  # whose alleles are packed, a multiple of 8
DEFAULT_RATE, DEFAULT_ERROR = 1e-6, 1e-3
CONTIG_GAP = 1e9  # bases between contigs: nothing is copied across

Alleles = NDArray[np.int8]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Floats = NDArray[np.float32]
Array = NDArray[Any]
Shapes = dict[str, tuple[tuple[int, ...], str]]
"""The shape and the numpy type of arrays by name."""


class HaplotypeReference:
    """Alleles of reference haplotypes, `packed` in bits (H, S / 8); the `position` (S,) of the sites, in bases; the
    `rate` of switches a base, and the `error` of copies, both scalars. Alleles that are unknown count as the more
    frequent one.

    The arrays are not copied: parameters are written into them. Positions are the array `place`.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.packed: NDArray[np.uint8] = arrays["packed"]
        self.position, self.rate, self.error = (arrays[n] for n in ("place", "rate", "error"))
        self._cached_layout: tuple[Numbers, NDArray[np.uint8], Layout | None] | None = None

    @staticmethod
    def shapes(haplotypes: int, sites: int) -> Shapes:
        """Its arrays."""
        rates = {name: ((), "float32") for name in ("rate", "error")}
        packed = (haplotypes, -(-sites // 8)), "uint8"
        return {"packed": packed, "place": ((sites,), "float32")} | rates

    def set_haplotypes(self, alleles_N2S: Alleles, position_S: NDArray[np.float64]) -> None:
        """Copy the haplotypes of individuals and the sites' positions; rates get their defaults."""
        alleles_HS = alleles_N2S.reshape(-1, alleles_N2S.shape[2])
        for begin in range(0, alleles_HS.shape[1], SITES_AT_ONCE):
            chunk_HS = alleles_HS[:, begin : begin + SITES_AT_ONCE]
            known_HS, one_HS = chunk_HS >= 0, chunk_HS == 1
            majority_S = 2 * one_HS.sum(axis=0) > known_HS.sum(axis=0)
            packed = np.packbits(np.where(known_HS, one_HS, majority_S), axis=1)
            self.packed[:, begin // 8 : begin // 8 + packed.shape[1]] = packed
        self.position[...] = position_S - position_S[0]
        self.rate[...], self.error[...] = DEFAULT_RATE, DEFAULT_ERROR
        self._cached_layout = None

    def part(self, begin: int, end: int) -> "HaplotypeReference":
        """A view of the sites from `begin`, a multiple of 8, to before `end`."""
        packed, position = self.packed[:, begin // 8 : -(-end // 8)], self.position[begin:end]
        rates = {"rate": self.rate, "error": self.error}
        return HaplotypeReference({"packed": packed, "place": position, **rates})

    def alleles(self) -> NDArray[np.uint8]:
        """The alleles (H, S), 0 and 1, as small integers."""
        return np.unpackbits(self.packed, axis=1, count=len(self.position))

    def frequencies(self) -> NDArray[np.float64]:
        """The frequency of allele 1 (S,), computed a byte of sites at a time."""
        columns = (np.unpackbits(column[:, None], axis=1).mean(axis=0) for column in self.packed.T)
        frequency_S: NDArray[np.float64] = np.concatenate(list(columns))[: len(self.position)]
        return frequency_S

    def pairs(
        self,
        alleles_B2S: Alleles,
        phased_B: Flags,
        excluded_B: Numbers | None = None,
        likelihoods_BS3: Floats | None = None,
    ) -> Floats:
        """The probabilities (B, S, 4) of ordered pairs of alleles, given those that are known, -1 the others, and of
        whom (B,) it is known which lies on which haplotype. With `excluded_B`, indices of individuals of the reference,
        nobody copies that one. Likelihoods of genotypes, equal where they are uninformative, are used where an allele
        is unknown.
        """
        pairs_BS4 = np.empty((len(alleles_B2S), len(self.position), 4), np.float32)
        excluded_B = np.full(len(phased_B), -1) if excluded_B is None else excluded_B
        for phased, rows, read_BS in self._batches(alleles_B2S, phased_B, likelihoods_BS3):
            typed_K = np.flatnonzero(read_BS.any(axis=0))
            mosaic = self._mosaic(typed_K)
            typed_B2K = alleles_B2S[rows][:, :, typed_K]
            if phased:
                known_B2K = (typed_B2K >= 0) & read_BS[:, None, typed_K]
                evidence_B2K = np.where(known_B2K, typed_B2K, np.float32(0.5))
                pairs_BS4[rows] = _phased_pairs(mosaic, evidence_B2K, excluded_B[rows])
            else:
                soft_BS3 = likelihoods_BS3
                soft_BK3 = None if soft_BS3 is None else soft_BS3[rows][:, typed_K]
                likelihoods_BK3 = likelihoods_of(typed_B2K, soft_BK3)
                pairs_BS4[rows] = _unphased_pairs(mosaic, likelihoods_BK3, excluded_B[rows])
        return pairs_BS4

    def _mosaic(self, typed_K: Numbers) -> "Mosaic":
        """The copying model at these typed sites; the layout of the last sites is cached."""
        if self._cached_layout is None or not np.array_equal(self._cached_layout[0], typed_K):
            by_site = np.ascontiguousarray(self.packed.T)
            reference_SH = np.unpackbits(by_site, axis=0, count=len(self.position))
            layout = layout_of(blocks_of(reference_SH, typed_K)) if len(typed_K) else None
            self._cached_layout = typed_K, reference_SH, layout
        _, reference_SH, layout = self._cached_layout
        rates = float(self.rate), float(self.error)
        return Mosaic(reference_SH, self.position.astype(np.float64), typed_K, layout, *rates)

    def _batches(
        self, alleles_B2S: Alleles, phased_B: Flags, likelihoods_BS3: Floats | None
    ) -> Iterator[tuple[bool, Numbers, Flags]]:
        """Whether phased, rows of individuals that are imputed together, and the sites (B, S) that are read of each:
        all phased individuals, since uninformative sites change nothing, and unphased ones by their set of sites."""
        known_BS = np.any(alleles_B2S >= 0, axis=1)
        soft_BS = np.zeros_like(known_BS)
        if likelihoods_BS3 is not None:
            soft_BS = np.any(alleles_B2S < 0, axis=1)
            soft_BS &= np.any(likelihoods_BS3 != likelihoods_BS3[..., :1], axis=2)
        differing_BS = alleles_B2S[:, 0] != alleles_B2S[:, 1]  # heterozygotes, and half genotypes
        soft_B = soft_BS.any(axis=1)
        # The order of the alleles is arbitrary where they differ at a single site.
        phased_B = phased_B | (differing_BS.sum(axis=1) <= 1)
        phased_B = phased_B & ~soft_B
        read_BS = np.where(soft_B[:, None], known_BS | soft_BS, _thinned(known_BS, MAX_TYPED))
        if phased_B.any():
            yield True, np.flatnonzero(phased_B), read_BS[phased_B]
        rows = np.flatnonzero(~phased_B)
        for group in rows_by_pattern(read_BS[rows]):
            yield False, rows[group], read_BS[rows[group]]


def rows_by_pattern(patterns_BS: Flags) -> Iterator[Numbers]:
    """The indices of the rows with each pattern, in ascending order of the patterns."""
    keys, pattern_B = np.unique(row_keys(np.packbits(patterns_BS, axis=1)), return_inverse=True)
    for number in range(len(keys)):
        yield np.flatnonzero(pattern_B == number)


def row_keys(rows_BX: Array) -> Array:
    """The bytes of each row as one value (B,), of which `np.unique` takes a tenth of the time that it takes of rows."""
    if not rows_BX.shape[1]:
        return np.zeros(len(rows_BX), np.uint8)
    width = rows_BX.itemsize * rows_BX.shape[1]
    return np.ascontiguousarray(rows_BX).view(np.dtype((np.void, width)))[:, 0]


def _thinned(known_BS: Flags, max_sites: int) -> Flags:
    """At most `max_sites` of the known sites of each individual, evenly spaced."""
    rank_BS = known_BS.cumsum(axis=1, dtype=np.float32)
    step_B1 = np.maximum(rank_BS[:, -1:] / np.float32(max_sites), 1)
    chosen_BS: Flags = np.floor(rank_BS / step_B1) > np.floor((rank_BS - 1) / step_B1)
    return known_BS & chosen_BS


def likelihoods_of(alleles_B2S: Alleles, fallback_BS3: Floats | None = None) -> Floats:
    """The likelihoods (B, S, 3) of genotypes: 1 for one that is known and 0 for others; those of the fallback, or 1,
    where no allele is known. With one known allele both genotypes that it allows have 1, or those of the fallback."""
    copies = np.arange(3)
    known_BS = (alleles_B2S >= 0).sum(axis=1)
    sum_BS = (alleles_B2S == 1).sum(axis=1)
    likelihoods_BS3 = (copies >= sum_BS[..., None]) & (copies <= (sum_BS + 2 - known_BS)[..., None])
    if fallback_BS3 is not None:
        allowed_BS3 = fallback_BS3 * likelihoods_BS3
        soft_BS = (known_BS < 2) & allowed_BS3.any(axis=2)
        likelihoods_BS3 = np.where(soft_BS[..., None], allowed_BS3, likelihoods_BS3)
    return np.asarray(likelihoods_BS3, np.float32)


def _phased_pairs(mosaic: "Mosaic", evidence_B2K: Floats, excluded_B: Numbers) -> Floats:
    """The pairs of haplotypes that are independent given the evidence (B, 2, K) for allele 1."""
    individuals, _, typed = evidence_B2K.shape
    imputed_BS = mosaic.imputed(evidence_B2K.reshape(2 * individuals, typed), excluded_B.repeat(2))
    return pairs_of(imputed_BS.reshape(individuals, 2, imputed_BS.shape[1]))


def _unphased_pairs(mosaic: "Mosaic", likelihoods_BK3: Floats, excluded_B: Numbers) -> Floats:
    """The pairs (B, S, 4) of unphased genotypes: the mean over sampled phases, each imputed like a known one."""
    evidence_BX2K = phases(mosaic, likelihoods_BK3, excluded_B)
    individuals, draws, _, typed = evidence_BX2K.shape
    pairs = _phased_pairs(
        mosaic, evidence_BX2K.reshape(individuals * draws, 2, typed), excluded_B.repeat(draws)
    )
    mean_BS4: Floats = pairs.reshape(individuals, draws, *pairs.shape[1:]).mean(axis=1)
    return mean_BS4


def pairs_of(one_B2S: Array) -> Array:
    """The probabilities (B, S, 4) of ordered pairs of alleles, of two independent haplotypes that have allele 1 so
    probably."""
    first_2BS, second_2BS = (np.stack([1 - one_BS, one_BS]) for one_BS in one_B2S.swapaxes(0, 1))
    pairs_BS4 = np.empty((*first_2BS.shape[1:], 4), one_B2S.dtype)
    for number in range(4):
        first_BS, second_BS = first_2BS[number // 2], second_2BS[number % 2]
        np.multiply(first_BS, second_BS, out=pairs_BS4[..., number])
    return pairs_BS4


def genotypes_of(pairs: Array) -> Array:
    """The probabilities (..., 3) of genotypes from those of ordered pairs of alleles (..., 4)."""
    none, other, one, both = np.moveaxis(pairs, -1, 0)
    return np.stack([none, one + other, both], axis=-1)


@dataclass(frozen=True, eq=False)
class Mosaic:
    """The copying model at `typed` sites (K,), in the blocks of `layout`, None without any, of the `reference` (S, H),
    whose sites lie at `position` (S,).

    Evidence is the probability that a haplotype would be read as it is if it had allele 1, over the sum of those with 1
    and with 0: 0.5 is uninformative.
    """

    reference: NDArray[np.uint8]
    position: NDArray[np.float64]
    typed: Numbers
    layout: Layout | None
    rate: float
    error: float

    @cached_property
    def alleles(self) -> NDArray[np.uint8]:
        """The alleles at the typed sites (K, H)."""
        return self.reference[self.typed]

    @cached_property
    def stay(self) -> Floats:
        """The probability (K,) of no switch since the typed site before."""
        position_K = self.position[self.typed]
        stay_K: NDArray[np.float64] = np.exp(
            -self.rate * np.diff(position_K, prepend=position_K[:1])
        )
        return stay_K.astype(np.float32)

    @cached_property
    def stay_around(self) -> tuple[Floats, Floats]:
        """The probabilities (S,) of no switch between each site and the typed one before it, and the one behind it.
        The former are 0 before the first typed site, the latter behind the last one."""
        sites = np.arange(len(self.position))
        index_before_S = np.searchsorted(self.typed, sites, side="right") - 1
        index_behind_S = np.minimum(index_before_S + 1, len(self.typed) - 1)
        position_S, typed_K = self.position, self.position[self.typed]
        stay_before_S = np.exp(
            -self.rate * np.abs(position_S - typed_K[np.maximum(index_before_S, 0)])
        )
        stay_behind_S = np.exp(-self.rate * np.abs(position_S - typed_K[index_behind_S]))
        stay_before_S = np.where(index_before_S < 0, 0, stay_before_S)
        stay_behind_S = np.where(index_before_S == len(self.typed) - 1, 0, stay_behind_S)
        return stay_before_S.astype(np.float32), stay_behind_S.astype(np.float32)

    def imputed(self, evidence_BK: Floats, excluded_B: Numbers) -> Floats:
        """The probability (B, S) of allele 1."""
        if not len(self.typed):
            frequency_S = self.reference.mean(axis=1, dtype=np.float32)
            return np.broadcast_to(frequency_S, (len(evidence_BK), len(frequency_S)))
        # The same haplotype is often drawn again, or met in others; sums in single precision may pass 1.
        rows_U, unique_B = _unique_evidence(evidence_BK, excluded_B)
        imputed_US = self._copying.imputed(
            evidence_BK[rows_U], excluded_B[rows_U], self.stay_around
        )
        return np.clip(imputed_US, 0, 1, out=imputed_US)[unique_B]

    def posteriors(self, evidence_BK: Floats, excluded_B: Numbers) -> tuple[Floats, Floats]:
        """See `ReducedCopying.posteriors`."""
        return self._copying.posteriors(evidence_BK, excluded_B)

    @cached_property
    def _copying(self) -> "ReducedCopying":
        from genomai_cli.population.networks.reduced_copying import ReducedCopying  # noqa: PLC0415 - it loads numba

        assert self.layout is not None
        return ReducedCopying(self.layout, self.stay, self.error)


def _unique_evidence(evidence_BK: Floats, excluded_B: Numbers) -> tuple[Numbers, Numbers]:
    """The first row of each distinct evidence and excluded individual, and which of these every row is."""
    columns = np.concatenate([excluded_B[:, None].astype(np.float32), evidence_BK], axis=1)
    _, rows, unique_B = np.unique(row_keys(columns), return_index=True, return_inverse=True)
    return rows, unique_B
