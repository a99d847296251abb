"""`genomai generate`: new people, for whom nobody stands, and new DNA."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli import registry
from genomai_cli.cli.generate_population import (
    ALL_POPULATIONS,
    IndividualsRequest,
    Report,
    Target,
    write_individuals,
)
from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    Compute,
    Groups,
    Model,
    Output,
    check_finite,
    report_option,
)
from genomai_cli.cli.run import Run, command
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.inference.generate_causal import CausalSampling
    from genomai_cli.inference.generate_diffusion import SequenceGenerator, Settings
    from genomai_cli.phylogeny.generate import GenomeGenerator
    from genomai_cli.records import SequenceRecord


class Build(StrEnum):
    """Whose positions are written."""

    GRCH37 = "GRCh37"
    GRCH38 = "GRCh38"


PhenotypeNames = Annotated[
    list[str] | None,
    typer.Option(
        "--phenotype",
        metavar="NAME[:WEIGHT],...",
        help="Whom: a population or super-population, several with weights (admixed people), null (no phenotype), or "
        "reference (all populations in the proportions trained on); of DNA, a label that the model was trained with; "
        "of mitochondrial genomes, a haplogroup's letter. May be repeated.  [default: reference]",
        show_default=False,
    ),
]
PhenotypesFile = Annotated[
    Path | None,
    typer.Option(
        "--phenotypes",
        metavar="TSV",
        help="Whom, by phenotype records as for `align`: -n people for each, by its columns where records were trained "
        "on, or of the populations most like it.",
        show_default=False,
    ),
]
Number = Annotated[
    int,
    typer.Option(
        "-n", "--number", metavar="N", min=1, help="People of each --phenotype, or sequences."
    ),
]
Length = Annotated[
    int | None,
    typer.Option(
        "--length",
        metavar="N",
        min=1,
        help="Letters of a sequence, its prompt included (models of DNA).  [default: those of the prompt, of most "
        "labelled sequences trained on, or of the model's window; next-token models: 500 after the prompt]",
        show_default=False,
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="DNA",
        help="What each sequence begins with (models of DNA); N in it is filled in, but for next-token models.",
        show_default=False,
    ),
]
To = Annotated[
    Target, typer.Option("--to", help="Barcodes, phased genotypes, or a table of allele counts.")
]
Haplotypes = Annotated[
    bool,
    typer.Option("--haplotypes", help="Two records or rows a person, NAME_A and NAME_B."),
]
BuildOption = Annotated[
    Build | None,
    typer.Option(
        "--build",
        help="The genome build of positions in VCF and TSV.  [default: GRCh37]",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        min=1,
        help="Steps in which the letters appear; few are quick, but then they know less of each other.  "
        "[default: the model's, mostly 64]",
        show_default=False,
    ),
]
Guidance = Annotated[
    float,
    typer.Option(
        "--guidance",
        metavar="G",
        min=0.0,
        callback=check_finite,
        help="Above 1, people or DNA more typical of the phenotype; 1 is as trained.",
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        metavar="T",
        min=0.01,
        callback=check_finite,
        help="Below 1, likelier people or DNA and less variety; 1 is as trained.  "
        "[default: the model's, mostly 1]",
        show_default=False,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        metavar="N",
        min=1,
        help="Next-token models: draw among the N likeliest tokens; 1 is greedy.  [default: all]",
        show_default=False,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        metavar="P",
        min=0.0,
        max=1.0,
        help="Next-token models: draw among the likeliest tokens that together have this probability.  [default: 1]",
        show_default=False,
    ),
]
Stop = Annotated[
    str | None,
    typer.Option(
        "--stop",
        metavar="TOKEN",
        help="Next-token models: a special token that may be drawn too and ends a sequence, as [SEP].  "
        "[default: none]",
        show_default=False,
    ),
]
Quality = Annotated[
    Path | None,
    typer.Option(
        "--quality",
        metavar="FILE",
        help="Write a report on the people there, TSV or JSON by its name: beside the model's summaries of the "
        "people trained on, or beside those of --against.",
        show_default=False,
    ),
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against",
        metavar="FILE",
        help="With --quality or --report: the real people trained on (VCF, or barcodes in FASTA), for all measures of "
        "`genomai evaluate --task generation`.",
        show_default=False,
    ),
]
HeldOut = Annotated[
    Path | None,
    typer.Option(
        "--held-out",
        metavar="FILE",
        help="With --against: real people who were not trained on, for baselines and membership inference.",
        show_default=False,
    ),
]


ReportFile = Annotated[
    Path | None,
    report_option("the measures of --quality, allele frequencies, linkage by distance"),
]


@dataclass(eq=False, repr=False)
class Individuals:
    """The individuals that a model of a panel generates."""

    phenotype: PhenotypeNames = None
    phenotypes: PhenotypesFile = None

    def check(self) -> None:
        """UsageError for both."""
        if self.phenotype and self.phenotypes:
            raise UsageError("--phenotype names people, --phenotypes describes them: not both")


@dataclass(eq=False, repr=False)
class Layout:
    """How individuals are written."""

    to: To = Target.FASTA
    haplotypes: Haplotypes = False
    build: BuildOption = None

    def check(self) -> None:
        """UsageError for haplotypes in VCF."""
        if self.haplotypes and self.to is Target.VCF:
            raise UsageError("--haplotypes is for FASTA and TSV: a VCF is phased as it is")


@dataclass(eq=False, repr=False)
class Sequences:
    """The sequences that a model of DNA generates."""

    length: Length = None
    prompt: Prompt = None


@dataclass(eq=False, repr=False)
class SamplingOptions:
    """How tokens are drawn."""

    steps: Steps = None
    guidance: Guidance = 1.0
    temperature: Temperature = None
    top_k: TopK = None
    top_p: TopP = None
    stop: Stop = None

    def causal(self, seed: int) -> "CausalSampling":
        """These options for a next-token model."""
        from genomai_cli.inference.generate_causal import CausalSampling

        return CausalSampling.of(self.temperature, self.top_k, self.top_p, self.stop, seed=seed)

    def settings(self, bundle: "Bundle", seed: int) -> "Settings":
        """These options, with the model's values for those not given."""
        from genomai_cli.inference.generate_diffusion import settings_of

        return settings_of(
            bundle,
            steps=self.steps,
            temperature=self.temperature,
            guidance=self.guidance,
            seed=seed,
        )


