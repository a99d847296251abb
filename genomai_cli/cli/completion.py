"""Shell completion: what may stand at the cursor, asked for by the scripts in `completions/` at every TAB.

`_GENOMAI_COMPLETE=source_SHELL genomai` prints the script for bash, zsh or fish. A script calls the program with
`_GENOMAI_COMPLETE=SHELL`, and the line up to the cursor in `_GENOMAI_LINE`. The answer's first line says which files
fit as well: their endings, `any`, `folders` or `none`; the others are values, each with a tab and what it means. The
shell lists the files, since it knows how to write their names.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genomai_cli.errors import GenomaiError
from genomai_cli.registry import OBJECTIVES

VARIABLE = "_GENOMAI_COMPLETE"
DEVICES = ("auto", "cpu", "cuda", "mps")
NO_FILES, ANY_FILE, FOLDERS = "none", "any", "folders"
Values = list[tuple[str, str]]


def _with_gzip(endings: str) -> str:
    return " ".join(
        f"{ending}{compression}" for ending in endings.split() for compression in ("", ".gz")
    )


TABLES, VARIANTS = _with_gzip("tsv csv txt"), _with_gzip("vcf") + " vcf.bgz bcf"
FASTA = _with_gzip("fa fasta fna")
SEQUENCES = FASTA + " " + _with_gzip("fq fastq tsv csv")
# By what help calls a value: the endings of files that may be meant.
FILES = {
    "FASTA": FASTA,
    "BED": _with_gzip("bed"),
    "TSV": TABLES,
    "LABELS": TABLES,
    "TSV|VCF": f"{TABLES} {VARIANTS}",
    "TSV|BED": f"{TABLES} {_with_gzip('bed')}",
    "PRESET|TOML": "toml",
    "DIR": FOLDERS,
    "NAME|DIR": FOLDERS,
    "FILE": ANY_FILE,
    "FILE|DIR": ANY_FILE,
    "MODEL|FILE": ANY_FILE,
}
INPUTS = f"{VARIANTS} {SEQUENCES} bed pgen bam cram zip"


@dataclass
class Line:
    """A command line up to the cursor: the command, the options that were given, and the parameter of the last word."""

    command: Any
    options: dict[str, str] = field(default_factory=dict)
    parameter: Any = None  # whose value the last word is, None for a command or an option
    prefix: str = ""  # of the last word, before its value
    word: str = ""  # the last one, with its prefix
    no_match: bool = False  # no word can stand at the cursor


def answer(program: Any, load_command: Callable[[str], Any]) -> str:
    """The answer to the request in the environment."""
    text = os.environ.get("_GENOMAI_LINE", "")
    line = read_line(words_of(text), program, load_command)
    files, values = candidates(line)
    cut = _letters_before_insertion(os.environ[VARIABLE], line)
    rows = [
        f"{value[cut:]}\t{description}"
        for value, description in values
        if value.startswith(line.word)
    ]
    return "\n".join([files, *rows])


def _letters_before_insertion(shell: str, line: Line) -> int:
    """The number of letters of the word before those that the shell inserts."""
    if shell == "bash":  # which takes : and = for ends of words
        inserted = os.environ.get("_GENOMAI_WORD", line.word)
        return len(line.word) - len(inserted)
    return len(line.prefix) if shell == "zsh" else 0


def words_of(line: str) -> list[str]:
    """The words of a line after the program's name, the last one as far as it goes."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:  # an open quote
        words.append(str(lexer.token).lstrip("'\""))
        return words[1:]
    return words[1:] + ([""] if line[-1:].isspace() else [])


def read_line(words: list[str], program: Any, load_command: Callable[[str], Any]) -> Line:
    """The words as a `Line`; the last one is to be completed."""
    line, awaiting_value = Line(program), None
    for word in words[:-1]:
        if awaiting_value is not None:
            line.options[awaiting_value.name], awaiting_value = word, None
        elif word.startswith("--") and "=" in word:
            name, _, value = word.partition("=")
            if (option := _option(line.command, name)) is not None:
                line.options[option.name] = value
        elif word.startswith("-") and len(word) > 1:
            option = _option(line.command, word)
            awaiting_value = option if option is not None and not option.is_flag else None
        elif hasattr(line.command, "commands"):
            if word not in line.command.commands:
                line.no_match = True
                return line
            line.command = (
                load_command(word) if line.command is program else line.command.commands[word]
            )
    line.word = words[-1] if words else ""
    _find_parameter(line, awaiting_value)
    return line


def _find_parameter(line: Line, awaiting_value: Any) -> None:
    """Set the parameter whose value the last word is."""
    word = line.word
    if awaiting_value is not None:
        line.parameter = awaiting_value
    elif word.startswith("--") and "=" in word:
        name, equals, _ = word.partition("=")
        line.parameter, line.prefix = _option(line.command, name), name + equals
        line.no_match = line.parameter is None
    elif not word.startswith("-") and not hasattr(line.command, "commands"):
        arguments = (p for p in line.command.params if p.param_type_name == "argument")
        line.parameter = next(arguments, None)
        line.no_match = line.parameter is None


def _option(command: Any, name: str) -> Any:
    return next((p for p in command.params if name in p.opts), None)


