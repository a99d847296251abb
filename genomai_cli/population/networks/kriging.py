"""Genotypes from those of reference individuals: kriging, haplotype copying, and a calibration of what they predict.

The more similar two individuals are at the sites known of one, the more similar they are at the others: that is a
Gaussian process over individuals (Rasmussen and Williams 2006, chapter 2), whose mean is that of a kernel ridge
regression. It works for any set of known sites, needs no phase, and holds where genotypes are not made of long
haplotypes. Where they are made of such, the copying model knows better (`haplotype_copying`). A small MLP makes
probabilities of both predictions; `kriging_fit` calibrates it.

Shape suffixes: B individuals, N reference individuals, S sites, K known sites, C features of a prediction; 3 genotypes
by their copies of allele 1, 2 of them, the heterozygote and the homozygote of allele 1.
"""

from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.device import one_thread
from genomai_cli.population.networks.haplotype_copying import HaplotypeReference, genotypes_of

SPREAD = 3.0  # the kernel's width, in squared distances of two people at the known sites
RIDGE = 0.1  # variance of what the known sites cannot say, beside the kernel's of 1
SMALLEST = 0.01  # added to predictions before their logarithm
SMALLEST_COPIED = 1e-4  # the same, of the copying model's
FEATURES, COPIED = 12, 4  # of a prediction by kriging, and by copying
HIDDEN = 16
AT_ONCE = 32  # individuals whose features are held at once


