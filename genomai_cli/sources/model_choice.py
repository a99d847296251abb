"""Which model a run uses, and what it reads: the one that is named, or that the first records speak for.

Without `--model`, a VCF on the contig of an installed model's reference, and sequences that belong to it, are that
model's; other VCFs, and barcodes of an installed panel, are read by the default model. Where a command has a model for
other DNA (`embed`), that is taken for sequences of A, C, G, T and N that are neither.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice
from typing import NamedTuple, Protocol

from genomai_cli import device as devices
from genomai_cli.alphabet import IS_BASE, UNKNOWN_LETTER, as_letters
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import InputError
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.shards import WHOLE, Shard
from genomai_cli.formats.streams import Input
from genomai_cli.formats.vcf_replay import first_records
from genomai_cli.inputs.base import InputKind
from genomai_cli.mapping.mapper import Mapper
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.vcf_alleles import conflicting_length, contig_names
from genomai_cli.population.barcode import (
    BarcodeSites,
    foreign_letters,
    has_too_many_foreign,
    sites_of,
)
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord
from genomai_cli.sources.faults import Faults
from genomai_cli.sources.installed import DEFAULT_MODEL, installed_panels, installed_references
from genomai_cli.sources.observer import Observer
from genomai_cli.sources.records import (
    VariantSettings,
    read_records,
    with_unknown_gaps,
    without_gaps,
)

PEEKED_RECORDS = 16  # records
MIN_PLAIN_SHARE = 0.99  # of the letters of DNA that is nobody's genotypes: A, C, G, T or N
MAX_HEAD = 1 << 26  # bytes of a VCF's header and first records
FILE_HEAD = 1 << 20  # bytes that are looked at of a file

Records = Iterator[SequenceRecord]


class OpenModel(NamedTuple):
    """A model by the name it was asked for, and the records of the run as it reads them."""

    name: str
    bundle: Bundle
    records: Records


class Compute(Protocol):
    """The device and the threads of a model."""

    @property
    def device(self) -> str:
        """A device's name, or `auto`."""

    @property
    def threads(self) -> int | None:
        """The number of CPU threads; None for all."""


def open_model(
    observer: Observer,
    sources: Iterator[Input],
    model: str | None,
    compute: Compute,
    *,
    variants: VariantSettings,
    part: Shard = WHOLE,
    panel_model: str = DEFAULT_MODEL,
    dna_model: str | None = None,
) -> OpenModel:
    """The model that is named, or that fits the first of the inputs, and the records of all inputs in the shard `part`.

    `panel_model` is the model of barcodes, and of a VCF on no contig of a reference; `dna_model` that of other
    sequences, if there is one.
    Raises InputError if no model is named and none fits, and BundleError if the model is missing or damaged.
    """
    first, refusal = next(sources), ""
    if model is None and first.has_variants:
        model, first = model_of_variants(observer, first, panel_model)
        refusal = f"name the model, --model {panel_model} or --model {model}"
    if model is not None:
        bundle = load_model(observer, model, compute)
        records = records_for(
            bundle,
            observer,
            chain([first], sources),
            variants=variants,
            refuse_others=refusal,
            part=part,
        )
        return OpenModel(model, bundle, records)
    initial = read_records(
        observer, [first], lambda: bundle.coordinates, variants=variants, keep_gaps=True
    )
    model, initial, reject_others = _model_of_sequences(observer, initial, panel_model, dna_model)
    bundle = load_model(observer, model, compute)
    remaining = read_records(
        observer,
        sources,
        lambda: bundle.coordinates,
        variants=variants,
        likelihoods=bundle.input.reads_likelihoods(bundle),
        plain=lambda: bundle.input.coordinates is None,
    )
    records = part.part(reject_others(chain(initial, remaining)))
    return OpenModel(model, bundle, _with_fault_warnings(observer, bundle, records))


