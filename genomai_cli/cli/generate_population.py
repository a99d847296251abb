"""`genomai generate` with a model of a panel: individuals, from the request to the file, and the report on their
quality, TSV or JSON by the file's name."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING

from genomai_cli.cli.evaluation_report import SCHEMA_VERSION, estimate_fields, number
from genomai_cli.cli.json_text import json_text
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

ALL_POPULATIONS = "reference"
ALIGNER = "ancestry-967"  # its network measures the similarity of phenotype records
CLASSIFIER = "ancestry-967"
COLUMNS = ("group", "metric", "value", "low", "high", "baseline", "note")


class Target(StrEnum):
    """The format of the output."""

    FASTA = "fasta"
    VCF = "vcf"
    TSV = "tsv"


@dataclass(eq=False, repr=False)
class IndividualsRequest:
    """A request for individuals: the model, phenotypes or records, the number of each, and the format."""

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
    request: IndividualsRequest,
    report: "Report",
    output: Path,
) -> None:
    """Write new people, and the report on them if there is to be one."""
    from genomai_cli.formats.outputs import atomic_output
    from genomai_cli.population.evaluation import summary
    from genomai_cli.population.generation.requests import requests_of
    from genomai_cli.population.generation.sampler import HaplotypeGenerator

    generator = HaplotypeGenerator(bundle, settings)
    sample_requests = requests_of(request.phenotypes, request.number, generator.phenotypes)
    if request.records is not None:
        sample_requests = _requests_by_records(run, request.records, request.number, generator)
    total = sum(sample_request.individuals for sample_request in sample_requests)
    individuals = run.console.progress(
        generator.individuals(sample_requests), "generating", total=total
    )
    # Nothing is read that could be bad: people come at once.
    with page_file(report.page) as page, atomic_output(output) as out:
        run.count(
            used=_write(run, out, report.recorded(individuals), bundle, request, settings.seed)
        )
        all_populations = request.phenotypes == [ALL_POPULATIONS] and request.records is None
        training_summary = summary.read(request.model)
        report.write(
            run, bundle, training_summary, settings.seed, page, all_populations=all_populations
        )


def _requests_by_records(
    run: Run, file: Path, number: int, generator: "HaplotypeGenerator"
) -> "list[Request]":
    """The requests of a file's phenotype records: read by the generator if it has columns, or by similarity."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.cli.align import phenotype_records
    from genomai_cli.population.generation.requests import (
        requests_by_similarity,
        requests_for_records,
    )
    from genomai_cli.population.phenotypes import read_phenotypes

    if len(generator.columns):
        table = read_phenotypes(file)
        run.note(phenotypes={"file": str(file), "records": len(table), "ignored": []})
        return requests_for_records(table, number, generator.columns)
    bundle = bundles.load(ALIGNER, devices.choose("cpu"))
    table = phenotype_records(run, file, ALIGNER, bundle)
    populations = phenotype_records(run, None, ALIGNER, bundle)
    return requests_by_similarity(table, number, populations, bundle, generator.phenotypes)


def _write(
    run: Run,
    out: IO[bytes],
    individuals: Iterable["SyntheticIndividual"],
    bundle: "Bundle",
    request: IndividualsRequest,
    seed: int,
) -> int:
    """Write the people; how many there are."""
    from genomai_cli.population.generation import output

    panel = bundle.coordinates
    origin = f"model={bundle.name} seed={seed}"
    if request.to is Target.FASTA:
        return output.write_barcodes(out, individuals, panel, origin, haplotypes=request.haplotypes)
    if request.to is Target.TSV:
        return output.write_table(
            out, individuals, panel, request.build, haplotypes=request.haplotypes
        )
    source = f"genomai {origin}"
    count, missing_sites = output.write_vcf(out, individuals, panel, request.build, source)
    if missing_sites:
        run.console.say(
            f"{missing_sites} sites of the panel have no position in {request.build}: left out"
        )
    return count


