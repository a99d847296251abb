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

WORLD_SIZE = "WORLD_SIZE"  # the number of processes, set by torchrun


def keeps_haplotypes(learning: LearningOptions) -> bool:
    """Whether a set of reference haplotypes is asked for, by --for or by the network of the recipe that is named;
    UsageError or InputError for a recipe that is none."""
    from genomai_cli.population.networks.haplotype_imputer import KIND
    from genomai_cli.training.recipe_tables import network_kind

    recipe = learning.recipe_name
    if recipe is None or learning.purpose is not None:
        return recipe is not None
    return network_kind(recipe, learning.recipe_changes) == KIND


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
    from genomai_cli.population.panel_files import panel_or_default
    from genomai_cli.sources.denoisers import use_processor
    from genomai_cli.training import run_folder
    from genomai_cli.training.recipe_tables import read_as

    recipe_name = learning.recipe_name
    assert recipe_name is not None
    with page_file(report) as page:
        recipe, recipe_text = read_as(
            ReferenceRecipe.from_tables, recipe_name, learning.recipe_changes
        )
        _require_fitting(recipe.name, learning, reading, shard=shard)
        use_processor(run, compute)
        panel = panel_or_default(_panel(learning, reading, inputs or []))
        fingerprint = {
            "seed": compute.seed,
            "panel": panel.sha256,
            "inputs": signature(inputs or []),
            "preset": recipe_name,
        }
        resume, force = restart.resume, restart.force
        workspace = run_folder.claim(output, recipe_text, fingerprint, resume=resume, force=force)
        with workspace.removed_unless_begun():
            named_recipe = named_after(recipe, output, learning.recipe_changes)
            prepared = _prepared(run, named_recipe, panel, reading, compute.seed)
            _write(prepared, panel, output, workspace.recipe)
        finish_pretrained(run, prepared.report, [], output, workspace, page)


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
    unused_options = {
        "--labels": learning.labels,
        "--phenotypes": learning.phenotypes,
        "--tracks": learning.tracks,
        "--reference": reading.reference,
        "--regions": reading.regions,
        "--model": reading.model,
        "--shard": shard,
    }
    given_options = [option for option, value in unused_options.items() if value]
    if given_options:
        raise TrainingError(f"recipe {recipe}: imputation has no use for {given_options[0]}")
    if int(os.environ.get(WORLD_SIZE, "1")) > 1:
        raise UsageError(f"recipe {recipe}: nothing is trained: run it without torchrun")


def _prepared(
    run: Run, recipe: "ReferenceRecipe", panel: "Panel", variants: VariantOptions, seed: int
) -> "Prepared":
    """The model of the run's inputs."""
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.population.imputation.preparation import prepare
    from genomai_cli.sources.reference_haplotypes import read_reference

    _, sources = open_run_inputs(run)
    haplotypes = read_reference(run, sources, panel, variants)
    run.count(used=len(haplotypes))
    run.console.say(f"{len(haplotypes):,} individuals at {haplotypes.sites:,} sites")
    prepared = prepare(haplotypes, panel, recipe, seed=seed)
    corpus = prepared.report.facts["corpus"]
    if left_out := corpus["records"] - corpus["pieces"]:
        run.console.warn(f"{left_out} individuals without a known allele are left out")
    return prepared


def _write(prepared: "Prepared", panel: "Panel", output: Path, recipe: str) -> None:
    """Save the model with its card."""
    from genomai_cli.bundles import catalog
    from genomai_cli.bundles.writing import Extras, save_arrays

    extras = Extras(prepared.report.card(command_line()), recipe)
    save_arrays(
        output,
        prepared.config,
        prepared.arrays,
        lambda folder: panel.write(folder / catalog.PANEL),
        extras,
    )
