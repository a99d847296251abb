"""Training the parts of a `SequenceEnsemble`: regressions by L-BFGS, convolutions by the training loop.

Heads are classes, or numbers: the output of these is in standard deviations from the mean of all samples.

Shape suffixes: N samples, B samples of a batch, L letters, F features, C classes of a head (1 of numbers), O outputs
(those of all heads).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.alphabet import MISSING, UNKNOWN_CODE, as_letters, codes_of
from genomai_cli.backbones.kmer_regression import KmerRegression, KmersConfig
from genomai_cli.backbones.sequence_ensemble import Convolution, PositionRegression, part_outputs
from genomai_cli.inputs.samples import Rows, Samples
from genomai_cli.objectives.base import cross_entropy
from genomai_cli.training.minimisation import minimise
from genomai_cli.training.trainer import Loop, Optimization, never, step_seed

CPU = torch.device("cpu")
PENALTIES = (1.0, 0.3, 0.1, 0.03)  # of regressions on standardised features, a nat a sample
PENALTIES_OF_NUMBERS = (10.0, 3.0)  # besides, in squared deviations
ITERATIONS = 40
MIN_DEVIATION = 1e-6  # the deviation of a feature that does not vary
CONSTANT_DEVIATION = 1e30  # what it is divided by instead: bundles hold finite values only
ROWS_AT_ONCE = 512
COUNT_TYPES = (torch.uint8, torch.int16, torch.int32)
EVALUATIONS = 12
SMOOTHING = 0.05  # of labels
BFLOAT16_CHECKS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # of torch.cpu
MAX_SHIFT = 4  # letters that a sequence is moved by while training, where positions do not matter
SMALL_SAMPLES, SMALL_BATCH_SIZE, BATCH_SIZE = 10_000, 64, 128  # samples, and of a batch
Regression = KmerRegression | PositionRegression


@dataclass(frozen=True, eq=False)
class Truth:
    """The true labels of samples: by head the class (N,), -1 where unknown, or the number (N,), NaN where unknown."""

    labels: Mapping[str, Tensor]
    numbers: Mapping[str, Tensor]

    def loss(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """The cross-entropy of logits in nats, and of numbers half the mean squared error, summed over heads."""
        logits = {head: outputs[head] for head in self.labels}
        return torch.as_tensor(cross_entropy(logits, self.labels) + self._squared(outputs))

    def smoothed_loss(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """The loss with smoothed labels (Szegedy et al. 2016, arXiv:1512.00567)."""
        losses = [
            functional.cross_entropy(
                outputs[head], labels_N, ignore_index=MISSING, label_smoothing=SMOOTHING
            )
            for head, labels_N in self.labels.items()
            if bool((labels_N != MISSING).any())
        ]
        return torch.as_tensor(sum(losses) + self._squared(outputs))

    def _squared(self, outputs: Mapping[str, Tensor]) -> Tensor | float:
        losses = []
        for head, numbers_N in self.numbers.items():
            known_N = ~numbers_N.isnan()
            errors = outputs[head][known_N, 0] - numbers_N[known_N]
            losses.append(errors.square().sum() / 2 / known_N.sum().clamp(min=1))
        return torch.stack(losses).sum() if losses else 0.0


@dataclass(frozen=True)
class Scale:
    """The mean of a head's numbers, and their standard deviation."""

    mean: float
    deviation: float


