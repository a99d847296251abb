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
from genomai_cli.inference.label_odds import what_it_is
from genomai_cli.inference.variant_effects import NO_ALLELE, Comparison, Effect
from genomai_cli.names import escaped

FORMAT_VERSION = 1
LEADING = (
    ("chrom", TEXT),
    ("pos", COUNT),
    ("ref", TEXT),
    ("alt", TEXT),
    *((name, NUMBER) for name in ("ref_score", "alt_score", "delta")),
)
FURTHER = (
    *((name, NUMBER) for name in ("ref_length", "alt_length")),
    *((name, NUMBER) for name in ("ref_per_base", "alt_per_base", "delta_per_base")),
    ("window", TEXT),
    ("normalized", TEXT),
)
INFO = "GENOMAI_"


@dataclass(frozen=True)
class Names:
    """The `labels` of numbers besides the likelihood, and the names of what is told of the `places` of some."""

    labels: Sequence[str]
    places: Sequence[str] = ()


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


def shown(number: float) -> str:
    """A number with six decimals, never -0; `.` for NaN."""
    return NOTHING if math.isnan(number) else f"{round(float(number), 6) + 0.0:.6f}"


def columns(names: Names) -> list[tuple[str, ColumnType]]:
    """The names of the columns: the change of each label's value under its name, behind all else its two values, and
    where these are; and what they hold."""
    changes = [(name, NUMBER) for name in names.labels]
    values = [(f"{name}:{which}", NUMBER) for name in names.labels for which in ("ref", "alt")]
    places = [(name, COUNT if _is_distance(name) else OPTIONAL_TEXT) for name in names.places]
    return [*LEADING, *changes, *FURTHER, *values, *places]


def _is_distance(place: str) -> bool:
    return place.endswith(":distance")


def row(effect: Effect, compared: Comparison, reference: IndexedFasta) -> list[str]:
    """The fields of an allele that was scored."""
    record, (start, end) = effect.record, compared.window
    ref, alt = compared.ref, compared.alt
    position, before, after = as_vcf_alleles(compared.change, reference)
    return [
        record.contig,
        str(record.position),
        record.ref,
        effect.alt,
        *map(shown, (ref.score.total, alt.score.total, compared.delta)),
        *map(shown, compared.odds),
        *(NOTHING if math.isnan(n) else f"{n:g}" for n in (ref.score.bases, alt.score.bases)),
        *map(shown, (ref.score.per_base, alt.score.per_base, compared.delta_per_base)),
        f"{start + 1}-{end}",
        f"{position}:{before}>{after}",
        *(shown(value) for pair in zip(ref.odds, alt.odds, strict=True) for value in pair),
        *compared.places,
    ]


def table_header(names: Names) -> bytes:
    """The names of the columns as a line."""
    return ("\t".join(name for name, _ in columns(names)) + "\n").encode("utf-8", "surrogateescape")


def table_lines(
    effects: Iterable[Effect], reference: IndexedFasta
) -> Iterator[tuple[AlleleRecord, bytes]]:
    """Every record with a row for each of its alleles that was scored."""
    for record, alleles in by_record(effects):
        rows = [row(one, one.compared, reference) for one in alleles if one.compared is not None]
        lines = "".join("\t".join(map(escaped, fields)) + "\n" for fields in rows)
        yield record, lines.encode("utf-8", "surrogateescape")


def write_table(
    out: IO[bytes],
    effects: Iterable[Effect],
    names: Names,
    reference: IndexedFasta,
    about: Mapping[str, str | int],
) -> None:
    """The rows of the table as Parquet."""
    with parquet_table(out, columns(names), about) as table:
        for effect in effects:
            if effect.compared is not None:
                table.write(row(effect, effect.compared, reference))


def vcf_header(file: AlleleFile, names: Names, about: str) -> bytes:
    """The header as it came, with the scores declared."""
    fields = _info_fields(names)
    places = list(fields)[len(fields) - len(names.places) :]
    types = {
        field: "Integer" if _is_distance(place) else "String"
        for field, place in zip(places, names.places, strict=True)
    }
    lines = with_info_header(file.header, fields, about, types)
    return b"".join(line + b"\n" for line in lines)


def vcf_lines(effects: Iterable[Effect], names: Names) -> Iterator[tuple[AlleleRecord, bytes]]:
    """Every record as it came, with the scores of its alleles in INFO; one of which none is scored has no such
    fields."""
    fields = _info_fields(names)
    for record, alleles in by_record(effects):
        each = [_info_values(effect, len(fields)) for effect in alleles]
        scored = any(effect.compared for effect in alleles)
        values = dict(zip(fields, zip(*each, strict=True), strict=True)) if scored else {}
        yield record, with_info(record.raw, values) + b"\n"


