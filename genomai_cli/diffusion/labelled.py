"""Sequences with labels as a diffusion process noises and denoises them: the tokens are noised, the label is given.

A row of a corpus holds the letters of a sequence, filled up with 0, then the numbers of its labels.

Shape suffixes: B samples, L letters, T tokens, P labels of a sample.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from genomai_cli.alphabet import Letters
from genomai_cli.backbones.base import Network
from genomai_cli.diffusion.denoisers import (
    ConditionDropout,
    Noise,
    TokenDenoiser,
    TokenNoising,
)
from genomai_cli.diffusion.phenotypes import draw_conditions


@dataclass(frozen=True)
class SequenceRows:
    """The layout of a row: so many `letters` at most, then so many `labels`."""

    letters: int
    labels: int

    def __len__(self) -> int:
        return self.letters + self.labels

    def row(self, letters_L: Letters, numbers_P: list[int]) -> Letters:
        """One sequence as a row."""
        padded_L = np.pad(letters_L, (0, self.letters - len(letters_L)))
        return np.concatenate([padded_L, np.array(numbers_P, np.uint8)])

    def sequences(self, rows: Letters) -> Letters:
        """The letters (B, L)."""
        return rows[:, : self.letters]

    def numbers(self, rows: Letters) -> NDArray[np.int64]:
        """The numbers of the labels (B, P)."""
        return rows[:, self.letters :].astype(np.int64)


@dataclass(frozen=True, eq=False)
class LabelledNoising(TokenNoising):
    """A `Noising` of labelled rows; ValueError where tokens overlap."""

    rows: SequenceRows

    def views(
        self,
        samples_BL: Letters,
        noise: Noise,
        dropout: ConditionDropout,
        rng: np.random.Generator,
    ) -> dict[str, NDArray[np.int64]]:
        """See `Noising`; the `phenotype` (B, 1) that is given is there too."""
        phenotype_B = draw_conditions(self.rows.numbers(samples_BL), dropout, rng)
        views = super().views(self.rows.sequences(samples_BL), noise, dropout, rng)
        return views | {"phenotype": phenotype_B[:, None]}

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
        unconditional = super().denoiser(
            network, head, views, soft_masked=soft_masked, inputs=inputs
        )
        return replace(unconditional, condition=views["phenotype"][:, 0])
