"""`genomai evaluate --task generation`: the files of real and generated people, and the report on them as text.

The scores of `genomai evaluate` as TSV and as JSON, and the confusion matrices as TSV.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomai_cli.cli.run import Run
from genomai_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.metrics.classification import Estimate, HeadScores
    from genomai_cli.population.evaluation.generation import Measures, Report
    from genomai_cli.population.evaluation.genotypes import People
    from genomai_cli.population.panel import Panel
    from genomai_cli.records import SequenceRecord

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


@dataclass(frozen=True, slots=True)
class Files:
    """What is compared with what."""

    real: Path
    synthetic: Path
    held_out: Path | None = None
    predictions: Path | None = None


def report(run: Run, files: Files, panel: "Panel | None", seed: int) -> "Report":
    """The report on the people in the files, at the sites of the panel.

    Without a panel: those of the installed one that the barcodes of a FASTA fit, or the biallelic SNPs of the real
    people's VCF.
    """
    from genomai_cli.formats.streams import open_inputs
    from genomai_cli.population.evaluation import generation

    named = [files.real, files.synthetic, *([files.held_out] if files.held_out else [])]
    sources = list(open_inputs(named))
    records = [None if source.has_variants else _records(source) for source in sources]
    sites = panel or _panel(sources[0], [found for found in records if found is not None])
    people = [people_at(*pair, sites) for pair in zip(sources, records, strict=True)]
    for path, these in zip(named, people, strict=True):
        phase = "phased" if these.phased else "without phase"
        run.console.say(f"{path}: {len(these)} people at {len(sites)} sites, {phase}")
        run.count(read=len(these), used=len(these))
    material = generation.Material.of(sites, *people)
    left_out = len(sites) - len(material.panel)
    if left_out:
        run.console.warn(f"{left_out} sites are missing in one of the files: left out")
    found = generation.report(material, seed)
    if files.predictions is not None:
        found["recognised"] = _recognised(files.predictions, people[1])
    return found


def _records(source: "Input") -> "list[SequenceRecord]":
    from genomai_cli.formats.fasta import read_sequences

    with source:
        records = list(read_sequences(source))
    if not records:
        raise InputError("no sequences", path=source.path)
    return records


def people_in(path: Path, panel: "Panel") -> "People":
    """The people of a VCF or FASTA at the sites of a panel."""
    from genomai_cli.formats.streams import open_input

    source = open_input(path)
    return people_at(source, None if source.has_variants else _records(source), panel)


def people_at(source: "Input", records: "list[SequenceRecord] | None", panel: "Panel") -> "People":
    """The people of an input of which `records` are those of a FASTA."""
    from genomai_cli.population.evaluation.genotypes import people_of_sequences, people_of_variants

    if records is not None:
        return people_of_sequences(records, panel)
    return people_of_variants([source], panel)


def _panel(real: "Input", sequences: "list[list[SequenceRecord]]") -> "Panel":
    from genomai_cli.cli.inputs import installed_panels
    from genomai_cli.formats.streams import open_input
    from genomai_cli.population.barcode import BarcodeSites, letters_of
    from genomai_cli.population.evaluation.genotypes import panel_of_variants

    if sequences:
        record = sequences[0][0]
        for panel in installed_panels().values():
            if BarcodeSites.of(panel).fit(letters_of(record)):
                return panel
        message = f"{record.name} is no barcode of an installed panel: name its panel with --panel"
        raise InputError(message, path=record.path, line=record.line or None)
    if real.file is None:
        raise UsageError("real people from a pipe need --panel or --model")
    with open_input(real.path) as again:  # once for the sites, once for the people
        return panel_of_variants(again)


def _recognised(path: Path, synthetic: "People") -> "Measures":
    from genomai_cli.formats.tables import read_table
    from genomai_cli.metrics.evaluation import PredictionTable
    from genomai_cli.population.evaluation.generation import recognition_measures

    predictions = PredictionTable(read_table(path))
    columns = [predictions.table.column(head) for head in predictions.heads]
    called = dict(zip(predictions.samples, zip(*columns, strict=True), strict=True))
    measures = recognition_measures(synthetic.requested, called)
    if not measures:
        message = "names none of the generated people whose record has a phenotype="
        raise InputError(message, path=path)
    return measures


def generation_tsv(found: "Report") -> str:
    """A line a measure: group, metric, value, 95 % interval, and the value of held-out real people."""
    rows = [("group", "metric", "value", "low", "high", "baseline"), *_generation_rows(found)]
    return "".join("\t".join(row) + "\n" for row in rows)


def _generation_rows(found: "Report") -> Iterator[tuple[str, ...]]:
    for group, measures in found.items():
        for name, estimate in measures.items():
            yield (group, name, *map(number, asdict(estimate).values()))


def generation_document(found: "Report", files: Files) -> str:
    """The same as one JSON document."""
    groups = {
        group: {name: _values(estimate) for name, estimate in measures.items()}
        for group, measures in found.items()
    }
    named = {name: str(path) for name, path in asdict(files).items() if path is not None}
    facts = {"schema_version": SCHEMA_VERSION, "task": "generation", **named, "groups": groups}
    return json.dumps(facts, indent=2) + "\n"


def _values(estimate: "Estimate") -> dict[str, float | None]:
    return {name: finite(value) for name, value in asdict(estimate).items()}


def number(value: float | None) -> str:
    if isinstance(value, int):
        return str(value)
    return "." if finite(value) is None else f"{value:.6f}"
