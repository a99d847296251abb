"""TODO genomai_cli.population.generation.denoiser."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from genomai_cli.diffusion.kernel import guided
from genomai_cli.population.networks.denoiser import Logits, PeopleNetwork


@dataclass(frozen=True, eq=False)
class PeopleDenoiser:
    """The alleles of both haplotypes, one after the other, of people of one phenotype each (B,); `settled` is the
    network made ready for many calls, if it has been. `veiled` says that letters have to be doubted, which not every
    network can."""

    network: PeopleNetwork
    phenotype: Tensor
    guidance: float = 1.0
    settled: Logits | None = None
    veiled: bool = False

    def __call__(self, letters_BL: Tensor, due_BL: Tensor, trust_BL: Tensor) -> Tensor:
        """The logits (N, 2) of both alleles."""
        logits_N = self._logits(letters_BL, trust_BL, self.phenotype)[due_BL]
        if self.guidance != 1:
            anybody_B = torch.zeros_like(self.phenotype)
            anybody_N = self._logits(letters_BL, trust_BL, anybody_B)[due_BL]
            logits_N = guided(logits_N, anybody_N, self.guidance)
        return torch.stack([torch.zeros_like(logits_N), logits_N], dim=1)

    def _logits(self, letters_BL: Tensor, trust_BL: Tensor, phenotype_B: Tensor) -> Tensor:
        frequency_PS = self.network.frequency
        phenotypes, sites = frequency_PS.shape
        shape = (len(letters_BL), 2, sites)
        weights_BP = functional.one_hot(phenotype_B, phenotypes).to(frequency_PS)
        logits = self.settled or self.network
        doubts = {"trust_B2S": trust_BL.view(shape).to(frequency_PS)} if self.veiled else {}
        return logits(letters_BL.view(shape), weights_BP, **doubts).flatten(1)


ALLELES = 2
