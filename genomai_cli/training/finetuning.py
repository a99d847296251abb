"""From labelled samples and a recipe to a bundle with heads: split, train the networks, calibrate, put together.

There is one network, or one a fold, each validated on samples it has not seen.

Shape suffixes: B samples, C classes, P classes of the evidence.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genomai_cli import registry, tokenizers
from genomai_cli.alphabet import MISSING
from genomai_cli.backbones.base import network_class
from genomai_cli.backbones.classifier import Classifier, Evidence
from genomai_cli.backbones.heads import logits, logits_of
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.base import InputKind
from genomai_cli.inputs.samples import Hints, Rows, SampleRows, Samples, TrainingBatch, Views
from genomai_cli.metrics.classification import accuracy, confusion_matrix, majority_share
from genomai_cli.objectives.base import cross_entropy
from genomai_cli.training.adaptation import Adaptation
from genomai_cli.training.calibration import HeldOut, calibrate
from genomai_cli.training.initialization import (
    initial_config,
    require_same_tokens,
    reset_parameters,
    start_from,
)
from genomai_cli.training.labelled_data import (
    nesting,
    remaining_rows,
    sample_counts,
    validation_parts,
)
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.trainer import (
    Loop,
    Optimization,
    Report,
    Stopping,
    never,
    step_seed,
    unstopped,
)
from genomai_cli.training.validation_limits import class_limits

ROWS_AT_ONCE = 128
FULL_ADAPTATION = Adaptation()
TEMPERATURES = (1.0, 1.3, 1.7, 2.2, 3.0, 4.0)

MemberReport = Callable[[int, int, float, float], None]
"""Called with the network's number, the step, the training loss and the best validation loss."""


@dataclass(frozen=True)
class Finetuned:
    """The model, and its networks' measures on the samples that each had not seen."""

    bundle: Bundle
    validation: dict[str, Any]


def fit(
    samples: Samples,
    recipe: Recipe,
    kind: InputKind,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    start: Bundle | None = None,
    work: Path | None = None,
    report: MemberReport = lambda *_: None,
    adaptation: Adaptation = FULL_ADAPTATION,
    validation: Rows | None = None,
    stopping: Stopping = unstopped,
) -> Finetuned:
    """Train the model that the recipe describes on the samples, which are of this kind of input.

    The networks begin with the values of those of `start`, if it is given, with new heads; `adaptation` says how much
    of them is trained. `validation` are the rows to stop and calibrate by, and never to train on, instead of those that
    the recipe would hold out. With `work`, a folder, a run that was interrupted there goes on where it stopped. Raises
    TrainingError where the samples cannot teach what the recipe asks for, and Stopped when what `stopping` gives, which
    is asked after every step of a network, says so.
    """
    run = Finetuning(
        samples,
        recipe,
        kind,
        seed=seed,
        device=device or torch.device("cpu"),
        start=start,
        work=work,
        report=report,
        adaptation=adaptation,
        validation=validation,
        stopping=stopping,
    )
    return run.fit()


