"""How a file's records fit a reference: as they are, with REF and ALT swapped, on the other strand, or not at all.

plink writes the commoner allele as REF, so in its files REF is not the reference's letter where most individuals have
another; a marker of an array may be on the other strand. That is told from a file made with another reference by how
many records do not fit, and by who has the reference's letter: in a list of variants against another genome it is
the alternate allele that is carried.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from genomai_cli.alphabet import BASES, complement
from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.regions import is_block
from genomai_cli.formats.variant_alleles import NO_BASES_REMEDY, has_coded_alleles
from genomai_cli.formats.vcf import Variant
from genomai_cli.mapping.reference import Reference

_MAX_MISMATCH_SHARE = 0.1  # share of a file's records that may not fit
_MIN_RECORDS = 5  # records from which on a single one may be at fault
_OTHER_STRAND_SHARE, _MIN_OTHER_STRAND = (
    0.9,
    10,
)  # share and number of records by which a file is on the other strand
_MIN_ARRAY_RECORDS = (
    50  # records; with so many that fit or are turned, and none else, both strands are in the file
)
_MIN_CONTRARY = 3
# Of rCRS. Source: Andrews et al. 1999, Nat Genet 23:147, rare polymorphisms of the reference sequence.
_RCRS_LENGTH, _RARE_LETTERS, _CODING, _FEW_VARIANTS = 16569, (8860, 15326), (577, 16023), 5


class Fit(Enum):
    """How a record meets the reference."""

    SAME = "as it is"
    SWAPPED = "REF and ALT swapped"
    OTHER_STRAND = "on the other strand, REF and ALT swapped or not"
    AMBIGUOUS = "swapped, or on the other strand, or either"
    MISMATCH = "other letters"


def fit_of(variant: Variant, reference: Reference, *, any_major: bool) -> tuple[Fit, int]:
    """How a record within the reference fits it, and which allele is the reference's.

    With `any_major` REF may be whatever the file's individuals have (plink), also without an ALT, where nothing shows
    the strand.
    """
    expected = reference.sequence[variant.position - 1 :]
    if _matches(variant.ref, expected):
        return Fit.SAME, 0
    is_turned = len(variant.ref) == 1 and complement(variant.ref) == expected[0]
    for number, alt in enumerate(variant.alts, start=1):
        if len(alt) == len(variant.ref) and alt.isalpha() and _matches(alt, expected):
            return (Fit.AMBIGUOUS if is_turned else Fit.SWAPPED), number
    if is_turned:
        return Fit.OTHER_STRAND, 0
    if len(variant.ref) > 1:
        return Fit.MISMATCH, 0
    if any_major and is_block(variant.alts) and variant.ref in BASES:
        return Fit.AMBIGUOUS, 1
    for number, alt in enumerate(variant.alts, start=1):
        if alt in BASES and complement(alt) == expected[0]:
            return Fit.OTHER_STRAND, number
    return Fit.MISMATCH, 0


def _matches(allele: str, expected: str) -> bool:
    if len(allele) > len(expected):
        return False
    return all(a == b or "N" in (a, b) for a, b in zip(allele, expected, strict=False))


def with_swapped_alleles(variant: Variant, number: int, reference: Reference) -> Variant:
    """The record with allele `number`, which is the reference's, as REF, and without `fields`."""
    alleles = [variant.ref, *variant.alts]
    if is_block(variant.alts):
        alleles = [variant.ref, reference.sequence[variant.position - 1]]
    alleles[0], alleles[number] = alleles[number], alleles[0]
    order = np.arange(len(alleles))
    order[[0, number]] = number, 0
    genotypes = np.where(variant.genotypes >= 0, order[variant.genotypes], variant.genotypes)
    return replace(
        variant,
        ref=alleles[0],
        alts=tuple(alleles[1:]),
        genotypes=genotypes.astype(np.int16),
        fields=None,
    )


def on_other_strand(variant: Variant) -> Variant:
    """The record on the other strand; of alleles of one letter."""
    alts = tuple(complement(alt) if alt.isalpha() else alt for alt in variant.alts)
    return replace(variant, ref=complement(variant.ref), alts=alts)


