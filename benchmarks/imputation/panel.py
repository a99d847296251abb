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

from benchmarks.command_line import DATA, RUNS, parser_of, write_asked
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

KEPT = RUNS / "imputation" / "panel"
HIDDEN = (50, 75, 90)
PEOPLE = "people.vcf.gz"
OURS, TRUE = "genomai denoise", "frequencies of the true population"
Genotypes = np.ndarray


@dataclass(frozen=True, eq=False)
class Fold:
    """What was learnt from the people of a fold: the model, and the frequencies (K, S) and prior (K,) of populations.

    `true` (N,) is the number of each judged person's population among them.
    """

    model: GenotypeModel
    frequency: np.ndarray
    prior: np.ndarray
    true: np.ndarray
    learnt: np.ndarray  # genotypes (M, S) of those learnt from


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all folds; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    device.use_threads(options.threads)
    cohort = Cohort.read(options.data, linked=False)
    rows = list(judged(cohort, options))
    sys.stdout.writelines(tsv(rows))
    write_asked(options.markdown, markdown(rows))


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
        runs=KEPT,
        markdown=None,
    )


def judged(cohort: Cohort, options: argparse.Namespace) -> Iterator[Row]:
    """The rows, of everybody in the folds that are judged."""
    parts = folds(cohort, options.folds, options.seed)[: options.judged]
    aside = np.concatenate(parts)
    truth = cohort.samples.alleles[aside].sum(axis=1)
    hidden = np.random.default_rng([options.seed, 0x41D]).random(truth.shape)
    found: dict[tuple[int, str], list[np.ndarray]] = {}
    seconds: dict[str, float] = {}
    at = 0
    for number, part in enumerate(parts):
        fold = learn(cohort, part, options.runs / f"fold{number}", options)
        shares = hidden[at : at + len(part)]
        at += len(part)
        for percent in HIDDEN:
            shown = cohort.samples.alleles[part].copy()
            shown[np.repeat((shares < percent / 100)[:, None], 2, axis=1)] = MISSING
            for name, method in METHODS.items():
                began = time.perf_counter()
                found.setdefault((percent, name), []).append(method(fold, shown))
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began
        print(f"fold {number}: {len(part)} people judged", file=sys.stderr, flush=True)
    for percent in HIDDEN:
        beside = None
        for name in METHODS:
            p = np.concatenate(found[percent, name])
            score = Concordance.of(truth.astype(np.int64), p, hidden < percent / 100)
            row = Row(f"{percent} %", name, score, seconds[name], beside if name == OURS else None)
            beside = row if name == TRUE else beside
            yield row


def folds(cohort: Cohort, count: int, seed: int) -> list[np.ndarray]:
    """The people of every fold; each population is spread over all of them."""
    order = np.random.default_rng([seed, 0x5EED]).permutation(len(cohort.samples))
    order = order[np.argsort(cohort.groups[order], kind="stable")]
    return [np.sort(order[number::count]) for number in range(count)]


def learn(cohort: Cohort, part: np.ndarray, folder: Path, options: argparse.Namespace) -> Fold:
    """What can be learnt from all people but those of a part."""
    others = everybody_else(cohort, part)
    bundle = bundles.load(
        generator_of(cohort, others, folder, options), torch.device("cpu"), torch.float64
    )
    phenotypes = Phenotypes.from_config(bundle.config)
    people = phenotypes.finest_labels(REFERENCE)
    numbers = [phenotypes.number(name) for name in people]
    frequency = bundle.classifier.networks[0].frequency[numbers].numpy().clip(1e-3, 1 - 1e-3)
    prior = np.array(list(people.values())) / sum(people.values())
    true = np.array([list(people).index(name) for name in cohort.populations[part]])
    learnt = cohort.samples.alleles[others].sum(axis=1)
    return Fold(model_of(bundle), frequency, prior, true, learnt)


def everybody_else(cohort: Cohort, part: np.ndarray) -> np.ndarray:
    """The numbers of all people but those of a part."""
    return np.setdiff1d(np.arange(len(cohort.samples)), part)


def generator_of(
    cohort: Cohort, rows: np.ndarray, folder: Path, options: argparse.Namespace
) -> Path:
    """The folder of `ancestry-generator` made from some of the people, now or before."""
    how = ("--objective", "diffusion", "--labels", str(options.data / LABELS))
    return made(cohort, rows, folder, options, how)


def made(
    cohort: Cohort,
    rows: np.ndarray,
    folder: Path,
    options: argparse.Namespace,
    how: Sequence[str],
) -> Path:
    """The folder of the model that is made from some of the people, now or before; they lie beside it, `PEOPLE`. `how`
    are options of `pretrain`."""
    bundle = folder / "model"
    if not bundle.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        people = folder / PEOPLE
        columns = sites(cohort.panel, GRCH37)
        names = {cohort.samples.names[row]: str(cohort.populations[row]) for row in rows}
        with atomic_output(people) as out:
            write_variants(out, columns, names, cohort.samples.alleles[rows], build=GRCH37,
                           contigs={}, source="benchmarks/imputation/panel.py")  # fmt: skip
        command = ["pretrain", *how, "--device", "cpu", "--threads", "1", "-q"]
        command += [word for pair in options.set for word in ("--set", pair)]
        command += [people, "-o", bundle]
        subprocess.run([sys.executable, "-m", "genomai_cli", *map(str, command)], check=True)
    return bundle


def most_frequent(fold: Fold, shown: np.ndarray) -> Genotypes:
    """How often each genotype of a site is among all people learnt from."""
    counts = np.stack([(fold.learnt == copies).sum(axis=0) + 0.5 for copies in range(3)], axis=1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return np.broadcast_to(shares, (len(shown), *shares.shape))


def of_frequencies(frequency_NS: np.ndarray) -> Genotypes:
    """Hardy-Weinberg proportions."""
    f = frequency_NS
    return np.stack([(1 - f) ** 2, 2 * f * (1 - f), f**2], axis=2)


def true_population(fold: Fold, shown: np.ndarray) -> Genotypes:
    """The frequencies of the population that the person is of."""
    del shown
    return of_frequencies(fold.frequency[fold.true])


def called_population(fold: Fold, shown: np.ndarray) -> Genotypes:
    """The frequencies of the population that the visible genotypes are likeliest in."""
    known = (shown[:, 0] != MISSING)[:, None]
    copies = np.where(known[:, 0], shown.sum(axis=1), 0)
    total = 2 * known[:, 0]
    log_likelihood = (
        copies @ np.log(fold.frequency).T + (total - copies) @ np.log1p(-fold.frequency).T
    )
    return of_frequencies(fold.frequency[(log_likelihood + np.log(fold.prior)).argmax(axis=1)])


def restored(fold: Fold, shown: np.ndarray) -> Genotypes:
    """As `genomai denoise` restores barcodes."""
    parts = []
    for at in range(0, len(shown), fold.model.batch_size):
        alleles = shown[at : at + fold.model.batch_size]
        phased = alleles[:, 0] == alleles[:, 1]
        nobody = np.zeros(len(alleles), np.bool_)
        calls = Calls([str(at + number) for number in range(len(alleles))], alleles, phased, nobody)
        parts.append(genotypes_of(posterior(fold.model, calls, Settings())))
    return np.concatenate(parts)


METHODS: dict[str, Callable[[Fold, np.ndarray], Genotypes]] = {
    "most frequent genotype": most_frequent,
    "frequencies of the population as called": called_population,
    TRUE: true_population,
    OURS: restored,
}

if __name__ == "__main__":
    main()
