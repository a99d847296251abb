"""Predict tracks of coverage from DNA, as AlphaGenome does (doi:10.1038/s41586-025-10014-0, methods).

The window is cut into segments. In each the sum of a track's values has a Poisson loss, and how they are spread over
its bins a multinomial one, both on the network's scale (`alphagenome_heads`) and 0 where they are met; every head and
resolution adds its mean. What is missing is in no sum and enters no loss: values of other organisms' tracks, and bins
without one. Single bases, whose decoder is the costly half of a network, are told in some of the windows only.

Of contact maps the ln of the contacts of a pair of bins over the mean of pairs so far apart is told, between -2 and 2
as for Akita (Fudenberg et al. 2020, doi:10.1038/s41592-020-0958-x), with the mean squared error of known pairs.

Shape suffixes: B windows, F windows whose bases are told, L letters, C tracks of all organisms, R bins, S segments, O
tracks of a head, G organisms, P bins of 2,048 bases, M contact maps, D distances.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import Letters
from genomai_cli.augmentations import lengths, turn
from genomai_cli.backbones.alphagenome_heads import BASES, TrackHead
from genomai_cli.backbones.alphagenome_layers import STEP, TOKEN
from genomai_cli.backbones.alphagenome_tracks import CONTACTS, SPLICING, organisms_of, places_of
from genomai_cli.backbones.base import max_length, network_class
from genomai_cli.backbones.heads import NONE
from genomai_cli.errors import TrainingError
from genomai_cli.objectives.base import BEGINS, Alone, Alphabet, Group, Model, Views, mean_over
from genomai_cli.tokenizers.batch import encode_rows

TINY = 1e-7
MOST_FOLD = 2.0  # of contacts over their mean, a logarithm
Terms = tuple[Tensor, Tensor]  # a sum and how many things it is of


@dataclass(frozen=True)
class TracksSettings:
    """Into how many `segments` a window is cut, how much their spread counts beside their sum, the share of windows
    that is read along the other strand, and the share whose single bases count (`bases`) besides bins of 128. A track's
    losses are divided by the share of its values above 0 to the power `rarity`: with 0 tracks that are seldom above 0
    count little, with 1 all have equal sums."""

    segments: int = 8
    positional_weight: float = 5.0
    reverse_complement: float = 0.5
    bases: float = 1.0
    rarity: float = 0.5


class Wanted(NamedTuple):
    """What a head is to tell at a resolution of some windows, and these windows' organisms (B,): the values (B, R, O)
    on the network's scale, NaN where missing, and the share of each column's values that is above 0 (B, O)."""

    assay: TrackHead
    bases: int
    values: Tensor
    organism: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Tracks:
    """Poisson loss of sums, multinomial loss of their spread."""

    settings_class: ClassVar[type] = TracksSettings
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "segments": (1, 128),
        "positional_weight": (0, math.inf),
        "reverse_complement": (0, 1),
        "bases": (0, 1),
        "rarity": (0, 1),
    }
    input_kind: ClassVar[str | None] = "tracks"

    settings: TracksSettings
    alphabet: Alphabet
    name: str = "tracks"

    @classmethod
    def check(cls, settings: Any, alphabet: Alphabet, recipe: Any) -> None:
        """TrainingError for a network that predicts no tracks, a window that the segments do not divide, tracks of
        splicing, and a contig with tracks of two organisms."""
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
        for track in alphabet.tracks.aligned.tracks:
            if track.head in SPLICING:
                raise TrainingError(
                    f"recipe {recipe.name}: track {track.name}: heads of {track.head} are not trained"
                )
        for contig in dict.fromkeys(contig for contig, _ in alphabet.tracks.row_origins):
            found = {track.organism for track in alphabet.tracks.aligned.tracks_on(contig)}
            if len(found) > 1:
                raise TrainingError(
                    f"contig {contig} has tracks of {' and '.join(sorted(found))}: name each organism's contigs apart"
                )

    def auxiliary(self) -> dict[str, Any]:
        """Nothing beside the network, whose heads these are."""
        return {"kind": NONE}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids` of letters; `flipped`, `sizes` and `told` (B, 1): whether a window is read along the other strand, its
        letters, and whether its single bases count."""
        flipped_B = rng.random(len(letters_BL)) < self.settings.reverse_complement
        told_B = rng.random(len(letters_BL)) < self.settings.bases
        return {
            "ids": encode_rows(self.alphabet.tokenizer, turn(letters_BL, flipped_B)),
            "flipped": flipped_B[:, None].astype(np.int64),
            "sizes": lengths(letters_BL)[:, None],
            "told": told_B[:, None].astype(np.int64),
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: Group) -> Tensor:
        """The sum over heads and resolutions, in nats a bin; single bases count by the share of windows they are told
        of."""
        network: Any = model.network
        told_B = views["told"][:, 0] > 0
        rows = group.total(told_B.new_tensor(len(told_B), dtype=torch.float))
        share = group.total(told_B.float().sum()) / rows
        wanted = list(self.wanted(network, views))
        ids_BL = model.inputs(views["ids"])
        heads, maps = network.tracks, self.alphabet.tracks.aligned.maps
        bases_B = told_B if heads.of_bases else torch.zeros_like(told_B)
        made = network.embeddings(ids_BL, self._organism(views), bases=bases_B)
        # What no head reads has gradients of 0, not none, which DDP would wait for.
        unread = zip(made, (heads.of_bases, heads.assays, maps), strict=True)
        losses = []
        for part in wanted:
            scaled_BRO = part.assay.scaled(made, part.organism, part.bases).float()
            counts = share if part.bases == BASES else 1.0
            losses.append(self._of(scaled_BRO, part, group) * counts)
        if maps:
            told_BPPO = heads.contact_maps(made.pairs, self._organism(views)).float()
            losses.append(squared_error(told_BPPO, self.wanted_contacts(views), group))
        losses += [(part * 0.0).sum() for part, read in unread if not read]
        return torch.stack(losses).sum()

    def guessed(self, network: Any, views: Mapping[str, Tensor]) -> float:
        """The loss of the same windows where each track has everywhere its mean, which on the network's scale is about
        the share of values above 0, and contacts are those expected by distance."""
        told_B = views["told"][:, 0] > 0
        losses = []
        for part in self.wanted(network, views):
            found = self._of(part.shares.unsqueeze(1).expand_as(part.values), part, Alone())
            losses.append(found * (told_B.float().mean() if part.bases == BASES else 1.0))
        if self.alphabet.tracks.aligned.maps:
            wanted_BPPO = self.wanted_contacts(views)
            losses.append(squared_error(torch.zeros_like(wanted_BPPO), wanted_BPPO, Alone()))
        return float(torch.stack(losses).sum())

    def wanted(self, network: Any, views: Mapping[str, Tensor]) -> Iterator[Wanted]:
        """What the heads are to tell at each of their resolutions, of single bases in the windows told."""
        values_BLC, organism_B = self.shown(views), self._organism(views)
        told_B = views["told"][:, 0] > 0
        # The last is that of no track.
        shares = torch.tensor(
            [*self.alphabet.tracks.positive_shares, 1.0], device=organism_B.device
        )
        shape = len(values_BLC), -1, TOKEN, values_BLC.shape[2]
        bins_BRC = values_BLC.reshape(shape).nanmean(dim=2)
        seen = {BASES: (values_BLC[told_B], organism_B[told_B]), TOKEN: (bins_BRC, organism_B)}
        for head, assay in network.tracks.assays.items():
            for bases in assay.resolutions:
                values_BRC, own_B = seen[bases]
                columns_BO = torch.from_numpy(self._columns[head]).to(own_B.device)[own_B]
                at_BRO = columns_BO.clamp(min=0).unsqueeze(1).expand(-1, values_BRC.shape[1], -1)
                values_BRO = values_BRC.gather(2, at_BRO)
                values_BRO = values_BRO.masked_fill((columns_BO < 0).unsqueeze(1), torch.nan)
                yield Wanted(
                    assay, bases, assay.wanted(values_BRO, own_B), own_B, shares[columns_BO]
                )

    def shown(self, views: Mapping[str, Tensor]) -> Tensor:
        """The values (B, L, C) of bases, NaN where missing."""
        width, device = views["ids"].shape[1], views["ids"].device
        values_BLC = self.alphabet.tracks.values(*_windows(views), width)
        return torch.from_numpy(values_BLC).to(device)

    def wanted_contacts(self, views: Mapping[str, Tensor]) -> Tensor:
        """What the head of contact maps is to tell of windows (B, P, P, O), NaN where missing, of another organism's
        map, or at a distance at which there are no contacts."""
        windows, ids_BL = self.alphabet.tracks, views["ids"]
        bins = ids_BL.shape[1] // STEP
        contacts_BPPM = windows.contacts(*_windows(views), bins)
        apart_PP = np.abs(np.arange(bins)[:, None] - np.arange(bins))
        expected_PPM = windows.expected.T[apart_PP]
        with np.errstate(divide="ignore", invalid="ignore"):
            fold_BPPM = np.log(contacts_BPPM / expected_PPM)
        fold_BPPM = np.where(expected_PPM > 0, fold_BPPM.clip(-MOST_FOLD, MOST_FOLD), np.nan)
        # The last is that of no map.
        places = {source.column: number for number, source in enumerate(windows.aligned.maps)}
        missing = np.full((*fold_BPPM.shape[:3], 1), np.nan, fold_BPPM.dtype)
        fold_BPPM = np.concatenate([fold_BPPM, missing], axis=3)
        map_GO = np.vectorize(lambda column: places.get(column, -1))(self._columns[CONTACTS])
        map_BO = map_GO[self._organism(views).cpu().numpy()]
        found_BPPO = np.take_along_axis(
            fold_BPPM, map_BO[:, None, None] % fold_BPPM.shape[3], axis=3
        )
        return torch.from_numpy(found_BPPO).to(ids_BL.device)

    def _organism(self, views: Mapping[str, Tensor]) -> Tensor:
        """That (B,) of each window."""
        contigs = self.alphabet.tracks.contigs(views[BEGINS][:, 0].cpu().numpy())
        organism_B = [self._organisms.get(contig, 0) for contig in contigs]
        return torch.tensor(organism_B, device=views["ids"].device)

    def bits_per_base(self, nats: float) -> None:
        """None: the loss is no likelihood of bases."""

    @cached_property
    def _organisms(self) -> dict[str, int]:
        """The number of each contig's organism, of those with tracks."""
        aligned = self.alphabet.tracks.aligned
        names = organisms_of(aligned.tracks)
        contigs = dict.fromkeys(contig for contig, _ in self.alphabet.tracks.row_origins)
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

    def _of(self, scaled_BRO: Tensor, part: Wanted, group: Group) -> Tensor:
        """The loss of one head at one resolution."""
        weights_BO = part.shares**-self.settings.rarity
        found = multinomial(scaled_BRO, part.values, self.settings.segments, weights_BO)
        total, spread = (mean_over(*terms, group) for terms in found)
        return total + self.settings.positional_weight * spread


