"""The model that a recipe describes, before it has learnt anything from an unlabelled corpus.

Shape suffixes: A letters that are counted, S sites, W words.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genomai_cli import __version__, tokenizers
from genomai_cli.anchoring.reference import Reference
from genomai_cli.anchoring.sites import VariableSites
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.diffusion.denoisers import Words
from genomai_cli.errors import TrainingError
from genomai_cli.nets.classifier import Classifier, complete_config
from genomai_cli.nets.crossmodal import CrossmodalNetwork
from genomai_cli.nets.denoiser import PeopleNetwork
from genomai_cli.nets.profile import ProfileNetwork, known_variants
from genomai_cli.nets.sites import SitesNetwork
from genomai_cli.objectives.base import Alphabet
from genomai_cli.panels.barcode import letters_to_genotypes
from genomai_cli.panels.linkage import linked_pairs
from genomai_cli.panels.panel import Panel
from genomai_cli.panels.people import PersonRows
from genomai_cli.panels.phenotypes import Phenotypes
from genomai_cli.phenotypes.columns import Columns
from genomai_cli.phenotypes.families import Described, Families
from genomai_cli.phenotypes.rows import DescribedRows
from genomai_cli.training import people
from genomai_cli.training.census import variants_of
from genomai_cli.training.corpus import COUNTED, Corpus
from genomai_cli.training.lineages import Lineages
from genomai_cli.training.recipe import ANCHORED, BARCODE, PEOPLE, Recipe
from genomai_cli.training.styles import lineages_of

Tables = dict[str, Any]


@dataclass(frozen=True)
class Places:
    """What the letters of a row stand for: the sites of a panel, or those of a reference that are read.

    Of a reference the corpus holds whole genomes; where `sites` are not given, they follow from the corpus. With
    `phenotypes`, which may be none, a row is a person; with `columns`, a person's barcode and phenotype record.
    """

    panel: Panel | None = None
    reference: Reference | None = None
    sites: VariableSites | None = None
    phenotypes: Phenotypes | None = None
    columns: Columns | None = None

    @property
    def people(self) -> PersonRows | None:
        """How the rows hold people, if they do."""
        if self.panel is None or self.phenotypes is None:
            return None
        return PersonRows(len(self.panel), len(self.phenotypes.labels))

    @property
    def described(self) -> DescribedRows | None:
        """How the rows hold people with phenotype records, if they do."""
        if self.panel is None or self.columns is None:
            return None
        return DescribedRows(len(self.panel), self.columns)

    @property
    def row(self) -> int | None:
        """How many letters a record of the corpus has; None for sequences of any length."""
        if self.people is not None:
            return len(self.people)
        if self.described is not None:
            return len(self.described)
        if self.panel is not None:
            return len(self.panel)
        return len(self.reference) if self.reference is not None else None


NOWHERE = Places()


def untrained(recipe: Recipe, corpus: Corpus, places: Places) -> tuple[Bundle, Corpus, Alphabet]:
    """A bundle without heads whose networks have no values yet, the corpus as they read it, and its letters.

    Raises TrainingError where the places are missing or not for this kind of input.
    """
    _require_places(recipe, places)
    tokenizer = tokenizers.from_config(recipe.tokenizer)
    sites = places.sites
    if places.reference is not None:
        assert corpus.counts is not None
        sites = sites or VariableSites.of(
            corpus.counts[:, :4], places.reference, recipe.input.fewest
        )
        if not len(sites):
            raise TrainingError("the genomes differ nowhere: there is nothing to learn from")
        corpus = corpus.at(sites.positions)
    grown = _grown(recipe, corpus, places, sites)
    config = {
        "name": recipe.name,
        "version": recipe.version,
        "description": recipe.description,
        "input": {"kind": recipe.input.kind, "haplotypes": recipe.input.haplotypes},
        "tokenizer": tokenizer.to_config(),
        "network": complete_config(
            dict(recipe.network)
            | (grown.sizes() if grown else _sizes(recipe, corpus, places, sites))
        ),
        "members": 1,
        "heads": {},
        "provenance": {
            "program": f"genomai {__version__}",
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        },
    }
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


def _require_places(recipe: Recipe, places: Places) -> None:
    kind = recipe.input.kind
    if kind == PEOPLE and set(recipe.objectives) != {"diffusion"}:
        raise TrainingError(f"recipe {recipe.name}: people are learnt from by diffusion alone")
    if "diffusion" in recipe.objectives:
        _require_diffusion(recipe)
    _require_columns(recipe, places)
    given = (places.panel is not None, places.reference is not None)
    if given != (kind in (BARCODE, PEOPLE), kind == ANCHORED):
        raise TrainingError(
            f"recipe {recipe.name}: barcodes need a panel, anchored genomes a reference, sequences neither"
        )
    best = recipe.input.best_sites
    if best is not None and places.panel is not None and best < len(places.panel):
        raise TrainingError(
            f"input.best_sites = {best} of {len(places.panel)} sites are chosen by labels, of which there "
            "are none here: give a --panel of so many sites"
        )
    if kind == ANCHORED and recipe.network["kind"] not in ("profile", "lineages"):
        raise TrainingError(
            f"recipe {recipe.name}: anchored genomes need a network of kind profile or lineages"
        )


def _require_columns(recipe: Recipe, places: Places) -> None:
    if {places.columns is None} != {name != "crossmodal" for name in recipe.objectives}:
        raise TrainingError(
            f"recipe {recipe.name}: the objective crossmodal needs phenotypes, and is the only one that does"
        )
    if (recipe.network["kind"] == "crossmodal") != (places.columns is not None):
        raise TrainingError(
            f"recipe {recipe.name}: the objective crossmodal is the one for networks of kind crossmodal"
        )
    groups = recipe.crossmodal.groups
    if places.columns is not None and groups:
        names = [category.name for category in places.columns.categories]
        if groups not in names:
            there = ", ".join(names) or "none"
            raise TrainingError(f"crossmodal.groups: no category {groups!r} (there are: {there})")


def _require_diffusion(recipe: Recipe) -> None:
    doubting = "denoiser" if recipe.input.kind == PEOPLE else "transformer"
    if recipe.input.kind != PEOPLE:
        try:
            Words.of(tokenizers.from_config(recipe.tokenizer))
        except ValueError as error:
            raise TrainingError(f"recipe {recipe.name}: {error}") from error
    kernel, _ = recipe.diffusion.process
    if kernel.doubts and recipe.network["kind"] != doubting:
        raise TrainingError(
            f"recipe {recipe.name}: diffusion.kernel = {kernel.name!r} needs a network of kind {doubting}"
        )


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
        known = known_variants(torch.from_numpy(sites.counts), recipe.input.fewest)
        return {"sites": len(sites), "variants": int(known.sum())}
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
    vocabulary = tokenizers.from_config(config["tokenizer"]).vocabulary
    words = [ord(word) if len(word) == 1 else ord("N") for word in vocabulary]
    classifier.genotypes.table.copy_(torch.from_numpy(_copies(words, panel).T.copy()))
    if isinstance(network, SitesNetwork | CrossmodalNetwork):
        copies_AS = _copies(list(COUNTED), panel)
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


def _copies(letters: list[int], panel: Panel) -> Any:
    """The copies of the alternate allele (letters, S) that each letter means at each site."""
    rows = np.tile(np.array(letters, np.uint8)[:, None], (1, len(panel)))
    return letters_to_genotypes(rows, panel)
