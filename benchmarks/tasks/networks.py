"""Networks for short sequences: a small CNN, the designs of presets from scratch, and probes of pretrained encoders.

All are trained on four fifths of the training part and stopped on the last (of near-duplicates, none is apart), for as
many steps as the budget has room for by the processor's time that a few of them take.

Shape suffixes: B sequences, L letters, T positions, D channels, E numbers of a vector, C classes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.crossvalidation.trials import Array
from benchmarks.tasks.regressions import regression, standardised
from benchmarks.tasks.splits import HEAD, Task, records_of
from genomai_cli.alphabet import BASES, UNKNOWN_CODE, as_letters, codes_of
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import Stopped
from genomai_cli.inference.classify import classify_records
from genomai_cli.inference.embed import Embedder, Settings
from genomai_cli.inputs.samples import Samples
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.metrics.classification import log_losses
from genomai_cli.training import finetuning
from genomai_cli.training.initialization import reset_parameters
from genomai_cli.training.labelled_data import remaining_rows
from genomai_cli.training.recipe import Recipe, read
from genomai_cli.training.recipe_tables import as_toml
from genomai_cli.training.trainer import Loop, Optimization, Stopping, never, unstopped

CPU = torch.device("cpu")
MAX_EPOCHS = 30
TIMED_STEPS = 8
TRAINING_SHARE = 0.9  # of the time in steps, the rest in evaluations
EVALUATIONS = 3, 15  # of a run, at least and at most
EVALUATION_COST = 1 / 3  # of a sequence, relative to a training step's: no gradients
CNN_BATCH, CNN_LEARNING_RATE = 64, 1e-3
PRESET_BATCH = 32  # of the designs of presets
EVALUATION_BATCH = 512


@dataclass(frozen=True, eq=False)
class MethodResult:
    """The result of a method on a task: probabilities (N, C) of the development part, its number of parameters, its
    loss on what it held out of the training part (NaN if nothing), and a note."""

    probabilities: Array
    parameters: int
    held_out: float = float("nan")
    note: str = ""


def steps_within(minutes: float, seconds_per_step: float, sequences: int, batch: int) -> int:
    """So many steps as the minutes have room for, up to so many epochs."""
    max_steps = max(TIMED_STEPS, MAX_EPOCHS * sequences // batch)
    return max(TIMED_STEPS, min(max_steps, int(TRAINING_SHARE * minutes * 60 / seconds_per_step)))


class StepTimer:
    """Stops a run after a few steps, and measures how long a step keeps every thread busy."""

    def __init__(self) -> None:
        self.step_times: list[float] = []

    def __call__(self) -> bool:
        """Whether to stop; called after every step."""
        self.step_times.append(time.process_time() / torch.get_num_threads())
        return len(self.step_times) > TIMED_STEPS

    @property
    def seconds_per_step(self) -> float:
        """The mean over the steps but for the first."""
        return (self.step_times[-1] - self.step_times[0]) / (len(self.step_times) - 1)

    @contextmanager
    def stopping(self) -> Iterator[Callable[[], bool]]:
        """The same as `Stopping`."""
        yield self


def evaluations_of(steps: int, batch: int, held_out: int) -> int:
    """So many evaluations on the held-out sequences as the rest of the time has room for."""
    sequences = steps * batch * (1 - TRAINING_SHARE) / TRAINING_SHARE / EVALUATION_COST
    return int(np.clip(sequences / held_out, *EVALUATIONS))


def _optimization(steps: int, batch: int, rate: float, held_out: int) -> Optimization:
    evaluations = evaluations_of(steps, batch, held_out)
    return Optimization(
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        average=0.99,
        evaluate_every=max(1, steps // evaluations),
        patience=evaluations,
    )


# --- a small CNN


class Cnn(nn.Module):
    """Logits (B, C) of codes (B, L): three layers of convolutions, the strongest and the mean answer of each channel;
    with both strands, the mean of the logits of a sequence and of its reverse complement."""

    def __init__(self, classes: int, *, both_strands: bool, channels: int = 96) -> None:
        super().__init__()
        self.both_strands = both_strands
        self.layers = nn.ModuleList(
            nn.Conv1d(inputs, channels, width, padding=width // 2)
            for inputs, width in ((len(BASES), 15), (channels, 5), (channels, 5))
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in self.layers)
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, codes_BL: Tensor) -> Tensor:
        """See the class."""
        bases_BLA = functional.one_hot(codes_BL, UNKNOWN_CODE + 1)[..., :UNKNOWN_CODE].float()
        logits_BC = self._logits(bases_BLA.transpose(1, 2))
        if self.both_strands:
            reverse_BC = self._logits(bases_BLA.flip(1, 2).transpose(1, 2))
            logits_BC = (logits_BC + reverse_BC) / 2
        return logits_BC

    def _logits(self, hidden_BDT: Tensor) -> Tensor:
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            hidden_BDT = functional.relu(norm(layer(hidden_BDT)))
            if number + 1 < len(self.layers):
                hidden_BDT = functional.max_pool1d(hidden_BDT, 2)
        pooled_BE = torch.cat([hidden_BDT.amax(2), hidden_BDT.mean(2)], dim=1)
        logits_BC: Tensor = self.head(functional.dropout(pooled_BE, 0.3, self.training))
        return logits_BC


def codes_of_samples(samples: Samples, length: int) -> Tensor:
    """Codes (N, L) of the first letters, unknown ones behind the end."""
    text = "".join(sequence[:length].ljust(length, "N") for sequence in samples.sequences)
    return torch.from_numpy(codes_of(as_letters(text)).reshape(-1, length).astype(np.int64))


def cnn(task: Task, seed: int, minutes: float) -> MethodResult:
    """The small CNN."""
    held_out = task.held_out(seed)[0]
    train_rows = remaining_rows(task.train, held_out)
    length = max(map(len, task.train.sequences))
    codes_NL = codes_of_samples(task.train, length)
    labels_N = torch.from_numpy(task.train.labels[HEAD])

    def fit(steps: int, stop: Callable[[], bool]) -> tuple[Cnn, float]:
        torch.manual_seed(seed)
        network = Cnn(task.classes, both_strands=not task.stranded)
        settings = _optimization(steps, CNN_BATCH, CNN_LEARNING_RATE, len(held_out))
        loop = Loop(network, settings, seed=seed, device=CPU, stop=stop)

        def loss_at(model: nn.Module, step: int) -> Tensor:
            rows = np.random.default_rng([seed, step]).choice(train_rows, CNN_BATCH)
            return functional.cross_entropy(model(codes_NL[rows]), labels_N[rows])

        def held_out_loss(model: nn.Module) -> float:
            table_NC = _probabilities(model, codes_NL[held_out])
            return float(log_losses(table_NC, labels_N[held_out].numpy()).mean())

        return network, loop.fit(loss_at, held_out_loss, lambda *_: None)

    timer = StepTimer()
    with suppress(Stopped):
        fit(1000, timer)
    steps = steps_within(minutes, timer.seconds_per_step, len(train_rows), CNN_BATCH)
    network, loss = fit(steps, never)
    probabilities = _probabilities(network, codes_of_samples(task.dev, length))
    return MethodResult(
        probabilities,
        _parameter_count(network),
        loss,
        _epochs_note(steps, CNN_BATCH, len(train_rows)),
    )


@torch.no_grad()
def _probabilities(network: nn.Module, codes_NL: Tensor) -> Array:
    network.eval()
    tables_BC = [
        network(codes_BL).double().softmax(1) for codes_BL in codes_NL.split(EVALUATION_BATCH)
    ]
    return torch.cat(tables_BC).numpy()


def _parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _epochs_note(steps: int, batch: int, sequences: int) -> str:
    return f"{steps} steps, {steps * batch / sequences:.1f} epochs"


# --- designs of presets, from scratch or from a pretrained encoder


def from_scratch(preset: str) -> Callable[[Task, int, float], MethodResult]:
    """The network of a preset with new values and a head, trained whole."""

    def run(task: Task, seed: int, minutes: float) -> MethodResult:
        return _finetune(task, seed, minutes, preset, [], None)

    return run


def tuned(encoder: Path, *, untrained: bool = False) -> Callable[[Task, int, float], MethodResult]:
    """A pretrained encoder with a new head, or a network of the same shape with new values, trained whole."""

    def run(task: Task, seed: int, minutes: float) -> MethodResult:
        start = bundles.load(encoder, CPU)
        shape_changes = [
            f"{part}={as_toml(start.config[part])}" for part in ("tokenizer", "network")
        ]
        return _finetune(
            task, seed, minutes, "sequences", shape_changes, None if untrained else start
        )

    return run


def _finetune(
    task: Task, seed: int, minutes: float, preset: str, changes: list[str], start: Bundle | None
) -> MethodResult:
    held_out = task.held_out(seed)[0]
    train_rows = remaining_rows(task.train, held_out)
    reverse_share = 0.0 if task.stranded else 0.5
    changes = [*changes, f"views.reverse_complement={reverse_share}"]

    def fit(steps: int, stopping: Stopping) -> finetuning.Finetuned:
        recipe = _recipe_with_steps(preset, changes, steps, len(held_out))
        kind = SequenceInput()
        return finetuning.fit(
            task.train, recipe, kind, seed=seed, start=start, validation=held_out, stopping=stopping
        )

    timer = StepTimer()
    with suppress(Stopped):
        fit(1000, timer.stopping)
    steps = steps_within(minutes, timer.seconds_per_step, len(train_rows), PRESET_BATCH)
    bundle = fit(steps, unstopped).bundle
    return MethodResult(
        dev_probabilities(bundle, task),
        bundle.classifier.trainable_parameters,
        note=_epochs_note(steps, PRESET_BATCH, len(train_rows)),
    )


def _recipe_with_steps(preset: str, changes: list[str], steps: int, held_out: int) -> Recipe:
    evaluations = evaluations_of(steps, PRESET_BATCH, held_out)
    step_changes = (
        f"optimization.steps={steps}",
        f"optimization.batch_size={PRESET_BATCH}",
        f"optimization.evaluate_every={max(1, steps // evaluations)}",
        f"optimization.patience={evaluations}",
    )
    return read(preset, [*changes, *step_changes])[0]


def dev_probabilities(bundle: Bundle, task: Task) -> Array:
    """A bundle's probabilities (N, C) of the development part."""
    tables = [call.probabilities[HEAD] for call in classify_records(bundle, records_of(task.dev))]
    uniform = np.full(task.classes, 1 / task.classes)  # of a sequence without a known letter
    return np.stack([uniform if table is None else table for table in tables])


