"""TODO genomai_cli.population.phenotype_input."""

import numpy as np
import torch

from genomai_cli.backbones.classifier import Classifier
from genomai_cli.inputs.base import Places
from genomai_cli.population import haplotype_input
from genomai_cli.population.networks.crossmodal import CrossmodalNetwork
from genomai_cli.population.phenotype_encoding import Described, DescribedRows, Families
from genomai_cli.training.corpus import Corpus
from genomai_cli.training.recipe import Recipe


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
    if described.groups is not None:
        frequency_PS, worth_P = haplotype_input.group_frequencies(described.groups, panel)
        network.dna.evidence.worth.copy_(torch.from_numpy(worth_P))
        network.dna.evidence.frequency.copy_(torch.from_numpy(frequency_PS.T.copy()))
