"""People by a few reads a site: genotype likelihoods beside genotypes called from the same reads.

    python -m benchmarks.ancestry.low_coverage --model DIR --aside FILE --markdown table.md > table.tsv

The model has not learnt from the people named in FILE, one a line; frequencies of naive Bayes are those of the others.
Reads are simulated: their number at a site is Poisson, each has the wrong allele in one case of 200, and PL are what a
caller would write. Neighbouring sites share no read, and no read lies at the wrong place, so real data are worse.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.command_line import DATA, parser_of, say, write_optional
from benchmarks.crossvalidation.trials import LABELS, VCF
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import UNKNOWN_LABEL, read_labels
from genomai_cli.inference.classify import classify_records
from genomai_cli.metrics.classification import expected_calibration_error
from genomai_cli.population.barcode import (
    genotypes_to_letters,
    letters_to_genotypes,
    read_barcodes,
)
from genomai_cli.population.networks.genotype_likelihoods import log_likelihood
from genomai_cli.records import SequenceRecord, UncertainGenotypes
from genomai_cli.training import recipe

Copies = NDArray[np.int8]
Likelihoods = NDArray[np.float64]
WIDE_VCF = "wide.train.grch37.vcf.gz"
DEPTHS = (0.5, 1.0, 2.0, 4.0)
ERROR = 0.005
MAX_SECOND_LIKELIHOOD = 0.01  # the second likelihood of a genotype of GQ 20
HEADS = {"superpop": "superpopulation", "pop": "population"}
MIN_CONFIDENCE = 0.9
Z_95 = 1.96


@dataclass(frozen=True)
class Row:
    """Answers at one depth, infinite where the genotypes are known; `difference` is of pop accuracy, less that of the
    likelihoods, with its 95 % interval."""

    depth: float
    method: str
    n: int
    superpop: float
    pop: float
    difference: float
    low: float
    high: float
    unknown: float
    flagged: float  # NOVEL, or without a label
    wrong_above: int  # super-populations above SURE
    ece: float  # of pop


@dataclass(frozen=True, eq=False)
class LabelledGenotypes:
    """Allele copies (N, S) of labelled people at the sites of a model."""

    names: list[str]
    copies: Copies
    labels: dict[str, list[str]]

    @classmethod
    def read(cls, folder: Path, bundle: Bundle) -> "LabelledGenotypes":
        """The people in a folder as shared/data/1kgp."""
        panel = bundle.coordinates
        barcodes = read_barcodes(open_inputs([folder / VCF, folder / WIDE_VCF]), panel)
        table = read_labels(folder / LABELS)
        columns = {head: table.column(column) for head, column in HEADS.items()}
        labels = {
            head: [label_of[name] for name in barcodes.names] for head, label_of in columns.items()
        }
        return cls(barcodes.names, letters_to_genotypes(barcodes.letters, panel), labels)

    def subset(self, rows: NDArray[np.int64]) -> "LabelledGenotypes":
        """These rows."""
        labels = {head: [values[row] for row in rows] for head, values in self.labels.items()}
        return LabelledGenotypes([self.names[row] for row in rows], self.copies[rows], labels)


def simulate_likelihoods(copies: Copies, depth: float, rng: np.random.Generator) -> Likelihoods:
    """Genotype likelihoods (N, S, 3) of simulated reads, rounded as PL, the largest 1; all 1 where there is no read."""
    alternate_3 = np.array([ERROR, 0.5, 1 - ERROR])
    reads = rng.poisson(depth, copies.shape) * (copies >= 0)
    alternate_reads = rng.binomial(reads, alternate_3[np.maximum(copies, 0)])
    logs = alternate_reads[..., None] * np.log10(alternate_3)
    logs += (reads - alternate_reads)[..., None] * np.log10(1 - alternate_3)
    phred = np.minimum(np.rint(-10 * (logs - logs.max(-1, keepdims=True))), 255)
    likelihoods: Likelihoods = 10 ** (-phred / 10)
    return likelihoods


def call_genotypes(likelihoods: Likelihoods, *, certain: bool) -> Copies:
    """The most likely genotypes (N, S), -1 where there is no read or, if `certain`, where another one is nearly as
    likely."""
    sorted_likelihoods = np.sort(likelihoods, axis=-1)
    known = (
        sorted_likelihoods[..., 1] <= MAX_SECOND_LIKELIHOOD
        if certain
        else sorted_likelihoods[..., 0] < 1
    )
    return np.where(known, likelihoods.argmax(-1), -1).astype(np.int8)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Labels by head, probabilities by head (N,; NaN of none), and who is flagged (N,)."""

    labels: dict[str, list[str]]
    probabilities: dict[str, NDArray[np.float64]]
    flagged: NDArray[np.bool_]


