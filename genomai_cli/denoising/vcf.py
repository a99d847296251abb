"""VCF and BCF restored: read once for what the samples are like, and once more to be passed on."""

import copy
import re
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
    Read,
    allele_counts,
    call_words,
    dosage_r2,
    fields_of,
    joined,
    new_calls,
    outcome,
    recounted,
    shares_words,
    texts_of,
    with_fields,
    with_quality,
)
from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.genotypes import ABSENT, GenotypeError, parse_genotypes
from genomai_cli.formats.shards import WHOLE, Shard
from genomai_cli.formats.streams import Input, text_of
from genomai_cli.formats.vcf_concat import concatenated_text
from genomai_cli.formats.vcf_replay import Reopen
from genomai_cli.formats.vcf_rewrite import Addition, VcfRewriter, line_count, read_header

IMPUTED = b"IMPUTED"
CALLS_AT_ONCE = 1 << 13  # of records that are added
MOST_ALLELES = 2  # of a call that can be restored
_DECLARED = {
    b"INFO=<ID=IMPUTED,": b'Number=0,Type=Flag,Description="Record added by genomai denoise">',
    b"FORMAT=<ID=GT,": b'Number=1,Type=String,Description="Genotype">',
    b"FORMAT=<ID=GP,": b'Number=G,Type=Float,Description="Genotype probabilities">',
    b"FORMAT=<ID=DS,": b'Number=A,Type=Float,Description="Dosage of the alternate allele">',
}
_QUALITY = {
    b"INFO=<ID=DR2,": b'Number=1,Type=Float,Description="Squared correlation of dosages with true ones, estimated">'
}
Report = Callable[[str, str, str, str, float], None]
"""Takes a change: sample, place, from, to, probability."""


