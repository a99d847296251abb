"""Batches: rows of the samples turned into ids, varied while training and plain while judging.

Shape suffixes: B samples, S letters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.augmentations import Pool, hide, outside, reverse_complement
from genomai_cli.panels.phase import join, resolve
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import padded
from genomai_cli.training.labelled.samples import Rows, Samples
from genomai_cli.training.recipe import ViewsRecipe

Letters = NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """Ids (pieces * B, T), all first pieces before all second ones, and labels (B,) of every head.

    `share` (B,) is the part of each sample's letters that is known.
    """

    ids: Tensor
    pieces: int
    share: Tensor
    labels: dict[str, Tensor]

    def mean(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean over each sample's pieces: (B, C)."""
        return {
            name: rows.reshape(self.pieces, -1, rows.shape[1]).mean(0)
            for name, rows in logits.items()
        }


class Views(Protocol):
    """Makes the batches of one set of samples."""

    def varied(self, rows: Rows, rng: np.random.Generator) -> Batch:
        """The samples in these rows, changed at random as the recipe says."""

    def plain(self, rows: Rows, hidden: float = 0.0, seed: int = 0) -> Batch:
        """The samples as they are, with a share of their letters hidden."""


class BarcodeViews:
    """Views of barcodes, each one sequence of IUPAC letters or two resolved haplotypes.

    Crossing draws from the samples in `parents` only, the ones that a network may learn from.
    """

    def __init__(
        self,
        samples: Samples,
        letters: Letters,
        parents: Rows,
        tokenizer: Tokenizer,
        recipe: ViewsRecipe,
        *,
        haplotypes: bool,
    ) -> None:
        self.samples, self.letters = samples, letters
        self.tokenizer, self.recipe, self.haplotypes = tokenizer, recipe, haplotypes
        self.groups = np.unique(samples.groups(), return_inverse=True)[1]
        present, numbers = np.unique(self.groups[parents], return_inverse=True)
        self.pool = Pool.of(resolve(letters[parents]), numbers)
        self.pool_of_group = {int(group): number for number, group in enumerate(present)}

    def varied(self, rows: Rows, rng: np.random.Generator) -> Batch:
        pair_2BS = resolve(self.letters[rows], rng)
        crossed = round(self.recipe.cross * len(rows))
        if crossed:
            groups = np.array([self.pool_of_group[int(g)] for g in self.groups[rows[:crossed]]])
            pair_2BS[:, :crossed] = [self.pool.cross(groups, rng) for _ in range(2)]
        alone = rng.random(len(rows)) < self.recipe.haploid
        pair_2BS[1, alone] = pair_2BS[0, alone]
        shares = rng.random(len(rows)) * self.recipe.hide
        shares *= rng.random(len(rows)) < self.recipe.hide_often
        hidden_BS = hide(join(*pair_2BS), shares, rng) == ord("N")
        pair_2BS = np.where(hidden_BS, np.uint8(ord("N")), pair_2BS)
        # One haplotype of each of many people teaches more than both of half as many.
        return self._batch(rows, pair_2BS[:1] if self.haplotypes else join(*pair_2BS)[None])

    def plain(self, rows: Rows, hidden: float = 0.0, seed: int = 0) -> Batch:
        rng = np.random.default_rng([seed, len(rows)])
        letters_BS = hide(self.letters[rows], np.full(len(rows), hidden), rng)
        pair_2BS = resolve(letters_BS)
        return self._batch(rows, pair_2BS if self.haplotypes else letters_BS[None])

    def _batch(self, rows: Rows, pieces_PBS: Letters) -> Batch:
        flat = pieces_PBS.reshape(-1, pieces_PBS.shape[-1])
        ids = np.stack([self.tokenizer.encode(row.tobytes().decode("ascii")) for row in flat])
        share = torch.from_numpy((pieces_PBS[0] != ord("N")).mean(axis=1))
        labels = _labels(self.samples, rows)
        return Batch(torch.from_numpy(ids).long(), len(pieces_PBS), share, labels)


