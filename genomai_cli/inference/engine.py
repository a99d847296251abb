"""Ids in, scores out: batches of pieces through a network, and their means by record, in input order.

It knows no tokenizer, no labels and no files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor

from genomai_cli.tokenizers.base import Ids, padded

Item = TypeVar("Item")
Scores = dict[str, Tensor]

WORDS_A_BATCH = 1 << 16


@dataclass(frozen=True)
class Batching:
    """How many pieces go through the network at once: so many words, and at most so many pieces."""

    words: int = WORDS_A_BATCH
    pieces: int | None = None

    def full(self, count: int, longest: int) -> bool:
        """Whether a batch of `count` pieces, of which the longest has so many words, is complete."""
        return count * longest >= self.words or (self.pieces is not None and count >= self.pieces)


AS_FITS = Batching()


def score(
    network: Callable[[Tensor], Mapping[str, Tensor]],
    items: Iterable[tuple[Item, list[Ids]]],
    *,
    pad_id: int,
    device: torch.device,
    batching: Batching = AS_FITS,
) -> Iterator[tuple[Item, Scores | None]]:
    """Every item with the mean scores (C,) of its pieces; None for an item that has no piece.

    Items come out in the order in which they went in, and only a batch of them is held.
    """
    scored = _score_batches(network, _batches(items, batching), pad_id, device)
    for _, group in groupby(scored, key=lambda entry: entry[0]):
        entries = list(group)
        found = [scores for _, _, scores in entries if scores is not None]
        yield entries[0][1], _mean(found) if found else None


Entry = tuple[int, Item, Ids | None]


def _batches(
    items: Iterable[tuple[Item, list[Ids]]], batching: Batching
) -> Iterator[list[Entry[Item]]]:
    """The pieces of all items, numbered by item, in batches; an item without pieces has one None."""
    batch: list[Entry[Item]] = []
    longest = 0
    for number, (item, pieces) in enumerate(items):
        entries: list[Ids | None] = [*pieces] or [None]
        for ids in entries:
            batch.append((number, item, ids))
            longest = max(longest, 0 if ids is None else len(ids))
            if batching.full(len(batch), longest):
                yield batch
                batch, longest = [], 0
    if batch:
        yield batch


@torch.inference_mode()
def _score_batches(
    network: Callable[[Tensor], Mapping[str, Tensor]],
    batches: Iterable[list[Entry[Item]]],
    pad_id: int,
    device: torch.device,
) -> Iterator[tuple[int, Item, Scores | None]]:
    for batch in batches:
        pieces = [ids for _, _, ids in batch if ids is not None]
        rows: Iterator[Scores] = iter(())
        if pieces:
            scores = network(torch.from_numpy(padded(pieces, pad_id)).to(device))
            rows = _rows({name: rows.cpu() for name, rows in scores.items()})
        for number, item, ids in batch:
            yield number, item, None if ids is None else next(rows)


def _rows(scores: Mapping[str, Tensor]) -> Iterator[Scores]:
    count = len(next(iter(scores.values())))
    return ({name: rows[i] for name, rows in scores.items()} for i in range(count))


def _mean(scores: list[Scores]) -> Scores:
    return {name: torch.stack([s[name] for s in scores]).mean(0) for name in scores[0]}
