"""The data that a diffusion objective noises, and the network call that denoises them (`Noising`); here, tokens.

Shape suffixes: B samples, L letters, T tokens, N chosen tokens of all samples, V tokens of the vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genomai_cli.alphabet import Letters
from genomai_cli.backbones.base import Network
from genomai_cli.backbones.transformer import SoftMask
from genomai_cli.diffusion.kernel import MASKED, Denoiser, Tokens, guided
from genomai_cli.errors import BundleError
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.batch import encode_rows

Noise = Callable[[Tokens, int], Tokens]
"""From tokens (B, T) of a vocabulary of so many to the same, noised."""


class ConditionDropout(Protocol):
    """The shares of samples that are trained on without their condition, and with a coarser one."""

    @property
    def null(self) -> float: ...
    @property
    def coarse(self) -> float: ...


class Noising(Protocol):
    """The layout of the samples that a diffusion objective trains on."""

    @property
    def vocabulary(self) -> int:
        """The number V of tokens that can be noised."""

    @property
    def bases(self) -> int:
        """How many bases a token spells: the loss is in nats a base."""

    def tokens_of(self, ids_BT: Tensor) -> Tensor:
        """The tokens (B, T) of the `ids` in views, `MASKED` where an id is no token."""

    def head(self) -> dict[str, Any]:
        """The config of the auxiliary head, for `backbones.heads.build`."""

    def views(
        self,
        samples_BL: Letters,
        noise: Noise,
        dropout: ConditionDropout,
        rng: np.random.Generator,
    ) -> dict[str, NDArray[np.int64]]:
        """The noised input `ids` (B, T), and all tokens as `targets` (B, T), `MASKED` where unknown."""

    def denoiser(
        self,
        network: Network,
        head: nn.Module,
        views: Mapping[str, Tensor],
        *,
        soft_masked: bool,
        inputs: Callable[[Tensor], Tensor] | None,
    ) -> Denoiser:
        """The network as a `Denoiser`; `inputs` maps ids to the network's input, None for the ids themselves."""


@dataclass(frozen=True, eq=False)
class NoisedTokens:
    """The tokens that a process noises, numbered from 0: the tokenizer's `dna_ids` (V,), of `bases` each."""

    ids: NDArray[np.int64]
    token_of_id: NDArray[
        np.int64
    ]  # of every id of the vocabulary, MASKED for one that is not noised
    bases: int
    mask_id: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "NoisedTokens":
        """The tokens of known bases; ValueError where tokens overlap, since one cannot change by itself."""
        if tokenizer.stride != tokenizer.k:
            raise ValueError(
                f"diffusion needs tokens that do not overlap: characters, or kmers with stride = k = {tokenizer.k}"
            )
        ids = tokenizer.dna_ids
        numbers = np.full(len(tokenizer.vocabulary), MASKED)
        numbers[ids] = np.arange(len(ids))
        return cls(ids, numbers, tokenizer.k, tokenizer.mask_id)

    @property
    def size(self) -> int:
        """The number of tokens that are noised."""
        return len(self.ids)

    def tokens_of(self, ids: Tensor) -> Tensor:
        """The tokens of ids, `MASKED` for every id that is not noised."""
        return torch.from_numpy(self.token_of_id).to(ids.device)[ids]

    def ids_of(self, tokens: Tensor, fallback_ids: Tensor | int) -> Tensor:
        """The ids of tokens, and `fallback_ids` where there is `MASKED`."""
        known = torch.from_numpy(self.ids).to(tokens.device)[tokens.clamp(min=0)]
        return torch.where(tokens == MASKED, fallback_ids, known)

    @property
    def columns(self) -> slice | NDArray[np.int64]:
        """The columns of these tokens among the vocabulary's logits: a slice where they come first."""
        first = slice(self.size)
        return first if np.array_equal(self.token_of_id[first], np.arange(self.size)) else self.ids


