"""What `genomai generate` makes with a model of a panel: individuals, from the request to the file, and the report on
their quality, TSV or JSON by the file's name."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING

from genomai_cli.cli.evaluation_report import SCHEMA_VERSION, estimate_fields, number
from genomai_cli.cli.pages import PageFile, page_file
from genomai_cli.cli.run import Run
from genomai_cli.errors import BundleError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.inference.generate_diffusion import Settings
    from genomai_cli.population.evaluation.genotypes import SampleGenotypes
    from genomai_cli.population.evaluation.summary import Summary
    from genomai_cli.population.generation.quality import Quality
    from genomai_cli.population.generation.requests import Request
    from genomai_cli.population.generation.sampler import HaplotypeGenerator, SyntheticIndividual
    from genomai_cli.population.panel import Panel
    from genomai_cli.records import SequenceRecord
    from genomai_cli.reports.page import Page

EVERYBODY = "reference"
ALIGNER = "ancestry-967"  # whose network says how like phenotype records are
CLASSIFIER = "ancestry-967"
COLUMNS = ("group", "metric", "value", "low", "high", "baseline", "note")


class Target(StrEnum):
    """What is written."""

    FASTA = "fasta"
    VCF = "vcf"
    TSV = "tsv"


@dataclass(eq=False, repr=False)
class Requested:
    """Which people of which model, how many of each phenotype or record, and how they are written."""

    model: str
    phenotypes: list[str]
    number: int
    to: Target
    build: str
    haplotypes: bool
    records: Path | None = None


def write_individuals(
    run: Run,
    bundle: "Bundle",
    settings: "Settings",
    requested: Requested,
    report: "Report",
    output: Path,
) -> None:
    """Write new people, and the report on them if there is to be one."""
    from genomai_cli.formats.outputs import atomic_output
    from genomai_cli.population.evaluation import summary
    from genomai_cli.population.generation.requests import requests_of
    from genomai_cli.population.generation.sampler import HaplotypeGenerator

    generator = HaplotypeGenerator(bundle, settings)
    requests = requests_of(requested.phenotypes, requested.number, generator.phenotypes)
    if requested.records is not None:
        requests = _by_records(run, requested.records, requested.number, generator)
    total = sum(request.individuals for request in requests)
    made = run.console.progress(generator.individuals(requests), "generating", total=total)
    # Nothing is read that could be bad: people come at once.
    with page_file(report.page) as page, atomic_output(output) as out:
        run.count(used=_write(run, out, report.passed(made), bundle, requested, settings.seed))
        everybody = requested.phenotypes == [EVERYBODY] and requested.records is None
        known = summary.read(requested.model)
        report.write(run, bundle, known, settings.seed, page, everybody=everybody)


def _by_records(
    run: Run, file: Path, number: int, generator: "HaplotypeGenerator"
) -> "list[Request]":
    """Those asked for by the phenotype records of a file: read by the generator if it has columns, or by similarity."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.cli.align import phenotype_records
    from genomai_cli.population.generation.requests import (
        requests_by_records,
        requests_of_records,
    )
    from genomai_cli.population.phenotypes import read_phenotypes

    if len(generator.columns):
        table = read_phenotypes(file)
        run.note(phenotypes={"file": str(file), "records": len(table), "ignored": []})
        return requests_by_records(table, number, generator.columns)
    bundle = bundles.load(ALIGNER, devices.choose("cpu"))
    table = phenotype_records(run, file, ALIGNER, bundle)
    populations = phenotype_records(run, None, ALIGNER, bundle)
    return requests_of_records(table, number, populations, bundle, generator.phenotypes)


def _write(
    run: Run,
    out: IO[bytes],
    people: Iterable["SyntheticIndividual"],
    bundle: "Bundle",
    requested: Requested,
    seed: int,
) -> int:
    """Write the people; how many there are."""
    from genomai_cli.population.generation import output

    panel = bundle.coordinates
    origin = f"model={bundle.name} seed={seed}"
    if requested.to is Target.FASTA:
        return output.write_barcodes(out, people, panel, origin, haplotypes=requested.haplotypes)
    if requested.to is Target.TSV:
        return output.write_table(
            out, people, panel, requested.build, haplotypes=requested.haplotypes
        )
    source = f"genomai {origin}"
    count, absent = output.write_vcf(out, people, panel, requested.build, source)
    if absent:
        run.console.say(
            f"{absent} sites of the panel have no position in {requested.build}: left out"
        )
    return count


