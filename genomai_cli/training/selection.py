"""A classifier of sequences from the parts that win on held-out samples: the recipe `auto`.

1. The samples are divided into folds of whole individuals, or clusters of similar sequences; a validation set that is
   given is every fold.
2. Race: on the first fold, parts that read both strands together compete with parts that tell strands and, in
   sequences of one length, positions apart. The side with the smaller held-out loss wins.
3. The winners are trained on as many further folds as the budget has room for.
4. Held-out logits weigh the parts (`stacking`), and calibrate their sum.
5. Bounds of novelty are fitted to the training sequences held out (`novelty_fit`).
6. Regressions are fitted once more on all samples but those of a validation set that is given; the convolutions of all
   folds answer together.

What is trained follows from the samples, the budget and the kind of processor by `SECONDS_A_LETTER`, never from the
clock: the same input and seed give the same model on any day.

Shape suffixes: N samples, C classes of a head, O outputs (the classes of all heads), G candidates.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genomai_cli import tokenizers
from genomai_cli.alphabet import MISSING
from genomai_cli.backbones.base import complete_config
from genomai_cli.backbones.classifier import Classifier
from genomai_cli.backbones.kmer_regression import KmerRegression, KmersConfig
from genomai_cli.backbones.sequence_ensemble import (
    Convolution,
    ConvolutionConfig,
    PartConfig,
    PositionRegression,
    PositionsConfig,
    SequenceEnsembleConfig,
    build_part,
)
from genomai_cli.backbones.sequence_novelty import SequenceNovelty
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.errors import UsageError
from genomai_cli.inputs.base import InputKind
from genomai_cli.inputs.samples import Rows, SampleRows, Samples
from genomai_cli.training.calibration import HeldOut, calibrate
from genomai_cli.training.finetuning import Finetuned
from genomai_cli.training.head_evaluator import HeadEvaluator
from genomai_cli.training.initialization import initial_config
from genomai_cli.training.labelled_data import (
    folds,
    remaining_rows,
    require_all_classes,
    require_some_values,
    sample_counts,
)
from genomai_cli.training.novelty_fit import fit_novelty
from genomai_cli.training.progress import Pace
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.sequence_parts import (
    ConvolutionSettings,
    Evaluation,
    LabelledCodes,
    Scale,
    best_penalty,
    fit_regression,
    logits_at,
    part_seed,
    train_convolution,
    uses_bfloat16,
)
from genomai_cli.training.stacking import Stack, stack, stack_numbers
from genomai_cli.training.trainer import Stopping, unstopped

FOLDS = 5
# Of training a convolution on both strands, on two hyperthreads, in sixteen bits and else, as measured.
SECONDS_A_LETTER = {True: 5e-6, False: 8e-6}
TIME_SHARE = 0.7  # of the budget for convolutions
SAMPLES_AT_EPOCHS, EPOCHS = 2000, 30  # of so many samples
EPOCH_POWER = 0.42  # epochs decrease with this power of the number of samples
MIN_EPOCHS = 6.0
RACE_COST = 1.5  # fits of a convolution on both strands that the first fold costs
MAX_K = {True: 6, False: 5}  # of both strands together, of the one given
MAX_FEATURES = 150_000_000  # features of all samples
LETTERS_PER_BIN = 4
MARGIN = 0.01  # by which a loss that tells strands apart must be smaller

BOTH, SINGLE = "both strands", "the strand given"
UNITS = {"s": 1, "m": 60, "h": 3600}  # in seconds
Report = Callable[[str], None]
Log = Callable[[Mapping[str, str]], None]
PART = "part"  # the column of the log that names the part


@dataclass(frozen=True, eq=False)
class FoldFit:
    """A part trained without one fold, and its logits (N, O) of the samples in that fold."""

    part: nn.Module
    logits: Tensor


@dataclass(eq=False)
class Candidate:
    """A kind of part, its fits to one fold after another, and the penalty of a regression, chosen on the first."""

    name: str
    config: PartConfig
    fits: list[FoldFit] = field(default_factory=list)
    penalty: float = 0.0


def seconds_of(text: str) -> float:
    """The seconds of a time as `90s`, `15m` or `2h`; UsageError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if found is None or float(found[1]) == 0:
        raise UsageError(f"--time {text}: write a time such as 90s, 15m or 2h")
    return float(found[1]) * UNITS[found[2]]


