"""Networks as diffusion sees them: letters and their trust in, logits of the letters asked for out.

Shape suffixes: B samples, L letters, N chosen letters of all samples, A letters of the alphabet, P phenotypes, S sites;
2 haplotypes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genomai_cli.backbones.transformer import TransformerNetwork, Veil
from genomai_cli.diffusion.kernel import HIDDEN
from genomai_cli.errors import BundleError
from genomai_cli.tokenizers import Tokenizer


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
