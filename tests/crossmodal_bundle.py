"""A handmade model of DNA and phenotypes, without training, so that its answers can be worked out by hand.

Every population has an axis of its own. A site's token points along the axis of a population by the surplus of alleles
that are common in it; the label of a population is its axis, that of a super-population the sum of its populations'.
Layers pass on what they get.
"""

from dataclasses import asdict, replace
from pathlib import Path

import torch
from conftest import POPULATIONS, SITES, common_allele

from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.writing import Extras
from genomai_cli.population.networks.crossmodal import CrossmodalNetwork
from genomai_cli.population.networks.towers import CrossmodalConfig
from genomai_cli.population.phenotypes import Category, Columns, Location

LABELS = list(POPULATIONS)
COLUMNS = Columns(
    (
        Category("superpop", ("NORTH", "SOUTH")),
        Category("pop", tuple(LABELS)),
        Category("sex", ("F", "M")),
    ),
    (),
    Location(),
)
WIDTH = 4  # one axis more than there are populations
BIAS = 5.0  # of samples along the last axis: one without surplus lies there
RECORDS = "record\tsuperpop\tpop\n" + "".join(f"{p}\t{s}\t{p}\n" for p, s in POPULATIONS.items())


def axis(population: str) -> torch.Tensor:
    """The direction of a population."""
    return torch.eye(WIDTH)[LABELS.index(population)]


def handmade_network() -> CrossmodalNetwork:
    """The network, whose attention is random but changes nothing."""
    torch.manual_seed(3)
    columns = COLUMNS.to_config()
    config = CrossmodalConfig(SITES, columns, width=WIDTH, size=WIDTH, heads=2, layers=2)
    network = CrossmodalNetwork(config).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if name.endswith((".out.weight", ".out.bias", "feed.2.weight", "feed.2.bias")):
            parameter.zero_()
    for tower in (network.dna, network.phenotypes):
        tower.out.weight.copy_(torch.eye(WIDTH))
        tower.out.bias.zero_()
    network.dna.out.bias[-1] = BIAS
    network.phenotypes.query.zero_()
    network.dna.gain.fill_(1)
    network.dna.site.zero_()
    network.dna.heterozygote.zero_()
    for site in range(SITES):
        network.dna.allele[site] = sum((2 * common_allele(p, site) - 1) * axis(p) for p in LABELS)
    network.vocabulary.column.zero_()
    network.vocabulary.embeddings.zero_()
    embeddings = {f"pop={p}": axis(p) for p in LABELS}
    for p, parent in POPULATIONS.items():
        embeddings[f"superpop={parent}"] = embeddings.get(f"superpop={parent}", 0) + axis(p)
    for token, vector in embeddings.items():
        network.vocabulary.embeddings[COLUMNS.vocabulary.index(token)] = vector
    return network


def with_phenotypes(folder: Path, target: Path, records: str | None = RECORDS) -> Path:
    """The bundle in `folder` with the handmade network attached, and records of its own, saved as `target`."""
    bundle = bundles.load(str(folder), torch.device("cpu"))
    network = handmade_network()
    config = {name: value for name, value in bundle.config.items() if name != "files"}
    config["companions"] = {"crossmodal": {"kind": "crossmodal", "network": asdict(network.config)}}
    files = {} if records is None else {"phenotypes.tsv": records}
    saved_bundle = replace(bundle, config=config, auxiliary={"crossmodal": network})
    bundles.save(saved_bundle, target, Extras("# handmade\n\nA test.\n", "", files, list(files)))
    return target
