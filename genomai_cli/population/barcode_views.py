"""Barcodes varied for training: crossed, with sites masked, of one haplotype, and with hints to their tokens.

Shape suffixes: B samples of a batch, P windows (haplotypes), S sites.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from genomai_cli.alphabet import UNKNOWN_LETTER
from genomai_cli.augmentations import HaplotypePool, mask_letters
from genomai_cli.inputs.samples import (
    Hints,
    Letters,
    Rows,
    Samples,
    TrainingBatch,
    Views,
    labels_of,
)
from genomai_cli.population.barcode import join, resolve
from genomai_cli.population.hints import LetterHints
from genomai_cli.population.missing_sites import MissingSites
from genomai_cli.population.panel import Panel
from genomai_cli.tokenizers import Tokenizer

MISSINGNESS_DRAWS = 10  # of missing sites for every sample that fusions are calibrated with
# Samples for which one draw is made: what is prepared for its sites serves them all.
SAMPLES_PER_DRAW = 32


@dataclass(frozen=True)
class BarcodeViewsSettings:
    """How barcodes are varied while training: `cross` is the share made by crossing members of a class; `hide` the
    largest share of sites masked, uniformly up to it, in the share `hide_often` of the samples; `haploid` the
    share reduced to one haplotype. `hints` is the weight of the hints to tokens (`LetterHints`). A class is a
    stratum where there are strata."""

    cross: float = 0.0
    hide: float = 0.0
    hide_often: float = 0.0
    haploid: float = 0.0
    hints: float = 0.0

    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {"hints": (0, math.inf)}


class BarcodeViews(Views):
    """Views of barcodes, each one sequence of IUPAC letters or two resolved haplotypes.

    Crossing draws from the samples in the rows `parents` only, those to train on.
    """

    def __init__(
        self,
        samples: Samples,
        letters: Letters,
        parents: Rows,
        tokenizer: Tokenizer,
        settings: BarcodeViewsSettings,
        *,
        panel: Panel,
        haplotypes: bool,
    ) -> None:
        self.samples, self.letters, self.missing = samples, letters, MissingSites(panel)
        self.tokenizer, self.settings, self.haplotypes = tokenizer, settings, haplotypes
        self.groups = np.unique(samples.groups(), return_inverse=True)[1]
        present, numbers = np.unique(self.groups[parents], return_inverse=True)
        self.pool = HaplotypePool.of(resolve(letters[parents]), numbers)
        self.pool_of_group = {int(group): number for number, group in enumerate(present)}
        self.hints = LetterHints.fit(letters[parents], numbers, panel) if settings.hints else None

    def varied(self, rows: Rows, rng: np.random.Generator) -> TrainingBatch:
        """See `Views`."""
        pair_2BS = resolve(self.letters[rows], rng)
        crossed = round(self.settings.cross * len(rows))
        if crossed:
            groups = np.array([self.pool_of_group[int(g)] for g in self.groups[rows[:crossed]]])
            pair_2BS[:, :crossed] = [self.pool.cross(groups, rng) for _ in range(2)]
        haploid_B = rng.random(len(rows)) < self.settings.haploid
        pair_2BS[1, haploid_B] = pair_2BS[0, haploid_B]
        shares = rng.random(len(rows)) * self.settings.hide
        shares *= rng.random(len(rows)) < self.settings.hide_often
        masked_BS = mask_letters(join(*pair_2BS), shares, rng) == UNKNOWN_LETTER
        pair_2BS = np.where(masked_BS, np.uint8(UNKNOWN_LETTER), pair_2BS)
        # One haplotype of each of many people teaches more than both of half as many.
        windows_PBS = pair_2BS[:1] if self.haplotypes else join(*pair_2BS)[None]
        batch = self._batch(rows, windows_PBS)
        if self.hints is None:
            return batch
        values = self.hints.of(windows_PBS[0], batch.ids.shape[1])
        return replace(batch, hints=Hints(values, self.settings.hints))

    def plain(self, rows: Rows, masked_share: float = 0.0, seed: int = 0) -> TrainingBatch:
        """See `Views`."""
        rng = np.random.default_rng([seed, len(rows)])
        letters_BS = mask_letters(self.letters[rows], np.full(len(rows), masked_share), rng)
        pair_2BS = resolve(letters_BS)
        return self._batch(rows, pair_2BS if self.haplotypes else letters_BS[None])

    def for_calibration(
        self, rows: Rows, masked_shares: Sequence[float], seed: int
    ) -> Iterator[TrainingBatch]:
        """See `Views`: at random, then a few samples at a time as a file of some kind would have them."""
        yield from super().for_calibration(rows, masked_shares, seed)
        rng = np.random.default_rng([seed, len(rows), 0xF11E])
        for _ in range(MISSINGNESS_DRAWS):
            for batch in np.array_split(rng.permutation(rows), -(-len(rows) // SAMPLES_PER_DRAW)):
                letters = np.where(self.missing.draw(rng), self.letters[batch], UNKNOWN_LETTER)
                letters_BS = letters.astype(np.uint8)
                yield self._batch(
                    batch, resolve(letters_BS) if self.haplotypes else letters_BS[None]
                )

    def _batch(self, rows: Rows, windows_PBS: Letters) -> TrainingBatch:
        flat = windows_PBS.reshape(-1, windows_PBS.shape[-1])
        ids = np.stack([self.tokenizer.encode(row.tobytes().decode("ascii")) for row in flat])
        share = torch.from_numpy((windows_PBS[0] != UNKNOWN_LETTER).mean(axis=1))
        labels = labels_of(self.samples, rows)
        return TrainingBatch(torch.from_numpy(ids).long(), len(windows_PBS), share, labels)
