"""Predictions of a network of OmicsFUSION's design for windows: the probability that a base is in a peak of a track.

A value belongs to the first base of a token; one whose token holds a letter that is no base, and a window's last ones,
which begin no whole token, have none.

Shape suffixes: B windows, T tokens, L letters, C tracks, V tokens of the vocabulary, A bases.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from genomai_cli.backbones.omicsfusion import KNOWN, VALUES, OmicsFusionNetwork
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import UsageError
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.track_table import strand_partners
from genomai_cli.inference.batching import padding_mask
from genomai_cli.inference.label_odds import Odds
from genomai_cli.inference.letter_effects import letter_changes
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.track_readers import Block, Positions, Splicing, Window, known_bases
from genomai_cli.tokenizers.batch import padded


class OmicsFusionReader:
    """See `TrackReader`."""

    maps: frozenset[int] = frozenset()
    splicing_heads: ClassVar[Mapping[int, str]] = {}
    junctions: frozenset[int] = frozenset()
    step = 1
    reads_tracks = True
    organism = ""

    def __init__(
        self, bundle: Bundle, only: Sequence[str] = (), organism: str | None = None
    ) -> None:
        del only
        if organism is not None:
            raise UsageError(f"--organism: the model {bundle.name!r} tells no organisms apart")
        network = bundle.classifier.networks[0]
        assert isinstance(network, OmicsFusionNetwork)
        self.network, self.tokenizer = network, bundle.tokenizer
        self.tracks = bundle.input.tracks
        self.partners = strand_partners(self.tracks)
        self.max_length = int(network.max_length or 0)
        self.tail = self.tokenizer.k - 1
        self.is_bidirectional = network.config.bidirectional

    @property
    def remarks(self) -> str:
        """See `TrackReader`."""
        return f"a contig's last {self.tail} bases and those beside letters that are no bases have no value"

    def read(
        self, windows: Sequence[Window], columns: Sequence[int], bases: int = 1
    ) -> list[Block]:
        """See `TrackReader`; the values that are known are given in all windows or in none."""
        del bases
        window_ids = [self.tokenizer.encode(text) for text, _ in windows]
        ids_BT = padded(window_ids, self.tokenizer.pad_id)
        device = self.network.norm.weight.device
        with torch.inference_mode():
            features = self._features(ids_BT.shape, windows)
            tokens_BT = torch.from_numpy(ids_BT).to(device)
            mask_BT = padding_mask(window_ids, tokens_BT, left=False)
            hidden_BTD = self.network(tokens_BT, mask_BT, features=features)
            logits_BTC = self.network.track_logits(hidden_BTD, features)[..., list(columns)]
            probabilities_BTC = logits_BTC.float().sigmoid().cpu().numpy()
        longest = max(len(text) for text, _ in windows)
        values_BTC = known_bases(self.tokenizer.is_dna(ids_BT), probabilities_BTC)
        padding = ((0, 0), (0, longest - values_BTC.shape[1]), (0, 0))
        values_BLC = np.pad(values_BTC, padding, constant_values=np.nan)
        return [Block(range(len(columns)), 1, values_BLC)]

    def _features(self, shape: tuple[int, ...], windows: Sequence[Window]) -> dict[str, Tensor]:
        """The known values of the tracks, at the tokens' first bases."""
        if windows[0][1] is None:
            return {}
        values_BTC = np.full((*shape, self.network.config.tracks), np.nan, np.float32)
        for row, (_, track_values) in zip(values_BTC, windows, strict=True):
            assert track_values is not None
            length = min(len(track_values), len(row))
            row[:length] = track_values[:length]
        values = torch.from_numpy(values_BTC).to(self.network.norm.weight.device)
        return {VALUES: values.nan_to_num(0.0), KNOWN: ~values.isnan()}

    def to_model_scale(self, values: Values) -> Values:
        """See `TrackReader`: 1 in a peak, else 0."""
        return np.where(np.isnan(values), values, np.float32(1) * (values > 0))

    def contacts(self, text: str, columns: Sequence[int]) -> Values:
        """There are none."""
        raise NotImplementedError

    def splicing(self, text: str, columns: Sequence[int], tissues: Sequence[int]) -> Splicing:
        """There is none."""
        raise NotImplementedError

    def likely_sites(self, sites: Values) -> Positions:
        """There are none."""
        raise NotImplementedError

    def gradients(self, stretch: Stretch, column: int) -> tuple[Odds, float]:
        """See `TrackReader`."""
        text, scored = stretch.text, stretch.scored
        ids_T = self.tokenizer.encode(text)
        scored_T = torch.from_numpy(self.tokenizer.is_dna(ids_T))
        scored_T[: scored.start] = scored_T[scored.stop :] = False
        means: list[Tensor] = []

        def value(logits_BTC: Tensor) -> Tensor:
            means.append(logits_BTC[0, scored_T, column].sigmoid().mean())
            return means[0].log()

        device = next(self.network.parameters()).device
        gradients_BTV = self.network.track_gradients(
            torch.from_numpy(ids_T).to(device)[None], value
        )
        gradients_TV = gradients_BTV[0].detach().double().cpu().numpy()
        return letter_changes(self.tokenizer, text, ids_T, gradients_TV), float(means[0].detach())
