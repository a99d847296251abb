"""`genomai evaluate --task generation`: the files of real and generated people, and the report on them as text."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.run import Run
from genomai_cli.cli.score_table import SCHEMA_VERSION, finite
from genomai_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.metrics.generation import Measures, Report
    from genomai_cli.metrics.heads import Estimate
    from genomai_cli.metrics.people import People
    from genomai_cli.panels.panel import Panel
    from genomai_cli.records import SequenceRecord


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
    from genomai_cli.metrics import generation

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
    from genomai_cli.formats.sequences import read_sequences

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
    from genomai_cli.metrics.people import people_of_sequences, people_of_variants

    if records is not None:
        return people_of_sequences(records, panel)
    return people_of_variants([source], panel)


def _panel(real: "Input", sequences: "list[list[SequenceRecord]]") -> "Panel":
    from genomai_cli.cli.model_choice import installed_panels
    from genomai_cli.formats.streams import open_input
    from genomai_cli.metrics.people import panel_of_variants
    from genomai_cli.panels.recognition import BarcodeSites, letters_of

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
    from genomai_cli.metrics.generation import recognition_measures
    from genomai_cli.metrics.prediction_table import PredictionTable

    predictions = PredictionTable(read_table(path))
    columns = [predictions.table.column(head) for head in predictions.heads]
    called = dict(zip(predictions.samples, zip(*columns, strict=True), strict=True))
    measures = recognition_measures(synthetic.requested, called)
    if not measures:
        message = "names none of the generated people whose record has a phenotype="
        raise InputError(message, path=path)
    return measures


def tsv(found: "Report") -> str:
    """A line a measure: group, metric, value, 95 % interval, and the value of held-out real people."""
    rows = [("group", "metric", "value", "low", "high", "baseline"), *_rows(found)]
    return "".join("\t".join(row) + "\n" for row in rows)


def _rows(found: "Report") -> Iterator[tuple[str, ...]]:
    for group, measures in found.items():
        for name, estimate in measures.items():
            yield (group, name, *map(number, asdict(estimate).values()))


def document(found: "Report", files: Files) -> str:
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