@dataclass
class Report:
    """What is to be reported, and in which files; it keeps the people that pass by."""

    path: Path | None
    page: Path | None = None
    against: Path | None = None
    held_out: Path | None = None
    groups: Path | None = None
    made: "list[SyntheticIndividual]" = field(default_factory=list)

    def __post_init__(self) -> None:
        beside = {"--held-out": self.held_out, "--groups": self.groups}
        if not self.wanted and (self.against or any(beside.values())):
            raise UsageError("--against, --held-out and --groups are for --quality and --report")
        for option, file in beside.items():
            if file and not self.against:
                raise UsageError(f"{option} needs --against")

    @property
    def wanted(self) -> bool:
        """Whether there is to be a report at all."""
        return self.path is not None or self.page is not None

    def passed(self, people: "Iterable[SyntheticIndividual]") -> "Iterator[SyntheticIndividual]":
        """The same people; they are remembered if there is to be a report."""
        for person in people:
            if self.wanted:
                self.made.append(person)
            yield person

    def write(
        self,
        run: Run,
        bundle: "Bundle",
        summary: "Summary | None",
        seed: int,
        page: PageFile,
        *,
        everybody: bool,
    ) -> None:
        """Write the report and its page, as far as they were asked for."""
        from genomai_cli.formats.outputs import atomic_text
        from genomai_cli.formats.tables import read_labels
        from genomai_cli.population.evaluation import generation, structure
        from genomai_cli.population.evaluation.genotypes import read_genotypes
        from genomai_cli.population.generation import quality

        if not self.wanted:
            return
        people, panel = quality.gathered(self.made), bundle.coordinates
        known = quality.Known.of(bundle, summary, everybody=everybody)
        expected = known.frequencies(people)
        parts = [quality.of_bundle(people, known)]
        if self.against is not None:
            real = read_genotypes(self.against, panel)
            expected = structure.frequencies(real)
            others = read_genotypes(self.held_out, panel) if self.held_out else None
            groups = read_labels(self.groups) if self.groups else None
            parts.append(quality.against(people, panel, real, others, groups, seed))
        parts.append(_recognised(run, people, panel))
        found = quality.complete(parts)
        for remark in found.remarks:
            run.console.say(f"quality: {remark}")
        for alarm in generation.alarms(found.report).values():
            run.console.warn(alarm)
        if self.path is not None:
            text = _json(found, bundle, seed) if self.path.suffix == ".json" else _tsv(found)
            with atomic_text(self.path) as file:
                file.write(text)
        if page:
            page.write(_page(run, found, people, expected, bundle, seed))


def _page(
    run: Run,
    found: "Quality",
    people: "SampleGenotypes",
    expected: "NDArray[np.float64] | None",
    bundle: "Bundle",
    seed: int,
) -> "Page":
    from genomai_cli.population.evaluation.page import Frequencies, quality_page
    from genomai_cli.reports.wording import counted

    frequencies = None
    if expected is not None:
        frequencies = Frequencies.compared(expected, people, bundle.coordinates)
    model = {
        "model": f"{bundle.name} {bundle.version}",
        "SHA-256 of its weights": bundle.weights_sha256,
        "seed": str(seed),
    }
    title = f"{counted(len(people), 'person', 'people')} made up by {bundle.name} {bundle.version}"
    return quality_page(title, found.report, found.notes, frequencies, model | run.facts())


def _recognised(run: Run, made: "SampleGenotypes", panel: "Panel") -> "Quality":
    """What the classifier of the package makes of the people, if it reads their sites."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles import catalog
    from genomai_cli.inference.classify import classify_records
    from genomai_cli.population.generation import quality
    from genomai_cli.population.panel import Panel

    try:
        reads = Panel.read(catalog.panel_of(CLASSIFIER)).sha256 == panel.sha256
        where = devices.choose("cpu")
        classifier = bundles.load(CLASSIFIER, where, devices.exact_precision(where))
    except BundleError as error:
        run.console.warn(f"nobody is recognised: {error}")
        return quality.Quality({}, {"recognised": f"no model {CLASSIFIER}"})
    if not reads:
        return quality.Quality({}, {"recognised": f"the model {CLASSIFIER} reads other sites"})

    def recognise(records: "Sequence[SequenceRecord]") -> dict[str, list[str]]:
        calls = classify_records(classifier, records)
        return {call.name: list(call.labels.values()) for call in calls}

    known = frozenset(label for labels in classifier.heads.values() for label in labels)
    return quality.recognition(made, panel, recognise, known)


def _tsv(found: "Quality") -> str:
    rows = [COLUMNS, *_rows(found)]
    return "".join("\t".join(row) + "\n" for row in rows)


def _rows(found: "Quality") -> "Iterator[tuple[str, ...]]":
    for group, measures in found.report.items():
        for name, estimate in measures.items():
            numbers = map(number, asdict(estimate).values())
            yield (group, name, *numbers, found.notes.get(group, "."))


def _json(found: "Quality", bundle: "Bundle", seed: int) -> str:
    import json

    groups = {
        group: {name: estimate_fields(estimate) for name, estimate in measures.items()}
        for group, measures in found.report.items()
    }
    facts = {
        "schema_version": SCHEMA_VERSION,
        "model": f"{bundle.name}@{bundle.version}",
        "seed": seed,
        "groups": groups,
        "notes": dict(found.notes),
    }
    return json.dumps(facts, indent=2) + "\n"
