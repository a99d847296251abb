"""Predict tracks of coverage from DNA, as AlphaGenome does (doi:10.1038/s41586-025-10014-0, methods).

The window is cut into segments. In each the sum of a track's values has a Poisson loss, 0 where it is met, and how they
are spread over its bins a multinomial one, both on the network's scale (`alphagenome_heads`); every head and resolution
adds its mean. What is missing is in no sum and enters no loss: values of other organisms' tracks, and bins without one.

Shape suffixes: B windows, L letters, C tracks of all organisms, R bins, S segments, O tracks of a head, G organisms.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import Letters
from genomai_cli.augmentations import lengths, turn
from genomai_cli.backbones.alphagenome_heads import TrackHead
from genomai_cli.backbones.alphagenome_layers import TOKEN
from genomai_cli.backbones.alphagenome_tracks import organisms_of, places_of
from genomai_cli.backbones.base import max_length, network_class
from genomai_cli.backbones.heads import NONE
from genomai_cli.errors import TrainingError
from genomai_cli.objectives.base import BEGINS, Alone, Alphabet, Group, Model, Views, mean_over
from genomai_cli.tokenizers.batch import encode_rows

TINY = 1e-7
Terms = tuple[Tensor, Tensor]  # a sum and how many things it is of


@dataclass(frozen=True)
class TracksSettings:
    """Into how many `segments` a window is cut, how much their spread counts beside their sum, and the share of windows
    that is read along the other strand."""

    segments: int = 8
    positional_weight: float = 5.0
    reverse_complement: float = 0.5


@dataclass(frozen=True)
class Tracks:
    """Poisson loss of sums, multinomial loss of their spread."""

    settings_class: ClassVar[type] = TracksSettings
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "segments": (1, 128),
        "positional_weight": (0, math.inf),
        "reverse_complement": (0, 1),
    }
    input_kind: ClassVar[str | None] = "tracks"

    settings: TracksSettings
    alphabet: Alphabet
    name: str = "tracks"

    @classmethod
    def check(cls, settings: Any, alphabet: Alphabet, recipe: Any) -> None:
        """TrainingError for a network that predicts no tracks, a window that the segments do not divide, and a contig
        with tracks of two organisms."""
        kind = network_class(recipe.network["kind"])
        if not kind.predicts_tracks:
            raise TrainingError(
                f"recipe {recipe.name}: the objective tracks needs a network that predicts tracks (alphagenome)"
            )
        longest = max_length(recipe.network) or 0
        window = min(recipe.corpus.window or longest, longest)
        if window // TOKEN % settings.segments:
            raise TrainingError(
                f"recipe {recipe.name}: tracks.segments = {settings.segments} do not divide a window of {window} bases "
                f"into whole bins of {TOKEN}"
            )
        for contig in dict.fromkeys(contig for contig, _ in alphabet.tracks.places):
            found = {track.organism for track in alphabet.tracks.aligned.tracks_on(contig)}
            if len(found) > 1:
                raise TrainingError(
                    f"contig {contig} has tracks of {' and '.join(sorted(found))}: name each organism's contigs apart"
                )

    def auxiliary(self) -> dict[str, Any]:
        """Nothing beside the network, whose heads these are."""
        return {"kind": NONE}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids` of letters; `flipped` and `sizes` (B, 1), whether a window is read along the other strand, and its
        letters."""
        flipped_B = rng.random(len(letters_BL)) < self.settings.reverse_complement
        return {
            "ids": encode_rows(self.alphabet.tokenizer, turn(letters_BL, flipped_B)),
            "flipped": flipped_B[:, None].astype(np.int64),
            "sizes": lengths(letters_BL)[:, None],
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: Group) -> Tensor:
        """The sum over heads and resolutions, in nats a bin."""
        network: Any = model.network
        values_BLC, organism_B = self.shown(views)
        made = network.embeddings(model.inputs(views["ids"]), organism_B)
        losses = []
        for head, assay in network.tracks.assays.items():
            for bases in assay.resolutions:
                wanted_BRO = self._wanted(head, assay, values_BLC, organism_B, bases)
                scaled_BRO = assay.scaled(made, organism_B, bases).float()
                losses.append(self._of(scaled_BRO, wanted_BRO, group))
        return torch.stack(losses).sum()

    def guessed(self, network: Any, views: Mapping[str, Tensor]) -> float:
        """The loss of each track's mean in the same windows, everywhere."""
        values_BLC, organism_B = self.shown(views)
        losses = []
        for head, assay in network.tracks.assays.items():
            for bases in assay.resolutions:
                wanted_BRO = self._wanted(head, assay, values_BLC, organism_B, bases)
                means_O = wanted_BRO.nanmean(dim=(0, 1)).nan_to_num(1.0)
                losses.append(self._of(means_O.expand_as(wanted_BRO), wanted_BRO, Alone()))
        return float(torch.stack(losses).sum())

    def shown(self, views: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The values (B, L, C) of bases, NaN where missing, and the organism (B,) of each window."""
        begins, sizes, flipped = (
            views[name][:, 0].cpu().numpy() for name in (BEGINS, "sizes", "flipped")
        )
        windows, device = self.alphabet.tracks, views["ids"].device
        values_BLC = windows.values(begins, sizes, flipped, views["ids"].shape[1])
        organism_B = [self._organisms.get(contig, 0) for contig in windows.contigs(begins)]
        return torch.from_numpy(values_BLC).to(device), torch.tensor(organism_B, device=device)

    def bits_per_base(self, nats: float) -> None:
        """None: the loss is no likelihood of bases."""

    @cached_property
    def _organisms(self) -> dict[str, int]:
        """The number of each contig's organism, of those with tracks."""
        aligned = self.alphabet.tracks.aligned
        names = organisms_of(aligned.tracks)
        contigs = dict.fromkeys(contig for contig, _ in self.alphabet.tracks.places)
        there = {contig: aligned.tracks_on(contig) for contig in contigs}
        return {contig: names.index(own[0].organism) for contig, own in there.items() if own}

    @cached_property
    def _columns(self) -> Mapping[str, NDArray[np.int64]]:
        """By head, which track (G, O) is in each column of its, -1 where there is none."""
        places = places_of(self.alphabet.tracks.aligned.tracks)
        organisms = 1 + max(place.organism for place in places)
        found = {}
        for head in dict.fromkeys(place.head for place in places):
            own = [(n, place) for n, place in enumerate(places) if place.head == head]
            columns_GO = np.full((organisms, 1 + max(p.column for _, p in own)), -1)
            for number, place in own:
                columns_GO[place.organism, place.column] = number
            found[head] = columns_GO
        return found

    def _wanted(
        self, head: str, assay: TrackHead, values_BLC: Tensor, organism_B: Tensor, bases: int
    ) -> Tensor:
        """The values (B, R, O) of a head's tracks on the network's scale, NaN where missing."""
        columns_BO = torch.from_numpy(self._columns[head]).to(organism_B.device)[organism_B]
        at_BLO = columns_BO.clamp(min=0).unsqueeze(1).expand(-1, values_BLC.shape[1], -1)
        own_BLO = values_BLC.gather(2, at_BLO)
        bins_BRAO = own_BLO.reshape(len(own_BLO), -1, bases, own_BLO.shape[2])
        bins_BRO = bins_BRAO.squeeze(2) if bases == 1 else bins_BRAO.nanmean(dim=2)
        known_B1O = (columns_BO >= 0).unsqueeze(1)
        return assay.wanted(bins_BRO.masked_fill(~known_B1O, torch.nan), organism_B)

    def _of(self, scaled_BRO: Tensor, wanted_BRO: Tensor, group: Group) -> Tensor:
        """The loss of one head at one resolution."""
        found = multinomial(scaled_BRO, wanted_BRO, self.settings.segments)
        total, spread = (mean_over(*terms, group) for terms in found)
        return total + self.settings.positional_weight * spread


def multinomial(scaled_BRO: Tensor, wanted_BRO: Tensor, segments: int) -> Iterator[Terms]:
    """The Poisson loss of the sums of segments, a bin, and the multinomial loss of the bins: each as a sum and the
    number of segments or bins it is over. Bins that are NaN in `wanted` count nowhere."""
    known_BRO = ~wanted_BRO.isnan()
    wanted, scaled, known = (
        values.reshape(len(values), segments, -1, values.shape[2])
        for values in (wanted_BRO.nan_to_num(0.0), scaled_BRO, known_BRO)
    )
    scaled = torch.where(known, scaled, 0.0)
    sums_BS1O, wanted_BS1O = scaled.sum(2, keepdim=True), wanted.sum(2, keepdim=True)
    some_BS1O = known.any(2, keepdim=True)
    poisson = sums_BS1O - wanted_BS1O * (sums_BS1O + TINY).log()
    least = wanted_BS1O - wanted_BS1O * (wanted_BS1O + TINY).log()
    yield (poisson - least)[some_BS1O].sum() / wanted.shape[2], some_BS1O.sum()
    shares = scaled / (sums_BS1O + TINY)
    yield -(wanted * (shares + TINY).log())[known].sum(), known.sum()
