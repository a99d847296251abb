"""The scores of sequences: the sums of the log-likelihoods of their letters.

A sequence that is longer than a window is read in windows that overlap by half, and each letter is scored once: in the
first window that ends with or after it (next token, one strand), else in the one in whose middle it lies. Tokens of
several letters are those of the whole sequence, on either strand.

Shape suffixes: S strands, L letters.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from genomai_cli.formats.parquet import COUNT, NUMBER, TEXT, Columns
from genomai_cli.inference.likelihood import (
    NEXT_TOKEN,
    STRETCHES_PER_BATCH,
    Likelihood,
    Logs,
    Stretch,
    chunks,
)
from genomai_cli.records import SequenceRecord, Text
from genomai_cli.tokenizers import Tokenizer

COLUMNS: Columns = (
    ("id", TEXT),
    ("length", COUNT),
    *((name, NUMBER) for name in ("log_likelihood", "per_base", "perplexity", "scored")),
    ("method", TEXT),
)


@dataclass(frozen=True)
class Score:
    """A log-likelihood in nats, the sum over so many bases; with both strands the means of both."""

    log_likelihood: float
    bases: float

    @classmethod
    def of(cls, logs_SL: Logs) -> "Score":
        """The sum of the scored letters."""
        strands = len(logs_SL)
        scored = int(np.count_nonzero(~np.isnan(logs_SL)))
        return cls(float(np.nansum(logs_SL)) / strands, scored / strands)

    def __add__(self, other: "Score") -> "Score":
        return Score(self.log_likelihood + other.log_likelihood, self.bases + other.bases)

    @property
    def total(self) -> float:
        """The log-likelihood; NaN if no base was scored."""
        return self.log_likelihood if self.bases else math.nan

    @property
    def per_base(self) -> float:
        """The mean over the scored bases; NaN if there is none."""
        return self.log_likelihood / self.bases if self.bases else math.nan

    @property
    def perplexity(self) -> float:
        """Among how many equally likely bases the model chooses, on average."""
        return math.exp(-self.per_base)


@dataclass(frozen=True, eq=False)
class ScoredLetters:
    """Some letters of a record, in their order: their log-probabilities `logs` (S, L) by strand; `last` ends the record
    of this `name`."""

    name: str
    logs: Logs
    last: bool

    @property
    def means(self) -> Logs:
        """The mean (L,) over the strands; of a letter that is scored on one strand only, that one's."""
        counts_L = (~np.isnan(self.logs)).sum(axis=0)
        sums_L = np.nansum(self.logs, axis=0)
        return np.where(counts_L > 0, sums_L / np.maximum(counts_L, 1), np.nan)


def score_sequences(
    likelihood: Likelihood, records: Iterable[SequenceRecord]
) -> Iterator[ScoredLetters]:
    """Every record's letters in order, a window's worth at a time; a record without letters has one empty piece."""
    named_stretches = (
        (record.name, stretch, last)
        for record in records
        for stretch, last in _windows(likelihood, record.sequence)
    )
    for batch in chunks(named_stretches, STRETCHES_PER_BATCH):
        logs_by_stretch = likelihood.letters(stretch for _, stretch, _ in batch)
        for (name, stretch, last), logs_SL in zip(batch, logs_by_stretch, strict=True):
            yield ScoredLetters(name, logs_SL[:, stretch.scored], last)


def _windows(likelihood: Likelihood, text: Text) -> Iterator[tuple[Stretch, bool]]:
    """The windows of a text, whose own letters follow on each other, each with whether it is the last."""
    tokenizer, size = likelihood.tokenizer, likelihood.window or max(1, len(text))
    k, step, both_strands = tokenizer.k, tokenizer.stride, likelihood.settings.both_strands
    is_causal = likelihood.method == NEXT_TOKEN
    if is_causal and size < len(text):
        size = _whole_tokens(size, tokenizer)
    skipped = (size - len(text)) % step  # the other strand's tokens are counted from its own end
    # At a window's end, the letters of tokens that the next one scores: it has the token before, and those after.
    shared = k + skipped if both_strands else (k - 1) // step * step
    half = max(step, min(size // 2, size - k - shared if is_causal else size) // step * step)
    starts = [0, *range(half, max(1, len(text) - size + half), half)]
    ends = [min(start + size, len(text)) for start in starts]
    cuts = [(start + end) // 2 for start, end in zip(starts[1:], ends, strict=False)]
    if is_causal:
        latest = [_whole_tokens(end - shared, tokenizer) for end in ends[:-1]]
        middles = [
            max(start + k, _whole_tokens(middle, tokenizer))
            for start, middle in zip(starts[1:], cuts, strict=True)
        ]
        cuts = list(map(min, middles, latest)) if both_strands else latest
    pieces = pairwise([0, *cuts, len(text)])
    for start, window_end, (begin, end) in zip(starts, ends, pieces, strict=True):
        is_last = window_end == len(text)
        unread = 0 if is_last else skipped
        yield Stretch(text[start:window_end], begin - start, end - start, unread), is_last


def _whole_tokens(letters: int, tokenizer: Tokenizer) -> int:
    """How many of so many letters, from the first, whole tokens cover: a token's letters are all of one window, since
    its log-likelihood is at one letter and counts for all."""
    return max(
        tokenizer.k, (letters - tokenizer.k) // tokenizer.stride * tokenizer.stride + tokenizer.k
    )


@dataclass(frozen=True)
class SequenceScore:
    """A record's score; `length` is that of its text."""

    name: str
    length: int
    score: Score


def totals(parts: Iterable[ScoredLetters]) -> Iterator[SequenceScore]:
    """Every record's score, when its last piece has come."""
    length, score = 0, Score(0.0, 0.0)
    for part in parts:
        length += part.logs.shape[1]
        score += Score.of(part.logs)
        if part.last:
            yield SequenceScore(part.name, length, score)
            length, score = 0, Score(0.0, 0.0)
