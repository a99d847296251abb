"""What a model of tracks says of sequences, to be compared: of every track the logarithm of its mean over some bases.

The difference of two is a log fold change. Shape suffixes: N texts, T tokens, C tracks.
"""

from collections.abc import Sequence

import numpy as np

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.formats.track_table import chosen_tracks, strand_partners
from genomai_cli.inference.label_odds import TRACKS, Odds
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
        self._partners = strand_partners(self.tracks)
        if both_strands and min(self._partners) < 0:
            raise UsageError("--strand both: a track has no partner on the other strand")
        self._columns = chosen_tracks(self.tracks, only)
        self.labels = [TRACKS + self.tracks[column].name for column in self._columns]

    def of_stretches(self, stretches: Sequence[Stretch]) -> Odds:
        """The values (N, tracks) of each; NaN where none of the bases that count has a value. Stretches are read one by
        one, so that others beside them do not show in the rounding."""
        return np.array([self._of(stretch) for stretch in stretches]).reshape(-1, len(self.labels))

    def _of(self, stretch: Stretch) -> Odds:
        forward_C = self._mean(stretch)
        if self.both_strands:
            backward_C = self._mean(stretch.turned)[self._partners]
            forward_C = (forward_C + backward_C) / 2
        return np.asarray(np.log(forward_C[self._columns]), np.float64)

    def _mean(self, stretch: Stretch) -> Odds:
        if len(stretch.text) > int(self.network.max_length or 0):
            raise BundleError(f"{len(stretch.text)} letters are more than the model reads")
        rows_BTC, told_BT = chances(self.network, self.tokenizer, [(stretch.text, None)])
        own = slice(stretch.own.start, min(stretch.own.stop, told_BT.shape[1]))
        known_TC = rows_BTC[0, own][told_BT[0, own]]
        nothing_C = np.full(rows_BTC.shape[2], np.nan)
        return known_TC.mean(axis=0, dtype=np.float64) if len(known_TC) else nothing_C
