"""The calls that a VCF record makes at each position of the reference that it touches, for all samples, and which
records matter.

Of several records about one position a deletion counts most, then an alternate base, a missing or mixed call, and the
reference's base. The base beside an insertion or deletion counts least: that a sample lacks the indel does not tell
which base it has. Records matter on the reference's contig, by whatever name, if the header gives it the right length.

Shape suffixes: N samples, A alleles of a record, W positions that the record is about, R letters of the reference.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import UNKNOWN_CODE, Codes, as_letters, codes_of
from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import PLINK_CODES, contig_length, normal_contig
from genomai_cli.formats.genotypes import ABSENT
from genomai_cli.formats.regions import NO_VARIANT, Sites
from genomai_cli.formats.vcf import Variant
from genomai_cli.mapping.heteroplasmy import resolved_calls
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.reference_fit import is_of_plink

Calls = NDArray[np.uint8]
# A call is a rank (a multiple of 8) plus the code of a base: 0 to 3, 4 unknown, 5 none.
_INDEL_ANCHOR, REFERENCE_BASE, _MIXED, ALTERNATE_BASE, DELETED = 8, 16, 24, 32, 40
CODE = 7  # the bits of a call that are the base's code
NO_CALL = 5
MIXED_N, _DELETED_N = _MIXED + UNKNOWN_CODE, DELETED + UNKNOWN_CODE
_YORUBA = 16571  # letters
_NUCLEAR = frozenset([*map(str, range(1, 23)), "X", "Y"])
_MAX_SHOWN = 5  # contigs that a message names
_SYMBOLIC_DELETIONS = ("<DEL", "<CN0")


def position_calls(
    variant: Variant, codes_R: Codes, *, circular: bool
) -> Iterator[tuple[int, Calls]]:
    """Positions, from 0, that a record is about, each with a call (N,)."""
    table = allele_calls(variant, codes_R, circular=circular)
    for offset, column in enumerate(table.T):
        calls = _calls_of_genotypes(column, variant.genotypes)
        if variant.lengths is not None:  # who has no block there is not called there
            calls[variant.lengths <= 0] = NO_CALL
        yield (variant.position - 1 + offset) % len(codes_R), calls


def symbolic_deletion_calls(variant: Variant) -> Calls | None:
    """The calls (N,) at a position that a record reaches by its END, of which only deletions (<DEL>) say something.

    None where nobody has one.
    """
    is_deletion = [alt.startswith(_SYMBOLIC_DELETIONS) for alt in variant.alts]
    if not any(is_deletion):
        return None
    calls = [_DELETED_N if deleted else NO_CALL for deleted in (False, *is_deletion, False)]
    calls_N = _calls_of_genotypes(np.array(calls, np.uint8), resolved_calls(variant).genotypes)
    return calls_N if (calls_N != NO_CALL).any() else None


def _calls_of_genotypes(column: Calls, genotypes: NDArray[np.int16]) -> Calls:
    """The calls (N,) of genotypes (N, 2) from those of alleles (A + 1,), of which the last is that of a missing one."""
    first, second = genotypes[:, 0], genotypes[:, 1]
    first_calls, second_calls = column[first], column[np.where(second == ABSENT, first, second)]
    agree = (first_calls & CODE) == (second_calls & CODE)
    return np.where(agree, np.maximum(first_calls, second_calls), MIXED_N).astype(np.uint8)


def add_calls(calls_by_position: dict[int, Calls], position: int, calls: Calls) -> None:
    """Take in the calls (N,) of one more record for a position."""
    before = calls_by_position.get(position)
    calls_by_position[position] = calls if before is None else _merged_calls(before, calls)


def _merged_calls(one: Calls, other: Calls) -> Calls:
    """The calls (N,) of two records for one position; two different alternate bases leave N."""
    both = (one >= ALTERNATE_BASE) & (other >= ALTERNATE_BASE) & (one != other)
    calls = np.maximum(one, other)
    calls[both] = _DELETED_N
    return calls


def allele_calls(variant: Variant, codes_R: Codes, *, circular: bool) -> Calls:
    """The call (A + 1, W) of each allele of a record at each position; the last row is a missing allele."""
    start = variant.position - 1
    ref = codes_of(as_letters(variant.ref)) if variant.ref else codes_R[start : start + 1]
    changes = [_changes(alt, ref, start, codes_R, circular) for alt in variant.alts]
    width = max([len(ref), *(len(row) for row in changes)])
    table = np.full((len(changes) + 2, width), NO_CALL, np.uint8)
    for row, change in zip(table[1:], changes, strict=False):
        row[: len(change)] = change
    changed = (table != NO_CALL).any(axis=0)
    substituted = np.asarray(((table >= _MIXED) & (table < DELETED)).any(axis=0))
    if all(alt in NO_VARIANT for alt in variant.alts):
        substituted[: len(ref)] = True  # a record of no variant is about the base itself
    same = np.full(width, NO_CALL, np.uint8)
    same[: len(ref)] = ref + np.where(substituted[: len(ref)], REFERENCE_BASE, _INDEL_ANCHOR)
    table[:-1] = np.where(table[:-1] == NO_CALL, same, table[:-1])
    unknown = np.where(same == NO_CALL, NO_CALL, _INDEL_ANCHOR + UNKNOWN_CODE)
    table[-1] = np.where(changed | substituted, MIXED_N, unknown)
    return table


def _changes(alt: str, ref: Codes, start: int, codes_R: Codes, circular: bool) -> Calls:
    """The calls of an alternate allele where it differs from the reference, NO_CALL elsewhere."""
    calls = np.full(len(ref), NO_CALL, np.uint8)
    if alt in NO_VARIANT:
        calls[:] = MIXED_N
        return calls
    if not alt.isalpha():  # `*`, <DEL>, a breakend
        calls[:] = _DELETED_N
        return calls
    bases = codes_of(as_letters(alt))
    left = _common_prefix_length(bases, ref)
    right = _common_prefix_length(bases[left:][::-1], ref[left:][::-1])
    alternate_bases, reference_bases = (
        bases[left : len(bases) - right],
        ref[left : len(ref) - right],
    )
    size = min(len(alternate_bases), len(reference_bases))
    inside = np.where(
        alternate_bases[:size] == UNKNOWN_CODE, MIXED_N, alternate_bases[:size] + ALTERNATE_BASE
    )
    calls[left : left + size] = np.where(
        alternate_bases[:size] == reference_bases[:size], NO_CALL, inside
    )
    first, last = left + size, left + len(reference_bases)
    if size == 0:
        first, last = _shifted_right(first, last, start, codes_R, circular)
    calls = np.append(calls, np.full(max(0, last - len(calls)), NO_CALL, np.uint8))
    calls[first:last] = _DELETED_N
    return calls


def _common_prefix_length(one: Codes, other: Codes) -> int:
    """How many of the first letters are equal."""
    size = min(len(one), len(other))
    different = one[:size] != other[:size]
    return int(different.argmax()) if different.any() else size


def _shifted_right(
    first: int, last: int, start: int, codes_R: Codes, circular: bool
) -> tuple[int, int]:
    """A deletion moved to the 3' end of the repeat that it stands in."""
    size = len(codes_R)
    while first < last and (circular or start + last < size):
        leaving, entering = codes_R[(start + first) % size], codes_R[(start + last) % size]
        if leaving != entering or leaving == UNKNOWN_CODE:
            break
        first, last = first + 1, last + 1
    return first, last


