"""`genomai pretrain`: a network trained on DNA without labels, in a new bundle or attached to another model's."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.console import Progress
from genomai_cli.cli.corpus import (
    CORPUS,
    FOR_COVERAGE,
    FOR_DESCRIBED,
    FOR_DNA,
    FOR_NEXT,
    FOR_PEOPLE,
    FOR_SEQUENCES,
    FOR_TRACKS,
    FOR_VARIANTS,
    OverReference,
    Unlabelled,
    regions_of,
    signature,
)
from genomai_cli.cli.options import (
    Compute,
    Inputs,
    VariantOptions,
    either,
    model_option,
    report_option,
)
from genomai_cli.cli.pages import page_file
from genomai_cli.cli.run import Run, command
from genomai_cli.cli.training_options import (
    Changes,
    RestartOptions,
    Target,
    TrainingPanel,
    named_after,
    recipe_option,
    stop_requests,
)
from genomai_cli.cli.training_report import write_pretrained
from genomai_cli.errors import UsageError
from genomai_cli.registry import OBJECTIVES

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.inputs.base import InputKind
    from genomai_cli.training.pretraining import Pretrained, Surroundings
    from genomai_cli.training.recipe import Recipe
    from genomai_cli.training.run_folder import Workspace


RecipeName = Annotated[
    str | None,
    recipe_option(
        f"{FOR_VARIANTS} for VCF, {FOR_SEQUENCES} for FASTA; for crossmodal {FOR_DESCRIBED}, for diffusion "
        f"{FOR_PEOPLE}, or {FOR_DNA} for FASTA but that of haplotypes; for causal {FOR_NEXT}; for omics {FOR_TRACKS}; "
        f"for tracks {FOR_COVERAGE}"
    ),
]
Objectives = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="NAME[:WEIGHT],...",
        help=f"What to train by: {either(OBJECTIVES)}; several are weighted together.  [default: the recipe's]",
        show_default=False,
    ),
]


class PurposeName(StrEnum):
    """What a model is for that needs no network."""

    IMPUTATION = "imputation"


Purpose = Annotated[
    PurposeName | None,
    typer.Option(
        "--for",
        metavar="imputation",
        help="Train no network: keep the haplotypes of the samples, by which `denoise` restores the genotypes of "
        "others (the recipe imputation). The sites are those of the first file, unless there is a --panel.",
        show_default=False,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="TSV",
        help="With diffusion: the phenotypes of people, or the labels of sequences, in the columns that the recipe "
        "names from coarse to fine (all of them if it names none).",
        show_default=False,
    ),
]
Phenotypes = Annotated[
    Path | None,
    typer.Option(
        "--phenotypes",
        metavar="TSV",
        help="With crossmodal, or diffusion of people: what is known of each sample, in columns of labels, numbers, "
        "latitude and longitude.",
        show_default=False,
    ),
]

Tracks = Annotated[
    Path | None,
    typer.Option(
        "--tracks",
        metavar="TSV|BED",
        help="With omics or tracks: those over --reference, a table of their files or a BED that names one a line.",
        show_default=False,
    ),
]

ReferenceFile = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FASTA",
        help="The genome that tracks lie over; or of a VCF whose samples are read as haplotype sequences, with "
        "--regions; or what the recipe's genomes are mapped to.",
        show_default=False,
    ),
]
Regions = Annotated[
    Path | None,
    typer.Option(
        "--regions",
        metavar="BED",
        help="The regions of the haplotype sequences, or of the reference that is trained on.",
        show_default=False,
    ),
]
Start = Annotated[
    str | None,
    model_option(
        "Begin with the network of this model instead of from scratch. With crossmodal, any model of genotypes "
        "is kept as it is, and the new network put beside its own."
    ),
]
Shard = Annotated[
    bool,
    typer.Option("--shard", help="Share the network out among torchrun's processes (FSDP)."),
]


ReportFile = Annotated[
    Path | None, report_option("held-out losses beside those without a network, losses by step")
]


@dataclass(eq=False, repr=False)
class LearningOptions:
    """What is learnt, how, and what is told beside the DNA."""

    objective: Objectives = None
    purpose: Purpose = None
    labels: Labels = None
    phenotypes: Phenotypes = None
    tracks: Tracks = None
    recipe: RecipeName = None
    changes: Changes = None

    @property
    def wanted(self) -> list[str]:
        """The changes of the recipe, the objectives among them."""
        return [*(self.changes or []), *_objectives(self.objective)]

    def read(self, for_input: str, panel: Path | None) -> "tuple[Recipe, str]":
        """The recipe, `for_input` or the objective's own if none is asked for, as it is and as text."""
        from genomai_cli.training import recipe as recipes

        if self.purpose is not None and (self.recipe or self.objective):
            other = "--recipe" if self.recipe else "--objective"
            raise UsageError(f"--for {self.purpose} is a recipe of its own: no {other}")
        fits = _preset(for_input, self.objective, of_people=panel is not None)
        return recipes.read(self.recipe or self.purpose or fits, self.wanted)


