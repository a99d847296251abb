"""What `genomai generate` makes with a model of a panel: individuals, from the request to the file."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING

from genomai_cli.cli.run import Run

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.cli.generate_quality import Report
    from genomai_cli.inference.generate_diffusion import Settings
    from genomai_cli.population.generation.requests import Request
    from genomai_cli.population.generation.sampler import SyntheticIndividual
    from genomai_cli.population.labels import Phenotypes

EVERYBODY = "reference"
ALIGNER = "ancestry"  # whose network says how like phenotype records are


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
        requests = _by_records(run, requested.records, requested.number, generator.phenotypes)
    total = sum(request.individuals for request in requests)
    made = run.console.progress(generator.individuals(requests), "generating", total=total)
    with atomic_output(output) as out:  # nothing is read that could be bad: people come at once
        run.count(used=_write(run, out, report.passed(made), bundle, requested, settings.seed))
        everybody = requested.phenotypes == [EVERYBODY] and requested.records is None
        known = summary.read(requested.model)
        report.write(run, bundle, known, settings.seed, everybody=everybody)


def _by_records(run: Run, file: Path, number: int, phenotypes: "Phenotypes") -> "list[Request]":
    """Those asked for by the phenotype records of a file."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.cli.align import phenotype_records
    from genomai_cli.population.generation.requests import requests_of_records

    bundle = bundles.load(ALIGNER, devices.choose("cpu"))
    table = phenotype_records(run, file, ALIGNER, bundle)
    populations = phenotype_records(run, None, ALIGNER, bundle)
    return requests_of_records(table, number, populations, bundle, phenotypes)


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
    count, absent = output.write_people_as_variants(out, people, panel, requested.build, source)
    if absent:
        run.console.say(
            f"{absent} sites of the panel have no position in {requested.build}: left out"
        )
    return count
