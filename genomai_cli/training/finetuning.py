"""From labelled samples and a recipe to a bundle: split, train the members, calibrate, put together.

Trains the networks of a classifier: one, or one a fold, each judged on samples it has not seen.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genomai_cli import tokenizers
from genomai_cli.backbones.classifier import LIKELIHOOD, Classifier, Evidence
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.inputs.base import Batch, Views, material
from genomai_cli.mapping.reference import Reference
from genomai_cli.objectives.base import MISSING, cross_entropy
from genomai_cli.population.panel import Panel
from genomai_cli.training.calibration import HeldOut, calibrate
from genomai_cli.training.initialization import initialise, outline, require_same_words, start_from
from genomai_cli.training.labelled_data import Rows, Samples, judged_parts, nesting, others
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.trainer import Loop, Optimization, Report, step_seed

ROWS_AT_ONCE = 128
TEMPERATURES = (1.0, 1.3, 1.7, 2.2, 3.0, 4.0)
Inputs = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Member:
    """What one network learns from and is judged by."""

    views: Views
    learn: Rows
    judge: Rows
    inputs: Inputs  # ids to what the network reads
    judged: tuple[float, ...] = (0.0,)  # shares of letters to hide when judging
    calibrated: tuple[float, ...] = (0.0,)  # and when calibrating


def train_member(
    network: nn.Module,
    member: Member,
    settings: Optimization,
    *,
    seed: int,
    device: torch.device,
    checkpoint_file: Path | None,
    report: Report,
) -> None:
    """Train the network; it ends with the averaged weights that were best on the judging samples."""
    loop = Loop(network, settings, seed=seed, device=device, checkpoint_file=checkpoint_file)
    judged = [member.views.plain(member.judge, hidden, seed) for hidden in member.judged]

    def loss_at(trained: nn.Module, step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        batch = member.views.varied(rng.choice(member.learn, settings.batch_size), rng)
        logits = batch.mean(trained(member.inputs(batch.ids.to(device))))
        return cross_entropy(logits, _moved(batch.labels, device))

    def validation_loss(trained: nn.Module) -> float:
        losses = [_loss(_logits(trained, b, member, device), b.labels) for b in judged]
        return float(torch.stack(losses).mean())

    loop.fit(loss_at, validation_loss, report)


def held_out_scores(
    network: nn.Module,
    member: Member,
    evidence: Evidence | None,
    *,
    seed: int,
    device: torch.device,
) -> list[HeldOut]:
    """The scores of the judging samples at every level of missingness, for calibration."""
    parts = []
    for number, hidden in enumerate(member.calibrated):
        batch = member.views.plain(member.judge, hidden, seed + 1 + number)
        scores = {h: s.double() for h, s in _logits(network, batch, member, device).items()}
        if evidence is not None:
            scores[LIKELIHOOD] = _in_parts(evidence, member.inputs(batch.ids))
        parts.append(HeldOut(scores, batch.share, batch.labels))
    return parts


def _loss(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """The cross-entropy at the best of a few temperatures, since calibration sets that afterwards."""
    losses = [
        cross_entropy({head: rows / t for head, rows in logits.items()}, labels)
        for t in TEMPERATURES
    ]
    return torch.stack(losses).min()


@torch.no_grad()
def _logits(
    network: nn.Module, batch: Batch, member: Member, device: torch.device
) -> dict[str, Tensor]:
    """The mean logits of the batch's samples, on the CPU, a part of the rows at a time."""
    network.eval()
    ids_PBT = batch.ids.reshape(batch.pieces, -1, batch.ids.shape[1])
    rows: list[dict[str, Tensor]] = []
    for start in range(0, ids_PBT.shape[1], ROWS_AT_ONCE):
        ids = ids_PBT[:, start : start + ROWS_AT_ONCE].flatten(0, 1).to(device)
        logits = batch.mean(network(member.inputs(ids)))
        rows.append({head: values.cpu() for head, values in logits.items()})
    return {head: torch.cat([row[head] for row in rows]) for head in rows[0]}


@torch.no_grad()
def _in_parts(evidence: Evidence, inputs: Tensor) -> Tensor:
    parts = [inputs[start : start + ROWS_AT_ONCE] for start in range(0, len(inputs), ROWS_AT_ONCE)]
    return torch.cat([evidence.log_odds(part).double() for part in parts])


