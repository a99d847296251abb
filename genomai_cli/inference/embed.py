"""Records to vectors: one a record, or one a token.

The vector of a strand (`inputs.windows.Strands`) is, by pool: `mean`, the mean of its windows' means, each weighted by
the number of its tokens, so that a token counts as often as windows cover it; `max`, the maximum over all its tokens;
`cls`, the first token's. A window without a known token is left out. The vector of a record is the mean of its
strands'. Means of overlapping windows' token vectors are given out as soon as they are complete.

Shape suffixes: B windows, T tokens of a window, n tokens of a record, E numbers of a vector, S strands.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.backbones.base import Backbone
from genomai_cli.backbones.classifier import CLS, MAX, MEAN, POOLER, POOLS
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import UsageError
from genomai_cli.inference.batching import DEFAULT_BATCHING, Batching, Scores, score_windows
from genomai_cli.inputs.base import InputKind
from genomai_cli.inputs.windows import (
    UNBOUNDED,
    ReaderStrands,
    SequenceStrands,
    Strands,
    Window,
    Windows,
)
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers.base import Ids

Vectors = NDArray[np.float64]


class TokenMeans:
    """The vectors of a record's tokens from `first` on, of which windows on several strands cover each token.

    A strand's vector of a token is the mean over its windows; the token's is the mean over the strands.
    """

    def __init__(self, strands: int, width: int) -> None:
        self.first = 0
        self._sums_SnE: Vectors = np.zeros((strands, 0, width))
        self._counts_Sn = np.zeros((strands, 0), np.int64)

    def add(self, strand: int, start: int, vectors_nE: Vectors) -> None:
        """A window's vectors, of the tokens from `start` on."""
        begin, end = start - self.first, start - self.first + len(vectors_nE)
        growth = max(0, end - self._counts_Sn.shape[1])
        self._sums_SnE = np.pad(self._sums_SnE, ((0, 0), (0, growth), (0, 0)))
        self._counts_Sn = np.pad(self._counts_Sn, ((0, 0), (0, growth)))
        self._sums_SnE[strand, begin:end] += vectors_nE
        self._counts_Sn[strand, begin:end] += 1

    def take(self, end: int) -> NDArray[np.float32]:
        """The vectors of the tokens before `end`, which no further window covers; they are forgotten here."""
        count = end - self.first
        means_SnE = self._sums_SnE[:, :count] / self._counts_Sn[:, :count, None]
        self._sums_SnE, self._counts_Sn = self._sums_SnE[:, count:], self._counts_Sn[:, count:]
        self.first = end
        means_nE: NDArray[np.float32] = means_SnE.mean(axis=0).astype(np.float32)
        return means_nE


VECTORS = "vectors"
PAIRS_PER_BATCH = 1 << 24  # of tokens: half a gigabyte a layer for four heads in double precision


@dataclass(frozen=True)
class Settings:
    """How to embed; `window` and `stride` in letters, None for as long as the network can read and half of it."""

    pool: str = MEAN
    layer: int = -1
    both_strands: bool = False
    per_token: bool = False
    window: int | None = None
    stride: int | None = None


@dataclass(frozen=True, eq=False)
class Embedding:
    """The vector (E,) of a record, float32, from so many windows; all NaN if there was none to read."""

    name: str
    vector: NDArray[np.float32]
    windows: int


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """The vectors (n, E), float32, of some of a record's tokens, in their order; `last` ends the record."""

    name: str
    vectors: NDArray[np.float32]
    last: bool


@dataclass(frozen=True, slots=True)
class _RecordWindow:
    """A window of the record with this number; None stands for a record that has none."""

    record: int
    name: str
    window: Window | None


Scored = tuple[_RecordWindow, Scores | None]


