"""Which groups of samples a picture of attributions shows: those asked for, or those that the records suggest."""

from collections.abc import Sequence

from genomai_cli.errors import UsageError
from genomai_cli.formats.explanations import Means
from genomai_cli.phenotypes.table import PhenotypeTable
from genomai_cli.reports.manhattan import Track

MOST = 8  # tracks that are shown if nobody asks
Groups = dict[str, list[int]]
"""The numbers of the records that a group's samples are explained for, by the group's name."""


def groups_named(table: PhenotypeTable, categories: Sequence[str], names: Sequence[str]) -> Groups:
    """The groups of these names, each a record's or a label's of a category; UsageError for any other."""
    known = _groups_of_labels(table, categories) | _groups_of_records(table)
    for name in names:
        if name not in known:
            raise UsageError(
                f"--plot-of {name}: neither a record of {table.path} nor a label in it"
            )
    return {name: known[name] for name in names}


def groups_suggested(table: PhenotypeTable, categories: Sequence[str], means: Means) -> Groups:
    """By the category with the fewest labels but one, if they are not too many; else the records with most rows."""
    by_category = [_groups_of_labels(table, [name]) for name in categories]
    few = [groups for groups in by_category if 1 < len(groups) <= MOST]
    if few:
        return min(few, key=len)
    order = sorted(range(len(table)), key=lambda record: -int(means.rows[record]))
    return {table.names[record]: [record] for record in order[:MOST]}


def tracks_of(groups: Groups, means: Means) -> list[Track]:
    """The groups that have rows, with their mean attributions."""
    rows = {name: int(means.rows[records].sum()) for name, records in groups.items()}
    return [
        Track(f"{name}  ({_people(rows[name])})", means.of(records))
        for name, records in groups.items()
        if rows[name]
    ]


def _people(rows: int) -> str:
    return "1 sample" if rows == 1 else f"{rows:,} samples"


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
