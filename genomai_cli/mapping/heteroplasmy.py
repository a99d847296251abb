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
_BETWEEN_ALLELES = re.compile(rb"[/|,]")  # a comma in BCF
_CONTRADICTED = 0.5  # a homozygous call whose allele has fewer of the reads than this
_SHALLOW = 50  # reads; below, Mutect2's AF is drawn towards the middle, and the reads themselves tell better
# Fractions of the alternate alleles: Mutect2 and DRAGEN, DeepVariant and mity, MToolBox, VarScan (in percent), MuTect.
_PERCENT = "FREQ"
_FRACTIONS = ("AF", "VAF", "HF", _PERCENT, "FA")


class Settled(NamedTuple):
    """Genotypes (N, 2) with two alleles left only where both are there; who (N,) was called with two; whose call (N,)
    has two, or contradicts its reads, without fractions that settle it; and whether the record has fractions."""

    genotypes: NDArray[np.int16]
    mixed: Flags
    unsettled: Flags
    has_fractions: bool


def settled(variant: Variant) -> Settled:
    """The calls of a record by its allele fractions. An alternate allele that a filter names (Mutect2's possible_numt,
    weak_evidence) and few reads have leaves the reference's."""
    fractions = allele_fractions(variant)
    genotypes = _with_filtered(variant, fractions)
    first = genotypes[:, 0]
    second = np.where(genotypes[:, 1] == ABSENT, first, genotypes[:, 1])
    known = (first != MISSING) & (second != MISSING)
    mixed = known & (first != second)
    if fractions is None:
        return Settled(genotypes, mixed, mixed, has_fractions=False)
    rows = np.arange(len(first))
    top = np.nan_to_num(fractions, nan=-1.0).argmax(axis=1)
    is_settled = np.nan_to_num(fractions[rows, top]) >= HOMOPLASMIC
    several = ~known if known.all() else ~known & _of_several(variant)
    mixed = mixed | several
    first = np.where(several, top, first)
    contradicted = known & ~mixed & (fractions[rows, np.maximum(first, 0)] < _CONTRADICTED)
    asked = mixed | contradicted
    other = np.where(top == first, np.where(first == 0, 1, 0), top)
    as_two = contradicted | several
    pairs = np.where(as_two[:, None], np.stack([first, other], axis=1), genotypes)
    pairs = np.where((asked & is_settled)[:, None], top[:, None], pairs)
    return Settled(pairs.astype(np.int16), mixed, asked & ~is_settled, has_fractions=True)


def _of_several(variant: Variant) -> Flags:
    """Who (N,) is called with more than two alleles, as Mutect2's 0/1/2; such genotypes are read as missing."""
    texts = None if variant.fields is None else variant.fields.texts("GT")
    if texts is None or variant.no_calls is not None:
        return np.zeros(len(variant.genotypes), np.bool_)
    return np.array([len(_BETWEEN_ALLELES.split(text)) > 2 for text in texts], np.bool_)


def _with_filtered(variant: Variant, fractions: Fractions | None) -> NDArray[np.int16]:
    """The genotypes (N, 2), those that a filter took away being the reference's where nearly all reads have that."""
    if fractions is None or variant.no_calls is None:
        return variant.genotypes
    is_reference = (variant.no_calls == FILTER) & (fractions[:, 0] >= HOMOPLASMIC)
    return np.where(is_reference[:, None], np.int16(0), variant.genotypes)


def allele_fractions(variant: Variant) -> Fractions | None:
    """The share (N, A) of each allele among a sample's reads, NaN where unknown; None if no field tells."""
    alleles = len(variant.alts) + 1
    if variant.fields is None or alleles == 1:
        return None
    given = _given(variant.fields, alleles)
    counts = _counts(variant.fields, alleles)
    if counts is None:
        return given
    depth = counts.sum(axis=1, keepdims=True)
    of_reads: Fractions = np.divide(
        counts, depth, out=np.full(counts.shape, np.nan), where=depth > 0
    )
    if given is None:
        return of_reads
    top = given.max(axis=1, keepdims=True)
    by_reads = np.isnan(top) | ((top < HOMOPLASMIC) & (depth > 0) & (depth < _SHALLOW))
    fractions: Fractions = np.where(by_reads, of_reads, given)
    return fractions


def _given(fields: SampleFields, alleles: int) -> Fractions | None:
    """Fractions as the caller gives them."""
    for key in _FRACTIONS:
        values = _percentages(fields) if key == _PERCENT else fields.numbers(key)
        if values is None or values.shape[1] not in (alleles - 1, alleles):
            continue
        alts = values[:, -(alleles - 1) :]
        if key == _PERCENT or np.nan_to_num(alts).max(initial=0.0) > 1:
            alts = alts / 100
        fractions: Fractions = np.column_stack([1 - np.nansum(alts, axis=1), alts])
        fractions[np.isnan(alts[:, 0])] = np.nan
        return fractions
    return None


def _percentages(fields: SampleFields) -> Fractions | None:
    """VarScan's values, which are 98.5% or, where the machine's language has it so, 98,5%."""
    texts = fields.texts(_PERCENT)
    if texts is None or any(text.count(b"%") > 1 for text in texts):
        return fields.numbers(_PERCENT)
    return np.array([[number_of(text.replace(b",", b"."))] for text in texts])


def _counts(fields: SampleFields, alleles: int) -> Fractions | None:
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
