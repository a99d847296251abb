"""How the files of a cohort match a panel's sites, as a message and as a record."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from genomai_cli.errors import shown_path
from genomai_cli.formats.call_quality import filter_warning, misfit_warning, no_call_message
from genomai_cli.formats.phase_sets import PhaseSplits

MAX_NAMED_CHROMOSOMES = 5  # chromosomes in a message


@dataclass(frozen=True)
class MatchReport:
    """How a cohort's files match the panel; counts are of sites, and matched, other_alleles and absent add up.

    matched: a record with the panel's alleles, `swapped` of them with REF and ALT exchanged, `turned` of them on the
    other strand, `unclear_strand` of them palindromic and left out, since the file's strands are mixed,
    `conflicting` of them with records that disagree for a sample, `in_blocks` of them within a gVCF's
    reference block (read as the panel's ref); other_alleles: only records with other alleles;
    absent: no record, or no position in this build, `assumed_ref` of them taken for homozygous reference.
    no_calls counts the calls at matched sites that the file itself calls none, by reason; `filters` are values of
    FILTER by which records failed. uncertain counts the calls that are missing or doubtful and are read by their
    likelihoods or probabilities instead, by the field of these.
    """

    path: str
    samples: int
    build: str
    header_build: str | None
    sites: int
    matched: int
    swapped: int
    conflicting: int
    other_alleles: int
    absent: int
    in_blocks: int = 0
    turned: int = 0
    unclear_strand: int = 0
    assumed_ref: int = 0
    no_calls: dict[str, int] = field(default_factory=dict)
    filters: tuple[str, ...] = ()
    uncertain: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.build}, {self.matched} of {self.sites} panel sites"]
        parts += [f"{getattr(self, name)} {label}" for name, label in _COUNT_TEXTS.items()]
        text = f"{shown_path(self.path)}: " + ", ".join(
            part for part in parts if not part.startswith("0 ")
        )
        counts = " and ".join(f"{count} by {key}" for key, count in self.uncertain.items())
        uncertain = f"missing or doubtful calls read {counts}" if counts else ""
        return "; ".join(filter(None, [text, no_call_message(self.no_calls), uncertain]))


_COUNT_TEXTS = {
    "swapped": "swapped",
    "turned": "turned from the other strand",
    "unclear_strand": "palindromic of unclear strand",
    "conflicting": "conflicting",
    "other_alleles": "other alleles",
    "in_blocks": "in blocks",
    "absent": "absent",
    "assumed_ref": "of them assumed homozygous reference",
}


def with_splits(report: MatchReport, splits: PhaseSplits) -> MatchReport:
    """The report with a warning of heterozygotes that are N by their phase sets."""
    if not splits.calls:
        return report
    return replace(report, warnings=(*report.warnings, f"{splits}: N"))


def warnings_of(report: MatchReport) -> Iterator[str]:
    """Warnings about a match."""
    if report.header_build not in (None, report.build):
        yield f"the header says {report.header_build}, but the sites match {report.build}"
    matched, others = report.matched, report.other_alleles
    if others > matched:
        yield f"at {others} of {others + matched} sites the alleles are not the panel's"
    calls = matched * report.samples
    if filters := filter_warning(report.no_calls, report.filters, calls):
        yield filters
    if misfits := misfit_warning(report.no_calls, calls):
        yield misfits
    if report.unclear_strand:
        yield (
            f"{report.turned} sites are on the other strand and others are not: at "
            f"{report.unclear_strand} palindromic sites (A/T, C/G) it cannot be told, they are missing"
        )