class Finetuning:
    """The steps of one run, in order; `fit` runs them all."""

    def __init__(
        self,
        samples: Samples,
        recipe: Recipe,
        kind: InputKind,
        *,
        seed: int,
        device: torch.device,
        start: Bundle | None,
        work: Path | None,
        report: MemberReport,
        adaptation: Adaptation,
        validation: Rows | None = None,
        stopping: Stopping = unstopped,
    ) -> None:
        if kind.name != recipe.input.kind:
            raise TrainingError(f"recipe {recipe.name} reads {recipe.input.kind}, not {kind.name}")
        require_evidence_of(kind, recipe)
        self.recipe, self.seed, self.device = recipe, seed, device
        self.start, self.work, self.report, self.stopping = start, work, report, stopping
        self.tokenizer = tokenizers.from_config(recipe.tokenizer)
        split = recipe.split
        self.parts = validation_parts(samples, split.folds, split.holdout, seed, validation)
        self.validation_rows = validation
        self.input, self.samples = kind.select_sites(
            samples, remaining_rows(samples, self.parts[0]), recipe
        )
        self.training_rows = remaining_rows(samples, validation)  # of the finished model
        self.fits_in_closed_form = network_class(recipe.network["kind"]).fits_in_closed_form
        self.adaptation = adaptation
        adaptation.check(has_start=start is not None, fits_in_closed_form=self.fits_in_closed_form)
        if start is not None:
            if self.fits_in_closed_form:
                kind_of_network = recipe.network["kind"]
                raise TrainingError(
                    f"{kind_of_network} networks are solved, they begin with no model: name another --recipe"
                )
            require_same_tokens(start, self.tokenizer, self.input)

    def fit(self) -> Finetuned:
        """Train, calibrate and assemble."""
        began = time.monotonic()
        rows = SampleRows(self.samples, self.training_rows)
        training_samples = self.samples.at(self.training_rows)
        config = self._config(rows)
        classifier = build(config, self.input)
        self.input.initialize(classifier, rows, self.recipe, self.tokenizer)
        held_out_by_member = [self._train(classifier, number) for number in range(len(self.parts))]
        joined = HeldOut.joined([part for member in held_out_by_member for part in member])
        calibrate(classifier.fusion.to("cpu"), joined)
        if self.fits_in_closed_form:
            self._solve(classifier, self.training_rows)
        if classifier.evidence is not None:
            fitted = self.input.fit_evidence(self.samples, self.training_rows, self.recipe)
            self.input.complete_evidence(fitted, training_samples, self.recipe)
            classifier.evidence.load_state_dict(fitted.state_dict())
        validation = self._validation(
            classifier, HeldOut.joined([member[0] for member in held_out_by_member])
        )
        config["provenance"] |= {
            "seconds": round(time.monotonic() - began),
            "validation": validation,
        }
        if self.start is not None:
            origin = {"model": self.start.name, "sha256": self.start.weights_sha256}
            config["provenance"]["adapt"] = origin | self.adaptation.provenance(self.trained_values)
        classifier = classifier.float().to(self.device).eval()
        kind = self.input.with_training_summary(training_samples, self.recipe)
        return Finetuned(Bundle(config, classifier, kind), validation)

    def _config(self, rows: SampleRows) -> dict[str, Any]:
        config = initial_config(
            self.recipe,
            self.input,
            self.tokenizer,
            self.input.sizes(rows, self.recipe, self.tokenizer),
            members=1 if self.fits_in_closed_form else len(self.parts),
            heads=self.samples.classes,
        )
        config["provenance"] |= {
            "seed": self.seed,
            "device": self.device.type,
            **sample_counts(self.samples, self.validation_rows),
        }
        evidence = self.recipe.evidence
        if evidence is not None:
            nested = nesting(self.samples.at(self.training_rows), evidence.head)
            config[str(self.input.evidence_kind)] = evidence.config(nested)
        return config

    def _train(self, classifier: Classifier, number: int) -> list[HeldOut]:
        """Train one network; its held-out scores and those of the evidence fitted to the same samples, at each level of
        missingness."""
        networks, validation = classifier.networks, self.parts[number]
        network = networks[number % len(networks)]
        seed = step_seed(self.seed, 7919 * (number + 1))
        torch.manual_seed(seed)
        reset_parameters(network)
        if self.start is not None:
            start_networks = self.start.classifier.networks
            start_from(network, start_networks[number % len(start_networks)])
        self.adaptation.apply(network)
        self.trained_values = self.adaptation.trainable_count(network)
        member = self._member(classifier, validation)
        if self.fits_in_closed_form:
            self._solve(classifier, member.train)
        else:
            with self.stopping() as stop:
                train_member(
                    network,
                    member,
                    self.recipe.optimization,
                    seed=seed,
                    device=self.device,
                    checkpoint_file=self.work / f"member-{number}.pt" if self.work else None,
                    report=lambda step, loss, best: self.report(number, step, loss, best),
                    stop=stop,
                    training_mode=self.adaptation.training_mode,
                )
        self.adaptation.merge(network)
        evidence = None
        if self.recipe.evidence is not None:
            evidence = self.input.fit_evidence(self.samples, member.train, self.recipe)
        return held_out_scores(network, member, evidence, seed=seed, device=self.device)

    def _solve(self, classifier: Classifier, rows: Rows) -> None:
        """Solve the network on these samples in closed form."""
        batch = self.input.views(self.samples, rows, self.recipe, self.tokenizer).plain(rows)
        labels = {head: numbers.to(self.device) for head, numbers in batch.labels.items()}
        inputs = classifier.to(self.device).inputs(batch.ids.to(self.device))
        classifier.networks[0].solve(inputs, labels)

    def _member(self, classifier: Classifier, validation: Rows) -> "Member":
        train = remaining_rows(self.samples, validation)
        return Member(
            self.input.views(self.samples, train, self.recipe, self.tokenizer),
            train,
            validation,
            classifier.to(self.device).inputs,
            self.input.validation_masked_shares(self.recipe),
            self.input.calibration_masked_shares,
        )

    def _validation(self, classifier: Classifier, held_out: HeldOut) -> dict[str, Any]:
        """Accuracy and number of held-out samples by head, all sites known."""
        with torch.no_grad():
            logs = classifier.fusion(held_out.scores, held_out.share)
        measures = {}
        for head, log_BC in logs.items():
            known = held_out.labels[head] != MISSING
            if not known.any():
                continue
            truth, predicted = held_out.labels[head][known], log_BC.argmax(1)[known]
            classes = self.samples.classes[head]
            matrix = confusion_matrix(truth.cpu().numpy(), predicted.cpu().numpy(), len(classes))
            measures[head] = {
                "n": len(truth),
                "accuracy": round(accuracy(matrix), 4),
                "majority": round(majority_share(truth.cpu().numpy(), len(classes)), 4),
                **class_limits(matrix, classes),
            }
        return measures


