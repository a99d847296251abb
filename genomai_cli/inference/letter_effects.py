"""What every substitution of a letter changes of a label's log odds: by trying each, or by the gradient at once.

- `MUTAGENESIS`, in-silico: the model reads every sequence with one base replaced (Zhou & Troyanskaya 2015, Nat Methods
  12:931; Nair et al. 2022, Bioinformatics 38:2397). Exact, for 3 L readings of a sequence of L letters.
- `GRADIENT`: its first-order approximation (Sasse et al. 2024, iScience 27:110807), the gradient at the vectors of the
  tokens times the difference of vectors, for two readings of a sequence. Where the network is linear in each letter, as
  regressions on k-mers and positions are, this is exact as well; log odds of more than two classes are not linear.

Shape suffixes: N texts, L letters, A bases, B windows, T tokens, V tokens of the vocabulary, C classes of a head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import (
    BASE_LETTERS,
    BASES,
    IS_BASE,
    as_letters,
    as_text,
    reverse_complement,
)
from genomai_cli.backbones.heads import token_slopes
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.device import by_halves
from genomai_cli.inference.batching import Batching, batches, padding_mask
from genomai_cli.inference.label_odds import LabelOdds, fused_odds, mean_scores
from genomai_cli.inference.likelihood import chunks
from genomai_cli.inputs.base import ModelInput
from genomai_cli.inputs.sequences import SequenceReader
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import Ids
from genomai_cli.tokenizers.batch import padded

MUTAGENESIS = "ism"
GRADIENT = "gradient"
MUTANTS_AT_ONCE = 4096
LETTERS_OF_MUTANTS = 1 << 22  # at once
SLOPES_AT_ONCE = 1 << 24  # values

Changes = NDArray[np.float64]


class Readings(Protocol):
    """What a model says of texts: see `LabelOdds`."""

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The values (N, labels) of each text."""


