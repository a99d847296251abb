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

MOST_TYPED = 600  # sites of known alleles that are read, spread over the typed ones
SITES_AT_ONCE = 1 << 13  # whose alleles are packed, a multiple of 8
RATE, ERROR = 1e-6, 1e-3
APART = 1e9  # bases between contigs: nothing is copied across

Alleles = NDArray[np.int8]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Floats = NDArray[np.float32]
Array = NDArray[Any]
Shapes = dict[str, tuple[tuple[int, ...], str]]
"""The shape and the numpy type of arrays by name."""


class HaplotypeReference:
    """Alleles of reference haplotypes, `packed` in bits (H, S / 8); the `place` (S,) of the sites, in bases; the `rate`
    of switches a base, and the `error` of copies, both of no dimension. Alleles that are unknown count as the more
    frequent one.

    The arrays are those that were given: what is learnt is written into them.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.packed: NDArray[np.uint8] = arrays["packed"]
        self.place, self.rate, self.error = (arrays[n] for n in ("place", "rate", "error"))
        self._blocked: tuple[Numbers, NDArray[np.uint8], Layout | None] | None = None

    @staticmethod
    def shapes(haplotypes: int, sites: int) -> Shapes:
        """What it is made of."""
        one = {name: ((), "float32") for name in ("rate", "error")}
        packed = (haplotypes, -(-sites // 8)), "uint8"
        return {"packed": packed, "place": ((sites,), "float32")} | one

    def learn(self, alleles_N2S: Alleles, place_S: NDArray[np.float64]) -> None:
        """Take over the haplotypes of individuals, and the sites' places; usual rates, until they are chosen."""
        alleles_HS = alleles_N2S.reshape(-1, alleles_N2S.shape[2])
        for begin in range(0, alleles_HS.shape[1], SITES_AT_ONCE):
            some_HS = alleles_HS[:, begin : begin + SITES_AT_ONCE]
            known_HS, one_HS = some_HS >= 0, some_HS == 1
            usual_S = 2 * one_HS.sum(axis=0) > known_HS.sum(axis=0)
            packed = np.packbits(np.where(known_HS, one_HS, usual_S), axis=1)
            self.packed[:, begin // 8 : begin // 8 + packed.shape[1]] = packed
        self.place[...] = place_S - place_S[0]
        self.rate[...], self.error[...] = RATE, ERROR
        self._blocked = None

    def part(self, begin: int, end: int) -> "HaplotypeReference":
        """The same at the sites from `begin`, a multiple of 8, to before `end`."""
        packed, place = self.packed[:, begin // 8 : -(-end // 8)], self.place[begin:end]
        one = {"rate": self.rate, "error": self.error}
        return HaplotypeReference({"packed": packed, "place": place, **one})

    def alleles(self) -> NDArray[np.uint8]:
        """The alleles (H, S), 0 and 1, as small integers."""
        return np.unpackbits(self.packed, axis=1, count=len(self.place))

    def frequencies(self) -> NDArray[np.float64]:
        """How frequent allele 1 is (S,), a byte of sites at a time."""
        columns = (np.unpackbits(column[:, None], axis=1).mean(axis=0) for column in self.packed.T)
        found: NDArray[np.float64] = np.concatenate(list(columns))[: len(self.place)]
        return found

    def pairs(
        self,
        alleles_B2S: Alleles,
        phased_B: Flags,
        own_B: Numbers | None = None,
        likelihoods_BS3: Floats | None = None,
    ) -> Floats:
        """The probabilities (B, S, 4) of ordered pairs of alleles, given those that are known, -1 the others, and of
        whom (B,) it is known which lies on which haplotype. With `own_B`, numbers of individuals among the reference,
        nobody copies that one. Likelihoods of genotypes, all alike where they say nothing, count where the alleles are
        unknown.
        """
        found_BS4 = np.empty((len(alleles_B2S), len(self.place), 4), np.float32)
        own_B = np.full(len(phased_B), -1) if own_B is None else own_B
        for phased, rows, read_BS in self._parts(alleles_B2S, phased_B, likelihoods_BS3):
            typed_K = np.flatnonzero(read_BS.any(axis=0))
            mosaic = self._mosaic(typed_K)
            shown_B2K = alleles_B2S[rows][:, :, typed_K]
            if phased:
                told_B2K = (shown_B2K >= 0) & read_BS[:, None, typed_K]
                one_B2K = np.where(told_B2K, shown_B2K, np.float32(0.5))
                found_BS4[rows] = _pairs(mosaic, one_B2K, own_B[rows])
            else:
                given_BS3 = likelihoods_BS3
                given_BK3 = None if given_BS3 is None else given_BS3[rows][:, typed_K]
                told_BK3 = likelihoods_of(shown_B2K, given_BK3)
                found_BS4[rows] = _without_phase(mosaic, told_BK3, own_B[rows])
        return found_BS4

    def _mosaic(self, typed_K: Numbers) -> "Mosaic":
        """The copying model at these typed sites, whose layout is kept until that of others is asked for."""
        if self._blocked is None or not np.array_equal(self._blocked[0], typed_K):
            by_site = np.ascontiguousarray(self.packed.T)
            reference_SH = np.unpackbits(by_site, axis=0, count=len(self.place))
            layout = layout_of(blocks_of(reference_SH, typed_K)) if len(typed_K) else None
            self._blocked = typed_K, reference_SH, layout
        _, reference_SH, layout = self._blocked
        rates = float(self.rate), float(self.error)
        return Mosaic(reference_SH, self.place.astype(np.float64), typed_K, layout, *rates)

    def _parts(
        self, alleles_B2S: Alleles, phased_B: Flags, likelihoods_BS3: Floats | None
    ) -> Iterator[tuple[bool, Numbers, Flags]]:
        """Individuals that are read together, and the sites (B, S) that are read of each: all that are phased, since
        sites that say nothing change nothing, and those without phase, which is drawn, that are read at the same."""
        known_BS = np.any(alleles_B2S >= 0, axis=1)
        soft_BS = np.zeros_like(known_BS)
        if likelihoods_BS3 is not None:
            soft_BS = ~known_BS & np.any(likelihoods_BS3 != likelihoods_BS3[..., :1], axis=2)
        apart_BS = (alleles_B2S >= 0).all(axis=1) & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
        soft_B = soft_BS.any(axis=1)
        phased_B = phased_B | (apart_BS.sum(axis=1) <= 1)  # one heterozygote may stand either way
        phased_B = phased_B & ~soft_B
        read_BS = np.where(soft_B[:, None], known_BS | soft_BS, _spread(known_BS, MOST_TYPED))
        if phased_B.any():
            yield True, np.flatnonzero(phased_B), read_BS[phased_B]
        rows = np.flatnonzero(~phased_B)
        for same in alike(read_BS[rows]):
            yield False, rows[same], read_BS[rows[same]]


def alike(patterns_BS: Flags) -> Iterator[Numbers]:
    """The numbers of rows that are the same, in ascending order of the patterns."""
    keys, which_B = np.unique(as_keys(np.packbits(patterns_BS, axis=1)), return_inverse=True)
    for number in range(len(keys)):
        yield np.flatnonzero(which_B == number)


def as_keys(rows_BX: Array) -> Array:
    """The bytes of each row as one value (B,), of which `np.unique` takes a tenth of the time that it takes of rows."""
    if not rows_BX.shape[1]:
        return np.zeros(len(rows_BX), np.uint8)
    width = rows_BX.itemsize * rows_BX.shape[1]
    return np.ascontiguousarray(rows_BX).view(np.dtype((np.void, width)))[:, 0]


def _spread(known_BS: Flags, most: int) -> Flags:
    """At most so many of the known sites of each, evenly chosen."""
    number_BS = known_BS.cumsum(axis=1, dtype=np.float32)
    step_B1 = np.maximum(number_BS[:, -1:] / np.float32(most), 1)
    chosen_BS: Flags = np.floor(number_BS / step_B1) > np.floor((number_BS - 1) / step_B1)
    return known_BS & chosen_BS


def likelihoods_of(alleles_B2S: Alleles, given_BS3: Floats | None = None) -> Floats:
    """The likelihoods (B, S, 3) of genotypes: 1 for one that is known and 0 for others; those that are given, or 1,
    elsewhere. Of a genotype with one known allele both that it allows have 1."""
    count = np.arange(3)
    known_BS = (alleles_B2S >= 0).sum(axis=1)
    sum_BS = (alleles_B2S == 1).sum(axis=1)
    told_BS3 = (count >= sum_BS[..., None]) & (count <= (sum_BS + 2 - known_BS)[..., None])
    if given_BS3 is not None:
        told_BS3 = np.where((known_BS == 0)[..., None], given_BS3, told_BS3)
    return np.asarray(told_BS3, np.float32)


def _pairs(mosaic: "Mosaic", one_B2K: Floats, own_B: Numbers) -> Floats:
    """The pairs of haplotypes that are independent given the evidence (B, 2, K) for allele 1."""
    people, _, typed = one_B2K.shape
    each_BS = mosaic.imputed(one_B2K.reshape(2 * people, typed), own_B.repeat(2))
    return pairs_of(each_BS.reshape(people, 2, each_BS.shape[1]))


def _without_phase(mosaic: "Mosaic", told_BK3: Floats, own_B: Numbers) -> Floats:
    """The mean over phases drawn, each imputed like known ones."""
    draws_BX2K = phases(mosaic, told_BK3, own_B)
    people, draws, _, typed = draws_BX2K.shape
    pairs = _pairs(mosaic, draws_BX2K.reshape(people * draws, 2, typed), own_B.repeat(draws))
    found: Floats = pairs.reshape(people, draws, *pairs.shape[1:]).mean(axis=1)
    return found


def pairs_of(one_B2S: Array) -> Array:
    """The probabilities (B, S, 4) of ordered pairs of alleles, of two independent haplotypes that have allele 1 so
    probably."""
    first_2BS, second_2BS = (np.stack([1 - one_BS, one_BS]) for one_BS in one_B2S.swapaxes(0, 1))
    found_BS4 = np.empty((*first_2BS.shape[1:], 4), one_B2S.dtype)
    for number in range(4):
        first_BS, second_BS = first_2BS[number // 2], second_2BS[number % 2]
        np.multiply(first_BS, second_BS, out=found_BS4[..., number])
    return found_BS4


def genotypes_of(pairs: Array) -> Array:
    """The probabilities (..., 3) of genotypes from those of ordered pairs of alleles (..., 4)."""
    none, other, one, both = np.moveaxis(pairs, -1, 0)
    return np.stack([none, one + other, both], axis=-1)


@dataclass(frozen=True, eq=False)
class Mosaic:
    """The copying model at `typed` sites (K,), in the blocks of `layout`, None without any, of the `reference` (S, H),
    whose sites lie at `place` (S,).

    Evidence is the probability that a haplotype would be read as it is if it had allele 1, over the sum of those with 1
    and with 0: 0.5 says nothing.
    """

    reference: NDArray[np.uint8]
    place: NDArray[np.float64]
    typed: Numbers
    layout: Layout | None
    rate: float
    error: float

    @cached_property
    def alleles(self) -> NDArray[np.uint8]:
        """Those at the typed sites (K, H)."""
        return self.reference[self.typed]

    @cached_property
    def stay(self) -> Floats:
        """How likely there is no switch (K,) since the typed site before."""
        place_K = self.place[self.typed]
        stay_K: NDArray[np.float64] = np.exp(-self.rate * np.diff(place_K, prepend=place_K[:1]))
        return stay_K.astype(np.float32)

    @cached_property
    def between(self) -> tuple[Floats, Floats]:
        """How likely there is no switch (S,) between each site and the typed one before it, and the one behind it.
        Before the first typed site the first is 0, and behind the last one the second."""
        sites = np.arange(len(self.place))
        before_S = np.searchsorted(self.typed, sites, side="right") - 1
        behind_S = np.minimum(before_S + 1, len(self.typed) - 1)
        place_S, before_K = self.place, self.place[self.typed]
        near_S = np.exp(-self.rate * np.abs(place_S - before_K[np.maximum(before_S, 0)]))
        keep_S = np.exp(-self.rate * np.abs(place_S - before_K[behind_S]))
        near_S = np.where(before_S < 0, 0, near_S)
        keep_S = np.where(before_S == len(self.typed) - 1, 0, keep_S)
        return near_S.astype(np.float32), keep_S.astype(np.float32)

    def imputed(self, one_BK: Floats, own_B: Numbers) -> Floats:
        """The probability (B, S) of allele 1."""
        if not len(self.typed):
            usual_S = self.reference.mean(axis=1, dtype=np.float32)
            return np.broadcast_to(usual_S, (len(one_BK), len(usual_S)))
        # The same haplotype is often drawn again, or met in others; sums in single precision may pass 1.
        rows_U, which_B = _first_of_each(one_BK, own_B)
        found_US = self._copying.imputed(one_BK[rows_U], own_B[rows_U], self.between)
        return np.clip(found_US, 0, 1, out=found_US)[which_B]

    def copied(self, one_BK: Floats, own_B: Numbers) -> tuple[Floats, Floats]:
        """See `ReducedCopying.copied`."""
        return self._copying.copied(one_BK, own_B)

    @cached_property
    def _copying(self) -> "ReducedCopying":
        from genomai_cli.population.networks.reduced_copying import ReducedCopying  # noqa: PLC0415 - it loads numba

        assert self.layout is not None
        return ReducedCopying(self.layout, self.stay, self.error)


def _first_of_each(one_BK: Floats, own_B: Numbers) -> tuple[Numbers, Numbers]:
    """The first row of each evidence with its own individual, and which of these every row is."""
    keyed = np.concatenate([own_B[:, None].astype(np.float32), one_BK], axis=1)
    _, rows, which = np.unique(as_keys(keyed), return_index=True, return_inverse=True)
    return rows, which
