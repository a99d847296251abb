"""`genomai pretrain --for imputation`: reference haplotypes kept in a bundle. No network is trained, and torch stays
closed."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.corpus import signature
from genomai_cli.cli.options import Compute, VariantOptions
from genomai_cli.cli.pages import page_file
from genomai_cli.cli.pretrain_options import LearningOptions, ReadingOptions
from genomai_cli.cli.run import STANDARD_INPUT, Run, command_line
from genomai_cli.cli.training_options import RestartOptions, named_after
from genomai_cli.cli.training_report import finish_pretrained
from genomai_cli.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from genomai_cli.population.imputation.preparation import Prepared, ReferenceRecipe
    from genomai_cli.population.panel import Panel

MANY = "WORLD_SIZE"  # of processes, as torchrun tells each


def keeps_haplotypes(learning: LearningOptions) -> bool:
    """Whether a set of reference haplotypes is asked for, by --for or by the network of the recipe that is named;
    UsageError or InputError for a recipe that is none."""
    from genomai_cli.population.networks.haplotype_imputer import KIND
    from genomai_cli.training.recipe_tables import network_kind

    named = learning.named
    if named is None or learning.purpose is not None:
        return named is not None
    return network_kind(named, learning.wanted) == KIND


def prepare_reference(
    run: Run,
    output: Path,
    inputs: list[Path] | None,
    learning: LearningOptions,
    reading: ReadingOptions,
    restart: RestartOptions,
    compute: Compute,
    *,
    report: Path | None,
    shard: bool,
) -> None:
    """Read the haplotypes of all inputs, and write the bundle that they make."""
    from genomai_cli.population.imputation.preparation import ReferenceRecipe
    from genomai_cli.population.panel_files import panel_given
    from genomai_cli.sources.vcf_denoiser import use_processor
    from genomai_cli.training import run_folder
    from genomai_cli.training.recipe_tables import read_as

    recipe = learning.named
    assert recipe is not None
    with page_file(report) as page:
        chosen, text = read_as(ReferenceRecipe.from_tables, recipe, learning.wanted)
        _require_fitting(chosen.name, learning, reading, shard=shard)
        use_processor(run, compute)
        panel = panel_given(_panel(learning, reading, inputs or []))
        same = {
            "seed": compute.seed,
            "panel": panel.sha256,
            "inputs": signature(inputs or []),
            "preset": recipe,
        }
        resume, force = restart.resume, restart.force
        work = run_folder.claim(output, text, same, resume=resume, force=force)
        with work.removed_unless_begun():
            named = named_after(chosen, output, learning.wanted)
            made = _prepared(run, named, panel, reading, compute.seed)
            _write(made, panel, output, work.recipe)
        finish_pretrained(run, made.report, [], output, work, page)


def _panel(learning: LearningOptions, reading: ReadingOptions, inputs: list[Path]) -> Path | None:
    """The file of the sites: with --for the first input, unless there is a --panel."""
    if learning.purpose is None or reading.panel is not None:
        return reading.panel
    first = inputs[0] if inputs else STANDARD_INPUT
    if first == STANDARD_INPUT or (first.exists() and not first.is_file()):
        raise UsageError(f"--for {learning.purpose} needs a --panel where no file is read")
    return first


def _require_fitting(
    recipe: str, learning: LearningOptions, reading: ReadingOptions, *, shard: bool
) -> None:
    """TrainingError for an option that says nothing to reference haplotypes, UsageError for several processes."""
    without_use = {
        "--labels": learning.labels,
        "--phenotypes": learning.phenotypes,
        "--tracks": learning.tracks,
        "--reference": reading.reference,
        "--regions": reading.regions,
        "--model": reading.model,
        "--shard": shard,
    }
    given = [option for option, value in without_use.items() if value]
    if given:
        raise TrainingError(f"recipe {recipe}: imputation has no use for {given[0]}")
    if int(os.environ.get(MANY, "1")) > 1:
        raise UsageError(f"recipe {recipe}: nothing is trained: run it without torchrun")


def _prepared(
    run: Run, recipe: "ReferenceRecipe", panel: "Panel", variants: VariantOptions, seed: int
) -> "Prepared":
    """The model of the run's inputs."""
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.population.imputation.preparation import prepare
    from genomai_cli.sources.reference_haplotypes import read_reference

    _, sources = open_run_inputs(run)
    read = read_reference(run, sources, panel, variants)
    run.count(used=len(read))
    run.console.say(f"{len(read):,} individuals at {read.sites:,} sites")
    made = prepare(read, panel, recipe, seed=seed)
    corpus = made.report.facts["corpus"]
    if without := corpus["records"] - corpus["pieces"]:
        run.console.warn(f"{without} individuals without a known allele are left out")
    return made


def _write(made: "Prepared", panel: "Panel", output: Path, recipe: str) -> None:
    """Save the model with its card."""
    from genomai_cli.bundles import catalog
    from genomai_cli.bundles.writing import Extras, save_arrays

    extras = Extras(made.report.card(command_line()), recipe)
    save_arrays(
        output,
        made.config,
        made.arrays,
        lambda folder: panel.write(folder / catalog.PANEL),
        extras,
    )