def records_for(
    bundle: Bundle,
    observer: Observer,
    sources: Iterable[Input],
    *,
    variants: VariantSettings,
    refuse_others: str = "",
    part: Shard = WHOLE,
) -> Records:
    """The records of all inputs in the shard `part`, as the model reads them."""
    records = read_records(
        observer,
        sources,
        lambda: bundle.coordinates,
        variants=variants,
        likelihoods=bundle.input.reads_likelihoods(bundle),
        refuse_others=refuse_others,
        tokenizer=lambda: bundle.tokenizer,
        plain=lambda: bundle.input.coordinates is None,
    )
    return _with_fault_warnings(observer, bundle, part.part(records))


def _with_fault_warnings(observer: Observer, bundle: Bundle, records: Records) -> Records:
    """The same records; at the end a warning with the input kind's advice, if it finds fault with some."""
    faults = Faults(observer, bundle.input, InstalledInputs())
    for record in records:
        faults.add(record)
        yield record
    faults.warn()


def load_model(observer: Observer, name: str, compute: Compute) -> Bundle:
    """The model on its device, in the precision that does not show in its answers; the run records both."""
    devices.use_threads(compute.threads)
    device = devices.choose(compute.device)
    record_device(observer, device, compute.device)
    bundle = bundles.load(name, device, devices.exact_precision(device))
    observer.used_model(bundle.name, bundle.version, bundle.weights_sha256)
    for remark in bundle.remarks:
        observer.console.warn(remark)
    return bundle


def record_device(observer: Observer, device: object, requested: str) -> None:
    """Note the device that a run came to, and warn of a GPU that is there and cannot be used."""
    observer.used_device(device)
    if warning := devices.fallback_warning(requested):
        observer.console.warn(warning)


def model_of_variants(
    observer: Observer,
    source: Input,
    panel_model: str = DEFAULT_MODEL,
    reference_model: str | None = None,
) -> tuple[str, Input]:
    """The model that the first records of a VCF or BCF speak for, and the input with nothing lost of it.

    `panel_model` unless they are on the contig of a reference; then the model of that, or the one that is named.
    """
    if source.kind not in (Kind.VCF, Kind.BCF):  # others are of all chromosomes
        return panel_model, source
    first, source = first_records(source, max_bytes=MAX_HEAD, file_bytes=FILE_HEAD)
    for name, reference in installed_references().items():
        length = conflicting_length(first.header, reference)
        if not first.contigs or not first.contigs <= contig_names(reference):
            continue
        # hg19 begins with another chrM, which its own file is refused for, but not one of the whole genome
        if length is not None and not first.complete:
            size = f"has {length} letters in the header"
            message = f"the contig of {reference.name} {size}, not {len(reference)}"
            observer.console.warn(f"{message}: model {name} does not read it")
        else:
            model = reference_model or name
            observer.console.say(f"the records are on {reference.name}: model {model}")
            return model, source
    return panel_model, source


# --- sequences


def _model_of_sequences(
    observer: Observer, records: Records, panel_model: str, dna_model: str | None
) -> tuple[str, Records, Callable[[Records], Records]]:
    """The model that the first records speak for, all records with their gaps as it reads them, and a filter that
    refuses records of another kind.

    A record of a panel's length whose letters are alleles is a barcode unless it belongs to a reference. If none of the
    first records is either, `dna_model` is chosen; InputError if there is none, or they have other letters.
    """
    installed = _InstalledCoordinates(installed_references(), installed_panels(), panel_model)
    if not installed.references:
        return panel_model, map(with_unknown_gaps, records), iter
    peeked: list[SequenceRecord] = []

    def all_records() -> Records:
        return map(with_unknown_gaps, chain(peeked, records))

    for gapped in islice(records, PEEKED_RECORDS):
        peeked.append(gapped)
        record = with_unknown_gaps(gapped)
        name = installed.model_of(record)
        if name in installed.references:
            reference = installed.references[name]
            observer.console.say(f"{record.name} belongs to {reference.name}: model {name}")
            return name, all_records(), partial(installed.reject_barcodes, model=name)
        if name is not None:
            return name, all_records(), installed.reject_genomes
    initial = [with_unknown_gaps(record) for record in peeked]
    if dna_model is not None and initial and all(map(is_plain_dna, initial)):
        observer.console.say(
            f"{peeked[0].name} belongs to no other installed model: model {dna_model}"
        )
        return (
            dna_model,
            without_gaps(observer, chain(peeked, records)),
            partial(installed.reject_barcodes, model=dna_model, others="other DNA"),
        )
    if initial:
        raise installed.unread_error(initial[0])
    return panel_model, records, iter