class Embedder:
    """A model and the way in which it embeds, every option settled.

    `others` are the input kinds of other models, whose records are read too where they hold what this one needs.
    Raises UsageError for settings that the model cannot follow.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings | None = None,
        other_inputs: Mapping[str, InputKind] | None = None,
    ) -> None:
        settings = settings or Settings()
        _check(bundle, settings)
        self.bundle, self.settings = bundle, settings
        self.layer = bundle.classifier.depth(settings.layer)
        self.width = bundle.classifier.hidden_size
        self._has_token_vectors = bundle.classifier.has_token_vectors
        self.windows: Windows | None = None
        self.strands: Strands
        if _reads_sequences(bundle):
            max_tokens = bundle.tokenizer.tokens_that_fit(bundle.classifier.max_length) or UNBOUNDED
            self.windows = Windows.of(
                bundle.tokenizer, max_tokens, settings.window, settings.stride
            )
            self.strands = SequenceStrands(
                bundle.tokenizer,
                self.windows,
                both_strands=settings.both_strands,
                first_only=settings.pool == CLS,
            )
        else:
            self.strands = ReaderStrands(
                bundle.input.reader(bundle, {} if other_inputs is None else other_inputs)
            )

    @property
    def attributes(self) -> dict[str, str | int]:
        """Attributes that the vectors depend on; vectors of runs with the same attributes can be in one file."""
        attributes: dict[str, str | int] = {
            "model_name": self.bundle.name,
            "model_version": self.bundle.version,
            "model_sha256": self.bundle.weights_sha256,
            "members": len(self.bundle.classifier.members),
            "tokenizer": json.dumps(self.bundle.config["tokenizer"]),
            "pooling": "none" if self.settings.per_token else self.settings.pool,
            "layer": self.layer,
            "strand": "both" if self.settings.both_strands else "forward",
        }
        if self.windows is not None:
            attributes |= {
                "window": self.windows.size,
                "stride": self.windows.stride,
                "window_weights": "words",
            }
        return attributes

    def embed(
        self, records: Iterable[SequenceRecord], batching: Batching = DEFAULT_BATCHING
    ) -> Iterator[Embedding]:
        """One vector a record, in their order; a batch of windows is held at a time.

        Raises InputError for a record that the model cannot read.
        """
        classifier, pool = self.bundle.classifier, self.settings.pool

        def network(
            ids_BT: Tensor, mask_BT: Tensor, likelihood_BS3: Tensor | None = None
        ) -> Tensor:
            return classifier.sequence_vectors(ids_BT, mask_BT, self.layer, pool, likelihood_BS3)

        for group in self._by_record(network, self.strands.known_windows, records, batching):
            yield self._pooled(group)

    def embed_tokens(
        self, records: Iterable[SequenceRecord], batching: Batching = DEFAULT_BATCHING
    ) -> Iterator[TokenVectors]:
        """The vectors of every record's tokens, which are those of `genomai tokenize`, as soon as they are done.

        A token that several windows cover has the mean of their vectors. Letters after the last whole token have none.
        """

        def network(ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            return self.bundle.classifier.token_vectors(ids_BT, mask_BT, self.layer)

        for group in self._by_record(network, self.strands.ordered_windows, records, batching):
            yield from self._token_vectors(group)

    def _by_record(
        self,
        network: Callable[..., Tensor],
        windows_of: Callable[[SequenceRecord], Iterator[tuple[Window, Ids]]],
        records: Iterable[SequenceRecord],
        batching: Batching,
    ) -> Iterator[Iterator[Scored]]:
        """The outputs for the windows of each record in turn."""
        scored = score_windows(
            lambda *inputs: {VECTORS: network(*inputs)},
            _record_windows(records, windows_of),
            pad_id=self.bundle.tokenizer.pad_id,
            left=self.bundle.tokenizer.padding_side == "left",
            device=next(self.bundle.classifier.parameters()).device,
            batching=replace(batching, pairs=PAIRS_PER_BATCH if self._has_token_vectors else None),
            likelihoods=lambda part: part.window.likelihoods if part.window else None,
        )
        for _, group in groupby(scored, key=lambda entry: entry[0].record):
            yield group

    def _pooled(self, group: Iterator[Scored]) -> Embedding:
        pools: dict[int, _Pool] = {}
        name, windows = "", 0
        for part, scores in group:
            name = part.name
            if part.window is not None and scores is not None:
                pool = pools.setdefault(part.window.strand, _Pool(self.settings.pool))
                pool.add(_as_float64(scores), part.window.tokens)
                windows += 1
        if not pools:
            return Embedding(name, np.full(self.width, np.nan, np.float32), 0)
        vectors = [pool.vector for pool in pools.values()]
        mean_E = vectors[0] if len(vectors) == 1 else np.mean(vectors, axis=0)
        return Embedding(name, mean_E.astype(np.float32), windows)

    def _without_special_tokens(
        self, vectors_TE: NDArray[np.float64], window: Window
    ) -> NDArray[np.float64]:
        """The vectors (n, E) of the window's tokens, without padding, prefix and suffix."""
        before, after = len(self.bundle.tokenizer.prefix), len(self.bundle.tokenizer.suffix)
        if self.bundle.tokenizer.padding_side == "left":
            vectors_TE = vectors_TE[len(vectors_TE) - before - window.tokens - after :]
        return vectors_TE[before : before + window.tokens]

    def _token_vectors(self, group: Iterator[Scored]) -> Iterator[TokenVectors]:
        means: TokenMeans | None = None
        name, total = "", 0
        for part, scores in group:
            name, window = part.name, part.window
            if window is None or scores is None:
                continue
            if means is None:
                means = TokenMeans(window.strands, self.width)
            if window.start > means.first:
                yield TokenVectors(name, means.take(window.start), last=False)
            vectors_nE = self._without_special_tokens(_as_float64(scores), window)
            means.add(
                window.strand, window.start, vectors_nE[::-1] if window.flipped else vectors_nE
            )
            total = window.total
        empty = np.zeros((0, self.width), np.float32)
        yield TokenVectors(name, empty if means is None else means.take(total), last=True)


