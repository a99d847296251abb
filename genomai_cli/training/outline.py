"""What the config of every new model says, however the model is trained."""

import sys
from collections.abc import Mapping
from typing import Any

import torch

from genomai_cli import __version__
from genomai_cli.nets.classifier import complete_config
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.training.recipe import Recipe


def outline(
    recipe: Recipe,
    tokenizer: Tokenizer,
    sizes: Mapping[str, Any],
    *,
    members: int,
    heads: Mapping[str, list[str]],
) -> dict[str, Any]:
    """The recipe's model as a config; `sizes` are those of the network that follow from the data."""
    return {
        "name": recipe.name,
        "version": recipe.version,
        "description": recipe.description,
        "input": {"kind": recipe.input.kind, "haplotypes": recipe.input.haplotypes},
        "tokenizer": tokenizer.to_config(),
        "network": complete_config(dict(recipe.network) | dict(sizes)),
        "members": members,
        "heads": heads,
        "provenance": {
            "program": f"genomai {__version__}",
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        },
    }
