"""The program: its subcommands, and the one place where errors become messages and exit statuses.

The modules of the subcommands import only `typer` and rooms of `cli` at the top and open the other
rooms inside the command function, so that `--help` never pays for numpy or torch.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from genomai_cli import __version__
from genomai_cli.cli import models
from genomai_cli.errors import GenomaiError

COMPLETION_VARIABLE = "_GENOMAI_COMPLETE"
INTERRUPTED = 130
TERMINATED = 143
BROKEN_PIPE = 141


class Commands(TyperGroup):
    """The group of subcommands; every error that leaves one passes through `exit_statuses`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        with exit_statuses(_command_in(args), verbose=False):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        words = [*ctx._protected_args, *ctx.args]
        with exit_statuses(_command_in(words), verbose=_is_verbose(words)):
            return super().invoke(ctx)


@contextmanager
def exit_statuses(command: str, *, verbose: bool) -> Iterator[None]:
    """Turn whatever goes wrong inside into one line on standard error and an exit status."""
    try:
        yield
        sys.stdout.flush()
    except (typer.TyperException, typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if verbose:
            _print_traceback(error)
        raise typer.Exit(fail(command, error)) from error
    except KeyboardInterrupt as error:
        print(f"{command}: interrupted", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from error


def fail(command: str, error: Exception) -> int:
    """The exit status of an error, whose message has been written unless it is a closed pipe."""
    if isinstance(error, BrokenPipeError):
        _drop_standard_output()
        return BROKEN_PIPE
    with suppress(OSError):
        print(f"{command}: {describe(error)}", file=sys.stderr)
    return error.exit_status if isinstance(error, GenomaiError) else 1


def describe(error: Exception) -> str:
    """One line that says what is wrong: `FILE:LINE: message` where the error knows them."""
    if isinstance(error, GenomaiError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        text = "out of memory"
    else:
        text = f"unexpected {type(error).__name__}: {error} (-v shows the traceback)"
    return " ".join(text.split())


def _command_in(words: Sequence[str]) -> str:
    """`genomai COMMAND` for the command that the words name, for the front of its messages."""
    named = next((word for word in words if not word.startswith("-")), "")
    return f"genomai {named}".strip()


def _is_verbose(words: Sequence[str]) -> bool:
    return any(word in ("-v", "--verbose") for word in words)


def _print_traceback(error: Exception) -> None:
    import traceback

    if not isinstance(error, GenomaiError | BrokenPipeError):
        traceback.print_exception(error, file=sys.stderr)


def _drop_standard_output() -> None:
    """Let later flushes succeed in silence: nobody reads standard output any more."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    cls=Commands,
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


app.add_typer(models.app, name="models")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program on `argv` (default: the process's arguments); its exit status."""
    if COMPLETION_VARIABLE in os.environ:
        _prepare_completion()
    with _termination_as_exit():
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
        _drop_standard_output()
        return fail("genomai", error)
    return status


def _prepare_completion() -> None:
    from typer._completion_classes import completion_init

    completion_init()


def _end_with_cleanup(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that unfinished output files are removed."""
    before = signal.signal(signal.SIGTERM, _end_with_cleanup)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
