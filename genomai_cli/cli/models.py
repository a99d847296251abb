"""`genomai models`: the installed bundles, listed, shown and verified."""

from typing import Annotated

import typer

from genomai_cli.cli.exits import Commands
from genomai_cli.cli.options import Quiet, ReportJson, Verbose, complete_model
from genomai_cli.cli.run import Run

app = typer.Typer(
    cls=Commands,
    help="List, show and verify the installed models.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME|DIR", help="A model's name or folder.", autocompletion=complete_model
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME|DIR",
        help="Models' names or folders; none means all.",
        autocompletion=complete_model,
        show_default=False,
    ),
]


@app.command("list")
def list_models(
    context: typer.Context,
    quiet: Quiet = False,
    verbose: Verbose = False,
    report_json: ReportJson = None,
) -> None:
    """List the installed models: name, version, heads, parameters, bytes, description.

    \b
    genomai models list | column -t -s $'\\t'
    """
    from genomai_cli.bundles import catalog
    from genomai_cli.errors import BundleError

    with Run(context) as run:
        typer.echo("\t".join(catalog.COLUMNS))
        for name in catalog.names():
            run.count(read=1)
            try:
                row = catalog.row(catalog.summarise(catalog.find(name)))
            except BundleError as error:
                run.count(refused=1)
                run.console.warn(str(error))
            else:
                run.count(used=1)
                typer.echo("\t".join(row))


@app.command()
def show(
    context: typer.Context,
    name: Name,
    quiet: Quiet = False,
    verbose: Verbose = False,
    report_json: ReportJson = None,
) -> None:
    """Show a model: its parameter count, its config and the summary of its card.

    \b
    genomai models show genomai-v2
    """
    from genomai_cli.bundles import catalog

    with Run(context) as run:
        typer.echo(catalog.page(catalog.find(name)))
        run.count(read=1, used=1)


@app.command()
def verify(
    context: typer.Context,
    names: Names = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    report_json: ReportJson = None,
) -> None:
    """Check the models' files against the checksums recorded when they were made.

    \b
    genomai models verify            # all of them; exit status 1 if one is damaged
    genomai models verify ancestry
    """
    from genomai_cli.bundles import catalog
    from genomai_cli.errors import BundleError

    with Run(context) as run:
        damaged = []
        for name in names or catalog.names():
            problems = catalog.problems(name)
            typer.echo(f"{name}\t{'DAMAGED' if problems else 'OK'}\t{'; '.join(problems) or '.'}")
            run.count(read=1, used=not problems, refused=bool(problems))
            damaged += [name] if problems else []
        if damaged:
            raise BundleError(f"damaged: {', '.join(damaged)}")
