"""`genomai score`: log-likelihoods of sequences, effects of variants, and saturation mutagenesis."""

from dataclasses import dataclass
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
)
from genomai_cli.cli.resuming import Resuming, is_stream
from genomai_cli.cli.run import Run, command
from genomai_cli.cli.score_sequences import tell, write_sequences
from genomai_cli.cli.score_variants import Target, Variants, write_effects
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.likelihood import Likelihood
    from genomai_cli.inference.variant_effects import Scorer

WINDOW = 1024  # letters around a variant, or of a masked model, if it can read so many
FLANK = 8  # letters on each side of a variant that a masked model scores


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
        help="Masked models: letters on each side of a variant that are scored besides its own.  "
        f"[default: {FLANK}]",
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


@dataclass(eq=False, repr=False)
class Reading:
    """How the model reads."""

    window: WindowLetters = None
    flank: Flank = None
    mask_every: MaskEvery = None
    strand: StrandOption = Strand.FORWARD

    def likelihood(
        self, bundle: "Bundle", batching: "Batching", *, of_variants: bool
    ) -> "Likelihood":
        """The model's; unless others are asked for, in windows as long as it can read, of masked models and of variants
        of at most 1,024 letters."""
        from genomai_cli.inference.likelihood import (
            MASKED,
            Likelihood,
            Settings,
            likelihood_of,
            window_letters,
        )

        window = self.window
        if window is None and (of_variants or likelihood_of(bundle)[0] == MASKED):
            window = min(WINDOW, window_letters(bundle, None) or WINDOW)
        both = self.strand is Strand.BOTH
        apart = of_variants and _is_apart(bundle)
        settings = Settings(window, both, self.mask_every, only_bases=of_variants, apart=apart)
        return Likelihood(bundle, settings, batching)


@command
def score(
    run: Run,
    inputs: Inputs = None,
    model: Model = None,
    *,
    variants: Variants,
    reading: Reading,
    per_base: PerBase = None,
    plot: Plot = None,
    shard: ShardOption = None,
    resuming: Resuming,
    batch_size: BatchSize = None,
    compute: ComputeWithoutSeed,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Tell how likely sequences are under a model, and what variants change.

    Of FASTA a row a sequence: its log-likelihood in nats, exactly from a model of next tokens, as pseudo-likelihood
    from a masked one. Of a VCF with its --reference a row an allele: the scores of the window with the reference's and
    with the other allele, and their difference; of a classifier the changes of its labels' log odds. Alleles are
    normalised first; at a contig's end the window moves inward. REF that is not as in the reference is an error.

    \b
    genomai score --model dna-model genes.fa > likelihoods.tsv
    genomai score --model dna-model --reference ref.fa --strand both variants.vcf.gz > effects.tsv
    bcftools view -r chr20 x.bcf | genomai score --model dna-model --reference ref.fa --to vcf -o scored.vcf.gz
    genomai score --model dna-model --reference ref.fa --mutate-all --regions r.bed --plot r.svg > r.tsv
    """
    from genomai_cli.cli.model_choice import load_model
    from genomai_cli.formats.shards import Shard
    from genomai_cli.inference.batching import Batching

    variants.check(per_base, plot)
    part = Shard.parsed(shard)
    lines = plot is None and variants.to is not Target.HDF5 and not is_stream(output)
    if any(vars(resuming).values()) and not lines:
        raise UsageError("--resume and --force are for a table or VCF in a file, without --plot")
    if model is None:
        raise UsageError(
            "--model: name a model of DNA; none of those installed has a likelihood of it"
        )
    bundle = load_model(run, model, compute)
    batching = Batching(windows=batch_size)
    if variants.reference is None:
        write_sequences(
            run,
            bundle,
            reading.likelihood(bundle, batching, of_variants=False),
            part,
            output,
            per_base,
            resuming,
        )
        return
    scorer = _scorer(run, bundle, reading, batching)
    write_effects(run, bundle, scorer, variants, part, output, plot, resuming)


def _is_apart(bundle: "Bundle") -> bool:
    """Whether variants are read window by window, so that single precision gives the same rows in any batch."""
    on_cpu = next(bundle.classifier.parameters()).device.type == "cpu"
    return on_cpu and not bundle.heads


def _scorer(run: Run, bundle: "Bundle", reading: Reading, batching: "Batching") -> "Scorer":
    """What the model can say: its likelihood, its labels' log odds, or both."""
    from genomai_cli.device import to_single_precision
    from genomai_cli.inference.label_odds import LabelOdds
    from genomai_cli.inference.likelihood import MASKED, has_likelihood, window_letters
    from genomai_cli.inference.variant_effects import Scorer

    both = reading.strand is Strand.BOTH
    odds = (
        LabelOdds(bundle, both_strands=both, batching=batching)
        if bundle.heads or bundle.numbers
        else None
    )
    likelihood = None
    if _is_apart(bundle):
        to_single_precision([bundle.classifier, *bundle.auxiliary.values()])
    if odds is None or has_likelihood(bundle):
        likelihood = reading.likelihood(bundle, batching, of_variants=True)
        tell(run, likelihood)
    elif reading.mask_every is not None:
        raise UsageError(f"--mask-every: the model {bundle.name!r} has no likelihood")
    if reading.flank is not None and (likelihood is None or likelihood.method != MASKED):
        raise UsageError("--flank is for the likelihood of masked models")
    window = likelihood.window if likelihood else reading.window
    window = window or min(WINDOW, window_letters(bundle, None) or WINDOW)
    flank = FLANK if reading.flank is None else reading.flank
    told = f"each variant in the middle of {window} letters, moved inward at the ends of contigs"
    scored = (
        f"; its bases and {flank} on each side are scored"
        if likelihood and likelihood.method == MASKED
        else ""
    )
    run.console.say(told + scored)
    run.note(window=window, flank=flank, labels=odds.labels if odds else [])
    return Scorer(likelihood, odds, window=window, flank=flank)
