"""A recipe: everything that makes one model from one data set, as TOML. The presets are recipes too."""

import math
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING as REQUIRED
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from genomai_cli.errors import InputError, UsageError
from genomai_cli.inputs.base import KINDS, InputRecipe, ViewsRecipe
from genomai_cli.objectives.contrastive import ContrastiveSettings
from genomai_cli.objectives.diffusion import DiffusionSettings
from genomai_cli.objectives.masked import MaskedSettings
from genomai_cli.population.alignment.objective import CrossmodalSettings
from genomai_cli.registry import OBJECTIVES, check_objective
from genomai_cli.training.corpus import CorpusRecipe
from genomai_cli.training.trainer import Optimization

HEAD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class LikelihoodRecipe:
    """The population likelihood beside the networks: of which head, with how many ancestry axes.

    `shrinkage` is how many haplotypes the frequencies that the other classes predict are worth.
    """

    head: str
    axes: int = 3
    shrinkage: float = 30.0


@dataclass(frozen=True)
class RegressionRecipe:
    """The logistic regression on variants beside the networks: of which head, with what penalty on its weights."""

    head: str
    penalty: float = 1.0


@dataclass(frozen=True)
class SplitRecipe:
    """With `folds` one network a fold is trained, each stopped and calibrated on its own fold;
    with one fold, a single network, with the share `holdout` of the individuals put aside for that."""

    folds: int = 1
    holdout: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """All settings of one training run."""

    name: str
    network: dict[str, Any]
    tokenizer: dict[str, Any]
    description: str = ""
    version: str = "1.0.0"
    heads: dict[str, str] = field(default_factory=dict)
    input: InputRecipe = field(default_factory=InputRecipe)
    split: SplitRecipe = field(default_factory=SplitRecipe)
    views: ViewsRecipe = field(default_factory=ViewsRecipe)
    optimization: Optimization = field(default_factory=Optimization)
    likelihood: LikelihoodRecipe | None = None
    regression: RegressionRecipe | None = None
    objectives: dict[str, float] = field(default_factory=dict)
    contrastive: ContrastiveSettings = field(default_factory=ContrastiveSettings)
    masked: MaskedSettings = field(default_factory=MaskedSettings)
    diffusion: DiffusionSettings = field(default_factory=DiffusionSettings)
    crossmodal: CrossmodalSettings = field(default_factory=CrossmodalSettings)
    corpus: CorpusRecipe = field(default_factory=CorpusRecipe)

    @property
    def evidence(self) -> LikelihoodRecipe | RegressionRecipe | None:
        """What stands beside the networks, if anything does."""
        return self.likelihood or self.regression


SECTIONS: dict[str, type] = {
    "input": InputRecipe,
    "split": SplitRecipe,
    "views": ViewsRecipe,
    "optimization": Optimization,
    "likelihood": LikelihoodRecipe,
    "regression": RegressionRecipe,
    "corpus": CorpusRecipe,
    **{name: kind.settings for name, kind in OBJECTIVES.items()},
}
_AT_LEAST_1, _SHARE = (1, math.inf), (0, 1)
LIMITS: dict[str, tuple[float, float]] = {
    "input.best_sites": _AT_LEAST_1,
    "input.fewest": _AT_LEAST_1,
    "likelihood.axes": _AT_LEAST_1,
    "likelihood.shrinkage": (0, math.inf),
    "regression.penalty": (0, math.inf),
    "split.folds": _AT_LEAST_1,
    "split.holdout": (0.001, 0.5),
    "optimization.steps": _AT_LEAST_1,
    "optimization.learning_rate": (0, math.inf),
    "optimization.batch_size": _AT_LEAST_1,
    "optimization.evaluate_every": _AT_LEAST_1,
    "optimization.patience": _AT_LEAST_1,
    "optimization.checkpoint_every": (0, math.inf),
    **{f"{name}.{key}": v for name, kind in OBJECTIVES.items() for key, v in kind.limits.items()},
    "corpus.window": (0, math.inf),
    "corpus.windows": _AT_LEAST_1,
    "corpus.judged": _AT_LEAST_1,
    "corpus.log_every": _AT_LEAST_1,
    **{f"views.{view.name}": _SHARE for view in fields(ViewsRecipe)},
}


def presets() -> list[str]:
    """The names of the recipes that come with the program."""
    folder = resources.files("genomai_cli") / "presets"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if _is_toml(file))