@dataclass(frozen=True)
class Summary:
    """What became of a file: how many `samples` it has, of which something is known of `usable`; counts of what was
    done, see `RecordEditor`; and what is worth telling. `known` is False for a file that has none of the model's
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
    with concatenated_text(sources) as again:
        found = denoiser.read_vcf(again, options)
        if found.model is None:
            _pass_on(again, out, part)
            messages = (found.messages, found.warnings)
            return Summary(len(found.samples), 0, {}, *messages, known=False)
        editor = RecordEditor(
            found.model, found.samples, options.settings, f"model={origin}", report
        )
        additions = [] if options.only_present else found.model.additions
        _rewrite(again, out, editor, additions, part)
        return _summary(found, found.model, editor)


def _pass_on(again: Reopen, out: IO[bytes], part: Shard) -> None:
    lines = _lines(again, part)
    with again() as source:
        if part.is_whole:
            out.writelines(source.stream)
            return
        header, _ = read_header(source)
        out.writelines(header if part.is_first else ())
        own = part.span(lines)
        out.writelines(islice(source.stream, own.start, own.stop))


def _rewrite(
    again: Reopen,
    out: IO[bytes],
    editor: "RecordEditor",
    additions: Iterable[Addition],
    part: Shard,
) -> None:
    model, lines = editor.model, _lines(again, part)
    with again() as source:
        editor.path = source.path
        passage = VcfRewriter(
            editor,
            additions,
            contigs_present=model.present,
            default_order=list(model.lengths),
            shard=part,
            line_count=lines,
        )
        passage.run(source, out)


def _lines(again: Reopen, part: Shard) -> int:
    """How many lines there are to divide into parts."""
    if part.is_whole:
        return 0
    with again() as source:
        return line_count(source)


def _summary(found: VcfSamples, model: SiteModel, editor: "RecordEditor") -> Summary:
    usable, samples = int(model.usable.sum()), len(found.samples)
    warnings = [*found.warnings, *_warnings(editor.counts, samples - usable)]
    counts = {name: int(number) for name, number in editor.counts.items()}
    return Summary(samples, usable, counts, found.messages, tuple(warnings))


def _warnings(counts: Mapping[str, int], unusable: int) -> Iterator[str]:
    if counts["left_alone"]:
        yield (
            f"{counts['left_alone']} records with missing genotypes have other alleles than the model's, or more: "
            "unchanged"
        )
    if unusable:
        yield f"{unusable} samples have no genotype at the model's sites: unchanged"


class RecordEditor:
    """Restores the calls of a file's records as a `SiteModel` says, and counts; see `vcf_rewrite.Editor`.

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
        bare = raw.rstrip(b"\r\n")
        columns = bare.split(b"\t", 9)
        keys = columns[8].split(b":") if len(columns) > 9 else []
        if b"GT" not in keys:
            return raw
        ref, alts = text_of(columns[3]).upper(), _alternates(columns[4])
        place = keys.index(b"GT")
        read = self._read(columns[9], place, (number, len(alts) + 1, line))
        if not read.missing.any() and self._settings.error_rate is None:
            return raw
        found = self.model.alternates(number, ref, alts)
        if found is None:
            self.counts["left_alone"] += bool(read.missing.any())
            return raw
        made = self._outcome(number, [ref, *found], read)
        if not (made.changed.any() or (read.missing & read.open).any()):
            return raw
        columns[4] = ",".join(found).encode() or b"."
        counts = [allele_counts(read, new, len(found) + 1) for new in (None, made)]
        columns[7] = recounted(columns[7], *counts)
        if self.model.tells_quality:
            (r2,) = dosage_r2(made.genotypes[None, ~read.haploid])
            columns[7] = with_quality(columns[7], r2)
        layout, places = fields_of(columns[8])
        where = f"{text_of(columns[0])}:{text_of(columns[1])}"
        columns[8:] = [layout, self._written(made, read, columns[9], [place, *places], where)]
        return b"\t".join(columns) + raw[len(bare) :]

    def _read(self, calls: bytes, place: int, about: tuple[int, int, int]) -> Read:
        """The record's calls; `about` is the site, the number of alleles and the line."""
        number, alleles, line = about
        try:
            genotypes, phased = parse_genotypes(calls, len(self._samples), place, alleles)
        except GenotypeError as error:
            raise InputError(str(error), path=self.path, line=line) from None
        missing = (genotypes == MISSING).any(axis=1)
        haploid = genotypes[:, 1] == ABSENT
        phased &= ~haploid
        if not self.model.haploid:
            haploid &= ~missing
        open_N = ~self.model.closed(number)
        if missing.any():
            texts = calls.split(b"\t")
            for sample in np.flatnonzero(missing):
                if not _can_be_filled(texts[sample].split(b":")[place:][:1]):
                    open_N[sample] = missing[sample] = False
        return Read(genotypes, phased, haploid, missing, open_N)

    def _count(self, made: Outcome, read: Read) -> None:
        self.counts["missing"] += int(read.missing.sum())
        self.counts["restored"] += int(made.filled.sum())
        self.counts["corrected"] += int(made.corrected.sum())

    def _tell(self, sample: int, where: str, before: bytes, after: bytes, p: np.float32) -> None:
        """Report a change."""
        assert self._report is not None
        self._report(self._samples[sample], where, text_of(before), text_of(after), float(p))

    def _outcome(self, number: int, alleles: Sequence[str], read: Read) -> Outcome:
        pairs = self.model.pairs(number, alleles)
        correctable = np.zeros(len(self._samples), np.bool_)
        if self._settings.error_rate is not None:
            correctable = self.model.known(number) & ~self.model.closed(number) & ~read.missing
        return outcome(read, pairs, correctable, self._settings)

    def _written(
        self, made: Outcome, read: Read, calls: bytes, places: list[int], where: str
    ) -> bytes:
        """The calls as they leave, new ones reported: GT, GP and DS stand at these `places` of their fields."""
        alleles = made.genotypes.shape[1]
        count = int((2 * alleles + 0.25) ** 0.5)  # G = A (A + 1) / 2
        self._count(made, read)
        phased_N = read.phased | (read.missing & self.model.phased)
        texts, which_N = new_calls(made, read.haploid, phased_N)
        old = calls.split(b"\t")
        changed = np.flatnonzero(made.changed).tolist()
        if self._report is not None:
            for n in changed:
                before = old[n].split(b":")[places[0]]
                self._tell(n, where, before, texts[which_N[n]], made.probability[n])
        gp, ds = shares_words(made, read.haploid, count)
        if places == [0, 1, 2] and b":" not in calls:
            before_N, after = call_words(old), call_words(texts)
            if before_N is not None and after is not None:
                call_N = np.where(made.changed, after[which_N], before_N)
                return joined(np.hstack([call_N[:, None], gp, ds]))
        for n in changed:
            old[n] = with_fields(old[n], places[:1], [texts[which_N[n]]])
        rows = zip(old, texts_of(gp), texts_of(ds), strict=True)
        return b"\t".join(with_fields(call, places[1:], shares) for call, *shares in rows)

    def added(self, additions: Sequence[Addition], contig: bytes) -> Iterator[bytes]:
        """See `Editor`."""
        most = max(1, CALLS_AT_ONCE // max(1, len(self._samples)))
        sites = [(addition.position, self.model.site(addition.number)) for addition in additions]
        together = zip(additions, sites, strict=True)
        for _, alike in groupby(together, key=lambda pair: len(pair[1][1].alts)):
            numbers_and_sites = [(addition.number, *site) for addition, site in alike]
            for at in range(0, len(numbers_and_sites), most):
                yield from self._added(numbers_and_sites[at : at + most], contig)

    def _added(self, sites: Sequence[tuple[int, int, Site]], contig: bytes) -> Iterator[bytes]:
        """The records of sites, by their numbers and positions, that have equally many alleles: all calls at once."""
        samples, count = len(self._samples), len(self._samples) * len(sites)
        haploid = np.full(count, self.model.haploid)
        unknown = np.full((count, 2), MISSING, np.int16)
        unknown[haploid, 1] = ABSENT
        nobody, everybody = np.zeros(count, np.bool_), np.ones(count, np.bool_)
        open_N = ~np.concatenate([self.model.closed(number) for number, _, _ in sites])
        read = Read(unknown, nobody, haploid, everybody, open_N)
        pairs = [self.model.pairs(number, [site.ref, *site.alts]) for number, _, site in sites]
        made = outcome(read, np.concatenate(pairs), nobody, self._settings)
        self._count(made, read)
        texts, which_N = new_calls(made, haploid, np.tile(self.model.phased, len(sites)))
        before = b"." if self.model.haploid else b"./."
        if self._report is not None:
            for n in np.flatnonzero(made.changed).tolist():
                where = f"{text_of(contig)}:{sites[n // samples][1]}"
                self._tell(n % samples, where, before, texts[which_N[n]], made.probability[n])
        calls = call_words([before, *texts])
        assert calls is not None  # alleles of sites are few
        call_N = np.where(made.changed, calls[1:][which_N], calls[0])
        words = np.hstack([call_N[:, None], *shares_words(made, haploid, pairs[0].shape[1])])
        calls_SNG = made.genotypes.reshape(len(sites), samples, -1)
        tells = self.model.tells_quality and not self.model.haploid
        r2_S = dosage_r2(calls_SNG) if tells else [None] * len(sites)
        for row, (_, position, site) in enumerate(sites):
            part = slice(row * samples, (row + 1) * samples)
            self.counts["added"] += 1
            fixed = (str(position), site.identifier, site.ref, ",".join(site.alts), ".", ".")
            fields = [contig, *(text.encode() for text in fixed), with_quality(IMPUTED, r2_S[row])]
            yield b"\t".join([*fields, b"GT:GP:DS", joined(words[part])])

    def header(self, lines: Sequence[bytes], contigs: Iterable[str]) -> list[bytes]:
        """See `Editor`: what the restored records need is declared, if it is not."""
        more = [
            b"##" + begin + rest
            for begin, rest in (_DECLARED | (_QUALITY if self.model.tells_quality else {})).items()
            if not any(line.startswith(b"##" + begin) for line in lines)
        ]
        declared = [line for line in lines if line.startswith(b"##contig=")]
        if declared:
            more = [*_undeclared(declared, contigs, self.model.lengths), *more]
        return [*lines[:-1], *more, f"##genomai_denoise={self._origin}".encode(), lines[-1]]


def _undeclared(
    declared: Sequence[bytes], contigs: Iterable[str], lengths: Mapping[str, int]
) -> Iterator[bytes]:
    found = (re.match(rb"##contig=<(?:.*?,)?ID=([^,>]+)", line) for line in declared)
    names = {text_of(match[1]) for match in found if match}
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
    return len(alleles) <= MOST_ALLELES and b"." in alleles
