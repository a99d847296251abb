"""Restore DNA and the tracks over it from each other, under two maskings (OmicsFUSION, doi:10.1101/2025.09.05.674329).

Tokens are masked one by one, never two in a row: of overlapping k-mers the one before then tells a causal network all
bases but the last. Tracks are masked as a whole, and positions in spans over all tracks. Cross-entropy of the masked
tokens and of a sample of visible ones; for tracks that of being above 0, at masked and at visible values. What is
missing is never read and never enters a loss.

Shape suffixes: B windows, L letters, T tokens, C tracks, N chosen tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from genomai_cli.alphabet import Letters
from genomai_cli.augmentations import lengths, random_spans, reverse_complement_rows
from genomai_cli.backbones.base import Network, network_class
from genomai_cli.backbones.omicsfusion import KNOWN, VALUES
from genomai_cli.errors import TrainingError
from genomai_cli.objectives.base import (
    NO_TARGET,
    WINDOW_STARTS,
    Alphabet,
    Model,
    ProcessGroup,
    Views,
    mean_over,
)
from genomai_cli.tokenizers.batch import encode_rows

_WEIGHT = (0, math.inf)


@dataclass(frozen=True)
class OmicsSettings:
    """Shares that are masked, in each window, and weights in the loss: `tokens`, of whose visible ones the share
    `visible` is in the loss; `tracks` as a whole; `positions`, in spans of `span` bases over all tracks."""

    tokens: float = 0.15
    visible: float = 0.05
    tracks: float = 0.15
    positions: float = 0.15
    span: int = 256
    reverse_complement: float = 0.5
    token_weight: float = 1.0
    visible_token_weight: float = 1.0
    track_weight: float = 50.0
    visible_track_weight: float = 10.0


class MaskedTracks(NamedTuple):
    """Values (B, T, C), whether each is known, and which are masked."""

    values: Tensor
    known: Tensor
    masked: Tensor

    @property
    def features(self) -> dict[str, Tensor]:
        """What the network reads of them."""
        visible = self.known & ~self.masked
        return {VALUES: torch.where(visible, self.values, 0.0), KNOWN: visible}


@dataclass(frozen=True)
class Omics:
    """Cross-entropy of masked tokens and tracks."""

    settings_class: ClassVar[type] = OmicsSettings
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "tokens": (0.001, 0.5),
        "visible": (0, 1),
        "tracks": (0, 0.9),
        "positions": (0, 0.9),
        "span": (1, math.inf),
        "reverse_complement": (0, 1),
        "token_weight": _WEIGHT,
        "visible_token_weight": _WEIGHT,
        "track_weight": _WEIGHT,
        "visible_track_weight": _WEIGHT,
    }
    input_kind: ClassVar[str | None] = "tracks"

    settings: OmicsSettings
    alphabet: Alphabet
    name: str = "omics"

    @classmethod
    def check(cls, settings: Any, alphabet: Alphabet, recipe: Any) -> None:
        """TrainingError for a network that restores no tracks, and for tokens that are not one a letter."""
        del settings
        if not network_class(recipe.network["kind"]).restores_tracks:
            raise TrainingError(
                f"recipe {recipe.name}: the objective omics needs a network that restores tracks (omicsfusion)"
            )
        tokenizer = alphabet.tokenizer
        if tokenizer.stride != 1 or tokenizer.prefix or tokenizer.kind != "kmers":
            raise TrainingError(
                f"recipe {recipe.name}: the objective omics needs kmers of stride 1"
            )

    def auxiliary(self) -> dict[str, Any]:
        """The network's head for tokens."""
        return {"kind": "words", "vocabulary": len(self.alphabet.tokenizer.vocabulary)}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids` with tokens masked; `targets` and `targets_visible`, the tokens in the loss; `masked_positions` (B, T)
        and `masked_tracks` (B, C), 1 where masked; `flipped` and `sizes` (B, 1), whether a window is read along the
        other strand, and its letters."""
        settings, tokenizer = self.settings, self.alphabet.tokenizer
        flipped_B = rng.random(len(letters_BL)) < settings.reverse_complement
        original_BT = encode_rows(tokenizer, reverse_complement_rows(letters_BL, flipped_B))
        dna_BT = tokenizer.is_dna(original_BT)
        masked_BT = isolated_positions(original_BT.shape, settings.tokens, rng) & dna_BT
        visible_BT = ~masked_BT & dna_BT & (rng.random(original_BT.shape) < settings.visible)
        tracks = len(self.alphabet.tracks.aligned.tracks)
        masked_tracks_BC = rng.random((len(letters_BL), tracks)) < settings.tracks
        return {
            "ids": np.where(masked_BT, tokenizer.mask_id, original_BT),
            "targets": np.where(masked_BT, original_BT, NO_TARGET),
            "targets_visible": np.where(visible_BT, original_BT, NO_TARGET),
            "masked_positions": random_spans(
                original_BT.shape, settings.positions, rng, settings.span
            ).astype(np.int64),
            "masked_tracks": masked_tracks_BC.astype(np.int64),
            "flipped": flipped_B[:, None].astype(np.int64),
            "sizes": lengths(letters_BL)[:, None],
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: ProcessGroup) -> Tensor:
        """The weighted sum of four means, each over what all processes have of it, in nats."""
        settings, network = self.settings, model.network
        tracks = self.masked_tracks(views)
        ids_BT = model.inputs(views["ids"])
        features = tracks.features
        hidden_BTD = network(ids_BT, self.alphabet.mask(views["ids"]), features=features)
        logits_BTC = network.track_logits(hidden_BTD, features).float()  # type: ignore[operator]
        nats_BTC = functional.binary_cross_entropy_with_logits(
            logits_BTC, (tracks.values > 0).to(logits_BTC), reduction="none"
        )
        terms = []
        for targets, weight in (
            ("targets", settings.token_weight),
            ("targets_visible", settings.visible_token_weight),
        ):
            scored_BT = views[targets] != NO_TARGET
            nats_N = network.token_losses(  # type: ignore[operator]
                model.head, hidden_BTD[scored_BT], views[targets][scored_BT]
            )
            terms.append((nats_N.sum(), scored_BT.sum(), weight))
        for scored_BTC, weight in (
            (tracks.known & tracks.masked, settings.track_weight),
            (tracks.known & ~tracks.masked, settings.visible_track_weight),
        ):
            terms.append(((nats_BTC * scored_BTC).sum(), scored_BTC.sum(), weight))
        return torch.stack(
            [weight * mean_over(sum_, count, group) for sum_, count, weight in terms]
        ).sum()

    def baseline_loss(self, network: Network, views: Mapping[str, Tensor]) -> float:
        """The loss without a network: of a masked token one base of four is unknown, of a visible one none; each track
        is at its rate among the visible values of the same windows."""
        del network
        settings, tracks = self.settings, self.masked_tracks(views)
        visible_BTC, masked_BTC = tracks.known & ~tracks.masked, tracks.known & tracks.masked
        above_BTC = tracks.values > 0
        count_C = visible_BTC.sum((0, 1))
        rate_C = ((above_BTC & visible_BTC).sum((0, 1)) + 0.5) / (count_C + 1)
        logits_BTC = torch.logit(rate_C).expand_as(above_BTC)
        nats_BTC = functional.binary_cross_entropy_with_logits(
            logits_BTC, above_BTC.to(logits_BTC), reduction="none"
        )
        total = settings.token_weight * math.log(4) * bool((views["targets"] != NO_TARGET).any())
        for scored_BTC, weight in (
            (masked_BTC, settings.track_weight),
            (visible_BTC, settings.visible_track_weight),
        ):
            total += weight * float((nats_BTC * scored_BTC).sum() / scored_BTC.sum().clamp(min=1))
        return total

    def masked_tracks(self, views: Mapping[str, Tensor]) -> MaskedTracks:
        """The tracks' values at the tokens' first bases, and which are masked."""
        ids_BT = views["ids"]
        begins, sizes, flipped = (
            views[name][:, 0].cpu().numpy() for name in (WINDOW_STARTS, "sizes", "flipped")
        )
        width = ids_BT.shape[1] + self.alphabet.tokenizer.k - 1
        values = self.alphabet.tracks.values(begins, sizes, flipped, width)[:, : ids_BT.shape[1]]
        values_BTC = torch.from_numpy(values).to(ids_BT.device)
        known_BTC = ~values_BTC.isnan()
        positions_BT1 = views["masked_positions"].unsqueeze(2) == 1
        masked_BTC = positions_BT1 | (views["masked_tracks"].unsqueeze(1) == 1)
        real_BT1 = (ids_BT != self.alphabet.tokenizer.pad_id).unsqueeze(2)
        return MaskedTracks(
            torch.where(known_BTC, values_BTC, 0.0), known_BTC & real_BT1, masked_BTC
        )

    def bits_per_base(self, nats: float) -> None:
        """None: the loss is no likelihood of bases."""


def isolated_positions(
    shape: tuple[int, int], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """About `share`, at most half, of the positions (B, T), never two in a row: gaps between them are drawn from a
    geometric distribution behind a gap of one."""
    rows, width = shape
    gaps = rng.geometric(1 / (1 / share - 1), (rows, width // 2 + 1)) + 1
    position = gaps.cumsum(axis=1) - rng.integers(1, 3, (rows, 1))
    mask_BT = np.zeros(shape, np.bool_)
    row, column = np.nonzero(position < width)
    mask_BT[row, position[row, column]] = True
    return mask_BT
