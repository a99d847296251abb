"""Do attributions find the sites that distinguish populations? Told from people whom the model has not learnt from.

    python -m benchmarks.alignment.attribution --markdown table.md > table.tsv

The model of DNA and phenotypes learns from four fifths of the people by its recipe, and the last fifth is explained as
`genomai align --attention` explains samples, five times over. Three questions: where sites whose differences between
populations are famous rank among all, for the people of whom they tell; whether attributions rank sites as
Rosenberg's informativeness does; and how many people are still right as the sites with the largest attributions are
hidden, person by person, beside as many random sites.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.alignment.crossmodal import (
    POP,
    SUPERPOP,
    Network,
    PhenotypedCohort,
    as_table,
    cached,
    train_network,
)
from benchmarks.alignment.retrieval import PRESET, RECORDS, RESULTS_FOLDER, key_of
from benchmarks.command_line import DATA, parser_of, say, write_optional
from benchmarks.crossvalidation.trials import Array, Rows
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.population.alignment.manhattan import GENES
from genomai_cli.population.alignment.similarity import Aligned, Aligner
from genomai_cli.population.networks.crossmodal import crossmodal_of
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords
from genomai_cli.population.panel import informativeness
from genomai_cli.population.phenotype_encoding import encode
from genomai_cli.population.phenotypes import PhenotypeTable
from genomai_cli.training import recipe
from genomai_cli.training.labelled_data import folds

MARKERS = {  # sites, and the super-population that they separate from the others
    "rs2814778": "AFR",
    "rs1871534": "AFR",
    "rs3827760": "EAS",
    "rs1426654": "EUR",
    "rs16891982": "EUR",
    "rs12913832": "EUR",
}
MIN_FREQUENCY_DIFFERENCE = (
    0.5  # the difference of allele frequencies by which a site separates populations
)
TOP_SHARE = 0.05  # of the sites, among which the markers should be
HIDDEN_COUNTS = (0, 10, 25, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900)  # sites
RANDOM_DRAWS = 5  # draws of as many random sites
HEADS = (SUPERPOP, POP)
Copies = np.ndarray


@dataclass(frozen=True, eq=False)
class Explanations:
    """All people, each explained by a model that was not trained on them: attributions (people, sites) for the record
    of their own label, by head; and whose prediction is correct (people,), by head, order of masking and number of
    masked sites."""

    values: Mapping[str, Array]
    correct: Mapping[tuple[str, str, int], Array]

    @classmethod
    def pooled(cls, outcomes: Sequence[Mapping[str, Array]], order: Rows) -> "Explanations":
        """The results of `explain_fold` of all folds, in the order of the cohort."""
        arrays = {
            n: np.concatenate([outcome[n] for outcome in outcomes])[order] for n in outcomes[0]
        }
        correct = {n: values for n, values in arrays.items() if "|" in n}
        keys = {name: name.split("|") for name in correct}
        return cls(
            {head: arrays[head] for head in HEADS},
            {(k[0], k[1], int(k[2])): correct[name] for name, k in keys.items()},
        )


def records_of(cohort: PhenotypedCohort, head: str) -> PhenotypeTable:
    """The records that are compared, in the order of the head's labels: a super-population by its name alone, a
    population by all that is known of it."""
    labels = cohort.labels(head)
    if head == SUPERPOP:
        return as_table([{SUPERPOP: label} for label in labels], labels)
    return as_table(cohort.groups, labels)


class RecordClassifier:
    """A model and the records of a head: the most similar record is the prediction."""

    def __init__(self, bundle: Bundle, table: PhenotypeTable) -> None:
        self.aligner = Aligner(bundle, table)
        self.network = crossmodal_of(bundle)
        with torch.inference_mode():
            self.records = self.network.record_vectors(
                PhenotypeRecords.of(encode(table, self.network.columns))
            )

    @torch.inference_mode()
    def predict(self, copies: Copies) -> Rows:
        """The index of the most similar record of each of the people (n, sites)."""
        vectors = self.network.sample_vectors(torch.from_numpy(copies.astype(np.int64)))
        predicted: Rows = (vectors @ self.records.T).argmax(1).numpy()
        return predicted

    def attributions(self, copies: Copies, records: Rows) -> Array:
        """The contribution of each site (n, sites) to the similarity of each of the people with one record each."""
        empty = np.zeros(0)
        pairs = [
            (Aligned("", empty, row), int(record))
            for row, record in zip(copies.astype(np.int64), records, strict=True)
        ]
        return self.aligner.explain(pairs).values


def explain_fold(
    cohort: PhenotypedCohort, bundle: Bundle, rows: Rows, seed: int
) -> dict[str, Array]:
    """The attributions of the people in `rows` by head, and whose prediction is correct: `HEAD|ORDER|HIDDEN`."""
    copies = cohort.copies[rows]
    arrays: dict[str, Array] = {}
    for head in HEADS:
        classifier, truth = (
            RecordClassifier(bundle, records_of(cohort, head)),
            cohort.label_indices(head)[rows],
        )
        arrays[head] = classifier.attributions(copies, truth)
        for kind, count, correct in deletions(classifier, copies, truth, seed):
            share = correct / (RANDOM_DRAWS if kind == "random" else 1)
            name = f"{head}|{kind}|{count}"
            arrays[name] = arrays[name] + share if name in arrays else share
    return arrays


def with_network(trained: Network) -> Bundle:
    """The bundle `ancestry-967` with its crossmodal network replaced by one that was trained here."""
    device = torch.device("cpu")
    bundle = bundles.load("ancestry-967", device, torch.float64)
    return replace(bundle, auxiliary={"crossmodal": trained.network.double()})


def deletions(
    classifier: RecordClassifier, copies: Copies, truth: Rows, seed: int
) -> Iterator[tuple[str, int, Array]]:
    """Whose label is predicted correctly (n,) as sites are masked: those with the largest attributions to the record
    that was most similar with all sites, or random ones, `RANDOM_DRAWS` times."""
    rng = np.random.default_rng([seed, 0xA77])
    top = np.argsort(
        -classifier.attributions(copies, classifier.predict(copies)), axis=1, kind="stable"
    )
    orders = [("top", top)]
    orders += [("random", rng.random(copies.shape).argsort(axis=1)) for _ in range(RANDOM_DRAWS)]
    for kind, order in orders:
        for count in HIDDEN_COUNTS:
            masked = copies.copy()
            np.put_along_axis(masked, order[:, :count], -1, axis=1)
            yield kind, count, classifier.predict(masked) == truth


@dataclass(frozen=True)
class Marker:
    """Where a famous site ranks, from 1, among all sites for the people of the populations that it separates, with the
    95 % interval over them; for all of the super-population; and by the difference of allele frequencies."""

    rsid: str
    group: str
    populations: tuple[str, ...]
    sites: int
    rank: int
    lowest: int
    highest: int
    rank_of_group: int
    rank_by_difference: int


def markers(
    cohort: PhenotypedCohort, explanations: Explanations, seed: int, repeats: int = 500
) -> Iterator[Marker]:
    """Ranks of the famous sites. A site separates those populations of its super-population in which the frequency of
    an allele differs by more than `MIN_FREQUENCY_DIFFERENCE` from that outside of the super-population."""
    panel, copies, pop = cohort.panel, cohort.copies, cohort.label_indices(POP)
    rng = np.random.default_rng([seed, 0x3A2])
    for rsid, group in MARKERS.items():
        site = panel.rsid.index(rsid)
        inside = cohort.label_indices(SUPERPOP) == cohort.labels(SUPERPOP).index(group)
        outside = copies[~inside].mean(axis=0) / 2
        differences = [
            abs(copies[pop == p, site].mean() / 2 - outside[site]) for p in range(pop.max() + 1)
        ]
        separated = [p for p in np.unique(pop[inside]) if differences[p] > MIN_FREQUENCY_DIFFERENCE]
        values = explanations.values[SUPERPOP][np.isin(pop, separated)]
        draws = [rng.integers(len(values), size=len(values)) for _ in range(repeats)]
        ranks = [rank_of(values[draw].mean(axis=0), site) for draw in draws]
        low, high = np.percentile(ranks, [2.5, 97.5])
        yield Marker(
            rsid,
            group,
            tuple(cohort.labels(POP)[p] for p in separated),
            len(panel),
            rank_of(values.mean(axis=0), site),
            int(low),
            int(high),
            rank_of(explanations.values[SUPERPOP][inside].mean(axis=0), site),
            rank_of(np.abs(copies[inside].mean(axis=0) / 2 - outside), site),
        )


def rank_of(values: Array, site: int) -> int:
    """The rank of a site from the largest value down, the first being 1."""
    return 1 + int((values > values[site]).sum())


def correlations(
    cohort: PhenotypedCohort, explanations: Explanations
) -> Iterator[tuple[str, str, float]]:
    """Spearman's correlation with I_n over all sites, by head: of the size of attributions, of each label's mean or of
    each person, averaged."""
    for head in HEADS:
        values, number = explanations.values[head], cohort.label_indices(head)
        site_informativeness = informativeness(cohort.copies, number)
        means = np.stack([values[number == label].mean(axis=0) for label in np.unique(number)])
        for kind, rows in (("groups", means), ("people", values)):
            yield (
                head,
                kind,
                float(spearmanr(np.abs(rows).mean(axis=0), site_informativeness).statistic),
            )


def tsv(cohort: PhenotypedCohort, explanations: Explanations, seed: int) -> Iterator[str]:
    """All figures: table, row, column and value."""
    yield "table\trow\tmeasure\tvalue\n"
    for m in markers(cohort, explanations, seed):
        name = f"{m.rsid} {GENES[m.rsid]} {m.group}"
        for measure in (
            "rank",
            "lowest",
            "highest",
            "rank_of_group",
            "rank_by_difference",
            "sites",
        ):
            yield f"markers\t{name}\t{measure}\t{getattr(m, measure)}\n"
    for head, kind, value in correlations(cohort, explanations):
        yield f"informativeness\t{head}\tspearman_{kind}\t{value:.4f}\n"
    for (head, kind, count), correct in explanations.correct.items():
        yield f"deletion\t{head} {count}\t{kind}\t{correct.mean():.4f}\n"


def markdown(cohort: PhenotypedCohort, explanations: Explanations, seed: int) -> str:
    """The tables for readers."""
    marker_rows = [
        [
            m.rsid, GENES[m.rsid], m.group, " ".join(m.populations),
            f"**{m.rank}**" if m.rank <= TOP_SHARE * m.sites else m.rank,
            f"{m.lowest}-{m.highest}", m.rank_of_group, m.rank_by_difference,
        ]
        for m in markers(cohort, explanations, seed)
    ]  # fmt: skip
    kinds = [(head, kind) for head in HEADS for kind in ("top", "random")]
    accuracy_rows = [
        [count, *(f"{explanations.correct[head, kind, count].mean():.3f}" for head, kind in kinds)]
        for count in HIDDEN_COUNTS
    ]
    correlation_rows = [
        [head, kind, f"{value:.3f}"] for head, kind, value in correlations(cohort, explanations)
    ]
    parts = [
        "Famous sites: the rank of the mean attribution among all sites, for the populations that the site separates "
        "(frequency more than 0.5 from that outside of the super-population), with its 95 % interval over people; bold "
        "in the top 5 %. Then that for all of the super-population, and the rank by the difference of frequencies.",
        _table(
            ["site", "gene", "in", "separates", "rank", "95 %", "all", "frequencies"], marker_rows
        ),
        "Spearman's correlation of the size of attributions with Rosenberg's I_n over the sites:",
        _table(["labels", "mean attributions of", "correlation"], correlation_rows),
        "Accuracy as sites are hidden, those with the largest attributions or random ones:",
        _table(["hidden", *(f"{head}, {kind}" for head, kind in kinds)], accuracy_rows),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    cohort = PhenotypedCohort.read(options.data, options.records)
    plan, text = recipe.read(PRESET, options.set)
    parts = folds(cohort.samples, options.folds, options.seed)

    def outcome(test_rows: Rows) -> dict[str, Array]:
        train_rows = np.setdiff1d(np.arange(len(cohort)), test_rows)
        trained = train_network(cohort, train_rows, plan, options.seed, say)
        return explain_fold(cohort, with_network(trained), test_rows, options.seed)

    outcomes = [
        cached(
            options.runs / "attribution" / f"fold{number}.npz",
            key_of(cohort, text, options.seed, rows),
            partial(outcome, rows),
        )
        for number, rows in enumerate(parts)
    ]
    explanations = Explanations.pooled(outcomes, np.argsort(np.concatenate(parts)))
    sys.stdout.writelines(tsv(cohort, explanations, options.seed))
    write_optional(options.markdown, markdown(cohort, explanations, options.seed))


def parser() -> argparse.ArgumentParser:
    """The options."""
    return parser_of(
        __doc__,
        data=DATA,
        records=RECORDS,
        folds=5,
        set=[],
        seed=0,
        runs=RESULTS_FOLDER,
        markdown=None,
    )


if __name__ == "__main__":
    main()
