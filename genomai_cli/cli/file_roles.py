"""Which files a command line reads and which it writes: no output may be an input, or another output.

One check for every command, before anything is opened. What is the same file is decided by the file, not by how its
path is spelled: links of both kinds, `./x` and `x`, `/dev/stdout` and `-`.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from genomai_cli.errors import UsageError

# The options that name what is written; a file or folder that any other option or argument names is read.
OUTPUTS = frozenset(
    ("output", "report_json", "changes_file", "attention", "plot", "quality", "per_base", "labels_out", "confusion",
     "q", "eigenvec", "motifs", "motif_plot", "report", "contacts")
)  # fmt: skip
OPTION_NAMES = {
    "inputs": "the input",
    "changes_file": "--changes",
}  # of parameters with another name than their option
COMPANION_SUFFIXES = {"q": ".samples"}  # suffixes of files that are written with that of an option
STANDARD_INPUTS = ("-", "/dev/stdin")
STANDARD_OUTPUTS = ("-", "/dev/stdout")


def require_distinct_files(options: Mapping[str, Any]) -> None:
    """UsageError where one of the outputs that options name would overwrite an input or another output."""
    outputs = list(_output_paths(options))
    for (first_option, first_path), (second_option, second_path) in combinations(outputs, 2):
        if first_option != second_option and _is_same_file(first_path, second_path):
            raise UsageError(
                f"{_option(first_option)} and {_option(second_option)} are the same file"
            )
        _require_outside({first_option: first_path, second_option: second_path})
    for name, path in _input_paths(options):
        for output, target in outputs:
            overwritten = name != "model" and _is_inside(
                path, target
            )  # a model may be replaced by what begins with it
            if not _is_stream(target) and (overwritten or _is_same_file(path, target)):
                message = f"{_option(output)} would overwrite {_option(name)}, {path}"
                raise UsageError(f"{message}: write to another file")


def _require_outside(outputs: Mapping[str, str]) -> None:
    """UsageError for a file in a folder that is replaced as a whole; the run's record comes when that has happened."""
    for name, path in outputs.items():
        for folder, target in outputs.items():
            if folder != name != "report_json" and _is_inside(path, target):
                raise UsageError(
                    f"{_option(name)} would lie in {_option(folder)}, which is replaced: write to another file"
                )


def files_read(options: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The regular files that these options name to be read, by option; not those of the model."""
    for name, path in _input_paths({**options, "model": None}):
        if Path(path).is_file():
            yield name, Path(path)


def _output_paths(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The outputs that are files, or standard output, by option."""
    for name in sorted(OUTPUTS & options.keys()):
        if options[name] is not None and not _is_sink(str(options[name])):
            yield name, _canonical(str(options[name]), STANDARD_OUTPUTS)
            if name in COMPANION_SUFFIXES:
                yield name, str(options[name]) + COMPANION_SUFFIXES[name]


def _input_paths(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The files that are read, by option."""
    model = Path(str(options.get("model")))
    if model.is_dir():
        yield from (("model", str(file)) for file in model.iterdir() if file.is_file())
    for name, value in options.items():
        if name not in OUTPUTS:
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path) and str(path) not in STANDARD_INPUTS:
                    yield name, str(path)


def _canonical(path: str, streams: tuple[str, ...]) -> str:
    return streams[0] if path in streams else path


def _is_stream(path: str) -> bool:
    return path == STANDARD_OUTPUTS[0]


def _is_sink(path: str) -> bool:
    """Whether everything may be written there at once: /dev/null and other devices."""
    return (
        os.path.exists(path)
        and stat.S_ISCHR(os.stat(path).st_mode)
        and path not in STANDARD_OUTPUTS
    )


def _is_same_file(first: str, second: str) -> bool:
    if first == second:
        return True
    if _is_stream(first) or _is_stream(second):
        return False
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


def _is_inside(path: str, folder: str) -> bool:
    """Whether the file lies in a folder that would be replaced, which one without a name is not."""
    if Path(folder).name in ("", ".."):
        return False
    return os.path.isdir(folder) and Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(folder)
    )


def _option(name: str) -> str:
    return OPTION_NAMES.get(name, f"--{name.replace('_', '-')}")
