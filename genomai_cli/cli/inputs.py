"""From a command's inputs to sequence records: FASTA and FASTQ as they are, VCF and BCF by way of a panel or a
reference.

Which installed model reads an input, where `--model` does not say: barcodes and VCFs of nuclear DNA, or genomes
that belong to the reference of a model.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.run import Run
from genomai_cli.errors import GenomaiError, InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.inputs.base import InputKind
    from genomai_cli.mapping.mapper import Mapper, RecordMapper
    from genomai_cli.mapping.reference import Reference
    from genomai_cli.population.panel import Panel
    from genomai_cli.records import SequenceRecord
    from genomai_cli.tokenizers import Tokenizer

NOT_PHASED = "--haplotypes is about a panel's sites: the model reads genomes against a reference"


def open_run_inputs(run: Run) -> tuple["Input", Iterator["Input"]]:
    """The run's first input, whose kind may decide something, and all inputs, each opened in its turn."""
    from genomai_cli.formats.streams import open_inputs

    inputs = iter(open_inputs(run.inputs))
    first = next(inputs)
    return first, chain([first], inputs)


def read_records(
    run: Run,
    inputs: Iterable["Input"],
    places: Callable[[], "Panel | Reference"],
    *,
    absent_is_ref: bool = False,
    haplotypes: bool = False,
    refuse_others: str = "",
    tokenizer: Callable[[], "Tokenizer"] | None = None,
) -> Iterator["SequenceRecord"]:
    """The records of all inputs in their order, counted as read.

    A sample of a VCF becomes its barcode over the panel, or with `haplotypes` two, NAME_A and NAME_B; or its genome in
    the coordinates of the reference, and `refuse_others` says why records of other contigs are not passed over.
    VCFs that stand side by side are read together, since they may be one cohort in pieces. `places` is called only
    if there is a VCF, and `tokenizer`, which says how sequences are to be read, only if there is a sequence.
    """
    from genomai_cli.formats.fasta import read_sequences
    from genomai_cli.mapping.reference import Reference

    for has_variants, group in groupby(inputs, key=lambda source: source.has_variants):
        if has_variants:
            where = places()
            if not isinstance(where, Reference):
                yield from _of_variants(run, group, where, absent_is_ref, haplotypes)
            elif haplotypes:
                raise UsageError(NOT_PHASED)
            else:
                yield from _of_genomes(run, group, where, absent_is_ref, refuse_others)
            continue
        for source in group:
            with source:
                for record in read_sequences(source, **_reading(tokenizer)):
                    run.count(read=1)
                    yield record


def _reading(tokenizer: Callable[[], "Tokenizer"] | None) -> dict[str, bool]:
    if tokenizer is None:
        return {}
    chosen = tokenizer()
    return {"case_sensitive": chosen.case_sensitive, "any_text": chosen.any_text}


def in_coordinates(
    run: Run,
    records: Iterable["SequenceRecord"],
    mapper: "InputKind | RecordMapper",
    positions: list[int] | None = None,
) -> Iterator["SequenceRecord"]:
    """The same records in the coordinates of the mapper's reference, if it has one, at some positions (from 0) or all.

    Those that do not belong to the reference are left out, with a warning.
    """
    for record in records:
        mapped = mapper.mapped(record)
        if mapped is None:
            run.console.warn(
                f"{record.name} does not belong to {mapper.coordinates.name}: left out"
            )
            run.count(refused=1)
        elif positions is None:
            yield mapped
        else:
            yield replace(mapped, sequence="".join(mapped.sequence[at] for at in positions))


def read_haplotype_sequences(
    run: Run, inputs: Iterable["Input"], reference: Path, regions: Path
) -> Iterator["SequenceRecord"]:
    """Both haplotypes of every sample of the VCFs over the regions of a BED file, counted as read."""
    from genomai_cli.formats.consensus import haplotype_sequences

    for record in haplotype_sequences(inputs, reference, regions, warn=run.console.warn):
        run.count(read=1)
        yield record


def _of_variants(
    run: Run, inputs: Iterable["Input"], panel: "Panel", absent_is_ref: bool, haplotypes: bool
) -> Iterator["SequenceRecord"]:
    from genomai_cli.population.barcode import read_barcodes, read_haplotypes

    read = read_haplotypes if haplotypes else read_barcodes
    samples = read(inputs, panel, absent_is_ref=absent_is_ref)
    for report in samples.reports:
        run.console.say(str(report))
        for warning in report.warnings:
            run.console.warn(warning)
    run.note(panel=panel.name, builds=[report.build for report in samples.reports])
    run.count(read=len(samples.names))
    yield from samples.records()


