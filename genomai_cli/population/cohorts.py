"""The calls of groups of samples at the sites of a panel, from VCF and BCF files in either genome build.

Files with the same samples are parts of one cohort. The build is the one whose sites match; the header decides a tie.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.call_quality import DEFAULT_RULES, CallRules, count_no_calls
from genomai_cli.formats.contigs import PLINK_CODES
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.phase_sets import PhaseSplits, in_largest_sets
from genomai_cli.formats.plink import read_bed
from genomai_cli.formats.plink2 import read_pgen
from genomai_cli.formats.raw_genotypes import read_raw_genotypes
from genomai_cli.formats.streams import Input
from genomai_cli.formats.variant_alleles import NO_BASES_REMEDY
from genomai_cli.formats.vcf import VariantFile, read_variants
from genomai_cli.population.absent_sites import (
    SiteCoverage,
    assumed_reference_sites,
    reference_records_refuse,
)
from genomai_cli.population.builds import (
    KNOWN_CONTIGS,
    LIFT_OVER,
    BuildMatches,
    choose_build,
    expected_by_chance,
    header_assembly,
    header_build,
    human_contig,
    mixed_builds,
    mixed_files,
)
from genomai_cli.population.match_report import MAX_NAMED_CHROMOSOMES, MatchReport, warnings_of
from genomai_cli.population.panel import BUILDS, Panel
from genomai_cli.population.pileup_genotypes import read_pileups
from genomai_cli.population.site_calls import Flags, PlacedCalls, SiteCalls
from genomai_cli.population.site_records import (
    BLOCK,
    CODES,
    OWN,
    FileRecords,
    SiteIndex,
    SiteKey,
    SiteRecord,
)

MAX_GENOTYPES = 1 << 30  # of all samples at all sites, of two bytes each
MAX_PACKED_GENOTYPES = 1 << 33  # the same, of two bits each
# Share of the calls in two files above which equal names cannot be the same individuals; one is judged by so many.
_MAX_DISAGREEMENT, _MIN_COMMON_CALLS = 0.1, 20
# Records, without any homozygous reference call, from which a list of variants is evidence.
_MIN_RECORDS = 30
_NO_MATCH_HINT = (
    "nothing to use; its records are of other sites, its coordinates of another assembly (lift them over: bcftools "
    "+liftover), or its REF is N (bcftools +fill-from-fasta)"
)


class Cohort:
    """The calls of one group of samples, gathered from one or more files in either build."""

    def __init__(self, panel: Panel, file: VariantFile, *, packed: bool = False) -> None:
        limit = MAX_PACKED_GENOTYPES if packed else MAX_GENOTYPES
        if len(file.samples) * len(panel) > limit:
            message = (
                f"{len(file.samples)} samples at {len(panel)} sites are more than are held at once: at most "
                f"{limit // len(panel)} of them (bcftools view -S NAMES), or a model of fewer sites "
                "(genomai models list)"
            )
            raise InputError(message, path=file.path)
        self.samples = list(file.samples)
        self.phase_splits = PhaseSplits()
        self.path = file.path
        self._panel = panel
        self._records: dict[SiteKey, SiteRecord] = {}
        self._carriers: dict[SiteKey, Flags] = {}
        self._removed: dict[SiteKey, Flags] = {}
        self._other_alleles: set[SiteKey] = set()
        self._coded: set[SiteKey] = set()
        self._header: list[str] = []
        self._contigs: dict[str, int | None] = {}
        self._with_genotypes = 0
        self._matches_of_file: dict[str, dict[str, int]] = {}

    def add(self, file: VariantFile, sites: SiteIndex) -> None:
        """Take in the records of one more file of these samples."""
        file_records = FileRecords.read(self._panel, file, sites)
        self._header += file.header
        self._count_contigs(file.contigs)
        self._with_genotypes += file_records.with_genotypes
        self._matches_of_file[file.path] = file_records.matches()
        self._other_alleles |= file_records.other_allele_sites
        self._coded |= file_records.coded
        for cohort_flags, file_flags in (
            (self._carriers, file_records.carriers),
            (self._removed, file_records.removed),
        ):
            for key, samples in file_flags.items():
                cohort_flags[key] = samples | cohort_flags.get(key, False)
        common_N, different_N = np.zeros((2, len(self.samples)), np.int64)
        for key, record in file_records.records.items():
            before = self._records.get(key)
            self._records[key] = record if before is None else before.joined(record)
            if before is not None and before.rank == record.rank:
                common_N += before.known() & record.known()
                different_N += before.conflict(record)
        self._require_same_individuals(common_N, different_N, file.path)

    def _require_same_individuals(
        self, common_N: NDArray[np.int64], different_N: NDArray[np.int64], path: str
    ) -> None:
        """InputError where too many of the calls that two files have in common differ, of all samples or of one: more
        than errors are."""
        common, different = int(common_N.sum()), int(different_N.sum())
        if different > _MAX_DISAGREEMENT * common:
            message = (
                f"the same samples as {self.path}, but {different} of {common} calls in both are other genotypes: "
                "other individuals under the same names? rename one of them"
            )
            raise InputError(message, path=path)
        is_other_N = (different_N > _MAX_DISAGREEMENT * common_N) & (common_N >= _MIN_COMMON_CALLS)
        for sample in np.flatnonzero(is_other_N).tolist():
            message = (
                f"sample {self.samples[sample]} is in {self.path} too, but {different_N[sample]} of "
                f"{common_N[sample]} calls in both are other genotypes: another individual under the same name?"
            )
            raise InputError(message, path=path)

    def _count_contigs(self, contigs: dict[str, int | None]) -> None:
        for name, count in contigs.items():
            before = self._contigs.get(name, 0)
            self._contigs[name] = None if count is None or before is None else before + count

    def calls(self, *, absent_is_ref: bool) -> tuple[SiteCalls, MatchReport]:
        """The calls at all sites, and the report on how; InputError as `placed`."""
        placed, report = self.placed(absent_is_ref=absent_is_ref)
        calls = placed.at()
        if calls.uncertain is not None:
            report = replace(report, uncertain=calls.uncertain.counts)
        return calls, report

    def placed(self, *, absent_is_ref: bool) -> tuple[PlacedCalls, MatchReport]:
        """The calls in the build that the sites match, and the report on how.

        InputError where there is nothing to use, the coordinates are of another assembly, or a file that is said to
        list variants does not.
        """
        header = header_build([*self._header, *self._contig_lines()])
        build = self._build(header, absent_is_ref)
        records = [self._records.get((build, site)) for site in range(len(self._panel))]
        other_alleles = [(build, site) in self._other_alleles for site in range(len(self._panel))]
        recorded = np.array([record is not None for record in records]) | np.array(other_alleles)
        assumed = np.zeros(len(records), np.bool_)
        warnings: list[str] = []
        if absent_is_ref:
            assumed, warnings = self._assumed(build, records, recorded)
        carriers, removed = (
            {site: flags for (key_build, site), flags in by_site.items() if key_build == build}
            for by_site in (self._carriers, self._removed)
        )
        sample_count = len(self.samples)
        placed = PlacedCalls(
            self._panel, sample_count, records, recorded, assumed, carriers, removed
        )
        report = self._report(build, header, records, int(assumed.sum()))
        return placed, replace(report, warnings=(*warnings_of(report), *warnings))

    def _assumed(
        self, build: str, records: list[SiteRecord | None], recorded: Flags
    ) -> tuple[Flags, list[str]]:
        """The sites (sites,) that --absent-is-ref makes reference, and warnings about the others."""
        self._check_list_of_variants(records)
        coverage = self._coverage(build, records, recorded)
        assumed = assumed_reference_sites(self._panel, coverage, len(self.samples), build)
        not_assumed = coverage.placed & coverage.chromosome_known & ~recorded & ~assumed
        too_few = (
            not assumed.any() and recorded.sum() < _MIN_RECORDS and not self._has_reference(records)
        )
        if not_assumed.any() and too_few:
            message = (
                f"{recorded.sum()} of {len(records)} panel sites have a record: too few to take the "
                "others for reference, and a few variants alone tell nothing: call the sites"
            )
            raise InputError(message, path=self.path)
        return assumed, list(_warnings_of_missing(self._panel, coverage, assumed))

    def _contig_lines(self) -> Iterator[str]:
        """The names of the records' contigs as a header has them: an accession tells the build."""
        return (f"##contig=<ID={name}>" for name in self._contigs)

    def _build(self, header: str | None, absent_is_ref: bool) -> str:
        matches = {build: self._matches(build) for build in BUILDS}
        matched = {build: match.matched for build, match in matches.items()}
        assembly = header_assembly([*self._header, *self._contig_lines()])
        build = choose_build(matched, header) if any(matched.values()) else None
        if build is None and header and any(match.blocks for match in matches.values()):
            build = header  # a gVCF whose blocks cover all of the sites
        reason = self._coded_reason(matches)
        if build is None and reason is None:
            reason = self._no_match_reason(matched, assembly, absent_is_ref)
        reason = reason or (build and matches[build].contradiction(assembly))
        reason = reason or mixed_builds(self._header, self._contigs)
        reason = reason or mixed_files(build, self._matches_of_file)
        if reason:
            raise InputError(reason, path=self.path)
        if not self._with_genotypes:
            message = (
                "no genotypes: the records at panel sites have no GT field, nor PL, GL, GP or DS"
            )
            raise InputError(message, path=self.path)
        assert build is not None
        return build

    def _matches(self, build: str) -> BuildMatches:
        # Blocks cover the positions of either build, so they cannot tell which one it is.
        records = [record for key, record in self._records.items() if key[0] == build]
        in_blocks = [record for record in records if record.rank == BLOCK]
        blocks = sum(bool(record.known().any()) for record in in_blocks)
        others = sum(key[0] == build and key not in self._records for key in self._other_alleles)
        by_contig: dict[str, int] = {}
        for contig, position in zip(self._panel.chrom, self._panel.positions[build], strict=True):
            by_contig[contig] = by_contig.get(contig, 0) + bool(position)
        present = sum(by_contig.get(contig, 0) for contig in map(human_contig, self._contigs))
        chance = expected_by_chance(self._contigs, by_contig, build)
        matched = len(records) - len(in_blocks)
        return BuildMatches(build, matched, others, blocks, present, chance)

    def _coded_reason(self, matches: dict[str, BuildMatches]) -> str | None:
        """Why there is nothing to use where most records have codes in place of bases; None where they do not."""
        coded = max(sum(key[0] == build for key in self._coded) for build in BUILDS)
        matched = max(match.matched for match in matches.values())
        return f"{coded} records at panel sites have {NO_BASES_REMEDY}" if coded > matched else None

    def _no_match_reason(
        self, matched: dict[str, int], assembly: str | None, absent_is_ref: bool
    ) -> str:
        """Why there is nothing to use."""
        if not self._contigs:
            return "no records"
        if assembly is not None:
            return f"no record at a panel site: the header is that of {assembly}, {LIFT_OVER}"
        if not any(human_contig(name) in KNOWN_CONTIGS for name in self._contigs):
            return (
                f"no contig name is known (the first is {next(iter(self._contigs))}): "
                "1, chr1, NC_000001.11, CM000663.2 or GRCh38#0#chr1 would be. Coordinates of "
                f"{BUILDS[0]} or {BUILDS[1]} need other names only (bcftools annotate --rename-chrs)"
            )
        hint = "--absent-is-ref alone would make everybody alike" if absent_is_ref else ""
        return (
            f"matches {matched[BUILDS[0]]} of {len(self._panel)} panel sites in {BUILDS[0]} "
            f"and {matched[BUILDS[1]]} in {BUILDS[1]}: {hint or _NO_MATCH_HINT}"
        )

    def _check_list_of_variants(self, site_records: list[SiteRecord | None]) -> None:
        """InputError if the file says where it saw the reference, so that it is no list of variants."""
        reference = [
            record.rank
            for site, record in enumerate(site_records)
            if record is not None and self._is_reference(site, record)
        ]
        blocks = reference.count(BLOCK)
        records = sum(record is not None and record.rank == OWN for record in site_records)
        if blocks:
            message = (
                f"a gVCF, whose reference blocks cover {blocks} panel sites, says itself where "
                "the reference was seen: leave --absent-is-ref out"
            )
            raise InputError(message, path=self.path)
        if reference_records_refuse(reference.count(OWN), records):
            message = (
                f"{reference.count(OWN)} of {records} records at panel sites are homozygous "
                "reference in all samples, so the file is no list of variants and what it lacks "
                "was not looked at: leave --absent-is-ref out"
            )
            raise InputError(message, path=self.path)

    def _has_reference(self, records: list[SiteRecord | None]) -> bool:
        """Whether anybody is homozygous reference anywhere."""
        pairs = zip(records, self._panel.ref, strict=True)
        return any(
            record is not None and (record.codes == CODES[ref]).all(axis=1).any()
            for record, ref in pairs
        )

    def _is_reference(self, site: int, record: SiteRecord) -> bool:
        codes = record.codes[record.known()]
        return bool(len(codes)) and bool((codes == CODES[self._panel.ref[site]]).all())

    def _coverage(
        self, build: str, records: list[SiteRecord | None], recorded: Flags
    ) -> SiteCoverage:
        copies = [
            0 if record is None else int((record.codes == CODES[alt]).sum())
            for record, alt in zip(records, self._panel.alt, strict=True)
        ]
        known = {human_contig(name) for name in self._contigs}
        chromosomes = np.array([contig in known for contig in self._panel.chrom])
        placed = self._panel.positions[build] > 0
        return SiteCoverage(placed, recorded, np.array(copies, np.int64), chromosomes)

    def _report(
        self, build: str, header: str | None, site_records: list[SiteRecord | None], assumed: int
    ) -> MatchReport:
        records = [record for record in site_records if record is not None]
        others = sum(p[0] == build and p not in self._records for p in self._other_alleles)
        return MatchReport(
            path=self.path,
            samples=len(self.samples),
            build=build,
            header_build=header,
            sites=len(site_records),
            matched=len(records),
            swapped=sum(record.swapped for record in records),
            conflicting=sum(record.conflicting for record in records),
            other_alleles=others,
            absent=len(site_records) - len(records) - others,
            in_blocks=sum(record.rank == BLOCK for record in records),
            turned=sum(record.turned for record in records),
            unclear_strand=sum(record.unclear for record in records),
            assumed_ref=assumed,
            no_calls=count_no_calls(record.called_none() for record in records),
            filters=tuple(sorted({name for record in records for name in record.filters})),
        )


