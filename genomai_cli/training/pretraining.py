"""Self-supervised training: from a corpus of unlabelled DNA and a recipe to a bundle without heads.

Shape suffixes: K objectives.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import TrainingError
from genomai_cli.nets import companions
from genomai_cli.nets.classifier import complete_config
from genomai_cli.objectives.base import Objective
from genomai_cli.objectives.weighted import OBJECTIVES, Learner
from genomai_cli.tokenizers import from_config
from genomai_cli.training.baselines import Baselines
from genomai_cli.training.corpus import Corpus, Cut
from genomai_cli.training.loop import Loop
from genomai_cli.training.make import initialise
from genomai_cli.training.members import require_same_words, start_from
from genomai_cli.training.processes import ALONE, Processes
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.sampling import Batch, Plan, Sampler, words_read
from genomai_cli.training.untrained import NOWHERE, Places, untrained, window

CHECKPOINT = "pretraining.pt"


@dataclass(frozen=True)
class Moment:
    """Where a run stands after a step; losses are in nats, `terms` those of the objectives since the last moment.

    `held_out` and its terms are there only where the held-out samples have just been judged.
    """

    step: int
    epoch: float
    words: int
    loss: float
    terms: Mapping[str, float]
    held_out: float | None
    held_out_terms: Mapping[str, float]
    learning_rate: float
    words_per_second: float


@dataclass(frozen=True)
class Pretrained:
    """The model, its held-out loss by objective beside that of the baselines, and how it came about."""

    bundle: Bundle
    facts: dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """Where and with whom a run takes place. `work` is the folder of its checkpoint; `stop` is asked after every
    step, `report` is told every moment that is worth a row of the log."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    work: Path | None = None
    processes: Processes = ALONE
    stop: Callable[[], bool] = lambda: False
    report: Callable[[Moment], None] = lambda moment: None


