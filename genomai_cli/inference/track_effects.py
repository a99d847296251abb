"""Predictions of models of tracks on a scale to compare sequences: of every track the logarithm of its mean, or of its
largest value, over some bases, and of contact maps the mean contact of the bins that these bases are in.

The difference of two logarithms is a log fold change. Shape suffixes: N texts, L letters, A bases, C tracks, P bins of
contact maps, M maps.
"""

from collections.abc import Callable, Sequence

import numpy as np

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError
from genomai_cli.formats.bigwig import Values
from genomai_cli.inference.label_odds import CONTACTS, LARGEST_VALUES, TRACKS, Odds
from genomai_cli.inference.letter_effects import Changes, substitution_mask
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.track_readers import (
    TrackReader,
    base_values,
    columns_along,
    require_partners,
    track_reader,
)

MEAN, MAX = "mean", "max"
AGGREGATIONS: dict[str, Callable[[Values], Odds]] = {
    MEAN: lambda values_LC: np.nanmean(values_LC, axis=0, dtype=np.float64),
    MAX: lambda values_LC: np.nanmax(values_LC, axis=0).astype(np.float64),
}


def changes_by_gradient(
    reader: TrackReader, stretch: Stretch, column: int, *, both_strands: bool
) -> Changes:
    """The change (L, 4) of the ln of a track's mean over the letters that count by every substitution of a text, to
    first order; NaN for a letter itself and for letters that are no bases."""
    change_LA, mean = reader.gradients(stretch, column)
    if both_strands:
        other_LA, other = reader.gradients(stretch.other_strand, reader.partners[column])
        # The logarithm of the mean of two: each counts by its share.
        change_LA = (mean * change_LA + other * other_LA[::-1, ::-1]) / (mean + other)
    return np.where(substitution_mask(stretch.text), change_LA, np.nan)


class TrackMeans:
    """ln of the mean, or with the aggregation `max` of the largest value, of each track over the bases of a stretch
    that count, and behind these the mean contacts of each map. Without `splicing` tracks of it are left out.

    BundleError for a model without tracks, UsageError for the text of `only` that no track has as its name, assay or
    tissue, where an organism is to be named, and for both strands where a track has no partner.
    """

    def __init__(
        self,
        bundle: Bundle,
        only: Sequence[str] = (),
        *,
        both_strands: bool,
        organism: str | None = None,
        aggregation: str = MEAN,
        splicing: bool = True,
    ) -> None:
        self.reader = track_reader(bundle, only, organism)
        self.both_strands = both_strands
        self.max_letters, self.step = self.reader.max_length, self.reader.step  # letters of a text
        self._columns, self._maps = columns_along(self.reader, only)
        if not splicing:
            heads = self.reader.splicing_heads
            self._columns = [column for column in self._columns if column not in heads]
        if both_strands:
            require_partners(self.reader, self._columns)
        self._summary = AGGREGATIONS[aggregation]
        prefix = TRACKS if aggregation == MEAN else LARGEST_VALUES
        names = [track.name for track in self.reader.tracks]
        self.labels = [prefix + names[column] for column in self._columns]
        self.labels += [CONTACTS + names[column] for column in self._maps]

    def of_stretches(self, stretches: Sequence[Stretch]) -> Odds:
        """The values (N, labels) of each; NaN where none of the bases that count has a value. Stretches are read one by
        one, so that rounding does not depend on other stretches of a batch."""
        return np.array([self._of(stretch) for stretch in stretches]).reshape(-1, len(self.labels))

    def of(self, texts: Sequence[str]) -> Odds:
        """The same of whole texts."""
        return self.of_stretches([Stretch(text) for text in texts])

    def gradient(self, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
        """The change (L, 4) of one label's value of each text by every substitution, to first order; NaN for a letter
        itself and for letters that are no bases."""
        return [
            changes_by_gradient(
                self.reader, Stretch(text), self._columns[at], both_strands=self.both_strands
            )
            for text, at in zip(texts, columns, strict=True)
        ]

    def _of(self, stretch: Stretch) -> Odds:
        forward = self._values(stretch, self._columns)
        contacts_M = self._contacts(stretch)
        if self.both_strands:
            partner_columns = [self.reader.partners[column] for column in self._columns]
            forward = (forward + self._values(stretch.other_strand, partner_columns)) / 2
            contacts_M = (contacts_M + self._contacts(stretch.other_strand)) / 2
        return np.concatenate([np.log(forward), contacts_M])

    def _values(self, stretch: Stretch, columns: Sequence[int]) -> Odds:
        """Of each track over the bases that count."""
        if len(stretch.text) > self.max_letters:
            raise BundleError(f"{len(stretch.text)} letters are more than the model reads")
        missing_C = np.full(len(columns), np.nan)
        if len(stretch.text) <= self.reader.tail or not columns:
            return missing_C
        blocks = self.reader.read([(stretch.text, None)], columns)
        values_LC = base_values(blocks, len(columns))[0, stretch.scored]
        known_LC = values_LC[~np.isnan(values_LC).all(axis=1)]
        return self._summary(known_LC) if len(known_LC) else missing_C

    def _contacts(self, stretch: Stretch) -> Odds:
        """Of each map the mean over all bins of what the bins of the bases that count have with them."""
        if not self._maps:
            return np.empty(0)
        maps_PPM = self.reader.contacts(stretch.text, self._maps)
        bases = len(stretch.text) // len(maps_PPM)
        scored = stretch.scored
        rows = slice(scored.start // bases, -(-scored.stop // bases))
        return np.asarray(maps_PPM[rows].mean(axis=(0, 1)), np.float64)
