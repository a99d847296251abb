"""Panels and references of the installed models, by which records are read; and the default models."""

from contextlib import suppress
from pathlib import Path

from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError, GenomaiError
from genomai_cli.mapping.reference import Reference
from genomai_cli.population.panel import Panel
from genomai_cli.population.panel_files import read_panel

DEFAULT_MODEL = "ancestry"
DEFAULT_ALIGNER = "ancestry-967"  # whose second network has the space of phenotype records
DEFAULT_DNA_MODEL = "kmers"  # embeds sequences that are not genotypes of people
DNA_ENCODER = "dna-encoder"  # has likelihoods of DNA: to be named, never taken by default
DEFAULT_GENERATOR = "ancestry-generator"
PREFERRED_REFERENCE_MODEL = "mito"  # where several models have the same reference


def installed_panels() -> dict[str, Panel]:
    """The panels of the installed models: barcodes of any of them can be read where they suffice."""
    panels = {}
    for name in catalog.names():
        with suppress(GenomaiError):  # another model than the one in use may be damaged
            panels[name] = Panel.read(catalog.panel_of(name))
    return panels


def installed_references() -> dict[str, Reference]:
    """The references of the installed models that have heads, by the model's name."""
    references = {}
    for name in sorted(catalog.names(), key=lambda name: (name != PREFERRED_REFERENCE_MODEL, name)):
        with suppress(GenomaiError):
            folder = catalog.find(name)
            file = catalog.file_in(folder, catalog.REFERENCE)
            if file is not None and catalog.read_config(folder).get("heads"):
                references[name] = Reference.read(file)
    return references


def panel_of(file: Path | None, model: str | None, default: str = DEFAULT_MODEL) -> Panel:
    """The panel in a file, else that of the model, else that of the default one."""
    if file is not None:
        return read_panel(file)
    name = model or default
    return Panel.read(catalog.panel_of(name), name=Path(name).name)


def reference_of(model: str | None) -> Reference | None:
    """The reference of a model of mapped genomes, None for other models."""
    with suppress(BundleError):  # a panel may be there without a model
        file = catalog.file_in(catalog.find(model or DEFAULT_MODEL), catalog.REFERENCE)
        return Reference.read(file) if file else None
    return None
