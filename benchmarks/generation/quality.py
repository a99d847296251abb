"""Generated people beside the people that they were learnt from: simple generators, and any files.

    python -m benchmarks.generation.quality --markdown table.md > table.tsv
    python -m benchmarks.generation.quality --held-out --file ours=synthetic.vcf.gz

Every generator makes as many individuals of each population as it was trained on. With --held-out it is trained on
four fifths of the individuals; the last fifth gives the values of real ones (row `real`), shows whether training
individuals can be recognised (membership AUC), and how well a logistic regression trained on generated individuals
alone predicts the super-populations of real ones (transfer). --learnt writes the names of the training individuals.
--chr22 compares at the 2,060 linked sites of chromosome 22 instead of the panel, --snp805 at the 805 sites of it for
which Yelmen et al. 2021 (PLoS Genet 17:e1009303) released people made by a GAN and an RBM, whose figures are added.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.command_line import DATA, parser_of, write_optional
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.tables import read_labels
from genomai_cli.population.evaluation.generation import Comparison, Report, real_areas, report
from genomai_cli.population.evaluation.genotypes import (
    SampleGenotypes,
    genotypes_of_sequences,
    genotypes_of_variants,
)
from genomai_cli.population.evaluation.simple_generators import (
    COPIES,
    INDEPENDENT,
    Generator,
    mosaics,
)
from genomai_cli.population.panel import Panel
from genomai_cli.population.panel_files import panel_of_variants

COHORT_VCF, CHR22_VCF = "train.grch37.vcf.gz", "chr22.train.vcf.gz"
PANEL, LABELS = "panel.tsv", "train.labels.tsv"
NO_PUBLISHED: Mapping[str, Mapping[str, float]] = {}
HOLDOUT_FOLDS = 5  # one of so many
SNP805 = "snp805"  # in the panel's column
# Of 5,000 artificial haplotypes that Yelmen et al. 2021 released, against the real ones (../shared/data/README.md).
PUBLISHED = {
    "GAN, published": {
        "AF r": 0.982,
        "LD r": 0.924,
        "AATS": 0.600,
        "AATS truth": 0.208,
        "AATS synthetic": 0.993,
    },
    "RBM, published": {
        "AF r": 0.994,
        "LD r": 0.977,
        "AATS": 0.516,
        "AATS truth": 0.547,
        "AATS synthetic": 0.485,
    },
    "real against real, published": {"AATS truth": 0.482, "AATS synthetic": 0.456},
}
GENERATORS = (INDEPENDENT, mosaics(20), mosaics(5), COPIES)
LINKED_GENERATORS = (mosaics(200), *GENERATORS)
SAMPLED_HAPLOTYPES = 200  # of the generated ones, whose longest shared stretch is looked for
COLUMNS = (
    ("allele_frequency", "r", "AF r"),
    ("linkage", "r2_r", "LD r"),
    ("neighbours", "aats", "AATS"),
    ("neighbours", "aats_truth", "AATS truth"),
    ("neighbours", "aats_synthetic", "AATS synthetic"),
    ("copies", "exact_haplotypes", "exact haplotypes"),
    ("copies", "exact_people", "exact people"),
    ("nearest_real", "p01", "nearest 1 %"),
    ("nearest_real", "p05", "nearest 5 %"),
    ("nearest_real", "median", "nearest median"),
    ("components", "overlap", "PCA overlap"),
    ("components", "wasserstein_mean", "PCA W1"),
    ("told_apart", "auc_dosages", "AUC dosages"),
    ("told_apart", "auc_regression", "AUC regression"),
    ("told_apart", "auc_trees", "AUC trees"),
    ("told_apart", "haplotype_auc_regression", "haplotypes AUC regression"),
    ("told_apart", "haplotype_auc_trees", "haplotypes AUC trees"),
    ("nearest_real", "extreme", "nearest 1 % of all"),
    ("nearest_real", "extreme_p", "p"),
    ("privacy", "nearer_training", "nearer training"),
    ("privacy", "membership_auc", "membership AUC"),
)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Labelled individuals at the sites of a panel; `groups` (N,) numbers their populations."""

    panel: Panel
    samples: SampleGenotypes
    populations: np.ndarray
    groups: np.ndarray
    superpopulations: np.ndarray

    @classmethod
    def read(cls, folder: Path, *, linked: bool, published: bool = False) -> "Cohort":
        """The individuals in a folder as shared/data/1kgp, at the panel's sites, at the linked ones or at the published
        ones."""
        file = folder / (CHR22_VCF if linked else COHORT_VCF)
        panel = Panel.read(folder / PANEL)
        if published:
            tags = [site.split(",") for site in panel.tags]
            panel = panel.subset([i for i, panel_tags in enumerate(tags) if SNP805 in panel_tags])
        if linked:
            with open_input(file) as source:
                panel = panel_of_variants(source)
        samples = genotypes_of_variants([open_input(file)], panel)
        table = read_labels(folder / LABELS)
        tables = [table.column(column) for column in ("population", "superpopulation")]
        label_columns = [np.array([labels[name] for name in samples.names]) for labels in tables]
        groups = np.unique(label_columns[0], return_inverse=True)[1]
        return cls(panel, samples, label_columns[0], groups, label_columns[1])

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows to train on and those held out, a fifth of every population."""
        order = np.random.default_rng([seed, 0x5EED]).permutation(len(self.samples))
        order = order[np.argsort(self.groups[order], kind="stable")]
        held_out = np.sort(order[::HOLDOUT_FOLDS])
        return np.setdiff1d(order, held_out), held_out


@dataclass(frozen=True)
class Row:
    """The metrics of a generator in one draw; `transfer` is the accuracy of the logistic regression."""

    name: str
    seed: int
    report: Report
    transfer: float
    seconds: float
    shared_lengths: np.ndarray  # see `longest_shared`

    @property
    def values(self) -> list[float]:
        """One a column."""
        nan = float("nan")
        estimates = [self.report.get(group, {}).get(metric) for group, metric, _ in COLUMNS]
        return [nan if estimate is None else estimate.value for estimate in estimates] + [
            self.transfer
        ]


class Trial:
    """Individuals to train on and those held out, and the generators to compare with them."""

    def __init__(
        self, cohort: Cohort, generators: Sequence[Generator], *, held_out: bool, seed: int
    ) -> None:
        all_rows = np.arange(len(cohort.samples))
        self.cohort, self.generators = cohort, generators
        self.train_rows, self.held_out_rows = (
            cohort.split(seed) if held_out else (all_rows, all_rows[:0])
        )
        self.real = cohort.samples.chosen(self.train_rows)
        self.held_out = cohort.samples.chosen(self.held_out_rows) if held_out else None
        real_comparison = Comparison.of(cohort.panel, self.real, self.real, self.held_out)
        self.baseline_areas = real_areas(real_comparison, seed)

    def rows(self, files: dict[str, Path], repeats: int) -> Iterator[Row]:
        """Real individuals first, then the generators, then the files."""
        if self.held_out is not None:
            yield self._row("real", 0, self.held_out, None)
        for generator in self.generators:
            for seed in range(repeats):
                rng = np.random.default_rng([seed, 0x6E4])
                groups = self.cohort.groups[self.train_rows]
                alleles = generator.generate(self.real.alleles, groups, rng)
                generated = SampleGenotypes(self.real.names, alleles, True)
                yield self._row(
                    generator.name, seed, generated, self.cohort.superpopulations[self.train_rows]
                )
        for name, path in files.items():
            generated = read_samples(path, self.cohort.panel)
            yield self._row(name, 0, generated, self._requested_superpopulations(generated))

    def _row(
        self, name: str, seed: int, generated: SampleGenotypes, superpopulations: np.ndarray | None
    ) -> Row:
        began = time.perf_counter()
        comparison = Comparison.of(self.cohort.panel, self.real, generated, self.held_out)
        metrics = report(comparison, seed, simple=(), baseline_areas=self.baseline_areas)
        if generated is self.held_out:  # no comparison with themselves
            del metrics["privacy"]
        seconds = time.perf_counter() - began
        transfer = float("nan")
        if superpopulations is not None and self.held_out is not None:
            transfer = self._transfer(generated, superpopulations)
        shared_lengths = np.zeros(0)
        if generated.phased:
            rows = np.linspace(0, len(generated.rows) - 1, SAMPLED_HAPLOTYPES).astype(np.int64)
            shared_lengths = longest_shared(generated.rows[rows], self.real.rows)
        return Row(name, seed, metrics, transfer, seconds, shared_lengths)

    def _transfer(self, generated: SampleGenotypes, superpopulations: np.ndarray) -> float:
        known = superpopulations != ""
        if len(np.unique(superpopulations[known])) < 2 or self.held_out is None:
            return float("nan")
        model = LogisticRegression(C=0.01, max_iter=1000)
        model.fit(generated.copies[known].astype(np.float32), superpopulations[known])
        predicted = model.predict(self.held_out.copies.astype(np.float32))
        return float((predicted == self.cohort.superpopulations[self.held_out_rows]).mean())

    def _requested_superpopulations(self, generated: SampleGenotypes) -> np.ndarray:
        """The super-population requested for each generated individual, "" where that is not one."""
        cohort = self.cohort
        superpopulation_of = dict(
            zip(cohort.populations.tolist(), cohort.superpopulations.tolist(), strict=True)
        )
        superpopulation_of |= {name: name for name in superpopulation_of.values()}
        return np.array(
            [
                superpopulation_of.get(generated.requested.get(name, ""), "")
                for name in generated.names
            ]
        )


def longest_shared(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """For each haplotype (H, S), the sites of the longest stretch that it has in common with a real one (R, S)."""
    longest = np.zeros((len(generated), len(real)), np.int32)
    current = np.zeros_like(longest)
    for generated_H, real_R in zip(generated.T, real.T, strict=True):
        current += 1
        current *= generated_H[:, None] == real_R
        np.maximum(longest, current, out=longest)
    return longest.max(axis=1)


def read_samples(path: Path, panel: Panel) -> SampleGenotypes:
    """The samples of a VCF or FASTA."""
    source = open_input(path)
    if source.has_variants:
        return genotypes_of_variants([source], panel)
    with source:
        return genotypes_of_sequences(list(read_sequences(source)), panel)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    cohort = Cohort.read(options.data, linked=options.chr22, published=options.snp805)
    simple_generators = LINKED_GENERATORS if options.chr22 else GENERATORS
    generators = () if options.no_simple else simple_generators
    trial = Trial(cohort, generators, held_out=options.held_out, seed=options.seed)
    write_optional(options.learnt, (f"{name}\n" for name in trial.real.names))
    files = dict(pair.split("=", 1) for pair in options.file)
    rows: list[Row] = []
    for row in trial.rows({name: Path(path) for name, path in files.items()}, options.repeats):
        print(f"{row.name} {row.seed}: {row.seconds:.1f} s", file=sys.stderr, flush=True)
        rows.append(row)
    sys.stdout.writelines(tsv(rows))
    published = PUBLISHED if options.snp805 else {}
    write_optional(
        options.markdown,
        markdown(rows, published) + (decay(rows) if options.chr22 else ""),
    )


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = parser_of(__doc__, data=DATA, seed=0, markdown=None)
    parser.add_argument("--held-out", action="store_true", help="learn from four fifths")
    parser.add_argument("--chr22", action="store_true", help="the linked sites of chromosome 22")
    parser.add_argument("--snp805", action="store_true", help="the sites of the published models")
    parser.add_argument("--file", action="append", default=[], metavar="NAME=FILE",
                      help="people from elsewhere; can be repeated")  # fmt: skip
    parser.add_argument("--no-simple", action="store_true", help="the files alone")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--learnt", type=Path, metavar="FILE", help="write who was learnt from")
    return parser


def tsv(rows: Sequence[Row]) -> Iterator[str]:
    """A line a draw."""
    yield "\t".join(["generator", "seed", *(f"{g}:{m}" for g, m, _ in COLUMNS), "transfer"]) + "\n"
    for row in rows:
        yield "\t".join([row.name, str(row.seed), *map(_cell, row.values)]) + "\n"


def markdown(
    rows: Sequence[Row], published: Mapping[str, Mapping[str, float]] = NO_PUBLISHED
) -> str:
    """A line a generator: the means of its draws; then what others published, by the titles of columns."""
    titles = [*(title for _, _, title in COLUMNS), "transfer"]
    lines = [f"| people | {' | '.join(titles)} |", "| --- |" + " ---: |" * len(titles)]
    for name in dict.fromkeys(row.name for row in rows):
        means = np.mean([row.values for row in rows if row.name == name], axis=0)
        lines.append(f"| {name} | {' | '.join(map(_cell, means))} |")
    for name, figures in published.items():
        cells = [_cell(figures.get(title, float("nan"))) for title in titles]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def decay(rows: Sequence[Row]) -> str:
    """A line a generator: the mean r2 of two sites by their distance, beside that of the training individuals; and how
    long a stretch a haplotype has in common with one of theirs."""
    prefix = "mean_r2_real:"
    bins = [
        name.removeprefix(prefix) for name in rows[0].report["linkage"] if name.startswith(prefix)
    ]
    titles = [*(f"r² {bin_}" for bin_ in bins), "longest shared stretch", "95 %"]
    lines = [f"\n| people | {' | '.join(titles)} |", "| --- |" + " ---: |" * len(titles)]
    real = [rows[0].report["linkage"][prefix + bin_].value for bin_ in bins]
    lines.append(f"| learnt from | {' | '.join(map(_cell, real))} | . | . |")
    for name in dict.fromkeys(row.name for row in rows):
        linkages = [row.report["linkage"] for row in rows if row.name == name]
        means = [
            np.mean([linkage[f"mean_r2:{bin_}"].value for linkage in linkages]) for bin_ in bins
        ]
        lengths = np.concatenate([row.shared_lengths for row in rows if row.name == name])
        means += [
            np.quantile(lengths, quantile) if len(lengths) else np.nan for quantile in (0.5, 0.95)
        ]
        lines.append(f"| {name} | {' | '.join(_cell(float(mean)) for mean in means)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float) -> str:
    if np.isnan(value):
        return "."
    return f"{value:g}" if value == round(value) else f"{value:.3f}"


if __name__ == "__main__":
    main()
