"""Plain sequences of any length: read in windows, batches for training.

Shape suffixes: B samples, L letters, T tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from genomai_cli.alphabet import IS_BASE, UNKNOWN_LETTER, as_letters, as_text, reverse_complement
from genomai_cli.augmentations import hide
from genomai_cli.backbones.base import Network, max_length
from genomai_cli.backbones.sequence_novelty import NOVELTY, SequenceNovelty
from genomai_cli.inputs.base import (
    FEW_LETTERS,
    CardText,
    FlagText,
    InputKind,
    Model,
    ModelInput,
    Reader,
    Recipe,
)
from genomai_cli.inputs.samples import (
    Letters,
    Rows,
    Samples,
    TrainingBatch,
    TrainingRows,
    Views,
    labels_of,
)
from genomai_cli.inputs.windows import Windows
from genomai_cli.records import SequenceRecord, Text
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import Ids
from genomai_cli.tokenizers.batch import TokenBatch

OF_DNA = """\
It makes new DNA: `genomai generate --model DIR --length 1000 --prompt ACGT`. The loss bounds the negative
log-likelihood of a letter in its window; what is made looks like the corpus over tens of letters, and is neither a gene
nor anybody's genome. Pretrained without labels: `genomai train --model DIR` gives it heads."""


@dataclass(frozen=True)
class SequenceSettings:
    """Nothing to say of sequences."""

    kind: str = "sequence"
    haplotypes: bool = False


@dataclass(frozen=True)
class SequenceViewsSettings:
    """How sequences are varied while training: `hide` is the largest share of letters masked, uniformly up to it,
    in the share `hide_often` of the samples; `reverse_complement` the share read on the other strand."""

    hide: float = 0.0
    hide_often: float = 0.0
    reverse_complement: float = 0.0


