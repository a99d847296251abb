"""`genomai align --attention` and `--plot`: explanations of the samples that pass, as HDF5 and as a picture."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.run import Run
from genomai_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.population.alignment.attributions_hdf5 import ExplanationFile, MeanAttributions
    from genomai_cli.population.alignment.manhattan import Track
    from genomai_cli.population.alignment.similarity import Aligned, Aligner

TITLE = "What makes samples similar to their phenotype, site by site"
UNIT = "mean attribution to the similarity"
HTML = ".html"
PICTURES = (".png", ".svg", HTML)
AttentionFile = Annotated[
    Path | None,
    typer.Option(
        "--attention",
        metavar="FILE",
        help="Write what each site adds to the similarities, and where attention goes, as HDF5.",
        show_default=False,
    ),
]
PlotFile = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw what each site adds: .png, .svg, or .html, which stands alone.",
        show_default=False,
    ),
]
PlotOf = Annotated[
    list[str] | None,
    typer.Option(
        "--plot-of",
        metavar="NAME",
        help="A record or a label to draw a track for; may be repeated.  [default: those of the coarsest column]",
        show_default=False,
    ),
]


@dataclass(eq=False, repr=False)
class Explanations:
    """The files of explanations to write, and the groups that the picture is to show."""

    attention: AttentionFile = None
    plot: PlotFile = None
    plot_of: PlotOf = None

    def __bool__(self) -> bool:
        return self.attention is not None or self.plot is not None

    def check(self) -> None:
        """UsageError for a picture of another kind, and for groups without a picture."""
        if self.plot is not None and self.plot.suffix not in PICTURES:
            kinds = ", ".join(PICTURES)
            raise UsageError(f"--plot {self.plot}: the name tells the kind, {kinds}")
        if self.plot_of and self.plot is None:
            raise UsageError("--plot-of is for --plot")


def explain_passing(
    run: Run,
    explanations: Explanations,
    aligner: "Aligner",
    aligned: "Iterable[Aligned]",
    records_of: "Callable[[Aligned], Iterable[int]] | None",
    stack: ExitStack,
) -> "Iterator[Aligned]":
    """The same samples, explained as they pass; the files are complete when all have, and appear as the stack closes.

    `records_of` gives the records that a sample is explained for; by default it is the most similar one.
    """
    from genomai_cli.population.alignment.attributions_hdf5 import MeanAttributions
    from genomai_cli.population.alignment.similarity import Explainer, best_record

    means = MeanAttributions(len(aligner.table), len(aligner.panel))
    file = (
        None
        if explanations.attention is None
        else _explanation_file(explanations.attention, aligner, stack)
    )
    receivers = [means.add] if file is None else [means.add, file.add]
    write_picture = (
        None
        if explanations.plot is None
        else _picture_writer(run, explanations, explanations.plot, aligner, stack)
    )
    explainer = Explainer(aligner, records_of or best_record, receivers)
    for sample in aligned:
        explainer.add(sample)
        yield sample
    explainer.flush()
    run.note(explained=explainer.rows)
    if file is not None:
        file.add_means(means)
    if write_picture is not None:
        write_picture(means)


def _explanation_file(path: Path, aligner: "Aligner", stack: ExitStack) -> "ExplanationFile":
    """An HDF5 file that holds what is the same for all samples."""
    from genomai_cli.formats.outputs import atomic_output
    from genomai_cli.population.alignment.attributions_hdf5 import ExplanationFile

    out = stack.enter_context(atomic_output(path))
    attention, attributes = aligner.attention(), aligner.attributes
    file = ExplanationFile(out, aligner.panel, aligner.table, attention, attributes)
    return stack.enter_context(file)


def _picture_writer(
    run: Run, explanations: Explanations, path: Path, aligner: "Aligner", stack: ExitStack
) -> "Callable[[MeanAttributions], None]":
    """The function that draws the picture at the end; groups and file are checked now, before the work."""
    from genomai_cli.formats.outputs import atomic_output
    from genomai_cli.population.alignment.page import groups_named, groups_suggested, tracks_of

    table, categories = aligner.table, aligner.categories
    named_groups = groups_named(table, categories, explanations.plot_of or [])
    out = stack.enter_context(atomic_output(path))

    def write_picture(means: "MeanAttributions") -> None:
        groups = named_groups or groups_suggested(table, categories, means)
        tracks = tracks_of(groups, means)
        if not tracks:
            raise InputError("no sample is explained for what is to be drawn", path=path)
        if len(tracks) < len(groups) and named_groups:
            run.console.warn(f"{len(groups) - len(tracks)} of the groups have no sample: not drawn")
        out.write(_picture(run, path.suffix, tracks, aligner))

    return write_picture


def _picture(run: Run, suffix: str, tracks: "list[Track]", aligner: "Aligner") -> bytes:
    from genomai_cli.population.alignment.manhattan import manhattan, picture
    from genomai_cli.population.alignment.page import page
    from genomai_cli.reports.page import rendered

    title = f"{TITLE} ({aligner.bundle.name} {aligner.bundle.version})"
    if suffix != HTML:
        figure = manhattan(aligner.panel, tracks, title=title, unit=UNIT)
        return picture(figure, suffix.removeprefix("."))
    svg = picture(manhattan(aligner.panel, tracks, unit=UNIT), "svg")
    facts = aligner.attributes | run.facts()
    return rendered(page(svg, aligner.panel, tracks, title=title, facts=facts))