def is_plain_dna(record: SequenceRecord) -> bool:
    """Whether hardly any letter is another than A, C, G, T and N: those of samples stand for two alleles."""
    letters_L = as_letters(record.held)
    plain_letters = int((IS_BASE[letters_L] | (letters_L == UNKNOWN_LETTER)).sum())
    return plain_letters >= MIN_PLAIN_SHARE * len(letters_L)


@dataclass(frozen=True)
class _InstalledCoordinates:
    """The references and panels of the installed models, to which genomes and barcodes belong."""

    references: dict[str, Reference]
    panels: dict[str, Panel]
    panel_model: str = DEFAULT_MODEL  # the model of barcodes

    @cached_property
    def mappers(self) -> dict[str, Mapper]:
        """Mappers by model; they find whether a sequence belongs to the reference."""
        return {name: Mapper(reference) for name, reference in self.references.items()}

    @cached_property
    def barcode_lengths(self) -> set[int]:
        """The lengths of barcodes."""
        return {len(panel) for panel in self.panels.values()}

    def model_of(self, record: SequenceRecord) -> str | None:
        """The model of the reference that the record belongs to, or that of barcodes; None for neither."""
        for name, mapper in self.mappers.items():
            if mapper(record.held) is not None:
                return name
        return self.panel_model if self._is_barcode(record) else None

    def _is_barcode(self, record: SequenceRecord) -> bool:
        """Whether the record has the length of a panel, and letters of its sites."""
        panels = [panel for panel in self.panels.values() if len(panel) == len(record.sequence)]
        if not panels:
            return False
        letters_S = as_letters(record.held)
        return any(not has_too_many_foreign(*foreign_letters(letters_S, panel)) for panel in panels)

    def reject_barcodes(self, records: Records, model: str, others: str = "genomes") -> Records:
        """The records; InputError for a barcode, which another model would take for something unheard of."""
        sites = [BarcodeSites.of(panel) for panel in self.panels.values()]
        for record in records:
            if len(record.sequence) in self.barcode_lengths and sites_of(
                as_letters(record.held), sites
            ):
                raise _mixed_kinds_error(record, "a barcode", others, model)
            yield record

    def reject_genomes(self, records: Records) -> Records:
        """The records; InputError for a genome, which is no barcode. What is neither is left to the model to refuse."""
        for record in records:
            name = None if len(record.sequence) in self.barcode_lengths else self.model_of(record)
            if name is not None:
                kind = f"a genome for the model {name}"
                raise _mixed_kinds_error(record, kind, "barcodes", self.panel_model)
            yield record

    def unread_error(self, record: SequenceRecord) -> InputError:
        """The error for a record that none of the models reads."""
        barcodes = " or ".join(map(str, sorted(self.barcode_lengths)))
        references = (f"{reference.name} ({name})" for name, reference in self.references.items())
        reason = f"no barcode ({barcodes} letters)"
        if len(record.sequence) in self.barcode_lengths:
            reason = "not the alleles of a barcode's sites in their order and strand"
        return InputError(
            f"{record.name} has {len(record.sequence)} letters: {reason}, and it does not "
            f"belong to the reference of a model, {', '.join(references)}; if another model reads it, "
            "name that with --model",
            path=record.path,
            line=record.line or None,
        )


def _mixed_kinds_error(record: SequenceRecord, kind: str, others: str, model: str) -> InputError:
    message = (
        f"{record.name} is {kind}, and the records before it are {others}, read by the model {model}: "
        "one run reads one kind"
    )
    return InputError(message, path=record.path, line=record.line or None)


# --- inputs of other models


class InstalledInputs(Mapping[str, InputKind]):
    """The barcodes of the installed models, by the model's name; their panels are read when the first is asked for."""

    @cached_property
    def _kinds(self) -> dict[str, InputKind]:
        return {name: BarcodeInput(panel) for name, panel in installed_panels().items()}

    def __getitem__(self, name: str) -> InputKind:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)
