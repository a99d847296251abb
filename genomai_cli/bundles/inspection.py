"""What a file or a folder of weights holds, for `genomai models inspect`: tensors, sizes, digests, and what does
not fit."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genomai_cli.bundles import catalog
from genomai_cli.bundles.adapters import adapter_of
from genomai_cli.bundles.bundle import load
from genomai_cli.bundles.weights import Weights
from genomai_cli.errors import BundleError


def inspect(path: Path, device: Any) -> dict[str, Any]:
    """The report: `tensors` by name with shape and dtype, `files` with SHA-256, `parameters`, `architecture`, and
    `problem`, why it is no model that can be loaded, or None."""
    weights = Weights.open(path)
    tensors = {
        name: {"shape": list(weights.shape(name)), "dtype": weights.dtype(name)} for name in weights
    }
    return {
        "path": str(path),
        "architecture": _architecture(path),
        "values": sum(math.prod(weights.shape(name)) for name in weights),
        "files": {file.name: catalog.sha256(file) for file in weights.files},
        "tensors": dict(sorted(tensors.items())),
        "problem": _problem(path, device),
    }


def table(report: dict[str, Any]) -> Iterator[str]:
    """The report as lines of TSV."""
    yield f"architecture\t{report['architecture']}"
    yield f"values\t{report['values']}"
    for name, digest in report["files"].items():
        yield f"file\t{name}\t{digest}"
    for name, tensor in report["tensors"].items():
        shape = "x".join(map(str, tensor["shape"])) or "scalar"
        yield f"tensor\t{name}\t{shape}\t{tensor['dtype']}"
    yield f"problem\t{report['problem'] or '.'}"


def _architecture(path: Path) -> str:
    if not (path / catalog.CONFIG).is_file():
        return "unknown"
    config = catalog.read_json(path / catalog.CONFIG)
    released = adapter_of(path)
    if released is not None:
        return f"{released[0].__name__.rpartition('.')[2]} (released layout)"  # type: ignore[attr-defined]
    network = config.get("network") if isinstance(config, dict) else None
    return str(network.get("kind")) if isinstance(network, dict) else "unknown"


def _problem(path: Path, device: Any) -> str | None:
    """What is missing or unexpected."""
    if path.is_file():
        return "a file alone: its architecture is not known"
    try:
        load(path, device)
    except BundleError as error:
        return str(error)
    return None
