"""The calls of one record: restored or corrected by their probabilities, and written as text.

Shape suffixes: N samples, A alleles of the record, G genotypes in the order of VCF (0/0 0/1 1/1 0/2 ...).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.denoising.base import CORRECTED_ABOVE, Flags, Settings
from genomai_cli.formats.genotypes import ABSENT

Shares = NDArray[np.float32]
Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
"""Short texts of up to eight bytes, the first one lowest; zeros are left out."""
WORD = 8
DIGITS = 10_000  # probabilities and dosages have four decimals
FIELDS = (b"GP", b"DS")
MISSING_VALUE = b"."
_DOSAGE_MOMENTS = np.array(
    [[0.0, 0.0], [1.0, 1.0], [2.0, 4.0]]
)  # of genotypes: their copies, and those squared
MIN_VARIANCE = 1e-9  # the variance of genotypes, at least


@dataclass(frozen=True, eq=False)
class ParsedCalls:
    """A record's calls as they are: alleles (N, 2), phased (N,), who (N,) has one allele, whose call (N,) is missing,
    in whole or in part, and whose is `changeable`."""

    genotypes: NDArray[np.int16]
    phased: Flags
    haploid: Flags
    missing: Flags
    changeable: Flags


@dataclass(frozen=True, eq=False)
class Outcome:
    """The restored calls: `first` and `second` alleles (N,) of those that are `filled` or `corrected` (N,), how
    probable they are, and the genotypes' probabilities (N, G), 0 of those whose call stays and is missing, or is of
    another number of alleles than one or two, or of alleles that the record lacks."""

    first: Numbers
    second: Numbers
    filled: Flags
    corrected: Flags
    probability: Shares
    genotypes: Shares

    @property
    def changed(self) -> Flags:
        """Which samples' (N,) calls are changed."""
        changed: Flags = self.filled | self.corrected
        return changed


def outcome(
    parsed: ParsedCalls, pairs_NAA: Shares, correctable: Flags, settings: Settings
) -> Outcome:
    """The calls restored by the probabilities of ordered pairs; those of samples that are `correctable` (N,) may be
    corrected.

    What the pairs lack to 1 is alleles that the record does not have: if it is more than any genotype has, the call
    stays missing.
    """
    count = pairs_NAA.shape[1]
    observed_N = ~parsed.missing & ~correctable
    if observed_N.any():
        pairs_NAA = np.where(observed_N[:, None, None], _observed_pairs(parsed, count), pairs_NAA)
    if parsed.haploid.any():
        off_diagonal_NAA = parsed.haploid[:, None, None] & ~np.eye(count, dtype=np.bool_)
        pairs_NAA = np.where(off_diagonal_NAA, 0, pairs_NAA)
    small, large = genotype_order(count)
    genotypes_NG = pairs_NAA[:, small, large] + pairs_NAA[:, large, small] * (small != large)
    best_N = genotypes_NG.argmax(axis=1)
    probability_N = genotypes_NG.max(axis=1)
    confident_N = (probability_N >= settings.confidence) & (
        probability_N > 1 - genotypes_NG.sum(axis=1)
    )
    filled_N = parsed.missing & parsed.changeable & confident_N
    corrected_N = correctable & parsed.changeable & confident_N & (probability_N > CORRECTED_ABOVE)
    if corrected_N.any():
        corrected_N &= best_N != _genotype_number(parsed.genotypes)
    first_N, second_N = small[best_N], large[best_N]
    rows = np.arange(len(pairs_NAA))
    swapped_N = pairs_NAA[rows, second_N, first_N] > pairs_NAA[rows, first_N, second_N]
    first_N, second_N = (
        np.where(swapped_N, second_N, first_N),
        np.where(swapped_N, first_N, second_N),
    )
    is_read_N = (parsed.genotypes != MISSING).all(axis=1)
    has_genotype_N = is_read_N | (parsed.missing & parsed.changeable)
    written_NG = np.where(has_genotype_N[:, None], genotypes_NG, 0)
    return Outcome(first_N, second_N, filled_N, corrected_N, probability_N, written_NG)


@cache
def genotype_order(count: int) -> tuple[Numbers, Numbers]:
    """The smaller and the larger allele of each genotype of so many alleles."""
    pairs = [(small, large) for large in range(count) for small in range(large + 1)]
    small, large = np.array(pairs).T
    return small, large