def read_cohorts(
    inputs: Iterable[Input],
    panel: Panel,
    rules: CallRules = DEFAULT_RULES,
    *,
    phased: bool = False,
    likelihoods: bool = False,
    packed: bool = False,
) -> list[Cohort]:
    """The cohorts in the order of their first files; each input is read to its end and closed.

    If `packed`, more calls may be read than `Cohort.calls` has room for: `Cohort.placed` gives them.

    If `phased`, heterozygotes outside the largest phase set of their chromosome are not. With `likelihoods` calls that
    are missing or doubtful come with the files' evidence of them.
    """
    sites = site_index(panel)
    cohorts: dict[tuple[str, ...], Cohort] = {}
    for source in inputs:
        with source:
            file = _opened(source, panel, sites, rules, phased=phased, likelihoods=likelihoods)
            cohort = cohorts.setdefault(file.samples, Cohort(panel, file, packed=packed))
            if phased:
                file = replace(file, records=in_largest_sets(file.records, cohort.phase_splits))
            cohort.add(file, sites)
    return list(cohorts.values())


def _opened(
    source: Input,
    panel: Panel,
    sites: SiteIndex,
    rules: CallRules,
    *,
    phased: bool,
    likelihoods: bool,
) -> VariantFile:
    if source.kind is Kind.RAW:
        return read_raw_genotypes(source, sites)
    if source.kind is Kind.PLINK:
        return read_bed(source, sites)
    if source.kind in (Kind.BAM, Kind.CRAM):
        return read_pileups(source, panel, rules, likelihoods=likelihoods)
    if source.kind is Kind.PGEN:
        return read_pgen(source, sites, covering=True, rules=rules, likelihoods=likelihoods)
    return read_variants(
        source, sites, covering=True, with_fields=phased, rules=rules, likelihoods=likelihoods
    )