@dataclass(eq=False, repr=False)
class ReadingOptions(VariantOptions):
    """What records are read by: sites, a reference, or what the model to begin from has."""

    panel: TrainingPanel = None
    reference: ReferenceFile = None
    regions: Regions = None
    model: Start = None


@command
def pretrain(
    run: Run,
    output: Target,
    inputs: Inputs = None,
    *,
    learning: LearningOptions,
    reading: ReadingOptions,
    shard: Shard = False,
    restart: RestartOptions,
    report: ReportFile = None,
    compute: Compute,
) -> None:
    """Pretrain a network on unlabelled DNA, into a model bundle.

    Inputs of any size are read once, kept on disk beside the output while the run lasts, and trained on in shuffled
    order. Ctrl-C and SIGTERM end the run with a checkpoint; --resume goes on from it, or from the last one after any
    crash, bit for bit as if the run had not stopped.

    \b
    genomai pretrain genomes/*.fa.gz -o dna-model
    genomai pretrain --objective contrastive,masked:0.5 cohort.vcf.gz -o barcodes-model
    genomai pretrain --objective diffusion --labels people.tsv cohort.vcf.gz -o generator
    genomai pretrain --objective diffusion genomes/*.fa.gz -o dna-generator
    genomai pretrain --objective diffusion --labels classes.tsv promoters.fa -o labelled-dna
    genomai pretrain --objective causal genomes/*.fa.gz -o next-token-model
    genomai pretrain --for imputation reference.vcf.gz -o window
    genomai pretrain --objective omics --tracks tracks.tsv --reference ref.fa -o tracks-model
    genomai pretrain --objective tracks --tracks coverage.tsv --reference ref.fa -o coverage-model
    genomai pretrain --objective crossmodal --phenotypes people.tsv cohort.vcf.gz -o described
    genomai train --model ./dna-model promoters.fa --labels classes.tsv --recipe dna -o promoters
    torchrun --nproc-per-node 2 $(which genomai) pretrain genomes/*.fa.gz -o dna-model
    """
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.sources.model_choice import record_device
    from genomai_cli.training import corpus as corpora
    from genomai_cli.training import distributed, run_folder
    from genomai_cli.training.pretraining import Surroundings
    from genomai_cli.training.recipe import input_of

    with (
        distributed.joined(compute.device, shard=shard) as (processes, where),
        page_file(None if processes.rank else report) as page,
    ):
        if processes.rank:
            run.keep_quiet()
        devices.use_threads(compute.threads)
        record_device(run, where, compute.device)
        folder = run_folder.folder_for(output)
        before = run_folder.remembered(folder) if restart.resume else {}
        dna: Unlabelled | OverReference | None = None
        preset = str(before.get("preset"))
        if processes.rank == 0 and restart.resume and corpora.is_finished(folder / CORPUS):
            corpora.require_unchanged(folder / CORPUS)
        elif processes.rank == 0:
            dna = _source(run, inputs, learning, reading)
            preset = dna.preset
        preset = distributed.from_first(processes, preset)
        chosen, text = learning.read(preset, reading.panel)
        start = bundles.load(reading.model, where) if reading.model else None
        begins = start.input if start else None
        kind = input_of(chosen, _files(learning, reading, inputs or []), begins)
        chosen = named_after(chosen, output, learning.wanted)
        same = {
            "seed": compute.seed,
            "panel": kind.signature().get("panel"),
            "start": start.weights_sha256 if start else None,
            "inputs": _signature(inputs, learning, reading)
            if dna or inputs
            else before.get("inputs"),
            "preset": preset,
            "labels": signature([learning.labels]) if learning.labels else None,
            "phenotypes": signature([learning.phenotypes]) if learning.phenotypes else None,
            "tracks": signature([learning.tracks]) if learning.tracks else None,
        }
        work = run_folder.Workspace(folder, text)
        if processes.rank == 0:
            work = run_folder.claim(output, text, same, resume=restart.resume, force=restart.force)
        with work.kept_once_begun() if processes.rank == 0 else nullcontext():
            if dna is not None:
                dna.write(folder / CORPUS, chosen, kind, compute.seed)
            distributed.wait_for_all(processes)
            around = Surroundings(where, folder, processes)
            made = _pretrained(run, work, chosen, kind, around, compute.seed, start)
        if processes.rank == 0:
            host = _host(made, start, reading.model)
            write_pretrained(run, made, output, work, host, page)
        distributed.wait_for_all(processes)


