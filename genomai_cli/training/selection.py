"""A classifier of sequences from the parts that win on held-out samples: the recipe `auto`.

1. The samples are divided into folds of whole individuals, or clusters of similar sequences; a validation set that is
   given is every fold.
2. Race: on the first fold, parts that read both strands together compete with parts that tell strands and, in
   sequences of one length, positions apart. The side with the smaller held-out loss wins.
3. The winners are trained on as many further folds as the budget has room for.
4. Held-out logits weigh the parts (`stacking`), and calibrate their sum.
5. What is unlike the training sequences is told by those held out (`novelty_fit`).
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
from genomai_cli.training.initialization import initial_config
from genomai_cli.training.judging import Judge, in_words
from genomai_cli.training.labelled_data import (
    counted,
    folds,
    others,
    require_all_classes,
    require_some_values,
)
from genomai_cli.training.novelty_fit import fit_novelty
from genomai_cli.training.progress import Pace
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.sequence_parts import (
    Descent,
    Evaluation,
    LabelledCodes,
    Scale,
    best_penalty,
    in_sixteen_bits,
    logits_at,
    part_seed,
    regress,
    train_convolution,
)
from genomai_cli.training.stacking import Stack, stack, stack_numbers
from genomai_cli.training.trainer import Stopping, unstopped

FOLDS = 5
# Of training a convolution on both strands, on two hyperthreads, in sixteen bits and else, as measured.
SECONDS_A_LETTER = {True: 5e-6, False: 8e-6}
SHARE = 0.7  # of the budget for convolutions
EPOCHS_AT, EPOCHS = 2000, 30  # of so many samples
FEWER_BY = 0.42  # the power of the number of samples that there are fewer epochs by
FEWEST_EPOCHS = 6.0
RACE = 1.5  # fits of a convolution on both strands that the first fold costs
LONGEST_KMER = {True: 6, False: 5}  # of both strands together, of the one given
LARGEST_TABLE = 150_000_000  # features of all samples
LETTERS_A_BIN = 4
MARGIN = 0.01  # by which a loss that tells strands apart must be smaller

BOTH, GIVEN = "both strands", "the strand given"
UNITS = {"s": 1, "m": 60, "h": 3600}  # in seconds
Report = Callable[[str], None]
Log = Callable[[Mapping[str, str]], None]
PART = "part"  # the column of the log that names the part


@dataclass(frozen=True, eq=False)
class Fit:
    """A part trained without one fold, and its logits (N, O) of the samples in that fold."""

    part: nn.Module
    logits: Tensor


@dataclass(eq=False)
class Candidate:
    """A kind of part, its fits to one fold after another, and the penalty of a regression, chosen on the first."""

    name: str
    config: PartConfig
    fits: list[Fit] = field(default_factory=list)
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
    data = LabelledCodes.of(samples, SequenceEnsembleConfig(**network).longest)
    where = device or torch.device("cpu")
    trials = Trials(samples, data, budget, seed, where, work, report, log, validation, stopping)
    side, chosen, losses = trials.race(parts[0], len(parts))
    rounds = trials.affordable(chosen, len(parts))
    for held_out in parts[1:rounds]:
        for candidate in chosen:
            trials.fit(candidate, held_out)
    held_out = np.concatenate(parts[:rounds]) if validation is None else validation
    stacks = trials.stacks(chosen, held_out)
    bundle = Assembly(trials, recipe, kind).bundle(chosen, stacks, held_out)
    found = trials.validation(chosen, stacks, held_out)
    bundle.config["provenance"] |= {
        "strand": side,
        "race": {name: round(loss, 4) for name, loss in losses.items()},
        "folds": rounds,
        "seconds": round(time.monotonic() - began),
        "validation": found,
    }
    return Finetuned(bundle, found)


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
    given: Rows | None  # a validation set
    stopping: Stopping
    pace: Pace = field(default_factory=lambda: Pace(0.0))

    @property
    def judge(self) -> Judge:
        """What measures answers."""
        return Judge(self.samples, self.data)

    @property
    def outputs(self) -> int:
        """Those of all heads."""
        return sum(self.data.outputs.values())

    def race(self, held_out: Rows, parts: int) -> tuple[str, list[Candidate], dict[str, float]]:
        """The side that does better on the first of so many folds, its candidates, and the losses of both."""
        sides = {BOTH: self._candidates(both=True), GIVEN: self._candidates(both=False)}
        self.pace.work = max(self.work(of, parts) for of in sides.values())
        losses = {}
        for side, candidates in sides.items():
            for candidate in candidates:
                self.fit(candidate, held_out)
            losses[side] = sum(s.loss for s in self.stacks(candidates, held_out).values())
            self.report(f"{side}: held-out loss {losses[side]:.4f}")
        side = GIVEN if losses[GIVEN] < (1 - MARGIN) * losses[BOTH] else BOTH
        self.pace.work = self.work(sides[side], parts)
        return side, sides[side], losses

    def _candidates(self, *, both: bool) -> list[Candidate]:
        side = BOTH if both else GIVEN
        longest = LONGEST_KMER[both]
        while longest > 1 and len(self.data) * 4**longest > LARGEST_TABLE * (1 + both):
            longest -= 1
        found = [Candidate(f"k-mer regression, {side}", KmersConfig(longest, both))]
        if both or not self.data.one_length:
            convolution = ConvolutionConfig(both_strands=both)
        else:
            length = int(self.data.lengths[0])
            found.append(Candidate("regression on positions", PositionsConfig(length)))
            bins = max(1, length // LETTERS_A_BIN)
            convolution = ConvolutionConfig(both_strands=False, bins=bins, length=length)
        return [*found, Candidate(f"convolution, {side}", convolution)]

    def fit(self, candidate: Candidate, held_out: Rows) -> None:
        """One more fold of a candidate."""
        number, train = len(candidate.fits), others(self.samples, held_out)
        seed = part_seed(self.seed, number)
        torch.manual_seed(seed)
        part = build_part(candidate.config, self.outputs).to(self.device)
        if isinstance(part, Convolution):
            with self.stopping() as stop:
                how = Descent(
                    self.epochs(),
                    seed,
                    self.device,
                    self._checkpoint(part.config, number),
                    partial(self._tell, f"{candidate.name}, fold {number + 1}", part, held_out),
                    stop,
                )
                train_convolution(part, self.data, train, held_out, how)
            self.pace.done += cost_of(part.config)
        elif isinstance(part, KmerRegression | PositionRegression):
            if number:
                regress(part, self.data, train, candidate.penalty, self.device)
            else:
                candidate.penalty = best_penalty(part, self.data, train, held_out, self.device)
        logits_NO = logits_at(part, self.data, held_out, self.device)
        candidate.fits.append(Fit(part, logits_NO))
        self.report(f"{candidate.name}, fold {number + 1}: {self._measured(logits_NO, held_out)}")

    def _tell(self, name: str, part: Convolution, held_out: Rows, now: Evaluation) -> None:
        """Log and report where a convolution stands."""
        best = now.best_held_out
        row = {PART: name, "step": str(now.step), "loss": f"{now.loss:.6f}"}
        self.log(row | {"best_held_out_loss": f"{best:.6f}"})
        left = self.pace.left(cost_of(part.config) * now.step / now.steps)
        self.report(
            f"{name}, step {now.step} of {now.steps}: held-out loss {best:.4f}, "
            f"{self._measured(now.outputs_held_out, held_out)}, {left}"
        )

    def _measured(self, logits_NO: Tensor, rows: Rows) -> str:
        """How well every head does, in words."""
        outputs = self.data.by_head(logits_NO).items()
        return ", ".join(f"{h} {in_words(self.judge.measures(h, x, rows))}" for h, x in outputs)

    def _checkpoint(self, config: ConvolutionConfig, number: int) -> Path | None:
        side = "both" if config.both_strands else "given"
        return self.folder and self.folder / f"convolution-{side}-{number}.pt"

    @property
    def epoch(self) -> float:
        """The seconds a convolution on both strands takes to see all samples once."""
        return self.data.letters * SECONDS_A_LETTER[in_sixteen_bits(self.device)]

    def epochs(self) -> float:
        """How often a convolution sees each sample: more often where there are few, less where the budget is small."""
        wanted = EPOCHS * min(1.0, (EPOCHS_AT / len(self.data)) ** FEWER_BY)
        once = self.epoch * RACE
        return float(min(max(FEWEST_EPOCHS, wanted), max(1.0, SHARE * self.budget / once)))

    def affordable(self, chosen: Sequence[Candidate], parts: int) -> int:
        """How many folds there is time for."""
        fit = self.epoch * self.epochs()
        each = fit * cost_of(chosen[-1].config)
        return min(parts, 1 + max(0, int((SHARE * self.budget - RACE * fit) / each)))

    def work(self, chosen: Sequence[Candidate], parts: int) -> float:
        """What the race costs and the other folds of these candidates, in fits of a convolution on both strands."""
        return RACE + (self.affordable(chosen, parts) - 1) * cost_of(chosen[-1].config)

    def stacks(self, candidates: Sequence[Candidate], held_out: Rows) -> dict[str, Stack]:
        """How much each candidate counts, for every head."""
        found = {}
        truth = self.data.truth_at(held_out)
        for head, logits_GNC in self.by_head(candidates).items():
            if head in truth.numbers:
                numbers_N = truth.numbers[head]
                known_N = ~numbers_N.isnan()
                found[head] = stack_numbers(logits_GNC[:, known_N], numbers_N[known_N])
            else:
                labels_N = truth.labels[head]
                known_N = labels_N != MISSING
                found[head] = stack(logits_GNC[:, known_N], labels_N[known_N])
        return found

    def validation(
        self, chosen: Sequence[Candidate], stacks: Mapping[str, Stack], held_out: Rows
    ) -> dict[str, Any]:
        """By head, the measures of every candidate and of all together on the held-out samples."""
        found = {}
        for head, logits_GNC in self.by_head(chosen).items():
            answers = dict(zip((c.name for c in chosen), logits_GNC, strict=True))
            answers["together"] = stacks[head](logits_GNC)
            found[head] = self.judge.validation(head, answers, held_out)
        return found

    def novelty(self) -> SequenceNovelty:
        """What is unlike the samples to train on."""
        parts = folds(self.samples, FOLDS, self.seed)
        given = np.array([], np.int64) if self.given is None else self.given
        training = (np.setdiff1d(part, given) for part in parts)
        return fit_novelty(self.data, [part for part in training if len(part)])

    def by_head(self, candidates: Sequence[Candidate]) -> dict[str, Tensor]:
        """The logits (G, N, C) of every head, of the samples of all folds so far; if these are the same, the means of
        all fits."""
        found = []
        for candidate in candidates:
            fits = [fit.logits for fit in candidate.fits]
            logits_NO = torch.cat(fits) if self.given is None else torch.stack(fits).mean(0)
            found.append(self.data.by_head(logits_NO))
        return {head: torch.stack([logits[head] for logits in found]) for head in self.data.outputs}


def cost_of(config: PartConfig) -> float:
    """What training a convolution costs, in such of both strands."""
    return 1.0 if getattr(config, "both_strands", False) else 1 / 2


@dataclass(frozen=True, eq=False)
class Assembly:
    """Puts the chosen parts together."""

    trials: Trials
    recipe: Recipe
    kind: InputKind

    def bundle(
        self, chosen: Sequence[Candidate], stacks: Mapping[str, Stack], held_out: Rows
    ) -> Bundle:
        """The model: regressions fitted to all samples, convolutions of all folds, weights, calibration."""
        trials, data = self.trials, self.trials.data
        parts: list[nn.Module] = []
        configs: list[PartConfig] = []
        shares: list[tuple[int, float]] = []  # the candidate of each part, and its share in it
        for number, candidate in enumerate(chosen):
            found = self._parts(candidate)
            parts += found
            configs += [candidate.config] * len(found)
            shares += [(number, 1 / len(found))] * len(found)
        config = self._config(configs)
        classifier = build(config, self.kind)
        if classifier.evidence is not None:
            classifier.evidence.load_state_dict(trials.novelty().state_dict())
        network: Any = classifier.networks[0]
        for place, part in enumerate(parts):
            network.parts[place].load_state_dict(part.state_dict())
        begin = 0
        for layer, (head, outputs) in zip(network.heads, data.outputs.items(), strict=True):
            scale = data.scales.get(head, Scale(0.0, 1.0))
            layer.weight.data.zero_()
            layer.bias.data.copy_(stacks[head].bias * scale.deviation + scale.mean)
            for place, (number, share) in enumerate(shares):
                at = place * trials.outputs + begin
                weight = float(stacks[head].weight[number]) * share * scale.deviation
                layer.weight.data[:, at : at + outputs] = weight * torch.eye(outputs)
            begin += outputs
        together = {head: stacks[head](x).double() for head, x in trials.by_head(chosen).items()}
        self._calibrate(classifier, {head: together[head] for head in data.classes}, held_out)
        for head in data.scales:
            config["numbers"][head] = trials.judge.interval(head, together[head], held_out)
        return Bundle(config, classifier.float().to(trials.device).eval(), self.kind)

    def _calibrate(self, classifier: Classifier, scores: dict[str, Tensor], held_out: Rows) -> None:
        """Fit the probabilities of the heads that are classes."""
        if scores:
            whole = torch.ones(len(held_out), dtype=torch.float64)
            labels = dict(self.trials.data.truth_at(held_out).labels)
            calibrate(classifier.fusion, HeldOut(scores, whole, labels))

    def _parts(self, candidate: Candidate) -> list[nn.Module]:
        """What answers for a candidate."""
        trials = self.trials
        part = build_part(candidate.config, trials.outputs).to(trials.device)
        if not isinstance(part, KmerRegression | PositionRegression):
            return [fit.part for fit in candidate.fits]
        nothing = np.array([], np.int64)
        rows = others(trials.samples, nothing if trials.given is None else trials.given)
        regress(part, trials.data, rows, candidate.penalty, trials.device)
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
            **counted(trials.samples, trials.given),
        }
        return config
