"""Effects of alleles as a table, as a VCF with INFO fields, and, of every substitution of regions, as HDF5.

Shape suffixes: A bases A C G T, C labels.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from typing import IO

import h5py
import numpy as np

from genomai_cli.alphabet import BASES
from genomai_cli.formats.indexed_fasta import IndexedFasta
from genomai_cli.formats.parquet import (
    COUNT,
    NOTHING,
    NUMBER,
    OPTIONAL_TEXT,
    TEXT,
    ColumnType,
    parquet_table,
)
from genomai_cli.formats.spooled_hdf5 import describe, spooled_hdf5
from genomai_cli.formats.variant_alleles import (
    AlleleFile,
    AlleleRecord,
    as_vcf_alleles,
    with_info,
    with_info_header,
)
from genomai_cli.inference.label_odds import describe_label
from genomai_cli.inference.variant_effects import NO_ALLELE, Comparison, Effect
from genomai_cli.names import escaped

FORMAT_VERSION = 1
LEADING_COLUMNS = (
    ("chrom", TEXT),
    ("pos", COUNT),
    ("ref", TEXT),
    ("alt", TEXT),
    *((name, NUMBER) for name in ("ref_score", "alt_score", "delta")),
)
FURTHER_COLUMNS = (
    *((name, NUMBER) for name in ("ref_length", "alt_length")),
    *((name, NUMBER) for name in ("ref_per_base", "alt_per_base", "delta_per_base")),
    ("window", TEXT),
    ("normalized", TEXT),
)
INFO = "GENOMAI_"


@dataclass(frozen=True)
class ColumnNames:
    """The `labels` of values besides the likelihood, and the columns of `locations` where some of these were taken."""

    labels: Sequence[str]
    locations: Sequence[str] = ()


class Counts:
    """How many alleles were scored, and how many were not, by reason."""

    def __init__(self) -> None:
        self.scored = 0
        self.skipped = Counter[str]()

    def of(self, effects: Iterable[Effect]) -> Iterator[Effect]:
        """The effects as they pass."""
        for effect in effects:
            self.scored += not effect.skipped
            if effect.skipped and effect.skipped != NO_ALLELE:
                self.skipped[effect.skipped] += 1
            yield effect

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items()))


def format_number(number: float) -> str:
    """A number with six decimals, never -0; `.` for NaN."""
    return NOTHING if math.isnan(number) else f"{round(float(number), 6) + 0.0:.6f}"


def columns(names: ColumnNames) -> list[tuple[str, ColumnType]]:
    """The names and types of the columns: the change of each label's value under its name, behind all else its two
    values, and their locations."""
    changes = [(name, NUMBER) for name in names.labels]
    values = [(f"{name}:{which}", NUMBER) for name in names.labels for which in ("ref", "alt")]
    location_columns = [
        (name, COUNT if _is_distance(name) else OPTIONAL_TEXT) for name in names.locations
    ]
    return [*LEADING_COLUMNS, *changes, *FURTHER_COLUMNS, *values, *location_columns]


def _is_distance(location: str) -> bool:
    return location.endswith(":distance")


def row(effect: Effect, comparison: Comparison, reference: IndexedFasta) -> list[str]:
    """The fields of an allele that was scored."""
    record, (start, end) = effect.record, comparison.window
    ref, alt = comparison.ref, comparison.alt
    position, before, after = as_vcf_alleles(comparison.change, reference)
    return [
        record.contig,
        str(record.position),
        record.ref,
        effect.alt,
        *map(format_number, (ref.score.total, alt.score.total, comparison.delta)),
        *map(format_number, comparison.odds),
        *(NOTHING if math.isnan(n) else f"{n:g}" for n in (ref.score.bases, alt.score.bases)),
        *map(format_number, (ref.score.per_base, alt.score.per_base, comparison.delta_per_base)),
        f"{start + 1}-{end}",
        f"{position}:{before}>{after}",
        *(format_number(value) for pair in zip(ref.odds, alt.odds, strict=True) for value in pair),
        *comparison.locations,
    ]


def table_header(names: ColumnNames) -> bytes:
    """The names of the columns as a line."""
    return ("\t".join(name for name, _ in columns(names)) + "\n").encode("utf-8", "surrogateescape")


def table_lines(
    effects: Iterable[Effect], reference: IndexedFasta
) -> Iterator[tuple[AlleleRecord, bytes]]:
    """Every record with a row for each of its alleles that was scored."""
    for record, alleles in group_by_record(effects):
        rows = [
            row(effect, effect.comparison, reference)
            for effect in alleles
            if effect.comparison is not None
        ]
        lines = "".join("\t".join(map(escaped, fields)) + "\n" for fields in rows)
        yield record, lines.encode("utf-8", "surrogateescape")


def write_table(
    out: IO[bytes],
    effects: Iterable[Effect],
    names: ColumnNames,
    reference: IndexedFasta,
    about: Mapping[str, str | int],
) -> None:
    """The rows of the table as Parquet."""
    with parquet_table(out, columns(names), about) as table:
        for effect in effects:
            if effect.comparison is not None:
                table.write(row(effect, effect.comparison, reference))


def vcf_header(file: AlleleFile, names: ColumnNames, about: str) -> bytes:
    """The header as it came, with the scores declared."""
    fields = _info_fields(names)
    location_fields = list(fields)[len(fields) - len(names.locations) :]
    types = {
        field: "Integer" if _is_distance(location) else "String"
        for field, location in zip(location_fields, names.locations, strict=True)
    }
    lines = with_info_header(file.header, fields, about, types)
    return b"".join(line + b"\n" for line in lines)


def vcf_lines(
    effects: Iterable[Effect], names: ColumnNames
) -> Iterator[tuple[AlleleRecord, bytes]]:
    """Every record as it came, with the scores of its alleles in INFO; one of which none is scored has no such
    fields, not those of an earlier run either."""
    fields = _info_fields(names)
    for record, alleles in group_by_record(effects):
        values: dict[str, Sequence[str]] = dict.fromkeys(fields, ())
        if any(effect.comparison for effect in alleles):
            values_by_allele = [_info_values(effect, len(fields)) for effect in alleles]
            values = dict(zip(fields, zip(*values_by_allele, strict=True), strict=True))
        yield record, with_info(record.raw, values) + b"\n"


def group_by_record(effects: Iterable[Effect]) -> Iterator[tuple[AlleleRecord, list[Effect]]]:
    """The records in order, each with all its alleles."""
    for _, group in groupby(effects, key=lambda effect: effect.number):
        alleles = list(group)
        yield alleles[0].record, alleles


def _info_fields(names: ColumnNames) -> dict[str, str]:
    """The INFO fields and their descriptions; those of locations are the last."""
    fields = {
        "REF": "Log-likelihood of the window with the reference allele, nats",
        "ALT": "Log-likelihood of the window with this allele, nats",
        "DELTA": "ALT minus REF, nats",
        "DELTA_BASE": "Difference of the means of the scored bases, nats",
    }
    for label in names.labels:
        fields[_unused_name(fields, f"DELTA_{_info_id(label)}")] = (
            f"Change of {describe_label(label)}"
        )
    for location in names.locations:
        label, _, quantity = location.rpartition(":")
        prefix = "Distance from the variant of the" if quantity == "distance" else "Junction of the"
        fields[_unused_name(fields, _info_id(location))] = f"{prefix} {describe_label(label)}"
    return {INFO + name: text for name, text in fields.items()}


def _info_id(label: str) -> str:
    """The label as the ID of an INFO field; those of the two strands stay different."""
    label = re.sub(r"[+](?=$|:)", "_plus", label)
    return re.sub(r"[^A-Za-z0-9_.]", "_", re.sub(r"-(?=$|:)", "_minus", label))


def _unused_name(known: Mapping[str, str], name: str) -> str:
    """A name that is none of those known."""
    return name if name not in known else next(
        other for n in count(2) if (other := f"{name}_{n}") not in known
    )  # fmt: skip


def _info_values(effect: Effect, count: int) -> list[str]:
    comparison = effect.comparison
    if comparison is None:
        return [NOTHING] * count
    scores = (comparison.ref.score.total, comparison.alt.score.total)
    numbers = (*scores, comparison.delta, comparison.delta_per_base, *comparison.odds)
    return [*map(format_number, numbers), *comparison.locations]


def write_substitutions(
    out: IO[bytes],
    effects: Iterable[Effect],
    names: ColumnNames,
    attributes: Mapping[str, str | int],
) -> None:
    """Every substitution of regions as HDF5, a row a position.

    `/contig`, `/position` (from 1), `/ref`, `/ref_score` (n), `/delta` (n, 4) for A C G T, NaN at the reference's base;
    of models with heads `/ref_log_odds` (n, labels) and `/log_odds` (n, 4, labels), their changes. Labels with places
    have these in `/places` (n, 4, places), called `/place_names`, and the reference's value there in `/ref_at_places`.
    """
    rows: dict[str, list[object]] = {}
    for record, alleles in group_by_record(effects):
        comparisons = [effect.comparison for effect in alleles if effect.comparison]
        for name, value in _substitutions(record, comparisons, names).items():
            rows.setdefault(name, []).append(value)
    labels: dict[str, list[object]] = {"bases": [*BASES], "labels": [*names.labels]}
    if names.locations:
        labels["place_names"] = [*names.locations]
    with spooled_hdf5(out) as file:
        describe(file, "genomai substitutions", FORMAT_VERSION, attributes)
        for name, values in (rows | labels).items():
            texts = name == "places" or all(isinstance(value, str) for value in values)
            file.create_dataset(name, data=values, dtype=h5py.string_dtype() if texts else None)


def _substitutions(
    record: AlleleRecord, comparisons: list[Comparison], names: ColumnNames
) -> dict[str, object]:
    """A position's row of each dataset; none if no allele was scored."""
    if not comparisons:
        return {}
    delta_A = np.full(len(BASES), np.nan, np.float32)
    odds_AC, ref_AC = np.full((2, len(BASES), len(names.labels)), np.nan, np.float32)
    locations_AP = np.full((len(BASES), len(names.locations)), NOTHING, object)
    for comparison in comparisons:
        base = BASES.index(comparison.change.alt)
        delta_A[base], odds_AC[base], ref_AC[base] = (
            comparison.delta,
            comparison.odds,
            comparison.ref.odds,
        )
        locations_AP[base] = comparison.locations
    ref = comparisons[0].ref
    ref_C = ref.odds.astype(np.float32)
    if names.locations:  # another location for each allele: in /ref_at_places instead
        ref_C[-len(names.locations) :] = np.nan
    values: dict[str, object] = {
        "contig": record.contig,
        "position": record.position,
        "ref": record.ref,
        "delta": delta_A,
        "ref_score": np.float32(ref.score.total),
    }
    heads = {"log_odds": odds_AC, "ref_log_odds": ref_C} if names.labels else {}
    ref_at_locations = ref_AC[:, len(names.labels) - len(names.locations) :]
    return (
        values
        | heads
        | ({"places": locations_AP, "ref_at_places": ref_at_locations} if names.locations else {})
    )
