"""VCF and BCF restored: read once for the samples' genotypes, and once more to be rewritten."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import IO, Self

import numpy as np

from genomai_cli.alphabet import MISSING
from genomai_cli.denoising.base import (
    Denoiser,
    Settings,
    Site,
    SiteModel,
    VcfOptions,
    VcfSamples,
)
from genomai_cli.denoising.vcf_calls import (
    Outcome,
    ParsedCalls,
    allele_counts,
    call_words,
    dosage_r2,
    fields_of,
    joined,
    new_calls,
    outcome,
    probability_words,
    recounted,
    texts_of,
    with_fields,
    with_quality,
)
from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import declared_contigs, normal_contig
from genomai_cli.formats.genotypes import ABSENT, GenotypeError, parse_genotypes
from genomai_cli.formats.shards import WHOLE, Shard
from genomai_cli.formats.streams import Input, text_of
from genomai_cli.formats.vcf_concat import concatenated_text
from genomai_cli.formats.vcf_replay import Reopen
from genomai_cli.formats.vcf_rewrite import Addition, VcfRewriter, line_count, read_header

IMPUTED = b"IMPUTED"
CALLS_PER_BLOCK = 1 << 13  # of records that are added
MAX_PLOIDY = 2  # of a call that can be restored
_HEADER_LINES = {
    b"INFO=<ID=IMPUTED,": b'Number=0,Type=Flag,Description="Record added by genomai denoise">',
    b"FORMAT=<ID=GT,": b'Number=1,Type=String,Description="Genotype">',
    b"FORMAT=<ID=GP,": b'Number=G,Type=Float,Description="Genotype probabilities">',
    b"FORMAT=<ID=DS,": b'Number=A,Type=Float,Description="Dosage of the alternate allele">',
}
_QUALITY_HEADER_LINES = {
    b"INFO=<ID=DR2,": b'Number=1,Type=Float,Description="Squared correlation of dosages with true ones, estimated">'
}
Report = Callable[[str, str, str, str, float], None]
"""Takes a change: sample, place, from, to, probability."""


@dataclass(frozen=True)
class Summary:
    """The result for a file: how many `samples` it has, of which `usable` ones have a known genotype; counts of
    changes, see `RecordEditor`; messages and warnings. `known` is False for a file that has none of the model's
    sites."""

    samples: int
    usable: int
    counts: Mapping[str, int] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    known: bool = True


def denoise_vcf(
    sources: Sequence[Input],
    out: IO[bytes],
    denoiser: Denoiser,
    options: VcfOptions,
    *,
    origin: str,
    report: Report | None,
    part: Shard = WHOLE,
) -> Summary:
    """Write the VCF with its missing genotypes at the model's sites filled in; `report` takes every change. Several
    `sources` are parts of one, see `vcf_concat`.

    Of its lines those of the `part`, after the samples have been read from all; see `vcf_rewrite.VcfRewriter`.

    Raises BundleError for a model that reads no VCF, InputError for a damaged file.
    """
    with concatenated_text(sources) as reopen:
        vcf_samples = denoiser.read_vcf(reopen, options)
        if vcf_samples.model is None:
            _pass_on(reopen, out, part)
            messages = (vcf_samples.messages, vcf_samples.warnings)
            return Summary(len(vcf_samples.samples), 0, {}, *messages, known=False)
        editor = RecordEditor(
            vcf_samples.model, vcf_samples.samples, options.settings, f"model={origin}", report
        )
        additions = [] if options.only_present else vcf_samples.model.additions
        _rewrite(reopen, out, editor, additions, part)
        return _summary(vcf_samples, vcf_samples.model, editor)


def _pass_on(reopen: Reopen, out: IO[bytes], part: Shard) -> None:
    lines = _lines(reopen, part)
    with reopen() as source:
        if part.is_whole:
            out.writelines(source.stream)
            return
        header, _ = read_header(source)
        out.writelines(header if part.is_first else ())
        lines_of_part = part.span(lines)
        out.writelines(islice(source.stream, lines_of_part.start, lines_of_part.stop))


def _rewrite(
    reopen: Reopen,
    out: IO[bytes],
    editor: "RecordEditor",
    additions: Iterable[Addition],
    part: Shard,
) -> None:
    model, lines = editor.model, _lines(reopen, part)
    with reopen() as source:
        editor.path = source.path
        rewrite = VcfRewriter(
            editor,
            additions,
            contigs_present=model.file_contigs,
            default_order=list(model.contig_lengths),
            shard=part,
            line_count=lines,
        )
        rewrite.run(source, out)


def _lines(reopen: Reopen, part: Shard) -> int:
    """The number of lines to divide into parts."""
    if part.is_whole:
        return 0
    with reopen() as source:
        return line_count(source)


def _summary(vcf_samples: VcfSamples, model: SiteModel, editor: "RecordEditor") -> Summary:
    usable, samples = int(model.usable.sum()), len(vcf_samples.samples)
    warnings = [*vcf_samples.warnings, *_warnings(editor.counts, samples - usable)]
    counts = {name: int(number) for name, number in editor.counts.items()}
    return Summary(samples, usable, counts, vcf_samples.messages, tuple(warnings))


def _warnings(counts: Mapping[str, int], unusable: int) -> Iterator[str]:
    if counts["left_alone"]:
        yield (
            f"{counts['left_alone']} records with missing genotypes have other alleles than the model's, or more: "
            "unchanged"
        )
    if unusable:
        yield f"{unusable} samples have no genotype at the model's sites: unchanged"


class RecordEditor:
    """Restores the calls of a file's records by a `SiteModel`, and counts; see `vcf_rewrite.Editor`.

    `counts`: missing calls at records that could be restored, those `restored`, known ones `corrected`, records `added`
    and records of other alleles that were `left_alone` with missing calls.
    """

    def __init__(
        self,
        model: SiteModel,
        samples: Sequence[str],
        settings: Settings,
        origin: str,
        report: Report | None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.model, self._samples, self._settings = model, samples, settings
        self._origin, self._report = origin, report
        self.path = "-"

    def silent(self) -> Self:
        """See `Editor`."""
        other = copy.copy(self)
        other.counts, other._report = Counter(), None
        return other

    def sites(self, contig: str) -> Mapping[int, int]:
        """See `Editor`."""
        return self.model.sites(contig)

    def edited(self, raw: bytes, number: int, line: int) -> bytes:
        """See `Editor`."""
        text = raw.rstrip(b"\r\n")
        columns = text.split(b"\t", 9)
        keys = columns[8].split(b":") if len(columns) > 9 else []
        if b"GT" not in keys:
            return raw
        ref, alts = text_of(columns[3]).upper(), _alternates(columns[4])
        gt_index = keys.index(b"GT")
        parsed = self._parsed_calls(columns[9], gt_index, (number, len(alts) + 1, line))
        if not parsed.missing.any() and self._settings.error_rate is None:
            return raw
        alternates = self.model.alternates(number, ref, alts)
        if alternates is None:
            self.counts["left_alone"] += bool(parsed.missing.any())
            return raw
        restored = self._outcome(number, [ref, *alternates], parsed)
        if not (restored.changed.any() or (parsed.missing & parsed.changeable).any()):
            return raw
        columns[4] = ",".join(alternates).encode() or b"."
        counts = [allele_counts(parsed, new, len(alternates) + 1) for new in (None, restored)]
        columns[7] = recounted(columns[7], *counts)
        if self.model.reports_quality:
            (r2,) = dosage_r2(restored.genotypes[None, ~parsed.haploid])
            columns[7] = with_quality(columns[7], r2)
        format_column, field_indices = fields_of(columns[8])
        location = f"{text_of(columns[0])}:{text_of(columns[1])}"
        columns[8:] = [
            format_column,
            self._written(restored, parsed, columns[9], [gt_index, *field_indices], location),
        ]
        return b"\t".join(columns) + raw[len(text) :]

    def _parsed_calls(
        self, calls: bytes, gt_index: int, record_info: tuple[int, int, int]
    ) -> ParsedCalls:
        """The record's calls; `record_info` is the site, the number of alleles and the line."""
        number, alleles, line = record_info
        try:
            genotypes, phased = parse_genotypes(calls, len(self._samples), gt_index, alleles)
        except GenotypeError as error:
            raise InputError(str(error), path=self.path, line=line) from None
        missing = (genotypes == MISSING).any(axis=1)
        haploid = genotypes[:, 1] == ABSENT
        phased &= ~haploid
        haploid &= ~missing | self.model.haploid_at(number)
        changeable_N = ~self.model.locked(number)
        if missing.any():
            texts = calls.split(b"\t")
            for sample in np.flatnonzero(missing):
                if not _can_be_filled(texts[sample].split(b":")[gt_index:][:1]):
                    changeable_N[sample] = missing[sample] = False
        return ParsedCalls(genotypes, phased, haploid, missing, changeable_N)

    def _count(self, restored: Outcome, parsed: ParsedCalls) -> None:
        self.counts["missing"] += int(parsed.missing.sum())
        self.counts["restored"] += int(restored.filled.sum())
        self.counts["corrected"] += int(restored.corrected.sum())

    def _report_change(
        self, sample: int, location: str, before: bytes, after: bytes, p: np.float32
    ) -> None:
        """Report a change."""
        assert self._report is not None
        self._report(self._samples[sample], location, text_of(before), text_of(after), float(p))

    def _outcome(self, number: int, alleles: Sequence[str], parsed: ParsedCalls) -> Outcome:
        pairs = self.model.pair_probabilities(number, alleles)
        correctable = np.zeros(len(self._samples), np.bool_)
        if self._settings.error_rate is not None:
            correctable = self.model.known(number) & ~self.model.locked(number) & ~parsed.missing
        return outcome(parsed, pairs, correctable, self._settings)

    def _written(
        self,
        restored: Outcome,
        parsed: ParsedCalls,
        calls: bytes,
        field_indices: list[int],
        location: str,
    ) -> bytes:
        """The calls as they leave, new ones reported: GT, GP and DS stand at these `field_indices` of their fields."""
        alleles = restored.genotypes.shape[1]
        count = int((2 * alleles + 0.25) ** 0.5)  # G = A (A + 1) / 2
        self._count(restored, parsed)
        phased_N = parsed.phased | (parsed.missing & self.model.phased)
        texts, text_of_call_N = new_calls(restored, parsed.haploid, phased_N)
        old = calls.split(b"\t")
        changed = np.flatnonzero(restored.changed).tolist()
        if self._report is not None:
            for n in changed:
                before = old[n].split(b":")[field_indices[0]]
                self._report_change(
                    n, location, before, texts[text_of_call_N[n]], restored.probability[n]
                )
        gp, ds = probability_words(restored, parsed.haploid, count)
        if field_indices == [0, 1, 2] and b":" not in calls:
            before_N, after = call_words(old), call_words(texts)
            if before_N is not None and after is not None:
                call_N = np.where(restored.changed, after[text_of_call_N], before_N)
                return joined(np.hstack([call_N[:, None], gp, ds]))
        for n in changed:
            old[n] = with_fields(old[n], field_indices[:1], [texts[text_of_call_N[n]]])
        rows = zip(old, texts_of(gp), texts_of(ds), strict=True)
        return b"\t".join(with_fields(call, field_indices[1:], shares) for call, *shares in rows)

    def added(self, additions: Sequence[Addition], contig: bytes) -> Iterator[bytes]:
        """See `Editor`."""
        max_records = max(1, CALLS_PER_BLOCK // max(1, len(self._samples)))
        sites = [(addition.position, self.model.site(addition.number)) for addition in additions]
        numbered = zip(additions, sites, strict=True)
        for _, group in groupby(numbered, key=lambda pair: len(pair[1][1].alts)):
            numbers_and_sites = [(addition.number, *site) for addition, site in group]
            for start in range(0, len(numbers_and_sites), max_records):
                yield from self._added(numbers_and_sites[start : start + max_records], contig)

    def _added(self, sites: Sequence[tuple[int, int, Site]], contig: bytes) -> Iterator[bytes]:
        """The records of sites, by their numbers and positions, that have equally many alleles: all calls at once."""
        samples, count = len(self._samples), len(self._samples) * len(sites)
        haploid = np.concatenate([self.model.haploid_at(number) for number, _, _ in sites])
        unknown = np.full((count, 2), MISSING, np.int16)
        unknown[haploid, 1] = ABSENT
        no_call, every_call = np.zeros(count, np.bool_), np.ones(count, np.bool_)
        changeable_N = ~np.concatenate([self.model.locked(number) for number, _, _ in sites])
        parsed = ParsedCalls(unknown, no_call, haploid, every_call, changeable_N)
        pairs = [
            self.model.pair_probabilities(number, [site.ref, *site.alts])
            for number, _, site in sites
        ]
        restored = outcome(parsed, np.concatenate(pairs), no_call, self._settings)
        self._count(restored, parsed)
        texts, text_of_call_N = new_calls(restored, haploid, np.tile(self.model.phased, len(sites)))
        missing = [b"./.", b"."]  # of two alleles, and of one
        if self._report is not None:
            for n in np.flatnonzero(restored.changed).tolist():
                location = f"{text_of(contig)}:{sites[n // samples][1]}"
                before = missing[int(haploid[n])]
                self._report_change(
                    n % samples, location, before, texts[text_of_call_N[n]], restored.probability[n]
                )
        calls = call_words([*missing, *texts])
        assert calls is not None  # alleles of sites are few
        call_N = np.where(restored.changed, calls[2:][text_of_call_N], calls[haploid.astype(int)])
        words = np.hstack(
            [call_N[:, None], *probability_words(restored, haploid, pairs[0].shape[1])]
        )
        diploid_NG = np.where(haploid[:, None], 0, restored.genotypes)
        calls_SNG = diploid_NG.reshape(len(sites), samples, -1)
        r2_S = dosage_r2(calls_SNG) if self.model.reports_quality else [None] * len(sites)
        for row, (_, position, site) in enumerate(sites):
            rows = slice(row * samples, (row + 1) * samples)
            self.counts["added"] += 1
            fixed = (str(position), site.identifier, site.ref, ",".join(site.alts), ".", ".")
            fields = [contig, *(text.encode() for text in fixed), with_quality(IMPUTED, r2_S[row])]
            yield b"\t".join([*fields, b"GT:GP:DS", joined(words[rows])])

    def header(self, lines: Sequence[bytes], contigs: Iterable[str]) -> list[bytes]:
        """See `Editor`: adds the header lines that the restored records need."""
        new_lines = [
            b"##" + begin + rest
            for begin, rest in (
                _HEADER_LINES | (_QUALITY_HEADER_LINES if self.model.reports_quality else {})
            ).items()
            if not any(line.startswith(b"##" + begin) for line in lines)
        ]
        declared = [line for line in lines if line.startswith(b"##contig=")]
        if declared:
            new_lines = [*_undeclared(declared, contigs, self.model.contig_lengths), *new_lines]
        return [*lines[:-1], *new_lines, f"##genomai_denoise={self._origin}".encode(), lines[-1]]


def _undeclared(
    declared: Sequence[bytes], contigs: Iterable[str], lengths: Mapping[str, int]
) -> Iterator[bytes]:
    names = declared_contigs(map(text_of, declared))
    for contig in contigs:
        if contig not in names:
            length = lengths.get(normal_contig(contig))
            yield f"##contig=<ID={contig}{f',length={length}' if length else ''}>".encode()


def _alternates(column: bytes) -> list[str]:
    return [] if column == b"." else text_of(column).upper().split(",")


def _can_be_filled(field: Sequence[bytes]) -> bool:
    """Whether a genotype of this text has one or two alleles, of which one is missing."""
    if not field:
        return False
    alleles = field[0].replace(b"|", b"/").split(b"/")
    return len(alleles) <= MAX_PLOIDY and b"." in alleles
