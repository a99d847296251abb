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
    sites_of,
    too_foreign,
)
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord
from genomai_cli.sources.installed import DEFAULT_MODEL, installed_panels, installed_references
from genomai_cli.sources.observer import Observer
from genomai_cli.sources.records import VariantSettings, read_records

LOOKED_AT = 16  # records
PLAIN_SHARE = 0.99  # of the letters of DNA that is nobody's genotypes: A, C, G, T or N
MAX_HEAD = 1 << 26  # bytes of a VCF's header and first records
FILE_HEAD = 1 << 20  # bytes that are looked at of a file

Records = Iterator[SequenceRecord]


class OpenModel(NamedTuple):
    """A model by the name it was asked for, and the records of the run as it reads them."""

    name: str
    bundle: Bundle
    records: Records


class Compute(Protocol):
    """On what a model runs."""

    @property
    def device(self) -> str:
        """`auto`, or the name of one."""

    @property
    def threads(self) -> int | None:
        """Of the CPU; None for all."""


def open_model(
    observer: Observer,
    sources: Iterator[Input],
    model: str | None,
    compute: Compute,
    *,
    variants: VariantSettings,
    part: Shard = WHOLE,
    of_panel: str = DEFAULT_MODEL,
    of_dna: str | None = None,
) -> OpenModel:
    """The model that is named, or that fits the first of the inputs, and of the records of all of them the `part`.

    `of_panel` is the model of barcodes, and of a VCF on no contig of a reference; `of_dna` that of sequences which are
    neither, if there is one.
    Raises InputError if no model is named and none fits, and BundleError if the model is missing or damaged.
    """
    first, refusal = next(sources), ""
    if model is None and first.has_variants:
        model, first = model_of_variants(observer, first, of_panel)
        refusal = f"name the model, --model {of_panel} or --model {model}"
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
    begun = read_records(observer, [first], lambda: bundle.coordinates, variants=variants)
    model, seen, guard = _model_of_sequences(observer, begun, of_panel, of_dna)
    bundle = load_model(observer, model, compute)
    others = read_records(
        observer,
        sources,
        lambda: bundle.coordinates,
        variants=variants,
        likelihoods=bundle.input.reads_likelihoods(bundle),
    )
    records = part.part(guard(chain(seen, others)))
    return OpenModel(model, bundle, _watched(observer, bundle, records))


def records_for(
    bundle: Bundle,
    observer: Observer,
    sources: Iterable[Input],
    *,
    variants: VariantSettings,
    refuse_others: str = "",
    part: Shard = WHOLE,
) -> Records:
    """Of the records of all inputs the `part`, as the model reads them."""
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
    return _watched(observer, bundle, part.part(records))


def _watched(observer: Observer, bundle: Bundle, records: Records) -> Records:
    """The same records; at the end a warning with the input kind's advice, if it finds fault with some."""
    faults = Faults(observer, bundle.input, InstalledInputs())
    for record in records:
        faults.of(record)
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


def record_device(observer: Observer, device: object, asked: str) -> None:
    """Note the device that a run came to, and warn of a GPU that is there and cannot be used."""
    observer.used_device(device)
    if told := devices.fallback(asked):
        observer.console.warn(told)


def model_of_variants(
    observer: Observer,
    source: Input,
    of_panel: str = DEFAULT_MODEL,
    of_reference: str | None = None,
) -> tuple[str, Input]:
    """The model that the first records of a VCF or BCF speak for, and the input with nothing lost of it.

    `of_panel` unless they are on the contig of a reference; then the model of that, or the one that is named.
    """
    if source.kind not in (Kind.VCF, Kind.BCF):  # others are of all chromosomes
        return of_panel, source
    first, source = first_records(source, most=MAX_HEAD, of_file=FILE_HEAD)
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
            chosen = of_reference or name
            observer.console.say(f"the records are on {reference.name}: model {chosen}")
            return chosen, source
    return of_panel, source


# --- sequences


def _model_of_sequences(
    observer: Observer, records: Records, of_panel: str, of_dna: str | None
) -> tuple[str, Records, Callable[[Records], Records]]:
    """The model that the first records speak for, all records, and what refuses records of another kind.

    A record of a panel's length whose letters are alleles is a barcode unless it belongs to a reference. If none of the
    first records is either, they are for the model `of_dna`; InputError if there is none, or they have other letters.
    """
    installed = _Installed(installed_references(), installed_panels(), of_panel)
    if not installed.references:
        return of_panel, records, iter
    seen: list[SequenceRecord] = []
    for record in islice(records, LOOKED_AT):
        seen.append(record)
        name = installed.model_of(record)
        if name in installed.references:
            reference = installed.references[name]
            observer.console.say(f"{record.name} belongs to {reference.name}: model {name}")
            return name, chain(seen, records), partial(installed.without_barcodes, model=name)
        if name is not None:
            return name, chain(seen, records), installed.without_genomes
    if of_dna is not None and seen and all(map(is_plain_dna, seen)):
        observer.console.say(f"{seen[0].name} belongs to no other installed model: model {of_dna}")
        return (
            of_dna,
            chain(seen, records),
            partial(installed.without_barcodes, model=of_dna, others="other DNA"),
        )
    if seen:
        raise installed.refusal(seen[0])
    return of_panel, records, iter


