"""`genomai tokenize`: sequences and genotypes as the tokens that models read."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    AbsentIsRef,
    Haplotypes,
    Inputs,
    Model,
    NoCompute,
    Output,
    PanelFile,
)
from genomai_cli.cli.run import Run, command
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.records import SequenceRecord
    from genomai_cli.tokenizers import Tokenizer


class Kind(StrEnum):
    """The tokenizers of `registry.TOKENIZERS` that can be asked for by name; others come with their models."""

    CHARACTERS = "characters"
    KMERS = "kmers"
    SYMMETRIC = "symmetric"
    IUPAC = "iupac"
    BYTES = "bytes"


class Target(StrEnum):
    """What is written."""

    TSV = "tsv"
    FASTA = "fasta"
    HDF5 = "hdf5"


KindOption = Annotated[
    Kind | None,
    typer.Option(
        "--tokenizer",
        help="The tokens.  [default: iupac for VCF, characters with --haplotypes, else symmetric]",
        show_default=False,
    ),
]
K = Annotated[
    int | None,
    typer.Option("-k", metavar="N", min=1, max=8, help="Letters a token.  [default: 3]"),
]
Stride = Annotated[
    int | None,
    typer.Option(
        "--stride", metavar="N", min=1, help="Letters from one token to the next.  [default: 1]"
    ),
]
To = Annotated[
    Target,
    typer.Option("--to", help="A table of tokens, the letters themselves, or arrays in HDF5."),
]
Words = Annotated[
    bool, typer.Option("--words", help="Write the tokens as text instead of their ids.")
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FASTA",
        help="With --regions: from a VCF each sample's two haplotype sequences, not its barcode.",
        show_default=False,
    ),
]
Regions = Annotated[
    Path | None,
    typer.Option(
        "--regions",
        metavar="BED",
        help="The regions of the reference to build the sequences of.",
        show_default=False,
    ),
]


@command
def tokenize(
    run: Run,
    inputs: Inputs = None,
    tokenizer: KindOption = None,
    k: K = None,
    stride: Stride = None,
    words: Words = False,
    to: To = Target.TSV,
    model: Model = None,
    panel: PanelFile = None,
    haplotypes: Haplotypes = False,
    reference: Reference = None,
    regions: Regions = None,
    absent_is_ref: AbsentIsRef = False,
    *,
    output: Output = STANDARD_OUTPUT,
    unused: NoCompute,
) -> None:
    """Turn sequences, or the genotypes of a VCF, into tokens.

    A sample of a VCF becomes a barcode first: one IUPAC letter for each site of a panel. The table has the columns
    id and tokens (ids between spaces); --to fasta writes the letters, --to hdf5 one flat array with offsets.
    With --reference and --regions a sample becomes its two haplotype sequences, SAMPLE_A|REGION and SAMPLE_B|REGION.
    With a model of mapped genomes, like mito, samples and sequences become genomes in its reference's coordinates.

    \b
    genomai tokenize --tokenizer kmers -k 6 --stride 6 genome.fa.gz > tokens.tsv
    genomai tokenize --to fasta cohort.vcf.gz | genomai classify
    genomai tokenize --to fasta --reference ref.fa --regions genes.bed cohort.vcf.gz > haplotypes.fa
    genomai tokenize --model genomai-v2 --to hdf5 -o tokens.h5 cohort.bcf
    """
    from genomai_cli.cli import inputs as readers
    from genomai_cli.cli.model_choice import panel_of, reference_of
    from genomai_cli.formats.outputs import held_output

    first, sources = readers.open_run_inputs(run)
    _check_phasing_options(first.has_variants, haplotypes, reference, regions)
    kind = tokenizer or _default_kind(first.has_variants and not reference, haplotypes)
    chosen = _of_options(kind, k, stride)
    if model and not tokenizer:
        chosen = _of_model(model, k, stride)
    against = None if reference or panel else reference_of(model)
    if reference and regions:
        records = readers.read_haplotype_sequences(run, sources, reference, regions)
    else:
        records = readers.read_records(
            run,
            sources,
            lambda: against or panel_of(panel, model),
            absent_is_ref=absent_is_ref,
            haplotypes=haplotypes,
            tokenizer=lambda: chosen,
        )
    if against is not None:
        from genomai_cli.mapping.mapper import RecordMapper

        sites = None if to is Target.FASTA else _sites_of(model)
        records = readers.in_coordinates(run, records, RecordMapper(against), sites)
    with held_output(output) as out:
        run.count(used=_write(out, records, chosen, to, words))
    run.note(tokenizer=chosen.to_config())


def _check_phasing_options(
    has_variants: bool, haplotypes: bool, reference: Path | None, regions: Path | None
) -> None:
    if (reference is None) != (regions is None):
        raise UsageError("--reference and --regions go together")
    if haplotypes and reference is not None:
        raise UsageError("--haplotypes is about a panel's sites: leave it out with --reference")
    if (haplotypes or reference is not None) and not has_variants:
        raise UsageError(f"{'--haplotypes' if haplotypes else '--reference'} needs a VCF")


def _default_kind(has_variants: bool, haplotypes: bool) -> Kind:
    if not has_variants:
        return Kind.SYMMETRIC
    return Kind.CHARACTERS if haplotypes else Kind.IUPAC


def _of_options(kind: Kind, k: int | None, stride: int | None) -> "Tokenizer":
    from genomai_cli.tokenizers import from_config

    given = {name: value for name, value in (("k", k), ("stride", stride)) if value is not None}
    if given and kind not in (Kind.KMERS, Kind.SYMMETRIC):
        raise UsageError(f"-k and --stride are not for the tokenizer {kind}")
    return from_config({"kind": str(kind), **given})


def _of_model(model: str, k: int | None, stride: int | None) -> "Tokenizer":
    if k is not None or stride is not None:
        raise UsageError("-k and --stride contradict --model, which has its own tokenizer")
    from genomai_cli.bundles import catalog
    from genomai_cli.tokenizers import from_config

    return from_config(catalog.read_config(catalog.find(model)).get("tokenizer") or {})


def _sites_of(model: str | None) -> "list[int] | None":
    """The positions of its reference that a model of mapped genomes reads, None for all."""
    from genomai_cli.bundles import catalog
    from genomai_cli.cli.model_choice import DEFAULT_MODEL
    from genomai_cli.mapping.reference import VariableSites

    file = catalog.find(model or DEFAULT_MODEL) / catalog.SITES
    return VariableSites.read(file).positions.tolist() if file.is_file() else None


def _write(
    out: IO[bytes],
    records: Iterator["SequenceRecord"],
    tokenizer: "Tokenizer",
    to: Target,
    words: bool,
) -> int:
    from genomai_cli.formats.fasta import write_fasta

    if to is Target.FASTA:
        return write_fasta(out, records)
    # h5py takes 0.08 s to import, which a table need not wait for.
    if to is Target.HDF5:
        from genomai_cli.formats.token_arrays import write_hdf5

        return write_hdf5(out, records, tokenizer)
    from genomai_cli.formats.tokens import write_tsv

    return write_tsv(out, records, tokenizer, words=words)
