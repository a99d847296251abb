"""`genomai pretrain`: a network trained on DNA without labels, in a new bundle or attached to another model's."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.console import Progress
from genomai_cli.cli.corpus import CORPUS, ReferenceInputs, UnlabelledInputs, regions_of, signature
from genomai_cli.cli.options import Compute, Inputs
from genomai_cli.cli.pages import page_file
from genomai_cli.cli.pretrain_options import LearningOptions, ReadingOptions, ReportFile, Shard
from genomai_cli.cli.pretrain_reference import keeps_haplotypes, prepare_reference
from genomai_cli.cli.run import Run, command
from genomai_cli.cli.training_options import (
    RestartOptions,
    Target,
    named_after,
    require_use_of_reference,
    stop_requests,
)
from genomai_cli.cli.training_report import write_pretrained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.inputs.base import InputKind
    from genomai_cli.training.pretraining import Pretrained, RunContext
    from genomai_cli.training.recipe import Recipe
    from genomai_cli.training.run_folder import Workspace

NO_FILTERS = [False, None, None]  # every call counts, and no absent site is as the reference


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
    if keeps_haplotypes(learning):
        prepare_reference(
            run, output, inputs, learning, reading, restart, compute, report=report, shard=shard
        )
        return

    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.sources.model_choice import record_device
    from genomai_cli.training import corpus as corpora
    from genomai_cli.training import distributed, run_folder
    from genomai_cli.training.pretraining import RunContext

    with (
        distributed.join_processes(compute.device, shard=shard) as (processes, device),
        page_file(None if processes.rank else report) as page,
    ):
        if processes.rank:
            run.keep_quiet()
        devices.use_threads(compute.threads)
        record_device(run, device, compute.device)
        folder = run_folder.folder_for(output)
        previous = run_folder.read_run(folder) if restart.resume else {}
        source: UnlabelledInputs | ReferenceInputs | None = None
        preset = str(previous.get("preset"))
        if processes.rank == 0 and restart.resume and corpora.is_finished(folder / CORPUS):
            corpora.require_unchanged(folder / CORPUS)
        elif processes.rank == 0:
            source = _source(run, inputs, learning, reading)
            preset = source.preset
        preset = distributed.broadcast_text(processes, preset)
        recipe, recipe_text = learning.read(preset, reading.panel)
        start = bundles.load(reading.model, device) if reading.model else None
        kind = _input_kind(recipe, learning, reading, start)
        recipe = named_after(recipe, output, learning.recipe_changes)
        corpus_signature = _corpus_signature(inputs, learning, reading)
        if not (source or inputs or learning.tracks):
            corpus_signature = _resumed_signature(corpus_signature, previous)
        fingerprint = {
            "seed": compute.seed,
            "panel": kind.signature().get("panel"),
            "reference": kind.signature().get("reference"),
            "start": start.weights_sha256 if start else None,
            **corpus_signature,
            "preset": preset,
            "labels": signature([learning.labels]) if learning.labels else None,
            "phenotypes": signature([learning.phenotypes]) if learning.phenotypes else None,
            "tracks": signature([learning.tracks]) if learning.tracks else None,
        }
        workspace = run_folder.Workspace(folder, recipe_text)
        if processes.rank == 0:
            workspace = run_folder.claim(
                output, recipe_text, fingerprint, resume=restart.resume, force=restart.force
            )
        with workspace.removed_unless_begun() if processes.rank == 0 else nullcontext():
            if source is not None:
                source.write(folder / CORPUS, recipe, kind, compute.seed)
            distributed.wait_for_all(processes)
            surroundings = RunContext(device, folder, processes)
            pretrained = _pretrained(
                run, workspace, recipe, kind, surroundings, compute.seed, start
            )
        if processes.rank == 0:
            host = _host(pretrained, start, reading.model)
            write_pretrained(run, pretrained, output, workspace, host, page)
        distributed.wait_for_all(processes)


def _source(
    run: Run, inputs: list[Path] | None, learning: LearningOptions, reading: ReadingOptions
) -> UnlabelledInputs | ReferenceInputs:
    """The inputs that the corpus is written from."""
    if learning.tracks is not None:
        return ReferenceInputs(run, inputs)
    regions = regions_of(reading.reference, reading.regions)
    return UnlabelledInputs(run, regions, reading, labelled=learning.labels is not None)


def _corpus_signature(
    inputs: list[Path] | None, learning: LearningOptions, reading: ReadingOptions
) -> dict[str, object]:
    """What the corpus is written from, files by name and size, and which calls of a VCF count; None for defaults."""
    files = [file for file in (reading.reference, reading.regions) if file is not None]
    filters = [reading.absent_is_ref, reading.min_gq, reading.min_dp]
    return {
        "inputs": signature(files if learning.tracks else inputs or []),
        "regions": signature(files) if reading.regions else None,
        "filters": filters if filters != NO_FILTERS else None,
    }


def _resumed_signature(
    stated: "Mapping[str, object]", previous: "Mapping[str, object]"
) -> dict[str, object]:
    """That of a run that goes on with a finished corpus and names no inputs: what it says, else what it said before."""
    options = {name: value for name, value in stated.items() if value and name != "inputs"}
    return {name: previous.get(name) for name in stated} | options


def _input_kind(
    recipe: "Recipe", learning: LearningOptions, reading: ReadingOptions, start: "Bundle | None"
) -> "InputKind":
    """The recipe's kind of input; UsageError for a file that it has no use for."""
    from genomai_cli.training.recipe import input_of

    kind = input_of(recipe, _files(learning, reading), start.input if start else None)
    if reading.regions is None:
        unless = " without --regions"
        require_use_of_reference(reading.reference, kind, recipe.name, unless=unless)
    return kind


def _files(learning: LearningOptions, reading: ReadingOptions) -> dict[str, Path | None]:
    """The files of the options that a kind of input is made from, by name."""
    return {
        "panel": reading.panel,
        "reference": reading.reference,
        "regions": reading.regions,
        "tracks": learning.tracks,
        "labels": learning.labels,
        "phenotypes": learning.phenotypes,
    }


def _pretrained(
    run: Run,
    workspace: "Workspace",
    recipe: "Recipe",
    kind: "InputKind",
    surroundings: "RunContext",
    seed: int,
    start: "Bundle | None",
) -> "Pretrained":
    """The trained model; a run that is asked to stop says how it can go on."""
    from genomai_cli.training.corpus import Corpus
    from genomai_cli.training.pretraining import pretrain

    with (
        Progress(run.console, recipe.optimization.steps, workspace.log) as progress,
        stop_requests() as stop,
    ):
        surroundings = replace(surroundings, stop=stop)
        if surroundings.processes.rank == 0:
            surroundings = replace(surroundings, report=progress.report)
        corpus = Corpus.open(workspace.folder / CORPUS)
        return pretrain(corpus, recipe, kind, seed=seed, start=start, context=surroundings)


def _host(pretrained: "Pretrained", start: "Bundle | None", name: str | None) -> Path | None:
    """The folder of the model to begin from, if that was kept and the network attached to it."""
    from genomai_cli.bundles import catalog

    is_attached = start is not None and pretrained.bundle.classifier is start.classifier
    return catalog.find(name) if is_attached and name else None