class _Pool:
    """The vector of a strand, from those of its windows."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._total_E: NDArray[np.float64] | None = None
        self._tokens = 0

    def add(self, vector_E: NDArray[np.float64], tokens: int) -> None:
        self._tokens += tokens
        if self._kind == MEAN:
            vector_E = vector_E * tokens
        if self._total_E is None:
            self._total_E = vector_E.copy()
        elif self._kind == MEAN:
            self._total_E += vector_E
        elif self._kind == MAX:
            np.maximum(self._total_E, vector_E, out=self._total_E)

    @property
    def vector(self) -> NDArray[np.float64]:
        assert self._total_E is not None
        return self._total_E / self._tokens if self._kind == MEAN else self._total_E


def _record_windows(
    records: Iterable[SequenceRecord],
    windows_of: Callable[[SequenceRecord], Iterator[tuple[Window, Ids]]],
) -> Iterator[tuple[_RecordWindow, Ids | None]]:
    for number, record in enumerate(records):
        empty = True
        for window, ids in windows_of(record):
            yield _RecordWindow(number, record.name, window), ids
            empty = False
        if empty:
            yield _RecordWindow(number, record.name, None), None


def _as_float64(scores: Scores) -> NDArray[np.float64]:
    return cast(NDArray[np.float64], scores[VECTORS].double().numpy())


def _reads_sequences(bundle: Bundle) -> bool:
    """Whether records are cut into windows, and have another strand."""
    return bundle.input.coordinates is None


def _check(bundle: Bundle, settings: Settings) -> None:
    """UsageError for settings that the model cannot follow."""
    if not bundle.classifier.has_vectors:
        raise UsageError(f"the model {bundle.name!r} generates or restores: it has no vectors")
    if settings.pool not in POOLS:
        raise UsageError(f"--pool {settings.pool}: there are {', '.join(POOLS)}")
    of_sequences = (
        ("--strand both", settings.both_strands),
        ("--window", settings.window is not None),
        ("--stride", settings.stride is not None),
    )
    of_tokens = (
        ("--per-token", settings.per_token),
        (f"--pool {settings.pool}", settings.pool != MEAN),
    )
    name = bundle.name
    if not _reads_sequences(bundle):
        _refuse(of_sequences, f"the model {name} does not read plain DNA but one letter a site")
    if not bundle.classifier.has_token_vectors:
        _refuse(of_tokens, f"the model {name} has one vector a sample and none a token")
    network = bundle.classifier.networks[0]
    if settings.pool == CLS and isinstance(network, Backbone) and network.causal:
        reason = f"the model {name} reads from left to right: its first token knows nothing of the sequence after it"
        raise UsageError(f"--pool {CLS}: {reason}")
    if settings.pool == POOLER and not bundle.classifier.has_pooler:
        raise UsageError(f"--pool {POOLER}: the model {name} has no trained pooler")
    if settings.per_token and settings.pool != MEAN:
        raise UsageError(f"--pool {settings.pool} and --per-token: tokens are not pooled")


def _refuse(options: Iterable[tuple[str, bool]], reason: str) -> None:
    for option, is_given in options:
        if is_given:
            raise UsageError(f"{option}: {reason}")