def _windows(views: Mapping[str, Tensor]) -> Iterator[NDArray[np.int64]]:
    """Where windows begin, their letters, and which are read along the other strand."""
    return (views[name][:, 0].cpu().numpy() for name in (BEGINS, "sizes", "flipped"))


def squared_error(told: Tensor, wanted: Tensor, group: Group) -> Tensor:
    """The mean over what is not NaN in `wanted`."""
    known = ~wanted.isnan()
    errors = torch.where(known, told - wanted.nan_to_num(0.0), 0.0)
    return mean_over(errors.square().sum(), known.sum(), group)


def multinomial(
    scaled_BRO: Tensor, wanted_BRO: Tensor, segments: int, weights_BO: Tensor
) -> Iterator[Terms]:
    """The Poisson loss of the sums of segments, a bin, and the multinomial loss of the bins, each times its track's
    weight: as a sum and the number of segments or bins it is over. Bins that are NaN in `wanted` count nowhere."""
    known_BRO = ~wanted_BRO.isnan()
    wanted, scaled, known = (
        values.reshape(len(values), segments, values.shape[1] // segments, values.shape[2])
        for values in (wanted_BRO.nan_to_num(0.0), scaled_BRO, known_BRO)
    )
    scaled = torch.where(known, scaled, 0.0)
    sums_BS1O, wanted_BS1O = scaled.sum(2, keepdim=True), wanted.sum(2, keepdim=True)
    some_BS1O = known.any(2, keepdim=True)
    poisson = sums_BS1O - wanted_BS1O * (sums_BS1O + TINY).log()
    least = wanted_BS1O - wanted_BS1O * (wanted_BS1O + TINY).log()
    weights_B11O = weights_BO[:, None, None]
    losses_BS1O = (poisson - least) * weights_B11O
    yield losses_BS1O[some_BS1O].sum() / wanted.shape[2], some_BS1O.sum()
    shares, true = scaled / (sums_BS1O + TINY), wanted / (wanted_BS1O + TINY)
    losses = wanted * ((true + TINY).log() - (shares + TINY).log()) * weights_B11O
    yield losses[known].sum(), known.sum()
