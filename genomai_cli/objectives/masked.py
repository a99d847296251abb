"""Mask letters and predict the tokens they were in: masked language modelling (Devlin et al. 2019, arXiv:1810.04805).

Letters are masked rather than tokens: every token that covers a masked letter is masked too, so that the
overlapping k-mers beside it do not reveal it (Ji et al. 2021, DNABERT, masks runs of k tokens for that reason).

Shape suffixes: B samples, L letters, T tokens, N predicted tokens of all samples, V tokens of the vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from genomai_cli.alphabet import Letters
from genomai_cli.augmentations import PADDING, random_spans, substitute
from genomai_cli.objectives.base import NO_TARGET, Alphabet, Model, ProcessGroup, Views
from genomai_cli.tokenizers.batch import covering_tokens, encode_rows

BoolMask = NDArray[np.bool_]
LIMITS = {
    "share": (0.001, 0.95),
    "most": (0, 0.99),
    "span": (1, math.inf),
    "substitute": (0, 0.5),
    "keep": (0, 0.5),
}


@dataclass(frozen=True)
class MaskedSettings:
    """`share` of the letters is to be predicted, in runs of at least `span`; with `most` above `share`, each
    sample's share is drawn between the two. Of the runs, the share `substitute` is shown with other letters
    instead of hidden, and the share `keep` as it is (BERT: 0.1 and 0.1)."""

    share: float = 0.15
    most: float = 0.0
    span: int = 1
    substitute: float = 0.0
    keep: float = 0.0


@dataclass(frozen=True)
class Masked:
    """Cross-entropy of hidden tokens."""

    settings_class: ClassVar[type] = MaskedSettings
    limits: ClassVar[Mapping[str, tuple[float, float]]] = LIMITS
    input_kind: ClassVar[str | None] = None

    settings: MaskedSettings
    alphabet: Alphabet
    name: str = "masked"

    @classmethod
    def check(cls, settings: Any, alphabet: Alphabet, recipe: Any) -> None:
        """Any network will do."""
        del settings, alphabet, recipe

    def auxiliary(self) -> dict[str, Any]:
        """The network's head for tokens."""
        return {"kind": "words", "vocabulary": len(self.alphabet.tokenizer.vocabulary)}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids`, with tokens hidden, and `targets`, the hidden tokens."""
        tokenizer = self.alphabet.tokenizer
        selected_BL = self._select(letters_BL, rng)
        original_BT = encode_rows(tokenizer, letters_BL)
        if tokenizer.length(letters_BL.shape[1]) == 0:
            return {"ids": original_BT, "targets": np.full_like(original_BT, NO_TARGET)}
        corrupted_BL, hidden_BL = self._corrupt(letters_BL, selected_BL, rng)
        scored_BT = covering_tokens(tokenizer, letters_BL, selected_BL) & tokenizer.is_known(
            original_BT
        )
        return {
            "ids": encode_rows(tokenizer, corrupted_BL, hidden_BL),
            "targets": np.where(scored_BT, original_BT, NO_TARGET),
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: ProcessGroup) -> Tensor:
        """The mean over the hidden tokens of all processes, in nats."""
        targets_BT = views["targets"]
        scored_BT = targets_BT != NO_TARGET
        inputs = model.inputs(views["ids"])
        mask_BT = self.alphabet.mask(views["ids"])
        logits_NV = model.network.predict_masked(model.head, inputs, scored_BT, mask_BT)
        return masked_cross_entropy(logits_NV, targets_BT[scored_BT], group)

    def bits_per_base(self, nats: float) -> None:
        """None: the loss is no likelihood of bases."""

    def _select(self, letters_BL: Letters, rng: np.random.Generator) -> BoolMask:
        """The letters (B, L) to be predicted: at least one a sample."""
        settings = self.settings
        shares_B = np.full(len(letters_BL), settings.share)
        if settings.most > settings.share:
            shares_B = rng.uniform(settings.share, settings.most, len(letters_BL))
        selected_BL = random_spans(letters_BL.shape, shares_B, rng, settings.span)
        length_B = np.count_nonzero(letters_BL != PADDING, axis=1)
        position_B = (rng.random(len(letters_BL)) * length_B).astype(np.int64)
        empty_B = ~(selected_BL & (letters_BL != PADDING)).any(axis=1)
        selected_BL[empty_B, position_B[empty_B]] = True
        known_BL: BoolMask = selected_BL & (letters_BL != PADDING)
        return known_BL

    def _corrupt(
        self, letters_BL: Letters, selected_BL: BoolMask, rng: np.random.Generator
    ) -> tuple[Letters, BoolMask]:
        """The letters that the network sees and which of them (B, L) are hidden."""
        settings = self.settings
        if not settings.substitute and not settings.keep:
            return letters_BL, selected_BL
        # One draw a run: neighbours share the draw of the run's first letter.
        run_start_BL = selected_BL & ~np.pad(selected_BL, ((0, 0), (1, 0)))[:, :-1]
        position_L = np.arange(letters_BL.shape[1])
        first_BL = np.maximum.accumulate(np.where(run_start_BL, position_L, 0), axis=1)
        draws_BL = np.take_along_axis(rng.random(letters_BL.shape), first_BL, axis=1)
        hidden_BL = selected_BL & (draws_BL >= settings.substitute + settings.keep)
        replaced_BL = selected_BL & (draws_BL < settings.substitute)
        random_BL = substitute(letters_BL, 1.0, rng, choices=self.alphabet.choices)
        return np.where(replaced_BL, random_BL, letters_BL), hidden_BL


def masked_cross_entropy(logits_NV: Tensor, targets_N: Tensor, group: ProcessGroup) -> Tensor:
    """The summed cross-entropy of this process's tokens over the mean number of tokens a process has."""
    total = functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum")
    count = group.total(targets_N.new_tensor(len(targets_N), dtype=total.dtype))
    return total * group.size / count.clamp(min=1)
