"""The training loop: any network, any loss, no opinion about either.

Every random draw of a step is a function of (seed, step), so a run that was interrupted goes on bit for
bit as if it had not been.

An exponential average of a network's weights, which generalises better than the weights of the last step.

As in torch's `AveragedModel`, but as tensors rather than a second network, so that weights shared out among processes
are averaged where they lie.

The state of a training run on disk, replaced in one piece so that any moment is a good one to die.
"""

import math
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, nn

from genomai_cli.device import mixed_precision
from genomai_cli.errors import InputError, Stopped, TrainingError
from genomai_cli.training.distributed import ONE_PROCESS, Processes


class Average:
    """The average of a network's parameters; buffers are the network's own."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self.updates = 0
        self.weights = [parameter.detach().clone() for parameter in network.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's weights; the first time they are the average."""
        for average, parameter in zip(self.weights, self._network.parameters(), strict=True):
            if self.updates:
                average.lerp_(parameter, 1 - self.decay())
            else:
                average.copy_(parameter)
        self.updates += 1

    def decay(self) -> float:
        """The weight of the average in an update: at first less than the setting, so that the beginning fades."""
        return min(self._decay, (self.updates + 1) / (self.updates + 10))

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Put the average in the network's place for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, parameter in zip(self.weights, self._network.parameters(), strict=True):
            saved = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(saved)


State = dict[str, Any]


