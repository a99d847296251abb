"""Predictions of models of plain DNA on a scale to compare sequences: of every label the log odds, log p - log (1 - p)
of its calibrated probability, and the numbers that models predict.

Shape suffixes: N texts, C classes of a head.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import as_letters, as_text, reverse_complement
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError
from genomai_cli.inference.batching import DEFAULT_BATCHING, Batching, Scores, score
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inputs.base import ModelInput
from genomai_cli.records import SequenceRecord

Odds = NDArray[np.float64]
# They begin the labels of tracks, and no name of a head.
TRACKS, LARGEST_VALUES, CONTACTS = "tracks/", "largest/", "contacts/"
SITES, USAGE, JUNCTIONS = "splice_sites/", "splice_site_usage/", "splice_junctions/"
TRACK_QUANTITIES = {
    TRACKS: "ln of the mean of the track",
    LARGEST_VALUES: "ln of the largest value of the track",
    CONTACTS: "mean of the contact map",
}
SPLICING_QUANTITIES = {
    SITES: "probability, at the base where it changes most, of the splice site",
    USAGE: "usage, at the base where it changes most, of splice sites as of the track",
    JUNCTIONS: "ln of the reads of the junction that changes most in",
}


def describe_label(label: str, where: str = "around the variant") -> str:
    """The quantity with a name of `LabelOdds.labels` or of a track, whose mean is taken `where`, in words."""
    for prefix, quantity in (TRACK_QUANTITIES | SPLICING_QUANTITIES).items():
        if label.startswith(prefix):
            return f"{quantity} {label.removeprefix(prefix)} {where}"
    return f"log odds of {label}" if ":" in label else f"the number {label}"


class LabelOdds:
    """The log odds of every label of a model of plain DNA, HEAD:LABEL, and behind them its numbers, HEAD.

    BundleError for another model.
    """

    max_letters: int | None = None  # letters of a text: of any length, in windows
    step = 1  # letters, of which a text has a multiple

    def __init__(
        self, bundle: Bundle, *, both_strands: bool, batching: Batching = DEFAULT_BATCHING
    ) -> None:
        if bundle.input.coordinates is not None:
            raise BundleError(
                f"the model {bundle.name!r} does not read plain DNA: it scores no variants"
            )
        self.bundle, self.both_strands, self.batching = bundle, both_strands, batching
        self.labels = [
            f"{head}:{label}" for head, labels in bundle.heads.items() for label in labels
        ] + list(bundle.numbers)
        self._reader = bundle.input.reader(bundle, {})

    def of_stretches(self, stretches: Sequence[Stretch]) -> Odds:
        """The log odds (N, labels) of the whole text of each, see `of`."""
        return self.of([stretch.text for stretch in stretches])

    def of(self, texts: Sequence[str]) -> Odds:
        """The log odds (N, labels) of each text; NaN where the model can read nothing. With `both_strands` means over
        both."""
        forward = self._one_strand(texts)
        if not self.both_strands:
            return forward
        reversed_texts = [as_text(reverse_complement(as_letters(text))) for text in texts]
        return (forward + self._one_strand(reversed_texts)) / 2

    def flags(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """What `classify` would flag of each text, none where the model can read nothing."""
        return [
            () if scores is None else tuple(self.bundle.input.flags(model_input, scores))
            for model_input, scores in zip(*self._read(texts), strict=True)
        ]

    def _read(self, texts: Sequence[str]) -> tuple[list[ModelInput], list[Scores | None]]:
        """The texts as the network reads them, and what it answers."""
        model_inputs = [self._reader(SequenceRecord("", text)) for text in texts]
        return model_inputs, mean_scores(self.bundle, model_inputs, self.batching)

    def _one_strand(self, texts: Sequence[str]) -> Odds:
        model_inputs, scores_by_text = self._read(texts)
        known = [index for index, scores in enumerate(scores_by_text) if scores is not None]
        odds = np.full((len(texts), len(self.labels)), np.nan)
        if known:
            known_scores = [scores for scores in scores_by_text if scores is not None]
            stacked = {
                name: torch.stack([s[name] for s in known_scores]).double()
                for name in known_scores[0]
            }
            share = torch.tensor(
                [model_inputs[index].share for index in known], dtype=torch.float64
            )
            with torch.inference_mode():
                odds[known] = fused_odds(self.bundle, stacked, share).numpy()
        return odds


def mean_scores(
    bundle: Bundle, model_inputs: Sequence[ModelInput], batching: Batching
) -> list[Scores | None]:
    """The mean scores (C,) of the windows of each, by head; None where the model can read nothing."""
    scored = score(
        bundle.classifier,
        (
            (model_input, model_input.windows if model_input.used_letters else [])
            for model_input in model_inputs
        ),
        pad_id=bundle.tokenizer.pad_id,
        device=next(bundle.classifier.parameters()).device,
        batching=batching,
        left=bundle.tokenizer.padding_side == "left",
    )
    return [scores for _, scores in scored]


def fused_odds(bundle: Bundle, scores: dict[str, Tensor], share_N: Tensor) -> Tensor:
    """The log odds (N, labels) of texts with these scores (N, C) in double precision on the CPU, of which the model
    knows such shares (N,)."""
    logs = bundle.fusion(scores, share_N)
    odds = [_log_odds(logs[head]) for head in bundle.heads]
    return torch.cat([*odds, *(scores[head] for head in bundle.numbers)], dim=1)


def _log_odds(logs_NC: Tensor) -> Tensor:
    """log p - log (1 - p), from logarithms that may be very close to 0."""
    classes = logs_NC.shape[1]
    itself_CC = torch.eye(classes, dtype=torch.bool)
    others_NCC = logs_NC[:, None].expand(-1, classes, -1).masked_fill(itself_CC, -torch.inf)
    return logs_NC - others_NCC.logsumexp(2)