def predict_by_model(
    bundle: Bundle, copies: Copies, likelihoods: Likelihoods | None = None
) -> Predictions:
    """The labels that `genomai classify` reports."""
    calls = list(classify_records(bundle, _records(bundle, copies, likelihoods)))
    probabilities = {head: [call.probabilities[head] for call in calls] for head in HEADS}
    return Predictions(
        {head: [call.labels[head] for call in calls] for head in HEADS},
        {
            head: np.array([np.nan if p is None else p.max() for p in values])
            for head, values in probabilities.items()
        },
        np.array([not call.is_known or "NOVEL" in call.flags for call in calls]),
    )


def _records(
    bundle: Bundle, copies: Copies, likelihoods: Likelihoods | None
) -> Iterator[SequenceRecord]:
    no_prior = np.zeros(copies.shape[1], np.bool_)
    for number, letters in enumerate(genotypes_to_letters(copies, bundle.coordinates)):
        uncertain = None
        if likelihoods is not None:
            uncertain = UncertainGenotypes(likelihoods[number].astype(np.float16), no_prior)
        yield SequenceRecord(str(number), letters.tobytes().decode("ascii"), uncertain=uncertain)


def predict_by_naive_bayes(train: LabelledGenotypes, likelihoods: Likelihoods) -> Predictions:
    """Populations by the likelihoods at their shrunken frequencies, and super-populations by sums of these."""
    names = sorted(set(train.labels["pop"]))
    numbers = np.searchsorted(names, train.labels["pop"])
    group_of = dict(zip(train.labels["pop"], train.labels["superpop"], strict=True))
    frequency = torch.from_numpy(_frequencies(train.copies, numbers))
    tables = [log_likelihood(torch.from_numpy(row[None]), frequency) for row in likelihoods]
    pop = torch.cat(tables).softmax(1).numpy()
    groups = sorted(set(group_of.values()))
    superpop = np.stack(
        [pop[:, [group_of[name] == group for name in names]].sum(1) for group in groups], axis=1
    )
    labels = {"superpop": _most_probable(superpop, groups), "pop": _most_probable(pop, names)}
    probabilities = {"superpop": superpop.max(1), "pop": pop.max(1)}
    return Predictions(labels, probabilities, np.zeros(len(pop), np.bool_))


