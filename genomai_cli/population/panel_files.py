"""Panels in files: in bundles, as tables, or as the biallelic SNPs of a VCF, with or without samples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genomai_cli.alphabet import BASES
from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError, InputError
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.streams import Input, open_bytes, open_input, text_of
from genomai_cli.formats.variant_alleles import read_alleles
from genomai_cli.population.builds import header_build
from genomai_cli.population.panel import BUILDS, GRCH37, Panel

DEFAULT_PANEL = "ancestry-967"  # the model whose panel a recipe of barcodes has by default


def panel_in(folder: Path, config: Mapping[str, Any]) -> Panel:
    """The panel of the bundle in the folder; BundleError if there is none."""
    file = catalog.file_in(folder, catalog.PANEL)
    if file is None:
        path = folder / catalog.PANEL
        raise BundleError(f"{config.get('name')}: a model of barcodes needs a panel, {path}")
    panel = Panel.read(file)
    sites = config["network"].get("sites", len(panel))
    if sites != len(panel):
        raise BundleError(f"{file}: {len(panel)} sites, where the network has {sites}")
    return panel


def panel_or_default(file: Path | None) -> Panel:
    """The panel in a file, TSV or VCF, or else the default one."""
    if file is None:
        return Panel.read(catalog.panel_of(DEFAULT_PANEL))
    return read_panel(file)


def read_panel(file: Path) -> Panel:
    """The panel in a table, or of the sites of a VCF or BCF."""
    with open_bytes(file) as stream:
        is_table = not stream.read(12).startswith((b"##fileformat", b"BCF"))
    if is_table:
        return Panel.read(file)
    with open_input(file) as source:
        return panel_of_variants(source)


def panel_of_variants(source: Input) -> Panel:
    """The biallelic SNPs of a VCF as a panel, with its first record of each position."""
    file = read_alleles(source)
    sites: dict[tuple[str, int], tuple[str, str]] = {}
    for record in file.records:
        letters = tuple(x.upper() for x in (record.ref, *record.alts))
        if len(letters) == 2 and all(len(x) == 1 and x in BASES for x in letters):
            coordinate = normal_contig(record.contig), record.position
            sites.setdefault(coordinate, (letters[0], letters[1]))
    if not sites:
        raise InputError("no biallelic SNPs to compare samples at", path=source.path)
    build = header_build(map(text_of, file.header)) or GRCH37
    known_positions = np.array([position for _, position in sites], np.int64)
    positions = {
        b: known_positions if b == build else np.zeros_like(known_positions) for b in BUILDS
    }
    refs, alts = zip(*sites.values(), strict=True)
    dots = (".",) * len(sites)
    return Panel(source.path, tuple(c for c, _ in sites), positions, dots, refs, alts, dots)
