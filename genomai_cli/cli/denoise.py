"""`genomai denoise`: missing letters and genotypes restored, likely errors corrected, with a table of the changes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    Compute,
    Inputs,
    Model,
    Output,
    ShardOption,
    VariantOptions,
)
from genomai_cli.cli.run import Run, command
from genomai_cli.cli.track_outputs import Form, GenomeOptions, ToForm, TrackForm, write_tracks
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.denoising.base import VcfOptions
    from genomai_cli.denoising.fasta import DenoisedEntry
    from genomai_cli.formats.fasta import Entry
    from genomai_cli.formats.shards import Shard
    from genomai_cli.formats.streams import Input
    from genomai_cli.sources.denoisers import OpenDenoiser
    from genomai_cli.sources.faults import Faults

DEFAULT_MODELS = ("ancestry-generator", "mito-denoiser")  # the input chooses
COLUMNS = ("sample", "place", "from", "to", "probability")


class Changes:
    """Writes a row a change if there is a file for it, under a `header`, and counts in any case."""

    def __init__(self, handle: IO[str] | None, *, header: bool = True) -> None:
        self._handle, self.has_file = handle, handle is not None
        self.counts = {"missing": 0, "restored": 0, "corrected": 0}
        if handle is not None and header:
            handle.write("\t".join(COLUMNS) + "\n")

    def count(self, **counts: int) -> None:
        """Add to the counts."""
        for name, number in counts.items():
            self.counts[name] = self.counts.get(name, 0) + number

    def write(
        self, sample: str, position: str, before: str, after: str, probability: float
    ) -> None:
        """One change."""
        if self._handle is not None:
            self._handle.write(f"{sample}\t{position}\t{before}\t{after}\t{probability:.4f}\n")

    def add_entry(self, item: "DenoisedEntry") -> None:
        """The changes of a FASTA entry; positions count its letters from 1."""
        from genomai_cli.alphabet import UNKNOWN_LETTER

        proposal, letters = item.proposal, item.entry.letters()
        if proposal is None or letters is None:
            return
        before = letters[proposal.positions]
        restored = int((before == UNKNOWN_LETTER).sum())
        self.count(missing=proposal.missing, restored=restored, corrected=len(before) - restored)
        if self._handle is None:
            return
        rows = (proposal.positions.tolist(), before.tolist(), proposal.letters.tolist())
        for number, old, new, p in zip(*rows, proposal.probabilities.tolist(), strict=True):
            self.write(item.entry.name, str(number + 1), chr(old), chr(new), p)


@contextmanager
def changes_table(path: Path | None, part: "Shard") -> Iterator[Changes]:
    """The writer of changes; its file appears whole or not at all."""
    if path is None:
        yield Changes(None)
        return
    from genomai_cli.formats.outputs import atomic_text

    with atomic_text(path) as handle:
        yield Changes(handle, header=part.is_first)


ErrorRate = Annotated[
    float | None,
    typer.Option(
        "--error-rate",
        metavar="E",
        min=1e-9,
        max=0.5,
        help="So many of the known letters or genotypes are wrong: correct those that are likely to be.",
        show_default=False,
    ),
]
MinConfidence = Annotated[
    float,
    typer.Option(
        "--min-confidence",
        metavar="P",
        min=0,
        max=1,
        help="Restore and correct only what is at least so probable.",
    ),
]
OnlyPresent = Annotated[
    bool,
    typer.Option(
        "--only-present", help="Add no records for sites of the model that the VCF does not have."
    ),
]
ChangesFile = Annotated[
    Path | None,
    typer.Option(
        "--changes",
        metavar="FILE",
        help="Write a table of all changes: sample, place, from, to, probability.",
        show_default=False,
    ),
]


KnownTracks = Annotated[
    Path | None,
    typer.Option(
        "--tracks",
        metavar="TSV|BED",
        help="Fill tracks along --reference instead: those known, by a model of `pretrain --objective omics`.",
        show_default=False,
    ),
]


@dataclass(eq=False, repr=False)
class TrackFilling(GenomeOptions):
    """Which tracks are filled, along which regions, and their format."""

    tracks: KnownTracks = None
    to: ToForm = Form.BIGWIG

    def check(self, **other_options: object) -> None:
        """UsageError for options that are not of tracks, or of tracks without --tracks."""
        if self.tracks is None and (self.reference or self.regions or self.to is not Form.BIGWIG):
            raise UsageError("--reference, --regions and --to are of --tracks")
        options = [name for name, value in other_options.items() if value]
        if self.tracks is not None and options:
            raise UsageError(f"--{options[0].replace('_', '-')} is not of --tracks")


@dataclass(eq=False, repr=False)
class RestorationOptions:
    """Which letters and genotypes are restored, corrected and added, and the table of the changes."""

    error_rate: ErrorRate = None
    min_confidence: MinConfidence = 0.0
    only_present: OnlyPresent = False
    changes_file: ChangesFile = None


@command
def denoise(
    run: Run,
    inputs: Inputs = None,
    *,
    restoring: RestorationOptions,
    model: Model = None,
    variants: VariantOptions,
    filling: TrackFilling,
    shard: ShardOption = None,
    compute: Compute,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Restore missing letters and genotypes.

    FASTA stays FASTA: the letters N of a barcode or of a human mitochondrial genome (on either strand, whole or in
    part) are restored where the model can tell, everything else stays byte for byte, and so do sequences that no model
    knows. VCF or BCF becomes VCF: missing genotypes at the model's sites are filled in, with probabilities (GP) and
    dosages (DS), and sites that the file does not have are added. Several VCFs of the same samples, one a
    chromosome or a stretch, come out as one. Without --model the input chooses.

    With --tracks the tracks of a model are written along a reference: as they are where known, elsewhere as the
    model predicts them from DNA and what is known.

    \b
    genomai denoise --model tracks-model --tracks some.tsv --reference ref.fa -o filled
    genomai denoise samples.vcf.gz -o restored.vcf.gz
    genomai denoise --min-confidence 0.9 --changes restored.tsv genomes.fa > restored.fa
    genomai denoise --error-rate 0.01 barcodes.fa > corrected.fa
    """
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.denoising.base import Settings, VcfOptions
    from genomai_cli.formats.outputs import buffered_output
    from genomai_cli.formats.shards import Shard
    from genomai_cli.sources.denoisers import open_denoiser

    part = Shard.parsed(shard)
    filling.check(inputs=inputs, shard=shard, **vars(restoring), **vars(variants))
    if filling.tracks is not None:
        _fill_tracks(run, filling, model, compute, output)
        return
    settings = Settings(restoring.min_confidence, restoring.error_rate, compute.seed)
    options = VcfOptions(settings, variants.absent_is_ref, restoring.only_present, variants.rules)
    first, sources = open_run_inputs(run)
    with buffered_output(output) as out, changes_table(restoring.changes_file, part) as table:
        if first.has_variants:
            model, parts = _parts_of_vcf(run, list(sources), model)
            denoiser = open_denoiser(run, model, compute, settings)
            _denoise_vcf(run, parts, out, table, denoiser, options, part)
        else:
            from genomai_cli.sources.installed import installed_panels

            panels = list(installed_panels().values())
            names = [model] if model else DEFAULT_MODELS
            denoisers = [open_denoiser(run, name, compute, settings, panels) for name in names]
            _denoise_fasta(run, sources, out, table, denoisers, part)
    run.note(**table.counts)


