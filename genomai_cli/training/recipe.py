"""A recipe: everything that makes one model from one data set, as TOML. The presets are recipes too."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from genomai_cli import registry
from genomai_cli.backbones.base import network_class
from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.tables import LabelTable
from genomai_cli.inputs.base import InputKind, input_class
from genomai_cli.objectives.base import check_objective, objective_class
from genomai_cli.training.corpus import CorpusRecipe
from genomai_cli.training.recipe_tables import check_value, from_table, read_as
from genomai_cli.training.trainer import Optimization

HEAD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class SplitRecipe:
    """With `folds` one network a fold is trained, each stopped and calibrated on its own fold;
    with one fold, a single network, with the share `holdout` of the individuals put aside for that."""

    folds: int = 1
    holdout: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """All settings of one training run.

    `input` and `views` are what the kind of input has to say, `evidence` what is attached to the networks, `settings`
    those of every objective by name.
    """

    name: str
    network: dict[str, Any]
    tokenizer: dict[str, Any]
    description: str = ""
    version: str = "1.0.0"
    heads: dict[str, str] = field(default_factory=dict)
    input: Any = None
    split: SplitRecipe = field(default_factory=SplitRecipe)
    views: Any = None
    optimization: Optimization = field(default_factory=Optimization)
    evidence: Any = None
    objectives: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    corpus: CorpusRecipe = field(default_factory=CorpusRecipe)


UNUSED_FILE_MESSAGES = {
    "panel": "--panel is for barcodes; the recipe {name} reads sequences",
    "labels": "--labels are the phenotypes of people or of sequences, --objective diffusion; {name} has none",
    "tracks": "--tracks are for --objective omics or tracks; {name} has none",
    "phenotypes": "--phenotypes are for --objective crossmodal; {name} has none",
}


def read(name: str | Path, changes: Iterable[str] = ()) -> tuple[Recipe, str]:
    """The recipe of that preset or file with `SECTION.KEY=VALUE` changes made, and its TOML text.

    Raises UsageError for an unknown preset or change, InputError for a damaged file.
    """
    return read_as(from_tables, name, changes)


def for_heads(recipe: Recipe, heads: Collection[str]) -> Recipe:
    """The recipe for these heads: settings that name a head which is not trained name the last one instead."""
    evidence, input_settings = recipe.evidence, recipe.input
    if evidence is not None and evidence.head not in heads:
        evidence = replace(evidence, head=list(heads)[-1])
    if getattr(input_settings, "best_for", None) not in (None, *heads):
        input_settings = replace(input_settings, best_for=None)
    return replace(recipe, evidence=evidence, input=input_settings)


def input_of(
    recipe: Recipe, files: Mapping[str, Path | None], start: InputKind | None
) -> InputKind:
    """The recipe's kind of input, from the files given by option; `start`, that of the model to begin from, is first.

    Raises UsageError for a file that the recipe has no use for, and where one is missing.
    """
    input_kinds = [objective_class(name).input_kind for name in recipe.objectives]
    kind = input_class(next((name for name in input_kinds if name), recipe.input.kind))
    for option, file in files.items():
        if file is not None and option in UNUSED_FILE_MESSAGES and option not in kind.files_used:
            raise UsageError(UNUSED_FILE_MESSAGES[option].format(name=recipe.name))
    return kind.from_files(recipe, files, start)


def heads_of(
    recipe: Recipe, labels: LabelTable, columns_of: Mapping[str, str] | None = None
) -> Mapping[str, str]:
    """The column of labels of every head: as asked for, else as the recipe says, else every column under its name.

    Raises UsageError for a name that no head can have, InputError for that of a column.
    """
    named_heads = columns_of or recipe.heads
    heads = named_heads or {column: column for column in labels.columns}
    for name in heads:
        try:
            check_head_name(name)
        except ValueError as error:
            if named_heads:
                raise UsageError(str(error)) from error
            message = (
                f"{error}; is this line a header (name, label)? --head NAME={name} renames a column"
            )
            raise InputError(message, path=labels.path, line=1) from error
    return heads


def is_selected(recipe: Recipe) -> bool:
    """Whether the model is made of parts that are chosen, by `training.selection`."""
    return network_class(recipe.network["kind"]).selects_parts


def from_tables(tables: Mapping[str, Any]) -> Recipe:
    """The recipe of parsed TOML; ValueError for a key that is unknown, missing or of another type."""
    values = dict(tables)
    kind = _input_kind(values.get("input", {}))
    sections: dict[str, type] = {
        "split": SplitRecipe,
        "optimization": Optimization,
        "corpus": CorpusRecipe,
    }
    for section, settings in sections.items():
        values[section] = from_table(settings, values.get(section, {}), f"{section}.")
    kinds = [input_class(name) for name in registry.INPUT_KINDS]
    for section, settings, all_settings in (
        ("input", kind.settings, [other.settings for other in kinds]),
        ("views", kind.views_settings, [other.views_settings for other in kinds]),
    ):
        section_values = _without_others(
            settings, all_settings, values.get(section, {}), f"{section}."
        )
        values[section] = from_table(settings, section_values, f"{section}.", _limits(settings))
    values["settings"] = {
        name: from_table(
            objective.settings_class, values.pop(name, {}), f"{name}.", objective.limits
        )
        for name in registry.OBJECTIVES
        for objective in (objective_class(name),)
    }
    values["evidence"] = _evidence(values)
    recipe: Recipe = from_table(Recipe, values, "")
    if getattr(recipe.input, "best_sites", None) and recipe.split.folds > 1:
        raise ValueError(
            "input.best_sites needs split.folds = 1: each fold would choose other sites"
        )
    for head in recipe.heads:
        check_head_name(head)
    for name, weight in recipe.objectives.items():
        check_objective(name, weight)
    return recipe


def _input_kind(section: object) -> type[InputKind]:
    """The class of the kind of input that the section names."""
    name = section.get("kind", "sequence") if isinstance(section, dict) else "sequence"
    known = [kind for kind in registry.INPUT_KINDS if input_class(kind).name == kind]
    if name not in known:
        raise ValueError(f"input.kind is one of {', '.join(known)}, not {name!r}")
    return input_class(name)


def _without_others(
    settings: type, all_settings: Iterable[type], values: object, prefix: str
) -> object:
    """The section without the keys of other kinds of input, which a recipe may have, and which are ignored."""
    if not isinstance(values, dict):
        return values
    own_keys = {f.name for f in fields(settings)}
    other_fields = {
        f.name: (kind, f) for kind in all_settings for f in fields(kind) if f.name not in own_keys
    }
    for name in values.keys() & other_fields:
        kind, other_field = other_fields[name]
        check_value(prefix, name, values[name], other_field.type, _limits(kind))
    return {name: value for name, value in values.items() if name not in other_fields}


def _limits(settings: type) -> Mapping[str, tuple[float, float]] | None:
    """The least and the largest value of settings that say so themselves."""
    return getattr(settings, "LIMITS", None)


def _evidence(values: dict[str, Any]) -> Any:
    """The settings of the evidence that the recipe asks for, taken out of the values; None if it asks for none."""
    sections = {name: values.pop(name, None) for name in registry.EVIDENCE}
    found = []
    for name, section in sections.items():
        if section is None:
            continue
        settings = registry.find(registry.EVIDENCE, name)
        found.append(from_table(settings, section, f"{name}.", settings.LIMITS))
    if len(found) > 1:
        raise ValueError("[likelihood] is for barcodes, [regression] for genomes: not both")
    return found[0] if found else None


def check_head_name(head: str) -> None:
    """ValueError unless the name can be a column of a table and part of a tensor's name."""
    if not HEAD_NAME.fullmatch(head):
        raise ValueError(
            f"head {head!r}: a name is letters, digits, - and _, beginning with a letter"
        )
