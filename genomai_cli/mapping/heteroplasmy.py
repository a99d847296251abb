"""Which allele a mitochondrial genome has where a caller wrote two: by allele fractions, where the file gives them.

GATK's Mutect2 in mitochondria mode, and other somatic callers, write 0/1 for every variant, also for one that all
reads have. Their fractions tell: from 0.9 on an allele is the genome's, else both are there (heteroplasmy).

Shape suffixes: N samples, A alleles of a record.
"""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.formats.call_quality import FILTER
from genomai_cli.formats.genotypes import ABSENT
from genomai_cli.formats.sample_fields import SampleFields, number_of
from genomai_cli.formats.vcf import Variant

Flags = NDArray[np.bool_]
Fractions = NDArray[np.float64]
HOMOPLASMIC = 0.9
_ALLELE_SEPARATOR = re.compile(rb"[/|,]")  # a comma in BCF
_MIN_HOMOZYGOUS_FRACTION = 0.5  # a homozygous call whose allele has fewer of the reads than this
_LOW_DEPTH = 50  # reads; below, Mutect2's AF is drawn towards the middle, and the reads themselves tell better
# Fractions of the alternate alleles: Mutect2 and DRAGEN, DeepVariant and mity, MToolBox, VarScan (in percent), MuTect.
_PERCENT = "FREQ"
_FRACTIONS = ("AF", "VAF", "HF", _PERCENT, "FA")


class ResolvedCalls(NamedTuple):
    """Genotypes (N, 2) with two alleles left only where both are there; which samples (N,) were called with two; of
    which the call (N,) has two, or contradicts its reads, without fractions that resolve it; and whether the record has
    fractions."""

    genotypes: NDArray[np.int16]
    two_alleles: Flags
    unresolved: Flags
    has_fractions: bool


def resolved_calls(variant: Variant) -> ResolvedCalls:
    """The calls of a record by its allele fractions. An alternate allele that a filter names (Mutect2's possible_numt,
    weak_evidence) and few reads have leaves the reference's."""
    fractions = allele_fractions(variant)
    genotypes = _with_filtered_as_reference(variant, fractions)
    first = genotypes[:, 0]
    second = np.where(genotypes[:, 1] == ABSENT, first, genotypes[:, 1])
    known = (first != MISSING) & (second != MISSING)
    two_alleles = known & (first != second)
    if fractions is None:
        return ResolvedCalls(genotypes, two_alleles, two_alleles, has_fractions=False)
    rows = np.arange(len(first))
    major = np.nan_to_num(fractions, nan=-1.0).argmax(axis=1)
    is_resolved = np.nan_to_num(fractions[rows, major]) >= HOMOPLASMIC
    multi_allelic = ~known if known.all() else ~known & _multi_allelic(variant)
    two_alleles = two_alleles | multi_allelic
    first = np.where(multi_allelic, major, first)
    contradicted = (
        known & ~two_alleles & (fractions[rows, np.maximum(first, 0)] < _MIN_HOMOZYGOUS_FRACTION)
    )
    to_resolve = two_alleles | contradicted
    minor = np.where(major == first, np.where(first == 0, 1, 0), major)
    as_two = contradicted | multi_allelic
    pairs = np.where(as_two[:, None], np.stack([first, minor], axis=1), genotypes)
    pairs = np.where((to_resolve & is_resolved)[:, None], major[:, None], pairs)
    return ResolvedCalls(
        pairs.astype(np.int16), two_alleles, to_resolve & ~is_resolved, has_fractions=True
    )


def _multi_allelic(variant: Variant) -> Flags:
    """Which samples (N,) are called with more than two alleles, as Mutect2's 0/1/2; such genotypes are read as
    missing."""
    genotype_texts = None if variant.fields is None else variant.fields.texts("GT")
    if genotype_texts is None or variant.no_calls is not None:
        return np.zeros(len(variant.genotypes), np.bool_)
    return np.array([len(_ALLELE_SEPARATOR.split(text)) > 2 for text in genotype_texts], np.bool_)


def _with_filtered_as_reference(variant: Variant, fractions: Fractions | None) -> NDArray[np.int16]:
    """The genotypes (N, 2), those that a filter took away being the reference's where nearly all reads have that."""
    if fractions is None or variant.no_calls is None:
        return variant.genotypes
    is_reference = (variant.no_calls == FILTER) & (fractions[:, 0] >= HOMOPLASMIC)
    return np.where(is_reference[:, None], np.int16(0), variant.genotypes)


def allele_fractions(variant: Variant) -> Fractions | None:
    """The share (N, A) of each allele among a sample's reads, NaN where unknown; None if no field has it."""
    alleles = len(variant.alts) + 1
    if variant.fields is None or alleles == 1:
        return None
    reported = _reported_fractions(variant.fields, alleles)
    counts = _read_counts(variant.fields, alleles)
    if counts is None:
        return reported
    depth = counts.sum(axis=1, keepdims=True)
    read_fractions: Fractions = np.divide(
        counts, depth, out=np.full(counts.shape, np.nan), where=depth > 0
    )
    if reported is None:
        return read_fractions
    major = reported.max(axis=1, keepdims=True)
    use_reads = np.isnan(major) | ((major < HOMOPLASMIC) & (depth > 0) & (depth < _LOW_DEPTH))
    fractions: Fractions = np.where(use_reads, read_fractions, reported)
    return fractions


def _reported_fractions(fields: SampleFields, alleles: int) -> Fractions | None:
    """Fractions as the caller gives them."""
    for key in _FRACTIONS:
        values = _percentages(fields) if key == _PERCENT else fields.numbers(key)
        if values is None or values.shape[1] not in (alleles - 1, alleles):
            continue
        alternates = values[:, -(alleles - 1) :]
        if key == _PERCENT or np.nan_to_num(alternates).max(initial=0.0) > 1:
            alternates = alternates / 100
        fractions: Fractions = np.column_stack([1 - np.nansum(alternates, axis=1), alternates])
        fractions[np.isnan(alternates[:, 0])] = np.nan
        return fractions
    return None


def _percentages(fields: SampleFields) -> Fractions | None:
    """VarScan's values, which are 98.5% or, where the machine's language has it so, 98,5%."""
    texts = fields.texts(_PERCENT)
    if texts is None or any(text.count(b"%") > 1 for text in texts):
        return fields.numbers(_PERCENT)
    return np.array([[number_of(text.replace(b",", b"."))] for text in texts])


def _read_counts(fields: SampleFields, alleles: int) -> Fractions | None:
    """Reads (N, A) of each allele: AD, or as VarScan (RD, AD) and freebayes (RO, AO; DP) have them."""
    depths = fields.numbers("AD")
    if depths is not None and depths.shape[1] == alleles:
        return depths
    alts = depths if depths is not None else fields.numbers("AO")
    if alts is None or alts.shape[1] != alleles - 1:
        return None
    for key in ("RD", "RO", "DP"):
        reads = fields.numbers(key)
        if reads is not None and reads.shape[1] == 1:
            ref = reads - alts.sum(axis=1, keepdims=True) if key == "DP" else reads
            return np.column_stack([np.maximum(ref, 0), alts])
    return None
