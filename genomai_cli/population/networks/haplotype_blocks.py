"""Forward-backward of the copying model in few states: haplotypes that are alike at a block of typed sites are one.

At site k of a block the probability of copying haplotype j is A_k(u) a(j) + B_k(u): a is what it was where the block
begins, u the state of j, which is its alleles at the typed sites of the block. What the sites behind k say is
C_k(u) b(j) + D_k(u), with b of the block behind. So sites are walked in states, of which there are few, and haplotypes
only from block to block; the sums of a, b and ab over haplotypes of one kind, alike at all sites of the block, serve
all its sites. Nothing is approximated (the reduction of states of Das et al. 2016, Nat Genet 48:1284, in which the
untyped sites do not matter to the walk).

Shape suffixes: B haplotypes to impute, H reference haplotypes, S sites, K typed sites, U states and V kinds of
haplotypes of a block; 2 coefficients, of a or b and of 1; 3 sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LEAST_KINDS, KINDS_SHARE = 16, 1 / 12  # of a block: a longer one has fewer walks over haplotypes
LONGEST = 64  # typed sites of a block, which grows by the typed ones of so many sites
STEP = 20
MOST_AT_ONCE, VALUES_AT_ONCE = (
    128,
    1 << 23,
)  # haplotypes to impute, and values that are kept of them
TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Block:
    """The `typed` sites (of all typed ones) from one to before another, and the `sites` (of all) that are told by it.

    The `state` and the `kind` (H,) of each haplotype, the `order` (H,) of kinds, which is that of states as well, where
    in it each kind (V,) begins, the state of each kind, the first kind of each state (U,); whether states have allele
    `one` (K, U) at typed sites, the `alleles` (S, V) of kinds at all, and where in these each typed site `begins`.
    """

    typed: slice
    sites: slice
    state: Tensor
    kind: Tensor
    order: Tensor
    first_of_kind: Tensor
    state_of_kind: Tensor
    first_of_state: Tensor
    one: Tensor
    alleles: Tensor
    begins: Sequence[int]

    def by_kind(self, values_HB: Tensor) -> Tensor:
        """The sums (V, B) over the haplotypes of each kind."""
        return functional.embedding_bag(self.order, values_HB, self.first_of_kind, mode="sum")

    def by_state(self, values_VB: Tensor) -> Tensor:
        """The sums (U, B) over the kinds of each state."""
        kinds = torch.arange(len(values_VB), device=values_VB.device)
        return functional.embedding_bag(kinds, values_VB, self.first_of_state, mode="sum")


def _block(
    reference_SH: Tensor,
    typed: slice,
    at_K: NDArray[np.int64],
    sites: slice,
    kind_H: NDArray[np.int64],
) -> Block:
    """`kind_H` numbers haplotypes that are alike at the sites, `at_K` says which of the sites are typed."""
    device, typed_KH = reference_SH.device, reference_SH[torch.from_numpy(at_K)].cpu().numpy()
    state_H = refined(np.zeros_like(kind_H), typed_KH)
    _, one_of_V = np.unique(kind_H, return_index=True)
    by_state_V = np.argsort(state_H[one_of_V], kind="stable")
    kind_H, one_of_V = np.argsort(by_state_V)[kind_H], one_of_V[by_state_V]
    state_V = state_H[one_of_V]
    order_H = np.argsort(kind_H, kind="stable")
    first_V = np.searchsorted(kind_H[order_H], np.arange(len(one_of_V)))
    first_U = np.searchsorted(state_V, np.arange(state_V[-1] + 1))
    return Block(
        typed=typed,
        sites=sites,
        state=torch.from_numpy(state_H).to(device),
        kind=torch.from_numpy(kind_H).to(device),
        order=torch.from_numpy(order_H).to(device),
        first_of_kind=torch.from_numpy(first_V).to(device),
        state_of_kind=torch.from_numpy(state_V).to(device),
        first_of_state=torch.from_numpy(first_U).to(device),
        one=torch.from_numpy(typed_KH[:, one_of_V[first_U]] > 0).to(device),
        alleles=reference_SH[sites][:, torch.from_numpy(one_of_V).to(device)].float(),
        begins=(at_K - sites.start).tolist(),
    )


def refined(kind_H: NDArray[np.int64], rows_SH: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers of haplotypes, of which two are the same if they were before and alleles in all these rows are."""
    for byte_H in np.packbits(rows_SH, axis=0):
        key_H = kind_H << 8 | byte_H
        there = np.zeros(int(key_H.max()) + 1, np.bool_)
        there[key_H] = True
        keys = np.flatnonzero(there)
        number = np.empty(len(there), np.int64)
        number[keys] = np.arange(len(keys))
        kind_H = number[key_H]
    return kind_H


