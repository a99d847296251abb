"""How a long sequence is cut into overlapping windows of whole tokens, without a letter left out.

Windows begin every `stride` letters; the last one is moved back so that it ends where the sequence ends. A sequence
that is shorter than a window is one window, or two if its length is not that of whole tokens: one begins where
it begins, the other ends where it ends.

Along which strands, and in which windows, a record is read to be embedded.

A sequence has one strand or, with its reverse complement, two; a barcode is one, or its two haplotypes. Windows are
made when they are asked for, so that a chromosome needs little more memory than its letters.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli import tokenizers
from genomai_cli.alphabet import as_letters, as_text, reverse_complement
from genomai_cli.backbones.base import max_length
from genomai_cli.errors import TrainingError, UsageError
from genomai_cli.inputs.base import Reader, Recipe
from genomai_cli.records import SequenceRecord, Text
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import Ids

UNBOUNDED = 1 << 40  # tokens, of a network without a longest input


@dataclass(frozen=True)
class Windows:
    """Windows of `size` letters every `stride` letters, for tokens of `k` letters, one every `step`."""

    size: int
    stride: int
    k: int = 1
    step: int = 1

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        max_tokens: int,
        size: int | None = None,
        stride: int | None = None,
    ) -> "Windows":
        """Windows for a network that reads at most `max_tokens` tokens: by default as long as it can read, every
        half of their length; both are rounded down to whole tokens.

        Raises UsageError for a window that the network cannot read, and for a stride that would skip tokens.
        """
        k, step = tokenizer.k, tokenizer.stride
        max_letters = (max_tokens - 1) * step + k
        letters = max_letters if size is None else size
        if not k <= letters <= max_letters:
            raise UsageError(
                f"--window {size}: this model reads windows of {k} to {max_letters} letters"
            )
        tokens = (letters - k) // step + 1
        return cls((tokens - 1) * step + k, _stride(letters, tokens, step, stride), k, step)

    @classmethod
    def of_half_overlap(cls, tokenizer: Tokenizer, max_tokens: int | None) -> "Windows":
        """Windows as long as the network can read that share half of their tokens with the next."""
        max_tokens = UNBOUNDED if max_tokens is None else max_tokens
        step = max(1, max_tokens // 2) * tokenizer.stride
        return cls(
            (max_tokens - 1) * tokenizer.stride + tokenizer.k, step, tokenizer.k, tokenizer.stride
        )

    def span(self, letters: int) -> int:
        """How many of so many letters, from the first, make whole tokens."""
        return 0 if letters < self.k else (letters - self.k) // self.step * self.step + self.k

    def width(self, letters: int) -> int:
        """The length of each window of a sequence of so many letters; 0 if it has no token."""
        return min(self.size, self.span(letters))

    def starts(self, letters: int, *, backward: bool = False) -> Iterator[int]:
        """Where the windows of a sequence of so many letters begin, ascending, or with `backward` descending."""
        if not self.span(letters):
            return iter(())
        last = letters - self.width(letters)
        regular_starts = range(0, last, self.stride)
        return (
            chain([last], reversed(regular_starts)) if backward else chain(regular_starts, [last])
        )


def _stride(size: int, tokens: int, step: int, stride: int | None) -> int:
    """The stride in letters, a multiple of `step`, that lets windows of so many tokens meet or overlap."""
    if stride is None:
        return min(max(1, size // 2 // step), tokens) * step
    if not step <= stride <= tokens * step:
        raise UsageError(
            f"--stride {stride}: windows of {size} letters may begin {step} to {tokens * step} letters apart"
        )
    return stride // step * step


def window(recipe: Recipe) -> int:
    """How many letters of a sequence the recipe's network reads at once."""
    tokenizer = tokenizers.from_config(recipe.tokenizer)
    tokens = tokenizer.tokens_that_fit(max_length(recipe.network))
    if tokens is None and not recipe.corpus.window:
        raise TrainingError(
            f"recipe {recipe.name}: the network reads any length: set corpus.window"
        )
    max_letters = (
        recipe.corpus.window if tokens is None else (tokens - 1) * tokenizer.stride + tokenizer.k
    )
    return min(max_letters, recipe.corpus.window or max_letters)


@dataclass(frozen=True, slots=True)
class Window:
    """Some tokens of a strand: `tokens` from the `start`-th of the record's `total`, in reverse order if `flipped`.

    `likelihoods` are those of genotypes, where `ModelInput` has them.
    """

    strand: int
    strands: int
    tokens: int
    start: int = 0
    total: int = 0
    flipped: bool = False
    likelihoods: NDArray[np.float32] | None = field(default=None, compare=False)


class Strands(Protocol):
    """How a model's records are read; a record in which nothing can be read has no windows."""

    def known_windows(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """The windows that have a known token, strand by strand; together they hold every letter."""

    def ordered_windows(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """All windows in the order of `start`, whatever their strand; together they hold every whole token."""


@dataclass(frozen=True)
class SequenceStrands:
    """Reads plain DNA; with `both_strands` the reverse complement as well, with `first_only` only the first window of a
    strand."""

    tokenizer: Tokenizer
    windows: Windows
    both_strands: bool = False
    first_only: bool = False

    def known_windows(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """See `Strands`. Where the last window does not fit the grid of the tokens it has tokens of its own."""
        letters = len(record.sequence)
        for strand in range(1 + self.both_strands):
            for start in self.windows.starts(letters):
                ids = self._window(record.sequence, letters, start, backward=strand == 1)
                if self.tokenizer.is_known(ids).any():
                    yield (
                        Window(strand, 1 + self.both_strands, len(ids)),
                        self.tokenizer.template(ids),
                    )
                    if self.first_only:
                        break

    def ordered_windows(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """See `Strands`."""
        letters = self.windows.span(len(record.sequence))
        strands = [self._strand(record.sequence, letters, n) for n in range(1 + self.both_strands)]
        return merge(*strands, key=lambda entry: entry[0].start)

    def _strand(self, sequence: Text, letters: int, strand: int) -> Iterator[tuple[Window, Ids]]:
        """A strand's windows by their first token on the forward strand; its first letters are whole tokens."""
        total = self.tokenizer.length(letters)
        for start in self.windows.starts(letters, backward=strand == 1):
            ids = self._window(sequence, letters, start, backward=strand == 1)
            first, tokens = start // self.windows.step, len(ids)
            if strand == 1:
                first = total - first - tokens
            window = Window(strand, 1 + self.both_strands, tokens, first, total, strand == 1)
            yield window, self.tokenizer.template(ids)

    def _window(self, sequence: Text, letters: int, start: int, *, backward: bool) -> Ids:
        """The tokens of the window that begins at `start` of the first letters, or of their reverse complement."""
        width = self.windows.width(letters)
        if not backward:
            return self.tokenizer.encode(sequence[start : start + width])
        end = letters - start
        reverse = reverse_complement(as_letters(sequence[end - width : end]))
        return self.tokenizer.encode(as_text(reverse))


@dataclass(frozen=True)
class ReaderStrands:
    """Reads barcodes or mapped genomes by their `Reader`: each of its windows is a strand."""

    read: Reader

    def known_windows(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """See `Strands`."""
        model_input = self.read(record)
        strand_ids = model_input.windows if model_input.used_letters else []
        for strand, ids in enumerate(strand_ids):
            window = Window(
                strand,
                len(strand_ids),
                len(ids),
                total=len(ids),
                likelihoods=model_input.likelihoods,
            )
            yield window, ids

    def ordered_windows(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """See `Strands`."""
        return self.known_windows(record)