def _of_genomes(
    run: Run, inputs: Iterable["Input"], reference: "Reference", absent_is_ref: bool, refusal: str
) -> Iterator["SequenceRecord"]:
    from genomai_cli.mapping.vcf_genomes import read_genomes

    cohorts = read_genomes(inputs, reference, absent_is_ref=absent_is_ref, refuse_others=refusal)
    reports = [cohort.report for cohort in cohorts]
    for report in reports:
        run.console.say(str(report))
    run.note(reference=reference.name, positions=[report.covered for report in reports])
    for cohort in cohorts:
        run.count(read=len(cohort.samples))
        yield from cohort.records()


DEFAULT_MODEL = "ancestry"
FIRST_OF_REFERENCES = "mito"  # where several models have the same reference
LOOKED_AT = 16  # records
_MOST = 1 << 26  # bytes of a VCF's header and first records
_FILE = 1 << 20  # bytes that are looked at of a file
Guard = Callable[[Iterable["SequenceRecord"]], Iterator["SequenceRecord"]]


def records_and_model(
    run: Run,
    model: str | None,
    places: "Callable[[], Panel | Reference]",
    *,
    absent_is_ref: bool,
    tokenizer: Callable[[], "Tokenizer"] | None = None,
) -> tuple[str, Iterator["SequenceRecord"]]:
    """The records of the run's inputs, and the model to read them: the one that is named, or that fits the first.

    `places` and the `tokenizer` are the model's, asked for when a VCF or a sequence is read, which is not before the
    first record is taken. Where no model is named, sequences are read as nucleotides in upper case.
    """
    first, sources = open_run_inputs(run)
    refusal = ""
    if model is None and first.has_variants:
        model, first = model_of_variants(run, first)
        refusal = f"name the model, --model {DEFAULT_MODEL} or --model {model}"
    rest = islice(sources, 1, None)
    if model is not None:
        inputs = chain([first], rest)
        return model, read_records(
            run,
            inputs,
            places,
            absent_is_ref=absent_is_ref,
            refuse_others=refusal,
            tokenizer=tokenizer,
        )
    model, records, guard = model_of_sequences(run, read_records(run, [first], places))
    others = read_records(run, rest, places, absent_is_ref=absent_is_ref)
    return model, guard(chain(records, others))


def installed_panels() -> "dict[str, Panel]":
    """The panels of the installed models: barcodes of any of them can be read where they suffice."""
    from genomai_cli.bundles import catalog
    from genomai_cli.population.panel import Panel

    panels = {}
    for name in catalog.names():
        with suppress(GenomaiError):  # another model than the one in use may be damaged
            panels[name] = Panel.read(catalog.panel_of(name))
    return panels


def installed_inputs() -> "dict[str, InputKind]":
    """The barcodes of the installed models, by the model's name."""
    from genomai_cli.population.barcode_input import BarcodeInput

    return {name: BarcodeInput(panel) for name, panel in installed_panels().items()}


def installed_references() -> "dict[str, Reference]":
    """The references of the installed models that have heads, by the model's name."""
    from genomai_cli.bundles import catalog
    from genomai_cli.mapping.reference import Reference

    references = {}
    for name in sorted(catalog.names(), key=lambda name: (name != FIRST_OF_REFERENCES, name)):
        with suppress(GenomaiError):
            folder = catalog.find(name)
            if (folder / catalog.REFERENCE).is_file() and catalog.read_config(folder).get("heads"):
                references[name] = Reference.read(folder / catalog.REFERENCE)
    return references


