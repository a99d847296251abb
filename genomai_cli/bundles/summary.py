"""What can be told about a bundle from its files alone, without torch: for `genomai models`."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genomai_cli.bundles import catalog

COLUMNS = ("name", "version", "heads", "parameters", "bytes", "description")


@dataclass(frozen=True, slots=True)
class Summary:
    """A bundle in a few words; `parameters` counts the trainable ones of the model proper."""

    name: str
    version: str
    heads: dict[str, int]
    parameters: int
    size: int
    description: str


def summarise(path: Path) -> Summary:
    """The summary of the bundle in the folder `path`."""
    config = catalog.read_config(path)
    return Summary(
        name=str(config.get("name", path.name)),
        version=str(config.get("version", "?")),
        heads={name: len(labels) for name, labels in (config.get("heads") or {}).items()},
        parameters=parameter_count(path, config),
        size=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        description=str(config.get("description", "")),
    )


def parameter_count(path: Path, config: dict[str, Any]) -> int:
    """As recorded when the model was made; else the number of values in its weights file."""
    recorded = config.get("trainable_parameters")
    return recorded if isinstance(recorded, int) else values_stored(path)


def values_stored(path: Path) -> int:
    """How many numbers the weights file holds: parameters and whatever goes with them."""
    return sum(math.prod(shape) for shape in catalog.tensor_shapes(path).values())


def card_summary(path: Path) -> str:
    """The opening of the model card: all that stands before its first section, or nothing."""
    card = path / catalog.CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return text.split("\n## ", 1)[0].strip()


def page(path: Path) -> str:
    """Everything `genomai models show` prints: facts, card summary, config."""
    facts = summarise(path)
    lines = [
        f"name\t{facts.name}",
        f"version\t{facts.version}",
        f"folder\t{path}",
        f"parameters\t{facts.parameters:,}",
        f"values stored\t{values_stored(path):,}",
        f"heads\t{heads_in_words(facts.heads)}",
        f"bytes\t{facts.size:,}",
    ]
    config = json.dumps(catalog.read_config(path), indent=2, ensure_ascii=False)
    return "\n\n".join(filter(None, ("\n".join(lines), card_summary(path), config)))


def heads_in_words(heads: dict[str, int]) -> str:
    """`superpop:5,pop:26`, or `.` for a model without heads."""
    return ",".join(f"{name}:{labels}" for name, labels in heads.items()) or "."


def row(facts: Summary) -> tuple[str, ...]:
    """The summary as `genomai models list` prints it, in the order of `COLUMNS`."""
    heads = heads_in_words(facts.heads)
    numbers = str(facts.parameters), str(facts.size)
    return (facts.name, facts.version, heads, *numbers, facts.description)