@dataclass(eq=False)
class FileFit:
    """How the records of one file fit so far; those whose strand the others decide wait in `ambiguous`."""

    path: str
    reference: Reference
    any_major: bool
    header_has_length: bool = False  # whether the header gives the reference's length
    records: int = 0
    swapped: int = 0
    contrary: int = 0  # swapped ones of which more samples carry the reference's letter
    ambiguous: list[Variant] = field(default_factory=list)
    other_strand_records: int = 0
    fits_forward: bool = True  # whether, records of the other strand turned, none has other letters
    mismatched: list[Variant] = field(default_factory=list)
    first_contrary: Variant | None = None

    def add(self, variant: Variant) -> Variant | None:
        """The record as it fits the reference, None for one that waits or does not fit."""
        if not variant.ref:
            return variant
        self.records += 1
        fit, number = fit_of(variant, self.reference, any_major=self.any_major)
        if fit is Fit.SAME:
            return variant
        if fit is Fit.SWAPPED:
            return self._swapped(variant, number)
        if fit is Fit.MISMATCH:
            self.mismatched.append(variant)
            self.fits_forward = False
            return None
        self.ambiguous.append(variant)
        self.other_strand_records += fit is Fit.OTHER_STRAND
        # Shifted transitions look so as well: unless the whole file is turned, they are of another reference.
        self.fits_forward &= fit is not Fit.OTHER_STRAND or not number
        return None

    def _swapped(self, variant: Variant, number: int) -> Variant:
        self.swapped += 1
        carried = [(variant.genotypes == allele).sum() for allele in (0, number)]
        if carried[1] > carried[0]:
            self.contrary += 1
            self.first_contrary = self.first_contrary or variant
        return with_swapped_alleles(variant, number, self.reference)

    @property
    def is_on_other_strand(self) -> bool:
        """Whether the whole file is on the other strand."""
        clear = self.records - (len(self.ambiguous) - self.other_strand_records)
        return self.other_strand_records >= max(_MIN_OTHER_STRAND, _OTHER_STRAND_SHARE * clear)

    def resolve(self, *, absent_is_ref: bool) -> tuple[list[Variant], list[Variant]]:
        """The records that waited, as they fit the reference, and those that are left out.

        Raises InputError for a file that was made with another reference.
        """
        resolved: list[Variant] = []
        skipped = list(self.mismatched)
        for variant in self.ambiguous:
            fit, allele = fit_of(variant, self.reference, any_major=self.any_major)
            if self.is_on_other_strand:
                turned = on_other_strand(variant)
                allele = fit_of(turned, self.reference, any_major=self.any_major)[1]
                resolved.append(self._swapped(turned, allele) if allele else turned)
            elif fit is Fit.AMBIGUOUS and (is_block(variant.alts) or not self.other_strand_records):
                resolved.append(self._swapped(variant, allele))
            else:
                skipped.append(variant)
        self._check(skipped, absent_is_ref)
        return resolved, skipped

    def _check(self, skipped: list[Variant], absent_is_ref: bool) -> None:
        is_tolerable = (
            len(skipped) <= max(1, _MAX_MISMATCH_SHARE * self.records)
            and self.records >= _MIN_RECORDS
        )
        both_strands = self.fits_forward and self.records >= _MIN_ARRAY_RECORDS
        if skipped and not (is_tolerable or both_strands):
            first = min(skipped, key=lambda variant: variant.line or 0)
            raise self._refusal(first, len(skipped), self._other_cause(skipped))
        contrary = 2 * self.contrary > self.swapped and not self.any_major
        if contrary and (absent_is_ref or self.contrary >= _MIN_CONTRARY):
            assert self.first_contrary is not None
            raise self._refusal(self.first_contrary, self.swapped)

    def _other_cause(self, skipped: Collection[Variant]) -> str:
        """What else than another reference may be the cause of records that do not fit, with its remedy."""
        if any(has_coded_alleles(variant.ref, variant.alts) for variant in skipped):
            return NO_BASES_REMEDY
        if not self.fits_forward:
            return ""
        return (
            "on the other strand, as an array's markers may be (bcftools +fixref turns them), or "
        )

    def _refusal(self, variant: Variant, count: int, other_cause: str = "") -> InputError:
        name, size = self.reference.name, len(variant.ref)
        expected = self.reference.sequence[variant.position - 1 :][:size]
        where = f"{variant.contig}:{variant.position}"
        other = "another reference"
        if self.header_has_length:
            other += f" of {len(self.reference):,} letters"
        if normal_contig(name) == "MT":
            yoruba = "" if self.header_has_length else " the Yoruba chrM of hg19?"
            other += f" (RSRS? T2T-CHM13?{yoruba})"
        cause = other_cause
        if other_cause != NO_BASES_REMEDY:
            cause += f"made with {other}: call the variants against {name}"
        message = (
            f"REF {variant.ref[:20]} at {where}, where {name} has {expected[:20]}; so {count} of {self.records} "
            f"records: {cause}"
        )
        return InputError(message, path=self.path, line=variant.line)


def lacks_common_variants(reference: Reference, positions: Collection[int], variants: int) -> bool:
    """Whether so many variants, with records at these positions, are a part of a mitochondrial genome's only.

    The reference has rare letters, from which nearly everybody differs. Who does not has next to no variants (2 of the
    2,002 training genomes lack both, with 1 and 2), one of which at least lies outside the control region.
    """
    if normal_contig(reference.name) != "MT" or len(reference) != _RCRS_LENGTH:
        return False
    if any(position in positions for position in _RARE_LETTERS):
        return False
    is_coding = any(_CODING[0] <= position <= _CODING[1] for position in positions)
    return variants > _FEW_VARIANTS or not is_coding


def is_of_plink(header: Iterable[str]) -> bool:
    """Whether a VCF's header says that plink wrote it: with REF the commoner allele, and lengths of contigs guessed."""
    return any(
        line.startswith("##source=PLINK") or line.startswith("##INFO=<ID=PR,") for line in header
    )
