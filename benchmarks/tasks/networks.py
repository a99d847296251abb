"""Networks for short sequences: a small CNN, the designs of presets from scratch, and probes of pretrained encoders.

All are trained on four fifths of the training part and stopped on the last (of near-duplicates, none is apart), for as
many steps as the budget has room for by the processor's time that a few of them take.

Shape suffixes: B sequences, L letters, T places, D channels, E numbers of a vector, C classes.
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
MOST_EPOCHS = 30
TIMED_STEPS = 8
SPENT = 0.9  # of the time in steps, the rest in evaluations
EVALUATIONS = 15
CNN_BATCH, CNN_RATE = 64, 1e-3
BATCH = 32  # of the designs of presets
AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a method makes of a task: probabilities (N, C) of the development part, how many values it has, its loss on
    what it held out of the training part (NaN if nothing), and a remark."""

    probabilities: Array
    parameters: int
    held_out: float = float("nan")
    note: str = ""


def steps_within(minutes: float, seconds_a_step: float, sequences: int, batch: int) -> int:
    """So many steps as the minutes have room for, up to so many epochs."""
    most = max(TIMED_STEPS, MOST_EPOCHS * sequences // batch)
    return max(TIMED_STEPS, min(most, int(SPENT * minutes * 60 / seconds_a_step)))


class Clock:
    """Stops a run after a few steps, and knows how long one kept every thread busy."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def __call__(self) -> bool:
        """Asked after every step."""
        self.moments.append(time.process_time() / torch.get_num_threads())
        return len(self.moments) > TIMED_STEPS

    @property
    def seconds_a_step(self) -> float:
        """The mean of the steps but for the first."""
        return (self.moments[-1] - self.moments[0]) / (len(self.moments) - 1)

    @contextmanager
    def stopping(self) -> Iterator[Callable[[], bool]]:
        """The same as `Stopping`."""
        yield self


def _settings(steps: int, batch: int, rate: float) -> Optimization:
    return Optimization(
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        average=0.99,
        evaluate_every=max(1, steps // EVALUATIONS),
        patience=EVALUATIONS,
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
            other_BC = self._logits(bases_BLA.flip(1, 2).transpose(1, 2))
            logits_BC = (logits_BC + other_BC) / 2
        return logits_BC

    def _logits(self, found_BDT: Tensor) -> Tensor:
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            found_BDT = functional.relu(norm(layer(found_BDT)))
            if number + 1 < len(self.layers):
                found_BDT = functional.max_pool1d(found_BDT, 2)
        pooled_BE = torch.cat([found_BDT.amax(2), found_BDT.mean(2)], dim=1)
        logits_BC: Tensor = self.head(functional.dropout(pooled_BE, 0.3, self.training))
        return logits_BC


def codes_of_samples(samples: Samples, length: int) -> Tensor:
    """Codes (N, L) of the first letters, unknown ones behind the end."""
    text = "".join(sequence[:length].ljust(length, "N") for sequence in samples.sequences)
    return torch.from_numpy(codes_of(as_letters(text)).reshape(-1, length).astype(np.int64))


def cnn(task: Task, seed: int, minutes: float) -> Learnt:
    """The small CNN."""
    held_out = task.held_out(seed)[0]
    train = remaining_rows(task.train, held_out)
    length = max(map(len, task.train.sequences))
    codes_NL = codes_of_samples(task.train, length)
    labels_N = torch.from_numpy(task.train.labels[HEAD])

    def descended(steps: int, stop: Callable[[], bool]) -> tuple[Cnn, float]:
        torch.manual_seed(seed)
        network = Cnn(task.classes, both_strands=not task.stranded)
        settings = _settings(steps, CNN_BATCH, CNN_RATE)
        loop = Loop(network, settings, seed=seed, device=CPU, stop=stop)

        def loss_at(trained: nn.Module, step: int) -> Tensor:
            rows = np.random.default_rng([seed, step]).choice(train, CNN_BATCH)
            return functional.cross_entropy(trained(codes_NL[rows]), labels_N[rows])

        def held_out_loss(trained: nn.Module) -> float:
            table_NC = _probabilities(trained, codes_NL[held_out])
            return float(log_losses(table_NC, labels_N[held_out].numpy()).mean())

        return network, loop.fit(loss_at, held_out_loss, lambda *_: None)

    clock = Clock()
    with suppress(Stopped):
        descended(1000, clock)
    steps = steps_within(minutes, clock.seconds_a_step, len(train), CNN_BATCH)
    network, loss = descended(steps, never)
    found = _probabilities(network, codes_of_samples(task.dev, length))
    return Learnt(found, _size(network), loss, _told(steps, CNN_BATCH, len(train)))


@torch.no_grad()
def _probabilities(network: nn.Module, codes_NL: Tensor) -> Array:
    network.eval()
    parts = [network(codes_BL).double().softmax(1) for codes_BL in codes_NL.split(AT_ONCE)]
    return torch.cat(parts).numpy()


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _told(steps: int, batch: int, sequences: int) -> str:
    return f"{steps} steps, {steps * batch / sequences:.1f} epochs"


# --- designs of presets, from scratch or from a pretrained encoder


def from_scratch(preset: str) -> Callable[[Task, int, float], Learnt]:
    """The network of a preset with new values and a head, trained whole."""

    def learn(task: Task, seed: int, minutes: float) -> Learnt:
        return _finetuned(task, seed, minutes, preset, [], None)

    return learn


def tuned(encoder: Path, *, untrained: bool = False) -> Callable[[Task, int, float], Learnt]:
    """A pretrained encoder with a new head, or a network of the same shape with new values, trained whole."""

    def learn(task: Task, seed: int, minutes: float) -> Learnt:
        start = bundles.load(encoder, CPU)
        same = [f"{part}={as_toml(start.config[part])}" for part in ("tokenizer", "network")]
        return _finetuned(task, seed, minutes, "sequences", same, None if untrained else start)

    return learn


def _finetuned(
    task: Task, seed: int, minutes: float, preset: str, changes: list[str], start: Bundle | None
) -> Learnt:
    held_out = task.held_out(seed)[0]
    train = remaining_rows(task.train, held_out)
    other = 0.0 if task.stranded else 0.5
    changes = [*changes, f"views.reverse_complement={other}"]

    def fitted(steps: int, stopping: Stopping) -> finetuning.Finetuned:
        recipe = _of_steps(preset, changes, steps)
        kind = SequenceInput()
        return finetuning.fit(
            task.train, recipe, kind, seed=seed, start=start, validation=held_out, stopping=stopping
        )

    clock = Clock()
    with suppress(Stopped):
        fitted(1000, clock.stopping)
    steps = steps_within(minutes, clock.seconds_a_step, len(train), BATCH)
    bundle = fitted(steps, unstopped).bundle
    return Learnt(
        judged(bundle, task),
        bundle.classifier.trainable_parameters,
        note=_told(steps, BATCH, len(train)),
    )


def _of_steps(preset: str, changes: list[str], steps: int) -> Recipe:
    more = (
        f"optimization.steps={steps}",
        f"optimization.batch_size={BATCH}",
        f"optimization.evaluate_every={max(1, steps // EVALUATIONS)}",
        f"optimization.patience={EVALUATIONS}",
    )
    return read(preset, [*changes, *more])[0]


def judged(bundle: Bundle, task: Task) -> Array:
    """A bundle's probabilities (N, C) of the development part."""
    tables = [call.probabilities[HEAD] for call in classify_records(bundle, records_of(task.dev))]
    even = np.full(task.classes, 1 / task.classes)  # of a sequence without a known letter
    return np.stack([even if table is None else table for table in tables])


# --- probes


def probe(encoder: Path, *, untrained: bool = False) -> Callable[[Task, int, float], Learnt]:
    """A logistic regression on an encoder's vectors, or on those of a network of the same shape with new values."""

    def learn(task: Task, seed: int, minutes: float) -> Learnt:
        del minutes
        bundle = bundles.load(encoder, CPU)
        if untrained:
            torch.manual_seed(seed)
            fresh = bundles.build(bundle.config, bundle.input)
            for network in fresh.networks:
                reset_parameters(network)
            bundle = Bundle(bundle.config, fresh.eval(), bundle.input)
        train, dev = (
            vectors_of(bundle, samples, both_strands=not task.stranded)
            for samples in (task.train, task.dev)
        )
        labels = task.train.labels[HEAD]
        found = regression(*standardised(train, dev), labels, task.held_out(), task.classes)
        note = f"penalty {found.penalty:g}, {train.shape[1]} features"
        return Learnt(found.probabilities, found.parameters, found.held_out, note)

    return learn


def vectors_of(bundle: Bundle, samples: Samples, *, both_strands: bool) -> Array:
    """The mean vectors (N, E) of the samples."""
    embedder = Embedder(bundle, Settings(both_strands=both_strands))
    vectors = [found.vector for found in embedder.embed(records_of(samples))]
    return np.nan_to_num(np.stack(vectors).astype(np.float64))