class KrigingReference(nn.Module):
    """Copies (N, S) of allele 1 of training individuals, -1 where unknown, with `haplotypes` these too, and what
    follows from them for others.

    It has no trainable parameters: `fill` determines everything.
    """

    copies: Tensor

    def __init__(self, people: int, sites: int, haplotypes: bool = False) -> None:
        super().__init__()
        self.register_buffer("copies", torch.zeros(people, sites, dtype=torch.int8))
        self.haplotypes = HaplotypeReference(2 * people, sites) if haplotypes else None
        self.calibration = Calibration(sites, FEATURES + (COPIED if haplotypes else 0))
        self._solved: tuple[Tensor, Tensor, Tensor] | None = None
        self._truth: tuple[Tensor, Tensor] | None = None

    def learn(self, copies_NS: Tensor) -> None:
        """Take over the people, and how frequent genotypes are among them."""
        self.copies.copy_(copies_NS)
        self._solved = self._truth = None
        self.calibration.learn(copies_NS)

    def genotypes(
        self, alleles_B2S: Tensor, phased_B: Tensor, likelihoods_BS3: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The probabilities (B, S, 3) of the genotypes, given those of which both alleles are known, and the
        haplotypes' own (B, S, 4), if there are any: those of ordered pairs of alleles, not calibrated.

        `phased_B` says of whom it is known which allele lies on which haplotype. Likelihoods of genotypes, all alike
        where they say nothing, count where the alleles are unknown; who has some is told by the haplotypes alone.
        """
        copies_BS = copies_of(alleles_B2S)
        pairs_BS4 = None
        if self.haplotypes is not None:
            pairs_BS4 = self.haplotypes.pairs(alleles_B2S, phased_B, None, likelihoods_BS3)
        found_BS3 = self.calibration.base.new_empty(*copies_BS.shape, 3)
        for rows, sites_K in _by_sites(copies_BS):
            predicted_BS2 = self._predicted(copies_BS[rows][:, sites_K], sites_K)
            parts = zip(*(torch.split(x, AT_ONCE) for x in (rows, predicted_BS2)), strict=True)
            for some, told_BS2 in parts:
                beside = None
                if pairs_BS4 is not None:
                    beside = copied_features(pairs_BS4[some], phased_B[some])
                logits_BS3 = self.calibration(told_BS2, len(sites_K), beside)
                found_BS3[some] = _softmax(logits_BS3).to(found_BS3)
        if likelihoods_BS3 is not None and pairs_BS4 is not None:
            says_BS = (likelihoods_BS3 != likelihoods_BS3[..., :1]).any(2)
            soft_B = (says_BS & (alleles_B2S < 0).all(1)).any(1)
            found_BS3[soft_B] = genotypes_of(pairs_BS4[soft_B]).to(found_BS3)
        return found_BS3, pairs_BS4

    def left_out(self, sites_K: Tensor, some_B: Tensor) -> Tensor:
        """What these sites would predict (B, S, 2) of some of the training individuals, each without that individual.

        That follows from the one solution with everybody (Rasmussen and Williams 2006, eq. 5.12).
        """
        surplus_NK, factor_NN = self._factor(sites_K)
        unit_NB = torch.zeros(len(self.copies), len(some_B)).to(surplus_NK)
        unit_NB[some_B, torch.arange(len(some_B))] = 1
        with one_thread():
            inverse_NB = torch.cholesky_solve(unit_NB, factor_NN)
        truth_N2S, mean_2S = self._targets()
        own_B1 = inverse_NB.gather(0, some_B[None]).T
        gap_BX = (inverse_NB.T @ truth_N2S.flatten(1)) / own_B1
        left_out_B2S = truth_N2S[some_B] + mean_2S - gap_BX.view(-1, *mean_2S.shape)
        return left_out_B2S.transpose(1, 2)

    def _predicted(self, copies_BK: Tensor, sites_K: Tensor) -> Tensor:
        """The predictions (B, S, 2) from genotypes at these sites."""
        truth_N2S, mean_2S = self._targets()
        if not len(sites_K):
            return mean_2S.T.expand(len(copies_BK), -1, -1)
        surplus_NK, factor_NN = self._factor(sites_K)
        like_BN = self._kernel(self._surplus(copies_BK, sites_K), surplus_NK)
        with one_thread():
            weights_NB = torch.cholesky_solve(like_BN.T, factor_NN)
        said_BX = weights_NB.T @ truth_N2S.flatten(1)
        return said_BX.view(len(copies_BK), *mean_2S.shape).add_(mean_2S).transpose(1, 2)

    def _surplus(self, copies: Tensor, sites_K: Tensor) -> Tensor:
        """Copies as they differ from the mean; those that are unknown do not."""
        reference_NK = self.copies[:, sites_K].float()
        known_NK = (reference_NK >= 0).float()
        mean_K = (reference_NK * known_NK).sum(0) / known_NK.sum(0).clamp(min=1)
        surplus: Tensor = (copies - mean_K) * (copies >= 0)
        return surplus

    def _kernel(self, one_BK: Tensor, other_NK: Tensor) -> Tensor:
        """How alike people are (B, N), from 0 to 1."""
        usual = 2 * other_NK.var(dim=0, correction=0).sum()
        apart_BN = one_BK.square().sum(1)[:, None] + other_NK.square().sum(1)
        apart_BN.addmm_(one_BK, other_NK.T, alpha=-2).clamp_(min=0)
        return apart_BN.div_((SPREAD * usual).clamp(min=1e-6)).neg_().exp_()

    def _factor(self, sites_K: Tensor) -> tuple[Tensor, Tensor]:
        """The surplus (N, K) of the training individuals at these sites, and the Cholesky factor (N, N) of their kernel
        with the ridge; kept until other sites are asked for."""
        if self._solved is None or not torch.equal(self._solved[0], sites_K):
            surplus_NK = self._surplus(self.copies[:, sites_K], sites_K)
            like_NN = self._kernel(surplus_NK, surplus_NK)
            like_NN.diagonal().add_(RIDGE)
            with one_thread():
                self._solved = sites_K, surplus_NK, torch.linalg.cholesky(like_NN)
        return self._solved[1:]

    def _targets(self) -> tuple[Tensor, Tensor]:
        """Which genotypes the people have (N, 2, S), less the mean (2, S), 0 where unknown; and the mean."""
        if self._truth is None:
            is_N2S = torch.stack([self.copies == 1, self.copies == 2], dim=1).float()
            unknown_NS = self.copies < 0
            mean_2S = is_N2S.sum(0) / (len(self.copies) - unknown_NS.sum(0)).clamp(min=1)
            is_N2S.sub_(mean_2S)
            if unknown_NS.any():
                is_N2S.masked_fill_(unknown_NS[:, None], 0)
            self._truth = is_N2S, mean_2S
        return self._truth


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

    def __init__(self, sites: int, features: int = FEATURES) -> None:
        super().__init__()
        self.register_buffer("base", torch.zeros(sites, 3))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("weight", torch.zeros(features, HIDDEN))
        self.register_buffer("bias", torch.zeros(HIDDEN))
        self.register_buffer("last", torch.zeros(HIDDEN + 1, 3))

    def learn(self, copies_NS: Tensor) -> None:
        """Take over how frequent genotypes are."""
        counts_S3 = torch.stack([(copies_NS == number).sum(0) for number in range(3)], dim=1)
        self.base.copy_(functional.normalize(counts_S3 + 0.5, p=1, dim=1).log())

    def part(self, sites: slice) -> "Calibration":
        """The same for some of the sites, on the same values."""
        made = Calibration(0, len(self.mean))
        for name, value in self.named_buffers():
            setattr(made, name, value)
        made.base = self.base[sites]
        return made

    def forward(self, predicted_BS2: Tensor, known: int, copied: Tensor | None = None) -> Tensor:
        """The logits of all sites."""
        base_BS3 = self.base.expand(len(predicted_BS2), -1, -1)
        return self.logits(self.features(predicted_BS2, base_BS3, known, copied))

    def features(
        self, predicted: Tensor, base: Tensor, known: int, copied: Tensor | None = None
    ) -> Tensor:
        """What is told of predictions (..., 2) at sites of these frequencies (..., 3), and of those of the copying
        model, see `copied_features`: (..., C)."""
        one, two = predicted.unbind(-1)
        base = base.float()
        copies = (one + 2 * two).clamp(0, 2)
        shares = (one, two, 1 - one - two, copies / 2, 1 - copies / 2)
        logs = [(share.clamp(0, 1) + SMALLEST).log() for share in shares]
        sites = torch.full_like(one, (known + 1) / len(self.base)).log()
        columns = [one, two, copies, *logs, sites, *base.unbind(-1)]
        columns += [] if copied is None else copied.unbind(-1)
        return torch.stack(columns).movedim(0, -1)  # a feature lies together, which is faster

    def logits(self, features: Tensor) -> Tensor:
        """The MLP (..., C) to (..., 3)."""
        inner = self.weight.float() / self.scale.float()[:, None]
        shift = self.bias.float() - self.mean.float() @ inner
        last = self.last.float()
        hidden_HX = torch.addmm(shift[:, None], inner.T, features.movedim(-1, 0).flatten(1)).tanh_()
        logits_3X = torch.addmm(last[-1][:, None], last[:-1].T, hidden_HX)
        return logits_3X.view(-1, *features.shape[:-1]).movedim(0, -1)


def copies_of(alleles_B2S: Tensor) -> Tensor:
    """The copies (B, S) of allele 1, -1 where an allele is unknown."""
    sum_BS = alleles_B2S.sum(1, dtype=alleles_B2S.dtype)  # by itself it would take eight bytes each
    return torch.where((alleles_B2S >= 0).all(1), sum_BS, -1)


def copied_features(pairs_BS4: Tensor, phased_B: Tensor) -> Tensor:
    """What is told of the copying model's pairs: the genotypes' logarithms, and whether phase was known (B, S, 4)."""
    logs_BS3 = (genotypes_of(pairs_BS4.float()) + SMALLEST_COPIED).log()
    phased_BS1 = phased_B.to(logs_BS3)[:, None, None].expand_as(logs_BS3[..., :1])
    return torch.cat([logs_BS3, phased_BS1], dim=2)


def _softmax(logits: Tensor) -> Tensor:
    """The softmax of the last dimension, which is short: torch takes twice as long."""
    greatest = reduce(torch.maximum, logits.unbind(-1))
    weights = (logits - greatest.unsqueeze(-1)).exp_()
    return weights.div_(reduce(torch.add, weights.unbind(-1)).unsqueeze(-1))


def _by_sites(copies_BS: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """People of whom the same sites are known, by their numbers, with those sites (K,)."""
    patterns_XS, which_B = torch.unique(copies_BS >= 0, dim=0, return_inverse=True)
    for number, pattern_S in enumerate(patterns_XS):
        yield (which_B == number).nonzero()[:, 0], pattern_S.nonzero()[:, 0]
