"""What `genomai align` reads besides DNA, and the table that it writes."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from genomai_cli.cli.explanation_output import Wanted, explained
from genomai_cli.cli.held_output import held_output
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.inference.align import Aligned, Aligner
    from genomai_cli.inference.pairs import PairScorer, PairScores
    from genomai_cli.phenotypes.table import PhenotypeTable


@dataclass(frozen=True)
class Asked:
    """Where the table goes, and what is in it; pairs are tested by so many permutations."""

    output: Path
    top: int | None
    reverse: bool
    pairs: Path | None
    permutations: int
    seed: int


def phenotype_records(
    run: Run, file: Path | None, model: str, bundle: "Bundle"
) -> "PhenotypeTable":
    """The records of the file, or the model's own; UsageError without either."""
    from genomai_cli.bundles import catalog
    from genomai_cli.phenotypes.encoding import ignored
    from genomai_cli.phenotypes.table import read_phenotypes

    columns = bundle.crossmodal.columns
    path = catalog.find(model) / catalog.PHENOTYPES if file is None else file
    if file is None and not path.is_file():
        raise UsageError(f"the model {bundle.name!r} has no records of its own: give --phenotypes")
    table = read_phenotypes(path)
    passed_over = ignored(table, columns)
    if passed_over:
        run.console.warn(f"{path}: columns unknown to the model: {', '.join(passed_over)}")
    run.note(phenotypes={"file": str(path), "records": len(table), "ignored": passed_over})
    return table


def write(
    run: Run, aligner: "Aligner", aligned: "Iterable[Aligned]", asked: Asked, wanted: Wanted
) -> None:
    """Write all that is asked for, whole or not at all."""
    from genomai_cli.formats.pairs import read_pairs
    from genomai_cli.inference.alignment_table import write_by_record, write_by_sample
    from genomai_cli.inference.pairs import PairScorer

    table, scorer = aligner.table, None
    if asked.pairs is not None:
        scorer = PairScorer(read_pairs(asked.pairs), table.names, table.path)
    with ExitStack() as stack:
        out = stack.enter_context(held_output(asked.output))
        samples: Iterable[Aligned] = _counted(run, aligned)
        if wanted:
            records_of = None if scorer is None else scorer.records_of
            samples = explained(run, wanted, aligner, samples, records_of, stack)
        if scorer is not None:
            _write_pairs(run, out, samples, scorer, asked)
        elif asked.reverse:
            write_by_record(out, samples, table.names, asked.top)
        else:
            write_by_sample(out, samples, table.names, asked.top)


def _counted(run: Run, aligned: "Iterable[Aligned]") -> "Iterator[Aligned]":
    """The same samples, counted; at the end a warning about those without a usable site."""
    unusable = 0
    for found in aligned:
        usable = found.similarities is not None
        unusable += not usable
        run.count(used=usable, refused=not usable)
        yield found
    if unusable:
        run.console.warn(f"{unusable} samples have no site that the model can use")


def _write_pairs(
    run: Run, out: IO[bytes], aligned: "Iterable[Aligned]", scorer: "PairScorer", asked: Asked
) -> None:
    """Write the pairs, then tell and record how often chance aligns them as well."""
    from genomai_cli.inference import alignment_table

    for found in aligned:
        scorer.add(found)
    scores = scorer.scores()
    pairs = zip(scorer.pairs.samples, scorer.pairs.phenotypes, strict=True)
    alignment_table.write_pairs(out, pairs, scores.similarity, scores.rank)
    if len(scores.partners):
        _test(run, scores, asked)


def _test(run: Run, scores: "PairScores", asked: Asked) -> None:
    import numpy as np

    from genomai_cli.metrics.permutation import permutation_test

    rng = np.random.default_rng(asked.seed)
    told = permutation_test(scores.matrix, scores.partners, rng, asked.permutations)
    run.note(permutation_test=asdict(told))
    run.console.say(
        f"{told.pairs} pairs have a mean similarity of {told.observed:.4f}, random assignments {told.expected:.4f} "
        f"(standard deviation {told.spread:.4f}): p = {told.p:.4g} in {told.permutations} permutations"
    )
