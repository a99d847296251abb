"""What a model of tracks says of sequences, to be compared: of every track the logarithm of its mean over some bases.

The difference of two is a log fold change. Shape suffixes: N texts, L letters, A bases, B windows, T tokens, V of
the vocabulary, C tracks.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.formats.track_table import chosen_tracks, strand_partners
from genomai_cli.inference.label_odds import TRACKS, Odds
from genomai_cli.inference.letter_effects import Changes, of_letters, substitutions
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.track_predictions import chances, track_model


class TrackMeans:
    """ln of the mean probability of each track, over the bases of a stretch that count, tracks/NAME.

    BundleError for a model without tracks, UsageError for the text of `only` that no track has as its name, assay or
    tissue, and for both strands where a track has no partner.
    """

    def __init__(self, bundle: Bundle, only: Sequence[str] = (), *, both_strands: bool) -> None:
        self.network, self.tracks = track_model(bundle)
        self.tokenizer, self.both_strands = bundle.tokenizer, both_strands
        self.longest = int(self.network.max_length or 0)  # letters of a text, which is one window
        self._partners = strand_partners(self.tracks)
        if both_strands and min(self._partners) < 0:
            raise UsageError("--strand both: a track has no partner on the other strand")
        self._columns = chosen_tracks(self.tracks, only)
        self.labels = [TRACKS + self.tracks[column].name for column in self._columns]

    def of_stretches(self, stretches: Sequence[Stretch]) -> Odds:
        """The values (N, tracks) of each; NaN where none of the bases that count has a value. Stretches are read one by
        one, so that others beside them do not show in the rounding."""
        return np.array([self._of(stretch) for stretch in stretches]).reshape(-1, len(self.labels))

    def of(self, texts: Sequence[str]) -> Odds:
        """The same of whole texts."""
        return self.of_stretches([Stretch(text) for text in texts])

    def gradient(self, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
        """The change (L, 4) of one label's value of each text by every substitution, to first order; NaN for a letter
        itself and for letters that are no bases."""
        return [self._changes(text, at) for text, at in zip(texts, columns, strict=True)]

    def _changes(self, text: str, at: int) -> Changes:
        column = self._columns[at]
        change_LA, mean = self._slopes(text, column)
        if self.both_strands:
            turned = Stretch(text).turned.text
            other_LA, other = self._slopes(turned, self._partners[column])
            # The logarithm of the mean of two: each counts by its share.
            change_LA = (mean * change_LA + other * other_LA[::-1, ::-1]) / (mean + other)
        return np.where(substitutions(text), change_LA, np.nan)

    def _slopes(self, text: str, column: int) -> tuple[Changes, float]:
        """The changes (L, 4) on a strand of the ln of a track's mean, and that mean."""
        ids_T = self.tokenizer.encode(text)
        told_T = torch.from_numpy(self.tokenizer.is_dna(ids_T))
        means: list[Tensor] = []

        def value(logits_BTC: Tensor) -> Tensor:
            means.append(logits_BTC[0, told_T, column].sigmoid().mean())
            return means[0].log()

        device = next(self.network.parameters()).device
        slopes_BTV = self.network.track_slopes(torch.from_numpy(ids_T).to(device)[None], value)
        slopes_TV = slopes_BTV[0].detach().double().cpu().numpy()
        return of_letters(self.tokenizer, text, ids_T, slopes_TV), float(means[0].detach())

    def _of(self, stretch: Stretch) -> Odds:
        forward_C = self._mean(stretch)
        if self.both_strands:
            backward_C = self._mean(stretch.turned)[self._partners]
            forward_C = (forward_C + backward_C) / 2
        return np.asarray(np.log(forward_C[self._columns]), np.float64)

    def _mean(self, stretch: Stretch) -> Odds:
        if len(stretch.text) > self.longest:
            raise BundleError(f"{len(stretch.text)} letters are more than the model reads")
        if len(stretch.text) < self.tokenizer.k:
            return np.full(len(self.tracks), np.nan)
        rows_BTC, told_BT = chances(self.network, self.tokenizer, [(stretch.text, None)])
        own = slice(stretch.own.start, min(stretch.own.stop, told_BT.shape[1]))
        known_TC = rows_BTC[0, own][told_BT[0, own]]
        nothing_C = np.full(rows_BTC.shape[2], np.nan)
        return known_TC.mean(axis=0, dtype=np.float64) if len(known_TC) else nothing_C
