"""Both haplotypes of many individuals at the sites of a panel, held in bits.

Of files of variants they are packed a block of sites at a time, so that no array of all alleles is ever made.

Shape suffixes: N individuals, H haplotypes (two of each individual, one after the other), S sites.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING, UNKNOWN_CODE
from genomai_cli.errors import InputError
from genomai_cli.formats.call_quality import DEFAULT_RULES, CallRules
from genomai_cli.formats.streams import Input
from genomai_cli.population.barcode import letters_to_alleles, require_barcode
from genomai_cli.population.cohorts import read_cohorts
from genomai_cli.population.match_report import MatchReport, with_splits
from genomai_cli.population.panel import Panel
from genomai_cli.population.site_calls import PlacedCalls
from genomai_cli.population.site_records import CODES
from genomai_cli.records import SequenceRecord

Alleles = NDArray[np.int8]
Packed = NDArray[np.uint8]
SITES_PER_BLOCK = 1 << 10  # a multiple of 8


@dataclass(frozen=True, eq=False)
class PackedHaplotypes:
    """The haplotypes of the individuals `names`: where allele 1 is (H, S / 8), a bit a site, and where it is `unknown`
    (H, S / 8), None if it is nowhere. The bit in `ones` of an allele that is unknown is not used."""

    names: Sequence[str]
    sites: int
    ones: Packed
    unknown: Packed | None = None

    def __len__(self) -> int:
        """How many individuals there are."""
        return len(self.names)

    def alleles(self, sites: slice = slice(None)) -> Alleles:
        """The alleles (N, 2, S) at some of the sites, from a multiple of 8 on: 0, 1, or -1 where unknown."""
        begin, end, _ = sites.indices(self.sites)
        byte_columns, count = slice(begin // 8, -(-end // 8)), end - begin
        alleles_HS = np.unpackbits(self.ones[:, byte_columns], axis=1, count=count).view(np.int8)
        if self.unknown is not None:
            unknown_HS = np.unpackbits(self.unknown[:, byte_columns], axis=1, count=count).view(
                np.bool_
            )
            alleles_HS[unknown_HS] = MISSING
        return alleles_HS.reshape(len(self), 2, count)

    def of(self, rows: NDArray[np.int64]) -> "PackedHaplotypes":
        """The haplotypes of some of the individuals, by index; without a copy if these are all."""
        if np.array_equal(rows, np.arange(len(self))):
            return self
        rows_H = np.stack([2 * rows, 2 * rows + 1], axis=1).ravel()
        unknown = None if self.unknown is None else self.unknown[rows_H]
        names = [self.names[row] for row in rows.tolist()]
        return PackedHaplotypes(names, self.sites, self.ones[rows_H], unknown)

    def with_alleles(self) -> "PackedHaplotypes":
        """The haplotypes of the individuals with any known allele."""
        if self.unknown is None:
            return self
        all_sites = np.packbits(np.ones(self.sites, np.bool_))
        all_unknown_H = (self.unknown == all_sites).all(axis=1)
        return self.of(np.flatnonzero(~all_unknown_H.reshape(-1, 2).all(axis=1)))

    @classmethod
    def joined(cls, parts: Sequence["PackedHaplotypes"]) -> "PackedHaplotypes":
        """The haplotypes of the individuals of all parts, which have the same sites."""
        if len(parts) == 1:
            return parts[0]
        unknown = None
        if any(part.unknown is not None for part in parts):
            masks = (np.zeros_like(p.ones) if p.unknown is None else p.unknown for p in parts)
            unknown = np.concatenate(list(masks))
        names = [name for part in parts for name in part.names]
        return cls(names, parts[0].sites, np.concatenate([part.ones for part in parts]), unknown)


@dataclass(frozen=True)
class PackedSamples:
    """Haplotypes, and one report for each cohort of samples that they were read from."""

    haplotypes: PackedHaplotypes
    reports: tuple[MatchReport, ...]


def read_packed_haplotypes(
    inputs: Iterable[Input],
    panel: Panel,
    *,
    absent_is_ref: bool = False,
    rules: CallRules = DEFAULT_RULES,
) -> PackedSamples:
    """The haplotypes that `barcode.read_haplotypes` reads, in bits: an unphased heterozygote is unknown in both."""
    parts, reports = [], []
    cohorts = read_cohorts(inputs, panel, rules, phased=True, packed=True)
    while cohorts:
        cohort = cohorts.pop(0)  # so that its records are let go
        calls, report = cohort.placed(absent_is_ref=absent_is_ref)
        parts.append(_packed_calls(calls, cohort.samples))
        reports.append(with_splits(report, cohort.phase_splits))
    return PackedSamples(PackedHaplotypes.joined(parts), tuple(reports))


def _packed_calls(calls: PlacedCalls, names: Sequence[str]) -> PackedHaplotypes:
    panel, sites = calls.panel, len(calls.panel)
    ref_S, alt_S = (np.array([CODES[base] for base in bases]) for bases in (panel.ref, panel.alt))
    ones = np.empty((2 * len(names), -(-sites // 8)), np.uint8)
    unknown: Packed | None = None
    for start in range(0, sites, SITES_PER_BLOCK):
        block = slice(start, start + SITES_PER_BLOCK)
        block_calls = calls.at(block)
        block_calls.codes[block_calls.unordered()] = UNKNOWN_CODE
        codes_SH = block_calls.codes.reshape(len(block_calls.codes), -1)
        one_SH, zero_SH = codes_SH == alt_S[block, None], codes_SH == ref_S[block, None]
        byte_columns = slice(start // 8, start // 8 + -(-len(codes_SH) // 8))
        ones[:, byte_columns] = np.packbits(one_SH, axis=0).T
        known_SH = one_SH | zero_SH
        if not known_SH.all():
            if unknown is None:
                unknown = np.zeros_like(ones)
            unknown[:, byte_columns] = np.packbits(~known_SH, axis=0).T
    return PackedHaplotypes(names, sites, ones, unknown)


def packed_records(records: Iterable[SequenceRecord], panel: Panel) -> PackedHaplotypes | None:
    """The individuals of these records, NAME_A and NAME_B; None if there are none.

    Raises InputError for records that are not such pairs, or no barcodes of the panel.
    """
    names, ones, unknown = [], [], []
    for name, pair in paired(records, panel):
        letters = np.frombuffer("".join(record.held for record in pair).encode("ascii"), np.uint8)
        alleles_2S = letters_to_alleles(letters.reshape(2, -1), panel)
        names.append(name)
        ones.append(np.packbits(alleles_2S == 1, axis=1))
        unknown.append(np.packbits(alleles_2S == MISSING, axis=1))
    if not names:
        return None
    unknown_H = np.concatenate(unknown)
    mask = unknown_H if unknown_H.any() else None
    return PackedHaplotypes(names, len(panel), np.concatenate(ones), mask)


def paired(
    records: Iterable[SequenceRecord], panel: Panel
) -> Iterator[tuple[str, tuple[SequenceRecord, SequenceRecord]]]:
    """Names of individuals with their two haplotypes; InputError for a record without its partner."""
    first: SequenceRecord | None = None
    for record in records:
        require_barcode(record, panel)
        if first is None:
            first = record
            continue
        name = first.name.removesuffix("_A")
        if name == first.name or record.name != f"{name}_B":
            message = (
                f"{first.name} and {record.name} are not NAME_A and NAME_B, a person's haplotypes"
            )
            raise InputError(message, path=record.path, line=record.line or None)
        yield name, (first, record)
        first = None
    if first is not None:
        raise InputError(f"{first.name} has no second haplotype", path=first.path)
