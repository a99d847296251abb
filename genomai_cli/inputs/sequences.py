"""TODO genomai_cli.inputs.sequences."""

from typing import Any

import numpy as np
import torch

from genomai_cli.augmentations import hide, reverse_complement
from genomai_cli.backbones.classifier import Classifier
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.inputs.base import (
    Batch,
    Letters,
    Material,
    Reading,
    Views,
    ViewsRecipe,
    _labels,
    _words,
)
from genomai_cli.records import SequenceRecord
from genomai_cli.registry import complete_config
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import Ids, padded
from genomai_cli.training.labelled_data import Rows, Samples
from genomai_cli.training.recipe import Recipe


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


class Sequences(Material):
    """Samples that are sequences of any length."""

    def __init__(self, samples: Samples, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self.samples, self.recipe, self.tokenizer = samples, recipe, tokenizer

    def sizes(self) -> dict[str, Any]:
        return _words(self.tokenizer)

    def fill(self, classifier: Classifier) -> None:
        del classifier  # what a word means has to be learnt

    def views(self, learn: Rows) -> Views:
        del learn
        longest = int(complete_config(self.recipe.network)["positions"])
        return SequenceViews(self.samples, self.tokenizer, self.recipe.views, longest=longest)


WINDOW_OVERLAP = 2  # a window shares half its words with the next


class SequenceReader:
    """Reads sequences of any length; a long one in windows that overlap by half.

    A window without a single known word has nothing to say and is left out.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.tokenizer = bundle.tokenizer
        unknown = self.tokenizer.unk_id
        self.unknown = self.tokenizer.mask_id if unknown is None else unknown
        self.longest = int(bundle.config["network"]["positions"])

    def __call__(self, record: SequenceRecord) -> Reading:
        letters = np.frombuffer(record.sequence.encode("ascii"), np.uint8)
        ids = self.tokenizer.encode(record.sequence)
        used = int(np.isin(letters, np.frombuffer(b"ACGT", np.uint8)).sum())
        windows = [window for window in self._windows(ids) if (window != self.unknown).any()]
        return Reading(record.name, windows, used, len(letters))

    def _windows(self, ids: Ids) -> list[Ids]:
        if len(ids) <= self.longest:
            return [ids] if len(ids) else []
        step = self.longest // WINDOW_OVERLAP
        starts = [*range(0, len(ids) - self.longest, step), len(ids) - self.longest]
        return [ids[start : start + self.longest] for start in starts]