def _frequencies(copies: Copies, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Alternate allele frequencies of each population (P, S), shrunk towards the overall ones as by the recipe
    `ancestry`."""
    shrinkage = recipe.read("ancestry")[0].evidence.shrinkage
    known = copies >= 0
    overall = (np.where(known, copies, 0).sum(0) + 0.5) / (2 * known.sum(0) + 1)
    frequencies = []
    for number in range(numbers.max() + 1):
        rows = copies[numbers == number]
        is_known = rows >= 0
        frequencies.append(
            (np.where(is_known, rows, 0).sum(0) + shrinkage * overall)
            / (2 * is_known.sum(0) + shrinkage)
        )
    return np.stack(frequencies)


def _most_probable(table: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    return [names[number] for number in table.argmax(1)]


def rows_at(
    depth: float,
    bundle: Bundle,
    test: LabelledGenotypes,
    train: LabelledGenotypes,
    rng: np.random.Generator,
) -> Iterator[Row]:
    """All methods on the same reads."""
    likelihoods = simulate_likelihoods(test.copies, depth, rng)
    no_genotypes = np.full_like(test.copies, -1)
    from_likelihoods = predict_by_model(bundle, no_genotypes, likelihoods)
    methods = {
        "likelihoods": from_likelihoods,
        "likelihoods, naive Bayes": predict_by_naive_bayes(train, likelihoods),
        "calls of GQ 20": predict_by_model(bundle, call_genotypes(likelihoods, certain=True)),
        "likeliest calls": predict_by_model(bundle, call_genotypes(likelihoods, certain=False)),
    }
    for method, predictions in methods.items():
        yield _row(depth, method, test, predictions, from_likelihoods)


def _row(
    depth: float,
    method: str,
    test: LabelledGenotypes,
    predictions: Predictions,
    baseline: Predictions,
) -> Row:
    correct = {head: _is_correct(predictions, test, head) for head in HEADS}
    difference = correct["pop"].astype(float) - _is_correct(baseline, test, "pop")
    error = Z_95 * difference.std() / np.sqrt(len(difference))
    confident = np.nan_to_num(predictions.probabilities["superpop"]) > MIN_CONFIDENCE
    has_label = np.array(predictions.labels["pop"]) != UNKNOWN_LABEL
    ece = float("nan")
    if has_label.any():
        ece = expected_calibration_error(
            predictions.probabilities["pop"][has_label], correct["pop"][has_label]
        )
    return Row(
        depth,
        method,
        len(test.names),
        float(correct["superpop"].mean()),
        float(correct["pop"].mean()),
        float(difference.mean()),
        float(difference.mean() - error),
        float(difference.mean() + error),
        float(1 - has_label.mean()),
        float(predictions.flagged.mean()),
        int((confident & ~correct["superpop"]).sum()),
        ece,
    )


def _is_correct(
    predictions: Predictions, cohort: LabelledGenotypes, head: str
) -> NDArray[np.bool_]:
    return np.array(predictions.labels[head]) == np.array(cohort.labels[head])


def tsv(rows: Sequence[Row]) -> Iterator[str]:
    """The table."""
    yield "\t".join(f.name for f in fields(Row)) + "\n"
    for row in rows:
        yield "\t".join(_cell(value) for value in astuple(row)) + "\n"


def _cell(value: object) -> str:
    return _short(value, 4) if isinstance(value, float) else str(value)


def _short(value: float, digits: int = 3) -> str:
    return "." if np.isnan(value) else f"{value:.{digits}f}"


def markdown(rows: Sequence[Row]) -> str:
    """The table for readers."""
    lines = [
        f"{rows[0].n} people that the models have not learnt from; simulated reads.",
        "",
        "| depth | read as | superpop | pop | pop, difference (95 %) | UNKNOWN | NOVEL too | wrong above 0.9 | ECE |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        difference = (
            ""
            if r.method == "likelihoods"
            else f"{r.difference:+.3f} ({r.low:+.3f} to {r.high:+.3f})"
        )
        cells = [f"{r.depth:g}", r.method, f"{r.superpop:.3f}", f"{r.pop:.3f}", difference]
        cells += [f"{r.unknown:.3f}", f"{r.flagged:.3f}", str(r.wrong_above), _short(r.ece)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    bundle = bundles.load(options.model, torch.device("cpu"))
    cohort = LabelledGenotypes.read(options.data, bundle)
    is_test = np.isin(cohort.names, options.aside.read_text().split())
    test = cohort.subset(np.flatnonzero(is_test)[:: options.every])
    train = cohort.subset(np.flatnonzero(~is_test))
    say(f"{len(test.names)} people aside, {cohort.copies.shape[1]} sites")
    rows: list[Row] = []
    for depth in DEPTHS:
        rows += rows_at(
            depth, bundle, test, train, np.random.default_rng([options.seed, int(10 * depth)])
        )
        write_optional(options.markdown, markdown(rows))
    from_genotypes = predict_by_model(bundle, test.copies)
    rows.append(_row(float("inf"), "the genotypes", test, from_genotypes, from_genotypes))
    write_optional(options.markdown, markdown(rows))
    sys.stdout.writelines(tsv(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    command_line = parser_of(__doc__, data=DATA, seed=0, markdown=None)
    command_line.add_argument("--model", required=True, type=Path, metavar="DIR",
                      help="a model by the recipe ancestry")  # fmt: skip
    command_line.add_argument("--aside", required=True, type=Path, metavar="FILE",
                      help="names of people it has not learnt from")  # fmt: skip
    command_line.add_argument("--every", type=int, default=1, metavar="N",
                      help="only every n-th of these people; default: %(default)s")  # fmt: skip
    return command_line


if __name__ == "__main__":
    main()