@dataclass(eq=False, repr=False)
class QualityOptions:
    """The report on individuals."""

    quality: Quality = None
    report: ReportFile = None
    against: Against = None
    held_out: HeldOut = None
    groups: Groups = None

    @property
    def requested_report(self) -> Report:
        """The report; UsageError for options without it."""
        return Report(self.quality, self.report, self.against, self.held_out, self.groups)


@command
def generate(
    run: Run,
    *,
    individuals: Individuals,
    number: Number = 1,
    layout: Layout,
    sequences: Sequences,
    sampling: SamplingOptions,
    assessment: QualityOptions,
    model: Model = None,
    compute: Compute,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Make up new people at a panel's sites, or new DNA.

    They resemble the people whom the model was trained on, and are none of them. FASTA has one barcode a person, an
    IUPAC letter a site; VCF is phased. Of a super-population, each person belongs to one of its populations, in their
    proportions; of several phenotypes with weights, stretches of each chromosome come from one of them.
    The groups are reference samples of the 1000 Genomes Project: similarity to them is not race or ethnicity.

    \b
    genomai generate --phenotype EUR -n 100 > people.fa
    genomai generate --phenotype EUR:0.7,AFR:0.3 -n 20 --to vcf -o admixed.vcf.gz
    genomai generate -n 2504 --to vcf --report report.html | bcftools view -S names.txt
    genomai generate --phenotype GBR -n 100 | genomai classify
    genomai generate --phenotypes places.tsv -n 20 > people-of-places.fa
    genomai generate --model mito-denoiser --phenotype H -n 20 > mitochondria.fa
    genomai generate --model ./dna-generator --prompt ACGTNNNNACGT --length 500 -n 10
    genomai generate --model ./labelled-dna --phenotype bound --guidance 2 -n 100
    genomai generate --model ./next-token-model --prompt ACGTTGACC --top-p 0.95 --temperature 0.8
    """
    from genomai_cli.inference.likelihood import predicts_next_token
    from genomai_cli.sources.installed import DEFAULT_GENERATOR
    from genomai_cli.sources.model_choice import load_model

    layout.check()
    individuals.check()
    report = assessment.requested_report
    bundle = load_model(run, model or DEFAULT_GENERATOR, compute)
    next_token = predicts_next_token(bundle)
    next_token_options = {
        "--top-k": sampling.top_k,
        "--top-p": sampling.top_p is not None,
        "--stop": sampling.stop,
    }
    if not next_token:
        _refuse(bundle, next_token_options, "does not predict next tokens")
    panel_options = {
        "--phenotypes": individuals.phenotypes,
        "--haplotypes": layout.haplotypes,
        "--build": layout.build,
        "--to": layout.to is not Target.FASTA,
        "--quality": assessment.quality,
        "--report": assessment.report,
    }
    dna_options = {"--length": sequences.length, "--prompt": sequences.prompt is not None}
    settings = sampling.settings(bundle, compute.seed)
    generator_class = registry.find(registry.GENERATORS, bundle.config["input"]["kind"])
    if not generator_class.of_individuals:
        _refuse(bundle, panel_options, "makes DNA, in FASTA")
        phenotype_options = {
            "--phenotype": individuals.phenotype,
            "--guidance": sampling.guidance != 1,
        }
        if "phenotypes" not in bundle.config and not generator_class.of_lineages:
            reason = "makes DNA without phenotypes: it was trained without labels"
            _refuse(bundle, phenotype_options, reason)
        if next_token:
            _refuse(bundle, {"--steps": sampling.steps}, "draws token by token")
            records = _next_tokens(bundle, sampling.causal(compute.seed), number, sequences)
            _write_dna(run, records, number, output)
            return
        if generator_class.of_lineages:
            sampling_options = {
                "--steps": sampling.steps,
                "--guidance": sampling.guidance != 1,
                "--temperature": sampling.temperature is not None,
            }
            _refuse(
                bundle, dna_options | sampling_options, "makes genomes of its reference, by lineage"
            )
        generator = generator_class(bundle, settings)
        _write_generated(run, generator, individuals.phenotype or [], number, sequences, output)
        return
    _refuse(bundle, dna_options, "makes people of a panel, not DNA")
    if layout.build and layout.to is Target.FASTA:
        raise UsageError("--build is for VCF and TSV: barcodes have no positions")
    request = IndividualsRequest(
        model or DEFAULT_GENERATOR,
        individuals.phenotype or [ALL_POPULATIONS],
        number,
        layout.to,
        str(layout.build or Build.GRCH37),
        layout.haplotypes,
        individuals.phenotypes,
    )
    write_individuals(run, bundle, settings, request, report, output)


def _refuse(bundle: "Bundle", options: Mapping[str, object], reason: str) -> None:
    """UsageError if an option is given that the model has no use for."""
    for option, value in options.items():
        if value:
            raise UsageError(f"{option} does not fit the model {bundle.name}: it {reason}")


def _next_tokens(
    bundle: "Bundle", sampling: "CausalSampling", number: int, sequences: Sequences
) -> "Iterator[SequenceRecord]":
    from genomai_cli.inference.generate_causal import CausalGenerator

    generator = CausalGenerator(bundle, sampling)
    return generator.records(number, sequences.prompt or "", sequences.length)


def _write_generated(
    run: Run,
    generator: "SequenceGenerator | GenomeGenerator",
    phenotypes: list[str],
    number: int,
    sequences: Sequences,
    output: Path,
) -> None:
    from genomai_cli.inference.generate_diffusion import SequenceRequest
    from genomai_cli.sources.generation import generated_records

    request = SequenceRequest(number, sequences.length, sequences.prompt or "")
    generated = generated_records(generator, request, phenotypes)
    _write_dna(run, generated.records, generated.number, output)


def _write_dna(run: Run, records: "Iterator[SequenceRecord]", number: int, output: Path) -> None:
    """Write new DNA."""
    from genomai_cli.formats.fasta import write_fasta
    from genomai_cli.formats.outputs import atomic_output

    progress = run.console.progress(records, "generating", total=number)
    with atomic_output(output) as out:
        run.count(used=write_fasta(out, progress))
