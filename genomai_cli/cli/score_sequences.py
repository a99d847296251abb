"""What `genomai score` does with sequences: a row each, and a value for each base."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

from genomai_cli.cli.options import VariantOptions
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.formats.base_tracks import BaseTrack
    from genomai_cli.formats.shards import Shard
    from genomai_cli.formats.streams import Input
    from genomai_cli.inference.likelihood import Likelihood
    from genomai_cli.inference.score import Piece

COLUMNS = (
    "id",
    "length",
    "log_likelihood",
    "per_base",
    "perplexity",
    "scored",
    "method",
)


def write_sequences(
    run: Run,
    bundle: "Bundle",
    likelihood: "Likelihood",
    shard: "Shard",
    output: Path,
    per_base: Path | None,
) -> None:
    """Write a row a sequence, and beside it each base's log-probability, if asked for."""
    from genomai_cli.cli.inputs import open_run_inputs, read_records
    from genomai_cli.formats.base_tracks import base_track
    from genomai_cli.formats.outputs import held_output
    from genomai_cli.inference.score import score_sequences

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
    tell(run, likelihood)
    about = {
        "model_name": bundle.name,
        "model_sha256": bundle.weights_sha256,
        "method": likelihood.method,
    }
    with ExitStack() as stack:
        out = stack.enter_context(held_output(output))
        track = per_base and stack.enter_context(base_track(per_base, about))
        pieces = score_sequences(likelihood, run.console.progress(shard.part(records), "scoring"))
        if track:
            pieces = _tracked(pieces, track)
        _write_rows(run, out, pieces, likelihood, header=shard.is_first)


def _without_variants(source: "Input") -> "Input":
    if source.has_variants:
        raise UsageError(f"{source.path}: variants are scored on a --reference")
    return source


def tell(run: Run, likelihood: "Likelihood") -> None:
    """Say and record how the likelihood is had."""
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


def _tracked(pieces: "Iterable[Piece]", track: "BaseTrack") -> "Iterator[Piece]":
    for piece in pieces:
        track.add(piece.name, piece.means, last=piece.last)
        yield piece


def _write_rows(
    run: Run, out: "IO[bytes]", pieces: "Iterable[Piece]", likelihood: "Likelihood", *, header: bool
) -> None:
    from genomai_cli.inference.effect_outputs import shown
    from genomai_cli.inference.score import totals

    waiting = "\t".join(COLUMNS) + "\n" if header else ""
    first = 0 if likelihood.tokenizer.prefix or likelihood.method == "masked" else 1
    unscored = 0.0
    for found in totals(pieces):
        score = found.score
        run.count(used=score.bases > 0, refused=score.bases == 0)
        unscored += max(0.0, found.length - first - score.bases)
        numbers = (score.total, score.per_base, score.perplexity)
        fields = (found.name, str(found.length), *map(shown, numbers), f"{score.bases:g}")
        line = waiting + "\t".join((*fields, likelihood.method)) + "\n"
        out.write(line.encode("utf-8", "surrogateescape"))
        waiting = ""
    out.write(waiting.encode())
    if unscored:
        run.console.warn(
            f"{unscored:g} letters are not scored: the model does not know them (N, other letters; lower case, if it "
            "tells it apart)"
        )