@dataclass
class Report:
    """The files of the report, those it compares with, and the individuals generated so far."""

    path: Path | None
    page: Path | None = None
    against: Path | None = None
    held_out: Path | None = None
    groups: Path | None = None
    individuals: "list[SyntheticIndividual]" = field(default_factory=list)

    def __post_init__(self) -> None:
        comparison_options = {"--held-out": self.held_out, "--groups": self.groups}
        if not self.is_requested and (self.against or any(comparison_options.values())):
            raise UsageError("--against, --held-out and --groups are for --quality and --report")
        for option, file in comparison_options.items():
            if file and not self.against:
                raise UsageError(f"{option} needs --against")

    @property
    def is_requested(self) -> bool:
        """Whether there is to be a report at all."""
        return self.path is not None or self.page is not None

    def recorded(
        self, individuals: "Iterable[SyntheticIndividual]"
    ) -> "Iterator[SyntheticIndividual]":
        """The same individuals; they are kept if there is to be a report."""
        for individual in individuals:
            if self.is_requested:
                self.individuals.append(individual)
            yield individual

    def write(
        self,
        run: Run,
        bundle: "Bundle",
        summary: "Summary | None",
        seed: int,
        page: PageFile,
        *,
        all_populations: bool,
    ) -> None:
        """Write the report and its page, as far as they were asked for."""
        from genomai_cli.formats.outputs import atomic_text
        from genomai_cli.formats.tables import read_labels
        from genomai_cli.population.evaluation import generation, structure
        from genomai_cli.population.evaluation.genotypes import read_genotypes
        from genomai_cli.population.generation import quality

        if not self.is_requested:
            return
        synthetic, panel = quality.synthetic_genotypes(self.individuals), bundle.coordinates
        known = quality.BundleStatistics.of(bundle, summary, representative=all_populations)
        expected = known.frequencies(synthetic)
        parts = [quality.compare_with_bundle(synthetic, known)]
        if self.against is not None:
            real = read_genotypes(self.against, panel)
            expected = structure.frequencies(real)
            held_out = read_genotypes(self.held_out, panel) if self.held_out else None
            groups = read_labels(self.groups) if self.groups else None
            parts.append(
                quality.compare_with_samples(synthetic, panel, real, held_out, groups, seed)
            )
        parts.append(_recognised(run, synthetic, panel))
        quality_report = quality.merged(parts)
        for remark in quality_report.remarks:
            run.console.say(f"quality: {remark}")
        for alarm in generation.alarms(quality_report.report).values():
            run.console.warn(alarm)
        if self.path is not None:
            text = (
                _json(quality_report, bundle, seed)
                if self.path.suffix == ".json"
                else _tsv(quality_report)
            )
            with atomic_text(self.path) as file:
                file.write(text)
        if page:
            page.write(_page(run, quality_report, synthetic, expected, bundle, seed))


def _page(
    run: Run,
    quality_report: "Quality",
    synthetic: "SampleGenotypes",
    expected: "NDArray[np.float64] | None",
    bundle: "Bundle",
    seed: int,
) -> "Page":
    from genomai_cli.population.evaluation.page import Frequencies, quality_page
    from genomai_cli.reports.wording import counted

    frequencies = None
    if expected is not None:
        frequencies = Frequencies.compared(expected, synthetic, bundle.coordinates)
    model = {
        "model": f"{bundle.name} {bundle.version}",
        "SHA-256 of its weights": bundle.weights_sha256,
        "seed": str(seed),
    }
    title = (
        f"{counted(len(synthetic), 'person', 'people')} made up by {bundle.name} {bundle.version}"
    )
    return quality_page(
        title, quality_report.report, quality_report.notes, frequencies, model | run.facts()
    )


def _recognised(run: Run, synthetic: "SampleGenotypes", panel: "Panel") -> "Quality":
    """Calls of the package's classifier for the individuals, if it reads their sites."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles import catalog
    from genomai_cli.inference.classify import classify_records
    from genomai_cli.population.generation import quality
    from genomai_cli.population.panel import Panel

    try:
        same_sites = Panel.read(catalog.panel_of(CLASSIFIER)).sha256 == panel.sha256
        device = devices.choose("cpu")
        classifier = bundles.load(CLASSIFIER, device, devices.exact_precision(device))
    except BundleError as error:
        run.console.warn(f"nobody is recognised: {error}")
        return quality.Quality({}, {"recognised": f"no model {CLASSIFIER}"})
    if not same_sites:
        return quality.Quality({}, {"recognised": f"the model {CLASSIFIER} reads other sites"})

    def recognise(records: "Sequence[SequenceRecord]") -> dict[str, list[str]]:
        calls = classify_records(classifier, records)
        return {call.name: list(call.labels.values()) for call in calls}

    known_labels = frozenset(label for labels in classifier.heads.values() for label in labels)
    return quality.compare_labels(synthetic, panel, recognise, known_labels)


def _tsv(quality_report: "Quality") -> str:
    rows = [COLUMNS, *_rows(quality_report)]
    return "".join("\t".join(row) + "\n" for row in rows)


def _rows(quality_report: "Quality") -> "Iterator[tuple[str, ...]]":
    for group, measures in quality_report.report.items():
        for name, estimate in measures.items():
            numbers = map(number, asdict(estimate).values())
            yield (group, name, *numbers, quality_report.notes.get(group, "."))


def _json(quality_report: "Quality", bundle: "Bundle", seed: int) -> str:
    groups = {
        group: {name: estimate_fields(estimate) for name, estimate in measures.items()}
        for group, measures in quality_report.report.items()
    }
    facts = {
        "schema_version": SCHEMA_VERSION,
        "model": f"{bundle.name}@{bundle.version}",
        "seed": seed,
        "groups": groups,
        "notes": dict(quality_report.notes),
    }
    return json_text(facts)