def fit(
    samples: Samples,
    recipe: Recipe,
    kind: InputKind,
    *,
    budget: float,
    seed: int = 0,
    device: torch.device | None = None,
    validation: Rows | None = None,
    work: Path | None = None,
    report: Report = lambda _: None,
    log: Log = lambda _: None,
    stopping: Stopping = unstopped,
) -> Finetuned:
    """Choose, train, weigh and calibrate; see the top of the file.

    `budget` is in seconds on two cores. `validation` are the rows to choose, stop and weigh by, and never to train
    on; else folds are drawn. With `work`, a folder, a run that was interrupted there goes on. `report` is told what
    is tried and how each did, `log` gets rows of losses by part and step. Raises TrainingError where the samples cannot
    teach what they are asked for.
    """
    began = time.monotonic()
    parts = folds(samples, FOLDS, seed) if validation is None else [validation] * FOLDS
    for part in parts:
        require_all_classes(samples, part)
        require_some_values(samples, part)
    sizes = complete_config(recipe.network)  # refuses one that is unknown
    network = {name: value for name, value in sizes.items() if name != "kind"}
    data = LabelledCodes.of(samples, SequenceEnsembleConfig(**network).longest, report)
    device = device or torch.device("cpu")
    trials = Trials(samples, data, budget, seed, device, work, report, log, validation, stopping)
    side, candidates, losses = trials.race(parts[0], len(parts))
    rounds = trials.affordable(candidates, len(parts))
    for held_out in parts[1:rounds]:
        for candidate in candidates:
            trials.fit(candidate, held_out)
    held_out = np.concatenate(parts[:rounds]) if validation is None else validation
    stacks = trials.stacks(candidates, held_out)
    bundle = Assembly(trials, recipe, kind).bundle(candidates, stacks, held_out)
    measures = trials.validation(candidates, stacks, held_out)
    bundle.config["provenance"] |= {
        "strand": side,
        "race": {name: round(loss, 4) for name, loss in losses.items()},
        "folds": rounds,
        "seconds": round(time.monotonic() - began),
        "validation": measures,
    }
    return Finetuned(bundle, measures)


