"""`genomai explain`: which letters drove a classifier's calls, as a table, HDF5, pictures and motifs."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    BatchSize,
    Compute,
    Inputs,
    Model,
    Output,
    Strand,
    StrandOption,
    VariantOptions,
)
from genomai_cli.cli.run import Run, command
from genomai_cli.cli.track_outputs import GenomeOptions, Organism
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.inference.explain import Explainer, Explanation
    from genomai_cli.records import SequenceRecord

PICTURES = (".png", ".svg")


class Method(StrEnum):
    """How effects of substitutions are computed (the same as `inference.explain.METHODS`, which would need torch)."""

    ISM = "ism"
    GRADIENT = "gradient"


HeadName = Annotated[
    str | None,
    typer.Option(
        "--head",
        metavar="HEAD",
        help="Which of the model's heads, of labels or of numbers.  [default: the only one]",
        show_default=False,
    ),
]
ClassName = Annotated[
    str | None,
    typer.Option(
        "--class",
        metavar="LABEL",
        help="Explain the log odds of this label, or the mean of this track.  [default: of each record's most likely "
        "label]",
        show_default=False,
    ),
]
MethodOption = Annotated[
    Method,
    typer.Option(
        "--method",
        help="Read every sequence with each base replaced by each other (exact), or approximate that by the gradient "
        "(hundreds of times as fast).",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the sequences as logos over the changes, as PNG or SVG by the name; at most 5,000 bases.",
        show_default=False,
    ),
]
MotifsFile = Annotated[
    Path | None,
    typer.Option(
        "--motifs",
        metavar="FILE",
        help="Write the motifs that drive the calls, and are enriched, in MEME's format.",
        show_default=False,
    ),
]
MotifPlot = Annotated[
    Path | None,
    typer.Option(
        "--motif-plot",
        metavar="FILE",
        help="With --motifs: draw their logos, as PNG or SVG by the name.",
        show_default=False,
    ),
]


@dataclass(eq=False, repr=False)
class Pictures:
    """Pictures and motifs of the explanations."""

    plot: Plot = None
    motifs: MotifsFile = None
    motif_plot: MotifPlot = None

    def check(self) -> None:
        """UsageError for names that tell no kind, and logos of motifs that nobody asked for."""
        for option, path in (("--plot", self.plot), ("--motif-plot", self.motif_plot)):
            if path is not None and path.suffix.lower() not in PICTURES:
                raise UsageError(f"{option} {path}: name it .png or .svg")
        if self.motif_plot is not None and self.motifs is None:
            raise UsageError("--motif-plot draws the motifs of --motifs")


@command
def explain(
    run: Run,
    inputs: Inputs = None,
    model: Model = None,
    *,
    head: HeadName = None,
    label: ClassName = None,
    method: MethodOption = Method.ISM,
    strand: StrandOption = Strand.FORWARD,
    organism: Organism = None,
    genome: GenomeOptions,
    pictures: Pictures,
    batch_size: BatchSize = None,
    compute: Compute,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Tell which letters drove a classifier's calls, and their motifs.

    For a model of plain DNA with labels, or of tracks. Writes a row a letter: what it adds to the log odds of the
    record's most likely label, or of the --class asked for, or to the ln of a track's mean over the record, compared
    with the mean of the other three bases in its place; or HDF5 with the change by every substitution, if the output's
    name ends in .h5, or bedGraph (.bedgraph). With a model of tracks the sequences may be the --regions of a
    --reference; bedGraph then lies on the genome.

    \b
    genomai explain --model ./bound peaks.fa > letters.tsv
    genomai explain --model ./bound --class bound --plot one.svg one.fa > one.tsv
    genomai explain --model ./tracks-model --class liver --method gradient peaks.fa -o liver.bedgraph
    genomai explain --model ./tracks-model --class liver --reference ref.fa --regions r.bed -o liver.bedgraph
    genomai explain --model ./bound --method gradient --motifs motifs.meme --motif-plot motifs.png peaks.fa -o peaks.h5
    """
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.explain import (
        Explainer,
        explained_values,
        labels_to_explain,
        require_explainable,
    )
    from genomai_cli.sources.model_choice import load_model

    pictures.check()
    if model is None:
        raise UsageError(
            "--model: name a classifier of DNA, or a model of tracks; none of those installed has labels of plain DNA"
        )
    bundle = load_model(run, model, compute)
    require_explainable(bundle, method)
    _check(bundle, genome, bool(inputs))
    labels = labels_to_explain(bundle, head, label, organism)
    both_strands, batching = strand is Strand.BOTH, Batching(windows=batch_size)
    odds = explained_values(
        bundle, labels, both_strands=both_strands, batching=batching, organism=organism
    )
    explainer = Explainer(odds, labels, str(method))
    with _records(run, bundle, genome) as records:
        _write(run, bundle, explainer, records, pictures, compute.seed, output)


def _check(bundle: "Bundle", genome: GenomeOptions, has_inputs: bool) -> None:
    """UsageError for a reference that is not for the model, or besides other sequences, and for regions without one."""
    from genomai_cli.inference.track_readers import has_tracks

    if genome.reference is None:
        if genome.regions is not None:
            raise UsageError("--regions need a --reference")
        return
    if not has_tracks(bundle):
        raise UsageError(f"--reference: the model {bundle.name!r} has no tracks")
    if has_inputs:
        raise UsageError("--reference is for its own regions: leave the other sequences out")