def _source(
    run: Run, inputs: list[Path] | None, learning: LearningOptions, reading: ReadingOptions
) -> Unlabelled | OverReference:
    """Where the letters of the corpus come from."""
    if learning.tracks is not None:
        return OverReference(run, inputs)
    regions = regions_of(reading.reference, reading.regions)
    return Unlabelled(run, regions, reading, labelled=learning.labels is not None)


def _signature(
    inputs: list[Path] | None, learning: LearningOptions, reading: ReadingOptions
) -> list[list[object]]:
    """Of the files that the letters come from."""
    over = [file for file in (reading.reference, reading.regions) if file is not None]
    return signature(over if learning.tracks else inputs or [])


def _files(
    learning: LearningOptions, reading: ReadingOptions, inputs: list[Path]
) -> dict[str, Path | None]:
    """The files of the options that a kind of input is made from, by name."""
    panel = reading.panel
    if learning.purpose is not None and panel is None:
        if not inputs or not inputs[0].is_file():
            raise UsageError(f"--for {learning.purpose} needs a --panel where no file is read")
        panel = inputs[0]
    return {
        "panel": panel,
        "reference": reading.reference,
        "regions": reading.regions,
        "tracks": learning.tracks,
        "labels": learning.labels,
        "phenotypes": learning.phenotypes,
    }


def _objectives(given: str | None) -> list[str]:
    """`--objective` as a change of the recipe."""
    from genomai_cli.objectives.base import check_objective

    if given is None:
        return []
    weights = {}
    for part in given.split(","):
        name, _, weight = part.strip().partition(":")
        try:
            weights[name] = float(weight or 1)
            check_objective(name, weights[name])
        except ValueError as error:
            raise UsageError(f"--objective {given}: {error}") from error
    return ["objectives={" + ", ".join(f"{n} = {w}" for n, w in weights.items()) + "}"]


def _preset(for_input: str, objective: str | None, *, of_people: bool) -> str:
    """The recipe where none is named: that of the objective if it has its own, else the one for the kind of input.

    Diffusion of sequences is that of DNA, unless their names or a panel say that they are people.
    """
    names = [part.partition(":")[0].strip() for part in (objective or "").split(",")]
    of_dna = for_input == FOR_SEQUENCES and not of_people
    own = {
        "diffusion": FOR_DNA if of_dna else FOR_PEOPLE,
        "crossmodal": FOR_DESCRIBED,
        "causal": FOR_NEXT,
        "omics": FOR_TRACKS,
        "tracks": FOR_COVERAGE,
    }
    return next((own[name] for name in names if name in own), for_input)


def _pretrained(
    run: Run,
    work: "Workspace",
    recipe: "Recipe",
    kind: "InputKind",
    around: "Surroundings",
    seed: int,
    start: "Bundle | None",
) -> "Pretrained":
    """The trained model; a run that is asked to stop says how it can go on."""
    from genomai_cli.training.corpus import Corpus
    from genomai_cli.training.pretraining import pretrain

    with (
        Progress(run.console, recipe.optimization.steps, work.log) as progress,
        stop_requests() as stop,
    ):
        around = replace(around, stop=stop)
        if around.processes.rank == 0:
            around = replace(around, report=progress.tell)
        corpus = Corpus.open(work.folder / CORPUS)
        return pretrain(corpus, recipe, kind, seed=seed, start=start, surroundings=around)


def _host(made: "Pretrained", start: "Bundle | None", name: str | None) -> Path | None:
    """The folder of the model begun from, if that was kept and the network put beside it."""
    from genomai_cli.bundles import catalog

    kept = start is not None and made.bundle.classifier is start.classifier
    return catalog.find(name) if kept and name else None
