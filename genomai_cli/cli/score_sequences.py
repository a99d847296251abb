"""`genomai score` of sequences: a row each, and a value for each base."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli import __version__
from genomai_cli.cli.options import VariantOptions
from genomai_cli.cli.pages import PageFile
from genomai_cli.cli.resuming import ResumeOptions, line_journal
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError
from genomai_cli.names import escaped

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.formats.base_tracks import BaseTrack
    from genomai_cli.formats.line_journal import LineJournal
    from genomai_cli.formats.shards import Shard
    from genomai_cli.formats.streams import Input
    from genomai_cli.inference.likelihood import Likelihood
    from genomai_cli.inference.score import ScoredLetters
    from genomai_cli.inference.score_report import LikelihoodReport
    from genomai_cli.records import SequenceRecord


def write_sequences(
    run: Run,
    bundle: "Bundle",
    likelihood: "Likelihood",
    shard: "Shard",
    output: Path,
    per_base: Path | None,
    resuming: ResumeOptions,
    page: PageFile,
    *,
    parquet: bool = False,
) -> None:
    """Write a row a sequence, in a table or as Parquet, and each base's log-probability and a page, if asked for."""
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.formats.base_tracks import base_track
    from genomai_cli.formats.line_journal import NoJournal
    from genomai_cli.formats.outputs import buffered_output
    from genomai_cli.formats.parquet import parquet_table
    from genomai_cli.inference.score import COLUMNS, score_sequences
    from genomai_cli.sources.records import read_records

    if per_base is not None:
        likelihood.require_single_bases()
    _, sources = open_run_inputs(run)
    records = read_records(
        run,
        (_without_variants(source) for source in sources),
        lambda: bundle.coordinates,
        variants=VariantOptions(),
        tokenizer=lambda: bundle.tokenizer,
        plain=lambda: True,
    )
    report_likelihood(run, likelihood)
    model_facts = {
        "model_name": bundle.name,
        "model_sha256": bundle.weights_sha256,
        "method": likelihood.method,
    }
    run_facts = {
        **model_facts,
        "program": __version__,
        "settings": str(likelihood.settings),
        "per_base": per_base is not None,
        "shard": str(shard),
    }
    with ExitStack() as stack:
        journal: LineJournal = NoJournal()  # a page is about all sequences together
        if not (parquet or page):
            journal = stack.enter_context(line_journal(run, output, resuming, run_facts))
        out = stack.enter_context(buffered_output(output))
        track = per_base and stack.enter_context(base_track(per_base, model_facts))
        records = journal.unfinished(shard.part(records), _record_key)
        pieces = score_sequences(likelihood, run.console.progress(records, "scoring"))
        if track:
            for name, values, last in journal.values():
                track.add(_name_of_key(name), values, last=last)
            pieces = _with_track(pieces, track, journal)
        report = _make_report() if page else None
        rows = _rows(run, pieces, likelihood, report)
        if parquet:
            table = stack.enter_context(parquet_table(out, COLUMNS, model_facts))
            for _, fields in rows:
                table.write(fields)
        else:
            names = "\t".join(name for name, _ in COLUMNS) + "\n"
            lines = ((key, _line(fields)) for key, fields in rows)
            journal.write(out, names.encode() if shard.is_first else b"", lines)
        if report:
            model = {"model": f"{bundle.name} {bundle.version}"}
            model |= {"SHA-256 of its weights": bundle.weights_sha256}
            model |= {"method": likelihood.description}
            page.write(report.page(bundle.name, model | run.facts()))


def _make_report() -> "LikelihoodReport":
    from genomai_cli.inference.score_report import LikelihoodReport  # slow to load

    return LikelihoodReport()


def _line(fields: list[str]) -> bytes:
    return ("\t".join(map(escaped, fields)) + "\n").encode("utf-8", "surrogateescape")


def _record_key(record: "SequenceRecord") -> str:
    """The key of a record in the journal of a run that goes on."""
    return f"{record.name} of {len(record.sequence)} letters"


def _name_of_key(key: str) -> str:
    return key.rsplit(" of ", 1)[0]


def _without_variants(source: "Input") -> "Input":
    if source.has_variants:
        raise UsageError(f"{source.path}: variants are scored on a --reference")
    return source


def report_likelihood(run: Run, likelihood: "Likelihood") -> None:
    """Say and record how the likelihood is computed."""
    strand = "both strands" if likelihood.settings.both_strands else "forward strand"
    window = (
        "any length at once"
        if likelihood.window is None
        else f"windows of {likelihood.window} letters"
    )
    run.console.say(f"{likelihood.description}; {strand}, {window}")
    run.note(
        method=likelihood.method,
        description=likelihood.description,
        strand=strand,
        window=likelihood.window,
    )


def _with_track(
    pieces: "Iterable[ScoredLetters]", track: "BaseTrack", journal: "LineJournal"
) -> "Iterator[ScoredLetters]":
    for piece in pieces:
        track.add(piece.name, piece.means, last=piece.last)
        journal.add_values(piece.means)
        yield piece


def _rows(
    run: Run,
    pieces: "Iterable[ScoredLetters]",
    likelihood: "Likelihood",
    report: "LikelihoodReport | None",
) -> Iterator[tuple[str, list[str]]]:
    """The key of each record in the journal, and its row's fields."""
    from genomai_cli.inference.effect_outputs import format_number
    from genomai_cli.inference.score import totals

    unscored_prefix = 0 if likelihood.tokenizer.prefix or likelihood.method == "masked" else 1
    unscored = 0.0
    for sequence in totals(pieces):
        score = sequence.score
        run.count(used=score.bases > 0, refused=score.bases == 0)
        unscored += max(0.0, sequence.length - unscored_prefix - score.bases)
        if report:
            report.add(sequence.name, sequence.length, score)
        numbers = (score.total, score.per_base, score.perplexity)
        fields = [
            sequence.name,
            str(sequence.length),
            *map(format_number, numbers),
            f"{score.bases:g}",
        ]
        yield f"{sequence.name} of {sequence.length} letters", [*fields, likelihood.method]
    if unscored:
        run.console.warn(
            f"{unscored:g} letters are not scored: the model does not know them (N, other letters; lower case, if it "
            "tells it apart)"
        )
