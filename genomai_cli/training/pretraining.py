"""Self-supervised training: from a corpus of unlabelled DNA and a recipe to a bundle without heads.

Shape suffixes: K objectives.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genomai_cli.backbones import heads
from genomai_cli.backbones.classifier import Classifier
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.base import NOWHERE, Places
from genomai_cli.objectives.base import Learner, Objective
from genomai_cli.population import attach
from genomai_cli.population.evaluation.summary import Summary
from genomai_cli.population.haplotype_input import summary
from genomai_cli.registry import OBJECTIVES, complete_config
from genomai_cli.tokenizers import from_config
from genomai_cli.training import trainer
from genomai_cli.training.baselines import Baselines
from genomai_cli.training.corpus import Corpus
from genomai_cli.training.corpus_writer import Cut
from genomai_cli.training.distributed import ALONE, Processes
from genomai_cli.training.initialization import (
    initialise,
    require_same_words,
    start_from,
    untrained,
    window,
)
from genomai_cli.training.progress import Diary, Moment
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.sampler import Ahead, Batch, Plan, Sampler, tokens_read
from genomai_cli.training.trainer import Loop

CHECKPOINT = "pretraining.pt"


@dataclass(frozen=True)
class Pretrained:
    """The model, its held-out loss by objective beside that of the baselines, and how it came about."""

    bundle: Bundle
    facts: dict[str, Any]
    summary: Summary | None = None  # of people


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
    if longest < 2 * shortest:
        raise TrainingError(
            f"windows of {longest} letters are too short for words of {tokenizer.k}"
        )
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
    that of `start`, and the companions too where they fit; a crossmodal network is put beside that of another kind.
    With a folder `work`, a run that was interrupted there goes on where it stopped. Raises TrainingError where the
    recipe or the corpus does not allow it, Stopped when asked to stop.
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
        self.places = places
        self.bundle, self.corpus, alphabet = untrained(recipe, corpus, places)
        if start is not None:
            require_same_words(start, alphabet.tokenizer, places.panel, places.reference)
        self.host = start if attach.stands_beside(start, self.bundle.config["network"]) else None
        self.objectives: dict[Objective, float] = {
            OBJECTIVES[name].objective(getattr(recipe, name), alphabet): weight
            for name, weight in recipe.objectives.items()
        }
        self.pad_id = alphabet.tokenizer.pad_id
        self.longest = places.row or _window(recipe)
        self.sampler = self._sampler()
        self.baselines = Baselines(
            self.corpus, alphabet, self.longest, self.bundle.classifier.members[0]
        )
        self.learner = self._learner(None if self.host else start)
        self.loop = Loop(
            self.learner,
            recipe.optimization,
            seed=seed,
            device=surroundings.device,
            checkpoint_file=surroundings.work / CHECKPOINT if surroundings.work else None,
            processes=surroundings.processes,
            stop=surroundings.stop,
        )
        names = [objective.name for objective in self.objectives]
        self.diary = Diary(self.loop, names, self.learner.weights, surroundings.report)
        self.judging: list[tuple[Batch, float]] = []
        self.held_out_K = torch.zeros(len(names))
        self.latest_K = torch.zeros(len(names))
        self.latest_tokens = 0

    def run(self) -> Pretrained:
        """Train, and describe what has become of it."""
        began = time.monotonic()
        self.judging = self.sampler.judging()
        with Ahead(self.sampler, in_background=self.around.device.type != "cpu") as batches:
            self.loop.fit(
                lambda learner, step: self._loss(learner, batches.at(step)),
                self._validation_loss,
                lambda step, loss, best: self._write(step, self.held_out_K),
                self._watch,
            )
        facts = self._facts(round(time.monotonic() - began))
        config = dict(self.bundle.config)
        config["companions"] = {o.name: o.companion() for o in self.objectives}
        config["provenance"] = config["provenance"] | facts
        classifier, learnt = self._whole(config)
        bundle = replace(
            self.bundle, config=config, classifier=classifier.float().eval(), companions=learnt
        )
        if self.host is not None:
            bundle = attach.joined(self.host, bundle)
        rows = self.places.people
        return Pretrained(bundle, facts, None if rows is None else summary(self.corpus, rows))

    def _whole(self, config: Mapping[str, Any]) -> tuple[Classifier, dict[str, nn.Module]]:
        """The classifier and the companions, put together again if processes have shares of them."""
        learner = self.learner
        if self.around.processes.shard:
            state = trainer.mapped(learner.state_dict(), self.around.processes.whole)
            classifier = build(config, self.bundle.panel)
            auxiliary = heads.build(config["companions"], classifier.members[0])
            learner = Learner(classifier, dict(auxiliary.items()), self.objectives, ALONE)
            learner.load_state_dict(state)
        return learner.classifier, dict(learner.companions.items())

    def _loss(self, learner: nn.Module, batch: Batch) -> Tensor:
        """The weighted loss of a step's batch."""
        terms_K: Tensor = learner(self._moved(batch))
        self.latest_K = terms_K.detach()
        self.latest_tokens = tokens_read(batch, self.pad_id)
        return (terms_K * self.learner.weights).sum()

    def _watch(self, step: int, loss: Tensor) -> None:
        """Add a step up, and write a row where one is due without an evaluation."""
        del loss
        processes, tokens = self.around.processes, self.latest_K.new_tensor([self.latest_tokens])
        *terms_K, mean_tokens = processes.mean(torch.cat([self.latest_K, tokens])).tolist()
        self.diary.add(terms_K, round(mean_tokens * processes.size))
        if step % self.recipe.corpus.log_every == 0 and not self.loop.evaluates_now():
            self._write(step, None)

    def _write(self, step: int, held_out_K: Tensor | None) -> None:
        self.diary.write(step, self.sampler.epoch(step), held_out_K)

    def _sampler(self) -> Sampler:
        recipe, processes = self.recipe, self.around.processes
        size = recipe.optimization.batch_size
        if size % processes.size:
            raise TrainingError(
                f"optimization.batch_size = {size} cannot be shared by {processes.size} processes"
            )
        plan = Plan(self.longest, size, recipe.corpus.judged, self.seed)
        return Sampler(self.corpus, list(self.objectives), plan, processes, self.pad_id)

    def _learner(self, start: Bundle | None) -> Learner:
        """The network and its companions with fresh values, or those of `start`."""
        torch.manual_seed(self.seed)
        network = self.bundle.classifier.members[0]
        initialise(network)
        configs = {o.name: o.companion() for o in self.objectives}
        built = heads.build(configs, network)
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
        """The weighted loss of the held-out samples; its terms are kept for the log."""
        self.held_out_K = self._over_judging(lambda batch: learner(self._moved(batch)))
        return float((self.held_out_K * self.learner.weights.cpu().double()).sum())

    def _over_judging(self, losses: Callable[[Batch], Tensor]) -> Tensor:
        """The mean of losses (K,) over the batches to judge by of all processes."""
        weighted = [losses(batch).cpu().double() * weight for batch, weight in self.judging]
        return self.around.processes.total(torch.stack(weighted).sum(0)).cpu()

    def _baseline(self, batch: Batch) -> Tensor:
        names = [objective.name for objective in self.objectives]
        return torch.tensor([self.baselines.loss(name, batch) for name in names])

    def _moved(self, batch: Batch) -> Batch:
        device = self.around.device
        return {
            name: {view: ids.to(device, non_blocking=True) for view, ids in views.items()}
            for name, views in batch.items()
        }

    def _facts(self, seconds: int) -> dict[str, Any]:
        """What the card and the config tell of the run."""
        self._validation_loss(self.learner.eval())
        recipe, about = self.recipe, self.corpus.about
        baseline_K = self._over_judging(self._baseline)
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
            "tokens": int(self.loop.notes.get("tokens", 0)),
            "epochs": round(self.sampler.epoch(self.loop.progress.step), 3),
            "held_out": _rounded(self.diary.named(self.held_out_K)),
            "baseline": _rounded(self.diary.named(baseline_K)),
        }


def _window(recipe: Recipe) -> int:
    config = {"tokenizer": recipe.tokenizer, "network": complete_config(recipe.network)}
    return min(window(config), recipe.corpus.window or window(config))


def _rounded(losses: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in losses.items()}
