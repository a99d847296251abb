"""The text of recipes: presets and TOML files, changes on the command line, and what the sections may hold.

The recipes themselves are those of `training.recipe`, for what is trained, and of `population.imputation.preparation`,
for reference haplotypes. Nothing here needs torch.
"""

import json
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING as REQUIRED
from dataclasses import fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from genomai_cli.errors import InputError, UsageError

RecipeType = TypeVar("RecipeType")
_AT_LEAST_1, _SHARE = (1, math.inf), (0, 1)
LIMITS: dict[str, tuple[float, float]] = {
    "input.best_sites": _AT_LEAST_1,
    "input.fewest": _AT_LEAST_1,
    "input.min_share": _SHARE,
    "split.folds": _AT_LEAST_1,
    "split.holdout": (0.001, 0.5),
    "optimization.steps": _AT_LEAST_1,
    "optimization.learning_rate": (0, math.inf),
    "optimization.batch_size": _AT_LEAST_1,
    "optimization.evaluate_every": _AT_LEAST_1,
    "optimization.patience": _AT_LEAST_1,
    "optimization.weight_decay": (0, math.inf),
    "optimization.warmup": _SHARE,
    "optimization.average": _SHARE,
    "optimization.clip": (0, math.inf),
    "optimization.checkpoint_every": (0, math.inf),
    "corpus.window": (0, math.inf),
    "corpus.windows": _AT_LEAST_1,
    "corpus.judged": _AT_LEAST_1,
    "corpus.log_every": _AT_LEAST_1,
}


def as_toml(value: Any) -> str:
    """A value as TOML in one line; what is None in a table is left out."""
    if isinstance(value, Mapping):
        entries = (f"{name} = {as_toml(v)}" for name, v in value.items() if v is not None)
        return "{" + ", ".join(entries) + "}"
    return json.dumps(value)


def presets() -> list[str]:
    """The names of the recipes that come with the program."""
    folder = resources.files("genomai_cli") / "presets"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if _is_toml(file))


class _Source(NamedTuple):
    """A recipe as it is written, and how messages call it."""

    text: str
    shown: str

    def tables(self) -> dict[str, Any]:
        """What the TOML says; InputError if it is none."""
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"not TOML: {error}", path=self.shown) from error


def read_as(
    build: Callable[[Mapping[str, Any]], RecipeType], name: str | Path, changes: Iterable[str] = ()
) -> tuple[RecipeType, str]:
    """The recipe that `build` makes from that preset or file with `SECTION.KEY=VALUE` changes, and its text.

    Raises UsageError for an unknown preset or change, InputError for a damaged file, where `build` raises ValueError.
    """
    source = _source(name)
    tables, text = source.tables(), source.text
    try:
        build(tables)
    except ValueError as error:
        raise InputError(str(error), path=source.shown) from error
    for change in changes:
        _apply(tables, change)
        text += f"# changed on the command line: {change}\n"
    try:
        return build(tables), text
    except ValueError as error:
        raise UsageError(f"--set: {error}") from error


def network_kind(name: str | Path, changes: Iterable[str] = ()) -> object:
    """The kind of network of that recipe with these changes; UsageError and InputError as `read_as`."""
    tables = _source(name).tables()
    for change in changes:
        _apply(tables, change)
    network = tables.get("network")
    return network.get("kind") if isinstance(network, dict) else None


def named(recipe: RecipeType, name: str) -> RecipeType:
    """The recipe, a dataclass, for a model called `name`; a preset's description only goes with its own name."""
    recipe_name = recipe.name  # type: ignore[attr-defined]
    if name == recipe_name:
        return recipe
    return replace(recipe, name=name, description=f"Trained by the recipe {recipe_name}")  # type: ignore[type-var]


def from_table(
    kind: type,
    values: object,
    prefix: str,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> Any:
    """The dataclass of a section; ValueError for a key that is unknown, missing, of another type or outside limits."""
    if not isinstance(values, dict):
        raise ValueError(f"[{prefix.rstrip('.')}] is not a table")
    known = {f.name: f for f in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown key {prefix}{name} (there are: {', '.join(known)})")
        check_value(prefix, name, value, known[name].type, limits)
    for name, f in known.items():
        if name not in values and f.default is REQUIRED and f.default_factory is REQUIRED:
            raise ValueError(f"missing key {prefix}{name}")
    return kind(**values)


def check_value(
    prefix: str,
    name: str,
    value: object,
    expected: Any,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """ValueError for a value of another type, or outside the limits."""
    _check_type(prefix + name, value, expected)
    bounds = (limits or {}).get(name, _SHARE if prefix == "views." else None)
    _check_limits(prefix + name, value, bounds)


def _check_type(name: str, value: object, expected: Any) -> None:
    """Numbers, words and truth values keep their kind; a whole number may stand for a float."""
    if is_dataclass(value) or expected is Any:
        return
    kinds = get_args(expected) if isinstance(expected, UnionType) else (expected,)
    allowed = tuple(get_origin(kind) or kind for kind in kinds)
    integers = (int,) if float in allowed else ()
    if not isinstance(value, allowed + integers) or (
        isinstance(value, bool) and bool not in allowed
    ):
        raise ValueError(f"{name} is a {allowed[0].__name__}, not {value!r}")


def _check_limits(name: str, value: object, bounds: tuple[float, float] | None) -> None:
    low, high = bounds or LIMITS.get(name, (-math.inf, math.inf))
    if isinstance(value, int | float) and not low <= value <= high:
        range_text = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ValueError(f"{name} is {range_text}, not {value!r}")


def _source(name: str | Path) -> _Source:
    preset = resources.files("genomai_cli") / "presets" / f"{name}.toml"
    if preset.is_file():
        return _Source(preset.read_text(encoding="utf-8"), str(name))
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"no recipe {str(name)!r}: a TOML file, or one of {', '.join(presets())}")
    return _Source(path.read_text(encoding="utf-8"), str(path))


def _is_toml(file: Any) -> bool:
    return bool(file.name.endswith(".toml"))


def _apply(tables: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    *sections, key = path.split(".")
    if not equals or not key or len(sections) > 1:
        raise UsageError(f"--set {change}: write SECTION.KEY=VALUE")
    table = tables
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {change}: {section} has no keys")
    try:
        table[key] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[key] = text
