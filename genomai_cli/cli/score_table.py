"""The scores of `genomai evaluate` as TSV and as JSON, and the confusion matrices as TSV."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genomai_cli.metrics.heads import Estimate, HeadScores

SCHEMA_VERSION = 1


def tsv(scores: Mapping[str, "HeadScores"]) -> str:
    """A line a measure: head, metric, value, 95 % interval, and the majority class's value."""
    return _lines([("head", "metric", "value", "low", "high", "baseline"), *_rows(scores)])


def _rows(scores: Mapping[str, "HeadScores"]) -> Iterator[tuple[str, ...]]:
    for head, result in scores.items():
        yield (head, "n", str(result.samples), ".", ".", ".")
        yield (head, "unknown", str(result.unknown), ".", ".", ".")
        for name, estimate in result.measures.items():
            yield (head, name, *map(_number, asdict(estimate).values()))


def document(scores: Mapping[str, "HeadScores"], **facts: str) -> str:
    """The same as one JSON document, with the confusion matrices."""
    heads = {head: _head(result) for head, result in scores.items()}
    return json.dumps({"schema_version": SCHEMA_VERSION, **facts, "heads": heads}, indent=2) + "\n"


def _head(result: "HeadScores") -> dict[str, Any]:
    return {
        "n": result.samples,
        "unknown": result.unknown,
        "metrics": {name: _estimate(estimate) for name, estimate in result.measures.items()},
        "labels": result.labels,
        "confusion": result.confusion.tolist(),
    }


def _estimate(estimate: "Estimate") -> dict[str, float | None]:
    return {name: finite(value) for name, value in asdict(estimate).items()}


def confusion_tsv(scores: Mapping[str, "HeadScores"]) -> str:
    """A line for every head, true label and called label: how many samples."""
    rows = [
        (head, true, called, str(result.confusion[i, j]))
        for head, result in scores.items()
        for i, true in enumerate(result.labels[:-1])  # the last is UNKNOWN, which nobody is
        for j, called in enumerate(result.labels)
    ]
    return _lines([("head", "truth", "predicted", "n"), *rows])


def _lines(rows: list[tuple[str, ...]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def finite(value: float | None) -> float | None:
    """The value, None for one that JSON cannot hold."""
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None) -> str:
    return "." if finite(value) is None else f"{value:.6f}"
