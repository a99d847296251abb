"""Two views of one sample should lie closer together than those of different samples: InfoNCE.

The loss of van den Oord et al. 2018 (arXiv:1807.03748, eq. 4), in the symmetric form of Chen et al. 2020
(SimCLR, arXiv:2002.05709): the projections of the two views are normalised, their cosines are divided by a
temperature, and each view has to find its partner among the other views of the whole batch. A network that
knows nothing has the loss log(batch).

Shape suffixes: B samples of this process, G of all processes, L letters, T tokens, D width of a projection.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from genomai_cli.alphabet import Letters
from genomai_cli.augmentations import (
    crop,
    mask_outside,
    random_spans,
    reverse_complement_rows,
    substitute,
)
from genomai_cli.objectives.base import Alphabet, Model, ProcessGroup, Views
from genomai_cli.tokenizers.batch import encode_rows

LIMITS = {
    "temperature": (1e-3, 1e3),
    "projection": (1, math.inf),
    "mask": (0, 0.9),
    "crop": (0.1, 1),
    "substitute": (0, 1),
    "reverse_complement": (0, 1),
}


@dataclass(frozen=True)
class ContrastiveSettings:
    """How two views of a sample differ: `mask` is the share of tokens hidden, `crop` the share of the length
    kept, `substitute` the share of letters replaced, `reverse_complement` the share of views read on the other
    strand. `projection` is the width of the vectors that are compared."""

    temperature: float = 0.1
    projection: int = 128
    mask: float = 0.15
    crop: float = 0.8
    substitute: float = 0.1
    reverse_complement: float = 0.0


@dataclass(frozen=True)
class Contrastive:
    """InfoNCE between two views of every sample."""

    settings_class: ClassVar[type] = ContrastiveSettings
    limits: ClassVar[Mapping[str, tuple[float, float]]] = LIMITS
    input_kind: ClassVar[str | None] = None

    settings: ContrastiveSettings
    alphabet: Alphabet
    name: str = "contrastive"

    @classmethod
    def check(cls, settings: Any, alphabet: Alphabet, recipe: Any) -> None:
        """Any network will do."""
        del settings, alphabet, recipe

    def auxiliary(self) -> dict[str, Any]:
        """A projection head."""
        return {"kind": "projection", "size": self.settings.projection}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids_first` and `ids_second`."""
        return {name: self._view(letters_BL, rng) for name in ("ids_first", "ids_second")}

    def loss(self, model: Model, views: Mapping[str, Tensor], group: ProcessGroup) -> Tensor:
        """Both views pass through the network; see `info_nce`."""
        first_BD, second_BD = (
            model.head(
                model.network.pooled(model.inputs(views[name]), self.alphabet.mask(views[name]))
            )
            for name in ("ids_first", "ids_second")
        )
        return info_nce(first_BD, second_BD, self.settings.temperature, group)

    def bits_per_base(self, nats: float) -> None:
        """None: the loss is no likelihood of bases."""

    def _view(self, letters_BL: Letters, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        settings, alphabet = self.settings, self.alphabet
        view_BL = substitute(letters_BL, settings.substitute, rng, choices=alphabet.choices)
        if alphabet.aligned:
            view_BL = mask_outside(view_BL, settings.crop, rng)
        else:
            view_BL = crop(view_BL, settings.crop, rng)
            view_BL = reverse_complement_rows(
                view_BL, rng.random(len(view_BL)) < settings.reverse_complement
            )
        # A token is hidden with any of its k letters: so few letters hide that share of the tokens.
        share = 1 - (1 - settings.mask) ** (1 / alphabet.tokenizer.k)
        return encode_rows(alphabet.tokenizer, view_BL, random_spans(view_BL.shape, share, rng, 1))


def info_nce(
    first_BD: Tensor, second_BD: Tensor, temperature: float, group: ProcessGroup
) -> Tensor:
    """The mean over this process's samples and both directions, in nats; negatives are those of all processes."""
    first_BD = functional.normalize(first_BD.float(), dim=1)
    second_BD = functional.normalize(second_BD.float(), dim=1)
    positives_B = torch.arange(len(first_BD), device=first_BD.device) + group.rank * len(first_BD)
    with torch.autocast(first_BD.device.type, enabled=False):
        first_to_second_BG = first_BD @ group.gather(second_BD).T / temperature
        second_to_first_BG = second_BD @ group.gather(first_BD).T / temperature
    losses = [
        functional.cross_entropy(logits, positives_B)
        for logits in (first_to_second_BG, second_to_first_BG)
    ]
    return torch.stack(losses).mean()
