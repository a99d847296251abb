"""`genomai help`: the help of the program, or of a command."""

from typing import Annotated, Any

import typer

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND", help="As in `genomai help models list`.", show_default=False),
]


def help(context: typer.Context, words: Words = None) -> None:
    """Show how a command is used.

    \b
    genomai help classify
    """
    shown: Any = context.find_root()
    for word in words or []:
        if not hasattr(shown.command, "commands"):
            shown.fail(f"{shown.command_path} has no commands of its own.")
        name, command, _ = shown.command.resolve_command(shown, [word])
        shown = command.make_context(name, [], parent=shown, resilient_parsing=True)
    typer.echo(shown.get_help())
