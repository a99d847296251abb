"""`genomai score`: log-likelihoods of sequences, effects of variants, and saturation mutagenesis."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    BatchSize,
    ComputeWithoutSeed,
    Inputs,
    Model,
    Output,
    ShardOption,
    Strand,
    StrandOption,
    report_option,
)
from genomai_cli.cli.pages import page_file
from genomai_cli.cli.resuming import ResumeOptions, is_stream
from genomai_cli.cli.run import Run, command
from genomai_cli.cli.score_sequences import report_likelihood, write_sequences
from genomai_cli.cli.score_variants import EffectOptions, write_effects
from genomai_cli.cli.track_outputs import Only, Organism
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.inference.scorers import ScoringOptions as ModelReading
    from genomai_cli.inference.variant_effects import Scorer

WINDOW, FLANK, TRACK_FLANK = (
    1024,
    8,
    128,
)  # the same as in `inference.scorers`, which would need torch

WindowLetters = Annotated[
    int | None,
    typer.Option(
        "--window",
        metavar="N",
        min=1,
        help="Letters that are read at once.  [default: as many as the model can; masked models and around variants, "
        f"which stand in the middle, at most {WINDOW}]",
        show_default=False,
    ),
]
Flank = Annotated[
    int | None,
    typer.Option(
        "--flank",
        metavar="N",
        min=0,
        help="Masked models, and those of tracks: letters on each side of a variant that count besides its own.  "
        f"[default: {FLANK}, of tracks {TRACK_FLANK}, of splice sites all of the window]",
        show_default=False,
    ),
]
MaskEvery = Annotated[
    int | None,
    typer.Option(
        "--mask-every",
        metavar="N",
        min=1,
        help="Masked models: mask every N-th base at once, N passes in all.  [default: one base at a time]",
        show_default=False,
    ),
]
PerBase = Annotated[
    Path | None,
    typer.Option(
        "--per-base",
        metavar="FILE",
        help="Of sequences: also write each base's log-probability, as bedGraph or HDF5 by the name.",
        show_default=False,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="With --mutate-all: also draw a logo and the changes, as PNG or SVG by the name.",
        show_default=False,
    ),
]


class Aggregation(StrEnum):
    """How a track's values around a variant become one."""

    MEAN = "mean"
    MAX = "max"


AggregationOption = Annotated[
    Aggregation,
    typer.Option(
        "--aggregation",
        help="Of tracks: what of the bases that count is compared. Splicing is where it changes most.",
    ),
]
ReportFile = Annotated[
    Path | None,
    report_option("the variants or sequences, and how their scores are distributed"),
]


@dataclass(eq=False, repr=False)
class ReadingOptions:
    """Windows and strands in which the model reads, and its tracks."""

    window: WindowLetters = None
    flank: Flank = None
    mask_every: MaskEvery = None
    strand: StrandOption = Strand.FORWARD
    only: Only = None
    organism: Organism = None
    aggregation: AggregationOption = Aggregation.MEAN

    def reading(self) -> "ModelReading":
        """These options as scorers read them."""
        from genomai_cli.inference.scorers import ScoringOptions as ModelReading

        both_strands = self.strand is Strand.BOTH
        return ModelReading(
            self.window,
            self.flank,
            self.mask_every,
            both_strands,
            self.only or (),
            self.organism,
            self.aggregation.value,
        )


@command
def score(
    run: Run,
    inputs: Inputs = None,
    model: Model = None,
    *,
    variants: EffectOptions,
    reading: ReadingOptions,
    per_base: PerBase = None,
    plot: Plot = None,
    report: ReportFile = None,
    shard: ShardOption = None,
    resuming: ResumeOptions,
    batch_size: BatchSize = None,
    compute: ComputeWithoutSeed,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Tell how likely sequences are, and what variants change.

    Of FASTA a row a sequence: its log-likelihood in nats, exactly from a model of next tokens, as pseudo-likelihood
    from a masked one. Of a VCF with its --reference a row an allele: the scores of the window with the reference's and
    with the other allele, and their difference; of a classifier the changes of its labels' log odds; of a model of
    tracks the ln of each track's mean around the variant, and its change, and of splicing the sites and junctions that
    change most. Alleles are normalised first; at a contig's end the window moves inward. REF that is not as in the
    reference is an error.

    \b
    genomai score --model dna-model genes.fa > likelihoods.tsv
    genomai score --model dna-model --reference ref.fa --strand both variants.vcf.gz > effects.tsv
    bcftools view -r chr20 x.bcf | genomai score --model dna-model --reference ref.fa --to vcf -o scored.vcf.gz
    genomai score --model dna-model --reference ref.fa variants.vcf.gz --report effects.html > effects.tsv
    genomai score --model dna-model --reference ref.fa --mutate-all --regions r.bed --plot r.svg > r.tsv
    """
    from genomai_cli.formats.shards import Shard
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.scorers import likelihood_for, scorer_for
    from genomai_cli.sources.model_choice import load_model

    variants.resolve_format(output, per_base, plot)
    if variants.mutate_all and inputs:
        raise UsageError("--mutate-all scores the --regions: leave the other variants out")
    part = Shard.parsed(shard)
    needs_all_rows = plot is not None or report is not None
    in_lines = not needs_all_rows and variants.in_lines and not is_stream(output)
    if any(vars(resuming).values()) and not in_lines:
        raise UsageError(
            "--resume and --force are for a table or VCF in a file, without --plot and --report"
        )
    if model is None:
        from genomai_cli.sources.installed import DNA_ENCODER

        raise UsageError(
            f"--model: name a model of DNA: {DNA_ENCODER}, which is small and of human DNA, or one of your own"
        )
    bundle = load_model(run, model, compute)
    batching = Batching(windows=batch_size)
    with page_file(report) as page:
        if variants.reference is None:
            likelihood = likelihood_for(bundle, reading.reading(), batching)
            write_sequences(
                run,
                bundle,
                likelihood,
                part,
                output,
                per_base,
                resuming,
                page,
                parquet=not variants.in_lines,
            )
            return
        scorer = scorer_for(bundle, reading.reading(), batching)
        _report_scorer(run, scorer)
        write_effects(run, bundle, scorer, variants, part, output, plot, resuming, page)


def _report_scorer(run: Run, scorer: "Scorer") -> None:
    """Say and record how variants are scored."""
    from genomai_cli.inference.label_odds import TRACK_QUANTITIES
    from genomai_cli.inference.likelihood import MASKED

    if scorer.likelihood is not None:
        report_likelihood(run, scorer.likelihood)
    window, flank = scorer.window, scorer.flank
    message = f"each variant in the middle of {window} letters, moved inward at the ends of contigs"
    masked = scorer.likelihood is not None and scorer.likelihood.method == MASKED
    suffix = f"; its bases and {flank} on each side are scored" if masked else ""
    kinds = [
        quantity
        for prefix, quantity in TRACK_QUANTITIES.items()
        if any(label.startswith(prefix) for label in scorer.labels)
    ]
    if kinds:
        suffix = f"; {', '.join(kinds)} over its bases and {flank} on each side"
    if scorer.contrasts is not None:
        suffix += f"; {scorer.contrasts.description}"
    run.console.say(message + suffix)
    run.note(window=window, flank=flank, labels=scorer.labels)
