"""Reference haplotypes made into a model: from haplotypes, a panel and a recipe to a config, arrays and what is told.

No network is trained, and nothing here needs torch.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli import registry, tokenizers
from genomai_cli.bundles.writing import new_config
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.card_text import CardText
from genomai_cli.population.labels import HaplotypeRows
from genomai_cli.population.networks import kriging_fit
from genomai_cli.population.networks.haplotype_imputer import (
    KIND,
    HaplotypeImputer,
    ImputerConfig,
    evenly,
    places,
)
from genomai_cli.population.packed_haplotypes import PackedHaplotypes
from genomai_cli.population.panel import Panel
from genomai_cli.records import add_to_digest
from genomai_cli.training.pretraining_report import PretrainedReport
from genomai_cli.training.recipe_tables import from_table

OF_LIBRARY = """

**It holds the {what} of {people} people it was trained on** ({tensors}), by which
`genomai denoise` restores those of others: share it as you would share their data."""
_PURPOSE = """\
It restores the genotypes of others at its sites: `genomai denoise --model DIR`. It has no network, generates nobody and
tells no labels."""
_HELD = {"what": "haplotypes", "tensors": "the tensor `haplotypes.packed`"}
_LIMITS = """\
Variants that no individual of the reference has are never restored, and populations that it lacks less well. The losses
above are of its own individuals, each left out in turn, at hidden genotypes where every tenth site is known."""
# As `diffusion.phenotypes` writes them, which loads torch.
_NO_PHENOTYPES: dict[str, Any] = {"labels": {}, "within": {}, "people": {}}
# Sections of recipes, and `objectives`, of which there are none here.
_OF_TRAINING = {"heads", "objectives", "split", "views", "optimization", "corpus"}.union(
    registry.OBJECTIVES, registry.EVIDENCE
)
_BASELINE = "how frequent genotypes are"
_READ = "All of them are in the model, and nothing was trained by steps."
_METHOD = ", which follows from the records; it has no trainable parameters."
_LEFT_OUT = " of records left out one by one, on which nothing was fitted"


@dataclass(frozen=True)
class ReferenceInput:
    """What is read: two haplotypes of an individual, and nothing else."""

    kind: str = "people"
    haplotypes: bool = True


@dataclass(frozen=True)
class ReferenceRecipe:
    """All settings of a set of reference haplotypes; `network` are those of `ImputerConfig`."""

    name: str
    network: dict[str, Any]
    tokenizer: dict[str, Any]
    description: str = ""
    version: str = "1.0.0"
    input: ReferenceInput = field(default_factory=ReferenceInput)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> "ReferenceRecipe":
        """The recipe of parsed TOML, in which what is about training counts for nothing; ValueError for a key that is
        unknown, missing or of another type, TrainingError for one that asks for objectives."""
        if tables.get("objectives"):
            raise TrainingError(
                f"recipe {tables.get('name')}: filled as it is, without objectives or --model"
            )
        given = from_table(ReferenceInput, tables.get("input", {}), "input.")
        if given != ReferenceInput():
            raise ValueError('reference haplotypes have input.kind = "people", haplotypes = true')
        own = {name: value for name, value in tables.items() if name not in _OF_TRAINING}
        recipe: ReferenceRecipe = from_table(cls, {**own, "input": given}, "")
        if recipe.network.get("kind") != KIND:
            raise ValueError(f"network.kind is {KIND!r}, not {recipe.network.get('kind')!r}")
        return recipe


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model of reference haplotypes: its config, the arrays that it holds by name, and what is told of it."""

    config: dict[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    report: PretrainedReport


def prepare(
    read: PackedHaplotypes, panel: Panel, recipe: ReferenceRecipe, *, seed: int
) -> Prepared:
    """The model that these haplotypes make; what is unknown of them is overwritten.

    Raises TrainingError where individuals are too few, BundleError for a recipe whose sizes contradict each other. The
    `seed` is told, but nothing is drawn by it.
    """
    began = time.monotonic()
    haplotypes = read.with_alleles()
    sizes = {name: value for name, value in recipe.network.items() if name != "kind"}
    most = ImputerConfig.of(sizes).people
    _require_enough(len(haplotypes), most)
    corpus = _about(read, len(haplotypes))
    kept = haplotypes.of(evenly(len(haplotypes), most))
    config = ImputerConfig.of({**sizes, "people": len(kept), "sites": len(panel)})
    imputer = HaplotypeImputer.learnt(config, kept, places(panel))
    losses = imputer.losses(kept)
    told = new_config(
        recipe,
        asdict(recipe.input),
        tokenizers.from_config(recipe.tokenizer).to_config(),
        {"kind": KIND, **asdict(config)},
        members=1,
        heads={},
        library_versions={"numpy": np.__version__},
    )
    facts = {
        "seed": seed,
        "device": "cpu",
        "processes": 1,
        "seconds": round(time.monotonic() - began),
        "corpus": corpus,
        "objectives": {},
        "steps": 0,
        "tokens": 0,
        "held_out": {name: round(own, 4) for name, (own, _) in losses.items()},
        "baseline": {name: round(baseline, 4) for name, (_, baseline) in losses.items()},
        "bits_per_base": {},
    }
    told["provenance"] |= facts
    told["phenotypes"] = _NO_PHENOTYPES
    report = PretrainedReport(told, facts, _card(config, facts), KIND, 0, _READ, _METHOD, _LEFT_OUT)
    return Prepared(told, imputer.arrays, report)


def _require_enough(individuals: int, most: int) -> None:
    """TrainingError where those that there are, or those that are kept, are too few to be left out by turns."""
    if min(individuals, most) < kriging_fit.FEWEST:
        raise TrainingError(
            f"{max(0, min(individuals, most))} individuals are too few for a reference: {kriging_fit.FEWEST} at least"
        )


def _about(read: PackedHaplotypes, used: int) -> dict[str, Any]:
    """How many individuals were read and how many of them used, and the SHA-256 of their names and alleles, as a
    corpus of them has it (`training.corpus.CorpusInfo`)."""
    digest, layout = hashlib.sha256(), HaplotypeRows(read.sites, 0)
    for number, name in enumerate(read.names):
        alleles_2S = read.of(np.array([number])).alleles()[0]
        add_to_digest(digest, name, layout.row(alleles_2S, []).tobytes())
    return {
        "records": len(read),
        "letters": len(read) * len(layout),
        "pieces": used,
        "held_out": 0,
        "by_record": True,
        "sites": len(layout),
        "sha256": digest.hexdigest(),
    }


def _card(config: ImputerConfig, facts: Mapping[str, Any]) -> CardText:
    """What the card says."""
    purpose = _PURPOSE + OF_LIBRARY.format(people=config.people, **_HELD)
    return CardText(purpose, _LIMITS, dict.fromkeys(facts["held_out"], _BASELINE))
