"""Haplotypes as mosaics of reference haplotypes: the copying model (Li and Stephens 2003, Genetics 165:2213).

A haplotype copies one reference haplotype after another; between two sites it switches to any of them, at a rate by
distance, and a copied allele is another one with a small probability. What it copies at untyped sites follows exactly
from all typed ones (forward-backward). Where genotypes have no phase:

1. Each of the two haplotypes is read with what the other is thought to have at heterozygotes, by turns, beginning with
   the allele frequencies; the first heterozygote is laid down.
2. The reference haplotypes that these two may copy anywhere, `STATES` of them, make a model of both haplotypes at once,
   whose states are their pairs (as Browning and Browning 2009, Am J Hum Genet 84:210, use fewer states).
3. Phases drawn from it are imputed like known ones, and their genotypes' probabilities averaged.

Shape suffixes: B individuals or haplotypes to impute, H reference haplotypes, S sites, K typed sites, J states; 2
haplotypes, 4 ordered pairs of their alleles 00 01 10 11.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

HAPLOTYPES_AT_ONCE = 32
PEOPLE_AT_ONCE = 16
MOST_TYPED = 400  # sites that are read, spread over the typed ones
TURNS = 2
STATES = 64
DRAWS = 3
SEED = 0x115
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
        """The alleles (H, S), 0 and 1."""
        bits_HS = np.unpackbits(self.packed.cpu().numpy(), axis=1, count=self.sites)
        return torch.from_numpy(bits_HS).to(self.place)

    @torch.no_grad()
    def pairs(self, alleles_B2S: Tensor, phased_B: Tensor, own_B: Tensor | None = None) -> Tensor:
        """The probabilities (B, S, 4) of ordered pairs of alleles, given those that are known, -1 the others, and of
        whom (B,) it is known which lies on which haplotype. With `own_B`, numbers of individuals among the reference,
        nobody copies that one.
        """
        found_BS4 = self.place.new_empty(len(alleles_B2S), self.sites, 4)
        own_B = torch.full_like(phased_B, -1, dtype=torch.int64) if own_B is None else own_B
        reference_HS = self.alleles()
        for phased, rows, typed_K in self._parts(alleles_B2S, phased_B):
            mosaic = Mosaic.of(self, reference_HS, typed_K)
            shown_B2K, own = alleles_B2S[rows][:, :, typed_K], own_B[rows]
            one_B2K = torch.where(shown_B2K < 0, 0.5, shown_B2K.to(self.place))
            draws = [one_B2K] if phased else mosaic.phases(one_B2K, own)
            found_BS4[rows] = torch.stack([self._pairs(mosaic, d, own) for d in draws]).mean(0)
        return found_BS4

    def _parts(
        self, alleles_B2S: Tensor, phased_B: Tensor
    ) -> Iterator[tuple[bool, Tensor, Tensor]]:
        """Individuals that are read together, all phased or none and typed at the same sites, and these sites: what is
        told of one depends on no other."""
        typed_BS = (alleles_B2S >= 0).any(1)
        apart_BS = (alleles_B2S >= 0).all(1) & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
        phased_B = phased_B | (apart_BS.sum(1) <= 1)  # one heterozygote may stand either way
        kinds_BX = torch.cat([phased_B[:, None], typed_BS], dim=1)
        patterns_GX, which_B = torch.unique(kinds_BX, dim=0, return_inverse=True)
        for number, pattern_X in enumerate(patterns_GX):
            phased = bool(pattern_X[0])
            size = HAPLOTYPES_AT_ONCE // 2 if phased else PEOPLE_AT_ONCE
            typed_K = pattern_X[1:].nonzero()[:, 0]
            if len(typed_K) > MOST_TYPED:
                some = torch.linspace(0, len(typed_K) - 1, MOST_TYPED, device=typed_K.device)
                typed_K = typed_K[some.round().long()]
            for rows in (which_B == number).nonzero()[:, 0].split(size):
                yield phased, rows, typed_K

    def _pairs(self, mosaic: "Mosaic", one_B2K: Tensor, own_B: Tensor) -> Tensor:
        """The pairs of haplotypes that are independent given the evidence (B, 2, K) for allele 1."""
        each_BS = mosaic.imputed(one_B2K.flatten(0, 1), own_B.repeat_interleave(2))
        return pairs_of(each_BS.view(len(one_B2K), 2, -1))


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
    """The copying model at `typed` sites (K,), with `alleles` (H, K) of the `reference` (H, S).

    Evidence is the probability that a haplotype would be read as it is if it had allele 1, over the sum of those with 1
    and with 0: 0.5 says nothing.
    """

    reference: Tensor
    place: Tensor
    typed: Tensor
    alleles: Tensor
    stay: Tensor  # no switch since the typed site before
    rate: float
    error: float

    @classmethod
    def of(cls, reference: HaplotypeReference, alleles_HS: Tensor, typed_K: Tensor) -> "Mosaic":
        """The model of the reference haplotypes."""
        place_K = reference.place[typed_K]
        rate, error = float(reference.rate), float(reference.error)
        stay_K = torch.exp(-rate * place_K.diff(prepend=place_K[:1]))
        return cls(
            alleles_HS, reference.place, typed_K, alleles_HS[:, typed_K], stay_K, rate, error
        )

    def imputed(self, one_BK: Tensor, own_B: Tensor) -> Tensor:
        """The probability (B, S) of allele 1."""
        if not len(self.typed):
            return self.reference.mean(0).expand(len(one_BK), -1)
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

    def phases(self, one_B2K: Tensor, own_B: Tensor) -> list[Tensor]:
        """Evidence (B, 2, K) for both haplotypes, of so many phases drawn of genotypes."""
        copies_BK = torch.where((one_B2K == 0.5).any(1), torch.nan, one_B2K.sum(1))
        states_BJ = self._states(copies_BK, own_B)
        draws = np.random.default_rng(SEED).random((DRAWS, len(self.typed)))
        pairs = Pairs(self.alleles[states_BJ], self.stay, self.error)
        return pairs.drawn(copies_BK, torch.from_numpy(draws).to(one_B2K))

    def _states(self, copies_BK: Tensor, own_B: Tensor) -> Tensor:
        """The reference haplotypes (B, J) that one of the two haplotypes copies, by how likely, on the whole and
        anywhere."""
        usual_BK = self.alleles.mean(0).clamp(0.001, 0.999).expand_as(copies_BK)
        first_BK = torch.zeros_like(copies_BK, dtype=torch.bool)
        first_BK.scatter_(1, (copies_BK == 1).long().argmax(1, keepdim=True), True)
        first_BK &= copies_BK == 1
        mass_BH = self._copied(_beside(copies_BK, usual_BK), own_B)[1]
        partner_BK = usual_BK
        for turn in range(2 * TURNS):
            laid = float(turn % 2 == 0)
            one_BK = torch.where(first_BK, laid, _beside(copies_BK, partner_BK))
            partner_BK, copied_BH = self._copied(one_BK, own_B)
            if turn >= 2 * TURNS - 2:
                mass_BH = mass_BH + copied_BH
        return mass_BH.topk(min(STATES, mass_BH.shape[1]), dim=1).indices

    def _copied(self, one_BK: Tensor, own_B: Tensor) -> tuple[Tensor, Tensor]:
        """The probability (B, K) of allele 1 by all other sites' evidence, and how much each haplotype is copied
        (B, H): its mean and its greatest probability."""
        ahead = list(self._ahead(one_BK, own_B))
        one_without_BK = torch.empty_like(one_BK)
        total_BH, most_BH = torch.zeros_like(ahead[0]), torch.zeros_like(ahead[0])
        after_BH = None
        for k in range(len(ahead) - 1, -1, -1):
            behind_BH = self._behind(after_BH, k + 1, like=ahead[k])
            without_BH = _normal(ahead[k] * behind_BH)
            share_B = without_BH @ self.alleles[:, k]
            one_without_BK[:, k] = share_B * (1 - self.error) + (1 - share_B) * self.error
            seen_BH = self._seen(one_BK, k)
            here_BH = _normal(without_BH * seen_BH)
            total_BH += here_BH
            most_BH = torch.maximum(most_BH, here_BH)
            after_BH = _scaled(behind_BH * seen_BH)
        return one_without_BK, total_BH / len(ahead) + most_BH

    def _ahead(self, one_BK: Tensor, own_B: Tensor) -> Iterator[Tensor]:
        """What is copied (B, H) at each typed site, by the sites before it."""
        count = len(self.alleles)
        allowed_BH = self._allowed(own_B)
        state_BH = _normal(
            allowed_BH if allowed_BH is not None else one_BK.new_ones(len(one_BK), count)
        )
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
        person_H = torch.arange(len(self.alleles), device=own_B.device) // 2
        return (person_H != own_B[:, None]).to(self.alleles)

    def _seen(self, one_BK: Tensor, k: int) -> Tensor:
        """How likely the evidence at a typed site is, by what is copied (B, H)."""
        one_B = one_BK[:, k]
        likely_B = one_B * (1 - self.error) + (1 - one_B) * self.error
        return (1 - likely_B)[:, None] + (2 * likely_B - 1)[:, None] * self.alleles[:, k]

    def _between(self, forward_BH: Tensor, after_BH: Tensor | None, begin: int, end: int) -> Tensor:
        """The probabilities (B, S) of the sites from a typed one, at `begin`, to before the next one."""
        copied_HS = self.reference[:, begin:end]
        stay_S = torch.exp(-self.rate * (self.place[begin:end] - self.place[begin]))
        alone_BS = stay_S * (forward_BH @ copied_HS) + (1 - stay_S) * copied_HS.mean(0)
        if after_BH is None:
            return alone_BS
        keep_S = torch.exp(-self.rate * (self.place[end] - self.place[begin:end]))
        both_BH = forward_BH * after_BH
        with_BS = stay_S * (both_BH @ copied_HS)
        with_BS = with_BS + (1 - stay_S) * (after_BH @ copied_HS) / len(copied_HS)
        total_BS = keep_S * (stay_S * both_BH.sum(1, keepdim=True) + 1 - stay_S) + 1 - keep_S
        mixed_BS: Tensor = (keep_S * with_BS + (1 - keep_S) * alone_BS) / total_BS
        return mixed_BS

    def _before(self, first_BH: Tensor, end: int) -> Tensor:
        """The probabilities (B, S) of the sites before the first typed one."""
        copied_HS = self.reference[:, :end]
        stay_S = torch.exp(-self.rate * (self.place[end] - self.place[:end]))
        before_BS: Tensor = stay_S * (first_BH @ copied_HS) + (1 - stay_S) * copied_HS.mean(0)
        return before_BS


@dataclass(frozen=True, eq=False)
class Pairs:
    """Both haplotypes of individuals at once, each a mosaic of `alleles` (B, J, K), the individual's own states."""

    alleles: Tensor
    stay: Tensor
    error: float

    def drawn(self, copies_BK: Tensor, draws_XK: Tensor) -> list[Tensor]:
        """Evidence (B, 2, K) for both haplotypes, for every row of numbers from 0 to 1 that choose one path."""
        forward = list(self._forward(copies_BK))
        return [self._evidence(copies_BK, self._path(forward, draws_K)) for draws_K in draws_XK]

    def _forward(self, copies_BK: Tensor) -> Iterator[Tensor]:
        """The probabilities (B, J, J) of what both copy at each site, given the sites up to it."""
        people, states = self.alleles.shape[:2]
        state_BJJ = copies_BK.new_full((people, states, states), states**-2)
        for k, stay in enumerate(self.stay.tolist()):
            if k:
                switch = (1 - stay) / states
                rows_B1J, columns_BJ1 = (state_BJJ.sum(d, keepdim=True) for d in (1, 2))
                either_BJJ = stay * switch * (rows_B1J + columns_BJ1) + switch**2
                state_BJJ = stay**2 * state_BJJ + either_BJJ
            state_BJJ = state_BJJ * self._seen(copies_BK[:, k], k)
            state_BJJ = state_BJJ / state_BJJ.sum((1, 2), keepdim=True).clamp(min=LEAST)
            yield state_BJJ

    def _seen(self, copies_B: Tensor, k: int) -> Tensor:
        """How likely genotypes are (B, J, J), by what is copied; 1 where unknown."""
        allele_BJ = self.alleles[:, :, k]
        one_BJ = allele_BJ * (1 - self.error) + (1 - allele_BJ) * self.error
        both_BJJ = one_BJ[:, :, None] * one_BJ[:, None, :]
        either_BJJ = one_BJ[:, :, None] + one_BJ[:, None, :]
        copies_B11 = copies_B[:, None, None]
        seen_BJJ = torch.where(copies_B11 == 1, either_BJJ - 2 * both_BJJ, both_BJJ)
        seen_BJJ = torch.where(copies_B11 == 0, 1 - either_BJJ + both_BJJ, seen_BJJ)
        return seen_BJJ.masked_fill(copies_B11.isnan(), 1.0)

    def _path(self, forward: list[Tensor], draws_K: Tensor) -> Tensor:
        """The alleles (B, 2, K) of what both copy, drawn from the last site to the first."""
        people, states = self.alleles.shape[:2]
        rows_B = torch.arange(people, device=draws_K.device)
        path_B2K = self.alleles.new_empty(people, 2, len(forward))
        next_2: tuple[Tensor, Tensor] | None = None
        for k in range(len(forward) - 1, -1, -1):
            weight_BJJ = forward[k]
            if next_2 is not None:
                stay = float(self.stay[k + 1])
                to_2BJ = weight_BJJ.new_full((2, people, states), (1 - stay) / states)
                for side, number_B in enumerate(next_2):
                    to_2BJ[side, rows_B, number_B] += stay
                weight_BJJ = weight_BJJ * to_2BJ[0, :, :, None] * to_2BJ[1, :, None, :]
            total_BX = weight_BJJ.flatten(1).double().cumsum(1)
            wanted_B1 = total_BX[:, -1:] * draws_K[k].double()
            chosen_B = torch.searchsorted(total_BX, wanted_B1)[:, 0].clamp(max=states**2 - 1)
            next_2 = (chosen_B // states, chosen_B % states)
            for side, number_B in enumerate(next_2):
                path_B2K[:, side, k] = self.alleles[rows_B, number_B, k]
        return path_B2K

    @staticmethod
    def _evidence(copies_BK: Tensor, path_B2K: Tensor) -> Tensor:
        """What the genotypes say of each haplotype: of heterozygotes as the path has them, and nothing where that has
        one allele twice."""
        copies_B1K = copies_BK[:, None]
        placed = (copies_B1K == 1) & (path_B2K.sum(1, keepdim=True) == 1)
        one_B2K = torch.where(placed, path_B2K, 0.5)
        one_B2K = torch.where(copies_B1K == 0, 0.0, one_B2K)
        return torch.where(copies_B1K == 2, 1.0, one_B2K)


def _beside(copies_BK: Tensor, partner_BK: Tensor) -> Tensor:
    """The evidence (B, K) of genotypes for allele 1 of a haplotype whose partner has it with these probabilities."""
    one_BK = torch.where(copies_BK == 1, 1 - partner_BK, 0.5)
    one_BK = torch.where(copies_BK == 0, 0.0, one_BK)
    return torch.where(copies_BK == 2, 1.0, one_BK)


def _normal(state_BH: Tensor) -> Tensor:
    """With a sum of 1."""
    return state_BH / state_BH.sum(1, keepdim=True).clamp(min=LEAST)


def _scaled(state_BH: Tensor) -> Tensor:
    """With a mean of 1."""
    return state_BH / state_BH.mean(1, keepdim=True).clamp(min=LEAST)
