"""How every substitution of a letter changes a label's log odds: by trying each, or by the gradient at once.

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
from genomai_cli.backbones.heads import token_gradients
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.device import run_with_batch_halving
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
MAX_MUTANTS = 4096
MAX_MUTANT_LETTERS = 1 << 22  # at once
MAX_GRADIENTS = 1 << 24  # values

Changes = NDArray[np.float64]


class Predictor(Protocol):
    """Predicts values for texts, as `LabelOdds` does."""

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The values (N, labels) of each text."""


def by_mutagenesis(odds: Predictor, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
    """The change (L, 4) of one value of each text, as the log odds of a label, by every substitution; NaN for a letter
    itself and for letters that are no bases."""
    reference_N = odds.of(texts)[np.arange(len(texts)), columns]
    changes = [np.full((len(text), len(BASES)), np.nan) for text in texts]
    longest = max(map(len, texts), default=1)
    size = max(1, min(MAX_MUTANTS, MAX_MUTANT_LETTERS // max(1, longest)))
    for mutants in chunks(_mutants(texts), size):
        mutant_odds = odds.of([text for *_, text in mutants])
        for (number, position, base, _), row in zip(mutants, mutant_odds, strict=True):
            changes[number][position, base] = row[columns[number]] - reference_N[number]
    return changes


def _mutants(texts: Sequence[str]) -> Iterator[tuple[int, int, int, str]]:
    """Every text with one of its bases replaced: its number, the position, the new base, the changed text."""
    for number, text in enumerate(texts):
        for position, letter in enumerate(text):
            for code, base in enumerate(BASES) if letter in BASES else ():
                if base != letter:
                    yield number, position, code, text[:position] + base + text[position + 1 :]


def substitution_mask(text: str) -> NDArray[np.bool_]:
    """Where (L, 4) another base would replace one."""
    letters_L1 = as_letters(text)[:, None]
    is_substitution: NDArray[np.bool_] = IS_BASE[letters_L1] & (letters_L1 != BASE_LETTERS)
    return is_substitution


def mean_loss(changes: Changes) -> NDArray[np.float64]:
    """What each letter adds (L,): minus the mean of the changes (L, 4) by its substitutions, NaN where it has none."""
    count_L = np.isfinite(changes).sum(1)
    mean_L = np.nansum(changes, axis=1) / np.maximum(count_L, 1)
    return np.where(count_L > 0, -mean_L, np.nan)


def by_gradient(odds: LabelOdds, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
    """The same to first order."""
    gradients = Gradients(odds.bundle, odds.batching)
    forward = gradients.changes(texts, columns)
    if not odds.both_strands:
        return forward
    reversed_texts = [as_text(reverse_complement(as_letters(text))) for text in texts]
    backward = gradients.changes(reversed_texts, columns)
    return [(one + other[::-1, ::-1]) / 2 for one, other in zip(forward, backward, strict=True)]


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradient of a model's log odds, for texts of which it can read something."""

    bundle: Bundle
    batching: Batching

    def changes(self, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
        """The changes (L, 4) of each text as it stands."""
        reader, template = SequenceReader(self.bundle), self.bundle.tokenizer.template
        weights = self._weights([reader(SequenceRecord("", text)) for text in texts], columns)
        changes = [np.zeros((len(text), len(BASES))) for text in texts]
        windows_by_text = [reader.encoded_windows(text) for text in texts]
        windows = [
            ((number, start, ids), template(ids))
            for number, entries in enumerate(windows_by_text)
            for start, ids in entries
        ]
        for batch in batches(windows, self._batching):
            numbered_windows = [(number, ids) for (number, _, _), ids in batch]
            counts = [len(entries) for entries in windows_by_text]
            gradients_BTV = run_with_batch_halving(
                partial(self._token_gradients, weights, counts), numbered_windows
            )
            for ((number, start, ids), _), gradients_TV in zip(batch, gradients_BTV, strict=True):
                text = texts[number][start:]
                change_LA = letter_changes(self.bundle.tokenizer, text, ids, gradients_TV)
                changes[number][start : start + len(change_LA)] += change_LA
        return [
            np.where(substitution_mask(text), change_LA, np.nan)
            for text, change_LA in zip(texts, changes, strict=True)
        ]

    @property
    def _batching(self) -> Batching:
        """As set, with at most `MAX_GRADIENTS` values: gradients by every token of the vocabulary."""
        tokens = max(1, MAX_GRADIENTS // len(self.bundle.tokenizer.vocabulary))
        return replace(self.batching, tokens=min(self.batching.tokens, tokens))

    def _weights(
        self, model_inputs: Sequence[ModelInput], columns: Sequence[int]
    ) -> dict[str, Tensor]:
        """How fast one log odds of each rises with its mean scores (N, C) by head."""
        scores_by_text = [
            scores for scores in mean_scores(self.bundle, model_inputs, self.batching) if scores
        ]
        leaf_scores = {
            head: torch.stack([scores[head] for scores in scores_by_text]).double().requires_grad_()
            for head in (*self.bundle.heads, *self.bundle.numbers)
        }
        share_N = torch.tensor(
            [model_input.share for model_input in model_inputs], dtype=torch.float64
        )
        odds_NK = fused_odds(self.bundle, leaf_scores, share_N)
        chosen_N = odds_NK[torch.arange(len(model_inputs)), torch.tensor(columns)]
        gradients = torch.autograd.grad(
            chosen_N.sum(), list(leaf_scores.values()), allow_unused=True
        )
        return {
            head: weight_NC
            for head, weight_NC in zip(leaf_scores, gradients, strict=True)
            if weight_NC is not None
        }

    @torch.no_grad()
    def _token_gradients(
        self, weights: dict[str, Tensor], counts: list[int], batch: Sequence[tuple[int, Ids]]
    ) -> list[Changes]:
        """The gradients (T, V) of the weighed logits by the tokens of each window, without those of its template; with
        each the number of its text, whose weights (N, C) are shared by so many windows."""
        windows = [ids for _, ids in batch]
        rows = [number for number, _ in batch]
        count_B1 = torch.tensor([[counts[number]] for number in rows])
        classifier, tokenizer = self.bundle.classifier, self.bundle.tokenizer
        left, values = tokenizer.padding_side == "left", next(classifier.parameters())
        ids_BT = torch.from_numpy(padded(windows, tokenizer.pad_id, left=left)).to(values.device)
        mask_BT = padding_mask(windows, ids_BT, left=left)
        weights_by_head = {
            head: (one_NC[rows] / count_B1).to(values) for head, one_NC in weights.items()
        }
        gradients_by_network = [
            token_gradients(net, ids_BT, mask_BT, weights_by_head) for net in classifier.networks
        ]
        mean_BTV = torch.stack(gradients_by_network).mean(0).double().cpu().numpy()
        before, after = len(tokenizer.prefix), len(tokenizer.suffix)
        first = [ids_BT.shape[1] - len(ids) if left else 0 for ids in windows]
        return [
            gradients_TV[begin + before : begin + len(ids) - after]
            for begin, ids, gradients_TV in zip(first, windows, mean_BTV, strict=True)
        ]


def letter_changes(tokenizer: Tokenizer, text: str, ids: Ids, gradients_TV: Changes) -> Changes:
    """The changes (L, 4) by every letter that the tokens (T,) of the text's beginning cover: what the tokens with
    another letter have more than those that are there.

    Letters k apart are replaced at once, so that every token has one of them.
    """
    k, step = tokenizer.k, tokenizer.stride
    width = (len(ids) - 1) * step + k
    letters_L, token_T = as_letters(text[:width]), np.arange(len(ids))
    change_LA = np.zeros((width, len(BASES)))
    reference_T = gradients_TV[token_T, ids]
    for phase in range(k):
        position_T = token_T * step + (phase - token_T * step) % k
        for code, base in enumerate(BASE_LETTERS):
            other_L = letters_L.copy()
            other_L[phase::k] = base
            other_T = gradients_TV[token_T, tokenizer.encode(as_text(other_L))]
            np.add.at(change_LA[:, code], position_T, other_T - reference_T)
    return change_LA
