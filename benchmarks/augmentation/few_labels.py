"""Does `genomai augment` help where labels are few? Classification with 5 % of the labels, plain and with views.

    python -m benchmarks.augmentation.few_labels --markdown table.md > table.tsv

A twentieth of the training individuals keep their labels, and methods learn from them, or from them and `--views` views
of each, made as the command makes them; everybody else is judged, complete and with three quarters of the sites hidden.
Crosses are within a population, among the people who keep their labels. Five such subsets; the intervals are Student's
over them, and that of the gain is paired. The regularisation of the logistic regression is chosen for each row on a
subset of its own. The network is the barcode network of the recipe `ancestry` by itself, with neither an attached
likelihood nor views of its own.

The model that draws blurred views again has learnt from all people without a single label, so the genotypes of those
who are judged are among what it has seen. It is made once, by `genomai pretrain --objective diffusion`, in --model.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.command_line import DATA, RUNS, parser_of, write_optional
from benchmarks.crossvalidation.label_subsets import draw_label_subset
from benchmarks.crossvalidation.trials import Cohort, Rows, subset
from genomai_cli.backbones.heads import attach_heads, logits
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.cli.app import main as genomai
from genomai_cli.inference.augment import Changes, augmented
from genomai_cli.inference.generate_diffusion import Settings
from genomai_cli.inputs.samples import Samples
from genomai_cli.population.augment import BarcodeAlignment, BarcodeCrosses
from genomai_cli.population.barcode import BarcodeSites, letters_to_genotypes
from genomai_cli.population.generation.sampler import HaplotypeDiffuser
from genomai_cli.population.networks.genotype_mlp import SitesConfig, SitesNetwork
from genomai_cli.records import SequenceRecord
from genomai_cli.training.labelled_data import remaining_rows

MODEL = RUNS / "augmentation" / "few_labels" / "unlabelled"
PERCENT, SUBSETS, VIEWS = 5, 5, 20
T_QUANTILE = 2.776  # the 97.5 % quantile with SUBSETS - 1 degrees of freedom
HIDDEN_PERCENT = (0, 75)  # per cent of the sites of test people
LOGISTIC_C = (1.0, 10.0, 100.0, 1000.0, 10000.0)  # divided by the number of samples
HEADS = ("superpop", "pop")
STEPS, BATCH = 200, 128
Copies = np.ndarray
Labels = dict[str, Rows]
Model = Callable[[Copies], dict[str, Rows]]
Learner = Callable[[Copies, Labels, float], Model]
Accuracies = dict[tuple[str, int], float]  # by head and per cent of hidden sites


@dataclass(frozen=True)
class Views:
    """A row of the table: the changes that make views, None for no views at all."""

    name: str
    changes: Changes | None
    cross: bool = False


ROWS = (
    Views("plain", None),
    Views("mask 0.3", Changes(mask=0.3)),
    Views("mutate 0.1", Changes(mutate=0.1)),
    Views("mask 0.15, crop 0.8, mutate 0.1", Changes(mask=0.15, crop=0.8, mutate=0.1)),
    Views("cross", Changes(), cross=True),
    Views("cross, mask 0.3", Changes(mask=0.3), cross=True),
    Views("diffuse 0.2", Changes(diffuse=0.2)),
    Views("diffuse 0.5", Changes(diffuse=0.5)),
    Views("cross, diffuse 0.5", Changes(diffuse=0.5), cross=True),
)


@dataclass(frozen=True, eq=False)
class Task:
    """A few people with labels, and the test rows of the cohort; genotypes are copies of alternate alleles (N, S), -1
    where missing."""

    cohort: Cohort
    labelled_samples: Samples
    test_rows: Rows
    model: Bundle

    @classmethod
    def draw(cls, cohort: Cohort, seed: int, model: Bundle) -> "Task":
        """A subset of the people keeps its labels."""
        labelled_samples = draw_label_subset(
            cohort.samples, PERCENT, np.random.default_rng([seed, 0xA06])
        )
        row_of = {name: row for row, name in enumerate(cohort.samples.names)}
        rows = np.array([row_of[name] for name in labelled_samples.names])
        return cls(
            cohort, subset(cohort.samples, rows), remaining_rows(cohort.samples, rows), model
        )

    def training_data(self, views: Views, count: int, seed: int) -> tuple[Copies, Labels]:
        """Genotypes and labels of the labelled people and of their views."""
        pairs = zip(self.labelled_samples.names, self.labelled_samples.sequences, strict=True)
        records = [SequenceRecord(name, sequence) for name, sequence in pairs]
        indices = np.arange(len(records))
        augmented_records: list[SequenceRecord] = []
        if views.changes is not None:
            population = map(str, self.labelled_samples.labels["pop"])
            start_time = views.changes.diffuse
            settings = Settings(seed=seed, start_time=start_time or 0)
            crosses = BarcodeCrosses(
                records, dict(zip(self.labelled_samples.names, population, strict=True))
            )
            augmented_records = list(
                augmented(
                    records,
                    views.changes,
                    views=count,
                    seed=seed,
                    alignment=BarcodeAlignment(panels=[BarcodeSites.of(self.cohort.panel)]),
                    crosses=crosses if views.cross else None,
                    diffuser=HaplotypeDiffuser(self.model, settings) if start_time else None,
                )
            )
        rows = np.concatenate([indices, np.repeat(indices, len(augmented_records) // len(indices))])
        labels = {head: self.labelled_samples.labels[head][rows] for head in HEADS}
        return self.copies([record.sequence for record in records + augmented_records]), labels

    def copies(self, sequences: Sequence[str]) -> Copies:
        """Copies of the alternate alleles."""
        flat = np.frombuffer("".join(sequences).encode(), np.uint8)
        return letters_to_genotypes(flat.reshape(len(sequences), -1), self.cohort.panel)

    def accuracy(
        self, learner: Learner, training_data: tuple[Copies, Labels], setting: float
    ) -> Accuracies:
        """The accuracy of a learner on the test people, by head and per cent of hidden sites."""
        truth = self.cohort.samples.labels
        test_copies = self.copies([self.cohort.samples.sequences[row] for row in self.test_rows])
        draws = np.random.default_rng(len(test_copies)).random(test_copies.shape)
        model = learner(*training_data, setting)
        accuracies: Accuracies = {}
        for hidden in HIDDEN_PERCENT:
            predicted = model(np.where(draws < hidden / 100, np.int8(-1), test_copies))
            is_correct = {head: predicted[head] == truth[head][self.test_rows] for head in HEADS}
            accuracies |= {(head, hidden): float(is_correct[head].mean()) for head in HEADS}
        return accuracies


def logistic(copies: Copies, labels: Labels, setting: float) -> Model:
    """Logistic regression on the copies, missing ones at the mean; a person and its views weigh as one person."""
    means = known_means(copies)

    def inputs(rows: Copies) -> np.ndarray:
        return np.where(rows >= 0, rows - means, 0).astype(np.float32)

    models = {head: LogisticRegression(C=setting / len(copies), max_iter=300) for head in HEADS}
    for head, model in models.items():
        model.fit(inputs(copies), labels[head])
    return lambda rows: {head: model.predict(inputs(rows)) for head, model in models.items()}


def known_means(copies: Copies) -> np.ndarray:
    """The mean of the known copies at every site."""
    known = copies >= 0
    return np.where(known, copies, 0).sum(0) / np.maximum(known.sum(0), 1)


def network(copies: Copies, labels: Labels, _: float) -> Model:
    """The barcode network after a fixed number of steps of AdamW."""
    torch.manual_seed(0)
    classes = {head: int(labels[head].max()) + 1 for head in HEADS}
    model = SitesNetwork(SitesConfig(copies.shape[1]))
    attach_heads(model, classes)
    model.frequency.copy_(torch.from_numpy(known_means(copies) / 2))
    inputs = torch.from_numpy(copies).long()
    targets = {head: torch.from_numpy(labels[head]) for head in HEADS}
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    rng = np.random.default_rng(0)
    for _step in range(STEPS):
        rows = torch.from_numpy(rng.integers(len(inputs), size=BATCH))
        outputs = logits(model, inputs[rows])
        loss = sum(torch.nn.functional.cross_entropy(outputs[h], targets[h][rows]) for h in HEADS)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        schedule.step()
    model.eval()

    @torch.inference_mode()
    def predict(rows: Copies) -> dict[str, Rows]:
        outputs = logits(model, torch.from_numpy(rows).long())
        return {head: outputs[head].argmax(1).numpy() for head in HEADS}

    return predict


LEARNERS: dict[str, tuple[Learner, tuple[float, ...]]] = {
    "logistic regression": (logistic, LOGISTIC_C),
    "barcode network": (network, (0.0,)),
}


@dataclass(frozen=True)
class Result:
    """The accuracy of a learner with the views of a row, for each subset."""

    learner: str
    views: str
    head: str
    hidden: int
    setting: float
    accuracies: tuple[float, ...]


def load_diffusion_model(folder: Path, data: Path) -> Bundle:
    """The diffusion model of all people without labels; it is trained if the folder is missing."""
    if not folder.is_dir():
        command = [
            "pretrain",
            "--objective",
            "diffusion",
            data / "train.grch37.vcf.gz",
            "-o",
            folder,
        ]
        if genomai([str(argument) for argument in [*command, "--device", "cpu"]]):
            sys.exit("the diffusion model could not be made")
    return bundles.load(folder, torch.device("cpu"))


def results(
    cohort: Cohort, count: int, seed: int, model: Bundle, rows: Sequence[Views] = ROWS
) -> Iterator[Result]:
    """Every row, learner by learner."""
    tuning, *tasks = [Task.draw(cohort, seed + number, model) for number in range(SUBSETS + 1)]
    for name, (learner, settings) in LEARNERS.items():
        for views in rows:
            began = time.perf_counter()
            setting = dict.fromkeys(HEADS, settings[0])
            if len(settings) > 1:
                training_data = tuning.training_data(views, count, seed)
                tuning_accuracies = {
                    value: tuning.accuracy(learner, training_data, value) for value in settings
                }
                sums = {
                    head: [
                        sum(tuning_accuracies[v][head, h] for h in HIDDEN_PERCENT) for v in settings
                    ]
                    for head in HEADS
                }
                setting = {head: settings[int(np.argmax(sums[head]))] for head in HEADS}
            accuracies_of: dict[tuple[str, int], list[float]] = {
                (h, m): [] for m in HIDDEN_PERCENT for h in HEADS
            }
            for number, task in enumerate(tasks):
                training_data = task.training_data(views, count, seed + number)
                by_setting = {
                    v: task.accuracy(learner, training_data, v) for v in set(setting.values())
                }
                for head, hidden in accuracies_of:
                    accuracies_of[head, hidden].append(by_setting[setting[head]][head, hidden])
            seconds = time.perf_counter() - began
            print(f"{name}, {views.name}: {seconds:.0f} s", file=sys.stderr, flush=True)
            for (head, hidden), accuracies in accuracies_of.items():
                yield Result(name, views.name, head, hidden, setting[head], tuple(accuracies))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it; the table goes to standard output, progress to standard error."""
    parser = parser_of(__doc__, data=DATA, seed=0, markdown=None)
    parser.add_argument("--views", type=int, default=VIEWS, metavar="N", help="of each person")
    parser.add_argument(
        "--row", action="append", metavar="NAME", help="only this one, beside plain"
    )
    parser.add_argument("--model", type=Path, default=MODEL, metavar="DIR", help="of --diffuse")
    options = parser.parse_args(arguments)
    model = load_diffusion_model(options.model, options.data)
    rows = [row for row in ROWS if not options.row or row.name in ("plain", *options.row)]
    cohort = Cohort.read(options.data)
    all_results = list(results(cohort, options.views, options.seed, model, rows))
    sys.stdout.writelines(tsv(all_results))
    write_optional(options.markdown, markdown(all_results))