def contig_names(reference: Reference) -> frozenset[str]:
    """The normal names of the reference's contig: its own, and plink's number."""
    name = normal_contig(reference.name)
    return frozenset([name, *(number for number, own in PLINK_CODES.items() if own == name)])


class ContigPositions(Mapping[str, Sites]):
    """All positions of a reference's contig, and none of other contigs: the sites that a VCF reader reads.

    The human mitochondrial reference is found under M and MT too, with or without chr, and under plink's 26. With a
    text in `refuse_others` the first record of another contig raises an InputError that ends with it.
    """

    def __init__(self, reference: Reference, path: str, refuse_others: str = "") -> None:
        self._name = normal_contig(reference.name)
        self._names = contig_names(reference)
        self._positions = range(1, len(reference) + 1)
        self._path, self._refusal = path, refuse_others

    def __getitem__(self, contig: str) -> Sites:
        if contig in self._names:
            return self._positions
        if not self._refusal:
            raise KeyError(contig)
        return _RefusedContig(
            f"a record on {contig} after those on {self._name}: {self._refusal}", self._path
        )

    def __iter__(self) -> Iterator[str]:
        return iter([self._name])

    def __len__(self) -> int:
        return 1


class _RefusedContig(Collection[int]):
    """No position; that one was looked for is an error."""

    def __init__(self, message: str, path: str) -> None:
        self._message, self._path = message, path

    def __contains__(self, _: object) -> NoReturn:
        raise InputError(self._message, path=self._path)

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def unknown_contigs(names: Iterable[str]) -> str:
    """What to say of contigs that are no human chromosomes, by their names; empty where there are none."""
    unknown = [name for name in names if normal_contig(name) not in _NUCLEAR]
    if not unknown:
        return ""
    return (
        f"; contig {', '.join(unknown[:_MAX_SHOWN])} is not known: if it is the same sequence, rename it "
        "(bcftools annotate --rename-chrs)"
    )


def conflicting_length(header: Iterable[str], reference: Reference) -> int | None:
    """The length by which a VCF's header says that the contig of the reference's name is another one, else None.

    plink knows no lengths: what it writes is about its last position there.
    """
    lines = list(header)
    lengths = header_lengths(lines, reference)
    if not lengths or len(reference) in lengths:
        return None
    shortest = min(lengths)
    return None if is_of_plink(lines) and shortest < len(reference) else shortest


def header_lengths(header: Iterable[str], reference: Reference) -> set[int]:
    """The lengths that a VCF's header gives for contigs of the reference's name."""
    names = contig_names(reference)
    contigs = filter(None, map(contig_length, header))
    return {length for name, length in contigs if name in names}


def other_reference_hint(reference: Reference, length: int) -> str:
    """A guess at the other reference of a file, by the contig's length or by the last position of a record."""
    is_yoruba = normal_contig(reference.name) == "MT" and len(reference) < length <= _YORUBA
    perhaps = f", perhaps the Yoruba chrM of hg19 (NC_001807, {_YORUBA} letters)" * is_yoruba
    return f"{perhaps}: call the variants against {reference.name}"
