"""Draws the pictures of docs/how-it-works.md: boxes in columns, and arrows between them.

    python docs/images/make_diagrams.py

A picture is a table of columns; a box is a title, a line below it, and what it leads to. Plain SVG, on its own ground,
so that it can be read on light and dark pages; the same tables give the same bytes.
"""

from dataclasses import dataclass
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, ACROSS, DOWN, MARGIN = 184, 46, 60, 18, 16
INK, LINE, GROUND = "#1f2933", "#52606d", "#ffffff"
# A ground for each column, from input to output.
FILLS = ("#e3f2fd", "#e8f5e9", "#fff8e1", "#fce4ec", "#ede7f6")


@dataclass(frozen=True)
class Box:
    """A step: what it is, what happens there, and the titles of the steps that it leads to."""

    title: str
    says: str
    to: tuple[str, ...] = ()


PICTURES = {
    "way-of-data": (
        (
            Box("VCF, BCF, PLINK", "genotypes of samples", ("sites of a panel",)),
            Box("raw data of a test", "genotypes of one person", ("sites of a panel",)),
            Box("mitochondrial DNA", "FASTA or VCF of chrM", ("places of rCRS",)),
            Box("FASTA, FASTQ, table", "DNA of any kind", ("windows",)),
        ),
        (
            Box("sites of a panel", "a letter a site; build, strand", ("tokens",)),
            Box("places of rCRS", "any rotation, either strand", ("tokens",)),
            Box("windows", "overlapping, nothing cut off", ("tokens",)),
        ),
        (Box("tokens", "numbers; what is missing is told", ("network", "evidence")),),
        (
            Box("network", "a vector, or one a token", ("answers", "vectors", "new letters")),
            Box("evidence", "a likelihood or a regression", ("answers",)),
        ),
        (
            Box("answers", "probabilities, flags, fractions"),
            Box("vectors", "HDF5, AnnData, TSV"),
            Box("new letters", "restored, or made up"),
        ),
    ),
    "ancestry-model": (
        (Box("genotypes", "whichever of 24,493 sites", ("likelihood", "regression", "outsiders")),),
        (
            Box("likelihood", "26 populations, four axes", ("fusion",)),
            Box("regression", "ridge, on all genotypes", ("fusion",)),
            Box("outsiders", "how far from all groups", ("flags",)),
        ),
        (Box("fusion", "weights by what is known", ("calibration",)),),
        (
            Box("calibration", "on people held out", ("probabilities",)),
            Box("flags", "NOVEL, LOW_CALL_RATE ...", ("probabilities",)),
        ),
        (Box("probabilities", "super-population, population"),),
    ),
    "sequence-model": (
        (Box("sequences, labels", "near-duplicates together", ("both strands", "one strand")),),
        (
            Box("both strands", "k-mers, convolution", ("race",)),
            Box("one strand", "k-mers, places, convolution", ("race",)),
        ),
        (Box("race", "the first of five folds", ("stacking",)),),
        (Box("stacking", "the winner's parts, weighed", ("classifier",)),),
        (Box("classifier", "calibrated; knows outsiders"),),
    ),
    "generator-model": (
        (
            Box("phenotype", "a population, or a mixture", ("denoiser",)),
            Box("hidden alleles", "all of two haplotypes", ("denoiser",)),
        ),
        (Box("denoiser", "guesses what is hidden", ("some are kept",)),),
        (Box("some are kept", "drawn by their chances", ("again",)),),
        (Box("again", "64 times, until none is hidden", ("a person",)),),
        (Box("a person", "nobody's, at 967 sites"),),
    ),
}


def svg(columns: tuple[tuple[Box, ...], ...]) -> str:
    """The picture of such a table."""
    rows = max(map(len, columns))
    width = len(columns) * (WIDTH + ACROSS) - ACROSS + 2 * MARGIN
    height = rows * (HEIGHT + DOWN) - DOWN + 2 * MARGIN
    places = {
        box.title: (
            MARGIN + column * (WIDTH + ACROSS),
            height / 2 + (row - (len(boxes) - 1) / 2) * (HEIGHT + DOWN) - HEIGHT / 2,
        )
        for column, boxes in enumerate(columns)
        for row, box in enumerate(boxes)
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="10" fill="{GROUND}"/>',
    ]
    for number, boxes in enumerate(columns):
        for box in boxes:
            lines += [_arrow(places[box.title], places[title]) for title in box.to]
            lines += _box(box, places[box.title], FILLS[number % len(FILLS)])
    return "\n".join([*lines, "</svg>"]) + "\n"


def _box(box: Box, place: tuple[float, float], fill: str) -> list[str]:
    left, top = place
    middle = left + WIDTH / 2
    return [
        f'<rect x="{left}" y="{top:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="{LINE}"/>',
        f'<text x="{middle:g}" y="{top + 19:g}" text-anchor="middle" font-size="13" font-weight="bold" '
        f'fill="{INK}">{escape(box.title)}</text>',
        f'<text x="{middle:g}" y="{top + 36:g}" text-anchor="middle" font-size="11" '
        f'fill="{INK}">{escape(box.says)}</text>',
    ]


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """From the right of a box to the left of one in a later column."""
    x, y, to_x, to_y = start[0] + WIDTH, start[1] + HEIGHT / 2, end[0], end[1] + HEIGHT / 2
    half = (x + to_x) / 2
    way = f"M{x:g} {y:g}C{half:g} {y:g} {half:g} {to_y:g} {to_x:g} {to_y:g}"
    return (
        f'<path d="{way}" fill="none" stroke="{LINE}" stroke-width="1.3" marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    for name, columns in PICTURES.items():
        (HERE / f"{name}.svg").write_text(svg(columns))
