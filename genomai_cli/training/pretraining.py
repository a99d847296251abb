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

from genomai_cli import tokenizers
from genomai_cli.backbones.base import Network, network_class
from genomai_cli.backbones.classifier import Classifier
from genomai_cli.backbones.heads import build_auxiliary
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.base import InputKind
from genomai_cli.inputs.windows import window
from genomai_cli.objectives.base import Learner, Objective, objective_class
from genomai_cli.training import attach, trainer
from genomai_cli.training.baselines import Baselines
from genomai_cli.training.corpus import Corpus
from genomai_cli.training.corpus_writer import PieceCutter
from genomai_cli.training.distributed import ONE_PROCESS, Processes
from genomai_cli.training.initialization import (
    initial_config,
    require_same_tokens,
    reset_parameters,
    start_from,
)
from genomai_cli.training.progress import StepMetrics, TrainingLog
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.sampler import Batch, BatchPlan, Prefetcher, Sampler, tokens_read
from genomai_cli.training.trainer import Loop

CHECKPOINT = "pretraining.pt"


@dataclass(frozen=True)
class Pretrained:
    """The pretrained model, with facts of its training such as the losses, held out and of the baselines."""

    bundle: Bundle
    facts: dict[str, Any]
    network: Network  # that was trained: the model's own, or attached to it
    network_kind: str
    input: InputKind
    attached: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)  # that the bundle holds besides


@dataclass(frozen=True)
class RunContext:
    """The device and processes of a run. `work` is the folder of its checkpoint; `stop` is asked after every
    step, `report` is given the metrics of every row of the log."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    work: Path | None = None
    processes: Processes = ONE_PROCESS
    stop: Callable[[], bool] = lambda: False
    report: Callable[[StepMetrics], None] = lambda metrics: None


def piece_cutter(recipe: Recipe, kind: InputKind) -> PieceCutter:
    """How the records of a corpus for this recipe become pieces."""
    if kind.row_length is not None:
        return PieceCutter(sites=kind.row_length)
    tokenizer = tokenizers.from_config(recipe.tokenizer)
    max_length = window(recipe)
    crop = recipe.settings["contrastive"].crop if "contrastive" in recipe.objectives else 1.0
    min_length = int(tokenizer.k / max(crop, 0.01)) + 2
    if max_length < 2 * min_length:
        raise TrainingError(
            f"windows of {max_length} letters are too short for tokens of {tokenizer.k}"
        )
    step = network_class(recipe.network.get("kind")).length_multiple
    if max_length % step:
        raise TrainingError(
            f"recipe {recipe.name}: windows are multiples of {step:,} letters, not {max_length:,}"
        )
    if step > 1:  # windows of such a network are all of one length
        min_length = max_length
    gap = max(1, max_length // 2)
    return PieceCutter(
        max_length * recipe.corpus.windows, min_length, gap, by_record=kind.holds_out_records
    )


def pretrain(
    corpus: Corpus,
    recipe: Recipe,
    kind: InputKind,
    *,
    seed: int = 0,
    start: Bundle | None = None,
    context: RunContext | None = None,
) -> Pretrained:
    """Train the recipe's network on the corpus by the recipe's objectives.

    `kind` says what the letters of rows mean. The network begins with the values of that of `start`, and the auxiliary
    heads too where they fit; an attachable network is attached to that of another kind. With a folder `work`, a
    run that was interrupted there goes on where it stopped. Raises TrainingError where the recipe or the corpus
    does not allow it, Stopped when asked to stop.
    """
    return Pretraining(corpus, recipe, kind, seed, start, context or RunContext()).run()


def untrained(corpus: Corpus, recipe: Recipe, kind: InputKind) -> Bundle:
    """The recipe's model with the values that its network has before training."""
    tokenizer = tokenizers.from_config(recipe.tokenizer)
    sizes = kind.sizes(corpus, recipe, tokenizer)
    config = initial_config(recipe, kind, tokenizer, sizes, members=1, heads={})
    config |= kind.extra_config(corpus)
    classifier = build(config, kind)
    kind.initialize(classifier, corpus, recipe, tokenizer)
    return Bundle(config, classifier, kind)


