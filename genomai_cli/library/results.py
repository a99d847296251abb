"""Results of the library: numpy arrays with names; data frames where pandas or anndata are installed.

Shape suffixes: N records, C labels of a head, D numbers of a vector, L labels of all heads.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import UsageError
from genomai_cli.formats.parquet import NOTHING
from genomai_cli.inference.classify import Call
from genomai_cli.inference.score import SequenceScore
from genomai_cli.inference.variant_effects import Comparison, Effect

Numbers = NDArray[np.float64]
Vectors = NDArray[np.float32]
SAMPLE = "sample"


def _library(name: str) -> Any:
    """A library that is not needed otherwise; UsageError where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise UsageError(f"{name} is not installed: pip install {name}") from None


def _resolve_head(head: str | None, heads: Collection[str], model: str) -> str:
    """The head of that name, or the only one; UsageError where that does not name one."""
    if head is None and len(heads) == 1:
        return next(iter(heads))
    if head is None or head not in heads:
        names = ", ".join(heads) or "none of this kind"
        raise UsageError(f"name a head of the model {model}: {names}")
    return head


@dataclass(frozen=True, eq=False)
class Calls(Sequence[Call]):
    """What `genomai classify` tells of samples, in their order: a sequence of `Call`, and the columns of all together.

    `heads` has the labels of every head, `model` is NAME@VERSION. A call that is UNKNOWN has no probabilities.
    """

    calls: tuple[Call, ...]
    heads: Mapping[str, list[str]]
    model: str
    measures: tuple[str, ...] = ()
    heads_of_numbers: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.calls)

    def __getitem__(self, index: Any) -> Any:
        return self.calls[index]

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    @property
    def names(self) -> list[str]:
        """The samples' names."""
        return [call.name for call in self.calls]

    def labels(self, head: str | None = None) -> NDArray[np.str_]:
        """The labels (N,) of a head; `UNKNOWN` where there is none."""
        head = _resolve_head(head, self.heads, self.model)
        return np.array([call.labels[head] for call in self.calls], np.str_)

    def probabilities(self, head: str | None = None) -> Numbers:
        """The calibrated probabilities (N, C) of a head's labels, in the order of `heads[head]`; NaN where UNKNOWN."""
        head = _resolve_head(head, self.heads, self.model)
        missing = np.full(len(self.heads[head]), np.nan)
        probabilities = [call.probabilities[head] for call in self.calls]
        rows = [missing if row is None else row for row in probabilities]
        return np.array(rows, np.float64).reshape(len(rows), len(missing))

    def numbers(self, head: str | None = None) -> Numbers:
        """What a head of numbers predicts (N, 3): the number, and the interval in which the true one lies in most
        cases; NaN where UNKNOWN."""
        head = _resolve_head(head, self.heads_of_numbers, self.model)
        predictions = [call.numbers[head] for call in self.calls]
        rows = [
            (np.nan,) * 3 if prediction is None else astuple(prediction)
            for prediction in predictions
        ]
        return np.array(rows, np.float64).reshape(len(rows), 3)

    @property
    def used(self) -> NDArray[np.int64]:
        """How many sites or letters (N,) entered."""
        return np.array([call.used for call in self.calls], np.int64)

    @property
    def call_rate(self) -> Numbers:
        """Their share (N,) of what the model knows."""
        return np.array([call.call_rate for call in self.calls], np.float64)

    @property
    def flags(self) -> list[tuple[str, ...]]:
        """What to mind about each call; docs/outputs.md says what flags mean."""
        return [call.flags for call in self.calls]

    @property
    def measured(self) -> dict[str, Numbers]:
        """The further columns that were asked for (N,), NaN where nothing can be said."""
        columns = zip(*(call.measured for call in self.calls), strict=True)
        arrays = {name: np.array(c) for name, c in zip(self.measures, columns, strict=False)}
        return arrays or {name: np.empty(0) for name in self.measures}

    def to_pandas(self) -> Any:
        """A pandas.DataFrame by sample with the columns of `genomai classify --probs`, numbers as they are."""
        columns: dict[str, Any] = {}
        probability_columns: dict[str, Numbers] = {}
        for head, labels in self.heads.items():
            probabilities = self.probabilities(head)
            columns |= {head: self.labels(head), f"{head}_p": probabilities.max(axis=1)}
            probability_columns |= {
                f"{head}:{label}": probabilities[:, index] for index, label in enumerate(labels)
            }
        for head in self.heads_of_numbers:
            ends = ("", "_low", "_high")
            columns |= {
                f"{head}{end}": c for end, c in zip(ends, self.numbers(head).T, strict=True)
            }
        columns |= {
            "used": self.used,
            "call_rate": self.call_rate,
            "flags": [",".join(flags) for flags in self.flags],
            "model": self.model,
        }
        table = {**columns, **probability_columns, **self.measured}
        return _library("pandas").DataFrame(table, index=_index(self.names, SAMPLE))