def mutated(odds: Readings, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
    """The change (L, 4) of one value of each text, as the log odds of a label, by every substitution; NaN for a letter
    itself and for letters that are no bases."""
    before_N = odds.of(texts)[np.arange(len(texts)), columns]
    found = [np.full((len(text), len(BASES)), np.nan) for text in texts]
    longest = max(map(len, texts), default=1)
    size = max(1, min(MUTANTS_AT_ONCE, LETTERS_OF_MUTANTS // max(1, longest)))
    for some in chunks(_mutants(texts), size):
        after = odds.of([text for *_, text in some])
        for (number, place, base, _), row in zip(some, after, strict=True):
            found[number][place, base] = row[columns[number]] - before_N[number]
    return found


def _mutants(texts: Sequence[str]) -> Iterator[tuple[int, int, int, str]]:
    """Every text with one of its bases replaced: its number, the place, the base that is put there, the text."""
    for number, text in enumerate(texts):
        for place, letter in enumerate(text):
            for code, base in enumerate(BASES) if letter in BASES else ():
                if base != letter:
                    yield number, place, code, text[:place] + base + text[place + 1 :]


def substitutions(text: str) -> NDArray[np.bool_]:
    """Where (L, 4) another base would replace one."""
    letters_L1 = as_letters(text)[:, None]
    there: NDArray[np.bool_] = IS_BASE[letters_L1] & (letters_L1 != BASE_LETTERS)
    return there


def mean_loss(changes: Changes) -> NDArray[np.float64]:
    """What each letter adds (L,): minus the mean of the changes (L, 4) by its substitutions, NaN where it has none."""
    count_L = np.isfinite(changes).sum(1)
    mean_L = np.nansum(changes, axis=1) / np.maximum(count_L, 1)
    return np.where(count_L > 0, -mean_L, np.nan)


def by_gradient(odds: LabelOdds, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
    """The same to first order."""
    slopes = Slopes(odds.bundle, odds.batching)
    forward = slopes.changes(texts, columns)
    if not odds.both_strands:
        return forward
    turned = [as_text(reverse_complement(as_letters(text))) for text in texts]
    backward = slopes.changes(turned, columns)
    return [(one + other[::-1, ::-1]) / 2 for one, other in zip(forward, backward, strict=True)]


@dataclass(frozen=True, eq=False)
class Slopes:
    """The gradient of a model's log odds, for texts of which it can read something."""

    bundle: Bundle
    batching: Batching

    def changes(self, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
        """The changes (L, 4) of each text as it stands."""
        reader, template = SequenceReader(self.bundle), self.bundle.tokenizer.template
        weights = self._weights([reader(SequenceRecord("", text)) for text in texts], columns)
        found = [np.zeros((len(text), len(BASES))) for text in texts]
        placed = [reader.encoded_windows(text) for text in texts]
        windows = [
            ((number, at, ids), template(ids))
            for number, entries in enumerate(placed)
            for at, ids in entries
        ]
        for batch in batches(windows, self._batching):
            known = [(number, ids) for (number, _, _), ids in batch]
            counts = [len(entries) for entries in placed]
            slopes_BTV = by_halves(partial(self._of_tokens, weights, counts), known)
            for ((number, at, ids), _), slopes_TV in zip(batch, slopes_BTV, strict=True):
                text = texts[number][at:]
                change_LA = of_letters(self.bundle.tokenizer, text, ids, slopes_TV)
                found[number][at : at + len(change_LA)] += change_LA
        return [
            np.where(substitutions(text), change_LA, np.nan)
            for text, change_LA in zip(texts, found, strict=True)
        ]

    @property
    def _batching(self) -> Batching:
        """As asked, and no more tokens than slopes of the whole vocabulary have room for."""
        tokens = max(1, SLOPES_AT_ONCE // len(self.bundle.tokenizer.vocabulary))
        return replace(self.batching, tokens=min(self.batching.tokens, tokens))

    def _weights(self, reads: Sequence[ModelInput], columns: Sequence[int]) -> dict[str, Tensor]:
        """How fast one log odds of each rises with its mean scores (N, C) by head."""
        found = [scores for scores in mean_scores(self.bundle, reads, self.batching) if scores]
        leaves = {
            head: torch.stack([scores[head] for scores in found]).double().requires_grad_()
            for head in (*self.bundle.heads, *self.bundle.numbers)
        }
        share_N = torch.tensor([read.share for read in reads], dtype=torch.float64)
        odds_NK = fused_odds(self.bundle, leaves, share_N)
        asked_N = odds_NK[torch.arange(len(reads)), torch.tensor(columns)]
        grown = torch.autograd.grad(asked_N.sum(), list(leaves.values()), allow_unused=True)
        return {
            head: weight_NC
            for head, weight_NC in zip(leaves, grown, strict=True)
            if weight_NC is not None
        }

    @torch.no_grad()
    def _of_tokens(
        self, weights: dict[str, Tensor], counts: list[int], batch: Sequence[tuple[int, Ids]]
    ) -> list[Changes]:
        """The slopes (T, V) of the weighed logits by the tokens of each window, without those of its template; with
        each the number of its text, whose weights (N, C) are shared by so many windows."""
        windows = [ids for _, ids in batch]
        rows = [number for number, _ in batch]
        count_B1 = torch.tensor([[counts[number]] for number in rows])
        classifier, tokenizer = self.bundle.classifier, self.bundle.tokenizer
        left, values = tokenizer.padding_side == "left", next(classifier.parameters())
        ids_BT = torch.from_numpy(padded(windows, tokenizer.pad_id, left=left)).to(values.device)
        mask_BT = padding_mask(windows, ids_BT, left=left)
        asked = {head: (one_NC[rows] / count_B1).to(values) for head, one_NC in weights.items()}
        each = [token_slopes(net, ids_BT, mask_BT, asked) for net in classifier.networks]
        mean_BTV = torch.stack(each).mean(0).double().cpu().numpy()
        before, after = len(tokenizer.prefix), len(tokenizer.suffix)
        first = [ids_BT.shape[1] - len(ids) if left else 0 for ids in windows]
        return [
            slopes_TV[at + before : at + len(ids) - after]
            for at, ids, slopes_TV in zip(first, windows, mean_BTV, strict=True)
        ]


def of_letters(tokenizer: Tokenizer, text: str, ids: Ids, slopes_TV: Changes) -> Changes:
    """The changes (L, 4) by every letter that the tokens (T,) of the text's beginning cover: what the tokens with
    another letter have more than those that are there.

    Letters k apart are replaced at once, so that every token has one of them.
    """
    k, step = tokenizer.k, tokenizer.stride
    width = (len(ids) - 1) * step + k
    letters_L, token_T = as_letters(text[:width]), np.arange(len(ids))
    change_LA = np.zeros((width, len(BASES)))
    there_T = slopes_TV[token_T, ids]
    for phase in range(k):
        place_T = token_T * step + (phase - token_T * step) % k
        for code, base in enumerate(BASE_LETTERS):
            other_L = letters_L.copy()
            other_L[phase::k] = base
            other_T = slopes_TV[token_T, tokenizer.encode(as_text(other_L))]
            np.add.at(change_LA[:, code], place_T, other_T - there_T)
    return change_LA
