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
    current: Any = context.find_root()
    for word in words or []:
        if not hasattr(current.command, "commands"):
            current.fail(f"{current.command_path} has no commands of its own.")
        name, command, _ = current.command.resolve_command(current, [word])
        current = command.make_context(name, [], parent=current, resilient_parsing=True)
    typer.echo(current.get_help())
