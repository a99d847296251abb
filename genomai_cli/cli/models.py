"""`genomai models`: bundles listed, shown and verified; weights inspected, released checkpoints converted."""

from pathlib import Path
from typing import Annotated

import typer

from genomai_cli.cli.console import show_table
from genomai_cli.cli.exits import Commands
from genomai_cli.cli.help_pages import Command
from genomai_cli.cli.options import Seed
from genomai_cli.cli.run import Run, command, command_line
from genomai_cli.cli.training_options import (
    Changes,
    Target,
    named_after,
)

models = typer.Typer(
    cls=Commands,
    help="List, show, verify, inspect, make and convert models.",
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
)
Name = Annotated[
    str,
    typer.Argument(metavar="NAME|DIR", help="A model's name or folder."),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME|DIR",
        help="Models' names or folders; none means all.",
        show_default=False,
    ),
]

Against = Annotated[
    Path | None,
    typer.Option(
        "--against",
        metavar="DIR",
        help="Compare outputs with the stored ones in this folder.",
        show_default=False,
    ),
]
Tolerance = Annotated[
    float,
    typer.Option("--tolerance", help="The largest deviation, relative to an output's maximum."),
]
Weights = Annotated[
    Path, typer.Argument(metavar="FILE|DIR", help="A file or a folder of weights.", exists=True)
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="PRESET|TOML",
        help="Of which network.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
Checkpoint = Annotated[
    Path, typer.Argument(metavar="FILE|DIR", help="The checkpoint's file or folder.", exists=True)
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")]


@models.command("list", cls=Command)
@command
def list_models(
    run: Run,
) -> None:
    """List the installed models.

    Name, version, heads (with their number of labels), parameters, bytes, description.

    \b
    genomai models list
    genomai models list | cut -f 1
    """
    from genomai_cli.bundles import catalog
    from genomai_cli.errors import BundleError

    rows = []
    for name in catalog.names():
        run.count(read=1)
        try:
            row = catalog.row(catalog.summarise(catalog.find(name)))
        except BundleError as error:
            run.count(refused=1)
            run.console.warn(str(error))
        else:
            run.count(used=1)
            rows.append(row)
    show_table(catalog.COLUMNS, rows)


@models.command(cls=Command)
@command
def show(
    run: Run,
    name: Name,
) -> None:
    """Show a model: its numbers, the summary of its card, its config.

    \b
    genomai models show genomai-v2
    """
    from genomai_cli.bundles import catalog

    typer.echo(catalog.page(catalog.find(name)))
    run.count(read=1, used=1)


@models.command(cls=Command)
@command
def verify(
    run: Run,
    names: Names = None,
    against: Against = None,
    tolerance: Tolerance = 1e-4,
) -> None:
    """Check models by their checksums, or by stored outputs.

    A checkpoint in a released layout is compared with what others published of the same weights, where that is known.

    \b
    genomai models verify            # all of them; exit status 1 if one is damaged
    genomai models verify ancestry-967
    genomai models verify ./checkpoint --against ./fixture   # input_ids*.npy, expected_*.npy, tokenizer_cases.json
    """
    if against is None:
        _verify_files(run, names)
    else:
        _verify_outputs(run, names or [], against, tolerance)


def _verify_files(run: Run, names: list[str] | None) -> None:
    from genomai_cli.bundles import catalog
    from genomai_cli.errors import BundleError

    damaged = []
    for name in names or catalog.names():
        result, detail = _verified(run, name)
        typer.echo(f"{name}\t{result}\t{detail}")
        is_damaged = result in ("DAMAGED", "DIFFERENT")
        run.count(read=1, used=not is_damaged, refused=is_damaged)
        damaged += [name] if is_damaged else []
    if damaged:
        raise BundleError(f"damaged: {', '.join(damaged)}")


def _verified(run: Run, name: str) -> tuple[str, str]:
    """The result for a model, and why."""
    from genomai_cli.bundles import catalog
    from genomai_cli.errors import BundleError

    try:
        if not catalog.is_bundle(catalog.find(name)):
            return _verified_checkpoint(run, name)
    except BundleError as error:
        return "DAMAGED", str(error)
    problems = catalog.problems(name) or _weight_problems(name)
    return ("DAMAGED" if problems else "OK"), "; ".join(problems) or "."


def _weight_problems(name: str) -> list[str]:
    """The problems of a bundle whose files are as recorded: weights that do not fit its config."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.errors import GenomaiError

    try:
        bundles.load(name, devices.choose("cpu"))
    except GenomaiError as error:
        return [str(error)]
    return []


def _verified_checkpoint(run: Run, name: str) -> tuple[str, str]:
    """Whether a checkpoint in a released layout gives what others published of the same weights."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles.golden import vector_agreement

    bundle = bundles.load(name, devices.choose("cpu"))
    for remark in bundle.remarks:
        run.console.warn(remark)
    agreement = vector_agreement(bundle)
    if agreement is None:
        return (
            "UNKNOWN",
            f"every tensor fits; no published output of SHA-256 {bundle.weights_sha256}",
        )
    off = f"off by {agreement.deviation:.2g}, {agreement.tolerance:g} allowed"
    detail = f"published vector of {agreement.source}: {off}"
    return ("OK" if agreement.holds else "DIFFERENT"), detail


def _verify_outputs(run: Run, names: list[str], folder: Path, tolerance: float) -> None:
    """One row an output: its largest deviation relative to its maximum; InputError if one is above the tolerance."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles.parity import compare
    from genomai_cli.errors import InputError, UsageError

    if len(names) != 1:
        raise UsageError("--against compares one model: name it")
    bundle = bundles.load(names[0], devices.choose("cpu"))
    run.used_model(bundle.name, bundle.version, bundle.weights_sha256)
    for remark in bundle.remarks:
        run.console.warn(remark)
    typer.echo("output\tdeviation\tresult")
    failed = []
    for comparison in compare(bundle, folder):
        result = "OK" if comparison.passes(tolerance) else "DIFFERENT"
        deviation = "." if comparison.deviation is None else f"{comparison.deviation:.3g}"
        typer.echo(
            f"{comparison.name}\t{deviation}\t{'not compared' if deviation == '.' else result}"
        )
        failed += [comparison.name] if result == "DIFFERENT" else []
    if failed:
        raise InputError(f"above the tolerance of {tolerance:g}: {', '.join(failed)}", path=folder)


@models.command(cls=Command)
@command
def new(
    run: Run,
    output: Target,
    recipe: RecipeName,
    changes: Changes = None,
    *,
    force: Force = False,
    seed: Seed = 0,
) -> None:
    """Make a model of plain DNA that has learnt nothing.

    Its values are fresh: what it does is the measure of what training adds.

    \b
    genomai models new --recipe hyenadna-tiny --seed 1 -o untrained
    genomai embed --model ./untrained -o vectors.h5 genes.fa
    """

    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles.writing import Extras, require_replaceable
    from genomai_cli.training import recipe as recipes
    from genomai_cli.training.initialization import untrained
    from genomai_cli.training.model_card import untrained_card

    require_replaceable(output, force=force)
    base_recipe, text = recipes.read(recipe, changes or [])
    bundle = untrained(named_after(base_recipe, output, changes or []), seed=seed)
    card = untrained_card(bundle, command_line())
    bundles.save(bundle, output, Extras(card, text))
    run.count(read=1, used=1)
    run.console.say(f"wrote {output}")


@models.command(cls=Command)
@command
def inspect(
    run: Run,
    path: Weights,
    as_json: AsJson = False,
) -> None:
    """List what weights hold: tensors, shapes, types, digests.

    \b
    genomai models inspect ./DNA_bert_6
    genomai models inspect model.safetensors --json
    """
    import json

    from genomai_cli import device as devices
    from genomai_cli.bundles import inspection

    report = inspection.inspect(path, devices.choose("cpu"))
    run.count(read=1, used=1)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        typer.echo("\n".join(inspection.table(report)))


@models.command(cls=Command)
@command
def convert(
    run: Run,
    path: Checkpoint,
    output: Target,
    *,
    force: Force = False,
) -> None:
    """Make a bundle of a checkpoint in a released layout.

    Of JAX's checkpoints, as AlphaGenome's official one, with the libraries of `genomai[jax]`.

    \b
    genomai models convert ./DNA_bert_6 -o dnabert-6
    """
    import dataclasses

    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles import orbax
    from genomai_cli.bundles.writing import Extras, require_replaceable

    require_replaceable(output, force=force)
    with orbax.as_file(path) as checkpoint:
        released = bundles.load(checkpoint, devices.choose("cpu"))
    for remark in released.remarks:
        run.console.warn(remark)
    config = released.config | {"name": output.resolve().name, "version": "1.0.0"}
    renamed = dataclasses.replace(released, config=config)
    card = f"# {renamed.name} {renamed.version}\n\nConverted from {path.name} (SHA-256 {released.weights_sha256}).\n"
    bundles.save(renamed, output, Extras(card, ""))
    run.count(read=1, used=1)
    run.console.say(f"wrote {output}")