class Embeddings(tuple[list[str], Vectors]):
    """Names and vectors (N, D), float32, in the records' order: `names, vectors = genomai.embed(...)`.

    A record in which the model can read nothing has NaN. `attributes` say how the vectors were made.
    """

    attributes: Mapping[str, str | int]

    def __new__(
        cls, names: list[str], vectors: Vectors, attributes: Mapping[str, str | int]
    ) -> Self:
        """Both as a tuple."""
        embeddings = super().__new__(cls, (names, vectors))
        embeddings.attributes = attributes
        return embeddings

    def __getnewargs__(self) -> tuple[Any, ...]:
        """What `__new__` needs for a copy, also by pickle."""
        return *self, self.attributes

    @property
    def names(self) -> list[str]:
        """The records' names."""
        return self[0]

    @property
    def vectors(self) -> Vectors:
        """Their vectors (N, D)."""
        return self[1]

    def to_pandas(self) -> Any:
        """A pandas.DataFrame by name with the columns e1, e2, ..."""
        columns = [f"e{number}" for number in range(1, self.vectors.shape[1] + 1)]
        index = _index(self.names, "id")
        return _library("pandas").DataFrame(self.vectors, index=index, columns=columns)

    def to_anndata(self) -> Any:
        """An anndata.AnnData with the vectors as X, names as obs_names, and in `uns["genomai"]` how they were made."""
        anndata = _library("anndata").AnnData(self.vectors, uns={"genomai": dict(self.attributes)})
        anndata.obs_names = self.names
        anndata.var_names = [f"e{number}" for number in range(1, self.vectors.shape[1] + 1)]
        return anndata


def _index(names: list[str], name: str) -> Any:
    return _library("pandas").Index(names, name=name, dtype=object)


@dataclass(frozen=True, eq=False)
class SequenceScores:
    """Log-likelihoods of sequences in nats, in their order: arrays (N,), NaN where nothing could be scored.

    `method` is `next-token` (exact) or `masked` (pseudo-likelihood); `scored` are the bases that count.
    """

    names: list[str]
    lengths: NDArray[np.int64]
    log_likelihoods: Numbers
    per_base: Numbers
    perplexities: Numbers
    scored: Numbers
    method: str

    @classmethod
    def of(cls, found: Sequence[SequenceScore], method: str) -> Self:
        """From each sequence's score."""
        scores = [sequence.score for sequence in found]
        return cls(
            [sequence.name for sequence in found],
            np.array([sequence.length for sequence in found], np.int64),
            np.array([score.total for score in scores], np.float64),
            np.array([score.per_base for score in scores], np.float64),
            np.array([score.perplexity for score in scores], np.float64),
            np.array([score.bases for score in scores], np.float64),
            method,
        )

    def __len__(self) -> int:
        return len(self.names)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame by name with the columns of `genomai score`."""
        columns = {
            "length": self.lengths,
            "log_likelihood": self.log_likelihoods,
            "per_base": self.per_base,
            "perplexity": self.perplexities,
            "scored": self.scored,
            "method": self.method,
        }
        return _library("pandas").DataFrame(columns, index=_index(self.names, "id"))


@dataclass(frozen=True, eq=False)
class VariantEffects:
    """What alleles change, in the order of the file: positions from 1, scores in nats, arrays (N,).

    Of a model without a likelihood the scores are NaN. `label_changes` (N, L) are the changes of the log odds of
    `labels`, HEAD:LABEL, or of tracks those that `genomai score` tells. `places` has, of splicing, where each change
    is, N texts by the name of the command's column. An allele that was not scored has a reason in `skipped`, others ''.
    """

    contigs: list[str]
    positions: NDArray[np.int64]
    refs: list[str]
    alts: list[str]
    ref_scores: Numbers
    alt_scores: Numbers
    labels: list[str]
    label_changes: Numbers
    skipped: list[str]
    places: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, effects: Sequence[Effect], labels: list[str], places: Sequence[str] = ()) -> Self:
        """From each allele's effect."""
        missing = np.full(len(labels), np.nan)
        comparisons: list[Comparison | None] = [effect.comparison for effect in effects]
        refs = [
            np.nan if comparison is None else comparison.ref.score.total
            for comparison in comparisons
        ]
        alts = [
            np.nan if comparison is None else comparison.alt.score.total
            for comparison in comparisons
        ]
        odds = [missing if comparison is None else comparison.odds for comparison in comparisons]
        return cls(
            [effect.record.contig for effect in effects],
            np.array([effect.record.position for effect in effects], np.int64),
            [effect.record.ref for effect in effects],
            [effect.alt for effect in effects],
            np.array(refs, np.float64),
            np.array(alts, np.float64),
            labels,
            np.array(odds, np.float64).reshape(len(odds), len(labels)),
            [effect.skipped for effect in effects],
            {
                name: [
                    NOTHING if comparison is None else comparison.locations[index]
                    for comparison in comparisons
                ]
                for index, name in enumerate(places)
            },
        )

    def __len__(self) -> int:
        return len(self.contigs)

    @property
    def deltas(self) -> Numbers:
        """How much the log-likelihood changes (N,): alternate minus reference."""
        return self.alt_scores - self.ref_scores

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with the first columns of `genomai score --reference`, and `skipped`."""
        columns: dict[str, Any] = {
            "chrom": self.contigs,
            "pos": self.positions,
            "ref": self.refs,
            "alt": self.alts,
            "ref_score": self.ref_scores,
            "alt_score": self.alt_scores,
            "delta": self.deltas,
        }
        columns |= {label: self.label_changes[:, index] for index, label in enumerate(self.labels)}
        return _library("pandas").DataFrame({**columns, **self.places, "skipped": self.skipped})