def _fill_tracks(
    run: Run, filling: TrackFilling, model: str | None, compute: Compute, output: Path
) -> None:
    from genomai_cli.sources.model_choice import load_model

    if model is None or filling.reference is None:
        raise UsageError("--tracks needs a --model and a --reference")
    bundle = load_model(run, model, compute)
    write_tracks(run, bundle, filling, TrackForm(to=filling.to), output, filling.tracks)


def _parts_of_vcf(run: Run, sources: list["Input"], model: str | None) -> tuple[str, list["Input"]]:
    """The model that is named, or that the first records of every file speak for, and the files; InputError where two
    of them speak for two."""
    if model is not None:
        return model, sources
    from genomai_cli.errors import InputError, shown_path
    from genomai_cli.sources.model_choice import model_of_variants

    choices = [model_of_variants(run, source, *DEFAULT_MODELS) for source in sources]
    choice, first = choices[0]
    for name, source in choices[1:]:
        if name != choice:
            message = (
                f"its records are for the model {name}, those of {shown_path(first.path)} for {choice}: one run has "
                f"one, --model {choice} or --model {name}"
            )
            raise InputError(message, path=source.path)
    return choice, [source for _, source in choices]


def _denoise_vcf(
    run: Run,
    sources: list["Input"],
    out: IO[bytes],
    table: Changes,
    vcf_denoiser: "OpenDenoiser",
    options: "VcfOptions",
    part: "Shard",
) -> None:
    from genomai_cli.denoising.vcf import denoise_vcf

    (denoiser, origin, _), report = vcf_denoiser, table.write if table.has_file else None
    summary = denoise_vcf(sources, out, denoiser, options, origin=origin, report=report, part=part)
    for message in summary.messages:
        run.console.say(message)
    for warning in summary.warnings:
        run.console.warn(warning)
    run.count(read=summary.samples, used=summary.usable, refused=summary.samples - summary.usable)
    table.count(**summary.counts)