def _write(
    run: Run,
    bundle: "Bundle",
    explainer: "Explainer",
    records: "Iterator[SequenceRecord]",
    pictures: Pictures,
    seed: int,
    output: Path,
) -> None:
    """Write the explanations to all files; all appear, or none."""
    from genomai_cli.formats.outputs import atomic_output
    from genomai_cli.inference.explanation_outputs import explanation_writer
    from genomai_cli.inference.label_odds import TRACKS

    model_facts = _report_method(run, bundle, explainer)
    explanations = _explained(run, explainer, records)
    with ExitStack() as stack:
        out = stack.enter_context(explanation_writer(output, model_facts))
        if pictures.plot:
            plot = stack.enter_context(atomic_output(pictures.plot))
            value = "ln of the mean" if explainer.labels[0].startswith(TRACKS) else "log odds"
            title = f"{bundle.name}: change of the {value} by each substitution"
            explanations = _with_picture(explanations, plot, title, pictures.plot.suffix.lower())
        if pictures.motifs:
            motifs = stack.enter_context(atomic_output(pictures.motifs))
            logos = None
            if pictures.motif_plot:
                logos = stack.enter_context(atomic_output(pictures.motif_plot))
            explanations = _with_motifs(run, explanations, motifs, logos, pictures.motif_plot, seed)
        for explanation in explanations:
            out.add(explanation)


def _report_method(run: Run, bundle: "Bundle", explainer: "Explainer") -> dict[str, str]:
    """Say and record how the explanations are computed."""
    from genomai_cli.inference.label_odds import describe_label

    strand = "mean of both strands" if explainer.odds.both_strands else "the strand given"
    labels = list(explainer.labels)
    model_facts = {
        "model_name": bundle.name,
        "model_sha256": bundle.weights_sha256,
        "method": explainer.method,
        "strand": strand,
    }
    run.note(**model_facts, labels=labels)
    choice = f"log odds of the most likely of {', '.join(labels)}"
    quantity = describe_label(labels[0], "over the record") if len(labels) == 1 else choice
    run.console.say(f"{quantity}; {explainer.description}, {strand}")
    return model_facts


@contextmanager
def _records(
    run: Run, bundle: "Bundle", genome: GenomeOptions
) -> "Iterator[Iterator[SequenceRecord]]":
    """The sequences of all inputs, counted as read, or the regions of the reference."""
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.formats.indexed_fasta import open_reference
    from genomai_cli.inference.explain import sequences_of
    from genomai_cli.sources.records import read_records

    if genome.reference is not None:
        with open_reference(genome.reference) as reference:
            yield _counted(run, sequences_of(reference, genome.regions))
        return
    _, sources = open_run_inputs(run)
    yield read_records(
        run,
        sources,
        lambda: bundle.coordinates,
        variants=VariantOptions(),
        tokenizer=lambda: bundle.tokenizer,
        plain=lambda: True,
    )


def _counted(run: Run, records: "Iterator[SequenceRecord]") -> "Iterator[SequenceRecord]":
    for record in records:
        run.count(read=1)
        yield record


def _explained(
    run: Run, explainer: "Explainer", records: "Iterator[SequenceRecord]"
) -> "Iterator[Explanation]":
    """The explanations of the records of which the model can read something; warnings tell how many there are not, and
    how many are unlike the training sequences."""
    unreadable, novel = 0, 0
    for _, explanation in explainer.explain(run.console.progress(records, "explaining")):
        if explanation is None:
            unreadable += 1
        else:
            novel += "NOVEL" in explanation.flags
            yield explanation
        run.count(used=explanation is not None, refused=explanation is None)
    if unreadable:
        run.console.warn(f"{unreadable} records have no letter that the model can read: left out")
    if novel:
        run.console.warn(
            f"{novel} records are unlike the sequences that the model was trained on (NOVEL in `classify`): do not "
            "rely on their labels, nor on what explains them"
        )


def _with_picture(
    explanations: "Iterable[Explanation]", out: IO[bytes], title: str, ending: str
) -> "Iterator[Explanation]":
    """The explanations as they come, and at the end their picture."""
    from genomai_cli.inference.substitution_picture import MAX_BASES, Row, draw_rows, rows_of

    rows: list[Row] = []
    for explanation in explanations:
        name = f"{explanation.name} ({explanation.label})"
        rows += rows_of(name, explanation.letters, explanation.changes)
        if sum(len(row.letters) for row in rows) > MAX_BASES:
            raise UsageError(f"--plot: a picture shows at most {MAX_BASES} bases")
        yield explanation
    out.write(draw_rows(rows, title, ending))


def _with_motifs(
    run: Run,
    explanations: "Iterable[Explanation]",
    out: IO[bytes],
    logos: IO[bytes] | None,
    picture: Path | None,
    seed: int,
) -> "Iterator[Explanation]":
    """The explanations as they come, and at the end the motifs of those of each label."""
    from genomai_cli.inference.motif_outputs import MotifSearch

    search = MotifSearch()
    for explanation in explanations:
        search.add(explanation)
        yield explanation
    for message in search.run(seed):
        run.console.say(message)
    run.note(motifs=search.facts)
    search.write(out)
    if logos is not None and picture is not None:
        logos.write(search.picture("Motifs that drive the calls", picture.suffix.lower()))
