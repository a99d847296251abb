"""`genomai predict`: a model's tracks along a reference, as bigWig, bedGraph, HDF5 or means of regions."""

from genomai_cli.cli.options import STANDARD_OUTPUT, ComputeWithoutSeed, Model, Output
from genomai_cli.cli.pages import page_file
from genomai_cli.cli.run import Run, command
from genomai_cli.cli.track_outputs import DrawingOptions, GenomeOptions, TrackForm, write_tracks
from genomai_cli.errors import UsageError


@command
def predict(
    run: Run,
    model: Model = None,
    *,
    genome: GenomeOptions,
    form: TrackForm,
    drawing: DrawingOptions,
    compute: ComputeWithoutSeed,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Predict a model's tracks along a reference genome.

    They follow from its DNA alone. Of a model of `genomai pretrain --objective omics` a value is the probability that a
    base is in a peak, of one of `--objective tracks` or AlphaGenome the coverage of a base. How windows are cut is
    told: each has the genome's own bases around what is taken from it, and nothing is filled up with N. Contact maps
    go to --contacts.

    \b
    genomai predict --model tracks-model --reference ref.fa --regions genes.bed > means.tsv
    genomai predict --model tracks-model --reference ref.fa --regions one.bed --plot one.svg --observed t.tsv
    genomai predict --model tracks-model --reference ref.fa --regions genes.bed --report tracks.html > means.tsv
    genomai predict --model tracks-model --reference ref.fa --to bigwig --resolution 32 -o predicted
    """
    from genomai_cli.sources.model_choice import load_model

    if model is None or genome.reference is None:
        raise UsageError("--model and a --reference are needed")
    drawing.check()
    bundle = load_model(run, model, compute)
    with page_file(drawing.report) as page:
        write_tracks(run, bundle, genome, form, output, drawing=drawing, page=page)
