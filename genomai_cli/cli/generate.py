"""`genomai generate`: new people, for whom nobody stands."""

from collections.abc import Iterator
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    Device,
    Model,
    Output,
    Quiet,
    ReportJson,
    Seed,
    Threads,
    Verbose,
    check_finite,
)
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.generation.people import SyntheticPerson

DEFAULT_MODEL = "ancestry-generator"
EVERYBODY = "reference"


class Target(StrEnum):
    """What is written."""

    FASTA = "fasta"
    VCF = "vcf"
    TSV = "tsv"


class Build(StrEnum):
    """Whose positions are written."""

    GRCH37 = "GRCh37"
    GRCH38 = "GRCh38"


def complete_phenotype(incomplete: str) -> list[str]:
    """Phenotypes of the default model that begin with what has been typed."""
    from genomai_cli.bundles import catalog
    from genomai_cli.errors import GenomaiError
    from genomai_cli.panels.phenotypes import Phenotypes

    try:
        config = catalog.read_config(catalog.find(DEFAULT_MODEL))
        names = Phenotypes.from_config(config).names
    except GenomaiError:
        return []
    return [name for name in [EVERYBODY, *names] if name.startswith(incomplete)]


PhenotypeNames = Annotated[
    list[str] | None,
    typer.Option(
        "--phenotype",
        metavar="NAME[:WEIGHT],...",
        help="Whom: a population or super-population, several with weights (admixed people), null (no phenotype), or "
        "reference (all populations in the proportions learnt from). May be repeated.  [default: reference]",
        autocompletion=complete_phenotype,
        show_default=False,
    ),
]

Number = Annotated[
    int, typer.Option("-n", "--number", metavar="N", min=1, help="People of each --phenotype.")
]

To = Annotated[
    Target, typer.Option("--to", help="Barcodes, phased genotypes, or a table of allele counts.")
]

Haplotypes = Annotated[
    bool,
    typer.Option("--haplotypes", help="Two records or rows a person, NAME_A and NAME_B."),
]

BuildOption = Annotated[
    Build, typer.Option("--build", help="The genome build of positions in VCF and TSV.")
]

Steps = Annotated[
    int,
    typer.Option(
        "--steps",
        metavar="N",
        min=1,
        help="Steps in which the alleles appear; few are quick, but then sites know less of each other.",
    ),
]

Guidance = Annotated[
    float,
    typer.Option(
        "--guidance",
        metavar="G",
        min=0.0,
        callback=check_finite,
        help="Above 1, people who are more typical of the phenotype; 1 is as learnt.",
    ),
]

Temperature = Annotated[
    float,
    typer.Option(
        "--temperature",
        metavar="T",
        min=0.01,
        callback=check_finite,
        help="Below 1, likelier people and less variety; 1 is as learnt.",
    ),
]


def generate(
    context: typer.Context,
    phenotype: PhenotypeNames = None,
    number: Number = 1,
    to: To = Target.FASTA,
    haplotypes: Haplotypes = False,
    build: BuildOption = Build.GRCH37,
    steps: Steps = 64,
    guidance: Guidance = 1.0,
    temperature: Temperature = 1.0,
    model: Model = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    output: Output = STANDARD_OUTPUT,
    quiet: Quiet = False,
    verbose: Verbose = False,
    report_json: ReportJson = None,
) -> None:
    """Make up new people, by a diffusion model of a panel's sites.

    They resemble the people whom the model has learnt from, and are none of them. FASTA has one barcode a person, an
    IUPAC letter a site; VCF is phased. Of a super-population, each person belongs to one of its populations, in their
    proportions; of several phenotypes with weights, stretches of each chromosome come from one of them.
    The groups are reference samples of the 1000 Genomes Project: similarity to them is not race or ethnicity.

    \b
    genomai generate --phenotype EUR -n 100 > people.fa
    genomai generate --phenotype EUR:0.7,AFR:0.3 -n 20 --to vcf -o admixed.vcf.gz
    genomai generate -n 2504 --to vcf | bcftools view -S names.txt
    genomai generate --phenotype GBR -n 100 | genomai classify
    """
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.formats.outputs import atomic_output
    from genomai_cli.generation.asking import all_asked
    from genomai_cli.generation.people import Generator, Settings

    with Run(context) as run:
        if haplotypes and to is Target.VCF:
            raise UsageError("--haplotypes is for FASTA and TSV: a VCF is phased as it is")
        devices.use_threads(threads)
        where = devices.choose(device)
        bundle = bundles.load(model or DEFAULT_MODEL, where, devices.exact_precision(where))
        run.used_model(bundle.name, bundle.version, bundle.weights_sha256)
        run.used_device(where)
        settings = Settings(steps, guidance, temperature, seed)
        generator = Generator(bundle, settings)
        asks = all_asked(phenotype or [EVERYBODY], number, generator.phenotypes)
        total = sum(ask.people for ask in asks)
        people = run.console.progress(generator.people(asks), "generating", total=total)
        with atomic_output(
            output
        ) as out:  # nothing is read that could be bad: people may come at once
            run.count(used=_write(run, out, people, bundle, to, str(build), seed, haplotypes))


def _write(
    run: Run,
    out: IO[bytes],
    people: Iterator["SyntheticPerson"],
    bundle: "Bundle",
    to: Target,
    build: str,
    seed: int,
    haplotypes: bool,
) -> int:
    """Write the people; how many there are."""
    from genomai_cli.generation import writing

    panel = bundle.required_panel
    origin = f"model={bundle.name} seed={seed}"
    if to is Target.FASTA:
        return writing.write_barcodes(out, people, panel, origin, haplotypes=haplotypes)
    if to is Target.TSV:
        return writing.write_table(out, people, panel, build, haplotypes=haplotypes)
    count, absent = writing.write_people_as_variants(out, people, panel, build, f"genomai {origin}")
    if absent:
        run.console.say(f"{absent} sites of the panel have no position in {build}: left out")
    return count