class GenomeViews:
    """Views of anchored genomes, one letter a site; `places` (S,) tells where on the genome, from 0 to 1.

    What is missing of a genome is mostly a stretch (a partial sequence) and sometimes single letters.
    """

    def __init__(
        self,
        samples: Samples,
        letters: Letters,
        places: NDArray[np.float64],
        tokenizer: Tokenizer,
        recipe: ViewsRecipe,
    ) -> None:
        self.samples, self.places, self.recipe = samples, places, recipe
        words = [int(tokenizer.encode(chr(code))[0]) for code in range(128)]
        self.ids = np.array(words, np.int8)[letters]
        self.unknown = words[ord("N")]

    def varied(self, rows: Rows, rng: np.random.Generator) -> Batch:
        shares = rng.random(len(rows)) * self.recipe.hide
        shares *= rng.random(len(rows)) < self.recipe.hide_often
        hidden_BS = rng.random((len(rows), len(self.places)), dtype=np.float32) < shares[:, None]
        lengths = np.where(rng.random(len(rows)) < self.recipe.partial, rng.random(len(rows)), 1.0)
        return self._batch(rows, hidden_BS | outside(self.places, lengths, rng))

    def plain(self, rows: Rows, hidden: float = 0.0, seed: int = 0) -> Batch:
        rng = np.random.default_rng([seed, len(rows)])
        return self._batch(rows, outside(self.places, np.full(len(rows), 1 - hidden), rng))

    def _batch(self, rows: Rows, hidden_BS: NDArray[np.bool_]) -> Batch:
        ids_BS = np.where(hidden_BS, np.int8(self.unknown), self.ids[rows])
        share = torch.from_numpy((ids_BS != self.unknown).mean(axis=1))
        return Batch(torch.from_numpy(ids_BS).long(), 1, share, _labels(self.samples, rows))


class SequenceViews:
    """Views of sequences of any length, cut to the words that the network has positions for."""

    def __init__(
        self, samples: Samples, tokenizer: Tokenizer, recipe: ViewsRecipe, *, longest: int
    ) -> None:
        self.samples, self.tokenizer, self.recipe, self.longest = (
            samples,
            tokenizer,
            recipe,
            longest,
        )

    def varied(self, rows: Rows, rng: np.random.Generator) -> Batch:
        flipped = rng.random(len(rows)) < self.recipe.reverse_complement
        sequences = [self._letters(row) for row in rows]
        turned = [
            reverse_complement(s) if f else s for s, f in zip(sequences, flipped, strict=True)
        ]
        shares = rng.random(len(rows)) * self.recipe.hide
        shares *= rng.random(len(rows)) < self.recipe.hide_often
        seen = [hide(s[None], shares[i : i + 1], rng)[0] for i, s in enumerate(turned)]
        starts = [rng.integers(max(1, len(s) - self._room + 1)) for s in seen]
        return self._batch(rows, [s[a : a + self._room] for s, a in zip(seen, starts, strict=True)])

    def plain(self, rows: Rows, hidden: float = 0.0, seed: int = 0) -> Batch:
        rng = np.random.default_rng([seed, len(rows)])
        sequences = (hide(self._letters(row)[None], np.array([hidden]), rng)[0] for row in rows)
        return self._batch(rows, [letters[: self._room] for letters in sequences])

    @property
    def _room(self) -> int:
        """How many letters the network can read at once."""
        return (self.longest - 1) * self.tokenizer.stride + self.tokenizer.k

    def _letters(self, row: int) -> Letters:
        return np.frombuffer(self.samples.sequences[row].encode("ascii"), np.uint8)

    def _batch(self, rows: Rows, sequences: list[Letters]) -> Batch:
        encoded = [
            self.tokenizer.encode(letters.tobytes().decode("ascii")) for letters in sequences
        ]
        share = torch.tensor([float(np.mean(s != ord("N"))) if len(s) else 0.0 for s in sequences])
        ids = torch.from_numpy(padded(encoded, self.tokenizer.pad_id))
        return Batch(ids, 1, share.double(), _labels(self.samples, rows))


def _labels(samples: Samples, rows: Rows) -> dict[str, Tensor]:
    return {head: torch.from_numpy(labels[rows]) for head, labels in samples.labels.items()}
