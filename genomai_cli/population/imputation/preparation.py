"""Reference haplotypes made into a model: from haplotypes, a panel and a recipe to a config, arrays and a report.

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
from genomai_cli.population.haplotype_rows import HaplotypeRows
from genomai_cli.population.networks import kriging_fit
from genomai_cli.population.networks.haplotype_imputer import (
    KIND,
    HaplotypeImputer,
    ImputerConfig,
    evenly_spaced,
    linear_positions,
)
from genomai_cli.population.packed_haplotypes import PackedHaplotypes
from genomai_cli.population.panel import Panel
from genomai_cli.records import add_to_digest
from genomai_cli.training.pretraining_report import PretrainedReport
from genomai_cli.training.recipe_tables import from_table

PRIVACY_NOTE = """

**It holds the {what} of {people} people it was trained on** ({tensors}), by which
`genomai denoise` restores those of others: share it as you would share their data."""
_PURPOSE = """\
It restores the genotypes of others at its sites: `genomai denoise --model DIR`. It has no network, generates nobody and
tells no labels."""
_HAPLOTYPES = {"what": "haplotypes", "tensors": "the tensor `haplotypes.packed`"}
_LIMITS = """\
Variants that no individual of the reference has are never restored, and populations that it lacks less well. The losses
above are of its own individuals, each left out in turn, at hidden genotypes where every tenth site is known."""
# As `diffusion.phenotypes` writes them, which loads torch.
_NO_PHENOTYPES: dict[str, Any] = {"labels": {}, "within": {}, "people": {}}
# Sections of recipes, and `objectives`, of which there are none here.
_TRAINING_SECTIONS = {"heads", "objectives", "split", "views", "optimization", "corpus"}.union(
    registry.OBJECTIVES, registry.EVIDENCE
)
_BASELINE = "how frequent genotypes are"
_READ = "All of them are in the model, and nothing was trained by steps."
_METHOD = ", which follows from the records; it has no trainable parameters."
_LEFT_OUT = " of records left out one by one, on which nothing was fitted"


@dataclass(frozen=True)
class ReferenceInput:
    """Settings of the input, both haplotypes of individuals; no others are possible."""

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
        """The recipe of parsed TOML; sections about training are ignored. ValueError for a key that is unknown, missing
        or of another type, TrainingError for a recipe with objectives."""
        if tables.get("objectives"):
            raise TrainingError(
                f"recipe {tables.get('name')}: filled as it is, without objectives or --model"
            )
        input_settings = from_table(ReferenceInput, tables.get("input", {}), "input.")
        if input_settings != ReferenceInput():
            raise ValueError('reference haplotypes have input.kind = "people", haplotypes = true')
        own_tables = {
            name: value for name, value in tables.items() if name not in _TRAINING_SECTIONS
        }
        recipe: ReferenceRecipe = from_table(cls, {**own_tables, "input": input_settings}, "")
        if recipe.network.get("kind") != KIND:
            raise ValueError(f"network.kind is {KIND!r}, not {recipe.network.get('kind')!r}")
        return recipe


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model of reference haplotypes: its config, its arrays by name, and the report on it."""

    config: dict[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    report: PretrainedReport


def prepare(
    packed: PackedHaplotypes, panel: Panel, recipe: ReferenceRecipe, *, seed: int
) -> Prepared:
    """The model of these haplotypes; unknown alleles are overwritten in them.

    Raises TrainingError where individuals are too few, BundleError for a recipe whose sizes contradict each other. The
    `seed` is recorded, but nothing is drawn by it.
    """
    start = time.monotonic()
    haplotypes = packed.with_alleles()
    sizes = {name: value for name, value in recipe.network.items() if name != "kind"}
    max_individuals = ImputerConfig.of(sizes).people
    _require_enough(len(haplotypes), max_individuals)
    corpus = _corpus_facts(packed, len(haplotypes))
    reference = haplotypes.of(evenly_spaced(len(haplotypes), max_individuals))
    config = ImputerConfig.of({**sizes, "people": len(reference), "sites": len(panel)})
    imputer = HaplotypeImputer.fitted(config, reference, linear_positions(panel))
    losses = imputer.losses(reference)
    config_dict = new_config(
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
        "seconds": round(time.monotonic() - start),
        "corpus": corpus,
        "objectives": {},
        "steps": 0,
        "tokens": 0,
        "held_out": {name: round(loss, 4) for name, (loss, _) in losses.items()},
        "baseline": {name: round(baseline, 4) for name, (_, baseline) in losses.items()},
        "bits_per_base": {},
    }
    config_dict["provenance"] |= facts
    config_dict["phenotypes"] = _NO_PHENOTYPES
    report = PretrainedReport(
        config_dict, facts, _card(config, facts), KIND, 0, _READ, _METHOD, _LEFT_OUT
    )
    return Prepared(config_dict, imputer.arrays, report)


def _require_enough(individuals: int, max_individuals: int) -> None:
    """TrainingError where the individuals, or those that the recipe keeps, are too few to be left out in turn."""
    if min(individuals, max_individuals) < kriging_fit.MIN_INDIVIDUALS:
        raise TrainingError(
            f"{max(0, min(individuals, max_individuals))} individuals are too few for a reference: "
            f"{kriging_fit.MIN_INDIVIDUALS} at least"
        )


def _corpus_facts(packed: PackedHaplotypes, used: int) -> dict[str, Any]:
    """The numbers of individuals that were read and used, and the SHA-256 of their names and alleles, as for a corpus
    (`training.corpus.CorpusInfo`)."""
    digest, layout = hashlib.sha256(), HaplotypeRows(packed.sites, 0)
    for number, name in enumerate(packed.names):
        alleles_2S = packed.of(np.array([number])).alleles()[0]
        add_to_digest(digest, name, layout.row(alleles_2S, []).tobytes())
    return {
        "records": len(packed),
        "letters": len(packed) * len(layout),
        "pieces": used,
        "held_out": 0,
        "by_record": True,
        "sites": len(layout),
        "sha256": digest.hexdigest(),
    }


def _card(config: ImputerConfig, facts: Mapping[str, Any]) -> CardText:
    """The text of the card."""
    purpose = _PURPOSE + PRIVACY_NOTE.format(people=config.people, **_HAPLOTYPES)
    return CardText(purpose, _LIMITS, dict.fromkeys(facts["held_out"], _BASELINE))
