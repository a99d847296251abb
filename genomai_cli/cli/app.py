"""The program: its subcommands and its entry point.

`--help` is written from a table of summaries, so that it opens no command; the module of a command is opened when that
command is asked for. It imports only `typer` and rooms of `cli` at the top and opens the other rooms inside the
function, so that `CMD --help` never pays for numpy or torch.

Shell completion: Typer's, with a script for zsh that also works from a folder of `fpath`.

`_GENOMAI_COMPLETE=source_SHELL genomai` prints the script for bash, zsh or fish; the scripts call the program with
`complete_SHELL` at every TAB, so that they know the models installed at that moment.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer._completion_classes import ZshComplete, completion_init
from typer.core import TyperCommand

from genomai_cli import __version__
from genomai_cli.cli.exits import Commands, fail
from genomai_cli.cli.process import drop_standard_output, open_streams, signals_unwind

# The commands in the order of help, with the first line of their own; each is NAME in the module `cli/NAME.py`.
COMMANDS = {
    "tokenize": "Turn sequences, or the genotypes of a VCF, into tokens.",
    "pretrain": "Pretrain a network on unlabelled DNA, and write it as a model bundle without heads.",
    "train": "Train a classifier on labelled samples, and write it as a model bundle.",
    "classify": "Tell which reference groups samples are most similar to.",
    "embed": "Turn sequences and samples into vectors, the model's view of them.",
    "generate": "Make up new people, by a diffusion model of a panel's sites; or new DNA, by a model of sequences.",
    "score": "Tell how likely sequences are under a model, and what variants change.",
    "explain": "Tell which letters of sequences drove the calls of a classifier, and the motifs they share.",
    "denoise": "Restore missing letters and genotypes.",
    "augment": "Write random views of sequences, or of the genotypes of a VCF.",
    "align": "Tell how similar samples are to phenotypes, in a space that both share.",
    "evaluate": "Measure predictions against the truth, or generated samples against real ones.",
    "models": "List, show, verify, inspect and convert models.",
}

# zsh wants `#compdef` in the first line of a file in fpath, and runs the file in place of the first call.
_ZSH_SCRIPT = """\
#compdef %(prog_name)s

%(complete_func)s() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" %(autocomplete_var)s=complete_zsh %(prog_name)s)
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  %(complete_func)s "$@"
else
  compdef %(complete_func)s %(prog_name)s
fi"""


def prepare() -> None:
    """Let Typer answer the requests of the shells."""
    completion_init()
    ZshComplete.source_template = _ZSH_SCRIPT


class Program(Commands):
    """The group of `COMMANDS`, known by name and summary until one of them is asked for."""

    def __init__(self, **settings: Any) -> None:
        named = {name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()}
        super().__init__(**settings | {"commands": named})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and opened(str(command.name)), rest


def opened(name: str) -> Any:
    """The command itself, or the group of commands, whose module is imported only now."""
    found = getattr(import_module(f"genomai_cli.cli.{name}"), name)
    if not isinstance(found, typer.Typer):
        body, found = found, typer.Typer(add_completion=False, rich_markup_mode=None)
        found.command()(body)
    return typer.main.get_command(found)


COMPLETION_VARIABLE = "_GENOMAI_COMPLETE"
app = typer.Typer(
    cls=Program,
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
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

    Reads FASTA, FASTQ, VCF and BCF, plain or compressed, from files or standard input;
    writes data to standard output and messages to standard error.

    \b
    genomai classify samples.vcf.gz > populations.tsv
    genomai tokenize --to fasta samples.vcf.gz | genomai classify
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program on `argv` (default: the process's arguments); its exit status."""
    if COMPLETION_VARIABLE in os.environ:
        prepare()
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