def tsv(all_results: Sequence[Result]) -> Iterator[str]:
    """A line a learner, row and head: the mean accuracy, and the mean difference from the plain row, with intervals."""
    yield "learner\tviews\thead\thidden\tsetting\taccuracy\tlow\thigh\tgain\tgain_low\tgain_high\n"
    for result in all_results:
        values = [*interval(result.accuracies), *interval(_gains(result, all_results))]
        numbers = "\t".join(f"{value:.4f}" for value in values)
        names = f"{result.learner}\t{result.views}\t{result.head}\t{result.hidden}"
        yield f"{names}\t{result.setting:g}\t{numbers}\n"


def markdown(all_results: Sequence[Result]) -> str:
    """A line a learner and row: accuracies, and the gain over the plain row with its interval."""
    kinds = list(dict.fromkeys((result.head, result.hidden) for result in all_results))
    titles = [f"{head}, {hidden} % hidden" if hidden else head for head, hidden in kinds]
    lines = ["| learns from 5 % of the labels | " + " | gain | ".join(titles) + " | gain |"]
    lines.append("| --- |" + " ---: |" * 2 * len(kinds))
    for start in range(0, len(all_results), len(kinds)):
        cells = []
        for result in all_results[start : start + len(kinds)]:
            mean, low, high = interval(_gains(result, all_results))
            gain = "" if result.views == "plain" else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
            cells += [f"{np.mean(result.accuracies):.3f}", gain]
        lines.append(
            f"| {all_results[start].learner}, {all_results[start].views} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and its 95 % interval."""
    mean, half = np.mean(values), T_QUANTILE * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(mean), float(mean - half), float(mean + half)


def _gains(result: Result, all_results: Sequence[Result]) -> list[float]:
    """The differences from the plain row, subset by subset."""
    key = (result.learner, result.head, result.hidden)
    plain = next(other for other in all_results if (other.learner, other.head, other.hidden) == key)
    return [a - b for a, b in zip(result.accuracies, plain.accuracies, strict=True)]


if __name__ == "__main__":
    main()