class Pretraining:
    """One run, from an untrained bundle to a trained one."""

    def __init__(
        self,
        corpus: Corpus,
        recipe: Recipe,
        kind: InputKind,
        seed: int,
        start: Bundle | None,
        context: RunContext,
    ) -> None:
        if not recipe.objectives:
            raise TrainingError(f"recipe {recipe.name}: no objectives to train with")
        if network_class(recipe.network.get("kind")).stores_samples:
            raise TrainingError(
                f"recipe {recipe.name}: its network is not trained: `genomai pretrain --for imputation`"
            )
        if kind.name != recipe.input.kind:
            raise TrainingError(f"recipe {recipe.name} reads {recipe.input.kind}, not {kind.name}")
        self.recipe, self.seed, self.context = recipe, seed, context
        self.tokenizer = tokenizers.from_config(recipe.tokenizer)
        self._prepare(corpus, kind)
        if start is not None:
            require_same_tokens(start, self.tokenizer, self.input)
        self.host = start if attach.attaches_to(start, self.bundle.config["network"]) else None
        self.sampler = self._sampler()
        self.baselines = Baselines(
            self.corpus,
            self.alphabet,
            self.window_length,
            self.input,
            self.bundle.classifier.networks[0],
        )
        self.learner = self._learner(None if self.host else start)
        self.loop = Loop(
            self.learner,
            recipe.optimization,
            seed=seed,
            device=context.device,
            checkpoint_file=context.work / CHECKPOINT if context.work else None,
            processes=context.processes,
            stop=context.stop,
        )
        names = [objective.name for objective in self.objectives]
        self.log = TrainingLog(self.loop, names, self.learner.weights, context.report)
        self.validation: list[tuple[Batch, float]] = []
        self.held_out_K = torch.zeros(len(names))
        self.latest_K = torch.zeros(len(names))
        self.latest_tokens = 0

    def _prepare(self, corpus: Corpus, kind: InputKind) -> None:
        """The input as the networks read it, the untrained bundle, and the objectives."""
        recipe, tokenizer = self.recipe, self.tokenizer
        classes = {name: objective_class(name) for name in recipe.objectives}
        kind.check(recipe)
        kind = kind.fitted(corpus, recipe)
        self.corpus = corpus if kind.columns is None else corpus.select_columns(kind.columns)
        self.input = kind.prepared(self.corpus, recipe, tokenizer)
        self.alphabet = self.input.alphabet(self.corpus, recipe, tokenizer)
        for name, objective in classes.items():
            objective.check(recipe.settings[name], self.alphabet, recipe)
        self.bundle = untrained(self.corpus, recipe, self.input)
        self.window_length = self.input.row_length or window(recipe)
        self.objectives: dict[Objective, float] = {
            classes[name](recipe.settings[name], self.alphabet): weight
            for name, weight in recipe.objectives.items()
        }

    def run(self) -> Pretrained:
        """Train, and describe what has become of it."""
        began = time.monotonic()
        self.validation = self.sampler.validation_batches()
        with Prefetcher(self.sampler, in_background=self.context.device.type != "cpu") as batches:
            self.loop.fit(
                lambda learner, step: self._loss(learner, batches.at(step)),
                self._validation_loss,
                lambda step, loss, best: self._write(step, self.held_out_K),
                self._after_step,
            )
        facts = self._facts(round(time.monotonic() - began))
        config = dict(self.bundle.config)
        config["companions"] = {o.name: o.auxiliary() for o in self.objectives}
        config["provenance"] = config["provenance"] | facts
        trained, auxiliary = self._gather_shards(config)
        bundle = replace(
            self.bundle, config=config, classifier=trained.float().eval(), auxiliary=auxiliary
        )
        if self.host is not None:
            bundle = attach.attach_network(self.host, bundle)
        return Pretrained(
            bundle,
            facts,
            trained.networks[0],
            str(self.bundle.config["network"]["kind"]),
            self.input,
            self.host is not None,
            self.input.extra_files(self.corpus, self.recipe),
        )

    def _gather_shards(self, config: Mapping[str, Any]) -> tuple[Classifier, dict[str, nn.Module]]:
        """The classifier and the auxiliary heads, put together again if processes have shares of them."""
        learner = self.learner
        if self.context.processes.shard:
            state = trainer.map_tensors(learner.state_dict(), self.context.processes.full_tensor)
            classifier = build(config, self.bundle.input)
            auxiliary = build_auxiliary(config["companions"], classifier.networks[0])
            learner = Learner(classifier, dict(auxiliary.items()), self.objectives, ONE_PROCESS)
            learner.load_state_dict(state)
        return learner.classifier, dict(learner.auxiliary.items())

    def _loss(self, learner: nn.Module, batch: Batch) -> Tensor:
        """The weighted loss of a step's batch."""
        terms_K: Tensor = learner(self._to_device(batch))
        self.latest_K = terms_K.detach()
        self.latest_tokens = tokens_read(batch, self.tokenizer.pad_id)
        return (terms_K * self.learner.weights).sum()

    def _after_step(self, step: int, loss: Tensor) -> None:
        """Add the step's losses to the log, and write a row where one is due without an evaluation."""
        del loss
        processes, tokens = self.context.processes, self.latest_K.new_tensor([self.latest_tokens])
        *terms_K, mean_tokens = processes.mean(torch.cat([self.latest_K, tokens])).tolist()
        self.log.add(terms_K, round(mean_tokens * processes.size))
        if step % self.recipe.corpus.log_every == 0 and not self.loop.evaluates_now():
            self._write(step, None)

    def _write(self, step: int, held_out_K: Tensor | None) -> None:
        self.log.write(step, self.sampler.epoch(step), held_out_K)

    def _sampler(self) -> Sampler:
        recipe, processes = self.recipe, self.context.processes
        size = recipe.optimization.batch_size
        if size % processes.size:
            raise TrainingError(
                f"optimization.batch_size = {size} cannot be shared by {processes.size} processes"
            )
        plan = BatchPlan(self.window_length, size, recipe.corpus.judged, self.seed)
        pad_id = self.tokenizer.pad_id
        return Sampler(self.corpus, list(self.objectives), plan, processes, pad_id)

    def _learner(self, start: Bundle | None) -> Learner:
        """The network and its auxiliary heads with fresh values, or those of `start`."""
        torch.manual_seed(self.seed)
        network = self.bundle.classifier.networks[0]
        reset_parameters(network)
        configs = {o.name: o.auxiliary() for o in self.objectives}
        auxiliary = build_auxiliary(configs, network)
        if start is not None:
            start_from(network, start.classifier.networks[0])
            for name, module in auxiliary.items():
                if start.config.get("companions", {}).get(name) == configs[name]:
                    module.load_state_dict(start.auxiliary[name].state_dict())
        return Learner(
            self.bundle.classifier, dict(auxiliary.items()), self.objectives, self.context.processes
        )

    @torch.no_grad()
    def _validation_loss(self, learner: nn.Module) -> float:
        """The weighted loss of the held-out samples; its terms are kept for the log."""
        self.held_out_K = self._over_validation(lambda batch: learner(self._to_device(batch)))
        return float((self.held_out_K * self.learner.weights.cpu().double()).sum())

    def _over_validation(self, losses_of: Callable[[Batch], Tensor]) -> Tensor:
        """The mean of losses (K,) over the validation batches of all processes."""
        weighted = [losses_of(batch).cpu().double() * weight for batch, weight in self.validation]
        return self.context.processes.total(torch.stack(weighted).sum(0)).cpu()

    def _baseline(self, batch: Batch) -> Tensor:
        names = [objective.name for objective in self.objectives]
        return torch.tensor([self.baselines.loss(name, batch) for name in names])

    def _to_device(self, batch: Batch) -> Batch:
        device = self.context.device
        return {
            name: {view: ids.to(device, non_blocking=True) for view, ids in views.items()}
            for name, views in batch.items()
        }

    def _facts(self, seconds: int) -> dict[str, Any]:
        """The facts of the run for the card and the config."""
        self._validation_loss(self.learner.eval())
        recipe, info = self.recipe, self.corpus.info
        baseline_K = self._over_validation(self._baseline)
        held_out, baseline = self.log.named(self.held_out_K), self.log.named(baseline_K)
        return {
            "seed": self.seed,
            "device": self.context.device.type,
            "processes": self.context.processes.size,
            "seconds": seconds,
            "corpus": asdict(info),
            "objectives": dict(recipe.objectives),
            "settings": {o.name: asdict(o.settings) for o in self.objectives},
            "optimization": asdict(recipe.optimization),
            "steps": self.loop.progress.step,
            "tokens": int(self.loop.notes.get("tokens", 0)),
            "epochs": round(self.sampler.epoch(self.loop.progress.step), 3),
            "held_out": _rounded(held_out),
            "baseline": _rounded(baseline),
            "bits_per_base": self._bits_per_base(held_out, baseline),
        }

    def _bits_per_base(self, *losses: Mapping[str, float]) -> dict[str, list[float]]:
        """The losses of the objectives that are likelihoods of bases, held out and of the baseline."""
        bits = {o.name: [o.bits_per_base(loss[o.name]) for loss in losses] for o in self.objectives}
        return {
            name: [round(value, 4) for value in values if value is not None]
            for name, values in bits.items()
            if None not in values
        }


def _rounded(losses: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in losses.items()}
