"""Hidden panel genotypes restored: the model behind `genomai denoise` beside allele frequencies.

    python -m benchmarks.imputation.panel --markdown benchmarks/imputation/panel.md > benchmarks/imputation/panel.tsv

Folds are by individual; in each, `ancestry-generator` is made anew by its recipe from the other people (about two
minutes a fold on one core; kept in runs/benchmarks/imputation/panel, and made anew only if the folder is removed), and
the frequencies are those that it has learnt. Genotypes are shown without phase, as in a barcode; the population is told
only to the row that says so. The hidden sites are drawn person by person, and those of 50 % are hidden at 75 and 90 %
too.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.command_line import DATA, RUNS, parser_of, write_optional
from benchmarks.generation.quality import LABELS, Cohort
from benchmarks.imputation.scores import Concordance, Row, markdown, tsv
from genomai_cli import device
from genomai_cli.alphabet import MISSING
from genomai_cli.bundles import bundle as bundles
from genomai_cli.denoising.base import Settings
from genomai_cli.diffusion.phenotypes import REFERENCE, Phenotypes
from genomai_cli.formats.outputs import atomic_output
from genomai_cli.formats.vcf_rewrite import write_variants
from genomai_cli.population.generation.output import sites
from genomai_cli.population.imputation.models import (
    Calls,
    GenotypeModel,
    posterior,
)
from genomai_cli.population.imputation.network_models import model_of
from genomai_cli.population.networks.haplotype_copying import genotypes_of
from genomai_cli.population.panel import GRCH37

RESULTS = RUNS / "imputation" / "panel"
HIDDEN_PERCENTAGES = (50, 75, 90)
SAMPLES_VCF = "people.vcf.gz"
OURS, TRUE_POPULATION = "genomai denoise", "frequencies of the true population"
GenotypeProbabilities = np.ndarray


@dataclass(frozen=True, eq=False)
class Fold:
    """What was fitted to the reference samples of a fold: the model, and the frequencies (K, S) and prior (K,) of
    populations.

    `true_population` (N,) is the number of each target sample's population among them.
    """

    model: GenotypeModel
    frequency: np.ndarray
    prior: np.ndarray
    true_population: np.ndarray
    reference: np.ndarray  # genotypes (M, S)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all folds; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    device.use_threads(options.threads)
    cohort = Cohort.read(options.data, linked=False)
    rows = list(evaluated_rows(cohort, options))
    sys.stdout.writelines(tsv(rows))
    write_optional(options.markdown, markdown(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    return parser_of(
        __doc__,
        data=DATA,
        folds=5,
        judged=None,
        seed=0,
        set=[],
        threads=1,
        runs=RESULTS,
        markdown=None,
    )


def evaluated_rows(cohort: Cohort, options: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table, of all samples of the evaluated folds."""
    parts = folds(cohort, options.folds, options.seed)[: options.judged]
    target_rows = np.concatenate(parts)
    truth = cohort.samples.alleles[target_rows].sum(axis=1)
    draws = np.random.default_rng([options.seed, 0x41D]).random(truth.shape)
    probabilities: dict[tuple[int, str], list[np.ndarray]] = {}
    seconds: dict[str, float] = {}
    offset = 0
    for number, part in enumerate(parts):
        fold = fit_fold(cohort, part, options.runs / f"fold{number}", options)
        part_draws = draws[offset : offset + len(part)]
        offset += len(part)
        for percent in HIDDEN_PERCENTAGES:
            observed = cohort.samples.alleles[part].copy()
            observed[np.repeat((part_draws < percent / 100)[:, None], 2, axis=1)] = MISSING
            for name, method in METHODS.items():
                began = time.perf_counter()
                probabilities.setdefault((percent, name), []).append(method(fold, observed))
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began
        print(f"fold {number}: {len(part)} people judged", file=sys.stderr, flush=True)
    for percent in HIDDEN_PERCENTAGES:
        baseline = None
        for name in METHODS:
            method_probabilities = np.concatenate(probabilities[percent, name])
            score = Concordance.of(
                truth.astype(np.int64), method_probabilities, draws < percent / 100
            )
            row = Row(
                f"{percent} %", name, score, seconds[name], baseline if name == OURS else None
            )
            baseline = row if name == TRUE_POPULATION else baseline
            yield row


def folds(cohort: Cohort, count: int, seed: int) -> list[np.ndarray]:
    """The rows of every fold; each population is spread over all of them."""
    order = np.random.default_rng([seed, 0x5EED]).permutation(len(cohort.samples))
    order = order[np.argsort(cohort.groups[order], kind="stable")]
    return [np.sort(order[number::count]) for number in range(count)]


