"""Calls that a file itself calls none: a genotype is written, and other fields of the sample say that nothing was seen.

gVCF writers put 0/0 where there are no reads, filters mark calls and sites instead of removing them; taken as they are,
such calls make individuals look like the reference. A field that is not there is no evidence against a call. FORMAT/DS
says that genotypes were imputed, from neighbouring sites too: depth and likelihoods of the site itself do not judge
those.

Shape suffixes: N samples.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.sample_fields import SampleFields

Reasons = NDArray[np.uint8]
Flags = NDArray[np.bool_]
# The numbers of reasons, in the order in which they are tested; a call gets the first that holds.
COUNTED, FILTER, FT, NO_READS, GQ_0, FLAT, MIN_DP, MIN_GQ, MISFIT = range(9)
REASONS = {
    "filter": "by FILTER",
    "ft": "by FT",
    "no_reads": "without reads (DP, MIN_DP, AD, NR, or RO and AO 0)",
    "gq_0": "of GQ 0",
    "flat_likelihoods": "of equal PL, GL or GP",
    "min_dp": "below --min-dp",
    "min_gq": "below --min-gq",
    "misfit": "of reads that fit no genotype",  # of aligned reads only
}
# Values of FILTER that are no failures: DeepVariant's mark of homozygous reference calls, GLnexus' of one allele of
# several, and how imputation servers say where a genotype comes from.
PASSING = frozenset(
    {"PASS", ".", "0", "RefCall", "MONOALLELIC"}
    | {"GENOTYPED", "GENOTYPED_ONLY", "TYPED", "TYPED_ONLY", "IMPUTED"}
)
_IMPUTED = "DS"
_MAX_FILTERED = 0.1  # share of calls whose records failed; above it FILTER may mean something else
_MAX_NAMED = 5  # values in a message
_MAX_MISFITS = 0.03  # share of sites with reads
# Of a call the first that it has a value of: its genotype quality (GATK's of a reference call, Strelka's), and depth.
_QUALITIES = ("GQ", "RGQ", "GQX")
_DEPTHS = ("MIN_DP", "DP")
_NO_READS_KEYS = ("DP", "MIN_DP", "AD", "NR")  # the last is Platypus'


@dataclass(frozen=True, slots=True)
class CallRules:
    """The least genotype quality and depth of a call that counts; None sets no threshold beyond what the file says."""

    min_gq: int | None = None
    min_dp: int | None = None

    def no_calls(
        self,
        genotypes: NDArray[np.int16],
        filters: Iterable[str],
        fields: SampleFields | None,
    ) -> Reasons | None:
        """Why which of the calls (N, 2) are none: numbers of reasons (N,), None where all calls count.

        `filters` are the values of FILTER that the record failed by, `fields` the samples' other fields, if any.
        """
        called: Flags = np.asarray((genotypes >= 0).any(axis=1))
        return self.reasons(called, filters, fields)

    def reasons(
        self, called: Flags, filters: Iterable[str], fields: SampleFields | None
    ) -> Reasons | None:
        """The same of the samples (N,) for whom something is given, a genotype or its likelihoods."""
        if filters:
            return np.where(called, FILTER, COUNTED).astype(np.uint8)
        if fields is None:
            return None
        reasons = np.zeros(len(called), np.uint8)
        for reason, failing in self._failing(fields, called):
            reasons[called & (reasons == COUNTED) & failing] = reason
        return reasons if reasons.any() else None

    def _failing(self, fields: SampleFields, called: Flags) -> Iterator[tuple[int, Flags]]:
        """Reasons, and whose calls (N,) they hold for."""
        if fields.has("FT"):
            yield FT, fields.not_passed("FT")
        if not fields.has(_IMPUTED):
            for key in _NO_READS_KEYS:
                if fields.has(key):
                    yield NO_READS, fields.zeros(key, called)
            if fields.has("RO") and fields.has("AO"):  # freebayes
                yield NO_READS, fields.zeros("RO", called) & fields.zeros("AO", called)
        zero_quality = _of_first_given(
            fields, _QUALITIES, called, partial(fields.zeros, samples=called)
        )
        yield GQ_0, zero_quality
        if not fields.has(_IMPUTED):
            for key in ("PL", "GL", "GP"):
                if fields.has(key):
                    yield FLAT, fields.flat(key, called)
        for reason, keys, least in (
            (MIN_DP, _DEPTHS, self.min_dp),
            (MIN_GQ, _QUALITIES, self.min_gq),
        ):
            if least is not None:
                below = partial(fields.below, minimum=least)
                yield reason, _of_first_given(fields, keys, called, below)


def _of_first_given(
    fields: SampleFields, keys: Iterable[str], called: Flags, test: Callable[[str], Flags]
) -> Flags:
    """Which of those called (N,) pass the test of the first of these fields that they have a value of: samples of
    merged files have different ones."""
    passing, undecided = np.zeros_like(called), called
    present = [*filter(fields.has, keys)]
    for key in present:
        passing = passing | (undecided & test(key))
        if key != present[-1]:
            undecided = undecided & ~fields.given(key)
    return passing


DEFAULT_RULES = CallRules()


def failed_filters(filters: Iterable[str]) -> tuple[str, ...]:
    """The values of a record's FILTER that say that it failed."""
    return tuple(
        name for name in filters if name and name not in PASSING and name.upper() != "PASS"
    )


def count_no_calls(reasons: Iterable[Reasons | None]) -> dict[str, int]:
    """How many calls are none, by the names of the reasons, those that there are."""
    counts = np.zeros(len(REASONS) + 1, np.int64)
    for record_reasons in reasons:
        if record_reasons is not None:
            counts += np.bincount(record_reasons, minlength=len(counts))
    return {name: int(count) for name, count in zip(REASONS, counts[1:], strict=True) if count}


def filter_warning(counts: Mapping[str, int], filters: Iterable[str], calls: int) -> str:
    """What to say where more than a tenth of so many calls were lost to these values of FILTER; else nothing."""
    filtered = counts.get("filter", 0)
    if filtered <= _MAX_FILTERED * calls:
        return ""
    names = ", ".join(sorted(filters)[:_MAX_NAMED])
    return (
        f"{filtered} calls are missing, since FILTER says that their records failed ({names}); if it does not mean "
        "that, remove it (bcftools annotate -x FILTER)"
    )


def misfit_warning(counts: Mapping[str, int], calls: int) -> str:
    """What to say where the reads at more than so many of these calls fit no genotype; else nothing."""
    misfits, with_reads = counts.get("misfit", 0), calls - counts.get("no_reads", 0)
    if misfits <= _MAX_MISFITS * with_reads:
        return ""
    return (
        f"at {misfits} of {with_reads} sites with reads these fit no genotype of one person: contaminated, or of "
        "several people?"
    )


def no_call_message(counts: Mapping[str, int]) -> str:
    """The counts as a message, empty where there are none: "12 calls are none by the file's own fields: ..."."""
    if not counts:
        return ""
    parts = ", ".join(f"{count} {REASONS[name]}" for name, count in counts.items())
    return f"{sum(counts.values())} calls taken as missing: {parts}"