def _moved(labels: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {head: numbers.to(device) for head, numbers in labels.items()}


MemberReport = Callable[[int, int, float, float], None]
"""Called with the member's number, the step, the training loss and the best validation loss."""


@dataclass(frozen=True)
class Fitted:
    """The model, and how well its networks did on the samples that each had not seen."""

    bundle: Bundle
    validation: dict[str, Any]


class Maker:
    """The steps of one training run, in order; `fit` runs them all."""

    def __init__(
        self,
        samples: Samples,
        recipe: Recipe,
        panel: Panel | None,
        reference: Reference | None,
        *,
        seed: int,
        device: torch.device,
        start: Bundle | None = None,
        work: Path | None,
        report: MemberReport,
    ) -> None:
        self.samples, self.recipe = samples, recipe
        self.seed, self.device, self.work, self.report = seed, device, work, report
        self.start = start
        self.tokenizer = tokenizers.from_config(recipe.tokenizer)
        split = recipe.split
        self.parts = judged_parts(samples, split.folds, split.holdout, seed)
        self.material = material(
            samples,
            recipe,
            self.tokenizer,
            panel=panel,
            reference=reference,
            start=start,
            learn=others(samples, self.parts[0]),
        )
        if start is not None:
            require_same_words(start, self.tokenizer, self.material.panel, reference)

    def fit(self) -> Fitted:
        """Train, calibrate and assemble."""
        began = time.monotonic()
        config = self._config()
        classifier = build(config, self.material.panel)
        self.material.fill(classifier)
        levels = [self._train(classifier, number) for number in range(len(self.parts))]
        joined = HeldOut.joined([part for member in levels for part in member])
        calibrate(classifier.fusion.to("cpu"), joined)
        if self.recipe.evidence is not None:
            classifier.add_evidence(self.material.evidence(np.arange(len(self.samples))))
        validation = self._validation(classifier, HeldOut.joined([member[0] for member in levels]))
        config["provenance"] |= {
            "seconds": round(time.monotonic() - began),
            "validation": validation,
        }
        made_of = self.material
        bundle = Bundle(
            config,
            classifier.float().to(self.device).eval(),
            made_of.panel,
            made_of.reference,
            made_of.sites,
        )
        return Fitted(bundle, validation)

    def _config(self) -> dict[str, Any]:
        recipe = self.recipe
        config = outline(
            recipe,
            self.tokenizer,
            self.material.sizes(),
            members=len(self.parts),
            heads=self.samples.classes,
        )
        config["provenance"] |= {
            "seed": self.seed,
            "device": self.device.type,
            "samples": len(self.samples),
            "individuals": len(np.unique(self.samples.individuals)),
        }
        if recipe.likelihood is not None:
            head = recipe.likelihood.head
            config["likelihood"] = {
                "head": head,
                "axes": recipe.likelihood.axes,
                "nesting": nesting(self.samples, head),
            }
        if recipe.regression is not None:
            head = recipe.regression.head
            config["regression"] = {"head": head, "nesting": nesting(self.samples, head)}
        return config

    def _train(self, classifier: Classifier, number: int) -> list[HeldOut]:
        """Train one member; its held-out scores beside those of the evidence fitted to the same
        samples, at each level of missingness."""
        network, judge = classifier.members[number], self.parts[number]
        seed = step_seed(self.seed, 7919 * (number + 1))
        torch.manual_seed(seed)
        initialise(network)
        if self.start is not None:
            trained = self.start.classifier.members
            start_from(network, trained[number % len(trained)])
        member = self._member(classifier, judge)
        train_member(
            network,
            member,
            self.recipe.optimization,
            seed=seed,
            device=self.device,
            checkpoint_file=self.work / f"member-{number}.pt" if self.work else None,
            report=lambda step, loss, best: self.report(number, step, loss, best),
        )
        evidence = self.material.evidence(member.learn) if self.recipe.evidence else None
        return held_out_scores(network, member, evidence, seed=seed, device=self.device)

    def _member(self, classifier: Classifier, judge: Rows) -> Member:
        learn = others(self.samples, judge)
        inputs = classifier.to(self.device).inputs
        made_of = self.material
        return Member(
            made_of.views(learn), learn, judge, inputs, made_of.judged, made_of.calibrated
        )

    def _validation(self, classifier: Classifier, held_out: HeldOut) -> dict[str, Any]:
        """Accuracy and number of held-out samples by head, all sites known."""
        with torch.no_grad():
            logs = classifier.fusion(held_out.scores, held_out.share)
        found = {}
        for head, log_BC in logs.items():
            known = held_out.labels[head] != MISSING
            if not known.any():
                continue
            truth = held_out.labels[head][known]
            right = log_BC.argmax(1)[known] == truth
            found[head] = {
                "n": len(truth),
                "accuracy": round(float(right.double().mean()), 4),
                "majority": round(float(truth.bincount().max() / len(truth)), 4),
            }
        return found


def fit(
    samples: Samples,
    recipe: Recipe,
    panel: Panel | None = None,
    *,
    reference: Reference | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    start: Bundle | None = None,
    work: Path | None = None,
    report: MemberReport = lambda *_: None,
) -> Fitted:
    """Train the model that the recipe describes on the samples.

    `panel` gives the sites of barcodes, `reference` the coordinates of anchored genomes. The networks begin with
    the values of those of `start`, if it is given, with new heads. With `work`, a folder, a run that was interrupted
    there goes on where it stopped. Raises TrainingError where the samples cannot teach what the recipe asks for.
    """
    maker = Maker(
        samples,
        recipe,
        panel,
        reference,
        seed=seed,
        device=device or torch.device("cpu"),
        start=start,
        work=work,
        report=report,
    )
    return maker.fit()