def read(name: str | Path, changes: Iterable[str] = ()) -> tuple[Recipe, str]:
    """The recipe of that preset or file with `SECTION.KEY=VALUE` changes made, and its TOML text.

    Raises UsageError for an unknown preset or change, InputError for a damaged file.
    """
    text, shown = _text(name)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", path=shown) from error
    try:
        from_tables(tables)
    except ValueError as error:
        raise InputError(str(error), path=shown) from error
    for change in changes:
        _apply(tables, change)
        text += f"# changed on the command line: {change}\n"
    try:
        return from_tables(tables), text
    except ValueError as error:
        raise UsageError(f"--set: {error}") from error


def about(recipe: Recipe, heads: Collection[str]) -> Recipe:
    """The recipe for other heads than its own: what it says of a head that is not learnt is said of the last."""
    likelihood, regression, given = recipe.likelihood, recipe.regression, recipe.input
    if likelihood is not None and likelihood.head not in heads:
        likelihood = replace(likelihood, head=list(heads)[-1])
    if regression is not None and regression.head not in heads:
        regression = replace(regression, head=list(heads)[-1])
    if given.best_for is not None and given.best_for not in heads:
        given = replace(given, best_for=None)
    return replace(recipe, likelihood=likelihood, regression=regression, input=given)


def named(recipe: Recipe, name: str) -> Recipe:
    """The recipe for a model called `name`; the preset's own description only goes with its own name."""
    if name == recipe.name:
        return recipe
    return replace(recipe, name=name, description=f"Trained by the recipe {recipe.name}")


def from_tables(tables: Mapping[str, Any]) -> Recipe:
    """The recipe of parsed TOML; ValueError for a key that is unknown, missing or of another type."""
    values = dict(tables)
    for section, kind in SECTIONS.items():
        if section in values:
            values[section] = _checked(kind, values[section], f"{section}.")
    recipe: Recipe = _checked(Recipe, values, "")
    if recipe.input.best_sites and recipe.split.folds > 1:
        raise ValueError(
            "input.best_sites needs split.folds = 1: each fold would choose other sites"
        )
    if recipe.likelihood and recipe.regression:
        raise ValueError("[likelihood] is for barcodes, [regression] for genomes: not both")
    if recipe.input.kind not in KINDS:
        raise ValueError(f"input.kind is one of {', '.join(KINDS)}, not {recipe.input.kind!r}")
    for head in recipe.heads:
        check_head_name(head)
    for name, weight in recipe.objectives.items():
        check_objective(name, weight)
    return recipe


def check_head_name(head: str) -> None:
    """ValueError unless the name can be a column of a table and part of a tensor's name."""
    if not HEAD_NAME.fullmatch(head):
        raise ValueError(
            f"head {head!r}: a name is letters, digits, - and _, beginning with a letter"
        )


def _checked(kind: type, values: object, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"[{prefix.rstrip('.')}] is not a table")
    known = {f.name: f for f in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown key {prefix}{name} (there are: {', '.join(known)})")
        _check_type(prefix + name, value, known[name].type)
        _check_limits(prefix + name, value)
    for name, f in known.items():
        if name not in values and f.default is REQUIRED and f.default_factory is REQUIRED:
            raise ValueError(f"missing key {prefix}{name}")
    return kind(**values)


def _check_type(name: str, value: object, expected: Any) -> None:
    """Numbers, words and truth values keep their kind; a whole number may stand for a float."""
    if is_dataclass(value):
        return
    kinds = get_args(expected) if isinstance(expected, UnionType) else (expected,)
    allowed = tuple(get_origin(kind) or kind for kind in kinds)
    whole = (int,) if float in allowed else ()
    if not isinstance(value, allowed + whole) or (isinstance(value, bool) and bool not in allowed):
        raise ValueError(f"{name} is a {allowed[0].__name__}, not {value!r}")


def _check_limits(name: str, value: object) -> None:
    low, high = LIMITS.get(name, (-math.inf, math.inf))
    if isinstance(value, int | float) and not low <= value <= high:
        wanted = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ValueError(f"{name} is {wanted}, not {value!r}")


def _text(name: str | Path) -> tuple[str, str]:
    preset = resources.files("genomai_cli") / "presets" / f"{name}.toml"
    if preset.is_file():
        return preset.read_text(encoding="utf-8"), str(name)
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"no recipe {str(name)!r}: a TOML file, or one of {', '.join(presets())}")
    return path.read_text(encoding="utf-8"), str(path)


def _is_toml(file: Any) -> bool:
    return bool(file.name.endswith(".toml"))


def _apply(tables: dict[str, Any], change: str) -> None:
    place, equals, text = change.partition("=")
    *sections, key = place.split(".")
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
