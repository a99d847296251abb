"""The folder beside a bundle-to-be in which an interrupted run waits: checkpoints and the log."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from genomai_cli.bundles import catalog
from genomai_cli.errors import UsageError
from genomai_cli.training.labelled.samples import Samples
from genomai_cli.training.metrics_log import MetricsLog

ENDING = ".training"
RUN, LOG = "run.json", "metrics.tsv"


@dataclass(frozen=True)
class Workspace:
    """One run's folder."""

    folder: Path
    recipe: str

    @property
    def log(self) -> MetricsLog:
        """metrics.tsv."""
        return MetricsLog(self.folder / LOG)

    @contextmanager
    def kept_once_begun(self) -> Iterator[None]:
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


def claim(
    output: Path, recipe: str, run: Mapping[str, object], *, resume: bool, force: bool
) -> Workspace:
    """The folder for a run that will write `output`: a new one, or with `resume` the interrupted one's.

    `run` says by name what makes a run the same as another. Raises UsageError where something is in the way that
    `force` would replace, and where the run to resume was another one.
    """
    folder = folder_for(output)
    is_bundle = (output / catalog.CONFIG).is_file()
    if output.exists() and not is_bundle:
        raise UsageError(f"{output} exists and is not a model bundle: it would not be replaced")
    if is_bundle and not force:
        raise UsageError(f"{output} exists: --force replaces it")
    run = {"recipe": recipe, **run}
    if folder.exists() and not resume and not force:
        raise UsageError(
            f"{folder} holds an interrupted run: --resume goes on, --force starts over"
        )
    if folder.exists() and resume:
        _require_same(folder, run)
    else:
        _begin(folder, run)
    return Workspace(folder, recipe)


def folder_for(output: Path) -> Path:
    """Where a run that will write `output` waits when it is interrupted.

    Raises UsageError where `output` has no name to put an ending to: `.`, `..` and `/`.
    """
    if output.name in ("", ".."):
        raise UsageError(f"{output}: name the folder that is to become a bundle")
    return output.with_name(output.name + ENDING)


def remembered(folder: Path) -> dict[str, object]:
    """What `claim` wrote down of the run in this folder; nothing if there is none."""
    try:
        return dict(json.loads((folder / RUN).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _begin(folder: Path, run: Mapping[str, object]) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / RUN).write_text(json.dumps(run), encoding="utf-8")


def _require_same(folder: Path, run: Mapping[str, object]) -> None:
    before = remembered(folder)
    if not before:
        raise UsageError(f"{folder} holds no run that could be resumed: --force starts over")
    changed = [name for name, value in run.items() if before.get(name) != value]
    if changed:
        raise UsageError(f"{folder} holds a run with other {' and '.join(changed)}")


def digest(samples: Samples) -> str:
    """SHA-256 of the samples' names, letters and labels."""
    labels = {head: numbers.tolist() for head, numbers in samples.labels.items()}
    content = json.dumps([samples.names, samples.sequences, labels, samples.classes])
    return hashlib.sha256(content.encode()).hexdigest()