@dataclass(frozen=True, eq=False)
class LabelledCodes:
    """Samples as tensors: codes (N, L) of one byte, filled up with unknown letters, lengths (N,), and true labels;
    `classes` are how many each head of classes has, `scales` those of the heads that are numbers."""

    codes: Tensor
    lengths: Tensor
    truth: Truth
    classes: dict[str, int]
    scales: dict[str, Scale]
    _counts: dict[KmersConfig, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, samples: Samples, max_length: int, report: Callable[[str], None] = lambda _: None
    ) -> "LabelledCodes":
        """The first `max_length` letters of each sample; `report` is told how many have more."""
        if count := sum(len(text) > max_length for text in samples.sequences):
            report(
                f"{count} of {len(samples)} sequences are longer than {max_length} letters: trained on by their "
                "beginning (--set network.longest=N takes more)"
            )
        rows = [codes_of(as_letters(text[:max_length])) for text in samples.sequences]
        lengths = np.array([len(row) for row in rows])
        codes_NL = np.full((len(rows), max(1, lengths.max())), UNKNOWN_CODE, np.uint8)
        for number, row in enumerate(rows):
            codes_NL[number, : len(row)] = row
        labels = {head: torch.from_numpy(numbers) for head, numbers in samples.labels.items()}
        classes = {head: len(names) for head, names in samples.classes.items()}
        scales = {
            head: Scale(float(np.nanmean(values)), float(np.nanstd(values)) or 1.0)
            for head, values in samples.values.items()
        }
        numbers = {
            head: torch.from_numpy((values - scales[head].mean) / scales[head].deviation).float()
            for head, values in samples.values.items()
        }
        codes, truth = torch.from_numpy(codes_NL), Truth(labels, numbers)
        return cls(codes, torch.from_numpy(lengths), truth, classes, scales)

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def same_length(self) -> bool:
        """Whether all sequences have one length, so that a position means the same in all."""
        return bool((self.lengths == self.lengths[0]).all())

    @property
    def outputs(self) -> dict[str, int]:
        """How many outputs each head has: its classes, or 1."""
        return self.classes | dict.fromkeys(self.scales, 1)

    @property
    def letters(self) -> int:
        """All letters of all samples."""
        return int(self.lengths.sum())

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, L) of the samples in these rows, and which are no padding."""
        width = max(1, int(self.lengths[rows].max()))
        return self.codes[rows, :width].long(), torch.arange(width) < self.lengths[rows, None]

    @torch.no_grad()
    def counts(self, part: KmerRegression) -> Tensor:
        """How often each of the part's k-mers occurs (N, F), counted once for all parts like it; of one byte where
        sequences are short."""
        if part.config not in self._counts:
            width = self.codes.shape[1]
            dtype = next(t for t in COUNT_TYPES if width <= torch.iinfo(t).max)
            blocks = torch.split(torch.arange(len(self)), ROWS_AT_ONCE)
            codes = (self.batch(rows)[0].to(part.mean.device) for rows in blocks)
            block_counts = [part.counts(codes_BL).to("cpu", dtype) for codes_BL in codes]
            self._counts[part.config] = torch.cat(block_counts)
        return self._counts[part.config]

    def by_head(self, logits_BO: Tensor) -> dict[str, Tensor]:
        """The outputs (B, C) of every head."""
        parts = torch.split(logits_BO, list(self.outputs.values()), dim=1)
        return dict(zip(self.outputs, parts, strict=True))

    def truth_at(self, rows: Rows | Tensor, device: torch.device = CPU) -> Truth:
        """The true labels of the samples in these rows."""
        labels = {head: values[rows].to(device) for head, values in self.truth.labels.items()}
        numbers = {head: values[rows].to(device) for head, values in self.truth.numbers.items()}
        return Truth(labels, numbers)

    def loss(self, logits_BO: Tensor, rows: Rows) -> float:
        """The loss of the samples in these rows."""
        return float(self.truth_at(rows).loss(self.by_head(logits_BO)))


@torch.no_grad()
def logits_at(part: nn.Module, data: LabelledCodes, rows: Rows, device: torch.device) -> Tensor:
    """The part's logits (N, O) of the samples in these rows, on the CPU."""
    part.eval()
    blocks = []
    for rows_B in torch.split(torch.from_numpy(rows), ROWS_AT_ONCE):
        if isinstance(part, KmerRegression):
            logits_BO = part.logits(data.counts(part)[rows_B].to(device))
        else:
            codes_BL, real_BL = data.batch(rows_B)
            logits_BO, _ = part_outputs(part, codes_BL.to(device), real_BL.to(device))
        blocks.append(logits_BO.float().cpu())
    return torch.cat(blocks)


# --- regressions


def best_penalty(
    part: Regression, data: LabelledCodes, train: Rows, validation: Rows, device: torch.device
) -> float:
    """The penalty with the smallest held-out loss, with which the part is left fitted."""
    x_NF = standardised(part, data, train, device)
    best, penalty = math.inf, PENALTIES[0]
    state = part.state_dict()
    for candidate in (*PENALTIES_OF_NUMBERS, *PENALTIES) if data.scales else PENALTIES:
        _solve(part.linear, x_NF, data, train, candidate)
        loss = data.loss(logits_at(part, data, validation, device), validation)
        if loss < best:
            best, penalty = loss, candidate
            state = {name: value.clone() for name, value in part.state_dict().items()}
    part.load_state_dict(state)
    return penalty


def fit_regression(
    part: Regression, data: LabelledCodes, train: Rows, penalty: float, device: torch.device
) -> None:
    """Fit the part to the samples in these rows."""
    _solve(part.linear, standardised(part, data, train, device), data, train, penalty)


@torch.no_grad()
def standardised(
    part: Regression, data: LabelledCodes, train: Rows, device: torch.device
) -> Tensor:
    """The features (N, F) of the samples to train on; mean and deviation are kept in a part of k-mers."""
    blocks = torch.split(torch.from_numpy(train), ROWS_AT_ONCE)
    if isinstance(part, PositionRegression):
        return torch.cat([part.features(data.batch(rows)[0].to(device)) for rows in blocks])
    counts_NF = data.counts(part)
    x_NF = torch.cat([part.frequencies(counts_NF[rows].to(device)) for rows in blocks])
    part.mean.copy_(x_NF.mean(0))
    part.deviation.copy_(x_NF.std(0))
    part.deviation[part.deviation < MIN_DEVIATION] = CONSTANT_DEVIATION
    return x_NF.sub_(part.mean).div_(part.deviation)


