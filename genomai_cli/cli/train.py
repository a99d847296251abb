"""`genomai train`: a model from labelled samples."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.labelled_inputs import DataOptions, open_labels
from genomai_cli.cli.options import (
    Compute,
    Inputs,
    VariantOptions,
    check_finite,
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
    require_use_of_reference,
    stop_requests,
)
from genomai_cli.cli.training_report import reporter, write_classifier
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.training.adaptation import Adaptation
    from genomai_cli.training.finetuning import Finetuned
    from genomai_cli.training.recipe import Recipe
    from genomai_cli.training.run_folder import Workspace
    from genomai_cli.training.targets import Targets


class TargetKind(StrEnum):
    """What labels are (the same as in `training.targets`, which would need numpy)."""

    AUTO = "auto"
    CLASSES = "classes"
    REGRESSION = "regression"


class AdaptKind(StrEnum):
    """What is trained (the same as in `training.adaptation`, which would need torch)."""

    FULL = "full"
    PROBE = "probe"
    LORA = "lora"


VARIANTS_PRESET, SEQUENCES_PRESET, GENOMES_PRESET = "ancestry", "auto", "mito"
FINETUNED_SEQUENCES_PRESET = "sequences"  # its network is that of the model to begin with
FINETUNED_VARIANTS_PRESET = "ancestry-967"  # its networks can begin with those of another model
RecipeName = Annotated[
    str | None,
    recipe_option(
        f"{VARIANTS_PRESET} for VCF, {SEQUENCES_PRESET} for FASTA, {FINETUNED_SEQUENCES_PRESET} with a --model of "
        f"sequences, {FINETUNED_VARIANTS_PRESET} with one of barcodes, {GENOMES_PRESET} with one of genomes"
    ),
]
HeadColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--head",
        metavar="HEAD[=COLUMN]",
        help="What to learn: a column of the labels; may be repeated.  [default: the recipe's heads, "
        "or every column]",
        show_default=False,
    ),
]
ReferenceFile = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FASTA",
        help="What the recipe's genomes are mapped to.  [default: that of --model]",
        show_default=False,
    ),
]
DEFAULT_TIME, DEFAULT_RANK, DEFAULT_ALPHA = "15m", 8, 16.0
Budget = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="TIME",
        help="How long the recipe auto may train, on two cores: 90s, 15m, 2h. It counts letters, not the clock: "
        f"the same samples give the same model.  [default: {DEFAULT_TIME}]",
        show_default=False,
    ),
]
TargetOption = Annotated[
    TargetKind,
    typer.Option(
        "--target",
        help="What the labels are. auto: numbers with fractions, or more than 20 different ones, are predicted; A;B is "
        "several labels, yes or no for each; all else are classes.",
    ),
]
Adapt = Annotated[
    AdaptKind,
    typer.Option(
        "--adapt",
        help="With --model, what is trained: the whole network, its heads (a frozen probe), or low-rank changes of its "
        "linear layers (LoRA), which are added to the weights at the end.",
    ),
]
LoraRank = Annotated[
    int | None,
    typer.Option(
        "--lora-rank",
        metavar="N",
        min=1,
        help=f"The rank of LoRA's changes.  [default: {DEFAULT_RANK}]",
        show_default=False,
    ),
]
LoraAlpha = Annotated[
    float | None,
    typer.Option(
        "--lora-alpha",
        metavar="A",
        min=0.0,
        callback=check_finite,
        help=f"Their scale: alpha/rank times.  [default: {DEFAULT_ALPHA}]",
        show_default=False,
    ),
]
Start = Annotated[
    str | None,
    model_option(
        "Begin with the networks of this model instead of from scratch; heads are trained anew."
    ),
]


ReportFile = Annotated[
    Path | None,
    report_option("held-out results beside baselines, what was tried, losses by step"),
]


@dataclass(eq=False, repr=False)
class LearningOptions:
    """How to train, and for which heads."""

    recipe: RecipeName = None
    changes: Changes = None
    head: HeadColumns = None
    time: Budget = None
    target: TargetOption = TargetKind.AUTO

    def read(
        self, preset: str, labels: "LabelTable", output: Path, start: "Bundle | None"
    ) -> "tuple[Recipe, str, Mapping[str, str]]":
        """The recipe as it is and as text, and the column of every head.

        Where none is asked for, the preset, with the tokens and the network of the model of sequences to begin from.
        """
        from genomai_cli.training import recipe as recipes

        changes = self.changes or []
        same_network = (
            _same_network(start)
            if start and not self.recipe and preset == FINETUNED_SEQUENCES_PRESET
            else []
        )
        recipe, recipe_text = recipes.read(self.recipe or preset, [*same_network, *changes])
        if start is not None and recipes.is_selected(recipe):
            message = "a model whose parts are chosen begins with no other: name another --recipe"
            raise UsageError(message)
        heads = _heads(recipe, labels, self.head or [])
        if self.head:
            recipe = recipes.for_heads(recipe, heads)
        return named_after(recipe, output, changes), recipe_text, heads


@dataclass(eq=False, repr=False)
class ReadingOptions(VariantOptions):
    """How records are read: at sites, along a reference, or as by the model to begin from."""

    panel: TrainingPanel = None
    reference: ReferenceFile = None
    model: Start = None


@dataclass(eq=False, repr=False)
class AdaptOptions:
    """How much of the model to begin from is trained."""

    adapt: Adapt = AdaptKind.FULL
    lora_rank: LoraRank = None
    lora_alpha: LoraAlpha = None

    def adaptation(self) -> "Adaptation":
        """These options as training reads them; UsageError for those of LoRA where something else is trained."""
        from genomai_cli.training.adaptation import Adaptation

        if self.adapt is not AdaptKind.LORA and (self.lora_rank or self.lora_alpha is not None):
            raise UsageError("--lora-rank and --lora-alpha are for --adapt lora")
        alpha = DEFAULT_ALPHA if self.lora_alpha is None else self.lora_alpha
        return Adaptation(self.adapt.value, self.lora_rank or DEFAULT_RANK, alpha)


@command
def train(
    run: Run,
    output: Target,
    inputs: Inputs = None,
    *,
    data: DataOptions,
    learning: LearningOptions,
    reading: ReadingOptions,
    adapting: AdaptOptions,
    restart: RestartOptions,
    report: ReportFile = None,
    compute: Compute,
) -> None:
    """Train a classifier on labelled samples, into a model bundle.

    Samples are split by individual, so that no one whose data judge a network was trained on; probabilities are
    calibrated on the people held out. An interrupted run goes on with --resume, bit for bit as if it had not stopped.

    \b
    genomai train cohort.vcf.gz --labels people.tsv --head superpop=superpopulation -o my-model
    genomai train promoters.fa --labels classes.tsv --set optimization.steps=3000 -o promoters
    genomai train mt.fa --labels people.tsv --model mito-pretrained -o my-mito
    genomai train promoters.fa --labels classes.tsv --model ./dna-model --adapt lora -o promoters
    genomai train train.csv --dev dev.csv --test test.csv -o promoters   (columns: sequence, label)
    genomai train train.csv -o promoters --report promoters.html
    genomai classify --model ./my-model new.vcf.gz
    """
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.sources.labelled import LabelledReader
    from genomai_cli.sources.model_choice import record_device
    from genomai_cli.training import labelled_data, run_folder, selection
    from genomai_cli.training import recipe as recipes

    adaptation = adapting.adaptation()
    adaptation.check(has_start=reading.model is not None)
    budget = selection.seconds_of(learning.time or DEFAULT_TIME)
    first, sources = open_run_inputs(run)
    labels, sources = open_labels(run, data.labels, first, sources)
    devices.use_threads(compute.threads)
    device = devices.choose(compute.device)
    record_device(run, device, compute.device)
    start = bundles.load(reading.model, device) if reading.model else None
    preset = _preset(start, first.has_variants)
    recipe, recipe_text, heads = learning.read(preset, labels, output, start)
    targets = _targets(run, recipe, labels, heads, learning.target)
    if learning.time is not None and not recipes.is_selected(recipe):
        raise UsageError(
            f"--time is for the recipe {SEQUENCES_PRESET}: recipe {recipe.name} counts optimization.steps"
        )
    files = {"panel": reading.panel, "reference": reading.reference}
    kind = recipes.input_of(recipe, files, start.input if start else None)
    require_use_of_reference(reading.reference, kind, recipe.name)
    reader = LabelledReader(run, kind, recipe, variants=reading)
    gathered = reader.gather(sources, targets, data.evaluation_inputs(labels))
    samples = gathered.samples
    fingerprint = {
        "samples": labelled_data.digest(samples),
        "validation": None if gathered.validation is None else len(gathered.validation),
        "seed": compute.seed,
        "panel": kind.signature().get("panel"),
        "reference": kind.signature().get("reference"),
        "start": start.weights_sha256 if start else None,
        "adapt": asdict(adaptation),
        "time": learning.time or DEFAULT_TIME,
        "target": learning.target.value,
    }
    with page_file(report) as page:
        workspace = run_folder.claim(
            output, recipe_text, fingerprint, resume=restart.resume, force=restart.force
        )
        with workspace.removed_unless_begun():
            finetuned = _fitter(run, recipe, budget, adaptation, start, workspace)(
                samples,
                recipe,
                kind,
                seed=compute.seed,
                device=device,
                work=workspace.folder,
                validation=gathered.validation,
                stopping=stop_requests,
            )
        finetuned.bundle.config["provenance"] |= gathered.facts()
        run.count(used=len(samples))
        write_classifier(run, finetuned, output, workspace, gathered.files(), page)


def _fitter(
    run: Run,
    recipe: "Recipe",
    budget: float,
    adaptation: "Adaptation",
    start: "Bundle | None",
    workspace: "Workspace",
) -> "Callable[..., Finetuned]":
    """The function that trains by this recipe: one network, or whatever parts do best."""
    from genomai_cli.training import finetuning, selection
    from genomai_cli.training.recipe import is_selected

    if is_selected(recipe):
        log = partial(workspace.log.add, part=selection.PART)
        return partial(selection.fit, budget=budget, report=run.console.say, log=log)
    report = reporter(run, recipe, workspace)
    return partial(finetuning.fit, start=start, report=report, adaptation=adaptation)


def _targets(
    run: Run,
    recipe: "Recipe",
    labels: "LabelTable",
    heads: "Mapping[str, str]",
    target: TargetKind,
) -> "Targets":
    """The targets of the heads; those that were chosen are reported."""
    from genomai_cli.training.targets import targets_for

    targets = targets_for(recipe, labels, heads, target.value)
    for line in targets.notes:
        run.console.say(line)
    return targets


def _preset(start: "Bundle | None", has_variants: bool) -> str:
    """The recipe for the kind of input of the model to begin from, or without one for what was given."""
    if start is None:
        return VARIANTS_PRESET if has_variants else SEQUENCES_PRESET
    coordinates = start.input.coordinates
    if coordinates is None:
        return FINETUNED_SEQUENCES_PRESET
    return GENOMES_PRESET if coordinates.full_genomes else FINETUNED_VARIANTS_PRESET


def _same_network(start: "Bundle") -> list[str]:
    """The changes of a recipe that give it the tokens and the network of the model; none for one of other input."""
    from genomai_cli.training.recipe_tables import as_toml

    if start.input.name != "sequence":
        return []
    return [f"{part}={as_toml(start.config[part])}" for part in ("tokenizer", "network")]


def _heads(recipe: "Recipe", table: "LabelTable", head_options: list[str]) -> "Mapping[str, str]":
    """The column of every head: as the command line says, else the recipe, else every column."""
    from genomai_cli.training.recipe import heads_of

    pairs = [_head(text) for text in head_options]
    if len(dict(pairs)) < len(pairs):
        raise UsageError("--head: two heads of one name")
    return heads_of(recipe, table, dict(pairs))


def _head(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    return name, column if equals else name