def blocks_of(reference_SH: Tensor, typed_K: Tensor) -> list[Block]:
    """Blocks of neighbouring typed sites, as long as few kinds of haplotypes are in each."""
    reference, typed = reference_SH.cpu().numpy(), typed_K.cpu().numpy()
    sites, count = reference.shape
    most = max(LEAST_KINDS, int(count * KINDS_SHARE))
    begins, ends = np.append(0, typed[1:]), np.append(typed[1:], sites)
    found, first, kind_H = [], 0, np.zeros(count, np.int64)
    step = max(1, STEP * len(typed) // sites)
    for k in range(0, len(typed), step):
        last = min(k + step, len(typed))
        more = reference[begins[k] : ends[last - 1]]
        more_H = refined(kind_H, more)
        if k > first and (more_H.max() >= most or last - first > LONGEST):
            found.append((first, k, kind_H))
            first, more_H = k, refined(np.zeros_like(kind_H), more)
        kind_H = more_H
    found.append((first, len(typed), kind_H))
    return [
        _block(
            reference_SH, slice(a, b), typed[a:b], slice(int(begins[a]), int(ends[b - 1])), kinds
        )
        for a, b, kinds in found
    ]


@dataclass(frozen=True, eq=False)
class Walked:
    """A block, walked in both directions: a and b (H, B), their coefficients (K, 2, U, B) at each typed site with the
    evidence of the site in the first, and in the second that of all sites behind it, or of the next one too; the
    evidence (K, U, B), and how many haplotypes a kind (V, 1 or B) has."""

    block: Block
    alpha: Tensor
    beta: Tensor
    forward: Tensor
    behind: Tensor
    after_next: Tensor
    seen: Tensor
    counts: Tensor

    def sums(self, product: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of a, b and ab by kind (V, B); `product` (H, B) is written over."""
        torch.mul(self.alpha, self.beta, out=product)
        alpha, beta, both = (self.block.by_kind(x) for x in (self.alpha, self.beta, product))
        return alpha, beta, both


class ReducedCopying:
    """The copying model of reference haplotypes (S, H) at `typed` sites: how likely (K,) there is no switch since the
    site before, and its error."""

    def __init__(self, blocks: Sequence[Block], stay_K: Tensor, error: float) -> None:
        self.blocks, self.error = blocks, error
        self._stay: list[float] = [*stay_K.tolist(), 0.0]
        self._count = len(blocks[0].state)

    def _parts(
        self, one_BK: Tensor, own_B: Tensor
    ) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Haplotypes that are walked at once: which ones, how likely (K, B) evidence is where allele 1 is copied, and
        whose own haplotypes (B,) are left out."""
        fits = VALUES_AT_ONCE // (len(self.blocks) * self._count)
        size = min(MOST_AT_ONCE, max(8, fits))
        for begin in range(0, len(one_BK), size):
            part = slice(begin, begin + size)
            one_KB = one_BK[part].T
            likely_KB = one_KB * (1 - self.error) + (1 - one_KB) * self.error
            yield part, likely_KB, own_B[part] if bool((own_B[part] >= 0).any()) else None

    def imputed(self, one_BK: Tensor, own_B: Tensor, between: Sequence[Tensor]) -> Tensor:
        """The probability (B, S) of allele 1; see `haplotype_copying.Mosaic.between`."""
        near_S1, keep_S1 = (part[:, None] for part in between)
        both_S1, alone_S1 = keep_S1 * near_S1, (1 - keep_S1) * (1 - near_S1)
        by_three_S31 = torch.stack(
            [(1 - keep_S1) * near_S1, keep_S1 * (1 - near_S1), both_S1], dim=1
        )
        found_BS = one_BK.new_empty(len(one_BK), len(near_S1))
        for rows, likely_KB, left_out_B in self._parts(one_BK, own_B):
            each = self._each(left_out_B)
            product_HB = likely_KB.new_empty(self._count, likely_KB.shape[1])
            for walked in self._walk(likely_KB, left_out_B):
                block = walked.block
                sums = walked.sums(product_HB)
                mean_SB = block.alleles @ walked.counts * each
                said_S3B, together_SB = _between(walked, sums)
                said_S3B[:, 1] *= each
                first = block.begins[0]
                at = slice(block.sites.start + first, block.sites.stop)
                told_SB = (said_S3B * by_three_S31[at]).sum(1) + alone_S1[at] * mean_SB[first:]
                found_BS[rows, at] = (told_SB / (1 + both_S1[at] * (together_SB - 1))).T
                if first:
                    here_VB = _here(walked, sums, 0)
                    said_SB = block.alleles[:first] @ here_VB / here_VB.sum(0).clamp(min=TINY)
                    near_F1 = near_S1[:first]
                    told_SB = near_F1 * said_SB + (1 - near_F1) * mean_SB[:first]
                    found_BS[rows, :first] = told_SB.T
        return found_BS

    def copied(self, one_BK: Tensor, own_B: Tensor) -> tuple[Tensor, Tensor]:
        """The probability (B, K) of allele 1 by all other sites' evidence, and how much each haplotype is copied
        (B, H): its mean probability, and the greatest of the means of blocks."""
        without_BK = torch.empty_like(one_BK)
        mass_BH = one_BK.new_empty(len(one_BK), self._count)
        typed = one_BK.shape[1]
        for rows, likely_KB, left_out_B in self._parts(one_BK, own_B):
            product_HB, total_HB, most_HB = likely_KB.new_zeros(3, self._count, likely_KB.shape[1])
            for walked in self._walk(likely_KB, left_out_B):
                block = walked.block
                by_state = map(block.by_state, (*walked.sums(product_HB), walked.counts))
                pairs = _products(walked.forward, walked.behind)
                here_KUB = _mixed(pairs, *by_state)
                without_KUB = here_KUB / walked.seen
                one_KB = (without_KUB * block.one[..., None]).sum(1)
                share_KB = (one_KB / without_KUB.sum(1).clamp(min=TINY)).clamp(max=1)
                likely = share_KB * (1 - self.error) + (1 - share_KB) * self.error
                without_BK[rows, block.typed] = likely.T
                scale_K1B = 1 / here_KUB.sum(1, keepdim=True).clamp(min=TINY)
                of_both, of_alpha, of_beta, of_one = (
                    (x * scale_K1B).sum(0)[block.state] for x in pairs
                )
                here_HB = of_one.addcmul_(of_both, product_HB).addcmul_(of_alpha, walked.alpha)
                here_HB.addcmul_(of_beta, walked.beta)
                _leave_out(here_HB, left_out_B)
                total_HB += here_HB
                most_HB = torch.maximum(most_HB, here_HB / len(walked.seen))
            mass_BH[rows] = (total_HB / typed + most_HB).T
        return without_BK, mass_BH

    def _each(self, own_B: Tensor | None) -> Any:
        """The share of each haplotype (B, or one for all) where any may be copied."""
        return 1 / self._count if own_B is None else 1 / (self._count - 2 * (own_B >= 0).float())

    def _walk(self, likely_KB: Tensor, own_B: Tensor | None) -> Iterator[Walked]:
        """The blocks from the last to the first, those before having been walked forward."""
        each, size = self._each(own_B), likely_KB.shape[1]
        one_2 = likely_KB.new_tensor([1.0, 0.0])[:, None, None]
        alpha_XHB = likely_KB.new_empty(len(self.blocks), self._count, size)
        alpha_XHB[0] = each
        kept = []
        for number, block in enumerate(self.blocks):
            alpha_HB = alpha_XHB[number]
            _leave_out(alpha_HB, own_B)
            likely_K1B = likely_KB[block.typed][:, None]
            seen_KUB = torch.where(block.one[..., None], likely_K1B, 1 - likely_K1B)
            counts_VB = _counts(block, own_B, likely_KB)
            counts_UB = block.by_state(counts_VB).expand(-1, size)
            weight_2UB = torch.stack([block.by_state(block.by_kind(alpha_HB)), counts_UB])
            forward_K2UB = likely_KB.new_empty(len(seen_KUB), *weight_2UB.shape)
            state_2UB = one_2.expand_as(weight_2UB)
            for number_k, (seen_UB, found_2UB) in enumerate(
                zip(seen_KUB, forward_K2UB, strict=True)
            ):
                state_2UB = state_2UB * seen_UB
                total_B = (state_2UB * weight_2UB).sum((0, 1)).clamp_(min=TINY)
                torch.div(state_2UB, total_B, out=found_2UB)
                stay = self._stay[block.typed.start + number_k + 1]
                state_2UB = found_2UB * stay
                state_2UB[1] += (1 - stay) * each
            kept.append((seen_KUB, counts_VB, counts_UB, forward_K2UB))
            if number + 1 < len(self.blocks):
                _expanded(state_2UB, block.state, alpha_HB, alpha_XHB[number + 1])
        beta_HB, other_HB = torch.zeros_like(alpha_XHB[0]), torch.empty_like(alpha_XHB[0])
        next_2 = 1 - one_2
        for number in range(len(self.blocks) - 1, -1, -1):
            block = self.blocks[number]
            seen_KUB, counts_VB, counts_UB, forward_K2UB = kept.pop()
            weight_2UB = torch.stack([block.by_state(block.by_kind(beta_HB)), counts_UB])
            after_K2UB = likely_KB.new_empty(len(seen_KUB) + 1, *weight_2UB.shape)
            behind_K2UB = torch.empty_like(forward_K2UB)
            after_K2UB[-1] = next_2
            for k in range(len(seen_KUB) - 1, -1, -1):
                stay = self._stay[block.typed.start + k + 1]
                behind_2UB = torch.mul(after_K2UB[k + 1], stay, out=behind_K2UB[k])
                behind_2UB[1] += 1 - stay
                after_2UB = behind_2UB * seen_KUB[k]
                mean_B = (after_2UB * weight_2UB).sum((0, 1)).mul_(each).clamp_(min=TINY)
                torch.div(after_2UB, mean_B, out=after_K2UB[k])
            yield Walked(block, alpha_XHB[number], beta_HB, forward_K2UB, behind_K2UB,
                         after_K2UB[1:], seen_KUB, counts_VB)  # fmt: skip
            _expanded(after_K2UB[0], block.state, beta_HB, other_HB)
            _leave_out(other_HB, own_B)
            beta_HB, other_HB, next_2 = other_HB, beta_HB, one_2


def _expanded(state_2UB: Tensor, state_H: Tensor, values_HB: Tensor, out: Tensor) -> None:
    """The coefficients of each haplotype's state applied to its value (H, B)."""
    torch.index_select(state_2UB[1], 0, state_H, out=out)
    out.addcmul_(state_2UB[0].index_select(0, state_H), values_HB)


def _leave_out(values_HB: Tensor, own_B: Tensor | None) -> None:
    """0 for both haplotypes of the individuals (B,) of the reference themselves, where they are any."""
    if own_B is not None:
        rows_B = (own_B >= 0).nonzero()[:, 0]
        for haplotype in range(2):
            values_HB[2 * own_B[rows_B] + haplotype, rows_B] = 0


def _counts(block: Block, own_B: Tensor | None, like: Tensor) -> Tensor:
    """How many haplotypes there are of each kind (V, 1), or (V, B) without an individual's own."""
    sizes_V1 = torch.bincount(block.kind).to(like)[:, None]
    if own_B is None:
        return sizes_V1
    counts_VB = sizes_V1.repeat(1, len(own_B))
    rows_B = (own_B >= 0).nonzero()[:, 0]
    for haplotype in range(2):
        kinds_B = block.kind[2 * own_B[rows_B] + haplotype]
        counts_VB.index_put_((kinds_B, rows_B), counts_VB.new_tensor(-1.0), accumulate=True)
    return counts_VB


def _products(one: Tensor, other: Tensor) -> list[Tensor]:
    """The coefficients (K, U, B) of ab, a, b and 1 in the product of two that have these (K, 2, U, B)."""
    return [one[:, i] * other[:, j] for i in range(2) for j in range(2)]


def _mixed(
    pairs: Sequence[Tensor], alpha: Tensor, beta: Tensor, both: Tensor, counts: Tensor
) -> Tensor:
    """The products of coefficients with what they are of."""
    return pairs[0] * both + pairs[1] * alpha + pairs[2] * beta + pairs[3] * counts


def _here(walked: Walked, sums: tuple[Tensor, Tensor, Tensor], k: int) -> Tensor:
    """How much haplotypes of each kind are copied at a typed site (V, B), by all evidence."""
    state_V, at = walked.block.state_of_kind, slice(k, k + 1)
    pairs = [x[0, state_V] for x in _products(walked.forward[at], walked.behind[at])]
    return _mixed(pairs, *sums, walked.counts)


def _between(walked: Walked, sums: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Of each site from the first typed one on, the sums over haplotypes with allele 1 (S, 3, B) of how much they are
    copied at the typed site before it, of what the next one says, and of their product; and that of the product over
    all haplotypes (S, B)."""
    alpha, beta, both = sums
    block, counts = walked.block, walked.counts
    kinds, size = alpha.shape
    weight_V3B, of_VB = alpha.new_empty(kinds, 3, size), alpha.new_empty(2, kinds, size)
    copied, behind, product = weight_V3B.unbind(1)
    to_alpha, to_one = of_VB
    begin_K = [*block.begins, len(block.alleles)]
    said_S3B = alpha.new_empty(begin_K[-1] - begin_K[0], 3, size)
    together_SB = alpha.new_empty(len(said_S3B), size)
    for k, (forward_2UB, after_2UB) in enumerate(
        zip(walked.forward, walked.after_next, strict=True)
    ):
        for coefficient, out in zip(forward_2UB, of_VB, strict=True):
            torch.index_select(coefficient, 0, block.state_of_kind, out=out)
        torch.mul(to_alpha, alpha, out=copied).addcmul_(to_one, counts)
        mixed = to_alpha.mul_(both).addcmul_(to_one, beta)
        of_beta = of_one = to_one
        torch.index_select(after_2UB[0], 0, block.state_of_kind, out=of_beta)
        mixed.mul_(of_beta)
        torch.mul(of_beta, beta, out=behind)
        torch.index_select(after_2UB[1], 0, block.state_of_kind, out=of_one)
        behind.addcmul_(of_one, counts)
        torch.addcmul(mixed, of_one, copied, out=product)
        sites = slice(begin_K[k] - begin_K[0], begin_K[k + 1] - begin_K[0])
        alleles_SV = block.alleles[begin_K[k] : begin_K[k + 1]]
        torch.mm(alleles_SV, weight_V3B.flatten(1), out=said_S3B[sites].view(-1, 3 * size))
        together_SB[sites] = product.sum(0)
    return said_S3B, together_SB
