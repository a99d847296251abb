"""A model before training: its config, the initial values of networks, and those of a model to begin from."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from genomai_cli import tokenizers
from genomai_cli.backbones.base import complete_config, network_class
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.bundles.writing import new_config
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.base import InputKind
from genomai_cli.inputs.sequences import SequenceInput, vocabulary_sizes
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.training.recipe import Recipe


def initial_config(
    recipe: Recipe,
    kind: InputKind,
    tokenizer: Tokenizer,
    sizes: Mapping[str, Any],
    *,
    members: int,
    heads: Mapping[str, list[str]],
) -> dict[str, Any]:
    """The recipe's model as a config; `sizes` are those of the network that follow from the data."""
    return new_config(
        recipe,
        kind.config(),
        tokenizer.to_config(),
        complete_config(dict(recipe.network) | dict(sizes)),
        members=members,
        heads=heads,
        library_versions={"torch": torch.__version__},
    )


def untrained(recipe: Recipe, *, seed: int = 0) -> Bundle:
    """A model of plain DNA before training: fresh values, no heads; a network without parameters to learn is complete.

    Raises TrainingError for a recipe of sites, whose sizes and values follow from data, or of parts that are chosen.
    """
    if (
        recipe.input.kind != SequenceInput.name
        or network_class(recipe.network["kind"]).selects_parts
    ):
        raise TrainingError(
            f"recipe {recipe.name}: its network follows from data: `genomai pretrain` or `genomai train` makes it"
        )
    tokenizer, kind = tokenizers.from_config(recipe.tokenizer), SequenceInput()
    sizes = vocabulary_sizes(tokenizer)
    config = initial_config(recipe, kind, tokenizer, sizes, members=1, heads={})
    config["provenance"]["seed"] = seed
    torch.manual_seed(seed)
    classifier = build(config, kind)
    reset_parameters(classifier)
    return Bundle(config, classifier.eval(), kind)


def require_same_tokens(start: Bundle, tokenizer: Tokenizer, kind: InputKind) -> None:
    """TrainingError unless the ids of tokens, and of sites, are those of the model to begin from."""
    if start.config["tokenizer"] != tokenizer.to_config():
        raise TrainingError(f"the model to begin from, {start.name}, has another tokenizer")
    kind.require_same(start.input, start.name)


def start_from(network: nn.Module, trained: nn.Module) -> None:
    """Give the network the trained one's parameters, all but those of the heads, which are trained anew.

    The buffers they were trained with come along: frequencies taken from a few labelled samples would move every
    vector. Raises TrainingError if the two are not of the same kind and size.
    """
    trained_parameters = dict(trained.named_parameters())
    for name, parameter in network.named_parameters():
        if name.startswith("heads."):
            continue
        if name not in trained_parameters or trained_parameters[name].shape != parameter.shape:
            raise TrainingError(
                f"the model to begin from has other networks than the recipe: {name}"
            )
        parameter.data.copy_(trained_parameters[name])
    buffers = dict(trained.named_buffers())
    for name, buffer in network.named_buffers():
        if name in buffers and buffers[name].shape == buffer.shape:
            buffer.copy_(buffers[name])


def reset_parameters(network: nn.Module) -> None:
    """Fresh values for every layer, drawn from torch's current seed."""
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None) or getattr(
            module, "_reset_parameters", None
        )
        if reset is not None:
            reset()