def _solve(
    linear: nn.Linear, x_NF: Tensor, data: LabelledCodes, train: Rows, penalty: float
) -> None:
    """Softmax regression of every head, least squares of numbers, with a penalty on squared weights, by L-BFGS."""
    truth = data.truth_at(train, x_NF.device)
    weight_OF = torch.zeros_like(linear.weight, requires_grad=True)
    bias_O = torch.zeros_like(linear.bias, requires_grad=True)

    def loss() -> Tensor:
        outputs = data.by_head(functional.linear(x_NF, weight_OF, bias_O))
        return truth.loss(outputs) + penalty / 2 * weight_OF.square().sum()

    minimise([weight_OF, bias_O], loss, iterations=ITERATIONS)
    linear.weight.data.copy_(weight_OF.detach())
    linear.bias.data.copy_(bias_O.detach())


# --- convolutions


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An evaluation while a convolution is trained: the loss of the last batch, the best loss of the held-out samples
    so far, and its outputs (N, O) for these now."""

    step: int
    steps: int
    loss: float
    best_held_out: float
    outputs_held_out: Tensor


@dataclass(frozen=True)
class ConvolutionSettings:
    """How a convolution is trained: `epochs` times through the samples, from a seed, on a device; `checkpoint` is the
    file of an interrupted run, `report` is called with every evaluation, `stop` after every step."""

    epochs: float
    seed: int
    device: torch.device
    checkpoint: Path | None = None
    report: Callable[[Evaluation], None] = lambda _: None
    stop: Callable[[], bool] = never


def train_convolution(
    part: Convolution,
    data: LabelledCodes,
    train: Rows,
    validation: Rows,
    settings: ConvolutionSettings,
) -> None:
    """Gradient descent; the part is left with its averaged weights where the held-out loss was smallest."""
    optimization = _optimization(len(train), settings.epochs)
    rows = torch.from_numpy(train)
    max_shift = 0 if part.config.bins else MAX_SHIFT
    # On a GPU the loop itself computes in mixed precision.
    autocast = settings.device.type == "cpu" and uses_bfloat16(settings.device)

    def loss_at(trained: nn.Module, step: int) -> Tensor:
        rng = np.random.default_rng([settings.seed, step])
        batch_rows = rows[torch.from_numpy(rng.choice(len(rows), optimization.batch_size))]
        codes_BL, real_BL = data.batch(batch_rows)
        codes_BL = _shifted(codes_BL, int(rng.integers(-max_shift, max_shift + 1)))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits_BO, _ = part_outputs(
                trained, codes_BL.to(settings.device), real_BL.to(settings.device)
            )
        return data.truth_at(batch_rows, settings.device).smoothed_loss(
            data.by_head(logits_BO.float())
        )

    held_out_outputs = Tensor()

    def validation_loss(trained: nn.Module) -> float:
        nonlocal held_out_outputs
        held_out_outputs = logits_at(trained, data, validation, settings.device)
        return data.loss(held_out_outputs, validation)

    def report(step: int, loss: float, best: float) -> None:
        settings.report(Evaluation(step, optimization.steps, loss, best, held_out_outputs))

    loop = Loop(
        part,
        optimization,
        seed=settings.seed,
        device=settings.device,
        checkpoint_file=settings.checkpoint,
        stop=settings.stop,
    )
    loop.fit(loss_at, validation_loss, report)


def _optimization(samples: int, epochs: float) -> Optimization:
    batch_size = SMALL_BATCH_SIZE if samples < SMALL_SAMPLES else BATCH_SIZE
    steps = max(4 * EVALUATIONS, round(epochs * samples / batch_size))
    return Optimization(
        steps=steps,
        batch_size=batch_size,
        learning_rate=2e-3,
        warmup=0.15,
        average=0.98,
        evaluate_every=-(-steps // EVALUATIONS),
        patience=EVALUATIONS,
    )


def uses_bfloat16(device: torch.device) -> bool:
    """Whether convolutions are trained in bfloat16: where the processor multiplies it faster, and on a GPU."""
    return device.type != "cpu" or any(getattr(torch.cpu, name, bool)() for name in BFLOAT16_CHECKS)


def _shifted(codes_BL: Tensor, offset: int) -> Tensor:
    """The sequences moved by so many letters to the right, unknown ones where they come from."""
    if offset == 0:
        return codes_BL
    shifted_BL = codes_BL.roll(offset, 1)
    entered = slice(0, offset) if offset > 0 else slice(offset, None)
    shifted_BL[:, entered] = UNKNOWN_CODE
    return shifted_BL


def part_seed(seed: int, number: int) -> int:
    """The seed of a part's values and batches."""
    return step_seed(seed, 7919 * (number + 1))
