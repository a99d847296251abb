"""Batches of an unlabelled corpus: the samples of a step, and the objectives' views of them.

A row of a step's batch is a function of the seed, the step and the row's number, whatever the number of processes: each
makes the rows of its own slice. Rows are made in blocks of fixed size, since numpy is quicker with many at once.

Shape suffixes: B samples, L letters, T tokens.
"""

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.inputs.samples import Rows
from genomai_cli.objectives.base import NO_TARGET, WINDOW_STARTS, Objective, ProcessGroup, Views
from genomai_cli.training.corpus import Corpus, shuffled_epochs

BLOCK = 16
TRAINING, VALIDATION = 1, 2  # streams of randomness that share a seed
Batch = dict[str, dict[str, Tensor]]
"""The views of every objective."""


@dataclass(frozen=True)
class BatchPlan:
    """How a corpus becomes batches: windows of at most `window` letters, `batch_size` in all processes together."""

    window: int
    batch_size: int
    validation: int
    seed: int


class Sampler:
    """Makes the batches of one process of the group."""

    def __init__(
        self,
        corpus: Corpus,
        objectives: Sequence[Objective],
        plan: BatchPlan,
        group: ProcessGroup,
        pad_id: int,
    ) -> None:
        self.corpus, self.objectives, self.plan = corpus, objectives, plan
        self.group, self.pad_id = group, pad_id

    def training_batch(self, step: int) -> Batch:
        """The batch of a step; an epoch takes every piece to train on once, in an order of its own."""
        size = self.plan.batch_size
        positions = np.arange(step * size, (step + 1) * size)
        pieces = self.corpus.train[
            shuffled_epochs(positions, len(self.corpus.train), self.plan.seed)
        ]
        share = size // self.group.size
        own_rows = slice(self.group.rank * share, (self.group.rank + 1) * share)
        return self._batch(pieces, (TRAINING, step), own_rows)

    def validation_batches(self) -> list[tuple[Batch, float]]:
        """This process's share of the batches to validate on, each with its weight in the mean over all of them.

        They are the same at any time and for any number of processes: at most `judged` pieces, evenly chosen. Every
        process has as many, if need be one of weight 0.
        """
        rows = self._validation_rows()
        size = min(self.plan.batch_size, len(rows))
        starts = range(0, len(rows) - size + 1, size)
        batches_per_process = -(-len(starts) // self.group.size)
        own_batches = [
            (start, 1 / len(starts)) for start in starts[self.group.rank :: self.group.size]
        ]
        own_batches += [(0, 0.0)] * (batches_per_process - len(own_batches))
        return [
            (self._batch(rows[start : start + size], (VALIDATION, start), slice(0, size)), weight)
            for start, weight in own_batches
        ]

    def epoch(self, step: int) -> float:
        """How many times a run has seen every piece after so many steps."""
        return step * self.plan.batch_size / len(self.corpus.train)

    def _validation_rows(self) -> Rows:
        validation = self.corpus.validation
        count = min(len(validation), self.plan.validation)
        rows: Rows = validation[np.linspace(0, len(validation) - 1, count).astype(np.int64)]
        return rows

    def _batch(self, pieces: Rows, stream: tuple[int, int], rows: slice) -> Batch:
        """These rows of the views of the pieces."""
        blocks = range(rows.start // BLOCK * BLOCK, rows.stop, BLOCK)
        block_views = [
            self._block(pieces[start : start + BLOCK], (*stream, start)) for start in blocks
        ]
        rows_in_blocks = slice(rows.start - blocks.start, rows.stop - blocks.start)
        return {
            objective.name: _concatenate(
                [views[objective.name] for views in block_views], rows_in_blocks, self.pad_id
            )
            for objective in self.objectives
        }

    def _block(self, pieces: Rows, stream: tuple[int, int, int]) -> dict[str, Views]:
        seeds = [self.plan.seed, *stream]
        starts = np.random.default_rng(seeds).random(len(pieces))
        letters_BL = self.corpus.windows(pieces, starts, self.plan.window)
        begins_B, _ = self.corpus.window_positions(pieces, starts, self.plan.window)
        return {
            objective.name: objective.views(letters_BL, _rng(seeds, objective.name))
            | {WINDOW_STARTS: begins_B[:, None]}
            for objective in self.objectives
        }


def tokens_read(batch: Mapping[str, Mapping[str, Tensor]], pad_id: int) -> int:
    """How many tokens the network reads of a batch: those of all views, [PAD] apart."""
    ids = [v for views in batch.values() for n, v in views.items() if n.startswith("ids")]
    return sum(int((ids_BT != pad_id).sum()) for ids_BT in ids)


def _rng(seeds: Sequence[int], name: str) -> np.random.Generator:
    """An objective's own random numbers, which do not depend on the other objectives."""
    return np.random.default_rng([*seeds, zlib.crc32(name.encode())])


def _concatenate(blocks: list[Views], rows: slice, pad_id: int) -> dict[str, Tensor]:
    """The blocks' rows under each other, filled up at the right, those inside the slice."""
    joined = {}
    for name in blocks[0]:
        fill = NO_TARGET if name.startswith("targets") else pad_id
        rows_BT = _stack_padded([block[name] for block in blocks], fill)[rows]
        joined[name] = torch.from_numpy(rows_BT)
    return joined


def _stack_padded(parts: list[NDArray[np.int64]], fill: int) -> NDArray[np.int64]:
    width = max(part.shape[1] for part in parts)
    padded = [
        np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=fill) for part in parts
    ]
    return np.concatenate(padded)


class Prefetcher:
    """The batches of a run; with a GPU, each is made while the one before is being trained on."""

    def __init__(self, sampler: Sampler, *, in_background: bool) -> None:
        self.sampler = sampler
        self.pool = ThreadPoolExecutor(1) if in_background else None
        self.pending: dict[int, Future[Batch]] = {}

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        if self.pool is None:
            return self.sampler.training_batch(step)
        future = self.pending.pop(step, None) or self.pool.submit(self.sampler.training_batch, step)
        self.pending = {step + 1: self.pool.submit(self.sampler.training_batch, step + 1)}
        return future.result()
