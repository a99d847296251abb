"""The options of `genomai pretrain`: objectives and recipe, and how records are read."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.corpus import (
    CAUSAL_PRESET,
    COVERAGE_PRESET,
    DNA_DIFFUSION_PRESET,
    INDIVIDUALS_PRESET,
    OMICS_PRESET,
    PHENOTYPES_PRESET,
    SEQUENCES_PRESET,
    VARIANTS_PRESET,
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
        f"{VARIANTS_PRESET} for VCF, {SEQUENCES_PRESET} for FASTA; for crossmodal {PHENOTYPES_PRESET}, for diffusion "
        f"{INDIVIDUALS_PRESET}, or {DNA_DIFFUSION_PRESET} for FASTA but that of haplotypes; for causal {CAUSAL_PRESET}"
        f"; for omics {OMICS_PRESET}; for tracks {COVERAGE_PRESET}"
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
    """The purpose of a model that needs no network."""

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
    """The objectives, the recipe, and what is known besides the DNA."""

    objective: Objectives = None
    purpose: Purpose = None
    labels: Labels = None
    phenotypes: Phenotypes = None
    tracks: Tracks = None
    recipe: RecipeName = None
    changes: Changes = None

    @property
    def recipe_changes(self) -> list[str]:
        """The changes of the recipe, the objectives among them."""
        return [*(self.changes or []), *_objectives(self.objective)]

    @property
    def recipe_name(self) -> str | None:
        """The recipe that is named; UsageError for another one together with --for."""
        if self.purpose is not None and (self.recipe or self.objective):
            conflicting = "--recipe" if self.recipe else "--objective"
            raise UsageError(f"--for {self.purpose} is a recipe of its own: no {conflicting}")
        return self.recipe or self.purpose

    def read(self, input_preset: str, panel: Path | None) -> "tuple[Recipe, str]":
        """The recipe, `input_preset` or the objective's own if none is asked for, as it is and as text."""
        from genomai_cli.training import recipe as recipes

        default = _preset(input_preset, self.objective, has_panel=panel is not None)
        return recipes.read(self.recipe_name or default, self.recipe_changes)


@dataclass(eq=False, repr=False)
class ReadingOptions(VariantOptions):
    """How records are read: at sites, along a reference, or as by the model to begin from."""

    panel: TrainingPanel = None
    reference: ReferenceFile = None
    regions: Regions = None
    model: Start = None


def _objectives(text: str | None) -> list[str]:
    """`--objective` as a change of the recipe."""
    if text is None:
        return []
    from genomai_cli.objectives.base import check_objective

    weights = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition(":")
        try:
            weights[name] = float(weight or 1)
            check_objective(name, weights[name])
        except ValueError as error:
            raise UsageError(f"--objective {text}: {error}") from error
    return [
        "objectives={"
        + ", ".join(f"{objective} = {value}" for objective, value in weights.items())
        + "}"
    ]


def _preset(input_preset: str, objective: str | None, *, has_panel: bool) -> str:
    """The recipe where none is named: that of the objective if it has its own, else the one for the kind of input.

    Diffusion of sequences is that of DNA, unless their names or a panel say that they are haplotypes.
    """
    names = [part.partition(":")[0].strip() for part in (objective or "").split(",")]
    is_dna = input_preset == SEQUENCES_PRESET and not has_panel
    preset_of_objective = {
        "diffusion": DNA_DIFFUSION_PRESET if is_dna else INDIVIDUALS_PRESET,
        "crossmodal": PHENOTYPES_PRESET,
        "causal": CAUSAL_PRESET,
        "omics": OMICS_PRESET,
        "tracks": COVERAGE_PRESET,
    }
    return next(
        (preset_of_objective[name] for name in names if name in preset_of_objective), input_preset
    )