def save(path: Path, state: State) -> None:
    """Write the state beside the file, then put it in the file's place."""
    temporary = path.with_name(f"{path.name}.writing")
    with temporary.open("wb") as handle:
        torch.save(state, handle)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def load(path: Path, device: torch.device, parts: Collection[str] = ()) -> State:
    """The saved state; InputError for a file that holds none, or other bytes than were written, or one without these
    parts."""
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not look at the checksums
        if damaged is not None:
            raise InputError(f"not a checkpoint: {damaged} is not as it was written", path=path)
        state: State = torch.load(path, map_location=device, weights_only=True)
    except (BadZipFile, UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = str(error).splitlines() or [type(error).__name__]
        message = f"not a checkpoint: {reason[0]}"
        raise InputError(message, path=path) from error
    if not isinstance(state, dict) or not state.keys() >= set(parts):
        raise InputError("a checkpoint of another version of the program", path=path)
    return state


def map_tensors(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The state with every tensor in it changed."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, dict):
        return {name: map_tensors(value, change) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [map_tensors(value, change) for value in state]
    return state


def never() -> bool:
    """A run that nobody asks to stop."""
    return False


Stopping = Callable[[], AbstractContextManager[Callable[[], bool]]]
"""A context that gives a function, which is called after every step and returns whether the run is to stop."""


@contextmanager
def unstopped() -> Iterator[Callable[[], bool]]:
    """A run that nobody asks to stop, as `Stopping`."""
    yield never


STATE = ("network", "average", "optimizer", "scaler", "best", "progress", "notes")
Report = Callable[[int, float, float], None]
"""Called at every evaluation with the step, its loss and the best validation loss."""
StepCallback = Callable[[int, Tensor], None]
"""Called after every step with its number, from 1, and its loss."""


@dataclass(frozen=True)
class Optimization:
    """AdamW with linear warm-up and cosine decay, and an exponential average of the weights.

    Gradients whose norm is above `clip` are scaled down to it, with 0 none are. Besides at every evaluation, a
    checkpoint is written every `checkpoint_every` seconds.
    """

    steps: int = 1200
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    average: float = 0.998
    clip: float = 1.0
    evaluate_every: int = 100
    patience: int = 5
    checkpoint_every: float = 60.0


@dataclass
class Progress:
    """Where a run stands: steps done, the best validation loss so far and how long ago it was."""

    step: int = 0
    best_loss: float = math.inf
    stale: int = 0

    def exhausted(self, settings: Optimization) -> bool:
        """Whether the run has had its steps, or has not become better for `patience` evaluations."""
        return self.step >= settings.steps or self.stale >= settings.patience


class Loop:
    """One run of training; `fit` leaves the best averaged weights in the network.

    `loss_at(network, step)` gives the loss of a step's batch, `validation_loss(network)` that of the
    held-out samples, and `training_mode` prepares the network for a step. `notes` are numbers of the caller's that
    travel with the checkpoint. When `stop` says so, the run
    ends after the step with a checkpoint and raises Stopped. Raises TrainingError when a loss is not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Optimization,
        *,
        seed: int,
        device: torch.device,
        checkpoint_file: Path | None = None,
        processes: Processes = ONE_PROCESS,
        stop: Callable[[], bool] = never,
        training_mode: Callable[[nn.Module], object] = nn.Module.train,
    ) -> None:
        self.network = network
        self.trained = processes.parallel(network, device)
        self.settings = settings
        self.seed = seed
        self.device = device
        self.processes = processes
        self.stop, self.training_mode = stop, training_mode
        self.progress = Progress()
        self.notes: dict[str, float] = {}
        self.average = Average(network, settings.average)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), betas=(0.9, 0.98), weight_decay=settings.weight_decay
        )
        self.precision = mixed_precision(device)
        self.scaler = torch.amp.GradScaler(enabled=self.precision == torch.float16)
        self.best = _copy_of(network)
        self.checkpoint_file = checkpoint_file
        self.saved_step: int | None = None
        self._saved_at = time.monotonic()

    def fit(
        self,
        loss_at: Callable[[nn.Module, int], Tensor],
        validation_loss: Callable[[nn.Module], float],
        report: Report,
        on_step: StepCallback = lambda step, loss: None,
    ) -> float:
        """Train to the end, or on from the checkpoint; the best validation loss."""
        if self.checkpoint_file and self.checkpoint_file.exists():
            self._restore(self.checkpoint_file)
        while not self.progress.exhausted(self.settings):
            loss = self._step(loss_at)
            on_step(self.progress.step, loss)
            if self.evaluates_now():
                self._evaluate(validation_loss)
                report(self.progress.step, float(loss), self.progress.best_loss)
            self._save_or_stop()
        self.network.load_state_dict(self.best)
        self.network.eval()
        return self.progress.best_loss

    def _step(self, loss_at: Callable[[nn.Module, int], Tensor]) -> Tensor:
        step = self.progress.step
        torch.manual_seed(step_seed(self.seed, step) + self.processes.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.settings)
        self.training_mode(self.network)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            loss = loss_at(self.trained, step)
        self._require_finite(float(loss.detach()))
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update()
        self.progress.step += 1
        return loss.detach()

    def _save_or_stop(self) -> None:
        """A checkpoint if it is time for one; it comes after the step's report, which is then written once."""
        due = time.monotonic() - self._saved_at >= self.settings.checkpoint_every
        due, stopped = self.processes.any_process(due, self.stop())
        if due or stopped or self.evaluates_now():
            self._save()
        if stopped:
            raise Stopped(f"stopped after step {self.progress.step} of {self.settings.steps}")

    def _save(self) -> None:
        if self.checkpoint_file:
            state = self._state()
            if self.processes.rank == 0:
                save(self.checkpoint_file, state)
            self.saved_step, self._saved_at = self.progress.step, time.monotonic()

    def evaluates_now(self) -> bool:
        """Whether the held-out samples are evaluated after the step that was just taken."""
        step, settings = self.progress.step, self.settings
        return step % settings.evaluate_every == 0 or step == settings.steps

    def _evaluate(self, validation_loss: Callable[[nn.Module], float]) -> None:
        with self.average.in_network():
            loss = validation_loss(self.network.eval())
            self._require_finite(loss)
            if loss < self.progress.best_loss:
                self.progress.best_loss, self.progress.stale = loss, 0
                self.best = _copy_of(self.network)
            else:
                self.progress.stale += 1

    def _state(self) -> State:
        progress = self.progress
        state = {
            "network": self.network.state_dict(),
            "average": {"weights": self.average.weights, "updates": self.average.updates},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": self.best,
            "progress": [progress.step, progress.best_loss, progress.stale],
            "notes": self.notes,
        }
        full_state: State = map_tensors(state, self.processes.full_tensor)
        return full_state

    def _restore(self, file: Path) -> None:
        """Go back to where the checkpoint was written."""
        state = load(file, self.device, STATE)
        shard_like = self.processes.shard_like
        current = self.network.state_dict()
        for name, tensor in state["network"].items():
            current[name].copy_(shard_like(tensor, current[name]))
        for average, tensor in zip(self.average.weights, state["average"]["weights"], strict=True):
            average.copy_(shard_like(tensor, average))
        self.average.updates = state["average"]["updates"]
        self.best = {name: shard_like(t, current[name]) for name, t in state["best"].items()}
        parameters = list(self.network.parameters())
        for number, moments in state["optimizer"]["state"].items():
            parameter = parameters[number]
            moments |= {
                n: shard_like(t, parameter)
                for n, t in moments.items()
                if t.shape == parameter.shape
            }
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(*state["progress"])
        self.notes = dict(state["notes"])
        self.saved_step = self.progress.step

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            checkpoint_note = (
                f"; the checkpoint of step {self.saved_step} stays" if self.saved_step else ""
            )
            message = f"the loss is {loss} at step {self.progress.step}: lower the learning rate"
            raise TrainingError(message + checkpoint_note)


def step_seed(seed: int, step: int) -> int:
    """The seed of everything random in one step of one run."""
    return (seed * 1_000_003 + step) % 2**31


def learning_rate(step: int, settings: Optimization) -> float:
    """Linear warm-up over the first share of the steps, then a cosine down to zero."""
    warmup = max(1, round(settings.warmup * settings.steps))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
