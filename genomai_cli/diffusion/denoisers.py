"""Networks as diffusion sees them: letters and their trust in, logits of the letters asked for out.

Shape suffixes: B samples, L letters, N chosen letters of all samples, A letters of the alphabet, P phenotypes, S sites;
2 haplotypes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.diffusion.kernel import HIDDEN, guided
from genomai_cli.errors import BundleError
from genomai_cli.nets.denoiser import Logits, PeopleNetwork
from genomai_cli.nets.transformer import TransformerNetwork, Veil
from genomai_cli.tokenizers import Tokenizer


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


@dataclass(frozen=True, eq=False)
class Words:
    """The words that a process blurs: the first `size` of a vocabulary, `letters` letters each; `mask_id` is hidden."""

    size: int
    letters: int
    mask_id: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Words":
        """The words of letters that are known; ValueError where words overlap, since one cannot change by itself."""
        if tokenizer.stride != tokenizer.k:
            raise ValueError(
                f"diffusion needs words that do not overlap: characters, or kmers with stride = k = {tokenizer.k}"
            )
        special = (tokenizer.pad_id, tokenizer.mask_id, tokenizer.unk_id)
        size = min(word for word in special if word is not None)
        return cls(size, tokenizer.k, tokenizer.mask_id)


@dataclass(frozen=True, eq=False)
class WordDenoiser:
    """The words of sequences. `others` (B, L) are the ids to show where there is no letter of the alphabet: by default
    [MASK]. Words that `barred` (B, L, A) names are impossible at their places; `inputs` makes of ids what the network
    reads, if that is not the ids themselves."""

    network: nn.Module
    head: nn.Module
    words: Words
    others: Tensor | None = None
    barred: Tensor | None = None
    veiled: bool = False
    inputs: Callable[[Tensor], Tensor] | None = None

    def __call__(self, letters_BL: Tensor, due_BL: Tensor, trust_BL: Tensor) -> Tensor:
        """The logits (N, A) of the words."""
        mask_id = self.words.mask_id
        others = mask_id if self.others is None else self.others
        ids_BL = torch.where(letters_BL == HIDDEN, others, letters_BL)
        logits_NA = self._guess(ids_BL, due_BL, trust_BL)[:, : self.words.size]
        if self.barred is not None:
            logits_NA = logits_NA.masked_fill(self.barred[due_BL], -torch.inf)
        return logits_NA

    def _guess(self, ids_BL: Tensor, due_BL: Tensor, trust_BL: Tensor) -> Tensor:
        network = self.network
        if not self.veiled:
            read = ids_BL if self.inputs is None else self.inputs(ids_BL)
            logits_NV: Tensor = network.guess(self.head, read, due_BL)  # type: ignore[operator]
            return logits_NV
        if not isinstance(network, TransformerNetwork):
            raise BundleError("the kernel uniform needs a network of kind transformer or denoiser")
        known_BL = ids_BL < self.words.size
        veil = Veil(self.words.mask_id, (1 - trust_BL) * known_BL)
        return network.guess(self.head, ids_BL, due_BL, veil)
