"""The haplotypes of individuals as a diffusion process noises and denoises them, both of one after the other.

The condition of an individual is one phenotype, sometimes only a coarser one, sometimes none (classifier-free guidance:
Ho and Salimans 2022, arXiv:2207.12598). A phenotype record is left out as often, independently, and so is each of its
columns.

Shape suffixes: B individuals, T alleles of both haplotypes, N chosen alleles, P phenotypes or labels, S sites; 2
haplotypes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.alphabet import Letters
from genomai_cli.backbones.base import Network
from genomai_cli.diffusion.denoisers import ConditionDropout, Noise
from genomai_cli.diffusion.kernel import Denoiser, guided
from genomai_cli.diffusion.phenotypes import draw_conditions
from genomai_cli.errors import BundleError
from genomai_cli.population.haplotype_rows import HaplotypeRows
from genomai_cli.population.networks.denoiser import GenotypeDenoiser, LogitFunction
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords, views_of

ALLELES = 2


class _Condition(NamedTuple):
    """What the network is told of the individuals besides their alleles: the weights (B, P) of phenotypes, the records
    if there are any, and the log odds (B, 1, S) of the frequencies; None where context guidance is 1."""

    weights: Tensor
    records: PhenotypeRecords | None
    prior: Tensor | None


@dataclass(frozen=True, eq=False)
class HaplotypeDenoiser:
    """A `Denoiser` of the alleles of individuals of one phenotype each (B,), and one record, if there are `records`;
    `logit_function` is that of the network, by default `chosen_logits`. The difference of the logits from those of the
    frequency is scaled by `context_guidance` (as in context-aware decoding: Shi et al. 2023, arXiv:2305.14739). With
    `soft_masked` the network reads the keep probabilities; BundleError for one that cannot."""

    network: GenotypeDenoiser
    phenotype: Tensor
    guidance: float = 1.0
    context_guidance: float = 1.0
    logit_function: LogitFunction | None = None
    soft_masked: bool = False
    records: PhenotypeRecords | None = None

    def __post_init__(self) -> None:
        if self.soft_masked and not self.network.supports_soft_mask:
            raise BundleError("the kernel uniform needs a network of kind denoiser")

    def __call__(self, tokens_BT: Tensor, chosen_BT: Tensor, keep_probability_BT: Tensor) -> Tensor:
        """The logits (N, 2) of both alleles."""
        inputs = tokens_BT, chosen_BT, keep_probability_BT
        logits_N = self._logits(*inputs, self._condition)
        if self.guidance != 1:
            null_N = self._logits(*inputs, self._null_condition)
            logits_N = guided(logits_N, null_N, self.guidance)
        return torch.stack([torch.zeros_like(logits_N), logits_N], dim=1)

    @cached_property
    def _condition(self) -> _Condition:
        return self._condition_of(self.phenotype, self.records)

    @cached_property
    def _null_condition(self) -> _Condition:
        return self._condition_of(torch.zeros_like(self.phenotype), None)

    def _condition_of(self, phenotype_B: Tensor, records: PhenotypeRecords | None) -> _Condition:
        """The condition, the same at all steps of a process."""
        frequency_PS = self.network.frequency
        weights_BP = functional.one_hot(phenotype_B, len(frequency_PS)).to(frequency_PS)
        if self.context_guidance == 1:
            return _Condition(weights_BP, records, None)
        prior_B1S = torch.logit(self.network.frequencies(weights_BP)[:, None])
        return _Condition(weights_BP, records, prior_B1S)

    def _logits(
        self,
        tokens_BT: Tensor,
        chosen_BT: Tensor,
        keep_probability_BT: Tensor,
        condition: _Condition,
    ) -> Tensor:
        frequency_PS = self.network.frequency
        weights_BP, records, prior_B1S = condition
        shape = (len(tokens_BT), 2, frequency_PS.shape[1])
        options: dict[str, Any] = {} if records is None else {"records": records}
        if self.soft_masked:
            options["keep_probability_B2S"] = keep_probability_BT.view(shape).to(frequency_PS)
        logit_function = self.logit_function or self.network.chosen_logits
        chosen_B2S = chosen_BT.view(shape)
        logits_N = logit_function(tokens_BT.view(shape), weights_BP, chosen_B2S, **options)
        if prior_B1S is None:
            return logits_N
        return guided(logits_N, prior_B1S.expand(shape)[chosen_B2S], self.context_guidance)


@dataclass(frozen=True)
class HaplotypeNoising:
    """A `Noising` of rows of haplotypes: the alleles are the tokens, and the network is the denoiser."""

    rows: HaplotypeRows
    vocabulary: int = ALLELES
    bases: int = 1

    def tokens_of(self, ids_BT: Tensor) -> Tensor:
        """See `Noising`: ids are alleles."""
        return ids_BT

    def head(self) -> dict[str, Any]:
        """See `Noising`."""
        return {"kind": "none"}

    def views(
        self,
        samples_BL: Letters,
        noise: Noise,
        dropout: ConditionDropout,
        rng: np.random.Generator,
    ) -> dict[str, NDArray[np.int64]]:
        """See `Noising`; with the `phenotype` (B, 1) of the condition, and the records' views."""
        alleles_BT = self.rows.alleles(samples_BL).reshape(len(samples_BL), -1).astype(np.int64)
        phenotype_B = draw_conditions(self.rows.numbers(samples_BL), dropout, rng)
        ids_BT = noise(alleles_BT, ALLELES)
        views = {"ids": ids_BT, "targets": alleles_BT, "phenotype": phenotype_B[:, None]}
        if not len(self.rows.columns):
            return views
        records = self.rows.records(samples_BL)
        shown_BK = rng.random(records.known.shape) >= dropout.coarse
        shown_BK &= rng.random((len(samples_BL), 1)) >= dropout.null
        return views | views_of(records.with_columns(shown_BK))

    def denoiser(
        self,
        network: Network,
        head: nn.Module,
        views: Mapping[str, Tensor],
        *,
        soft_masked: bool,
        inputs: Callable[[Tensor], Tensor] | None,
    ) -> Denoiser:
        """See `Noising`."""
        del head, inputs
        assert isinstance(network, GenotypeDenoiser)
        records = PhenotypeRecords.of_views(views) if len(self.rows.columns) else None
        return HaplotypeDenoiser(
            network, views["phenotype"][:, 0], soft_masked=soft_masked, records=records
        )
