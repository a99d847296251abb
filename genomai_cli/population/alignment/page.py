"""A Manhattan plot of attributions as an HTML page that stands alone, and the groups of samples that it shows.

The page opens without a network and has a tip at every point. The groups are those requested, or those that the
records suggest.
"""

from collections.abc import Mapping, Sequence
from html import escape as html_escape
from xml.etree import ElementTree

from genomai_cli.errors import UsageError
from genomai_cli.names import printable
from genomai_cli.population.alignment.attributions_hdf5 import Means
from genomai_cli.population.alignment.manhattan import (
    OTHERS,
    TOP,
    Track,
    site_names,
    split,
    top_sites,
)
from genomai_cli.population.panel import BUILDS, Panel
from genomai_cli.population.phenotypes import PhenotypeTable

CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # nothing runs, nothing is fetched
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
LISTED = 20  # sites of a track's table
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #333; background: #fff;
       max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
svg { width: 100%; height: auto; } svg use:hover { stroke: #c8442e; stroke-width: 3; cursor: default; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin: 0 0 .3rem; }
.tables { display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1.5rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .1rem .6rem .1rem 0; border-bottom: 1px solid #ddd; }
td:first-child { white-space: nowrap; } td:last-child, th:last-child { text-align: right; padding-right: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; font-size: .85rem; }
dt { color: #777; } dd { margin: 0; overflow-wrap: anywhere; }
"""


def page(
    svg: bytes, panel: Panel, tracks: Sequence[Track], *, title: str, facts: Mapping[str, object]
) -> bytes:
    """HTML with the picture, whose points tell their site, the top sites of every track, and the facts of the run."""
    names = site_names(panel)
    tables = "\n".join(_table(track, panel, names) for track in tracks)
    described = "\n".join(
        f"<dt>{escape(n)}</dt><dd>{escape(str(v))}</dd>" for n, v in facts.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{_with_tips(svg, tracks, names)}
<div class="tables">
{tables}
</div>
<h2>How it was made</h2>
<dl>
{described}
</dl>
</body>
</html>
""".encode()


def escape(text: str) -> str:
    """Text in HTML."""
    return html_escape(printable(text))


def _table(track: Track, panel: Panel, names: Sequence[str]) -> str:
    positions = panel.positions[BUILDS[0]].tolist()
    rows = "\n".join(
        f"<tr><td>{escape(names[site])}</td><td>{escape(panel.chrom[site])}:{positions[site]:,}</td>"
        f"<td>{panel.ref[site]}&gt;{panel.alt[site]}</td><td>{track.values[site]:.5f}</td></tr>"
        for site in top_sites(track.values, LISTED)
    )
    head = f"<tr><th>site</th><th>{BUILDS[0]}</th><th>alleles</th><th>mean</th></tr>"
    return f"<section><h2>{escape(track.title)}</h2>\n<table>\n{head}\n{rows}\n</table></section>"


def _with_tips(svg: bytes, tracks: Sequence[Track], names: Sequence[str]) -> str:
    """The picture as an element of a page; every point has a <title>, which browsers show under the mouse."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)
    for number, track in enumerate(tracks):
        for kind, sites in zip((TOP, OTHERS), split(track.values), strict=True):
            points = root.findall(f".//{{{SVG}}}g[@id='{kind}-{number}']//{{{SVG}}}use")
            for point, site in zip(points, sites, strict=True):
                tip = ElementTree.SubElement(point, f"{{{SVG}}}title")
                tip.text = f"{printable(names[site])}: {track.values[site]:.5f}"
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    return ElementTree.tostring(root, encoding="unicode")


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


def groups_suggested(table: PhenotypeTable, categories: Sequence[str], means: Means) -> Groups:
    """By the category with the fewest labels but one, if they are not too many; else the records with most rows."""
    by_category = [_groups_of_labels(table, [name]) for name in categories]
    few = [groups for groups in by_category if 1 < len(groups) <= MAX_TRACKS]
    if few:
        return min(few, key=len)
    order = sorted(range(len(table)), key=lambda record: -int(means.rows[record]))
    return {table.names[record]: [record] for record in order[:MAX_TRACKS]}


def tracks_of(groups: Groups, means: Means) -> list[Track]:
    """The groups that have rows, with their mean attributions."""
    rows = {name: int(means.rows[records].sum()) for name, records in groups.items()}
    return [
        Track(f"{name}  ({_count(rows[name])})", means.of(records))
        for name, records in groups.items()
        if rows[name]
    ]


def _count(rows: int) -> str:
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