# --- probes


def probe(encoder: Path, *, untrained: bool = False) -> Callable[[Task, int, float], MethodResult]:
    """A logistic regression on an encoder's vectors, or on those of a network of the same shape with new values."""

    def run(task: Task, seed: int, minutes: float) -> MethodResult:
        del minutes
        bundle = bundles.load(encoder, CPU)
        if untrained:
            torch.manual_seed(seed)
            untrained_classifier = bundles.build(bundle.config, bundle.input)
            for network in untrained_classifier.networks:
                reset_parameters(network)
            bundle = Bundle(bundle.config, untrained_classifier.eval(), bundle.input)
        train, dev = (
            vectors_of(bundle, samples, both_strands=not task.stranded)
            for samples in (task.train, task.dev)
        )
        labels = task.train.labels[HEAD]
        fit = regression(*standardised(train, dev), labels, task.held_out(), task.classes)
        note = f"penalty {fit.penalty:g}, {train.shape[1]} features"
        return MethodResult(fit.probabilities, fit.parameters, fit.held_out, note)

    return run


def vectors_of(bundle: Bundle, samples: Samples, *, both_strands: bool) -> Array:
    """The mean vectors (N, E) of the samples."""
    embedder = Embedder(bundle, Settings(both_strands=both_strands))
    vectors = [embedding.vector for embedding in embedder.embed(records_of(samples))]
    return np.nan_to_num(np.stack(vectors).astype(np.float64))
