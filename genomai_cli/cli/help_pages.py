"""Help: commands with their options in groups, on a terminal, as man pages and as a page of the documentation.

A group is told by the option's name, so that an option stands under the same heading in every command; what is in no
group is the command's own.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand

OTHER_OPTIONS, ARGUMENTS, MESSAGES = "Options", "Arguments", "Messages"
GROUPS = {
    "Input": "absent_is_ref min_gq min_dp panel haplotypes shard_of reference regions tracks observed labels dev "
    "dev_labels phenotypes test truth column trained_on predictions sequences against held_out groups pairs",
    "Model": "model pool layer per_token adapt lora_rank lora_alpha recipe changes strand window stride flank "
    "mask_every overlap organism",
    "Output": "output to format append resume force report plot plot_logo changes_file probs proportions q pcs "
    "eigenvec only resolution aggregation quality per_base contacts confusion motifs motif_plot attention plot_of "
    "labels_out words",
    "Performance": "device threads batch_size seed shard",
    MESSAGES: "quiet verbose report_json version help",
}
_GROUP_OF = {name: group for group, names in GROUPS.items() for name in names.split()}
_ORDER = [ARGUMENTS, OTHER_OPTIONS, *GROUPS]
_EXAMPLE = re.compile(r"^\s*\x08\s*$")


@dataclass(frozen=True)
class Page:
    """A command's help in pieces: paragraphs of plain text, examples as lines of shell, options by group."""

    path: str
    usage: str
    paragraphs: list[str]
    examples: list[str]
    groups: dict[str, list[tuple[str, str]]]
    commands: list[tuple[str, str]]

    @property
    def summary(self) -> str:
        """The first sentence."""
        return self.paragraphs[0]


class Command(TyperCommand):
    """A command whose help has its options in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write them as definition lists."""
        for title, rows in grouped(self, ctx).items():
            with formatter.section(title):
                formatter.write_dl(rows, col_max=26)


def grouped(command: Any, context: Any) -> dict[str, list[tuple[str, str]]]:
    """The rows of help, an option and what it is for, by group in the order of reading."""
    rows_by_group: dict[str, list[tuple[str, str]]] = {title: [] for title in _ORDER}
    for parameter in command.get_params(context):
        row = parameter.get_help_record(context)
        if row is None:
            continue
        if parameter.param_type_name == "argument":
            rows_by_group[ARGUMENTS].append((parameter.metavar or parameter.name, row[1]))
        else:
            rows_by_group[_GROUP_OF.get(parameter.name, OTHER_OPTIONS)].append(
                (row[0], _readable(row[1]))
            )
    return {title: rows for title, rows in rows_by_group.items() if rows}


def _readable(text: str) -> str:
    """The text with a readable default, and without obvious bounds."""
    text = text.replace("[default: -]", "[default: standard output]")
    text = re.sub(r"; (x>=[\d.]+|0\.0<=x<=1\.0)\]", "]", text)
    return re.sub(r"\s*\[(x>=[\d.]+|0\.0<=x<=1\.0)\]", "", text)


def page_of(command: Any, context: Any) -> Page:
    """The help of a command, or of a group of commands."""
    paragraphs, examples = _text(command.help or "")
    commands = getattr(command, "commands", {})
    summaries = [
        (name, (subcommand.help or "").partition("\n")[0]) for name, subcommand in commands.items()
    ]
    usage = context.get_usage().removeprefix("Usage: ")
    path = context.command_path
    return Page(path, usage, paragraphs, examples, grouped(command, context), summaries)


def _text(text: str) -> tuple[list[str], list[str]]:
    """Paragraphs on one line each, and the lines of those that are marked as examples."""
    paragraphs, examples = [], []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        if _EXAMPLE.match(lines[0]):
            examples += [line.strip() for line in lines[1:]]
        else:
            paragraphs.append(" ".join(line.strip() for line in lines))
    return paragraphs, examples


def pages(program: Any, load_command: Any) -> Iterator[Page]:
    """The page of the program, and one of every command; `opened(name)` gives a command by its name."""
    root_context = program.make_context("genomai", [], resilient_parsing=True)
    yield page_of(program, root_context)
    for name in program.commands:
        command = load_command(name)
        context = command.make_context(name, [], parent=root_context, resilient_parsing=True)
        yield page_of(command, context)
        for subcommand_name, subcommand in getattr(command, "commands", {}).items():
            yield page_of(
                subcommand,
                subcommand.make_context(
                    subcommand_name, [], parent=context, resilient_parsing=True
                ),
            )


# --- man pages ---------------------------------------------------------------------------------


def man_name(page: Page) -> str:
    """`genomai-models-list.1`."""
    return page.path.replace(" ", "-") + ".1"


def man_page(page: Page, version: str, see_also: Sequence[str] = ()) -> str:
    """The page in the language of man(7); `see_also` are what it refers to."""
    name = page.path.replace(" ", "-")
    lines = [f'.TH "{name.upper()}" "1" "" "genomai {version}" "User Commands"', ".SH NAME"]
    lines += [rf"{_roff(name)} \- {_roff(page.summary.rstrip('.'))}", ".SH SYNOPSIS"]
    lines += [rf"\fB{_roff(page.path)}\fR {_roff(page.usage.removeprefix(page.path).strip())}"]
    lines += [".SH DESCRIPTION"]
    for paragraph in page.paragraphs:
        lines += [".PP", _roff(paragraph)]
    if page.commands:
        lines += [".SH COMMANDS", *_definitions(page.commands)]
    for title, rows in page.groups.items():
        lines += [f".SH {title.upper()}", *_definitions(rows)]
    if page.examples:
        lines += [".SH EXAMPLES", ".nf", *map(_roff, page.examples), ".fi"]
    if see_also:
        lines += [".SH SEE ALSO", ", ".join(rf"\fB{_roff(other)}\fR(1)" for other in see_also)]
    return "\n".join(lines) + "\n"


def _definitions(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    for term, text in rows:
        yield from (".TP", rf"\fB{_roff(term)}\fR", _roff(" ".join(text.split())))


def _roff(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


# --- a page of the documentation --------------------------------------------------------------


def markdown(pages: Sequence[Page]) -> str:
    """All commands on one page, each with its examples and its options."""
    lines = ["# Reference", "", "Made from the program itself: what `genomai help COMMAND` says."]
    for page in pages:
        lines += ["", f"## {page.path}", "", *_joined(page.paragraphs)]
        lines += ["```text", page.usage, "```", ""]
        if page.examples:
            lines += ["```sh", *page.examples, "```", ""]
        for title, rows in ([("Commands", page.commands)] if page.commands else []) + list(
            page.groups.items()
        ):
            lines += [f"**{title}**", "", "| | |", "| --- | --- |", *map(_table_row, rows), ""]
    return "\n".join(lines) + "\n"


def _joined(paragraphs: Sequence[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        yield from (_cell(paragraph), "")


def _table_row(row: tuple[str, str]) -> str:
    term = row[0].replace("|", "\\|")
    return f"| `{term}` | {_cell(row[1])} |"


def _cell(text: str) -> str:
    """The text as Markdown shows it: nothing in it is markup but what stands in backquotes."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    escaped = [
        part if part.startswith("`") else re.sub(r"([<>\[\]_*])", r"\\\1", part) for part in parts
    ]
    return "".join(escaped).replace("|", "\\|")
