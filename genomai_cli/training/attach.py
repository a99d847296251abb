"""Attaches a network to the one of another model, which stays as it is and gains the network's use.

The network becomes an auxiliary head, and reads the same input; only kinds that are `attachable` can be attached.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from genomai_cli.backbones.base import network_class
from genomai_cli.bundles import catalog
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import TrainingError


def attaches_to(start: Bundle | None, network: Mapping[str, Any]) -> bool:
    """Whether a network of this config is to be attached to that of `start` rather than begin with it.

    TrainingError for a model that the network could not share its input with.
    """
    if start is None or not network_class(network["kind"]).attachable:
        return False
    if start.config["network"]["kind"] == network["kind"]:
        return False
    if start.classifier.encoder is None:
        raise TrainingError(
            f"the model {start.name!r} does not read the genotypes of a panel: a {network['kind']} network "
            "cannot be attached to its own"
        )
    return True


def attach_network(start: Bundle, new: Bundle) -> Bundle:
    """`start` with the network of `new` attached to its own, under the name of `new`, in the next minor version."""
    kind = new.config["network"]["kind"]
    network = {key: value for key, value in new.config["network"].items() if key != "kind"}
    head_config = {"kind": kind, "network": network, "provenance": new.config["provenance"]}
    config = start.config | {
        "name": new.name,
        "version": next_minor(start.version),
        "companions": start.config.get("companions", {}) | {kind: head_config},
    }
    auxiliary = dict(start.auxiliary) | {kind: new.classifier.networks[0]}
    return replace(start, config=config, auxiliary=auxiliary)


def next_minor(version: str) -> str:
    """1.3.0 for 1.2.5."""
    major, minor, *_ = version.split(".")
    return f"{major}.{int(minor) + 1}.0"


def attached_files(new: Extras, host: Path, name: str, unprefixed: Collection[str]) -> Extras:
    """The files of the host, and those of the network attached to it under names of their own, but for those
    `unprefixed`; both cards in one."""
    replaced = (catalog.CONFIG, catalog.WEIGHTS, catalog.CARD, catalog.PANEL, catalog.RECIPE)
    other_files: dict[str, str | bytes] = {
        file.name: file.read_bytes() for file in host.iterdir() if file.name not in replaced
    }
    other_files[f"{name}.toml"] = new.recipe
    other_files |= {
        file if file in unprefixed else f"{name}-{file}": content
        for file, content in new.other_files.items()
    }
    card = (host / catalog.CARD).read_text(encoding="utf-8").partition(f"\n# {name}")[0]
    heading, _, new_card = new.card.partition("\n")
    _, _, host_card = card.rstrip().partition("\n")
    text = f"{heading}\n{host_card}\n\n# {name}\n{new_card}"
    recipe = (host / catalog.RECIPE).read_text(encoding="utf-8")
    listed = [*catalog.read_config(host)["files"], *new.recorded]
    recorded = [file for file in dict.fromkeys(listed) if file in other_files]
    return Extras(text, recipe, other_files, recorded)
