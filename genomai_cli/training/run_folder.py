"""The folder of a run's checkpoints and log until its bundle is written, from which an interrupted run is resumed.

metrics.tsv: a row at every point of a run that is worth one, each once, whatever interrupts the run.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from genomai_cli.bundles.writing import require_name, require_replaceable
from genomai_cli.errors import UsageError
from genomai_cli.formats.outputs import FileLock, remove_unfinished

STEP = "step"


class MetricsLog:
    """A table that grows.

    The first row that a process adds to a part of the run replaces those of the same and later steps: they are from
    before an interruption, and come again. What is damaged in the file is left out: no run fails for its log.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._continued: set[str] = set()

    def add(self, row: Mapping[str, str], part: str = "") -> None:
        """Append a row with these columns, one of them `step`; `part` is the column that names the part."""
        name = row.get(part, "")
        if name not in self._continued:
            retained = [
                old
                for old in self.rows()
                if old.keys() == row.keys() and not _is_repeated(old, row, part)
            ]
            self._rewrite([list(row), *(list(old.values()) for old in retained)])
            self._continued.add(name)
        with self.file.open("a", encoding="utf-8") as handle:
            handle.write(_line(row.values()))

    def rows(self) -> list[dict[str, str]]:
        """The rows by column; a line that was cut short or that has no step is left out."""
        header, *lines = self.text().split("\n")
        columns = header.split("\t")
        fields = [
            line.split("\t") for line in lines[:-1]
        ]  # what follows the last line end is no line
        complete = (
            dict(zip(columns, row, strict=True)) for row in fields if len(row) == len(columns)
        )
        return [row for row in complete if row.get(STEP, "").isdecimal()]

    def text(self) -> str:
        """The whole table, empty before the first row."""
        return self.file.read_text("utf-8", "replace") if self.file.exists() else ""

    def _rewrite(self, lines: list[list[str]]) -> None:
        temporary = self.file.with_name(f"{self.file.name}.writing")
        temporary.write_text("".join(map(_line, lines)), encoding="utf-8")
        temporary.replace(self.file)


def _is_repeated(old: Mapping[str, str], row: Mapping[str, str], part: str) -> bool:
    if part and old[part] != row[part]:
        return False
    return int(old[STEP]) >= int(row[STEP])


def _line(fields: Iterable[str]) -> str:
    return "\t".join(fields) + "\n"


ENDING = ".training"
RUN, LOG = "run.json", "metrics.tsv"
DIGEST = "sha256"
PICTURE = "loss.png"  # of the log, in a bundle


@dataclass(frozen=True)
class Workspace:
    """One run's folder."""

    folder: Path
    recipe: str
    lock: FileLock | None = None

    @property
    def log(self) -> MetricsLog:
        """metrics.tsv."""
        return MetricsLog(self.folder / LOG)

    @contextmanager
    def removed_unless_begun(self) -> Iterator[None]:
        """Clear the folder away if the block fails before its first checkpoint: nothing could be resumed."""
        try:
            yield
        except BaseException:
            if not any(self.folder.glob("*.pt")):
                self.remove()
            raise

    def remove(self) -> None:
        """Clear the folder away, once the bundle is written."""
        shutil.rmtree(self.folder)
        if self.lock is not None:
            self.lock.release()


def claim(
    output: Path, recipe: str, run: Mapping[str, object], *, resume: bool, force: bool
) -> Workspace:
    """The folder for a run that will write `output`: a new one, or with `resume` the interrupted one's.

    `run` says by name what makes a run the same as another. Raises UsageError where something is in the way that
    `force` would replace, and where the run to resume was another one.
    """
    folder = folder_for(output)
    require_replaceable(output, force=force)
    run = {"recipe": recipe, **run}
    if folder.exists() and not resume and not force:
        raise UsageError(
            f"{folder} holds an interrupted run: --resume goes on, --force starts over"
        )
    remove_unfinished(output)
    if folder.exists() and resume:
        _require_same(folder, run)
        lock = _lock(folder)
    else:
        if folder.exists():
            _lock(folder).release()
        _start(folder, run)
        lock = _lock(folder)
    return Workspace(folder, recipe, lock)


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder)
    if not lock.is_ours:
        raise UsageError(f"another run is at work in {folder}")
    return lock


def folder_for(output: Path) -> Path:
    """Where a run that will write `output` waits when it is interrupted.

    Raises UsageError where `output` has no name to put an ending to: `.`, `..` and `/`.
    """
    require_name(output)
    return output.with_name(output.name + ENDING)


def read_run(folder: Path) -> dict[str, object]:
    """What `claim` wrote down of the run in this folder, nothing if there is no folder; UsageError if it is damaged."""
    if not folder.exists():
        return {}
    file = folder / RUN
    if not file.exists():
        raise UsageError(f"{folder} holds no run that could be resumed: --force starts over")
    try:
        run, digest = (json.loads(file.read_text(encoding="utf-8"))[key] for key in ("run", DIGEST))
        is_valid = digest == _digest(run)
    except (OSError, ValueError, KeyError, TypeError):
        is_valid = False
    if not is_valid:
        raise UsageError(f"{file} is damaged: without --resume, --force starts over")
    return dict(run)


def _start(folder: Path, run: Mapping[str, object]) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / RUN).write_text(json.dumps({"run": run, DIGEST: _digest(run)}), encoding="utf-8")


def _digest(run: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()


def _require_same(folder: Path, run: Mapping[str, object]) -> None:
    previous = read_run(folder)
    changed = [name for name, value in run.items() if previous.get(name) != value]
    if changed:
        raise UsageError(f"{folder} holds a run with other {' and '.join(changed)}")
