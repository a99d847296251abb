"""Haplotypes as mosaics of reference haplotypes: the copying model (Li and Stephens 2003, Genetics 165:2213).

A haplotype copies one reference haplotype after another; between two sites it switches to any of them, at a rate by
distance, and a copied allele is another one with a small probability. What it copies at untyped sites follows exactly
from all typed ones (forward-backward). Genotypes without phase, and those of which only likelihoods are known, are
phased first: see `haplotype_phases`. Where `numba` is installed, `copying_kernel` does the work in single precision.

Shape suffixes: B individuals or haplotypes to impute, H reference haplotypes, S sites, K typed sites; 2 haplotypes, 3
genotypes, 4 ordered pairs of their alleles 00 01 10 11.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genomai_cli.population.networks import copying_kernel
from genomai_cli.population.networks.haplotype_phases import phases, wide_states

HAPLOTYPES_AT_ONCE = 32
MOST_TYPED = 600  # sites of known alleles that are read, spread over the typed ones
APART = 1e9  # bases between contigs: nothing is copied across
LEAST = 1e-30


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
        self.register_buffer("packed", torch.zeros(haplotypes, -(-sites // 8), dtype=torch.uint8))
        self.register_buffer("place", torch.zeros(sites))
        self.register_buffer("rate", torch.tensor(1e-6))
        self.register_buffer("error", torch.tensor(1e-3))

    def learn(self, alleles_N2S: Tensor, place_S: Tensor) -> None:
        """Take over the haplotypes of individuals, and the sites' places."""
        alleles_HS = alleles_N2S.flatten(0, 1)
        known_HS = alleles_HS >= 0
        ones_S = (alleles_HS * known_HS).sum(0)
        usual_S = (2 * ones_S > known_HS.sum(0)).to(alleles_HS.dtype)
        whole_HS = torch.where(known_HS, alleles_HS, usual_S).cpu().numpy().astype(np.uint8)
        self.packed.copy_(torch.from_numpy(np.packbits(whole_HS, axis=1)))
        self.place.copy_(place_S - place_S[0])

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
        single = copying_kernel.is_compiled(
            self.place.float()
        )  # models are read in double precision
        place = self.place.float() if single else self.place
        told_BS3 = likelihoods_of(alleles_B2S, likelihoods_BS3).to(place)
        reference_SH = self.alleles().T.contiguous()
        for phased, rows, typed_K in self._parts(alleles_B2S, phased_B, told_BS3):
            mosaic = Mosaic(reference_SH, place, typed_K, float(self.rate), float(self.error))
            if phased:
                shown_B2K = alleles_B2S[rows][:, :, typed_K]
                one_B2K = torch.where(shown_B2K < 0, 0.5, shown_B2K.to(place))
                found_BS4[rows] = _pairs(mosaic, one_B2K, own_B[rows]).to(found_BS4)
            else:
                told_BK3 = told_BS3[rows][:, typed_K]
                found_BS4[rows] = _without_phase(mosaic, told_BK3, own_B[rows]).to(found_BS4)
        return found_BS4

    def _parts(
        self, alleles_B2S: Tensor, phased_B: Tensor, told_BS3: Tensor
    ) -> Iterator[tuple[bool, Tensor, Tensor]]:
        """Individuals that are read together, all phased or none and typed at the same sites, and these sites: what is
        told of one depends on no other."""
        known_BS = (alleles_B2S >= 0).any(1)
        soft_BS = ~known_BS & (told_BS3 != told_BS3[..., :1]).any(2)
        apart_BS = (alleles_B2S >= 0).all(1) & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
        phased_B = phased_B | (apart_BS.sum(1) <= 1)  # one heterozygote may stand either way
        soft_B = soft_BS.any(1)
        kinds_BX = torch.stack([phased_B & ~soft_B, soft_B], dim=1)
        kinds_BX = torch.cat([kinds_BX, known_BS | soft_BS], dim=1)
        patterns_GX, which_B = torch.unique(kinds_BX, dim=0, return_inverse=True)
        for number, pattern_X in enumerate(patterns_GX):
            phased, soft = pattern_X[:2].tolist()
            typed_K = pattern_X[2:].nonzero()[:, 0]
            if len(typed_K) > MOST_TYPED and not soft:
                some = torch.linspace(0, len(typed_K) - 1, MOST_TYPED, device=typed_K.device)
                typed_K = typed_K[some.round().long()]
            size = max(1, HAPLOTYPES_AT_ONCE * MOST_TYPED // (2 * max(len(typed_K), MOST_TYPED)))
            rows_B = (which_B == number).nonzero()[:, 0]
            if copying_kernel.is_compiled(told_BS3):
                size = len(rows_B)
            for rows in rows_B.split(size):
                yield phased, rows, typed_K


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
    """The mean over phases drawn, each imputed like known ones, from the states that the individual may copy."""
    draws_BX2K, states_BW = phases(mosaic, told_BK3, own_B)
    found = []
    for one_X2K, states_W, own in zip(draws_BX2K, states_BW, own_B[:, None], strict=True):
        few = mosaic if wide_states(mosaic) is None else mosaic.of_states(states_W)
        nobody = own if few is mosaic else torch.full_like(own, -1)  # no state is its own
        found.append(_pairs(few, one_X2K, nobody.expand(len(one_X2K))).mean(0))
    return torch.stack(found)


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
    """The copying model at `typed` sites (K,) of the `reference` (S, H), whose sites lie at `place` (S,).

    Evidence is the probability that a haplotype would be read as it is if it had allele 1, over the sum of those with 1
    and with 0: 0.5 says nothing.
    """

    reference: Tensor
    place: Tensor
    typed: Tensor
    rate: float
    error: float

    def of_states(self, states_W: Tensor) -> "Mosaic":
        """The same with some of the reference haplotypes."""
        reference_SW = self.by_haplotype[states_W].T.contiguous()
        return Mosaic(reference_SW, self.place, self.typed, self.rate, self.error)

    @cached_property
    def by_haplotype(self) -> Tensor:
        """The reference (H, S), one haplotype after another."""
        return self.reference.T.contiguous()

    @cached_property
    def alleles(self) -> Tensor:
        """Those at the typed sites (K, H)."""
        return self.reference[self.typed].to(self.place)

    @cached_property
    def stay(self) -> Tensor:
        """How likely there is no switch (K,) since the typed site before."""
        place_K = self.place[self.typed]
        return torch.exp(-self.rate * place_K.diff(prepend=place_K[:1]))

    @cached_property
    def between(self) -> tuple[Tensor, Tensor, Tensor]:
        """How likely there is no switch (S,) between each site and the typed one before it, and the one behind it; and
        how frequent allele 1 is. Before the first typed site the first is that of the one behind."""
        sites = torch.arange(len(self.place), device=self.place.device)
        before_S = torch.searchsorted(self.typed, sites, right=True) - 1
        behind_S = (before_S + 1).clamp(max=len(self.typed) - 1)
        near_S = torch.exp(
            -self.rate * (self.place - self.place[self.typed[before_S.clamp(min=0)]]).abs()
        )
        keep_S = torch.exp(-self.rate * (self.place - self.place[self.typed[behind_S]]).abs())
        return near_S, keep_S, self.mean

    @cached_property
    def mean(self) -> Tensor:
        """How frequent allele 1 is (S,)."""
        return self.reference.sum(1).to(self.place) / self.reference.shape[1]

    def imputed(self, one_BK: Tensor, own_B: Tensor) -> Tensor:
        """The probability (B, S) of allele 1."""
        if not len(self.typed):
            return self.mean.expand(len(one_BK), -1)
        # The sums of thousands of states in single precision pass 1 by some 1e-4.
        return self._from_typed(one_BK, own_B).clamp_(0, 1)

    def _from_typed(self, one_BK: Tensor, own_B: Tensor) -> Tensor:
        if copying_kernel.is_compiled(self.place):
            parts = [self.reference[self.typed], self.stay, *self.between]
            arrays = [part.numpy() for part in parts]
            evidence = (one_BK.numpy(), own_B.numpy(), self.error)
            found = copying_kernel.imputed(
                self.reference.numpy(), self.typed.numpy(), arrays, *evidence
            )
            return torch.from_numpy(found)
        return self._imputed(one_BK, own_B)

    def _imputed(self, one_BK: Tensor, own_B: Tensor) -> Tensor:
        ahead = list(self._ahead(one_BK, own_B))
        found_BS = one_BK.new_empty(len(one_BK), len(self.place))
        after_BH = None
        end = len(self.place)
        for k in range(len(self.typed) - 1, -1, -1):
            begin, seen_BH = int(self.typed[k]), self._seen(one_BK, k)
            forward_BH = _normal(ahead[k] * seen_BH)
            found_BS[:, begin:end] = self._between(forward_BH, after_BH, begin, end)
            behind_BH = self._behind(after_BH, k + 1, like=forward_BH)
            after_BH = _scaled(behind_BH * seen_BH)
            end = begin
        if end:
            found_BS[:, :end] = self._before(_normal(forward_BH * behind_BH), end)
        return found_BS

    def copied(self, one_BK: Tensor, own_B: Tensor) -> tuple[Tensor, Tensor]:
        """The probability (B, K) of allele 1 by all other sites' evidence, and how much each haplotype is copied
        (B, H): its mean and its greatest probability."""
        if copying_kernel.is_compiled(self.place):
            alleles_KH, stay_K = self.reference[self.typed].numpy(), self.stay.numpy()
            evidence = (one_BK.numpy(), own_B.numpy(), self.error)
            without_BK, mass_BH = copying_kernel.copied(alleles_KH, stay_K, *evidence)
            return torch.from_numpy(without_BK), torch.from_numpy(mass_BH)
        return self._copied(one_BK, own_B)

    def _copied(self, one_BK: Tensor, own_B: Tensor) -> tuple[Tensor, Tensor]:
        ahead = list(self._ahead(one_BK, own_B))
        one_without_BK = torch.empty_like(one_BK)
        total_BH, most_BH = torch.zeros_like(ahead[0]), torch.zeros_like(ahead[0])
        after_BH = None
        for k in range(len(ahead) - 1, -1, -1):
            behind_BH = self._behind(after_BH, k + 1, like=ahead[k])
            without_BH = _normal(ahead[k] * behind_BH)
            share_B = (without_BH @ self.alleles[k]).clamp(max=1)
            one_without_BK[:, k] = share_B * (1 - self.error) + (1 - share_B) * self.error
            seen_BH = self._seen(one_BK, k)
            here_BH = _normal(without_BH * seen_BH)
            total_BH += here_BH
            most_BH = torch.maximum(most_BH, here_BH)
            after_BH = _scaled(behind_BH * seen_BH)
        return one_without_BK, total_BH / len(ahead) + most_BH

    def _ahead(self, one_BK: Tensor, own_B: Tensor) -> Iterator[Tensor]:
        """What is copied (B, H) at each typed site, by the sites before it."""
        count = self.alleles.shape[1]
        allowed_BH = self._allowed(own_B)
        state_BH = one_BK.new_full((len(one_BK), count), 1 / count)
        for k, stay in enumerate(self.stay.tolist()):
            if k:
                state_BH = _normal(state_BH * self._seen(one_BK, k - 1))
                state_BH = stay * state_BH + (1 - stay) / count
            if allowed_BH is not None:
                state_BH = state_BH * allowed_BH
            yield state_BH

    def _behind(self, after_BH: Tensor | None, k: int, like: Tensor) -> Tensor:
        """How likely the evidence at the typed sites from `k` on is, by what is copied at the one before."""
        if after_BH is None:
            return torch.ones_like(like)
        stay = float(self.stay[k])
        return stay * after_BH + (1 - stay)

    def _allowed(self, own_B: Tensor) -> Tensor | None:
        """1 for the haplotypes (B, H) that may be copied, 0 for those of the individual itself."""
        if not bool((own_B >= 0).any()):
            return None
        person_H = torch.arange(self.alleles.shape[1], device=own_B.device) // 2
        return (person_H != own_B[:, None]).to(self.alleles)

    def _seen(self, one_BK: Tensor, k: int) -> Tensor:
        """How likely the evidence at a typed site is, by what is copied (B, H)."""
        one_B = one_BK[:, k]
        likely_B = one_B * (1 - self.error) + (1 - one_B) * self.error
        return (1 - likely_B)[:, None] + (2 * likely_B - 1)[:, None] * self.alleles[k]

    def _between(self, forward_BH: Tensor, after_BH: Tensor | None, begin: int, end: int) -> Tensor:
        """The probabilities (B, S) of the sites from a typed one, at `begin`, to before the next one."""
        copied_HS = self.reference[begin:end].to(forward_BH).T
        near_S, keep_S, mean_S = (part[begin:end] for part in self.between)
        alone_BS = near_S * (forward_BH @ copied_HS) + (1 - near_S) * mean_S
        if after_BH is None:
            return alone_BS
        both_BH = forward_BH * after_BH
        with_BS = near_S * (both_BH @ copied_HS)
        with_BS = with_BS + (1 - near_S) * (after_BH @ copied_HS) / len(copied_HS)
        total_BS = keep_S * (near_S * both_BH.sum(1, keepdim=True) + 1 - near_S) + 1 - keep_S
        mixed_BS: Tensor = (keep_S * with_BS + (1 - keep_S) * alone_BS) / total_BS
        return mixed_BS

    def _before(self, first_BH: Tensor, end: int) -> Tensor:
        """The probabilities (B, S) of the sites before the first typed one."""
        near_S, _, mean_S = (part[:end] for part in self.between)
        copied_HS = self.reference[:end].to(first_BH).T
        before_BS: Tensor = near_S * (first_BH @ copied_HS) + (1 - near_S) * mean_S
        return before_BS


def _normal(state_BH: Tensor) -> Tensor:
    """With a sum of 1."""
    return state_BH / state_BH.sum(1, keepdim=True).clamp(min=LEAST)


def _scaled(state_BH: Tensor) -> Tensor:
    """With a mean of 1."""
    return state_BH / state_BH.mean(1, keepdim=True).clamp(min=LEAST)
