"""The model that a recipe describes, before it has learnt anything from an unlabelled corpus.

Shape suffixes: A letters that are counted, S sites, W words.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from genomai_cli import tokenizers
from genomai_cli.anchoring.sites import VariableSites
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.errors import TrainingError
from genomai_cli.nets.classifier import Classifier, complete_config
from genomai_cli.nets.crossmodal import CrossmodalNetwork
from genomai_cli.nets.denoiser import PeopleNetwork
from genomai_cli.nets.profile import ProfileNetwork
from genomai_cli.nets.sites import SitesNetwork
from genomai_cli.objectives.base import Alphabet
from genomai_cli.panels.barcode import copies_of_letters
from genomai_cli.panels.linkage import linked_pairs
from genomai_cli.panels.panel import Panel
from genomai_cli.phenotypes.families import Described, Families
from genomai_cli.phenotypes.rows import DescribedRows
from genomai_cli.tokenizers.base import letters_of_words
from genomai_cli.training.genealogy.census import variants_of
from genomai_cli.training.genealogy.lineages import Lineages
from genomai_cli.training.genealogy.styles import lineages_of
from genomai_cli.training.outline import outline
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.unlabelled import genomes, people
from genomai_cli.training.unlabelled.corpus import COUNTED, Corpus
from genomai_cli.training.unlabelled.places import Places
from genomai_cli.training.unlabelled.requirements import require_places

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
        sites = genomes.sites_to_read(sites, lambda: counts_LA[:, :4], places.reference, recipe)
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
        alphabet = Alphabet(tokenizer, aligned=True, people=places.people)
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


def _grown(
    recipe: Recipe, corpus: Corpus, places: Places, sites: VariableSites | None
) -> Lineages | None:
    """The lineages of the genomes, for a network of them."""
    if recipe.network["kind"] != "lineages":
        return None
    if places.reference is None or sites is None:
        raise TrainingError(f"recipe {recipe.name}: only anchored genomes have lineages")
    least = int(complete_config(recipe.network)["least"])
    table = variants_of(sites, places.reference, recipe.input.fewest)
    return lineages_of(corpus, table, tokenizers.from_config(recipe.tokenizer), least)


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
        return genomes.sizes(sites, recipe)
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


def _meet(classifier: Classifier, config: Tables, corpus: Corpus, places: Places) -> None:
    """What a network of people, and the config, know of them without learning: how many there are of each phenotype,
    and how frequent alleles are among them."""
    network, panel, rows, phenotypes = (
        classifier.members[0],
        places.panel,
        places.people,
        places.phenotypes,
    )
    assert isinstance(network, PeopleNetwork)
    assert panel is not None
    assert rows is not None
    assert phenotypes is not None
    config["phenotypes"] = people.counted(corpus, rows, phenotypes).to_config()
    people.fill(network, corpus, rows, phenotypes, panel)


def _described(recipe: Recipe, corpus: Corpus, layout: DescribedRows) -> Described:
    """The layout of the rows, and the groups to cross within, from the people to learn from."""
    settings = recipe.crossmodal
    if not settings.groups:
        return Described(layout)
    rows = corpus.windows(corpus.learn, np.zeros(len(corpus.learn)), len(layout))
    return Described(layout, Families.of(rows, layout, settings.groups))


def _introduce(classifier: Classifier, described: Described, places: Places) -> None:
    """What a crossmodal network knows of groups without learning: how frequent alleles are among their people."""
    network, panel = classifier.members[0], places.panel
    assert isinstance(network, CrossmodalNetwork)
    assert panel is not None
    if described.families is not None:
        frequency_PS, worth_P = people.group_frequencies(described.families, panel)
        network.dna.evidence.worth.copy_(torch.from_numpy(worth_P))
        network.dna.evidence.frequency.copy_(torch.from_numpy(frequency_PS.T.copy()))
