"""What a recipe for unlabelled DNA needs, and what it may not be given."""

from genomai_cli import tokenizers
from genomai_cli.diffusion.denoisers import Words
from genomai_cli.errors import TrainingError
from genomai_cli.training.recipe import ANCHORED, BARCODE, PEOPLE, Recipe
from genomai_cli.training.unlabelled.places import Places


def require_places(recipe: Recipe, places: Places) -> None:
    """TrainingError unless the places are those that the recipe's input and objectives need."""
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
