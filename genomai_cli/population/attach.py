"""A crossmodal network beside that of another model: the model stays what it is, and knows phenotypes as well."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genomai_cli.backbones.heads import CROSSMODAL
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import TrainingError


def stands_beside(start: Bundle | None, network: Mapping[str, Any]) -> bool:
    """Whether a network of this config is to stand beside that of `start` rather than begin with it.

    TrainingError for a model that the network could not share its input with.
    """
    if start is None or network["kind"] != CROSSMODAL:
        return False
    if start.config["network"]["kind"] == CROSSMODAL:
        return False
    if start.classifier.genotypes is None:
        raise TrainingError(
            f"the model {start.name!r} does not read the genotypes of a panel: a crossmodal network cannot "
            "stand beside its own"
        )
    return True


def joined(start: Bundle, made: Bundle) -> Bundle:
    """`start` with the network of `made` beside its own, under the name of `made`, in the next minor version."""
    network = {key: value for key, value in made.config["network"].items() if key != "kind"}
    told = {"kind": CROSSMODAL, "network": network, "provenance": made.config["provenance"]}
    config = start.config | {
        "name": made.name,
        "version": next_minor(start.version),
        "companions": start.config.get("companions", {}) | {CROSSMODAL: told},
    }
    companions = dict(start.companions) | {CROSSMODAL: made.classifier.members[0]}
    return replace(start, config=config, companions=companions)


def next_minor(version: str) -> str:
    """1.3.0 for 1.2.5."""
    major, minor, *_ = version.split(".")
    return f"{major}.{int(minor) + 1}.0"
