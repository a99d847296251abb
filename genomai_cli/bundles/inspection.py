"""What a file or a folder of weights holds, for `genomai models inspect`: tensors, sizes, digests, and what does
not fit."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles import catalog
from genomai_cli.bundles.adapters import Keys, adapted_config, adapter_of, checkpoint_of
from genomai_cli.bundles.weights import Weights
from genomai_cli.errors import BundleError
from genomai_cli.inputs.base import input_class


@dataclass(frozen=True)
class Fit:
    """How the tensors fit the architecture that the config names: how many `parameters` it has, which names are
    `missing`, `unexpected` or of another shape (`misshapen`), which are not needed (`extra`), what users should know
    (`remarks`), and why no model can be loaded, the `problem`."""

    architecture: str = "unknown"
    parameters: int | None = None
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    problem: str | None = None


def inspect(path: Path, device: Any) -> dict[str, Any]:
    """The report: `tensors` by name with shape and dtype, `files` with SHA-256, how many `values`, and all of `Fit`."""
    weights, sha256 = Weights.open(path), cache(catalog.sha256)
    tensors = {
        name: {"shape": list(weights.shape(name)), "dtype": weights.dtype(name)} for name in weights
    }
    return {
        "path": str(path),
        "values": sum(math.prod(weights.shape(name)) for name in weights),
        "files": {file.name: sha256(file) for file in weights.files},
        "tensors": dict(sorted(tensors.items())),
        **asdict(_fit(path, weights, device, sha256)),
    }


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as lines of TSV."""
    yield f"architecture\t{report['architecture']}"
    yield f"parameters\t{'.' if report['parameters'] is None else report['parameters']}"
    yield f"values\t{report['values']}"
    for name, digest in report["files"].items():
        yield f"file\t{name}\t{digest}"
    for name, tensor in report["tensors"].items():
        shape = "x".join(map(str, tensor["shape"])) or "scalar"
        yield f"tensor\t{name}\t{shape}\t{tensor['dtype']}"
    for kind in ("missing", "unexpected", "misshapen", "extra", "remarks"):
        yield from (f"{kind}\t{name}" for name in report[kind])
    yield f"problem\t{report['problem'] or '.'}"


def _fit(path: Path, weights: Weights, device: Any, sha256: Callable[[Path], str]) -> Fit:
    """How the weights fit the config in their folder."""
    try:
        checkpoint = checkpoint_of(path)
        architecture, expected, keys = _expected(checkpoint, weights)
    except BundleError as error:
        return Fit(problem=str(error))
    stored_names = {keys.renamed.get(name, name): name for name in weights}
    return Fit(
        architecture,
        sum(math.prod(shape) for shape in expected.values()),
        _released_names(set(expected) - set(stored_names) - set(keys.added), keys),
        keys.unexpected(weights),
        sorted(
            released
            for name, released in stored_names.items()
            if _is_misshapen(name, weights.shape(released), expected, keys)
        ),
        sorted([*weights.non_tensors, *(name for name in weights if keys.is_extra(name))]),
        *_loaded(checkpoint, device, sha256),
    )


def _expected(checkpoint: Path, weights: Weights) -> tuple[str, dict[str, tuple[int, ...]], Keys]:
    """The architecture's name, the shapes of its tensors in a bundle, and where the given tensors belong."""
    released = adapter_of(checkpoint)
    if released is not None:
        adapter, settings = released
        config = adapted_config(adapter, settings, checkpoint, set(weights))
        keys = adapter.keys(config)
    else:
        config = catalog.read_config(checkpoint)
    try:
        kind = input_class(config["input"]["kind"]).read(checkpoint, config)
        expected, architecture = bundles.shapes(config, kind), str(config["network"]["kind"])
    except (KeyError, TypeError) as error:
        raise BundleError(f"{checkpoint / catalog.CONFIG}: damaged config: {error!r}") from error
    if released is None:
        return architecture, expected, Keys({name: name for name in expected})
    return f"{architecture} (released layout)", expected, keys


def _is_misshapen(
    name: str, stored: tuple[int, ...], expected: Mapping[str, tuple[int, ...]], keys: Keys
) -> bool:
    try:
        return expected.get(name) not in (None, keys.shape_in_bundle(name, stored))
    except ValueError:
        return True


def _released_names(names: set[str], keys: Keys) -> list[str]:
    """The names that missing tensors have in the checkpoint, the first where there are several."""
    released: dict[str, str] = {}
    for name, name_in_bundle in keys.renamed.items():
        released.setdefault(name_in_bundle, name)
    return sorted(released.get(name, name) for name in names)


def _loaded(
    checkpoint: Path, device: Any, sha256: Callable[[Path], str]
) -> tuple[list[str], str | None]:
    """What users should know of the model, and why it cannot be loaded."""
    try:
        return list(bundles.load(checkpoint, device, sha256=sha256).remarks), None
    except BundleError as error:
        return [], str(error)