def _denoise_fasta(
    run: Run,
    sources: Iterable["Input"],
    out: IO[bytes],
    table: Changes,
    opened: list["OpenDenoiser"],
    part: "Shard",
) -> None:
    from genomai_cli.denoising.fasta import denoise_entries
    from genomai_cli.sources.faults import Faults

    denoisers = [each.denoiser for each in opened]
    names = " and ".join(denoiser.name for denoiser in denoisers)
    faults = [Faults(run, each.input) for each in opened]
    warn = run.repeated_warning(f"records in all that are unknown to {names}: unchanged")
    for _, samples in groupby(part.part(_samples(sources)), key=lambda numbered: numbered[0]):
        for item in denoise_entries((entries for _, entries in samples), denoisers):
            _check_faults(faults, item)
            _count(run, item, names, warn)
            table.add_entry(item)
            out.write(item.restored.raw)
    for faults_of_model in faults:
        faults_of_model.warn()


def _samples(sources: Iterable["Input"]) -> "Iterator[tuple[int, list[Entry]]]":
    """The entries that are read together, each with the number of their source."""
    from genomai_cli.denoising.fasta import entries_of_samples
    from genomai_cli.formats.fasta import read_entries

    for number, source in enumerate(sources):
        with source:
            yield from ((number, entries) for entries in entries_of_samples(read_entries(source)))


def _check_faults(faults: "list[Faults]", item: "DenoisedEntry") -> None:
    """Count the faults of an entry that a model knows."""
    from genomai_cli.records import SequenceRecord

    letters = item.entry.letters() if item.proposal is not None else None
    if letters is not None:
        text = letters.tobytes().decode("ascii").replace("-", "N")
        for faults_of_model in faults:
            faults_of_model.add(SequenceRecord(item.entry.name, text))


def _count(run: Run, item: "DenoisedEntry", names: str, warn: Callable[[str], None]) -> None:
    """Count an entry, and warn of one that passes as it is since no model knows it."""
    if not item.entry.has_title:
        return
    is_known = item.proposal is not None
    run.count(read=1, used=is_known, refused=not is_known)
    if not is_known:
        reason = f"nothing in it is known to {item.model}" if item.model else f"unknown to {names}"
        warn(f"{item.entry.name}: {reason}: unchanged")
