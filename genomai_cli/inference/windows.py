"""How a long sequence is cut into overlapping windows of whole words, without a letter left out.

Windows begin every `stride` letters; the last one is moved back so that it ends where the sequence ends. A sequence
that is shorter than a window is one window, or two if its length is not that of whole words: one begins where
it begins, the other ends where it ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from genomai_cli.errors import UsageError
from genomai_cli.tokenizers import Tokenizer


@dataclass(frozen=True)
class Windows:
    """Windows of `size` letters every `stride` letters, for words of `k` letters, one every `step`."""

    size: int
    stride: int
    k: int = 1
    step: int = 1

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, longest: int, size: int | None = None, stride: int | None = None
    ) -> "Windows":
        """Windows for a network that reads at most `longest` words: by default as long as it can read, every
        half of their length; both are rounded down to whole words.

        Raises UsageError for a window that the network cannot read, and for a stride that would skip words.
        """
        k, step = tokenizer.k, tokenizer.stride
        most = (longest - 1) * step + k
        asked = most if size is None else size
        if not k <= asked <= most:
            raise UsageError(f"--window {size}: this model reads windows of {k} to {most} letters")
        words = (asked - k) // step + 1
        return cls((words - 1) * step + k, _stride(asked, words, step, stride), k, step)

    def span(self, letters: int) -> int:
        """How many of so many letters, from the first, make whole words."""
        return 0 if letters < self.k else (letters - self.k) // self.step * self.step + self.k

    def width(self, letters: int) -> int:
        """The length of each window of a sequence of so many letters; 0 if it has no word."""
        return min(self.size, self.span(letters))

    def starts(self, letters: int, *, backward: bool = False) -> Iterator[int]:
        """Where the windows of a sequence of so many letters begin, ascending, or with `backward` descending."""
        if not self.span(letters):
            return iter(())
        last = letters - self.width(letters)
        others = range(0, last, self.stride)
        return chain([last], reversed(others)) if backward else chain(others, [last])


def _stride(size: int, words: int, step: int, stride: int | None) -> int:
    """The stride in letters, a multiple of `step`, that lets windows of so many words meet or overlap."""
    if stride is None:
        return min(max(1, size // 2 // step), words) * step
    if not step <= stride <= words * step:
        raise UsageError(
            f"--stride {stride}: windows of {size} letters may begin {step} to {words * step} letters apart"
        )
    return stride // step * step