def fit_fold(cohort: Cohort, part: np.ndarray, folder: Path, options: argparse.Namespace) -> Fold:
    """The model and frequencies fitted to all samples but those of a part."""
    reference_rows = other_rows(cohort, part)
    bundle = bundles.load(
        ancestry_generator(cohort, reference_rows, folder, options),
        torch.device("cpu"),
        torch.float64,
    )
    phenotypes = Phenotypes.from_config(bundle.config)
    samples_by_population = phenotypes.finest_labels(REFERENCE)
    population_numbers = [phenotypes.number(name) for name in samples_by_population]
    frequency = (
        bundle.classifier.networks[0].frequency[population_numbers].numpy().clip(1e-3, 1 - 1e-3)
    )
    prior = np.array(list(samples_by_population.values())) / sum(samples_by_population.values())
    true_population = np.array(
        [list(samples_by_population).index(name) for name in cohort.populations[part]]
    )
    reference = cohort.samples.alleles[reference_rows].sum(axis=1)
    return Fold(model_of(bundle), frequency, prior, true_population, reference)


def other_rows(cohort: Cohort, part: np.ndarray) -> np.ndarray:
    """The rows of all samples but those of a part."""
    return np.setdiff1d(np.arange(len(cohort.samples)), part)


def ancestry_generator(
    cohort: Cohort, rows: np.ndarray, folder: Path, options: argparse.Namespace
) -> Path:
    """The folder of `ancestry-generator` pretrained on some of the samples, now or before."""
    pretrain_options = ("--objective", "diffusion", "--labels", str(options.data / LABELS))
    return pretrained_bundle(cohort, rows, folder, options, pretrain_options)


def pretrained_bundle(
    cohort: Cohort,
    rows: np.ndarray,
    folder: Path,
    options: argparse.Namespace,
    pretrain_options: Sequence[str],
) -> Path:
    """The folder of the model pretrained on some of the samples, now or before; their VCF is `SAMPLES_VCF` next to
    it. `pretrain_options` are options of `genomai pretrain`."""
    bundle = folder / "model"
    if not bundle.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        samples_vcf = folder / SAMPLES_VCF
        columns = sites(cohort.panel, GRCH37)
        names = {cohort.samples.names[row]: str(cohort.populations[row]) for row in rows}
        with atomic_output(samples_vcf) as out:
            write_variants(out, columns, names, cohort.samples.alleles[rows], build=GRCH37,
                           contigs={}, source="benchmarks/imputation/panel.py")  # fmt: skip
        command = ["pretrain", *pretrain_options, "--device", "cpu", "--threads", "1", "-q"]
        command += [argument for pair in options.set for argument in ("--set", pair)]
        command += [samples_vcf, "-o", bundle]
        subprocess.run([sys.executable, "-m", "genomai_cli", *map(str, command)], check=True)
    return bundle


def most_frequent(fold: Fold, observed: np.ndarray) -> GenotypeProbabilities:
    """How often each genotype of a site is in the reference."""
    counts = np.stack([(fold.reference == copies).sum(axis=0) + 0.5 for copies in range(3)], axis=1)
    frequencies = counts / counts.sum(axis=1, keepdims=True)
    return np.broadcast_to(frequencies, (len(observed), *frequencies.shape))


def hardy_weinberg(frequency_NS: np.ndarray) -> GenotypeProbabilities:
    """Hardy-Weinberg proportions."""
    f = frequency_NS
    return np.stack([(1 - f) ** 2, 2 * f * (1 - f), f**2], axis=2)


def true_population(fold: Fold, observed: np.ndarray) -> GenotypeProbabilities:
    """The frequencies of the true population of each sample."""
    del observed
    return hardy_weinberg(fold.frequency[fold.true_population])


def called_population(fold: Fold, observed: np.ndarray) -> GenotypeProbabilities:
    """The frequencies of the population that the visible genotypes are likeliest in."""
    known = (observed[:, 0] != MISSING)[:, None]
    copies = np.where(known[:, 0], observed.sum(axis=1), 0)
    total = 2 * known[:, 0]
    log_likelihood = (
        copies @ np.log(fold.frequency).T + (total - copies) @ np.log1p(-fold.frequency).T
    )
    return hardy_weinberg(fold.frequency[(log_likelihood + np.log(fold.prior)).argmax(axis=1)])


def denoised(fold: Fold, observed: np.ndarray) -> GenotypeProbabilities:
    """As `genomai denoise` restores barcodes."""
    probabilities = []
    for start in range(0, len(observed), fold.model.batch_size):
        alleles = observed[start : start + fold.model.batch_size]
        phased = alleles[:, 0] == alleles[:, 1]
        haploid = np.zeros(len(alleles), np.bool_)
        calls = Calls(
            [str(start + number) for number in range(len(alleles))], alleles, phased, haploid
        )
        probabilities.append(genotypes_of(posterior(fold.model, calls, Settings())))
    return np.concatenate(probabilities)


METHODS: dict[str, Callable[[Fold, np.ndarray], GenotypeProbabilities]] = {
    "most frequent genotype": most_frequent,
    "frequencies of the population as called": called_population,
    TRUE_POPULATION: true_population,
    OURS: denoised,
}

if __name__ == "__main__":
    main()