def is_plain_dna(record: SequenceRecord) -> bool:
    """Whether hardly any letter is another than A, C, G, T and N: those of samples stand for two alleles."""
    letters_L = as_letters(record.held)
    plain = int((IS_BASE[letters_L] | (letters_L == UNKNOWN_LETTER)).sum())
    return plain >= PLAIN_SHARE * len(letters_L)


@dataclass(frozen=True)
class _Installed:
    """What the installed models read: genomes that belong to a reference, and barcodes of a panel."""

    references: dict[str, Reference]
    panels: dict[str, Panel]
    of_panel: str = DEFAULT_MODEL  # the model of barcodes

    @cached_property
    def mappers(self) -> dict[str, Mapper]:
        """What tells whether a sequence belongs to a reference."""
        return {name: Mapper(reference) for name, reference in self.references.items()}

    @cached_property
    def sizes(self) -> set[int]:
        """The lengths of barcodes."""
        return {len(panel) for panel in self.panels.values()}

    def model_of(self, record: SequenceRecord) -> str | None:
        """The model of the reference that the record belongs to, or that of barcodes; None for neither."""
        for name, mapper in self.mappers.items():
            if mapper(record.held) is not None:
                return name
        return self.of_panel if self._is_barcode(record) else None

    def _is_barcode(self, record: SequenceRecord) -> bool:
        """Whether the record has the length of a panel, and letters of its sites."""
        panels = [panel for panel in self.panels.values() if len(panel) == len(record.sequence)]
        if not panels:
            return False
        letters_S = as_letters(record.held)
        return any(not too_foreign(*foreign_letters(letters_S, panel)) for panel in panels)

    def without_barcodes(self, records: Records, model: str, others: str = "genomes") -> Records:
        """The records; InputError for a barcode, which another model would take for something unheard of."""
        sites = [BarcodeSites.of(panel) for panel in self.panels.values()]
        for record in records:
            if len(record.sequence) in self.sizes and sites_of(as_letters(record.held), sites):
                raise _other_kind(record, "a barcode", others, model)
            yield record

    def without_genomes(self, records: Records) -> Records:
        """The records; InputError for a genome, which is no barcode. What is neither is left to the model to refuse."""
        for record in records:
            name = None if len(record.sequence) in self.sizes else self.model_of(record)
            if name is not None:
                what = f"a genome for the model {name}"
                raise _other_kind(record, what, "barcodes", self.of_panel)
            yield record

    def refusal(self, record: SequenceRecord) -> InputError:
        """What to say of a record that none of the models reads."""
        barcodes = " or ".join(map(str, sorted(self.sizes)))
        named = (f"{reference.name} ({name})" for name, reference in self.references.items())
        why = f"no barcode ({barcodes} letters)"
        if len(record.sequence) in self.sizes:
            why = "not the alleles of a barcode's sites in their order and strand"
        return InputError(
            f"{record.name} has {len(record.sequence)} letters: {why}, and it does not "
            f"belong to the reference of a model, {', '.join(named)}; if another model reads it, "
            "name that with --model",
            path=record.path,
            line=record.line or None,
        )


def _other_kind(record: SequenceRecord, what: str, others: str, model: str) -> InputError:
    message = (
        f"{record.name} is {what}, and the records before it are {others}, read by the model {model}: "
        "one run reads one kind"
    )
    return InputError(message, path=record.path, line=record.line or None)


# --- what other models read, and what is wrong with records


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


class Faults:
    """What an input kind finds fault with in the records that pass, to be told once at the end; `others` are those of
    other models, whose records may be read too."""

    def __init__(
        self, observer: Observer, kind: InputKind, others: Mapping[str, InputKind] | None = None
    ) -> None:
        self.observer, self.kind, self.count = observer, kind, 0
        self.others = {} if others is None else others
        self.found: dict[str, tuple[str, int]] = {}  # the first name, and how many

    def of(self, record: SequenceRecord) -> None:
        """Take note of a record."""
        self.count += 1
        for fault in self._kind_of(record).faults(record):
            first, before = self.found.get(fault, (record.name, 0))
            self.found[fault] = first, before + 1

    def _kind_of(self, record: SequenceRecord) -> InputKind:
        length = len(record.sequence)
        if self.kind.row_length in (None, length):
            return self.kind
        return next((k for k in self.others.values() if k.row_length == length), self.kind)

    def warn(self) -> None:
        """A warning a fault, with the samples that have it and what to do."""
        for fault, (first, number) in self.found.items():
            many = f"{number} of {self.count} samples, {first} first"
            who = first if self.count == 1 else many
            self.observer.console.warn(f"{fault}: {who}: {self.kind.advice(fault)}")
