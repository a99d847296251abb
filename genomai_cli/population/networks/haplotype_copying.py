"""Haplotypes as mosaics of reference haplotypes: the copying model (Li and Stephens 2003, Genetics 165:2213).

A haplotype copies one reference haplotype after another; between two sites it switches to any of them, at a rate by
distance, and a copied allele is another one with a small probability. What it copies at untyped sites follows exactly
from all typed ones (forward-backward). Genotypes without phase, and those of which only likelihoods are known, are
phased first: see `haplotype_phases`. `haplotype_blocks` does the work, in single precision.

Shape suffixes: B individuals or haplotypes to impute, H reference haplotypes, S sites, K typed sites; 2 haplotypes, 3
genotypes, 4 ordered pairs of their alleles 00 01 10 11.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genomai_cli.population.networks.block_layout import Layout, layout_of
from genomai_cli.population.networks.haplotype_blocks import blocks_of
from genomai_cli.population.networks.haplotype_phases import phases

if TYPE_CHECKING:
    from genomai_cli.population.networks.reduced_copying import ReducedCopying

MOST_TYPED = 600  # sites of known alleles that are read, spread over the typed ones
SITES_AT_ONCE = 1 << 13  # whose alleles are packed, a multiple of 8
APART = 1e9  # bases between contigs: nothing is copied across


class HaplotypeReference(nn.Module):
    """Alleles of reference haplotypes, packed; where the sites lie, in bases; switches a base, and errors of copies.

    It has no trainable parameters. Alleles that are unknown count as the more frequent one.
    """

    packed: Tensor
    place: Tensor
    rate: Tensor
    error: Tensor

    def __init__(self, haplotypes: int, sites: int) -> None:
        super().__init__()
        self.sites = sites
        self._blocked: tuple[Tensor, Tensor, Layout | None] | None = None
        self.register_buffer("packed", torch.zeros(haplotypes, -(-sites // 8), dtype=torch.uint8))
        self.register_buffer("place", torch.zeros(sites))
        self.register_buffer("rate", torch.tensor(1e-6))
        self.register_buffer("error", torch.tensor(1e-3))

    def learn(self, alleles_N2S: Tensor, place_S: Tensor) -> None:
        """Take over the haplotypes of individuals, and the sites' places."""
        alleles_HS = alleles_N2S.flatten(0, 1)
        for at in range(0, self.sites, SITES_AT_ONCE):
            some_HS = alleles_HS[:, at : at + SITES_AT_ONCE]
            known_HS = some_HS >= 0
            ones_S = (some_HS * known_HS).sum(0)
            usual_S = (2 * ones_S > known_HS.sum(0)).to(some_HS.dtype)
            whole_HS = torch.where(known_HS, some_HS, usual_S).cpu().numpy().astype(np.uint8)
            packed = torch.from_numpy(np.packbits(whole_HS, axis=1))
            self.packed[:, at // 8 : at // 8 + packed.shape[1]] = packed
        self.place.copy_(place_S - place_S[0])
        self._blocked = None

    def part(self, begin: int, end: int) -> "HaplotypeReference":
        """The same at the sites from `begin`, a multiple of 8, to before `end`."""
        made = HaplotypeReference(0, end - begin)
        made.packed = self.packed[:, begin // 8 : -(-end // 8)]
        made.place = self.place[begin:end]
        made.rate, made.error = self.rate, self.error
        return made

    def alleles(self) -> Tensor:
        """The alleles (H, S), 0 and 1, as small integers."""
        bits_HS = np.unpackbits(self.packed.cpu().numpy(), axis=1, count=self.sites)
        return torch.from_numpy(bits_HS).to(self.packed.device)

    def frequencies(self) -> NDArray[np.float64]:
        """How frequent allele 1 is (S,), a byte of sites at a time."""
        columns = (
            np.unpackbits(column[:, None], axis=1).mean(axis=0)
            for column in self.packed.cpu().numpy().T
        )
        found: NDArray[np.float64] = np.concatenate(list(columns))[: self.sites]
        return found

    @torch.no_grad()
    def pairs(
        self,
        alleles_B2S: Tensor,
        phased_B: Tensor,
        own_B: Tensor | None = None,
        likelihoods_BS3: Tensor | None = None,
    ) -> Tensor:
        """The probabilities (B, S, 4) of ordered pairs of alleles, given those that are known, -1 the others, and of
        whom (B,) it is known which lies on which haplotype. With `own_B`, numbers of individuals among the reference,
        nobody copies that one. Likelihoods of genotypes, all alike where they say nothing, count where the alleles are
        unknown.
        """
        found_BS4 = self.place.new_empty(len(alleles_B2S), self.sites, 4)
        own_B = torch.full_like(phased_B, -1, dtype=torch.int64) if own_B is None else own_B
        for phased, rows, read_BS in self._parts(alleles_B2S, phased_B, likelihoods_BS3):
            typed_K = read_BS.any(0).nonzero()[:, 0]
            mosaic = self._mosaic(typed_K)
            shown_B2K = alleles_B2S[rows][:, :, typed_K]
            if phased:
                told_B2K = (shown_B2K >= 0) & read_BS[:, None, typed_K]
                found = _pairs(mosaic, torch.where(told_B2K, shown_B2K, 0.5), own_B[rows])
            else:
                given_BS3 = likelihoods_BS3
                given_BK3 = None if given_BS3 is None else given_BS3[rows][:, typed_K]
                told_BK3 = likelihoods_of(shown_B2K, given_BK3)
                found = _without_phase(mosaic, told_BK3, own_B[rows])
            found_BS4[rows] = found.to(found_BS4)
        return found_BS4

    def _mosaic(self, typed_K: Tensor) -> "Mosaic":
        """The copying model at these typed sites, whose layout is kept until that of others is asked for."""
        if self._blocked is None or not torch.equal(self._blocked[0], typed_K):
            reference_SH = self.alleles().T.contiguous()
            layout = layout_of(blocks_of(reference_SH, typed_K)) if len(typed_K) else None
            self._blocked = typed_K, reference_SH, layout
        _, reference_SH, layout = self._blocked
        rates = float(self.rate), float(self.error)
        return Mosaic(reference_SH, self.place, typed_K, layout, *rates)

    def _parts(
        self, alleles_B2S: Tensor, phased_B: Tensor, likelihoods_BS3: Tensor | None
    ) -> Iterator[tuple[bool, Tensor, Tensor]]:
        """Individuals that are read together, and the sites (B, S) that are read of each: all that are phased, since
        sites that say nothing change nothing, and those without phase, which is drawn, that are read at the same."""
        known_BS = (alleles_B2S >= 0).any(1)
        soft_BS = torch.zeros_like(known_BS)
        if likelihoods_BS3 is not None:
            soft_BS = ~known_BS & (likelihoods_BS3 != likelihoods_BS3[..., :1]).any(2)
        apart_BS = (alleles_B2S >= 0).all(1) & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
        soft_B = soft_BS.any(1)
        phased_B = phased_B | (apart_BS.sum(1) <= 1)  # one heterozygote may stand either way
        phased_B = phased_B & ~soft_B
        read_BS = torch.where(soft_B[:, None], known_BS | soft_BS, _spread(known_BS, MOST_TYPED))
        if phased_B.any():
            yield True, phased_B.nonzero()[:, 0], read_BS[phased_B]
        rows = (~phased_B).nonzero()[:, 0]
        patterns, which = torch.unique(read_BS[rows], dim=0, return_inverse=True)
        for number in range(len(patterns)):
            same = rows[which == number]
            yield False, same, read_BS[same]


def _spread(known_BS: Tensor, most: int) -> Tensor:
    """At most so many of the known sites of each, evenly chosen."""
    number_BS = known_BS.cumsum(1)
    step_B1 = (number_BS[:, -1:] / most).clamp(min=1)
    return known_BS & ((number_BS / step_B1).floor() > ((number_BS - 1) / step_B1).floor())


def likelihoods_of(alleles_B2S: Tensor, given_BS3: Tensor | None = None) -> Tensor:
    """The likelihoods (B, S, 3) of genotypes: 1 for one that is known and 0 for others; those that are given, or 1,
    elsewhere. Of a genotype with one known allele both that it allows have 1."""
    count = torch.arange(3, device=alleles_B2S.device)
    known_BS = (alleles_B2S >= 0).sum(1)
    sum_BS = alleles_B2S.clamp(min=0).sum(1)
    certain = ((count >= sum_BS[..., None]) & (count <= (sum_BS + 2 - known_BS)[..., None])).float()
    if given_BS3 is None:
        return certain
    return torch.where((known_BS == 0)[..., None], given_BS3.to(certain), certain)


def _pairs(mosaic: "Mosaic", one_B2K: Tensor, own_B: Tensor) -> Tensor:
    """The pairs of haplotypes that are independent given the evidence (B, 2, K) for allele 1."""
    each_BS = mosaic.imputed(one_B2K.flatten(0, 1), own_B.repeat_interleave(2))
    return pairs_of(each_BS.view(len(one_B2K), 2, -1))


def _without_phase(mosaic: "Mosaic", told_BK3: Tensor, own_B: Tensor) -> Tensor:
    """The mean over phases drawn, each imputed like known ones."""
    draws_BX2K = phases(mosaic, told_BK3, own_B)
    own_BX = own_B[:, None].expand(draws_BX2K.shape[:2])
    pairs = _pairs(mosaic, draws_BX2K.flatten(0, 1), own_BX.flatten())
    return pairs.view(*draws_BX2K.shape[:2], *pairs.shape[1:]).mean(1)


def pairs_of(one_B2S: Tensor) -> Tensor:
    """The probabilities (B, S, 4) of ordered pairs of alleles, of two independent haplotypes that have allele 1 so
    probably."""
    one_BS, other_BS = one_B2S.unbind(1)
    pairs = (1 - one_BS) * (1 - other_BS), (1 - one_BS) * other_BS
    return torch.stack([*pairs, one_BS * (1 - other_BS), one_BS * other_BS], dim=2)


def genotypes_of(pairs: Tensor) -> Tensor:
    """The probabilities (..., 3) of genotypes from those of ordered pairs of alleles (..., 4)."""
    none, other, one, both = pairs.unbind(-1)
    return torch.stack([none, one + other, both], dim=-1)


@dataclass(frozen=True, eq=False)
class Mosaic:
    """The copying model at `typed` sites (K,), in the blocks of `layout`, None without any, of the `reference` (S, H),
    whose sites lie at `place` (S,).

    Evidence is the probability that a haplotype would be read as it is if it had allele 1, over the sum of those with 1
    and with 0: 0.5 says nothing.
    """

    reference: Tensor
    place: Tensor
    typed: Tensor
    layout: Layout | None
    rate: float
    error: float

    @cached_property
    def alleles(self) -> Tensor:
        """Those at the typed sites (K, H)."""
        return self.reference[self.typed].float()

    @cached_property
    def stay(self) -> Tensor:
        """How likely there is no switch (K,) since the typed site before."""
        place_K = self.place[self.typed]
        return torch.exp(-self.rate * place_K.diff(prepend=place_K[:1])).float()

    @cached_property
    def between(self) -> tuple[Tensor, Tensor]:
        """How likely there is no switch (S,) between each site and the typed one before it, and the one behind it.
        Before the first typed site the first is 0, and behind the last one the second."""
        sites = torch.arange(len(self.place), device=self.place.device)
        before_S = torch.searchsorted(self.typed, sites, right=True) - 1
        behind_S = (before_S + 1).clamp(max=len(self.typed) - 1)
        near_S = torch.exp(
            -self.rate * (self.place - self.place[self.typed[before_S.clamp(min=0)]]).abs()
        )
        keep_S = torch.exp(-self.rate * (self.place - self.place[self.typed[behind_S]]).abs())
        near_S = torch.where(before_S < 0, 0, near_S)
        keep_S = torch.where(before_S == len(self.typed) - 1, 0, keep_S)
        return near_S.float(), keep_S.float()

    def imputed(self, one_BK: Tensor, own_B: Tensor) -> Tensor:
        """The probability (B, S) of allele 1."""
        if not len(self.typed):
            return self.reference.float().mean(1).expand(len(one_BK), -1)
        # The same haplotype is often drawn again, or met in others; sums in single precision may pass 1.
        keyed_BX = torch.cat([own_B[:, None].to(one_BK), one_BK], dim=1)
        unique_UX, which_B = torch.unique(keyed_BX, dim=0, return_inverse=True)
        one_UK, own_U = unique_UX[:, 1:].contiguous(), unique_UX[:, 0].long()
        found_US = self._copying.imputed(one_UK, own_U, self.between).clamp_(0, 1)
        return found_US[which_B]

    def copied(self, one_BK: Tensor, own_B: Tensor) -> tuple[Tensor, Tensor]:
        """See `ReducedCopying.copied`."""
        return self._copying.copied(one_BK, own_B)

    @cached_property
    def _copying(self) -> "ReducedCopying":
        from genomai_cli.population.networks.reduced_copying import ReducedCopying  # noqa: PLC0415 - it loads numba

        assert self.layout is not None
        return ReducedCopying(self.layout, self.stay, self.error)
