"""Long runs that go on after an interruption: `--resume` and `--force`, and the journal of a table's lines."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genomai_cli.cli.options import STANDARD_OUTPUT
from genomai_cli.cli.run import Run

if TYPE_CHECKING:
    from genomai_cli.formats.line_journal import LineJournal

Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with an interrupted run, whose rows are in FILE.partial."),
]
Force = Annotated[bool, typer.Option("--force", help="Throw the rows of an interrupted run away.")]


@dataclass(eq=False, repr=False)
class ResumeOptions:
    """Whether the rows of an interrupted run are kept or thrown away."""

    resume: Resume = False
    force: Force = False


def is_stream(output: Path) -> bool:
    """Whether the output is written as it comes, and not a file that appears at the end."""
    device = output.exists() and not output.is_file() and not output.is_dir()
    return output == STANDARD_OUTPUT or device


@contextmanager
def line_journal(
    run: Run, output: Path, resuming: ResumeOptions, facts: Mapping[str, Any]
) -> Iterator["LineJournal"]:
    """The journal of lines for a run that goes on, whose facts `facts` must be the same; none for a stream."""
    from genomai_cli.formats.line_journal import LineJournal, NoJournal

    if is_stream(output):
        yield NoJournal()
        return
    journal = LineJournal(output, facts, resume=resuming.resume, force=resuming.force)
    try:
        with journal:
            if resuming.resume:
                run.console.say(
                    f"{journal.finished_count} records were done already and are skipped"
                )
                run.note(skipped_records=journal.finished_count)
            yield journal
    except BaseException:
        if journal.stored_count:
            message = f"{journal.folder} keeps {journal.stored_count} records"
            run.console.say(f"{message}: the same command with --resume goes on")
        raise