def site_index(panel: Panel) -> SiteIndex:
    """The panel's sites of both builds by contig and position; contigs also by plink's numbers."""
    index: SiteIndex = {}
    for build in BUILDS:
        for (contig, position), site in panel.index(build).items():
            index.setdefault(contig, {}).setdefault(position, []).append((build, site))
    numbers = {number: index[name] for number, name in PLINK_CODES.items() if name in index}
    return {**numbers, **index}


def _warnings_of_missing(panel: Panel, coverage: SiteCoverage, assumed: Flags) -> Iterator[str]:
    """Warnings of absent sites that --absent-is-ref does not make reference."""
    absent = coverage.placed & ~coverage.recorded & ~assumed
    elsewhere = absent & ~coverage.chromosome_known
    if elsewhere.any():
        names = list(dict.fromkeys(np.array(panel.chrom)[elsewhere].tolist()))
        chromosomes = (
            f"chromosome {', '.join(names)}"
            if len(names) <= MAX_NAMED_CHROMOSOMES
            else f"{len(names)} chromosomes"
        )
        yield (
            f"no record on {chromosomes}: --absent-is-ref does not speak for "
            f"the {elsewhere.sum()} sites there, they are missing"
        )
    not_believed = int((absent & coverage.chromosome_known).sum())
    if not_believed:
        yield (
            f"--absent-is-ref is not believed at {not_believed} sites, they are missing: so few of them "
            "have records that the file cannot list the variants of whole genomes there"
        )
