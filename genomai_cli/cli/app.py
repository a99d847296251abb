"""The program: its subcommands and its entry point.

`--help` is written from a table of summaries, so that it opens no command; the module of a command is opened when that
command is asked for. It imports only `typer` and rooms of `cli` at the top and opens the other rooms inside the
function, so that `CMD --help` never pays for numpy or torch.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from genomai_cli import __version__
from genomai_cli.cli import completion
from genomai_cli.cli.exits import Commands, fail
from genomai_cli.cli.help_pages import Command, Page, man_name, man_page, pages
from genomai_cli.cli.process import drop_standard_output, open_streams, signals_unwind

# The commands in the order of help, with the first line of their own; each is NAME in the module `cli/NAME.py`.
COMMANDS = {
    "classify": "Tell which reference groups samples are most similar to.",
    "embed": "Turn sequences and samples into vectors.",
    "denoise": "Restore missing letters and genotypes.",
    "generate": "Make up new people at a panel's sites, or new DNA.",
    "score": "Tell how likely sequences are, and what variants change.",
    "predict": "Predict a model's tracks along a reference genome.",
    "explain": "Tell which letters drove a classifier's calls, and their motifs.",
    "align": "Rank phenotypes by similarity to samples, or samples to them.",
    "evaluate": "Measure predictions against truth, or generated samples.",
    "tokenize": "Turn sequences, or the genotypes of a VCF, into tokens.",
    "augment": "Write random views of sequences, or of the genotypes of a VCF.",
    "pretrain": "Pretrain a network on unlabelled DNA, into a model bundle.",
    "train": "Train a classifier on labelled samples, into a model bundle.",
    "models": "List, show, verify, inspect, make and convert models.",
    "doctor": "Check the installation: versions, devices, models, a self-test.",
    "cite": "Tell how to cite the program, a model and its methods.",
    "help": "Show how a command is used.",
}


class Program(Commands):
    """The group of `COMMANDS`, known by name and summary until one of them is asked for."""

    def __init__(self, **settings: Any) -> None:
        named = {name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()}
        super().__init__(**settings | {"commands": named})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(str(command.name)), rest


def load_command(name: str) -> Any:
    """The command itself, or the group of commands, whose module is imported only now."""
    command = getattr(import_module(f"genomai_cli.cli.{name}"), name)
    if not isinstance(command, typer.Typer):
        body, command = command, typer.Typer(add_completion=False, rich_markup_mode=None)
        command.command(cls=Command)(body)
    return typer.main.get_command(command)


app = typer.Typer(
    cls=Program,
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"genomai {__version__}")
        raise typer.Exit()


@app.callback()
def genomai(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """DNA sequence models on the command line.

    \b
    genomai classify samples.vcf.gz > populations.tsv
    genomai help classify
    """


def help_pages() -> list[Page]:
    """The help of the program and of all its commands."""
    return list(pages(typer.main.get_command(app), load_command))


def manual() -> dict[str, str]:
    """The man pages, by the name of their file."""
    all_pages = help_pages()
    names = [page.path.replace(" ", "-") for page in all_pages]
    return {
        man_name(page): man_page(
            page, __version__, names[1:] if page is all_pages[0] else names[:1]
        )
        for page in all_pages
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program on `argv` (default: the process's arguments); its exit status."""
    if completion.VARIABLE in os.environ:
        return completion.main(typer.main.get_command(app), load_command)
    open_streams()
    with signals_unwind():
        return _status_of(sys.argv[1:] if argv is None else list(argv))


def _status_of(arguments: list[str]) -> int:
    try:
        typer.main.get_command(app).main(arguments, prog_name="genomai")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    return _flushed(status)


def _flushed(status: int) -> int:
    """The status, unless the last bytes of standard output could not be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        drop_standard_output()
        return status or fail("genomai", error)
    return status