def _genotype_number(genotypes: NDArray[np.int16]) -> Numbers:
    """Which genotype each is (N,); of haploid calls that of two such alleles, of missing ones none in particular."""
    second = np.where(genotypes[:, 1] == ABSENT, genotypes[:, 0], genotypes[:, 1])
    small, large = np.minimum(genotypes[:, 0], second), np.maximum(genotypes[:, 0], second)
    number: Numbers = (large.astype(np.int64) * (large + 1)) // 2 + small
    return number


def _observed_pairs(parsed: ParsedCalls, count: int) -> Shares:
    """Pairs (N, A, A) of which the one that was read is certain."""
    first = parsed.genotypes[:, 0].clip(min=0)
    second = np.where(parsed.genotypes[:, 1] == ABSENT, first, parsed.genotypes[:, 1].clip(min=0))
    one_hot = np.eye(count, dtype=np.float32)
    pairs: Shares = one_hot[first][:, :, None] * one_hot[second][:, None, :]
    return pairs


def probability_words(outcome: Outcome, haploid: Flags, count: int) -> tuple[Words, Words]:
    """GP (N, G) and DS (N, A - 1, at least one) of every sample, each text with a colon before it."""
    small, large = genotype_order(count)
    total_N = outcome.genotypes.sum(axis=1)
    known_N = total_N > 0
    shares = np.divide(
        outcome.genotypes,
        total_N[:, None],
        out=np.zeros_like(outcome.genotypes),
        where=known_N[:, None],
    )
    dosage_NA = shares @ _copies(count)
    gp = _words(shares)
    if haploid.any():
        dosage_NA[haploid] /= 2
        gp[np.ix_(haploid, small != large)] = 0
    ds = _words(dosage_NA)
    if not known_N.all():
        for words in (gp, ds):
            words[~known_N, 0], words[~known_N, 1:] = _word(b":" + MISSING_VALUE), 0
    return gp, ds


@cache
def _copies(count: int) -> Shares:
    """How many alternate alleles of each kind (G, A - 1) genotypes of so many alleles have."""
    small, large = genotype_order(count)
    copies_GA: Shares = (small[:, None] == np.arange(1, count)).astype(np.float32)
    copies_GA += large[:, None] == np.arange(1, count)
    return copies_GA


def _words(numbers: Shares) -> Words:
    """Numbers from 0 to 2 (N, X), those of a row between commas and the first behind a colon; a dot where X is 0."""
    rounded = np.rint(numbers * DIGITS).astype(np.int64)
    if not rounded.shape[1]:
        return np.full((len(rounded), 1), _word(b":" + MISSING_VALUE))
    words: Words = _decimals()[rounded]
    words[:, 0] += _word(b":") - _word(b",")
    return words


@cache
def _decimals() -> Words:
    """The texts of all numbers from 0 to 2, each behind a comma."""
    texts = [b",%b" % f"{number / DIGITS:g}".encode() for number in range(2 * DIGITS + 1)]
    return np.array(texts, f"S{WORD}").view("<u8").astype(np.uint64)


@cache
def _word(text: bytes) -> np.uint64:
    """A text of up to eight bytes."""
    return np.uint64(int.from_bytes(text, "little"))


def call_words(texts: Sequence[bytes]) -> Words | None:
    """Calls (N,), each behind a tab; None if one is too long."""
    words: Words = np.array(texts, f"S{WORD}").view("<u8").astype(np.uint64)
    shift = np.uint64(8)
    return None if (words >> 7 * shift).any() else (words << shift) | _word(b"\t")


def joined(words_NX: Words) -> bytes:
    """All texts, one behind the other, without the first byte."""
    return words_NX.astype("<u8", copy=False).tobytes().translate(None, b"\0")[1:]


def texts_of(words_NX: Words) -> list[bytes]:
    """The texts of every row, one behind the other, without their first byte."""
    tabs = np.full((len(words_NX), 1), _word(b"\t"))
    return [text[1:] for text in joined(np.hstack([tabs, words_NX])).split(b"\t")]


