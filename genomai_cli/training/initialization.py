"""What the config of every new model says, however the model is trained.

The model that a recipe describes, before it has learnt anything from an unlabelled corpus.

Shape suffixes: A letters that are counted, S sites, W words.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from genomai_cli import __version__, tokenizers
from genomai_cli.backbones.classifier import Classifier
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.base import Places, require_places
from genomai_cli.mapping.reference import Reference, VariableSites
from genomai_cli.objectives.base import Alphabet
from genomai_cli.phylogeny import genome_input
from genomai_cli.phylogeny.genome_input import _grown
from genomai_cli.phylogeny.variant_network import ProfileNetwork
from genomai_cli.population.barcode import copies_of_letters
from genomai_cli.population.generation.denoiser import HaplotypeNoising
from genomai_cli.population.haplotype_input import _meet
from genomai_cli.population.networks.crossmodal import CrossmodalNetwork
from genomai_cli.population.networks.genotype_mlp import SitesNetwork
from genomai_cli.population.panel import Panel, linked_pairs
from genomai_cli.population.phenotype_input import _described, _introduce
from genomai_cli.registry import complete_config
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import letters_of_words
from genomai_cli.training.corpus import COUNTED, Corpus
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


def require_same_words(
    start: Bundle, tokenizer: Tokenizer, panel: Panel | None, reference: Reference | None
) -> None:
    """TrainingError unless the ids of words, and of sites, mean to the model begun from what they mean here."""
    if start.config["tokenizer"] != tokenizer.to_config():
        raise TrainingError(f"the model to begin from, {start.name}, has another tokenizer")
    digests = [p.sha256 if p is not None else None for p in (start.panel, panel)]
    if digests[0] != digests[1]:
        message = (
            f"the model to begin from, {start.name}, has other sites: use its panel.tsv as --panel"
        )
        raise TrainingError(message)
    genomes = [r.sha256 if r is not None else None for r in (start.reference, reference)]
    if genomes[0] != genomes[1]:
        raise TrainingError(f"the model to begin from, {start.name}, has another reference")


def start_from(network: nn.Module, trained: nn.Module) -> None:
    """Give the network the trained one's parameters, all but those of the heads, which are learnt anew.

    What they were learnt beside comes along: frequencies taken from a few labelled samples would move every vector.
    Raises TrainingError if the two are not of the same kind and size.
    """
    theirs = dict(trained.named_parameters())
    for name, parameter in network.named_parameters():
        if name.startswith("heads."):
            continue
        if name not in theirs or theirs[name].shape != parameter.shape:
            raise TrainingError(
                f"the model to begin from has other networks than the recipe: {name}"
            )
        parameter.data.copy_(theirs[name])
    beside = dict(trained.named_buffers())
    for name, buffer in network.named_buffers():
        if name in beside and beside[name].shape == buffer.shape:
            buffer.copy_(beside[name])


def initialise(network: nn.Module) -> None:
    """Fresh values for every layer, drawn from torch's current seed."""
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None) or getattr(
            module, "_reset_parameters", None
        )
        if reset is not None:
            reset()


Tables = dict[str, Any]


def untrained(recipe: Recipe, corpus: Corpus, places: Places) -> tuple[Bundle, Corpus, Alphabet]:
    """A bundle without heads whose networks have no values yet, the corpus as they read it, and its letters.

    Raises TrainingError where the places are missing or not for this kind of input.
    """
    require_places(recipe, places)
    tokenizer = tokenizers.from_config(recipe.tokenizer)
    sites = places.sites
    if places.reference is not None:
        counts_LA = corpus.counts
        assert counts_LA is not None
        sites = genome_input.sites_to_read(
            sites, lambda: counts_LA[:, :4], places.reference, recipe
        )
        corpus = corpus.at(sites.positions)
    grown = _grown(recipe, corpus, places, sites)
    sizes = grown.sizes() if grown else _sizes(recipe, corpus, places, sites)
    config = outline(recipe, tokenizer, sizes, members=1, heads={})
    classifier = build(config, places.panel)
    _fill(classifier, config, corpus, places.panel, sites, recipe.input.fewest)
    if grown is not None:
        grown.fill(classifier.members[0])  # type: ignore[arg-type]
    alphabet = Alphabet(tokenizer)
    if corpus.choices is not None:
        alphabet = Alphabet(tokenizer, aligned=True, choices=corpus.choices)
    if places.people is not None:
        alphabet = Alphabet(tokenizer, aligned=True, noising=HaplotypeNoising(places.people))
        _meet(classifier, config, corpus, places)
    if places.described is not None:
        described = _described(recipe, corpus, places.described)
        alphabet = Alphabet(tokenizer, aligned=True, described=described)
        _introduce(classifier, described, places)
    return Bundle(config, classifier, places.panel, places.reference, sites), corpus, alphabet


def window(config: Mapping[str, Any]) -> int:
    """How many letters of a sequence the network of this config reads at once."""
    tokenizer = tokenizers.from_config(config["tokenizer"])
    words = int(config["network"]["positions"])
    return (words - 1) * tokenizer.stride + tokenizer.k


def _sizes(recipe: Recipe, corpus: Corpus, places: Places, sites: VariableSites | None) -> Tables:
    """The sizes of the network that follow from what it reads."""
    panel = places.panel
    if panel is not None and places.phenotypes is not None:
        sizes = {"sites": len(panel), "phenotypes": len(places.phenotypes)}
        if recipe.network["kind"] == "region":
            wanted = complete_config(dict(recipe.network))["people"]
            return sizes | {"people": min(wanted, len(corpus.learn))}
        return sizes | {"pairs": linked_pairs(panel).shape[1]}
    if sites is not None:
        return genome_input.sizes(sites, recipe)
    if panel is not None and places.columns is not None:
        columns, groups = places.columns.to_config(), recipe.crossmodal.groups
        return {"sites": len(panel), "columns": columns, "groups": groups}
    if recipe.network["kind"] == "sites" and panel is not None:
        return {"sites": len(panel)}
    tokenizer = tokenizers.from_config(recipe.tokenizer)
    return {"vocabulary": len(tokenizer.vocabulary), "pad_id": tokenizer.pad_id}


def _fill(
    classifier: Classifier,
    config: Mapping[str, Any],
    corpus: Corpus,
    panel: Panel | None,
    sites: VariableSites | None,
    fewest: int,
) -> None:
    """What networks of sites know without learning: the meaning of words, and how frequent they are."""
    network = classifier.members[0]
    if isinstance(network, ProfileNetwork) and sites is not None:
        network.table.learn(torch.from_numpy(sites.counts), fewest)
    if classifier.genotypes is None or panel is None or corpus.counts is None:
        return
    words = letters_of_words(tokenizers.from_config(config["tokenizer"]).vocabulary)
    classifier.genotypes.table.copy_(torch.from_numpy(copies_of_letters(words, panel).T.copy()))
    if isinstance(network, SitesNetwork | CrossmodalNetwork):
        copies_AS = copies_of_letters(np.frombuffer(COUNTED, np.uint8), panel)
        known_AS = (copies_AS >= 0) * corpus.counts[: len(panel)].T
        total_S = np.maximum(2 * known_AS.sum(axis=0), 1)
        network.frequency.copy_(torch.from_numpy((copies_AS * known_AS).sum(axis=0) / total_S))