def cut_for(recipe: Recipe, places: Places = NOWHERE) -> Cut:
    """How the records of a corpus for this recipe become pieces."""
    if places.row is not None:
        return Cut(sites=places.row)
    tokenizer = from_config(recipe.tokenizer)
    longest = _window(recipe)
    crop = recipe.contrastive.crop if "contrastive" in recipe.objectives else 1.0
    shortest = int(tokenizer.k / max(crop, 0.01)) + 2
    return Cut(longest * recipe.corpus.windows, shortest, gap=max(1, longest // 2))


def pretrain(
    corpus: Corpus,
    recipe: Recipe,
    places: Places = NOWHERE,
    *,
    seed: int = 0,
    start: Bundle | None = None,
    surroundings: Surroundings | None = None,
) -> Pretrained:
    """Train the recipe's network on the corpus by the recipe's objectives.

    `places` says what the letters of rows mean; sequences have none. The network begins with the values of
    that of `start`, and the companions too where they fit. With a folder `work`, a run that was interrupted
    there goes on where it stopped. Raises TrainingError where the recipe or the corpus does not allow it, Stopped
    when asked to stop.
    """
    return Pretraining(corpus, recipe, places, seed, start, surroundings or Surroundings()).run()


class Pretraining:
    """One run, from an untrained bundle to a trained one."""

    def __init__(
        self,
        corpus: Corpus,
        recipe: Recipe,
        places: Places,
        seed: int,
        start: Bundle | None,
        surroundings: Surroundings,
    ) -> None:
        if not recipe.objectives:
            raise TrainingError(f"recipe {recipe.name}: no objectives to learn by")
        self.recipe, self.seed, self.around = recipe, seed, surroundings
        self.bundle, self.corpus, alphabet = untrained(recipe, corpus, places)
        if start is not None:
            require_same_words(start, alphabet.tokenizer, places.panel, places.reference)
        self.objectives: dict[Objective, float] = {
            OBJECTIVES[name].objective(getattr(recipe, name), alphabet): weight
            for name, weight in recipe.objectives.items()
        }
        self.pad_id = alphabet.tokenizer.pad_id
        self.sampler = self._sampler()
        self.baselines = Baselines(self.corpus, alphabet, _longest(self.bundle, recipe))
        self.learner = self._learner(start)
        self.loop = Loop(
            self.learner,
            recipe.optimization,
            seed=seed,
            device=surroundings.device,
            checkpoint_file=surroundings.work / CHECKPOINT if surroundings.work else None,
            processes=surroundings.processes,
            stop=surroundings.stop,
        )
        self.judging: list[Batch] = []
        self.held_out: Tensor | None = None

    def run(self) -> Pretrained:
        """Train, and describe what has become of it."""
        began = time.monotonic()
        self.judging = self.sampler.judging()
        with _Ahead(self.sampler, self.around.device.type != "cpu") as batches:
            diary = _Diary(self, batches)
            self.loop.fit(diary.loss_at, self._validation_loss, diary.evaluated, diary.watch)
        classifier = self.bundle.classifier.float().eval()
        config = dict(self.bundle.config)
        config["companions"] = {o.name: o.companion() for o in self.objectives}
        facts = self._facts(round(time.monotonic() - began))
        config["provenance"] = config["provenance"] | facts
        trained = dict(self.learner.companions.items())
        bundle = Bundle(
            config,
            classifier,
            self.bundle.panel,
            self.bundle.reference,
            self.bundle.sites,
            companions=trained,
        )
        return Pretrained(bundle, facts)

    def _sampler(self) -> Sampler:
        recipe, processes = self.recipe, self.around.processes
        size = recipe.optimization.batch_size
        if size % processes.size:
            raise TrainingError(
                f"optimization.batch_size = {size} cannot be shared by {processes.size} processes"
            )
        plan = Plan(_longest(self.bundle, recipe), size, recipe.corpus.judged, self.seed)
        return Sampler(self.corpus, list(self.objectives), plan, processes, self.pad_id)

    def _learner(self, start: Bundle | None) -> Learner:
        """The network and its companions with fresh values, or those of `start`."""
        torch.manual_seed(self.seed)
        network = self.bundle.classifier.members[0]
        initialise(network)
        configs = {o.name: o.companion() for o in self.objectives}
        built = companions.build(configs, network)
        if start is not None:
            start_from(network, start.classifier.members[0])
            for name, module in built.items():
                if start.config.get("companions", {}).get(name) == configs[name]:
                    module.load_state_dict(start.companions[name].state_dict())
        return Learner(
            self.bundle.classifier, dict(built.items()), self.objectives, self.around.processes
        )

    @torch.no_grad()
    def _validation_loss(self, learner: nn.Module) -> float:
        """The weighted loss of the held-out samples; its terms are kept for the diary."""
        terms = [learner(self.moved(batch)) for batch in self.judging]
        self.held_out = self.around.processes.mean(torch.stack(terms).double().mean(0))
        return float((self.held_out * self.learner.weights.double()).sum())

    def moved(self, batch: Batch) -> Batch:
        """The batch on the run's device."""
        device = self.around.device
        return {
            name: {view: ids.to(device, non_blocking=True) for view, ids in views.items()}
            for name, views in batch.items()
        }

    def named(self, terms_K: Tensor | None) -> dict[str, float]:
        """The objectives' losses by name."""
        names = [objective.name for objective in self.objectives]
        return {} if terms_K is None else dict(zip(names, terms_K.tolist(), strict=True))

    def _facts(self, seconds: int) -> dict[str, Any]:
        """What the card and the config tell of the run."""
        self._validation_loss(self.learner)
        recipe, about = self.recipe, self.corpus.about
        judged = self.sampler.judging()
        chance = {o.name: self.baselines.loss(o.name, judged) for o in self.objectives}
        return {
            "seed": self.seed,
            "device": self.around.device.type,
            "processes": self.around.processes.size,
            "seconds": seconds,
            "corpus": asdict(about),
            "objectives": dict(recipe.objectives),
            "settings": {o.name: asdict(o.settings) for o in self.objectives},
            "optimization": asdict(recipe.optimization),
            "steps": self.loop.progress.step,
            "words": int(self.loop.notes.get("words", 0)),
            "epochs": round(self.sampler.epoch(self.loop.progress.step), 3),
            "held_out": _rounded(self.named(self.held_out)),
            "baseline": _rounded(chance),
        }


class _Diary:
    """Losses and words between the rows of the log; they travel with the checkpoint, so that a resumed run's rows
    are the same."""

    def __init__(self, run: Pretraining, batches: "_Ahead") -> None:
        self.run, self.batches = run, batches
        self.terms_K = torch.zeros(len(run.objectives), dtype=torch.float64)
        self.words = 0
        self.clock, self.clocked = time.monotonic(), 0
        self.latest: tuple[Tensor, int] = (self.terms_K, 0)

    def loss_at(self, learner: nn.Module, step: int) -> Tensor:
        """The weighted loss of a step's batch."""
        batch = self.batches.at(step)
        terms_K: Tensor = learner(self.run.moved(batch))
        self.latest = terms_K.detach(), words_read(batch, self.run.pad_id)
        return (terms_K * self.run.learner.weights).sum()

    def watch(self, step: int, loss: Tensor) -> None:
        """Add a step up; write a row where one is due without an evaluation."""
        del loss
        notes, names = self.run.loop.notes, [o.name for o in self.run.objectives]
        terms_K, words = self.latest
        words *= self.run.around.processes.size  # of windows of one length; nearly so otherwise
        notes["words"] = notes.get("words", 0) + words
        notes["steps"] = notes.get("steps", 0) + 1
        for name, value in zip(names, terms_K.tolist(), strict=True):
            notes[f"loss_{name}"] = notes.get(f"loss_{name}", 0.0) + value
        self.clocked += words
        settings = self.run.recipe
        if step % settings.corpus.log_every == 0 and not self.run.loop.evaluates_now():
            self._write(step, None)

    def evaluated(self, step: int, loss: float, best: float) -> None:
        """Write a row with the held-out losses."""
        del loss, best
        self._write(step, self.run.held_out)

    def _write(self, step: int, held_out_K: Tensor | None) -> None:
        run, notes = self.run, self.run.loop.notes
        names = [objective.name for objective in run.objectives]
        sums = torch.tensor([notes.pop(f"loss_{name}") for name in names], dtype=torch.float64)
        terms_K = run.around.processes.mean(sums.to(run.around.device)).cpu() / notes.pop("steps")
        weights_K = run.learner.weights.double().cpu()
        held_out = None if held_out_K is None else float((held_out_K.cpu() * weights_K).sum())
        seconds = max(time.monotonic() - self.clock, 1e-9)
        moment = Moment(
            step,
            run.sampler.epoch(step),
            int(notes["words"]),
            float((terms_K * weights_K).sum()),
            run.named(terms_K),
            held_out,
            run.named(held_out_K),
            float(run.loop.optimizer.param_groups[0]["lr"]),
            self.clocked / seconds,
        )
        self.clock, self.clocked = time.monotonic(), 0
        run.around.report(moment)


class _Ahead:
    """The batches of a run; with a GPU, each is made while the one before is being learnt from."""

    def __init__(self, sampler: Sampler, in_background: bool) -> None:
        self.sampler = sampler
        self.pool = ThreadPoolExecutor(1) if in_background else None
        self.coming: dict[int, Future[Batch]] = {}

    def __enter__(self) -> "_Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        if self.pool is None:
            return self.sampler.learning(step)
        made = self.coming.pop(step, None) or self.pool.submit(self.sampler.learning, step)
        self.coming = {step + 1: self.pool.submit(self.sampler.learning, step + 1)}
        return made.result()


def _window(recipe: Recipe) -> int:
    config = {"tokenizer": recipe.tokenizer, "network": complete_config(recipe.network)}
    return min(window(config), recipe.corpus.window or window(config))


def _longest(bundle: Bundle, recipe: Recipe) -> int:
    """How many letters a sample has at most."""
    if bundle.panel is not None:
        return len(bundle.panel)
    return len(bundle.reference) if bundle.reference is not None else _window(recipe)


def _rounded(losses: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in losses.items()}