@dataclass(frozen=True, eq=False)
class Trials:
    """The samples, and what fits candidates to them."""

    samples: Samples
    data: LabelledCodes
    budget: float
    seed: int
    device: torch.device
    folder: Path | None
    report: Report
    log: Log
    val_rows: Rows | None  # a validation set
    stopping: Stopping
    pace: Pace = field(default_factory=lambda: Pace(0.0))

    @property
    def evaluator(self) -> HeadEvaluator:
        """The evaluator of heads on all samples."""
        return HeadEvaluator(self.samples, self.data)

    @property
    def training_rows(self) -> Rows:
        """The rows of all samples but those of a validation set that is given."""
        return remaining_rows(self.samples, self.val_rows)

    @property
    def outputs(self) -> int:
        """The number of outputs of all heads."""
        return sum(self.data.outputs.values())

    def race(self, held_out: Rows, parts: int) -> tuple[str, list[Candidate], dict[str, float]]:
        """The side that does better on the first of so many folds, its candidates, and the losses of both."""
        sides = {BOTH: self._candidates(both=True), SINGLE: self._candidates(both=False)}
        self.pace.work = max(self.work(candidates, parts) for candidates in sides.values())
        losses = {}
        for side, candidates in sides.items():
            for candidate in candidates:
                self.fit(candidate, held_out)
            losses[side] = sum(s.loss for s in self.stacks(candidates, held_out).values())
            self.report(f"{side}: held-out loss {losses[side]:.4f}")
        side = SINGLE if losses[SINGLE] < (1 - MARGIN) * losses[BOTH] else BOTH
        self.pace.work = self.work(sides[side], parts)
        return side, sides[side], losses

    def _candidates(self, *, both: bool) -> list[Candidate]:
        side = BOTH if both else SINGLE
        max_k = MAX_K[both]
        while max_k > 1 and len(self.data) * 4**max_k > MAX_FEATURES * (1 + both):
            max_k -= 1
        candidates = [Candidate(f"k-mer regression, {side}", KmersConfig(max_k, both))]
        if both or not self.data.same_length:
            convolution = ConvolutionConfig(both_strands=both)
        else:
            length = int(self.data.lengths[0])
            candidates.append(Candidate("regression on positions", PositionsConfig(length)))
            bins = max(1, length // LETTERS_PER_BIN)
            convolution = ConvolutionConfig(both_strands=False, bins=bins, length=length)
        return [*candidates, Candidate(f"convolution, {side}", convolution)]

    def fit(self, candidate: Candidate, held_out: Rows) -> None:
        """One more fold of a candidate."""
        number, train = len(candidate.fits), remaining_rows(self.samples, held_out)
        seed = part_seed(self.seed, number)
        torch.manual_seed(seed)
        part = build_part(candidate.config, self.outputs).to(self.device)
        if isinstance(part, Convolution):
            with self.stopping() as stop:
                settings = ConvolutionSettings(
                    self.epochs(),
                    seed,
                    self.device,
                    self._checkpoint(part.config, number),
                    partial(self._log_step, f"{candidate.name}, fold {number + 1}", part, held_out),
                    stop,
                )
                train_convolution(part, self.data, train, held_out, settings)
            self.pace.done += cost_of(part.config)
        elif isinstance(part, KmerRegression | PositionRegression):
            if number:
                fit_regression(part, self.data, train, candidate.penalty, self.device)
            else:
                candidate.penalty = best_penalty(part, self.data, train, held_out, self.device)
        logits_NO = logits_at(part, self.data, held_out, self.device)
        candidate.fits.append(FoldFit(part, logits_NO))
        self.report(
            f"{candidate.name}, fold {number + 1}: {self.evaluator.summary(logits_NO, held_out)}"
        )

    def _log_step(self, name: str, part: Convolution, held_out: Rows, latest: Evaluation) -> None:
        """Log and report an evaluation of a convolution."""
        best = latest.best_held_out
        row = {PART: name, "step": str(latest.step), "loss": f"{latest.loss:.6f}"}
        self.log(row | {"best_held_out_loss": f"{best:.6f}"})
        time_left = self.pace.time_left(cost_of(part.config) * latest.step / latest.steps)
        self.report(
            f"{name}, step {latest.step} of {latest.steps}: held-out loss {best:.4f}, "
            f"{self.evaluator.summary(latest.outputs_held_out, held_out)}, {time_left}"
        )

    def _checkpoint(self, config: ConvolutionConfig, number: int) -> Path | None:
        side = "both" if config.both_strands else "given"
        return self.folder and self.folder / f"convolution-{side}-{number}.pt"

    @property
    def seconds_per_epoch(self) -> float:
        """The seconds a convolution on both strands takes to see all samples once."""
        return self.data.letters * SECONDS_A_LETTER[uses_bfloat16(self.device)]

    def epochs(self) -> float:
        """How often a convolution sees each sample: more often where there are few, less where the budget is small."""
        epochs = EPOCHS * min(1.0, (SAMPLES_AT_EPOCHS / len(self.data)) ** EPOCH_POWER)
        race_epoch = self.seconds_per_epoch * RACE_COST
        return float(min(max(MIN_EPOCHS, epochs), max(1.0, TIME_SHARE * self.budget / race_epoch)))

    def affordable(self, candidates: Sequence[Candidate], parts: int) -> int:
        """How many folds there is time for."""
        fit_cost = self.seconds_per_epoch * self.epochs()
        cost = fit_cost * cost_of(candidates[-1].config)
        return min(parts, 1 + max(0, int((TIME_SHARE * self.budget - RACE_COST * fit_cost) / cost)))

    def work(self, candidates: Sequence[Candidate], parts: int) -> float:
        """What the race costs and the other folds of these candidates, in fits of a convolution on both strands."""
        return RACE_COST + (self.affordable(candidates, parts) - 1) * cost_of(candidates[-1].config)

    def stacks(self, candidates: Sequence[Candidate], held_out: Rows) -> dict[str, Stack]:
        """The weights of the candidates, for every head."""
        stacks = {}
        truth = self.data.truth_at(held_out)
        for head, logits_GNC in self.by_head(candidates).items():
            if head in truth.numbers:
                numbers_N = truth.numbers[head]
                known_N = ~numbers_N.isnan()
                stacks[head] = stack_numbers(logits_GNC[:, known_N], numbers_N[known_N])
            else:
                labels_N = truth.labels[head]
                known_N = labels_N != MISSING
                stacks[head] = stack(logits_GNC[:, known_N], labels_N[known_N])
        return stacks

    def validation(
        self, candidates: Sequence[Candidate], stacks: Mapping[str, Stack], held_out: Rows
    ) -> dict[str, Any]:
        """By head that some held-out samples have, the measures of every candidate and of all together on these."""
        measures = {}
        for head, logits_GNC in self.by_head(candidates).items():
            if not self.evaluator.is_known(head, held_out):
                continue
            outputs = dict(zip((c.name for c in candidates), logits_GNC, strict=True))
            outputs["together"] = stacks[head](logits_GNC)
            measures[head] = self.evaluator.validation(head, outputs, held_out)
        return measures

    def novelty(self) -> SequenceNovelty:
        """The novelty of sequences unlike the samples to train on."""
        rows = self.training_rows
        parts = [rows[part] for part in folds(self.samples.at(rows), FOLDS, self.seed) if len(part)]
        if len(parts) < 2:  # all are near-duplicates of one another
            shuffled = np.random.default_rng(self.seed).permutation(rows)
            parts = np.array_split(shuffled, min(FOLDS, len(rows)))
        return fit_novelty(self.data, parts)

    def by_head(self, candidates: Sequence[Candidate]) -> dict[str, Tensor]:
        """The logits (G, N, C) of every head, of the samples of all folds so far; if these are the same, the means of
        all fits."""
        found = []
        for candidate in candidates:
            fits = [fit.logits for fit in candidate.fits]
            logits_NO = torch.cat(fits) if self.val_rows is None else torch.stack(fits).mean(0)
            found.append(self.data.by_head(logits_NO))
        return {head: torch.stack([logits[head] for logits in found]) for head in self.data.outputs}


def cost_of(config: PartConfig) -> float:
    """The cost of training a convolution, in units of one on both strands."""
    return 1.0 if getattr(config, "both_strands", False) else 1 / 2


@dataclass(frozen=True, eq=False)
class Assembly:
    """Puts the chosen parts together."""

    trials: Trials
    recipe: Recipe
    kind: InputKind

    def bundle(
        self, candidates: Sequence[Candidate], stacks: Mapping[str, Stack], held_out: Rows
    ) -> Bundle:
        """The model: regressions fitted to all samples, convolutions of all folds, weights, calibration."""
        trials, data = self.trials, self.trials.data
        parts: list[nn.Module] = []
        configs: list[PartConfig] = []
        shares: list[tuple[int, float]] = []  # the candidate of each part, and its share in it
        for number, candidate in enumerate(candidates):
            candidate_parts = self._parts(candidate)
            parts += candidate_parts
            configs += [candidate.config] * len(candidate_parts)
            shares += [(number, 1 / len(candidate_parts))] * len(candidate_parts)
        config = self._config(configs)
        classifier = build(config, self.kind)
        if classifier.evidence is not None:
            classifier.evidence.load_state_dict(trials.novelty().state_dict())
        network: Any = classifier.networks[0]
        for index, part in enumerate(parts):
            network.parts[index].load_state_dict(part.state_dict())
        begin = 0
        for layer, (head, outputs) in zip(network.heads, data.outputs.items(), strict=True):
            scale = data.scales.get(head, Scale(0.0, 1.0))
            layer.weight.data.zero_()
            layer.bias.data.copy_(stacks[head].bias * scale.deviation + scale.mean)
            for index, (number, share) in enumerate(shares):
                column = index * trials.outputs + begin
                weight = float(stacks[head].weight[number]) * share * scale.deviation
                layer.weight.data[:, column : column + outputs] = weight * torch.eye(outputs)
            begin += outputs
        stacked = {head: stacks[head](x).double() for head, x in trials.by_head(candidates).items()}
        self._calibrate(classifier, {head: stacked[head] for head in data.classes}, held_out)
        for head in data.scales:
            config["numbers"][head] = trials.evaluator.interval(head, stacked[head], held_out)
        return Bundle(config, classifier.float().to(trials.device).eval(), self.kind)

    def _calibrate(self, classifier: Classifier, scores: dict[str, Tensor], held_out: Rows) -> None:
        """Fit the probabilities of the heads that are classes."""
        if scores:
            full_share = torch.ones(len(held_out), dtype=torch.float64)
            labels = dict(self.trials.data.truth_at(held_out).labels)
            calibrate(classifier.fusion, HeldOut(scores, full_share, labels))

    def _parts(self, candidate: Candidate) -> list[nn.Module]:
        """The parts of the model for a candidate: its fits to all folds, or a regression fitted to all samples."""
        trials = self.trials
        part = build_part(candidate.config, trials.outputs).to(trials.device)
        if not isinstance(part, KmerRegression | PositionRegression):
            return [fit.part for fit in candidate.fits]
        fit_regression(part, trials.data, trials.training_rows, candidate.penalty, trials.device)
        return [part]

    def _config(self, parts: Sequence[PartConfig]) -> dict[str, Any]:
        trials = self.trials
        tokenizer = tokenizers.from_config(self.recipe.tokenizer)
        sizes = self.kind.sizes(SampleRows(trials.samples), self.recipe, tokenizer)
        sizes |= {"outputs": trials.outputs, "parts": SequenceEnsembleConfig.of(parts).parts}
        heads = trials.samples.classes
        config = initial_config(self.recipe, self.kind, tokenizer, sizes, members=1, heads=heads)
        if trials.data.scales:
            config["numbers"] = {head: {} for head in trials.data.scales}
        config["novelty"] = {"kind": self.kind.name}
        config["provenance"] |= {
            "seed": trials.seed,
            "device": trials.device.type,
            **sample_counts(trials.samples, trials.val_rows),
        }
        return config