def dosage_r2(genotypes_SNG: Shares) -> list[float | None]:
    """Of each record, the squared correlation of dosages with true ones that the probabilities of two alleles in
    diploid calls imply, as Beagle's DR2 (Browning and Browning 2009, Am J Hum Genet 84:210, appendix 1): the variance
    of the dosages over that of genotypes drawn by them. 0 for a site without variation; None without calls, or for more
    alleles."""
    if genotypes_SNG.shape[2] != 3:
        return [None] * len(genotypes_SNG)
    probability_SN3 = genotypes_SNG.astype(np.float64)
    total_SN = probability_SN3 @ np.ones(3)
    count_S = np.count_nonzero(total_SN, axis=1)
    dosage_SN, square_SN = np.moveaxis(probability_SN3 @ _DOSAGE_MOMENTS, 2, 0) / np.where(
        total_SN, total_SN, 1
    )
    divisor_S = np.maximum(count_S, 1)
    mean_S = dosage_SN.sum(axis=1) / divisor_S
    genotype_variance_S = square_SN.sum(axis=1) / divisor_S - mean_S**2
    dosage_variance_S = np.einsum("sn,sn->s", dosage_SN, dosage_SN) / divisor_S - mean_S**2
    varies_S = genotype_variance_S > MIN_VARIANCE
    r2_S = np.where(
        varies_S, dosage_variance_S / np.where(varies_S, genotype_variance_S, 1), 0
    ).clip(0, 1)
    return [
        r2 if count else None for r2, count in zip(r2_S.tolist(), count_S.tolist(), strict=True)
    ]


def with_quality(info: bytes, r2: float | None) -> bytes:
    """INFO with DR2 in place of one that it has."""
    if r2 is None:
        return info
    fields = [field for field in info.split(b";") if field not in (b"", b".")]
    fields = [field for field in fields if not field.startswith(b"DR2=")]
    return b";".join([*fields, f"DR2={r2:.3f}".encode()])


@cache
def call_text(first: int, second: int, *, haploid: bool, phased: bool) -> bytes:
    """A genotype as VCF writes it; one that is not phased has the smaller allele first."""
    if haploid:
        return b"%d" % first
    if phased:
        return b"%d|%d" % (first, second)
    return b"%d/%d" % (min(first, second), max(first, second))


def new_calls(outcome: Outcome, haploid: Flags, phased: Flags) -> tuple[list[bytes], Numbers]:
    """The distinct new calls as text, and the index of each sample's (N,) among them."""
    count = int(outcome.second.max(initial=0)) + 1
    call_N = ((outcome.first * count + outcome.second) * 2 + haploid) * 2 + phased
    distinct = np.flatnonzero(np.bincount(call_N))
    text_of_call_N = np.searchsorted(distinct, call_N)
    texts = [
        call_text(*divmod(call >> 2, count), haploid=bool(call & 2), phased=bool(call & 1))
        for call in distinct.tolist()
    ]
    return texts, text_of_call_N


def fields_of(format_column: bytes) -> tuple[bytes, list[int]]:
    """FORMAT with GP and DS, and the indices of these two among its fields."""
    keys = format_column.split(b":")
    keys += [key for key in FIELDS if key not in keys]
    return b":".join(keys), [keys.index(key) for key in FIELDS]


def with_fields(call: bytes, indices: Sequence[int], values: Sequence[bytes]) -> bytes:
    """A call's fields with these values at these indices; fields that it left out are missing."""
    fields = call.split(b":")
    fields += [MISSING_VALUE] * (max(indices) + 1 - len(fields))
    for index, value in zip(indices, values, strict=True):
        fields[index] = value
    return b":".join(fields)


def allele_counts(parsed: ParsedCalls, restored: Outcome | None, count: int) -> list[int]:
    """How often each of so many alleles is called, before, or with an outcome after."""
    alleles = parsed.genotypes.astype(np.int64)
    if restored is not None:
        second = np.where(parsed.haploid, MISSING, restored.second)
        new = np.stack([restored.first, second], axis=1)
        alleles = np.where(restored.changed[:, None], new, alleles)
    counts = np.bincount(alleles[alleles >= 0], minlength=count)
    return [int(number) for number in counts]


def recounted(info: bytes, before: Sequence[int], after: Sequence[int]) -> bytes:
    """INFO with AN, AC and AF of the new calls, if those of AN and AC that it has were those of the calls before; else,
    or with neither of them, as it is."""
    fields = dict(field.partition(b"=")[::2] for field in info.split(b";"))
    old, new = _allele_number_fields(before), _allele_number_fields(after)
    known = [key for key in old if key in fields]
    if not known or any(fields[key] != old[key] for key in known):
        return info
    total = max(1, sum(after))
    if b"AF" in fields and b"AC" in known:
        new[b"AF"] = b",".join(f"{count / total:g}".encode() for count in after[1:])
    texts = info.split(b";")
    keys = [text.partition(b"=")[0] for text in texts]
    pairs = zip(keys, texts, strict=True)
    return b";".join(key + b"=" + new[key] if key in new else text for key, text in pairs)


def _allele_number_fields(counts: Sequence[int]) -> dict[bytes, bytes]:
    texts = [str(count).encode() for count in counts[1:]]
    return {b"AN": str(sum(counts)).encode(), b"AC": b",".join(texts)}
