"""The one place where errors become messages on standard error and exit statuses."""

import errno
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from genomai_cli.cli.process import BROKEN_PIPE, INTERRUPTED, drop_standard_output, print_to_stderr
from genomai_cli.errors import GenomaiError
from genomai_cli.names import printable


class Commands(TyperGroup):
    """The group of subcommands; every error that leaves one passes through `exit_statuses`. Alone it shows its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            raise typer.Exit()
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        rows = (parameter.get_help_record(ctx) for parameter in self.get_params(ctx))
        with formatter.section("Options"):
            formatter.write_dl(list(filter(None, rows)))

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        with exit_statuses(info_name or "genomai", verbose=False):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        arguments = [*ctx._protected_args, *ctx.args]
        command = " ".join([ctx.command_path, *arguments[:1]])
        with exit_statuses(command, verbose=_is_verbose(arguments)):
            return super().invoke(ctx)


@contextmanager
def exit_statuses(command: str, *, verbose: bool) -> Iterator[None]:
    """Turn whatever goes wrong inside into one line on standard error and an exit status."""
    try:
        yield
        sys.stdout.flush()
    except typer.TyperException as error:
        reword(error)
        raise
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if verbose:
            _print_traceback(error)
        raise typer.Exit(fail(command, error)) from error
    except KeyboardInterrupt as error:
        print_to_stderr(f"{command}: interrupted")
        raise typer.Exit(INTERRUPTED) from error


# Messages of the libraries that check values, and their rewording for users.
_REWORDINGS = (
    (r"Value error, ", ""),
    (r"Input should be a valid integer.*", "not a whole number"),
    (r"Input should be a valid number.*", "not a number"),
    (r"Input should be greater than or equal to (\S+)", r"must be at least \1"),
    (r"Input should be less than or equal to (\S+)", r"must be at most \1"),
    (r"Input should be", "must be"),
)


def reword(error: Any) -> None:
    """Reword an error about an option, and the suggestions of others, in the style of the program."""
    for pattern, replacement in _REWORDINGS:
        error.message = re.sub(pattern, replacement, error.message)
    if suggestions := getattr(error, "possibilities", None):
        error.message, error.possibilities = (
            f"{error.message}. Did you mean {suggestions[0]}?",
            None,
        )


def fail(command: str, error: Exception) -> int:
    """The exit status of an error, whose message has been written unless it is a closed pipe."""
    if isinstance(error, BrokenPipeError):
        drop_standard_output()
        return BROKEN_PIPE
    print_to_stderr(f"{command}: {describe(error)}")
    return error.exit_status if isinstance(error, GenomaiError) else 1


def describe(error: Exception) -> str:
    """One line that says what is wrong: `FILE:LINE: message` where the error knows them."""
    if isinstance(error, GenomaiError):
        text = str(error)
    elif isinstance(error, OSError) and error.errno == errno.EBADF:
        text = "standard output is closed"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        text = "out of memory"
    elif type(error).__name__ == "OutOfMemoryError":  # torch's, without opening torch
        text = (
            "the memory of the GPU is full: smaller batches (--batch-size, or --set optimization.batch_size=N "
            "where it trains), or --device cpu"
        )
    elif isinstance(error, ImportError):
        text = (
            f"a part of the program cannot be loaded (too little memory, or not installed): {error}"
        )
    else:
        text = f"unexpected {type(error).__name__}: {error} (-v shows the traceback)"
    return printable(" ".join(text.split()))


def _is_verbose(arguments: Sequence[str]) -> bool:
    return any(argument in ("-v", "--verbose") for argument in arguments)


def _print_traceback(error: Exception) -> None:
    import traceback

    if not isinstance(error, GenomaiError | BrokenPipeError):
        traceback.print_exception(error, file=sys.stderr)
