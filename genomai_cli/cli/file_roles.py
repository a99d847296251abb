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
     "q", "eigenvec", "motifs", "motif_plot", "report")
)  # fmt: skip
SPELLED = {"inputs": "the input", "changes_file": "--changes"}  # parameters called otherwise
BESIDE = {"q": ".samples"}  # what is written beside a file as well
STANDARD_INPUTS = ("-", "/dev/stdin")
STANDARD_OUTPUTS = ("-", "/dev/stdout")


def require_apart(options: Mapping[str, Any]) -> None:
    """UsageError where an output of these options, by name, would overwrite an input or another output."""
    written = list(_written(options))
    for (first, one), (second, other) in combinations(written, 2):
        if first != second and _same(one, other):
            raise UsageError(f"{_shown(first)} and {_shown(second)} are the same file")
        _require_outside({first: one, second: other})
    for name, path in _read(options):
        for output, target in written:
            within = name != "model" and _inside(
                path, target
            )  # a model may be replaced by what begins with it
            if not _is_stream(target) and (within or _same(path, target)):
                what = f"{_shown(output)} would overwrite {_shown(name)}, {path}"
                raise UsageError(f"{what}: write to another file")


def _require_outside(written: Mapping[str, str]) -> None:
    """UsageError for a file in a folder that is replaced as a whole; the run's record comes when that has happened."""
    for name, path in written.items():
        for folder, target in written.items():
            if folder != name != "report_json" and _inside(path, target):
                raise UsageError(
                    f"{_shown(name)} would lie in {_shown(folder)}, which is replaced: write to another file"
                )


def files_read(options: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The regular files that these options name to be read, by option; not those of the model."""
    for name, path in _read({**options, "model": None}):
        if Path(path).is_file():
            yield name, Path(path)


def _written(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The outputs that are files, or standard output, by option."""
    for name in sorted(OUTPUTS & options.keys()):
        if options[name] is not None and not _is_sink(str(options[name])):
            yield name, _named(str(options[name]), STANDARD_OUTPUTS)
            if name in BESIDE:
                yield name, str(options[name]) + BESIDE[name]


def _read(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The files that are read, by option."""
    model = Path(str(options.get("model")))
    if model.is_dir():
        yield from (("model", str(file)) for file in model.iterdir() if file.is_file())
    for name, value in options.items():
        if name not in OUTPUTS:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, Path) and str(one) not in STANDARD_INPUTS:
                    yield name, str(one)


def _named(path: str, streams: tuple[str, ...]) -> str:
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


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    if _is_stream(one) or _is_stream(other):
        return False
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _inside(path: str, folder: str) -> bool:
    """Whether the file lies in a folder that would be replaced, which one without a name is not."""
    if Path(folder).name in ("", ".."):
        return False
    return os.path.isdir(folder) and Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(folder)
    )


def _shown(name: str) -> str:
    return SPELLED.get(name, f"--{name.replace('_', '-')}")
