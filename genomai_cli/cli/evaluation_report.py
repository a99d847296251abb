"""The measures of `genomai evaluate` as TSV and as JSON: of classification by head, of generation by group."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomai_cli.cli.json_text import finite, json_text

if TYPE_CHECKING:
    from genomai_cli.inference.coverage_evaluation import CoverageRow
    from genomai_cli.inference.track_evaluation import Row
    from genomai_cli.metrics.classification import Estimate, HeadScores
    from genomai_cli.metrics.numbers import NumberScores
    from genomai_cli.population.evaluation.generation import Report

SCHEMA_VERSION = 1
ESTIMATE = ("metric", "value", "low", "high", "baseline")
Rows = Iterator[tuple[str, ...]]
Scores = Mapping[str, "HeadScores | NumberScores"]


def classification_tsv(scores: Scores) -> str:
    """A line a measure: head, metric, value, 95 % interval, and the value of the majority class, or of the mean."""
    return _lines([("head", *ESTIMATE), *_classification_rows(scores)])


def _classification_rows(scores: Scores) -> Rows:
    for head, result in scores.items():
        yield (head, "n", str(result.samples), ".", ".", ".")
        yield (head, "unknown", str(result.unknown), ".", ".", ".")
        for name, estimate in result.measures.items():
            yield (head, name, *map(_decimal, asdict(estimate).values()))


def classification_json(scores: Scores, **facts: str) -> str:
    """The same as one JSON document, with the confusion matrices."""
    return _document({**facts, "heads": {head: _head(result) for head, result in scores.items()}})


def _head(result: "HeadScores | NumberScores") -> dict[str, Any]:
    fields = {
        "n": result.samples,
        "unknown": result.unknown,
        "metrics": {name: estimate_fields(value) for name, value in result.measures.items()},
    }
    for _, head_scores in _of_labels({"": result}):
        fields |= {"labels": head_scores.labels, "confusion": head_scores.confusion.tolist()}
    return fields


def _of_labels(scores: Scores) -> "Iterator[tuple[str, HeadScores]]":
    """The heads of labels, which have a confusion matrix, with their scores."""
    from genomai_cli.metrics.classification import HeadScores

    return (
        (head, head_scores)
        for head, head_scores in scores.items()
        if isinstance(head_scores, HeadScores)
    )


BASELINES = ("nothing", "rate", "other_tracks", "last_seen", "next_base")


def omics_tsv(rows: "list[Row]") -> str:
    """A line a measure: part, group, measure, cases, the model's value with its 95 % interval, and those of guesses."""
    header = ("part", "group", "measure", "n", "model", "low", "high", *BASELINES)
    return _lines([header, *map(_omics_row, rows)])


def _omics_row(row: "Row") -> tuple[str, ...]:
    numbers = [row.model, *(row.interval or (math.nan, math.nan))]
    baselines = [row.guesses.get(name, math.nan) for name in BASELINES]
    return (row.part, row.group, row.measure, str(row.n), *map(_decimal, numbers + baselines))


def omics_json(rows: "list[Row]", threshold: float) -> str:
    """The same as one JSON document."""
    return _document(
        {"task": "omics", "threshold": threshold, "rows": [asdict(row) for row in rows]}
    )


PREDICTORS = ("model", "other_tracks", "track_mean")


def coverage_tsv(rows: "list[CoverageRow]") -> str:
    """A line a measure of a track, or of an assay's tracks together: the model's value, those of guesses, and their
    95 % intervals."""
    names = [name + part for name in PREDICTORS for part in ("", "_low", "_high")]
    return _lines([(*COVERAGE, *names), *map(_coverage_row, rows)])


COVERAGE = ("organism", "assay", "track", "measure", "tracks", "windows", "bins")


def _coverage_row(row: "CoverageRow") -> tuple[str, ...]:
    columns = [str(getattr(row, column)) or "." for column in COVERAGE]
    numbers = [number for name in PREDICTORS for number in asdict(row.told[name]).values()]
    return (*columns, *map(_decimal, numbers))


def coverage_json(rows: "list[CoverageRow]") -> str:
    """The same as one JSON document."""
    return _document({"task": "tracks", "rows": [asdict(row) for row in rows]})


def confusion_tsv(scores: Scores) -> str:
    """A line for every head, true label and called label: how many samples."""
    rows = [
        (head, true, called, str(result.confusion[i, j]))
        for head, result in _of_labels(scores)
        for i, true in enumerate(result.labels[:-1])  # the last is UNKNOWN, no true label
        for j, called in enumerate(result.labels)
    ]
    return _lines([("head", "truth", "predicted", "n"), *rows])


def generation_tsv(report: "Report") -> str:
    """A line a measure: group, metric, value, 95 % interval, and the value of held-out real samples."""
    return _lines([("group", *ESTIMATE), *_generation_rows(report)])


def _generation_rows(report: "Report") -> Rows:
    for group, measures in report.items():
        for name, estimate in measures.items():
            yield (group, name, *map(number, asdict(estimate).values()))


def generation_json(report: "Report", files: Mapping[str, Path | None]) -> str:
    """The same as one JSON document, with the files that were compared."""
    groups = {
        group: {name: estimate_fields(estimate) for name, estimate in measures.items()}
        for group, measures in report.items()
    }
    paths = {name: str(path) for name, path in files.items() if path is not None}
    return _document({"task": "generation", **paths, "groups": groups})


def number(value: float | None) -> str:
    """A count as it is, another value with six decimals, `.` for one that is not finite."""
    return str(value) if isinstance(value, int) else _decimal(value)


def estimate_fields(estimate: "Estimate") -> dict[str, float | None]:
    """The value, its interval and its baseline, None for what JSON cannot hold."""
    return {name: finite(value) for name, value in asdict(estimate).items()}


def _decimal(value: float | None) -> str:
    return "." if finite(value) is None else f"{value:.6f}"


def _lines(rows: list[tuple[str, ...]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def _document(facts: Mapping[str, Any]) -> str:
    return json_text({"schema_version": SCHEMA_VERSION, **facts})