class SequenceInput(InputKind):
    """Sequences of any length; long ones are read in windows."""

    name = "sequence"
    settings: ClassVar[type] = SequenceSettings
    views_settings = SequenceViewsSettings
    similar_are_one = True
    flag_texts: ClassVar[Mapping[str, FlagText]] = {
        "LOW_CALL_RATE": FEW_LETTERS,
        "NOVEL": FlagText(
            "Unlike the sequences that the model was trained on: by its letters, its k-mers or its length.",
            "Do not rely on the label. Cut the sequence as those of training were cut, or train a model on "
            "sequences like it.",
        ),
    }  # fmt: skip

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """There is nothing to read."""
        del folder, config
        return cls()

    def evidence(self, config: Mapping[str, Any]) -> SequenceNovelty | None:
        """What tells sequences unlike those of training, if the model has it."""
        return SequenceNovelty() if config.get("novelty") else None

    def flags(self, read: ModelInput, scores: Mapping[str, Tensor]) -> Iterator[str]:
        """LOW_CALL_RATE, NOVEL."""
        yield from super().flags(read, scores)
        if NOVELTY in scores and float(scores[NOVELTY]) > 0:
            yield "NOVEL"

    def withheld(self, read: ModelInput, scores: Mapping[str, Tensor]) -> bool:
        """Whether the sequence is so unlike those of training that hardly any of them would be taken for it."""
        del read
        return NOVELTY in scores and float(scores[NOVELTY]) > 1

    def reader(self, model: Model, others: Mapping[str, InputKind]) -> Reader:
        """See `SequenceReader`."""
        del others
        return SequenceReader(model)

    @classmethod
    def given(
        cls, recipe: Recipe, files: Mapping[str, Path | None], start: InputKind | None
    ) -> InputKind:
        """Sequences need nothing else."""
        del recipe, files, start
        return cls()

    def sizes(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
        """Those of the vocabulary."""
        del rows, recipe
        return vocabulary_sizes(tokenizer)

    def card(
        self, config: Mapping[str, Any], objectives: Sequence[str], network: Network
    ) -> CardText:
        """With diffusion, what can be generated."""
        text = super().card(config, objectives, network)
        markov = "a Markov model of the letters, interpolated up to order 10"
        purpose = OF_DNA if "diffusion" in objectives else text.purpose
        return replace(
            text, purpose=purpose, baselines=dict(text.baselines) | {"diffusion": markov}
        )

    def views(
        self, samples: Samples, train: Rows, recipe: Recipe, tokenizer: Tokenizer
    ) -> "SequenceViews":
        """See `SequenceViews`; sequences are not mixed."""
        del train
        longest = tokenizer.room(max_length(recipe.network))
        return SequenceViews(samples, tokenizer, recipe.views, longest)


def vocabulary_sizes(tokenizer: Tokenizer) -> dict[str, Any]:
    """The sizes of a network of tokens that follow from the tokenizer."""
    return {"vocabulary": len(tokenizer.vocabulary), "pad_id": tokenizer.pad_id}


class SequenceReader:
    """Reads sequences of any length; a long one in windows that overlap by half.

    A window without a single known token has nothing to say and is left out.
    """

    def __init__(self, model: Model) -> None:
        self.tokenizer = model.tokenizer
        self.windows = Windows.of_half_overlap(
            self.tokenizer, self.tokenizer.room(model.classifier.max_length)
        )

    def __call__(self, record: SequenceRecord) -> ModelInput:
        letters = as_letters(record.held)
        windows = [self.tokenizer.template(ids) for _, ids in self.placed(record.sequence)]
        return ModelInput(record.name, windows, int(IS_BASE[letters].sum()), len(letters))

    def placed(self, sequence: Text) -> list[tuple[int, Ids]]:
        """Where in the sequence each of its windows begins, and its ids without what the template puts around "
        "them."""
        letters = self.windows.span(len(sequence))
        width = self.windows.width(letters)
        starts = self.windows.starts(letters)
        encoded = [(at, self.tokenizer.encode(sequence[at : at + width])) for at in starts]
        return [(at, ids) for at, ids in encoded if self.tokenizer.is_known(ids).any()]


class SequenceViews(Views):
    """Views of sequences of any length, cut to the tokens that the network can read."""

    def __init__(
        self,
        samples: Samples,
        tokenizer: Tokenizer,
        settings: SequenceViewsSettings,
        longest: int | None,
    ) -> None:
        self.samples, self.tokenizer, self.settings = samples, tokenizer, settings
        self.longest = longest

    def varied(self, rows: Rows, rng: np.random.Generator) -> TrainingBatch:
        """See `Views`."""
        flipped = rng.random(len(rows)) < self.settings.reverse_complement
        sequences = [self._letters(row) for row in rows]
        turned = [
            reverse_complement(s) if f else s for s, f in zip(sequences, flipped, strict=True)
        ]
        shares = rng.random(len(rows)) * self.settings.hide
        shares *= rng.random(len(rows)) < self.settings.hide_often
        seen = [hide(s[None], shares[i : i + 1], rng)[0] for i, s in enumerate(turned)]
        starts = [rng.integers(max(1, len(s) - self._room(s) + 1)) for s in seen]
        return self._batch(
            rows, [s[a : a + self._room(s)] for s, a in zip(seen, starts, strict=True)]
        )

    def plain(self, rows: Rows, masked: float = 0.0, seed: int = 0) -> TrainingBatch:
        """See `Views`."""
        rng = np.random.default_rng([seed, len(rows)])
        sequences = (hide(self._letters(row)[None], np.array([masked]), rng)[0] for row in rows)
        return self._batch(rows, [letters[: self._room(letters)] for letters in sequences])

    def _room(self, letters: Letters) -> int:
        """How many of the letters the network can read at once."""
        if self.longest is None:
            return len(letters)
        return (self.longest - 1) * self.tokenizer.stride + self.tokenizer.k

    def _letters(self, row: int) -> Letters:
        return as_letters(self.samples.sequences[row])

    def _batch(self, rows: Rows, sequences: list[Letters]) -> TrainingBatch:
        encoded = [
            self.tokenizer.template(self.tokenizer.encode(as_text(letters)))
            for letters in sequences
        ]
        share = torch.tensor(
            [float(np.mean(s != UNKNOWN_LETTER)) if len(s) else 0.0 for s in sequences]
        )
        batch = TokenBatch.of(self.tokenizer, encoded)
        labels = labels_of(self.samples, rows)
        mask = torch.from_numpy(batch.mask)
        return TrainingBatch(torch.from_numpy(batch.ids), 1, share.double(), labels, mask)
