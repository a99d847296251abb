"""Predict tracks of coverage from DNA, as AlphaGenome does (doi:10.1038/s41586-025-10014-0, methods).

The window is cut into segments. In each the sum of a track's values has a Poisson loss, and how they are spread over
its bins a multinomial one, both on the network's scale (`alphagenome_heads`) and 0 where they are met; every head and
resolution adds its mean. What is missing is in no sum and enters no loss: values of other organisms' tracks, and bins
without one. Single bases, whose decoder is the costly half of a network, are scored in some of the windows only.

The targets of contact maps are the ln of the contacts of a pair of bins over the mean of pairs so far apart, clipped at
-2 and 2 as for Akita (Fudenberg et al. 2020, doi:10.1038/s41592-020-0958-x). Their loss is the mean squared error of
known pairs.

Shape suffixes: B windows, L letters, C tracks of all organisms, R bins, S segments, O
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
from genomai_cli.augmentations import lengths, reverse_complement_rows
from genomai_cli.backbones.alphagenome_heads import BASES, TrackHead
from genomai_cli.backbones.alphagenome_layers import LENGTH_MULTIPLE, TOKEN_BASES
from genomai_cli.backbones.alphagenome_tracks import CONTACTS, SPLICING, organisms_of, output_slots
from genomai_cli.backbones.base import max_length, network_class
from genomai_cli.backbones.heads import NONE
from genomai_cli.errors import TrainingError
from genomai_cli.objectives.base import (
    WINDOW_STARTS,
    Alphabet,
    Model,
    ProcessGroup,
    SingleProcess,
    Views,
    mean_over,
)
from genomai_cli.tokenizers.batch import encode_rows

EPSILON = 1e-7
MAX_LOG_FOLD = 2.0  # of contacts over their mean, a logarithm
SumAndCount = tuple[Tensor, Tensor]  # a sum, and the number of its terms


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


class HeadTargets(NamedTuple):
    """The targets of a head at one resolution: the values (B, R, O) on the network's scale, NaN where missing, the
    organism (B,) of each window, and the share of each column's values that is above 0 (B, O)."""

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
        if window // TOKEN_BASES % settings.segments:
            raise TrainingError(
                f"recipe {recipe.name}: tracks.segments = {settings.segments} do not divide a window of {window} bases "
                f"into whole bins of {TOKEN_BASES}"
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
        """No further head: the network has its own."""
        return {"kind": NONE}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids` of letters; `flipped`, `sizes` and `with_bases` (B, 1): whether a window is read along the other
        strand, its letters, and whether its single bases count."""
        flipped_B = rng.random(len(letters_BL)) < self.settings.reverse_complement
        with_bases_B = rng.random(len(letters_BL)) < self.settings.bases
        return {
            "ids": encode_rows(
                self.alphabet.tokenizer, reverse_complement_rows(letters_BL, flipped_B)
            ),
            "flipped": flipped_B[:, None].astype(np.int64),
            "sizes": lengths(letters_BL)[:, None],
            "with_bases": with_bases_B[:, None].astype(np.int64),
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: ProcessGroup) -> Tensor:
        """The sum over heads and resolutions, in nats a bin; single bases count by the share of windows in which
        they are scored."""
        network: Any = model.network
        with_bases_B = views["with_bases"][:, 0] > 0
        windows = group.total(with_bases_B.new_tensor(len(with_bases_B), dtype=torch.float))
        share = group.total(with_bases_B.float().sum()) / windows
        all_targets = list(self.head_targets(network, views))
        ids_BL = model.inputs(views["ids"])
        heads, maps = network.tracks, self.alphabet.tracks.aligned.maps
        bases_B = with_bases_B if heads.base_resolution_assays else torch.zeros_like(with_bases_B)
        embeddings = network.embeddings(ids_BL, self._organism(views), bases=bases_B)
        # What no head reads has gradients of 0, not none, which DDP would wait for.
        outputs = zip(embeddings, (heads.base_resolution_assays, heads.assays, maps), strict=True)
        losses = []
        for targets in all_targets:
            predicted_BRO = targets.assay.scaled(
                embeddings, targets.organism, targets.bases
            ).float()
            weight = share if targets.bases == BASES else 1.0
            losses.append(self._head_loss(predicted_BRO, targets, group) * weight)
        if maps:
            predicted_BPPO = heads.contact_maps(embeddings.pairs, self._organism(views)).float()
            losses.append(squared_error(predicted_BPPO, self.contact_targets(views), group))
        losses += [(embedding * 0.0).sum() for embedding, is_read in outputs if not is_read]
        return torch.stack(losses).sum()

    def baseline_loss(self, network: Any, views: Mapping[str, Tensor]) -> float:
        """The loss of the same windows where each track has everywhere its mean, which on the network's scale is about
        the share of values above 0, and contacts are those expected by distance."""
        with_bases_B = views["with_bases"][:, 0] > 0
        losses = []
        for targets in self.head_targets(network, views):
            loss = self._head_loss(
                targets.shares.unsqueeze(1).expand_as(targets.values), targets, SingleProcess()
            )
            losses.append(loss * (with_bases_B.float().mean() if targets.bases == BASES else 1.0))
        if self.alphabet.tracks.aligned.maps:
            target_BPPO = self.contact_targets(views)
            losses.append(
                squared_error(torch.zeros_like(target_BPPO), target_BPPO, SingleProcess())
            )
        return float(torch.stack(losses).sum())

    def head_targets(self, network: Any, views: Mapping[str, Tensor]) -> Iterator[HeadTargets]:
        """The targets of every head at each of its resolutions; of single bases in the windows where these count."""
        values_BLC, organism_B = self.track_values(views), self._organism(views)
        with_bases_B = views["with_bases"][:, 0] > 0
        # The last is that of no track.
        shares = torch.tensor(
            [*self.alphabet.tracks.positive_shares, 1.0], device=organism_B.device
        )
        shape = len(values_BLC), -1, TOKEN_BASES, values_BLC.shape[2]
        bins_BRC = values_BLC.reshape(shape).nanmean(dim=2)
        by_resolution = {
            BASES: (values_BLC[with_bases_B], organism_B[with_bases_B]),
            TOKEN_BASES: (bins_BRC, organism_B),
        }
        for head, assay in network.tracks.assays.items():
            for bases in assay.resolutions:
                values_BRC, organisms_B = by_resolution[bases]
                columns_BO = torch.from_numpy(self._columns[head]).to(organisms_B.device)[
                    organisms_B
                ]
                columns_BRO = (
                    columns_BO.clamp(min=0).unsqueeze(1).expand(-1, values_BRC.shape[1], -1)
                )
                values_BRO = values_BRC.gather(2, columns_BRO)
                values_BRO = values_BRO.masked_fill((columns_BO < 0).unsqueeze(1), torch.nan)
                yield HeadTargets(
                    assay,
                    bases,
                    assay.to_network_scale(values_BRO, organisms_B),
                    organisms_B,
                    shares[columns_BO],
                )

    def track_values(self, views: Mapping[str, Tensor]) -> Tensor:
        """The values (B, L, C) of bases, NaN where missing."""
        width, device = views["ids"].shape[1], views["ids"].device
        values_BLC = self.alphabet.tracks.values(*_windows(views), width)
        return torch.from_numpy(values_BLC).to(device)

    def contact_targets(self, views: Mapping[str, Tensor]) -> Tensor:
        """The log-fold contacts (B, P, P, O) that the head of contact maps is trained on, NaN where missing, of another
        organism's map, or at a distance at which there are no contacts."""
        windows, ids_BL = self.alphabet.tracks, views["ids"]
        bins = ids_BL.shape[1] // LENGTH_MULTIPLE
        contacts_BPPM = windows.contacts(*_windows(views), bins)
        distance_PP = np.abs(np.arange(bins)[:, None] - np.arange(bins))
        expected_PPM = windows.expected.T[distance_PP]
        with np.errstate(divide="ignore", invalid="ignore"):
            fold_BPPM = np.log(contacts_BPPM / expected_PPM)
        fold_BPPM = np.where(expected_PPM > 0, fold_BPPM.clip(-MAX_LOG_FOLD, MAX_LOG_FOLD), np.nan)
        # The last is that of no map.
        rows = {source.column: number for number, source in enumerate(windows.aligned.maps)}
        missing = np.full((*fold_BPPM.shape[:3], 1), np.nan, fold_BPPM.dtype)
        fold_BPPM = np.concatenate([fold_BPPM, missing], axis=3)
        map_GO = np.vectorize(lambda column: rows.get(column, -1))(self._columns[CONTACTS])
        map_BO = map_GO[self._organism(views).cpu().numpy()]
        target_BPPO = np.take_along_axis(
            fold_BPPM, map_BO[:, None, None] % fold_BPPM.shape[3], axis=3
        )
        return torch.from_numpy(target_BPPO).to(ids_BL.device)

    def _organism(self, views: Mapping[str, Tensor]) -> Tensor:
        """The number (B,) of each window's organism."""
        contigs = self.alphabet.tracks.contigs(views[WINDOW_STARTS][:, 0].cpu().numpy())
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
        tracks_of = {contig: aligned.tracks_on(contig) for contig in contigs}
        return {
            contig: names.index(tracks[0].organism)
            for contig, tracks in tracks_of.items()
            if tracks
        }

    @cached_property
    def _columns(self) -> Mapping[str, NDArray[np.int64]]:
        """By head, the number of the track (G, O) in each of its columns, -1 where there is none."""
        slots = output_slots(self.alphabet.tracks.aligned.tracks)
        organisms = 1 + max(slot.organism for slot in slots)
        found = {}
        for head in dict.fromkeys(slot.head for slot in slots):
            numbered = [(n, slot) for n, slot in enumerate(slots) if slot.head == head]
            columns_GO = np.full((organisms, 1 + max(slot.column for _, slot in numbered)), -1)
            for number, slot in numbered:
                columns_GO[slot.organism, slot.column] = number
            found[head] = columns_GO
        return found

    def _head_loss(
        self, predicted_BRO: Tensor, targets: HeadTargets, group: ProcessGroup
    ) -> Tensor:
        """The loss of one head at one resolution."""
        weights_BO = targets.shares**-self.settings.rarity
        losses = multinomial(predicted_BRO, targets.values, self.settings.segments, weights_BO)
        total, spread = (mean_over(*terms, group) for terms in losses)
        return total + self.settings.positional_weight * spread


def _windows(views: Mapping[str, Tensor]) -> Iterator[NDArray[np.int64]]:
    """Where windows begin, their letters, and which are read along the other strand."""
    return (views[name][:, 0].cpu().numpy() for name in (WINDOW_STARTS, "sizes", "flipped"))


def squared_error(predicted: Tensor, target: Tensor, group: ProcessGroup) -> Tensor:
    """The mean over what is not NaN in `target`."""
    known = ~target.isnan()
    errors = torch.where(known, predicted - target.nan_to_num(0.0), 0.0)
    return mean_over(errors.square().sum(), known.sum(), group)


def multinomial(
    predicted_BRO: Tensor, target_BRO: Tensor, segments: int, weights_BO: Tensor
) -> Iterator[SumAndCount]:
    """The Poisson loss of the sums of segments, a bin, and the multinomial loss of the bins, each times its track's
    weight: as a sum and the number of segments or bins it is over. Bins that are NaN in `target` count nowhere."""
    known_BRO = ~target_BRO.isnan()
    target, predicted, known = (
        values.reshape(len(values), segments, values.shape[1] // segments, values.shape[2])
        for values in (target_BRO.nan_to_num(0.0), predicted_BRO, known_BRO)
    )
    predicted = torch.where(known, predicted, 0.0)
    sum_BS1O, target_BS1O = predicted.sum(2, keepdim=True), target.sum(2, keepdim=True)
    any_known_BS1O = known.any(2, keepdim=True)
    poisson = sum_BS1O - target_BS1O * (sum_BS1O + EPSILON).log()
    min_poisson = target_BS1O - target_BS1O * (target_BS1O + EPSILON).log()
    weights_B11O = weights_BO[:, None, None]
    losses_BS1O = (poisson - min_poisson) * weights_B11O
    yield losses_BS1O[any_known_BS1O].sum() / target.shape[2], any_known_BS1O.sum()
    shares, target_shares = predicted / (sum_BS1O + EPSILON), target / (target_BS1O + EPSILON)
    losses = target * ((target_shares + EPSILON).log() - (shares + EPSILON).log()) * weights_B11O
    yield losses[known].sum(), known.sum()