@dataclass(frozen=True, eq=False)
class TokenDenoiser:
    """A `Denoiser` of the tokens of sequences.

    `fallback_ids` (B, T) stand where there is no token of the vocabulary: by default [MASK]. Tokens that `forbidden`
    (B, T, V) marks are impossible at their positions; `inputs` maps ids to the network's input, if that is not the ids
    themselves; `mask` (B, T) is True for real tokens. With `soft_masked` the network gets the keep
    probabilities; BundleError if it takes none. The `condition` (B,) is each sequence's, from which `guidance` leads
    further away from the unconditional prediction, or less far.
    """

    network: Network
    head: nn.Module
    vocabulary: NoisedTokens
    fallback_ids: Tensor | None = None
    forbidden: Tensor | None = None
    soft_masked: bool = False
    inputs: Callable[[Tensor], Tensor] | None = None
    mask: Tensor | None = None
    condition: Tensor | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if self.soft_masked and not self.network.supports_soft_mask:
            raise BundleError("the kernel uniform needs a network that sees noised tokens in part")

    def __call__(self, tokens_BT: Tensor, chosen_BT: Tensor, keep_probability_BT: Tensor) -> Tensor:
        """The logits (N, V) of the tokens."""
        fallback_ids = self.vocabulary.mask_id if self.fallback_ids is None else self.fallback_ids
        ids_BT = self.vocabulary.ids_of(tokens_BT, fallback_ids)
        arguments = ids_BT, chosen_BT, keep_probability_BT
        logits_NV = self._predicted(*arguments, self.condition)
        if self.condition is not None and self.guidance != 1:
            null_NV = self._predicted(*arguments, torch.zeros_like(self.condition))
            logits_NV = guided(logits_NV, null_NV, self.guidance)
        if self.forbidden is not None:
            logits_NV = logits_NV.masked_fill(self.forbidden[chosen_BT], -torch.inf)
        return logits_NV

    def _predicted(
        self,
        ids_BT: Tensor,
        chosen_BT: Tensor,
        keep_probability_BT: Tensor,
        condition_B: Tensor | None,
    ) -> Tensor:
        features: dict[str, Any] = {} if condition_B is None else {"condition": condition_B}
        inputs = ids_BT
        if self.soft_masked:
            known_BT = self.vocabulary.tokens_of(ids_BT) != MASKED
            mask_share_BT = (1 - keep_probability_BT) * known_BT
            features["soft_mask"] = SoftMask(self.vocabulary.mask_id, mask_share_BT)
        elif self.inputs is not None:
            inputs = self.inputs(ids_BT)
        logits_NV = self.network.predict_masked(self.head, inputs, chosen_BT, self.mask, **features)
        return logits_NV[:, self.vocabulary.columns]


@dataclass(frozen=True, eq=False)
class TokenNoising:
    """A `Noising` of the tokens of sequences, rows of sites or genomes; ValueError where tokens overlap."""

    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        NoisedTokens.of(self.tokenizer)

    @property
    def _tokens(self) -> NoisedTokens:
        return NoisedTokens.of(self.tokenizer)

    @property
    def vocabulary(self) -> int:
        """See `Noising`."""
        return self._tokens.size

    @property
    def bases(self) -> int:
        """See `Noising`."""
        return self._tokens.bases

    def tokens_of(self, ids_BT: Tensor) -> Tensor:
        """See `Noising`."""
        return self._tokens.tokens_of(ids_BT)

    def head(self) -> dict[str, Any]:
        """See `Noising`."""
        return {"kind": "words", "vocabulary": len(self.tokenizer.vocabulary)}

    def views(
        self,
        samples_BL: Letters,
        noise: Noise,
        dropout: ConditionDropout,
        rng: np.random.Generator,
    ) -> dict[str, NDArray[np.int64]]:
        """See `Noising`."""
        del dropout, rng
        tokens, ids_BT = self._tokens, encode_rows(self.tokenizer, samples_BL)
        truth_BT = tokens.token_of_id[ids_BT]
        noised_BT = noise(truth_BT, tokens.size)
        noised_ids_BT = np.where(noised_BT == MASKED, tokens.mask_id, tokens.ids[noised_BT])
        return {"ids": np.where(truth_BT == MASKED, ids_BT, noised_ids_BT), "targets": truth_BT}

    def denoiser(
        self,
        network: Network,
        head: nn.Module,
        views: Mapping[str, Tensor],
        *,
        soft_masked: bool,
        inputs: Callable[[Tensor], Tensor] | None,
    ) -> TokenDenoiser:
        """See `Noising`."""
        tokens, ids_BT = self._tokens, views["ids"]
        fallback_ids_BT = torch.where(tokens.tokens_of(ids_BT) == MASKED, ids_BT, tokens.mask_id)
        return TokenDenoiser(
            network,
            head,
            tokens,
            fallback_ids_BT,
            soft_masked=soft_masked,
            inputs=inputs,
            mask=ids_BT != self.tokenizer.pad_id if inputs is None else None,
        )
