"""Ids in, scores out: batches of windows through a network, and their means by record, in input order.

It knows no tokenizer, no labels and no files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.device import run_with_batch_halving
from genomai_cli.tokenizers.base import Ids
from genomai_cli.tokenizers.batch import padded

Item = TypeVar("Item")
Window = TypeVar("Window", Ids, Ids | None)
Network = Callable[..., Mapping[str, Tensor]]  # of ids, mask and, if there are any, likelihoods
Likelihoods = Callable[[Item], NDArray[np.float32] | None]
Scores = dict[str, Tensor]
TOKENS_PER_BATCH = 1 << 16


@dataclass(frozen=True)
class Batching:
    """How many windows go through the network at once: so many tokens, and at most so many windows.

    `pairs` of tokens bound the memory of a network in which every token of a window attends to every other.
    """

    tokens: int = TOKENS_PER_BATCH
    windows: int | None = None
    pairs: int | None = None

    def is_full(self, count: int, longest: int) -> bool:
        """Whether a batch of `count` windows, of which the longest has so many tokens, is complete."""
        return (
            count * longest >= self.tokens
            or (self.windows is not None and count >= self.windows)
            or (self.pairs is not None and count * longest**2 >= self.pairs)
        )


DEFAULT_BATCHING = Batching()


def _no_likelihoods(item: object) -> None:
    del item


def score(
    network: Network,
    items: Iterable[tuple[Item, list[Ids]]],
    *,
    pad_id: int,
    device: torch.device,
    batching: Batching = DEFAULT_BATCHING,
    left: bool = False,
    likelihoods: Likelihoods[Item] = _no_likelihoods,
) -> Iterator[tuple[Item, Scores | None]]:
    """Every item with the mean scores (C,) of its windows; None for an item that has no window.

    Items come out in the order in which they went in, and only a batch of them is held. An item with `likelihoods`
    (S, 3) of its genotypes gives them to the network with its ids.
    """
    scored = score_windows(
        network,
        _windows(items),
        pad_id=pad_id,
        device=device,
        batching=batching,
        left=left,
        likelihoods=lambda numbered: likelihoods(numbered[1]),
    )
    for _, group in groupby(scored, key=lambda entry: entry[0][0]):
        entries = list(group)
        window_scores = [scores for _, scores in entries if scores is not None]
        yield entries[0][0][1], _mean(window_scores) if window_scores else None


def _windows(
    items: Iterable[tuple[Item, list[Ids]]],
) -> Iterator[tuple[tuple[int, Item], Ids | None]]:
    """The windows of all items, numbered by item; an item without windows has one None."""
    for number, (item, windows) in enumerate(items):
        for ids in windows:
            yield (number, item), ids
        if not windows:
            yield (number, item), None


def score_windows(
    network: Network,
    windows: Iterable[tuple[Item, Ids | None]],
    *,
    pad_id: int,
    device: torch.device,
    batching: Batching = DEFAULT_BATCHING,
    left: bool = False,
    likelihoods: Likelihoods[Item] = _no_likelihoods,
) -> Iterator[tuple[Item, Scores | None]]:
    """Every window with its own row of the network's outputs, on the CPU; None where there are no ids.

    With `left`, batches are filled up at the left. An output (B, T, ...) of every token is as wide as the longest
    window of the batch. Windows are drawn when their batch is formed, come out in the order in which they went in, and
    only a batch of them is held.
    """

    def has_likelihoods(entry: tuple[Item, Ids | None]) -> bool:
        return likelihoods(entry[0]) is not None

    for with_likelihoods, group in groupby(windows, has_likelihoods):
        score_batch = _BatchScorer(
            network, pad_id, device, left, likelihoods if with_likelihoods else None
        )
        for batch in batches(group, batching):
            known = [(item, ids) for item, ids in batch if ids is not None]
            rows = iter(run_with_batch_halving(score_batch, known) if known else ())
            for item, ids in batch:
                yield item, None if ids is None else next(rows)


@dataclass(frozen=True, eq=False)
class _BatchScorer(Generic[Item]):
    """Windows through the network as one batch."""

    network: Network
    pad_id: int
    device: torch.device
    left: bool
    likelihoods: Likelihoods[Item] | None

    @torch.inference_mode()
    def __call__(self, windows: Sequence[tuple[Item, Ids]]) -> list[Scores]:
        rows = [ids for _, ids in windows]
        ids_BT = torch.from_numpy(padded(rows, self.pad_id, left=self.left)).to(self.device)
        inputs = [ids_BT, padding_mask(rows, ids_BT, left=self.left)]
        if self.likelihoods is not None:
            values = np.stack([self.likelihoods(item) for item, _ in windows])  # type: ignore[misc]
            inputs.append(torch.from_numpy(values).to(self.device))
        outputs = {name: scores.cpu() for name, scores in self.network(*inputs).items()}
        return [{name: scores[row] for name, scores in outputs.items()} for row in range(len(rows))]


def batches(
    windows: Iterable[tuple[Item, Window]], batching: Batching
) -> Iterator[list[tuple[Item, Window]]]:
    """The windows in batches; one without ids (None) takes no room in them."""
    batch: list[tuple[Item, Window]] = []
    longest = 0
    for item, ids in windows:
        batch.append((item, ids))
        longest = max(longest, 0 if ids is None else len(ids))
        if batching.is_full(len(batch), longest):
            yield batch
            batch, longest = [], 0
    if batch:
        yield batch


def _mean(scores: list[Scores]) -> Scores:
    return {name: torch.stack([s[name] for s in scores]).mean(0) for name in scores[0]}


def padding_mask(windows: list[Ids], ids_BT: Tensor, *, left: bool) -> Tensor:
    """Which tokens are real, not padding at the right, or with `left` at the left."""
    lengths_B1 = torch.tensor([len(ids) for ids in windows], device=ids_BT.device)[:, None]
    mask_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device) < lengths_B1
    return mask_BT.flip(1) if left else mask_BT
