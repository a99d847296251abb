"""A Manhattan plot of attributions as a page, and the groups of samples that it shows.

The picture has a tip at every point. The groups are those requested, or those that the records suggest.
"""

from collections.abc import Mapping, Sequence

from genomai_cli.errors import UsageError
from genomai_cli.population.alignment.attributions_hdf5 import MeanAttributions
from genomai_cli.population.alignment.manhattan import (
    OTHERS,
    TOP,
    Track,
    site_names,
    split,
    top_sites,
)
from genomai_cli.population.panel import Panel
from genomai_cli.population.phenotypes import PhenotypeTable
from genomai_cli.reports.drawings import inlined
from genomai_cli.reports.page import Page
from genomai_cli.reports.sections import Column, Facts, Notes, Picture, Section, Table
from genomai_cli.reports.wording import counted

MAX_LISTED = 50  # sites of a track's table
PICTURE_CAPTION = (
    "Move the mouse over a point to see its site; the names are those of the largest values."
)
LIMITS = (
    "A site's value says what it adds to the similarity by this model, not what the site does in a body.",
    "Groups are reference samples: similarity to them is neither race nor ethnicity.",
)


def page(
    svg: bytes, panel: Panel, tracks: Sequence[Track], *, title: str, facts: Mapping[str, object]
) -> Page:
    """The picture, with the site at each point, the top sites of every track, and the facts of the run."""
    names = site_names(panel)
    fact_texts = {name: str(value) for name, value in facts.items()}
    sections: list[Section] = [
        Picture("What each site adds", inlined(svg, _tips(tracks, names)), PICTURE_CAPTION),
        _table(tracks, panel, names),
        Facts("How it was made", fact_texts),
        Notes("Limits", LIMITS),
    ]
    return Page(title, "", sections)


def _table(tracks: Sequence[Track], panel: Panel, names: Sequence[str]) -> Table:
    """The top sites of every track."""
    positions = panel.shown_positions.tolist()
    columns = [
        Column("site"),
        Column("of", filtered=True),
        Column(panel.build),
        Column("alleles"),
        Column("mean", number=True, description="mean attribution to the similarity"),
    ]
    rows = [
        (
            names[site],
            track.title,
            f"{panel.chrom[site]}:{positions[site]:,}",
            f"{panel.ref[site]}>{panel.alt[site]}",
            f"{track.values[site]:.5f}",
        )
        for track in tracks
        for site in top_sites(track.values, MAX_LISTED)
    ]
    return Table("Sites that add most", columns, rows, f"At most {MAX_LISTED} of each group.")


def _tips(tracks: Sequence[Track], names: Sequence[str]) -> dict[str, list[str]]:
    """The tips of the picture's points, by the id of their group in it."""
    return {
        f"{kind}-{number}": [f"{names[site]}: {track.values[site]:.5f}" for site in sites]
        for number, track in enumerate(tracks)
        for kind, sites in zip((TOP, OTHERS), split(track.values), strict=True)
    }


MAX_TRACKS = 8  # where no groups are requested
Groups = dict[str, list[int]]
"""The indices of the records that a group's samples are explained for, by the group's name."""


def groups_named(table: PhenotypeTable, categories: Sequence[str], names: Sequence[str]) -> Groups:
    """The groups of these names, each a record's or a label's of a category; UsageError for any other."""
    known = _groups_of_labels(table, categories) | _groups_of_records(table)
    for name in names:
        if name not in known:
            raise UsageError(
                f"--plot-of {name}: neither a record of {table.path} nor a label in it"
            )
    return {name: known[name] for name in names}


def groups_suggested(
    table: PhenotypeTable, categories: Sequence[str], means: MeanAttributions
) -> Groups:
    """By the category with the fewest labels but one, if they are not too many; else the records with most rows."""
    by_category = [_groups_of_labels(table, [name]) for name in categories]
    candidates = [groups for groups in by_category if 1 < len(groups) <= MAX_TRACKS]
    if candidates:
        return min(candidates, key=len)
    order = sorted(range(len(table)), key=lambda record: -int(means.rows[record]))
    return {table.names[record]: [record] for record in order[:MAX_TRACKS]}


def tracks_of(groups: Groups, means: MeanAttributions) -> list[Track]:
    """The groups that have rows, with their mean attributions."""
    rows = {name: int(means.rows[records].sum()) for name, records in groups.items()}
    return [
        Track(f"{name}  ({counted(rows[name], 'sample')})", means.of(records))
        for name, records in groups.items()
        if rows[name]
    ]


def _groups_of_records(table: PhenotypeTable) -> Groups:
    return {name: [number] for number, name in enumerate(table.names)}


def _groups_of_labels(table: PhenotypeTable, categories: Sequence[str]) -> Groups:
    groups: Groups = {}
    for category in categories:
        if category in table.columns:
            for number, label in enumerate(table.column(category)):
                if label is not None:
                    groups.setdefault(label, []).append(number)
    return dict(sorted(groups.items()))
