"""`genomai tokenize`: sequences and genotypes as the tokens that models read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    Inputs,
    NoCompute,
    Output,
    PanelOptions,
    ShardOption,
    VariantOptions,
)
from genomai_cli.cli.run import Run, command
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
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
    """The format of the output."""

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


@dataclass(eq=False, repr=False)
class TokenOptions:
    """The tokenizer and its sizes."""

    tokenizer: KindOption = None
    k: K = None
    stride: Stride = None

    def check(self, to: Target, *, words: bool) -> None:
        """UsageError for options about tokens that the format does not hold."""
        if words and to is not Target.TSV:
            raise UsageError(f"--words is for the table: --to {to} writes none")
        if to is Target.FASTA and (self.k or self.stride):
            raise UsageError("-k and --stride are about tokens: --to fasta writes letters")

    def build(self, model: str | None, default: Kind) -> "Tokenizer":
        """The tokenizer that is asked for, else the model's, else the default; UsageError for sizes that it lacks."""
        from genomai_cli.tokenizers import from_config

        sizes = {name: value for name in ("k", "stride") if (value := getattr(self, name))}
        if model and not self.tokenizer:
            if sizes:
                raise UsageError("-k and --stride contradict --model, which has its own tokenizer")
            return _of_model(model)
        kind = self.tokenizer or default
        if sizes and kind not in (Kind.KMERS, Kind.SYMMETRIC):
            raise UsageError(f"-k and --stride are not for the tokenizer {kind}")
        return from_config({"kind": str(kind), **sizes})


@dataclass(eq=False, repr=False)
class ReadingOptions(VariantOptions, PanelOptions):
    """How the samples of a VCF are read: as barcodes, haplotypes or genomes, and by which rules."""

    reference: Reference = None
    regions: Regions = None

    def check(self, *, has_variants: bool) -> None:
        """UsageError for options that exclude or need one another, or a VCF."""
        if (self.reference is None) != (self.regions is None):
            raise UsageError("--reference and --regions go together")
        if self.haplotypes and self.reference is not None:
            raise UsageError("--haplotypes is about a panel's sites: leave it out with --reference")
        if self.panel is not None and self.reference is not None:
            raise UsageError("--panel is about barcodes: leave it out with --reference")
        if (self.haplotypes or self.reference is not None) and not has_variants:
            raise UsageError(f"{'--haplotypes' if self.haplotypes else '--reference'} needs a VCF")


@command
def tokenize(
    run: Run,
    inputs: Inputs = None,
    *,
    tokens: TokenOptions,
    words: Words = False,
    to: To = Target.TSV,
    reading: ReadingOptions,
    shard: ShardOption = None,
    output: Output = STANDARD_OUTPUT,
    unused: NoCompute,
) -> None:
    """Turn sequences, or the genotypes of a VCF, into tokens.

    A sample of a VCF becomes a barcode first: one IUPAC letter for each site of a panel. The table has the columns
    id and tokens (ids between spaces); --to fasta writes the letters, --to hdf5 one flat array with offsets.
    With --reference and --regions a sample becomes its two haplotype sequences, SAMPLE_A|REGION and SAMPLE_B|REGION.
    With --model the ids are those of its tokenizer, special tokens ([CLS], [SEP]) included: of a released checkpoint
    (DNABERT, HyenaDNA, Caduceus, Evo) those that the released tokenizer gives.
    With a model of mapped genomes, like mito, samples and sequences become genomes in its reference's coordinates.

    \b
    genomai tokenize --tokenizer kmers -k 6 --stride 6 genome.fa.gz > tokens.tsv
    genomai tokenize --to fasta cohort.vcf.gz | genomai classify
    genomai tokenize --to fasta --reference ref.fa --regions genes.bed cohort.vcf.gz > haplotypes.fa
    genomai tokenize --model genomai-v2 --to hdf5 -o tokens.h5 cohort.bcf
    """
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.formats.outputs import buffered_output
    from genomai_cli.formats.shards import Shard
    from genomai_cli.formats.tokens import write_tsv

    part = Shard.parsed(shard)
    tokens.check(to, words=words)
    first, sources = open_run_inputs(run)
    reading.check(has_variants=first.has_variants)
    tokenizer = tokens.build(reading.model, _default_kind(first.has_variants, reading))
    records = part.part(_records(run, sources, reading, tokenizer, to))
    with buffered_output(output) as out:
        if to is Target.TSV:
            header = part.is_first
            count = write_tsv(out, records, tokenizer, as_text=words, header=header)
        else:
            count = _write(out, records, tokenizer, to)
        run.count(used=count)
    run.note(tokenizer=tokenizer.to_config())