def model_of_sequences(
    run: Run, records: Iterator["SequenceRecord"]
) -> tuple[str, Iterator["SequenceRecord"], Guard]:
    """The model that the first records speak for, all records, and what refuses records of the other kind.

    A record of a panel's length is a barcode unless it belongs to a reference. Raises InputError if none of the
    first records is either.
    """
    from genomai_cli.mapping.mapper import Mapper

    references = installed_references()
    if not references:
        return DEFAULT_MODEL, records, iter
    mappers = {name: Mapper(reference) for name, reference in references.items()}
    panels = installed_panels()
    sizes = {len(panel) for panel in panels.values()}
    seen: list[SequenceRecord] = []
    for record in islice(records, LOOKED_AT):
        seen.append(record)
        name = _model_of(record, mappers, sizes)
        if name is not None:
            if name in references:
                run.console.say(f"{record.name} belongs to {references[name].name}: model {name}")
            whole = chain(seen, records)
            if name in references:
                return name, whole, partial(_no_barcodes, model=name, panels=panels)
            return name, whole, partial(_no_genomes, mappers=mappers, sizes=sizes)
    if seen:
        raise _refusal(seen[0], references, sizes)
    return DEFAULT_MODEL, records, iter


def _no_barcodes(
    records: Iterable["SequenceRecord"], model: str, panels: "dict[str, Panel]"
) -> Iterator["SequenceRecord"]:
    """The records; InputError for a barcode, which the model of genomes would take for something unheard of."""
    from genomai_cli.alphabet import as_letters
    from genomai_cli.population.barcode import BarcodeSites, sites_of

    sites = [BarcodeSites.of(panel) for panel in panels.values()]
    sizes = {len(each) for each in sites}
    for record in records:
        if len(record.sequence) in sizes and sites_of(as_letters(record.sequence), sites):
            raise _other_kind(record, "a barcode", "genomes", model)
        yield record


def _no_genomes(
    records: Iterable["SequenceRecord"], mappers: "dict[str, Mapper]", sizes: set[int]
) -> Iterator["SequenceRecord"]:
    """The records; InputError for a genome, which is no barcode. What is neither is left to the model to refuse."""
    for record in records:
        if len(record.sequence) not in sizes:
            name = _model_of(record, mappers, sizes)
            if name is not None:
                raise _other_kind(
                    record, f"a genome for the model {name}", "barcodes", DEFAULT_MODEL
                )
        yield record


def _other_kind(record: "SequenceRecord", what: str, others: str, model: str) -> InputError:
    message = (
        f"{record.name} is {what}, and the records before it are {others}, read by the model {model}: "
        "one run reads one kind"
    )
    return InputError(message, path=record.path, line=record.line or None)


def _model_of(
    record: "SequenceRecord", mappers: "dict[str, Mapper]", sizes: set[int]
) -> str | None:
    for name, mapper in mappers.items():
        if mapper(record.sequence) is not None:
            return name
    return DEFAULT_MODEL if len(record.sequence) in sizes else None


def _refusal(
    record: "SequenceRecord", references: "dict[str, Reference]", sizes: set[int]
) -> InputError:
    barcodes = " or ".join(map(str, sorted(sizes)))
    others = ", ".join(f"{reference.name} ({name})" for name, reference in references.items())
    return InputError(
        f"{record.name} has {len(record.sequence)} letters: no barcode ({barcodes} letters), and it does not "
        f"belong to the reference of a model, {others}; if another model reads it, name that with --model",
        path=record.path,
        line=record.line or None,
    )


def model_of_variants(
    run: Run, source: "Input", of_panel: str = DEFAULT_MODEL, of_reference: str | None = None
) -> tuple[str, "Input"]:
    """The model that the first records of a VCF or BCF speak for, and the input with nothing lost of it.

    `of_panel` unless they are on the contig of a reference; then the model of that, or the one that is named.
    """
    from genomai_cli.formats.vcf import normal_contig
    from genomai_cli.formats.vcf_replay import first_records
    from genomai_cli.mapping.vcf_alleles import header_lengths

    first, source = first_records(source, most=_MOST, of_file=_FILE)
    for name, reference in installed_references().items():
        lengths = header_lengths(first.header, reference)
        # hg19 begins with another chrM, which its own file is refused for, but not one of the whole genome
        other = bool(lengths) and len(reference) not in lengths and not first.complete
        if first.contigs != {normal_contig(reference.name)}:
            continue
        if other:
            size = f"has {' or '.join(map(str, sorted(lengths)))} letters in the header"
            message = f"the contig of {reference.name} {size}, not {len(reference)}"
            run.console.warn(f"{message}: model {name} does not read it")
        else:
            chosen = of_reference or name
            run.console.say(f"the records are on {reference.name}: model {chosen}")
            return chosen, source
    return of_panel, source
