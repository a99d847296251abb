"""Hide letters and guess the tokens they were in: masked language modelling (Devlin et al. 2019, arXiv:1810.04805).

Letters are hidden rather than tokens: every token that covers a hidden letter is hidden too, so that the
overlapping k-mers beside it do not tell it (Ji et al. 2021, DNABERT, hides runs of k tokens for that reason).

Shape suffixes: B samples, L letters, T tokens, N guessed tokens of all samples, V tokens of the vocabulary.
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
from genomai_cli.augmentations import NOTHING, runs, substitute
from genomai_cli.objectives.base import NO_TARGET, Alphabet, Group, Model, Views
from genomai_cli.tokenizers.batch import covering_tokens, encode_rows

Places = NDArray[np.bool_]
LIMITS = {
    "share": (0.001, 0.95),
    "most": (0, 0.99),
    "span": (1, math.inf),
    "substitute": (0, 0.5),
    "keep": (0, 0.5),
}


@dataclass(frozen=True)
class MaskedSettings:
    """`share` of the letters is to be guessed, in runs of at least `span`; with `most` above `share`, each
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
        chosen_BL = self._chosen(letters_BL, rng)
        whole_BT = encode_rows(tokenizer, letters_BL)
        if tokenizer.length(letters_BL.shape[1]) == 0:
            return {"ids": whole_BT, "targets": np.full_like(whole_BT, NO_TARGET)}
        shown_BL, hidden_BL = self._shown(letters_BL, chosen_BL, rng)
        guessed_BT = covering_tokens(tokenizer, letters_BL, chosen_BL) & tokenizer.is_known(
            whole_BT
        )
        return {
            "ids": encode_rows(tokenizer, shown_BL, hidden_BL),
            "targets": np.where(guessed_BT, whole_BT, NO_TARGET),
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: Group) -> Tensor:
        """The mean over the hidden tokens of all processes, in nats."""
        targets_BT = views["targets"]
        chosen_BT = targets_BT != NO_TARGET
        inputs = model.inputs(views["ids"])
        mask_BT = self.alphabet.mask(views["ids"])
        logits_NV = model.network.predict_masked(model.head, inputs, chosen_BT, mask_BT)
        return masked_cross_entropy(logits_NV, targets_BT[chosen_BT], group)

    def bits_per_base(self, nats: float) -> None:
        """None: the loss is no likelihood of bases."""

    def _chosen(self, letters_BL: Letters, rng: np.random.Generator) -> Places:
        """The letters (B, L) to be guessed: at least one a sample."""
        settings = self.settings
        shares_B = np.full(len(letters_BL), settings.share)
        if settings.most > settings.share:
            shares_B = rng.uniform(settings.share, settings.most, len(letters_BL))
        chosen_BL = runs(letters_BL.shape, shares_B, rng, settings.span)
        length_B = np.count_nonzero(letters_BL != NOTHING, axis=1)
        places_B = (rng.random(len(letters_BL)) * length_B).astype(np.int64)
        none_B = ~(chosen_BL & (letters_BL != NOTHING)).any(axis=1)
        chosen_BL[none_B, places_B[none_B]] = True
        known_BL: Places = chosen_BL & (letters_BL != NOTHING)
        return known_BL

    def _shown(
        self, letters_BL: Letters, chosen_BL: Places, rng: np.random.Generator
    ) -> tuple[Letters, Places]:
        """The letters that the network sees and which of them (B, L) are hidden."""
        settings = self.settings
        if not settings.substitute and not settings.keep:
            return letters_BL, chosen_BL
        # One draw a run: neighbours share the draw of the run's first letter.
        begins_BL = chosen_BL & ~np.pad(chosen_BL, ((0, 0), (1, 0)))[:, :-1]
        places_L = np.arange(letters_BL.shape[1])
        first_BL = np.maximum.accumulate(np.where(begins_BL, places_L, 0), axis=1)
        draws_BL = np.take_along_axis(rng.random(letters_BL.shape), first_BL, axis=1)
        hidden_BL = chosen_BL & (draws_BL >= settings.substitute + settings.keep)
        replaced_BL = chosen_BL & (draws_BL < settings.substitute)
        other_BL = substitute(letters_BL, 1.0, rng, choices=self.alphabet.choices)
        return np.where(replaced_BL, other_BL, letters_BL), hidden_BL


def masked_cross_entropy(logits_NV: Tensor, targets_N: Tensor, group: Group) -> Tensor:
    """The summed cross-entropy of this process's tokens over the mean number of tokens a process has."""
    total = functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum")
    count = group.total(targets_N.new_tensor(len(targets_N), dtype=total.dtype))
    return total * group.size / count.clamp(min=1)
