"""From labelled samples and a recipe to a bundle: split, train the members, calibrate, put together."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genomai_cli import __version__, tokenizers
from genomai_cli.bundles.bundle import Bundle, build
from genomai_cli.errors import TrainingError
from genomai_cli.nets.classifier import Classifier, complete_config
from genomai_cli.nets.likelihood import PopulationLikelihood
from genomai_cli.nets.sites import SitesNetwork
from genomai_cli.objectives.labelled import MISSING
from genomai_cli.panels.barcode import genotypes_to_letters, letters_to_genotypes
from genomai_cli.panels.informativeness import most_informative
from genomai_cli.panels.panel import Panel
from genomai_cli.training.calibration import HeldOut, calibrate
from genomai_cli.training.frequencies import fit_likelihood
from genomai_cli.training.loop import step_seed
from genomai_cli.training.members import (
    Member,
    held_out_scores,
    require_same_words,
    start_from,
    train_member,
)
from genomai_cli.training.recipe import BARCODE, Recipe
from genomai_cli.training.samples import Rows, Samples, judged_parts, nesting, others
from genomai_cli.training.views import BarcodeViews, SequenceViews, Views

JUDGED_HIDDEN = (0.0, 0.5, 0.85)  # shares of sites hidden in the validation loss of barcodes
CALIBRATED_HIDDEN = (0.0, 0.25, 0.5, 0.75, 0.9, 0.96, 0.99)

Report = Callable[[int, int, float, float], None]
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
        *,
        seed: int,
        device: torch.device,
        start: Bundle | None = None,
        work: Path | None,
        report: Report,
    ) -> None:
        self.samples, self.recipe, self.panel = samples, recipe, panel
        self.seed, self.device, self.work, self.report = seed, device, work, report
        self.start = start
        self.tokenizer = tokenizers.from_config(recipe.tokenizer)
        split = recipe.split
        self.parts = judged_parts(samples, split.folds, split.holdout, seed)
        self.copies: NDArray[np.int8] | None = None
        if panel is not None:
            self._read_genotypes(panel)
        if start is not None:
            require_same_words(start, self.tokenizer, self.panel)

    def fit(self) -> Fitted:
        """Train, calibrate and assemble."""
        began = time.monotonic()
        config = self._config()
        classifier = build(config, self.panel)
        self._fill_tables(classifier)
        levels = [self._train(classifier, number) for number in range(len(self.parts))]
        joined = HeldOut.joined([part for member in levels for part in member])
        calibrate(classifier.fusion.to("cpu"), joined)
        if self.recipe.likelihood is not None:
            classifier.likelihood = self._likelihood(np.arange(len(self.samples)))
        validation = self._validation(classifier, HeldOut.joined([member[0] for member in levels]))
        config["provenance"] |= {
            "seconds": round(time.monotonic() - began),
            "validation": validation,
        }
        bundle = Bundle(config, classifier.float().to(self.device).eval(), self.panel)
        return Fitted(bundle, validation)

    def _read_genotypes(self, panel: Panel) -> None:
        """Allele copies of the panel's sites, the panel cut down to its best sites if asked for."""
        self.copies = letters_to_genotypes(self.samples.letters, panel)
        best = self.recipe.input.best_sites
        if best is not None and best < len(panel):
            learn = others(self.samples, self.parts[0])
            head = self.recipe.input.best_for or next(iter(self.samples.labels))
            if head not in self.samples.labels:
                raise TrainingError(f"input.best_for is the head {head!r}, which has no labels")
            groups = self.samples.labels[head]
            learn = learn[groups[learn] != MISSING]
            chosen = most_informative(self.copies[learn], groups[learn], best)
            self.panel, self.copies = panel.subset(chosen), self.copies[:, chosen]

    def _config(self) -> dict[str, Any]:
        recipe = self.recipe
        network = dict(recipe.network)
        if network["kind"] == "sites":
            network["sites"] = len(self._panel)
        else:
            words = {"vocabulary": len(self.tokenizer.vocabulary), "pad_id": self.tokenizer.pad_id}
            network |= words
        config: dict[str, Any] = {
            "name": recipe.name,
            "version": recipe.version,
            "description": recipe.description,
            "input": {"kind": recipe.input.kind, "haplotypes": recipe.input.haplotypes},
            "tokenizer": self.tokenizer.to_config(),
            "network": complete_config(network),
            "members": len(self.parts),
            "heads": self.samples.classes,
            "provenance": self._provenance(),
        }
        if recipe.likelihood is not None:
            head = recipe.likelihood.head
            config["likelihood"] = {
                "head": head,
                "axes": recipe.likelihood.axes,
                "nesting": nesting(self.samples, head),
            }
        return config

    def _provenance(self) -> dict[str, Any]:
        people = len(np.unique(self.samples.individuals))
        return {
            "program": f"genomai {__version__}",
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            "seed": self.seed,
            "device": self.device.type,
            "samples": len(self.samples),
            "individuals": people,
        }

    @property
    def _panel(self) -> Panel:
        if self.panel is None:
            raise TrainingError(f"recipe {self.recipe.name}: barcodes need a panel")
        return self.panel

    def _fill_tables(self, classifier: Classifier) -> None:
        """What the networks know without learning: the meaning of the words at each site."""
        if classifier.genotypes is None or self.copies is None:
            return
        vocabulary = self.tokenizer.vocabulary
        words = np.array([ord(w) if len(w) == 1 else ord("N") for w in vocabulary], np.uint8)
        letters_SW = np.tile(words[:, None], (1, len(self._panel)))
        table = letters_to_genotypes(letters_SW, self._panel).T
        classifier.genotypes.table.copy_(torch.from_numpy(np.ascontiguousarray(table)))
        known = self.copies >= 0
        total = np.maximum(2 * known.sum(axis=0), 1)
        frequency = torch.from_numpy(np.where(known, self.copies, 0).sum(axis=0) / total).float()
        for member in classifier.members:
            if isinstance(member, SitesNetwork):
                member.frequency.copy_(frequency)

    def _train(self, classifier: Classifier, number: int) -> list[HeldOut]:
        """Train one member; its held-out scores beside those of a likelihood fitted to the same
        samples, at each level of missingness."""
        network, judge = classifier.members[number], self.parts[number]
        seed = step_seed(self.seed, 7919 * (number + 1))
        torch.manual_seed(seed)
        _initialise(network)
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
        likelihood = self._likelihood(member.learn) if self.recipe.likelihood else None
        return held_out_scores(network, member, likelihood, seed=seed, device=self.device)

    def _member(self, classifier: Classifier, judge: Rows) -> Member:
        learn = others(self.samples, judge)
        if self.recipe.input.kind != BARCODE:
            return Member(self._sequence_views(), learn, judge, classifier.inputs)
        views = self._barcode_views(learn)
        inputs = classifier.to(self.device).inputs
        judged = JUDGED_HIDDEN if self.recipe.views.hide else (0.0,)
        return Member(views, learn, judge, inputs, judged, CALIBRATED_HIDDEN)

    def _barcode_views(self, learn: Rows) -> Views:
        assert self.copies is not None
        letters = genotypes_to_letters(self.copies, self._panel)
        haplotypes = self.recipe.input.haplotypes
        recipe = self.recipe.views
        return BarcodeViews(
            self.samples, letters, learn, self.tokenizer, recipe, haplotypes=haplotypes
        )

    def _sequence_views(self) -> Views:
        longest = int(complete_config(self.recipe.network)["positions"])
        return SequenceViews(self.samples, self.tokenizer, self.recipe.views, longest=longest)

    def _likelihood(self, rows: Rows) -> PopulationLikelihood:
        assert self.copies is not None
        assert self.recipe.likelihood is not None
        recipe = self.recipe.likelihood
        labels = self.samples.labels[recipe.head]
        rows = rows[labels[rows] != MISSING]
        return fit_likelihood(
            self.copies[rows],
            labels[rows],
            len(self.samples.classes[recipe.head]),
            axes=recipe.axes,
            shrinkage=recipe.shrinkage,
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
    seed: int = 0,
    device: torch.device | None = None,
    start: Bundle | None = None,
    work: Path | None = None,
    report: Report = lambda *_: None,
) -> Fitted:
    """Train the model that the recipe describes on the samples.

    `panel` gives the sites of barcodes. The networks begin with the values of those of `start`, if it is
    given, with new heads. With `work`, a folder, a run that was interrupted there goes on
    where it stopped. Raises TrainingError where the samples cannot teach what the recipe asks for.
    """
    if (recipe.input.kind == BARCODE) != (panel is not None):
        raise TrainingError(f"recipe {recipe.name}: barcodes need a panel, sequences have none")
    maker = Maker(
        samples,
        recipe,
        panel,
        seed=seed,
        device=device or torch.device("cpu"),
        start=start,
        work=work,
        report=report,
    )
    return maker.fit()


def _initialise(network: nn.Module) -> None:
    """Fresh values for every layer, drawn from torch's current seed."""
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None) or getattr(
            module, "_reset_parameters", None
        )
        if reset is not None:
            reset()
