"""The options of `genomai pretrain`: what is learnt, how, and by what records are read."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.corpus import (
    FOR_COVERAGE,
    FOR_DESCRIBED,
    FOR_DNA,
    FOR_NEXT,
    FOR_PEOPLE,
    FOR_SEQUENCES,
    FOR_TRACKS,
    FOR_VARIANTS,
)
from genomai_cli.cli.options import VariantOptions, join_choices, model_option, report_option
from genomai_cli.cli.training_options import Changes, TrainingPanel, recipe_option
from genomai_cli.errors import UsageError
from genomai_cli.registry import OBJECTIVES

if TYPE_CHECKING:
    from genomai_cli.training.recipe import Recipe

RecipeName = Annotated[
    str | None,
    recipe_option(
        f"{FOR_VARIANTS} for VCF, {FOR_SEQUENCES} for FASTA; for crossmodal {FOR_DESCRIBED}, for diffusion "
        f"{FOR_PEOPLE}, or {FOR_DNA} for FASTA but that of haplotypes; for causal {FOR_NEXT}; for omics {FOR_TRACKS}; "
        f"for tracks {FOR_COVERAGE}"
    ),
]
Objectives = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="NAME[:WEIGHT],...",
        help=f"What to train by: {join_choices(OBJECTIVES)}; several are weighted together.  [default: the recipe's]",
        show_default=False,
    ),
]


class PurposeName(StrEnum):
    """What a model is for that needs no network."""

    IMPUTATION = "imputation"


Purpose = Annotated[
    PurposeName | None,
    typer.Option(
        "--for",
        metavar="imputation",
        help="Train no network: keep the haplotypes of the samples, by which `denoise` restores the genotypes of "
        "others (the recipe imputation). The sites are those of the first file, unless there is a --panel.",
        show_default=False,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="TSV",
        help="With diffusion: the phenotypes of people, or the labels of sequences, in the columns that the recipe "
        "names from coarse to fine (all of them if it names none).",
        show_default=False,
    ),
]
Phenotypes = Annotated[
    Path | None,
    typer.Option(
        "--phenotypes",
        metavar="TSV",
        help="With crossmodal, or diffusion of people: what is known of each sample, in columns of labels, numbers, "
        "latitude and longitude.",
        show_default=False,
    ),
]

Tracks = Annotated[
    Path | None,
    typer.Option(
        "--tracks",
        metavar="TSV|BED",
        help="With omics or tracks: those over --reference, a table of their files or a BED that names one a line.",
        show_default=False,
    ),
]

ReferenceFile = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FASTA",
        help="The genome that tracks lie over; or of a VCF whose samples are read as haplotype sequences, with "
        "--regions; or what the recipe's genomes are mapped to.",
        show_default=False,
    ),
]
Regions = Annotated[
    Path | None,
    typer.Option(
        "--regions",
        metavar="BED",
        help="The regions of the haplotype sequences, or of the reference that is trained on.",
        show_default=False,
    ),
]
Start = Annotated[
    str | None,
    model_option(
        "Begin with the network of this model instead of from scratch. With crossmodal, any model of genotypes "
        "is kept as it is, and the new network put beside its own."
    ),
]
Shard = Annotated[
    bool,
    typer.Option("--shard", help="Share the network out among torchrun's processes (FSDP)."),
]


ReportFile = Annotated[
    Path | None, report_option("held-out losses beside those without a network, losses by step")
]


@dataclass(eq=False, repr=False)
class LearningOptions:
    """What is learnt, how, and what is told beside the DNA."""

    objective: Objectives = None
    purpose: Purpose = None
    labels: Labels = None
    phenotypes: Phenotypes = None
    tracks: Tracks = None
    recipe: RecipeName = None
    changes: Changes = None

    @property
    def wanted(self) -> list[str]:
        """The changes of the recipe, the objectives among them."""
        return [*(self.changes or []), *_objectives(self.objective)]

    @property
    def named(self) -> str | None:
        """The recipe that is asked for by name; UsageError for another one beside --for."""
        if self.purpose is not None and (self.recipe or self.objective):
            other = "--recipe" if self.recipe else "--objective"
            raise UsageError(f"--for {self.purpose} is a recipe of its own: no {other}")
        return self.recipe or self.purpose

    def read(self, for_input: str, panel: Path | None) -> "tuple[Recipe, str]":
        """The recipe, `for_input` or the objective's own if none is asked for, as it is and as text."""
        from genomai_cli.training import recipe as recipes

        fits = _preset(for_input, self.objective, of_people=panel is not None)
        return recipes.read(self.named or fits, self.wanted)


@dataclass(eq=False, repr=False)
class ReadingOptions(VariantOptions):
    """What records are read by: sites, a reference, or what the model to begin from has."""

    panel: TrainingPanel = None
    reference: ReferenceFile = None
    regions: Regions = None
    model: Start = None


def _objectives(given: str | None) -> list[str]:
    """`--objective` as a change of the recipe."""
    if given is None:
        return []
    from genomai_cli.objectives.base import check_objective

    weights = {}
    for part in given.split(","):
        name, _, weight = part.strip().partition(":")
        try:
            weights[name] = float(weight or 1)
            check_objective(name, weights[name])
        except ValueError as error:
            raise UsageError(f"--objective {given}: {error}") from error
    return ["objectives={" + ", ".join(f"{n} = {w}" for n, w in weights.items()) + "}"]


def _preset(for_input: str, objective: str | None, *, of_people: bool) -> str:
    """The recipe where none is named: that of the objective if it has its own, else the one for the kind of input.

    Diffusion of sequences is that of DNA, unless their names or a panel say that they are people.
    """
    names = [part.partition(":")[0].strip() for part in (objective or "").split(",")]
    of_dna = for_input == FOR_SEQUENCES and not of_people
    own = {
        "diffusion": FOR_DNA if of_dna else FOR_PEOPLE,
        "crossmodal": FOR_DESCRIBED,
        "causal": FOR_NEXT,
        "omics": FOR_TRACKS,
        "tracks": FOR_COVERAGE,
    }
    return next((own[name] for name in names if name in own), for_input)
