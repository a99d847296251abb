"""Pages about tracks: how well a model restores them."""

from collections.abc import Mapping, Sequence

import numpy as np

from genomai_cli.inference.track_evaluation import Row
from genomai_cli.reports.page import Page
from genomai_cli.reports.sections import (
    Column,
    Facts,
    Section,
    Table,
    Tile,
    Tiles,
)

GUESSES = {
    "nothing": "of nothing anywhere",
    "rate": "of each track's rate in the training data",
    "other_tracks": "of the share of the other tracks that is seen there",
    "next_base": "of the base that most often followed the eight before it",
}
MOST_TILES = 5
OF_EVALUATION = (
    "Values are masked at random, and restored. What is visible tells only that the model passes on what it sees; "
    "what is masked, by itself or as a whole track, is what it knows. Intervals are of 95 %, over windows drawn with "
    "replacement."
)


def evaluation_page(rows: Sequence[Row], threshold: float, facts: Mapping[str, str]) -> Page:
    """The page of restored tokens and tracks, beside guesses without a network."""
    columns = [
        Column("part", filtered=True),
        Column("group", filtered=True),
        Column("measure", filtered=True),
        *(Column(name, number=True) for name in ("cases", "model", "low", "high")),
        *(
            Column(name.replace("_", " "), number=True, told=f"the guess {told}")
            for name, told in GUESSES.items()
        ),
    ]
    table = [
        (
            row.part,
            row.group,
            row.measure,
            f"{row.n:,}",
            *map(_number, (row.model, *(row.interval or (np.nan, np.nan)))),
            *(_number(row.guesses.get(name, np.nan)) for name in GUESSES),
        )
        for row in rows
    ]
    masked = [row for row in rows if "masked" in row.group][:MOST_TILES]
    tiles = [Tile(f"{row.measure}, {row.part}, {row.group}", _number(row.model)) for row in masked]
    told = {**facts, "threshold of calls": f"{threshold:.4f}"}
    sections: list[Section] = [
        Tiles(tiles),
        Table("Restored tokens and tracks", columns, table, OF_EVALUATION),
        Facts("How it was made", told),
    ]
    return Page("Restored tokens and tracks of a genome aside", "", sections)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"