def _default_kind(has_variants: bool, reading: ReadingOptions) -> Kind:
    if not has_variants or reading.reference:
        return Kind.SYMMETRIC
    return Kind.CHARACTERS if reading.haplotypes else Kind.IUPAC


def _of_model(model: str) -> "Tokenizer":
    from genomai_cli.tokenizers import from_config

    return from_config(_config_of(model).get("tokenizer") or {})


def _config_of(model: str) -> dict[str, Any]:
    """The config of a model, or of a checkpoint in a released layout as a bundle's."""
    from genomai_cli.bundles import catalog

    folder = catalog.find(model)
    if catalog.is_bundle(folder):
        return catalog.read_config(folder)
    from genomai_cli.bundles import (
        adapters,  # needs torch, which a bundle's config need not wait for
    )

    config: dict[str, Any] = adapters.config_of(folder)
    return config


def _records(
    run: Run,
    sources: "Iterable[Input]",
    reading: ReadingOptions,
    tokenizer: "Tokenizer",
    to: Target,
) -> "Iterator[SequenceRecord]":
    """The records of the inputs: sequences, barcodes, haplotypes, or genomes along a model's reference."""
    from genomai_cli.sources import records as readers
    from genomai_cli.sources.installed import panel_of, reference_of

    if reading.reference and reading.regions:
        from genomai_cli.cli.inputs import read_haplotype_sequences

        return read_haplotype_sequences(run, sources, reading.reference, reading.regions, reading)
    reference = None if reading.panel else reference_of(reading.model)
    records = readers.read_records(
        run,
        sources,
        lambda: reference or panel_of(reading.panel, reading.model),
        variants=reading,
        haplotypes=reading.haplotypes,
        tokenizer=lambda: tokenizer,
        plain=lambda: _is_plain(reading, tokenizer),
    )
    if reference is None:
        return records
    from genomai_cli.mapping.mapper import RecordMapper

    sites = None if to is Target.FASTA else _sites_of(reading.model)
    return readers.in_coordinates(run, records, RecordMapper(reference), sites)


def _is_plain(reading: ReadingOptions, tokenizer: "Tokenizer") -> bool:
    """Whether sequences are DNA in no coordinates, and neither barcodes nor genomes of a reference."""
    if reading.model:
        input_config = _config_of(reading.model).get("input") or {}
        return bool(input_config.get("kind") == "sequence")
    return reading.panel is None and tokenizer.to_config()["kind"] != Kind.IUPAC


def _sites_of(model: str | None) -> "list[int] | None":
    """The positions of its reference that a model of mapped genomes reads, None for all."""
    from genomai_cli.bundles import catalog
    from genomai_cli.mapping.reference import VariableSites
    from genomai_cli.sources.installed import DEFAULT_MODEL

    file = catalog.find(model or DEFAULT_MODEL) / catalog.SITES
    return VariableSites.read(file).positions.tolist() if file.is_file() else None


def _write(
    out: IO[bytes], records: Iterator["SequenceRecord"], tokenizer: "Tokenizer", to: Target
) -> int:
    """FASTA or HDF5; how many records."""
    from genomai_cli.formats.fasta import write_fasta

    if to is Target.FASTA:
        return write_fasta(out, records)
    # h5py takes 0.08 s to import, which a table need not wait for.
    from genomai_cli.formats.token_arrays import write_hdf5

    return write_hdf5(out, records, tokenizer)