def candidates(line: Line) -> tuple[str, Values]:
    """Which files fit, and the values."""
    if line.no_match:
        return NO_FILES, []
    if line.parameter is None:
        if line.word.startswith("-"):
            return NO_FILES, list(_options(line.command))
        commands = line.command.commands.items()
        return NO_FILES, [(name, _first_sentence(command.help)) for name, command in commands]
    files, values = _of_parameter(line)
    return files, [(line.prefix + value, description) for value, description in values]


def _options(command: Any) -> Iterator[tuple[str, str]]:
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            yield from (
                (name, _first_sentence(parameter.help)) for name in parameter.opts if name[1] == "-"
            )
    yield "--help", "Show this message and exit."


def _first_sentence(text: str | None) -> str:
    """The first sentence."""
    return " ".join((text or "").split()).partition(". ")[0]


def _of_parameter(line: Line) -> tuple[str, Values]:
    """Files and values of the parameter that the last word belongs to."""
    parameter = line.parameter
    kind = parameter.metavar or ""
    if choices := parameter.type_descriptor.choices:
        return NO_FILES, [(str(getattr(choice, "value", choice)), "") for choice in choices]
    is_input = parameter.param_type_name == "argument" and parameter.name == "inputs"
    files = INPUTS if is_input else FILES.get(kind, NO_FILES)
    suggest = VALUES.get(parameter.name) or VALUES.get(kind)
    if suggest is None:
        return files, []
    with suppress(GenomaiError, OSError):
        return files, list(suggest(line))
    return files, []


# --- values that are names of something ----------------------------------------------------------


def _models(line: Line) -> Iterator[tuple[str, str]]:
    from genomai_cli.bundles import catalog

    for name in catalog.names():
        with suppress(GenomaiError):  # another one may be damaged
            yield name, str(catalog.read_config(catalog.find(name)).get("description", ""))


def _recipes(line: Line) -> Iterator[tuple[str, str]]:
    from importlib import resources

    for file in sorted(f.name for f in (resources.files("genomai_cli") / "presets").iterdir()):
        if file.endswith(".toml"):
            yield file.removesuffix(".toml"), "preset"


def _devices(line: Line) -> Iterator[tuple[str, str]]:
    return ((name, "") for name in DEVICES)


def _objectives(line: Line) -> Iterator[tuple[str, str]]:
    return _comma_separated(line, {name: "objective" for name in OBJECTIVES})


def _phenotypes(line: Line) -> Iterator[tuple[str, str]]:
    columns = _config(line, "ancestry-generator").get("phenotypes") or {}
    columns = columns.get("labels") or {}
    column_of_label = {str(name): column for column, names in columns.items() for name in names}
    return _comma_separated(line, {"reference": "all populations", **column_of_label})


def _comma_separated(line: Line, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The names behind the last comma of the word."""
    preceding = line.word.removeprefix(line.prefix).rpartition(",")
    return (
        (preceding[0] + preceding[1] + name, description) for name, description in names.items()
    )


def _heads(line: Line) -> Iterator[tuple[str, str]]:
    for name, labels in (_config(line, "ancestry").get("heads") or {}).items():
        yield name, ", ".join(map(str, labels))[:60]


def _labels(line: Line) -> Iterator[tuple[str, str]]:
    for head, labels in (_config(line, "ancestry").get("heads") or {}).items():
        yield from ((str(label), head) for label in labels)


def _columns(line: Line) -> Iterator[tuple[str, str]]:
    """The columns of the table of labels on the line."""
    from genomai_cli.formats.tables import read_table

    _, *names = read_table(line.options["labels"]).columns if "labels" in line.options else [""]
    preceding = line.word.removeprefix(line.prefix).rpartition("=")
    return ((preceding[0] + preceding[1] + name, "column") for name in names)


def _config(line: Line, default: str) -> dict[str, Any]:
    """The config of the line's model."""
    from genomai_cli.bundles import catalog

    model = os.path.expanduser(line.options.get("model", default))
    return catalog.read_config(catalog.find(model))


# By the parameter's name, or by what help calls its value.
VALUES: dict[str, Callable[[Line], Iterator[tuple[str, str]]]] = {
    "NAME|DIR": _models,
    "MODEL|FILE": _models,
    "PRESET|TOML": _recipes,
    "device": _devices,
    "objective": _objectives,
    "phenotype": _phenotypes,
    "HEAD": _heads,
    "LABEL": _labels,
    "HEAD[=COLUMN]": _columns,
    "COLUMN": _columns,
}


# --- the scripts -----------------------------------------------------------------------------------


def script(shell: str) -> str:
    """The script of a shell; KeyError for one that has none."""
    return (Path(__file__).parent / "completions" / SCRIPTS[shell]).read_text()


SCRIPTS = {"bash": "genomai.bash", "zsh": "_genomai", "fish": "genomai.fish"}


def main(program: Any, load_command: Callable[[str], Any]) -> int:
    """Answer the request that the environment holds; whatever goes wrong is silence."""
    request = os.environ[VARIABLE]
    try:
        source = request.removeprefix("source_")
        sys.stdout.write(
            script(source) if source != request else answer(program, load_command) + "\n"
        )
        sys.stdout.flush()
    except Exception:
        return 1
    return 0
