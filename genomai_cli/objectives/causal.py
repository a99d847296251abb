"""Predict the next token from those before it: the negative log-likelihood of a sequence (Radford et al. 2018; for DNA
Nguyen et al. 2023, HyenaDNA, arXiv:2306.15794).

Only tokens that spell DNA are predicted: no unknown letter, no padding, and not where a window was cut.
The first token of a window has nothing before it, unless the tokenizer puts a special one there, and is not predicted.

Shape suffixes: B samples, L letters, T tokens, N predicted tokens of all samples, V tokens of the vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from genomai_cli import registry
from genomai_cli.alphabet import Letters
from genomai_cli.augmentations import reverse_complement_rows
from genomai_cli.backbones.base import Backbone, is_causal, network_class
from genomai_cli.errors import TrainingError
from genomai_cli.objectives.base import NO_TARGET, Alphabet, Model, ProcessGroup, Views
from genomai_cli.objectives.masked import masked_cross_entropy
from genomai_cli.tokenizers.batch import encode_rows


@dataclass(frozen=True)
class CausalSettings:
    """`reverse_complement` is the share of windows that are read on the other strand."""

    reverse_complement: float = 0.0


@dataclass(frozen=True)
class Causal:
    """Cross-entropy of each token given all before it."""

    settings_class: ClassVar[type] = CausalSettings
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"reverse_complement": (0, 1)}
    input_kind: ClassVar[str | None] = None

    settings: CausalSettings
    alphabet: Alphabet
    name: str = "causal"

    @classmethod
    def check(cls, settings: Any, alphabet: Alphabet, recipe: Any) -> None:
        """TrainingError for a network that sees later tokens, and for rows of sites, which have no order to follow."""
        del settings
        kind = recipe.network["kind"]
        if not _is_causal_kind(kind):
            kinds = [name for name in registry.NETWORKS if _is_causal_kind(name)]
            raise TrainingError(
                f"recipe {recipe.name}: the objective causal needs a network that sees no later token"
                f" ({' or '.join(kinds) or 'there is none yet'}), not {kind!r}"
            )
        if not is_causal(recipe.network):
            raise TrainingError(
                f"recipe {recipe.name}: the objective causal needs a network that sees no later token, which this "
                f"{kind} does"
            )
        if alphabet.aligned:
            raise TrainingError(f"recipe {recipe.name}: the objective causal is for sequences")

    def auxiliary(self) -> dict[str, Any]:
        """The network's head for tokens."""
        return {"kind": "words", "vocabulary": len(self.alphabet.tokenizer.vocabulary)}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """The `ids`, and as `targets` the token that follows each, where that spells DNA."""
        tokenizer = self.alphabet.tokenizer
        flipped_B = rng.random(len(letters_BL)) < self.settings.reverse_complement
        ids_BT = encode_rows(tokenizer, reverse_complement_rows(letters_BL, flipped_B))
        next_BT = np.pad(ids_BT[:, 1:], ((0, 0), (0, 1)), constant_values=tokenizer.pad_id)
        scored_BT = tokenizer.is_dna(next_BT) & (ids_BT != tokenizer.pad_id)
        return {"ids": ids_BT, "targets": np.where(scored_BT, next_BT, NO_TARGET)}

    def loss(self, model: Model, views: Mapping[str, Tensor], group: ProcessGroup) -> Tensor:
        """The mean over the predicted tokens of all processes, in nats."""
        ids_BT, targets_BT = views["ids"], views["targets"]
        scored_BT = targets_BT != NO_TARGET
        logits_NV = model.network.predict_masked(
            model.head, model.inputs(ids_BT), scored_BT, self.alphabet.mask(ids_BT)
        )
        return masked_cross_entropy(logits_NV, targets_BT[scored_BT], group)

    def bits_per_base(self, nats: float) -> float:
        """The loss in bits for each base that a token adds."""
        return nats / math.log(2) / self.alphabet.tokenizer.stride


def _is_causal_kind(kind: str) -> bool:
    network = network_class(kind)
    return issubclass(network, Backbone) and network.causal
