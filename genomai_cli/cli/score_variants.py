"""`genomai score` of variants: the effect of each allele, or of every substitution of regions."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli import __version__
from genomai_cli.cli.options import wants_parquet
from genomai_cli.cli.pages import PageFile
from genomai_cli.cli.resuming import ResumeOptions, line_journal
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.formats.indexed_fasta import IndexedFasta
    from genomai_cli.formats.line_journal import LineJournal
    from genomai_cli.formats.shards import Shard
    from genomai_cli.formats.variant_alleles import AlleleFile, AlleleRecord
    from genomai_cli.inference.score_report import EffectReport
    from genomai_cli.inference.substitution_picture import PictureRows
    from genomai_cli.inference.variant_effects import Effect, Scorer


class Target(StrEnum):
    """The format of effects."""

    TSV = "tsv"
    VCF = "vcf"
    HDF5 = "hdf5"
    PARQUET = "parquet"


ReferenceFile = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FASTA",
        help="The genome of the variants, plain or compressed; an index beside it (.fai) saves time.",
        show_default=False,
    ),
]
MutateAll = Annotated[
    bool,
    typer.Option("--mutate-all", help="Every substitution of every base of the --regions."),
]
Regions = Annotated[
    Path | None,
    typer.Option("--regions", metavar="BED", help="With --mutate-all: where.", show_default=False),
]
SkipMismatches = Annotated[
    bool,
    typer.Option(
        "--skip-mismatches",
        help="List records whose REF is not as in the reference, or whose contig it lacks, and go on.",
    ),
]
To = Annotated[
    Target | None,
    typer.Option(
        "--to",
        help="A table or Parquet; of variants also the VCF with INFO fields, of --mutate-all HDF5.  [default: by the "
        "name, parquet for .parquet; else tsv]",
        show_default=False,
    ),
]


@dataclass(eq=False, repr=False)
class EffectOptions:
    """The variants or regions to score on a reference, and the format."""

    reference: ReferenceFile = None
    mutate_all: MutateAll = False
    regions: Regions = None
    skip_mismatches: SkipMismatches = False
    to: To = None

    @property
    def in_lines(self) -> bool:
        """Whether the output has a line, or several, for each record, so that an interrupted run can go on."""
        return self.to in (Target.TSV, Target.VCF)

    def resolve_format(self, output: Path, per_base: Path | None, plot: Path | None) -> None:
        """Choose the format by the name of the output; UsageError for options that do not go together."""
        if wants_parquet(self.to, output):
            self.to = Target.PARQUET
        self.to = self.to or Target.TSV
        self._check(per_base, plot)

    def _check(self, per_base: Path | None, plot: Path | None) -> None:
        if (self.mutate_all or self.regions or self.skip_mismatches) and self.reference is None:
            raise UsageError("--mutate-all, --regions and --skip-mismatches need a --reference")
        if self.mutate_all != (self.regions is not None):
            raise UsageError("--mutate-all and --regions go together")
        if self.reference is None and self.to not in (Target.TSV, Target.PARQUET):
            raise UsageError(f"--to {self.to}: of sequences there is only a table, or Parquet")
        if self.to is (Target.VCF if self.mutate_all else Target.HDF5):
            raise UsageError(
                f"--to {self.to}: not of {'--mutate-all' if self.mutate_all else 'a VCF'}"
            )
        if plot is not None and not self.mutate_all:
            raise UsageError("--plot is for --mutate-all")
        if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
            raise UsageError(f"--plot {plot}: name it .png or .svg")
        if per_base is not None and self.reference is not None:
            raise UsageError("--per-base is for sequences, not for variants")


def write_effects(
    run: Run,
    bundle: "Bundle",
    scorer: "Scorer",
    variants: EffectOptions,
    shard: "Shard",
    output: Path,
    plot: Path | None,
    resuming: ResumeOptions,
    page: PageFile,
) -> None:
    """Write the effects of the variants, and draw them and their page, if asked for."""
    from genomai_cli.formats.indexed_fasta import open_reference
    from genomai_cli.formats.line_journal import NoJournal
    from genomai_cli.formats.outputs import atomic_output, buffered_output
    from genomai_cli.inference.effect_outputs import (
        ColumnNames,
        Counts,
        write_substitutions,
        write_table,
    )
    from genomai_cli.inference.variant_effects import ReferenceLookup, effects

    assert variants.reference is not None
    counts, picture_rows = Counts(), _picture_rows() if plot else None
    report = _make_report(scorer) if page else None
    model_facts = {"model_name": bundle.name, "model_sha256": bundle.weights_sha256}
    with ExitStack() as stack:
        reference = stack.enter_context(open_reference(variants.reference))
        file = (
            _substitutions(variants, reference) if variants.mutate_all else _alleles(run, variants)
        )
        warn = run.repeated_warning("such warnings in all") if variants.skip_mismatches else None
        site = ReferenceLookup(reference, warn)
        # What is about all effects together cannot go on where it stopped.
        needs_all_effects = bool(page) or plot is not None or not variants.in_lines
        journal: LineJournal = NoJournal()
        if not needs_all_effects:
            run_facts = _facts(bundle, scorer, variants, shard)
            journal = stack.enter_context(line_journal(run, output, resuming, run_facts))
        records = journal.unfinished(shard.part(file.records), lambda record: record.label)
        variant_effects = counts.of(effects(run.console.progress(records, "scoring"), site, scorer))
        variant_effects = picture_rows.watch(variant_effects) if picture_rows else variant_effects
        variant_effects = report.watch(variant_effects) if report else variant_effects
        out = stack.enter_context(buffered_output(output))
        names = ColumnNames(scorer.labels, scorer.location_names)
        if variants.to is Target.HDF5:
            write_substitutions(out, variant_effects, names, model_facts)
        elif variants.to is Target.PARQUET:
            write_table(out, variant_effects, names, reference, model_facts)
        else:
            assert variants.to is not None
            header, lines = _text(variants.to, file, variant_effects, scorer, reference, bundle)
            keyed_lines = ((record.label, text) for record, text in lines)
            journal.write(out, header if shard.is_first else b"", keyed_lines)
        if picture_rows and plot:
            image = picture_rows.picture(_title(bundle, scorer), plot.suffix.lower())
            stack.enter_context(atomic_output(plot)).write(image)
        if report:
            page.write(report.page(bundle.name, counts, _page_facts(run, bundle, scorer)))
    run.count(used=counts.scored, refused=sum(counts.skipped.values()))
    run.note(skipped=dict(counts.skipped))
    if counts.skipped:
        run.console.warn(f"alleles without a score: {counts}")


def _text(
    to: Target,
    file: "AlleleFile",
    effects: "Iterator[Effect]",
    scorer: "Scorer",
    reference: "IndexedFasta",
    bundle: "Bundle",
) -> "tuple[bytes, Iterator[tuple[AlleleRecord, bytes]]]":
    """The header of the table or the VCF, and the lines of each record."""
    from genomai_cli.inference import effect_outputs as outputs

    names = outputs.ColumnNames(scorer.labels, scorer.location_names)
    if to is Target.TSV:
        return outputs.table_header(names), outputs.table_lines(effects, reference)
    header = outputs.vcf_header(file, names, _score_description(bundle, scorer))
    return header, outputs.vcf_lines(effects, names)


def _facts(
    bundle: "Bundle", scorer: "Scorer", variants: EffectOptions, shard: "Shard"
) -> dict[str, object]:
    """Facts that a run that goes on with this one must share, besides the records."""
    assert variants.reference is not None
    settings = scorer.likelihood.settings if scorer.likelihood else None
    return {
        "program": __version__,
        "model": _score_description(bundle, scorer),
        "flank": scorer.flank,
        "settings": str(settings),
        "odds_of_both_strands": bool(scorer.odds and scorer.odds.both_strands),
        "labels": scorer.labels,
        "contrasts": scorer.contrasts.description if scorer.contrasts else "",
        "organism": scorer.organism,
        "reference": [str(variants.reference), variants.reference.stat().st_size],
        "to": str(variants.to),
        "shard": str(shard),
    }


def _make_report(scorer: "Scorer") -> "EffectReport":
    from genomai_cli.inference.score_report import EffectReport  # slow to load

    has_likelihood = scorer.likelihood is not None
    return EffectReport(scorer.labels, scorer.location_names, has_likelihood=has_likelihood)


def _page_facts(run: Run, bundle: "Bundle", scorer: "Scorer") -> dict[str, str]:
    """Facts of the model, its windows and the run for a page."""
    method = scorer.likelihood.description if scorer.likelihood else "answers of the model's heads"
    return {
        "model": f"{bundle.name} {bundle.version}",
        "SHA-256 of its weights": bundle.weights_sha256,
        "method": method,
        "window": f"{scorer.window} letters",
        **run.facts(),
    }


def _picture_rows() -> "PictureRows":
    from genomai_cli.inference.substitution_picture import PictureRows  # slow to load

    return PictureRows()


def _alleles(run: Run, variants: EffectOptions) -> "AlleleFile":
    """The records of all inputs in their order, counted as read, under the header of the first."""
    from itertools import chain

    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.formats.kinds import Kind
    from genomai_cli.formats.variant_alleles import AlleleFile, read_alleles

    first, sources = open_run_inputs(run)
    if variants.to is Target.VCF and len(run.inputs) > 1:
        raise UsageError("--to vcf: one input at a time, whose header it keeps")
    if variants.to is Target.VCF and first.kind is Kind.BCF:
        raise UsageError(f"--to vcf: {first.path} is BCF; pipe it through `bcftools view`")
    first_file = read_alleles(next(sources))

    def counted() -> "Iterator[AlleleRecord]":
        for records in chain(
            [first_file.records], (read_alleles(source).records for source in sources)
        ):
            for record in records:
                run.count(read=1)
                yield record

    return AlleleFile(first_file.header, counted())


def _substitutions(variants: EffectOptions, reference: "IndexedFasta") -> "AlleleFile":
    """Every substitution of every base of the regions."""
    from genomai_cli.formats.consensus import read_regions
    from genomai_cli.formats.variant_alleles import AlleleFile
    from genomai_cli.inference.variant_effects import all_substitutions

    assert variants.regions is not None
    regions = read_regions(variants.regions)
    return AlleleFile((), all_substitutions(regions, reference, str(variants.regions)))


def _score_description(bundle: "Bundle", scorer: "Scorer") -> str:
    """A description of the scores for a VCF's header."""
    method = scorer.likelihood.method if scorer.likelihood else "labels"
    model = f"model={bundle.name}@{bundle.version} sha256={bundle.weights_sha256}"
    organism = f" organism={scorer.organism}" if scorer.organism else ""
    return f"{model} method={method} window={scorer.window}{organism}"


def _title(bundle: "Bundle", scorer: "Scorer") -> str:
    from genomai_cli.inference.label_odds import describe_label

    quantity = "log-likelihood (nats)" if scorer.likelihood else describe_label(scorer.labels[0])
    return f"{bundle.name}: change of the {quantity} by each substitution"
