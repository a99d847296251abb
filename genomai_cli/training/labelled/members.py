"""Trains the networks of a classifier: one, or one a fold, each judged on samples it has not seen."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from genomai_cli.anchoring.reference import Reference
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import TrainingError
from genomai_cli.nets.classifier import Evidence, log_odds
from genomai_cli.nets.fusion import LIKELIHOOD
from genomai_cli.objectives.labelled import cross_entropy
from genomai_cli.panels.panel import Panel
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.training.labelled.calibration import HeldOut
from genomai_cli.training.labelled.samples import Rows
from genomai_cli.training.labelled.views import Batch, Views
from genomai_cli.training.loop import Loop, Optimization, Report

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


def require_same_words(
    start: Bundle, tokenizer: Tokenizer, panel: Panel | None, reference: Reference | None
) -> None:
    """TrainingError unless the ids of words, and of sites, mean to the model begun from what they mean here."""
    if start.config["tokenizer"] != tokenizer.to_config():
        raise TrainingError(f"the model to begin from, {start.name}, has another tokenizer")
    digests = [p.sha256 if p is not None else None for p in (start.panel, panel)]
    if digests[0] != digests[1]:
        message = (
            f"the model to begin from, {start.name}, has other sites: use its panel.tsv as --panel"
        )
        raise TrainingError(message)
    genomes = [r.sha256 if r is not None else None for r in (start.reference, reference)]
    if genomes[0] != genomes[1]:
        raise TrainingError(f"the model to begin from, {start.name}, has another reference")


def start_from(network: nn.Module, trained: nn.Module) -> None:
    """Give the network the trained one's parameters, all but those of the heads, which are learnt anew.

    What they were learnt beside comes along: frequencies taken from a few labelled samples would move every vector.
    Raises TrainingError if the two are not of the same kind and size.
    """
    theirs = dict(trained.named_parameters())
    for name, parameter in network.named_parameters():
        if name.startswith("heads."):
            continue
        if name not in theirs or theirs[name].shape != parameter.shape:
            raise TrainingError(
                f"the model to begin from has other networks than the recipe: {name}"
            )
        parameter.data.copy_(theirs[name])
    beside = dict(trained.named_buffers())
    for name, buffer in network.named_buffers():
        if name in beside and beside[name].shape == buffer.shape:
            buffer.copy_(beside[name])


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
    return torch.cat([log_odds(evidence, part).double() for part in parts])


def _moved(labels: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {head: numbers.to(device) for head, numbers in labels.items()}