def require_evidence_of(kind: InputKind, recipe: Recipe) -> None:
    """TrainingError for a recipe that asks for evidence of another kind of input."""
    settings_class = kind.evidence_kind and registry.find(registry.EVIDENCE, kind.evidence_kind)
    if recipe.evidence is not None and type(recipe.evidence) is not settings_class:
        raise TrainingError(
            "[likelihood] is for barcodes, whose sites are inherited apart, [regression] for mapped genomes"
        )


@dataclass(frozen=True)
class Member:
    """The views and rows that one network is trained and validated on."""

    views: Views
    train: Rows
    validation: Rows
    inputs: Callable[[Tensor], Tensor]  # ids to what the network reads
    validation_masked: tuple[float, ...] = (0.0,)  # shares of letters
    calibration_masked: tuple[float, ...] = (0.0,)


def train_member(
    network: nn.Module,
    member: Member,
    settings: Optimization,
    *,
    seed: int,
    device: torch.device,
    checkpoint_file: Path | None,
    report: Report,
    stop: Callable[[], bool] = never,
    training_mode: Callable[[nn.Module], object] = nn.Module.train,
) -> None:
    """Train the network; it ends with the averaged weights that were best on the validation samples."""
    loop = Loop(
        network,
        settings,
        seed=seed,
        device=device,
        checkpoint_file=checkpoint_file,
        stop=stop,
        training_mode=training_mode,
    )
    batches = [
        member.views.plain(member.validation, share, seed) for share in member.validation_masked
    ]

    def loss_at(trained: nn.Module, step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        batch = member.views.varied(rng.choice(member.train, settings.batch_size), rng)
        mask = None if batch.mask is None else batch.mask.to(device)
        labels = {head: numbers.to(device) for head, numbers in batch.labels.items()}
        inputs = member.inputs(batch.ids.to(device))
        if batch.hints is None:
            return cross_entropy(batch.mean(logits(trained, inputs, mask)), labels)
        hidden = trained(inputs, mask)
        outputs = logits_of(trained, network.mean_pooled(hidden, mask))  # type: ignore[operator]
        return cross_entropy(batch.mean(outputs), labels) + hint_loss(hidden, batch.hints)

    def validation_loss(trained: nn.Module) -> float:
        losses = [_loss(_logits(trained, b, member, device), b.labels) for b in batches]
        return float(torch.stack(losses).mean())

    loop.fit(loss_at, validation_loss, report)


def hint_loss(hidden_BTD: Tensor, hints: Hints) -> Tensor:
    """The mean squared distance of the hidden states from the hints, times their weight.

    Raises TrainingError where the network has fewer features than there are hints.
    """
    hints_BTG = hints.values.to(hidden_BTD.device)
    count, width = hints_BTG.shape[2], hidden_BTD.shape[2]
    if count > width:
        raise TrainingError(
            f"hints about {count} groups need networks as wide, not {width}: --set views.hints=0"
        )
    known_BTG = ~hints_BTG.isnan()
    error_BTG = torch.where(known_BTG, hidden_BTD[..., :count] - hints_BTG, 0.0)
    return hints.weight * error_BTG.square().sum() / known_BTG.sum().clamp(min=1)


def held_out_scores(
    network: nn.Module,
    member: Member,
    evidence: Evidence | None,
    *,
    seed: int,
    device: torch.device,
) -> list[HeldOut]:
    """The scores of the validation samples at every level of missingness, for calibration."""
    parts = []
    batches = member.views.for_calibration(member.validation, member.calibration_masked, seed + 1)
    for batch in batches:
        scores = {h: s.double() for h, s in _logits(network, batch, member, device).items()}
        if evidence is not None:
            scores |= _evidence_scores(evidence, member.inputs(batch.ids))
        parts.append(HeldOut(scores, batch.share, batch.labels))
    return parts


def _loss(outputs: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """The cross-entropy at the best of a few temperatures, since calibration sets that afterwards."""
    losses = [
        cross_entropy({head: values / t for head, values in outputs.items()}, labels)
        for t in TEMPERATURES
    ]
    return torch.stack(losses).min()


@torch.no_grad()
def _logits(
    network: nn.Module, batch: TrainingBatch, member: Member, device: torch.device
) -> dict[str, Tensor]:
    """The mean logits of the batch's samples, on the CPU, a part of the rows at a time."""
    network.eval()
    ids_PBT = batch.ids.reshape(batch.windows, -1, batch.ids.shape[1])
    mask_PBT = None if batch.mask is None else batch.mask.reshape(ids_PBT.shape)
    parts: list[dict[str, Tensor]] = []
    for start in range(0, ids_PBT.shape[1], ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        ids = ids_PBT[:, rows].flatten(0, 1).to(device)
        mask = None if mask_PBT is None else mask_PBT[:, rows].flatten(0, 1).to(device)
        outputs = batch.mean(logits(network, member.inputs(ids), mask))
        parts.append({head: values.cpu() for head, values in outputs.items()})
    return {head: torch.cat([row[head] for row in parts]) for head in parts[0]}


@torch.no_grad()
def _evidence_scores(evidence: Evidence, inputs: Tensor) -> dict[str, Tensor]:
    parts = [inputs[start : start + ROWS_AT_ONCE] for start in range(0, len(inputs), ROWS_AT_ONCE)]
    scores_of_parts = [evidence.fused(part) for part in parts]
    return {
        name: torch.cat([scores[name].double() for scores in scores_of_parts])
        for name in scores_of_parts[0]
    }
