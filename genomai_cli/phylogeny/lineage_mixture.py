"""The mixture of lineages: the posterior of lineages given the visible bases, and of the masked bases by it.

DNA that is inherited without recombination has one tree. A lineage is a group of genomes that stand together on it; it
has a probability for each variant that its genomes have, and for all others that of chance, a mutation of one's own.
The visible bases give the posterior of the lineages (Bayes), the masked ones are its mean: a mixture of product
distributions with thousands of components (Lazarsfeld and Henry 1968), of which only what differs from chance is held.

Not every file reports all: some pipelines leave the reference's base where they cannot call (sites with three alleles,
say). So a genome also has a reporting style, of a few, with the share of every variant's carriers that it reports.

Shape suffixes: B genomes, S sites, V variants, K lineages, E entries (a variant in a lineage), Z reporting styles, W
bases.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.phylogeny.variant_network import BASES, UNSEEN_LOGIT, GenomeNetwork, VariantTable

MIN_PROBABILITY = 1e-7  # no probability is nearer to 0 or 1


@dataclass(frozen=True)
class LineagesConfig:
    """Sizes of a `LineageNetwork`; `least` is how many genomes a lineage has at least."""

    sites: int = 1
    variants: int = 1
    lineages: int = 1
    entries: int = 1
    styles: int = 2
    least: int = 5


class LineageNetwork(GenomeNetwork):
    """Ids of letters (B, S) to the probabilities of masked letters; it has no heads and no vectors."""

    lineage: Tensor
    variant: Tensor

    config_class = LineagesConfig
    has_vectors = False
    reads_lineages = True

    def __init__(self, config: LineagesConfig) -> None:
        super().__init__()
        self.config = config
        self.table = VariantTable(config.sites, config.variants)
        self.register_buffer("lineage", torch.zeros(config.entries, dtype=torch.int32))
        self.register_buffer("variant", torch.zeros(config.entries, dtype=torch.int32))
        self.odds = nn.Parameter(torch.zeros(config.entries))
        self.chance = nn.Parameter(torch.zeros(config.variants))
        self.weight = nn.Parameter(torch.zeros(config.styles, config.lineages))
        self.reported = nn.Parameter(torch.zeros(config.styles, config.variants))
        self.sharpness = nn.Parameter(torch.ones(()))

    def lm_head(self, vocabulary: int) -> nn.Module:
        """No layer: the network itself predicts masked letters."""
        del vocabulary
        return nn.Identity()

    def predict_masked(
        self,
        head: nn.Module,
        inputs: Tensor,
        chosen_BT: Tensor | None = None,
        mask_BT: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """The log-probabilities of the bases at every site (B, S, 4), or (N, 4) at the chosen ones."""
        del mask_BT, more
        del head
        probability_BV = self.variant_probabilities(inputs)
        alternate_BS = probability_BV.new_zeros(inputs.shape).index_add_(
            1, self.table.site, probability_BV
        )
        log_BSW = probability_BV.new_full((*inputs.shape, BASES), UNSEEN_LOGIT)
        sites_S = torch.arange(self.config.sites, device=inputs.device)
        log_BSW[:, sites_S, self.table.major] = _log(1 - alternate_BS)
        log_BSW[:, self.table.site, self.table.letter] = _log(probability_BV)
        return log_BSW if chosen_BT is None else log_BSW[chosen_BT]

    def variant_probabilities(self, ids_BS: Tensor) -> Tensor:
        """The probability (B, V) of every variant, given the letters that are visible."""
        posterior_ZKB = self.posterior(ids_BS)
        lineage_ZE, chance_ZV = self._reported_shares()
        probability_ZVB = [
            chance_V[:, None] * posterior_KB.sum(0)
            + self._by_variant(posterior_KB, lineage_E - chance_V[self.variant])
            for posterior_KB, lineage_E, chance_V in zip(
                posterior_ZKB, lineage_ZE, chance_ZV, strict=True
            )
        ]
        return torch.stack(probability_ZVB).sum(0).T

    def posterior(self, ids_BS: Tensor) -> Tensor:
        """The probabilities (Z, K, B) of styles and lineages, given the letters that are visible."""
        letters_VB = ids_BS.T[self.table.site]
        present_VB = (letters_VB == self.table.letter[:, None]).to(self.odds.dtype)
        absent_VB = (letters_VB < BASES).to(self.odds.dtype) - present_VB
        log_likelihood_ZKB = torch.stack(
            [
                self._log_likelihood(present_VB, absent_VB, *of)
                for of in zip(*self._reported_shares(), strict=True)
            ]
        )
        log_likelihood_ZKB = log_likelihood_ZKB * self.sharpness + self.weight[:, :, None]
        posterior_ZKB: Tensor = (
            log_likelihood_ZKB.flatten(0, 1).softmax(0).view_as(log_likelihood_ZKB)
        )
        return posterior_ZKB

    def frequency(self) -> Tensor:
        """How frequent every lineage is (K,) among genomes of the style that reports the most."""
        share_K: Tensor = self.weight[torch.sigmoid(self.reported).mean(1).argmax()].softmax(0)
        return share_K

    def lineage_variants(self, lineages_B: Tensor) -> Tensor:
        """The probability (B, V) of every variant in a genome of each of these lineages, if all that it has is
        reported."""
        probability_BV = torch.sigmoid(self.chance).repeat(len(lineages_B), 1)
        starts = _starts(self.lineage, self.config.lineages + 1)
        for probability_V, lineage in zip(probability_BV, lineages_B.tolist(), strict=True):
            entries = slice(int(starts[lineage]), int(starts[lineage + 1]))
            probability_V[self.variant[entries].long()] = torch.sigmoid(self.odds[entries])
        return probability_BV

    def _reported_shares(self) -> tuple[Tensor, Tensor]:
        """How often a variant is reported in genomes of a lineage (Z, E), and of any other (Z, V)."""
        reported_ZV = torch.sigmoid(self.reported)
        chance_ZV = torch.sigmoid(self.chance) * reported_ZV
        p_ZE = torch.sigmoid(self.odds) * reported_ZV[:, self.variant]
        return p_ZE, chance_ZV

    def _log_likelihood(
        self, present_VB: Tensor, absent_VB: Tensor, p_E: Tensor, chance_V: Tensor
    ) -> Tensor:
        """The log-likelihood (K, B) of the genomes in each lineage."""
        log_chance_V, log_absent_V = _log(chance_V), _log(1 - chance_V)
        background_B = log_chance_V @ present_VB + log_absent_V @ absent_VB
        present_KB = self._by_lineage(present_VB, _log(p_E) - log_chance_V[self.variant])
        absent_KB = self._by_lineage(absent_VB, _log(1 - p_E) - log_absent_V[self.variant])
        return background_B + present_KB + absent_KB

    def _by_lineage(self, values_VB: Tensor, factors_E: Tensor) -> Tensor:
        """The sum over the entries of each lineage (K, B)."""
        starts_K = _starts(self.lineage, self.config.lineages)
        return functional.embedding_bag(
            self.variant.long(), values_VB, starts_K, mode="sum", per_sample_weights=factors_E
        )

    def _by_variant(self, values_KB: Tensor, factors_E: Tensor) -> Tensor:
        """The sum over the entries of each variant (V, B)."""
        order_E = torch.argsort(self.variant, stable=True)
        starts_V = _starts(self.variant[order_E], self.config.variants)
        return functional.embedding_bag(
            self.lineage[order_E].long(), values_KB, starts_V, mode="sum",
            per_sample_weights=factors_E[order_E],
        )  # fmt: skip


def _starts(sorted_E: Tensor, groups: int) -> Tensor:
    """Where each group's entries begin (groups,)."""
    numbers = torch.arange(groups, dtype=sorted_E.dtype, device=sorted_E.device)
    return torch.searchsorted(sorted_E.contiguous(), numbers)


def _log(p: Tensor) -> Tensor:
    return p.clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY).log()