def by_record(effects: Iterable[Effect]) -> Iterator[tuple[AlleleRecord, list[Effect]]]:
    """The records in order, each with all its alleles."""
    for _, group in groupby(effects, key=lambda effect: effect.number):
        alleles = list(group)
        yield alleles[0].record, alleles


def _info_fields(names: Names) -> dict[str, str]:
    """The INFO fields and what they are; those of places are the last."""
    fields = {
        "REF": "Log-likelihood of the window with the reference allele, nats",
        "ALT": "Log-likelihood of the window with this allele, nats",
        "DELTA": "ALT minus REF, nats",
        "DELTA_BASE": "Difference of the means of the scored bases, nats",
    }
    for label in names.labels:
        fields[_other_than(fields, f"DELTA_{_plain(label)}")] = f"Change of {what_it_is(label)}"
    for place in names.places:
        label, _, what = place.rpartition(":")
        told = "Distance from the variant of the" if what == "distance" else "Junction of the"
        fields[_other_than(fields, _plain(place))] = f"{told} {what_it_is(label)}"
    return {INFO + name: text for name, text in fields.items()}


def _plain(label: str) -> str:
    """A name that INFO may have; strands stay apart."""
    label = re.sub(r"[+](?=$|:)", "_plus", label)
    return re.sub(r"[^A-Za-z0-9_.]", "_", re.sub(r"-(?=$|:)", "_minus", label))


def _other_than(known: Mapping[str, str], name: str) -> str:
    """A name that is none of those known."""
    return name if name not in known else next(
        other for n in count(2) if (other := f"{name}_{n}") not in known
    )  # fmt: skip


def _info_values(effect: Effect, count: int) -> list[str]:
    compared = effect.compared
    if compared is None:
        return [NOTHING] * count
    scores = (compared.ref.score.total, compared.alt.score.total)
    numbers = (*scores, compared.delta, compared.delta_per_base, *compared.odds)
    return [*map(shown, numbers), *compared.places]


def write_substitutions(
    out: IO[bytes],
    effects: Iterable[Effect],
    names: Names,
    attributes: Mapping[str, str | int],
) -> None:
    """Every substitution of regions as HDF5, a row a position.

    `/contig`, `/position` (from 1), `/ref`, `/ref_score` (n), `/delta` (n, 4) for A C G T, NaN at the reference's base;
    of models with heads `/ref_log_odds` (n, labels) and `/log_odds` (n, 4, labels), their changes. Labels with places
    have these in `/places` (n, 4, places), called `/place_names`, and the reference's value there in `/ref_at_places`.
    """
    rows: dict[str, list[object]] = {}
    for record, alleles in by_record(effects):
        compared = [effect.compared for effect in alleles if effect.compared]
        for name, value in _substitutions(record, compared, names).items():
            rows.setdefault(name, []).append(value)
    told: dict[str, list[object]] = {"bases": [*BASES], "labels": [*names.labels]}
    if names.places:
        told["place_names"] = [*names.places]
    with spooled_hdf5(out) as file:
        describe(file, "genomai substitutions", FORMAT_VERSION, attributes)
        for name, values in (rows | told).items():
            texts = name == "places" or all(isinstance(value, str) for value in values)
            file.create_dataset(name, data=values, dtype=h5py.string_dtype() if texts else None)


def _substitutions(
    record: AlleleRecord, compared: list[Comparison], names: Names
) -> dict[str, object]:
    """A position's row of each dataset; none if no allele was scored."""
    if not compared:
        return {}
    delta_A = np.full(len(BASES), np.nan, np.float32)
    odds_AC, ref_AC = np.full((2, len(BASES), len(names.labels)), np.nan, np.float32)
    places_AP = np.full((len(BASES), len(names.places)), NOTHING, object)
    for found in compared:
        base = BASES.index(found.change.alt)
        delta_A[base], odds_AC[base], ref_AC[base] = found.delta, found.odds, found.ref.odds
        places_AP[base] = found.places
    ref = compared[0].ref
    ref_C = ref.odds.astype(np.float32)
    if names.places:  # which are another's for each allele
        ref_C[-len(names.places) :] = np.nan
    values: dict[str, object] = {
        "contig": record.contig,
        "position": record.position,
        "ref": record.ref,
        "delta": delta_A,
        "ref_score": np.float32(ref.score.total),
    }
    heads = {"log_odds": odds_AC, "ref_log_odds": ref_C} if names.labels else {}
    at_places = ref_AC[:, len(names.labels) - len(names.places) :]
    return (
        values | heads | ({"places": places_AP, "ref_at_places": at_places} if names.places else {})
    )
