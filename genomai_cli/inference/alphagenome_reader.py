"""What a network of AlphaGenome's design says of windows: coverage a base, splicing, and contacts.

Coverage is on the scale of the experiment, a base: of a bin of 128 bases the mean. Windows are multiples of 2,048
bases; a letter that is no base is read as none, and has values.

Shape suffixes: B windows, L letters, R bins, O tracks of a head, M maps, P bins of 2,048 bases, A bases, S splice sites
of a kind, U tissues.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from genomai_cli.alphabet import BASES, as_letters, codes_of
from genomai_cli.backbones.alphagenome import AlphaGenomeNetwork
from genomai_cli.backbones.alphagenome_heads import (
    SPLICE_SITE_CLASSES,
    Embeddings,
    SpliceJunctions,
    splice_site_positions,
)
from genomai_cli.backbones.alphagenome_layers import LENGTH_MULTIPLE, TOKEN_BASES
from genomai_cli.backbones.alphagenome_tracks import (
    CONTACTS,
    JUNCTIONS,
    SPLICE_SITES,
    SPLICING,
    USAGE,
    OutputSlot,
    organisms_of,
    output_slots,
    unnamed_tracks,
)
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.track_table import Track, strand_partners
from genomai_cli.inference.label_odds import Odds
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.track_readers import Block, Positions, Splicing, Window, of_bases

OF_BASES = (SPLICE_SITES, USAGE)


class AlphaGenomeReader:
    """See `TrackReader`."""

    step = LENGTH_MULTIPLE
    tail = 0
    two_sided = True
    reads_tracks = False

    def __init__(
        self, bundle: Bundle, only: Sequence[str] = (), organism: str | None = None
    ) -> None:
        network = bundle.classifier.networks[0]
        assert isinstance(network, AlphaGenomeNetwork)
        self.network, self.tokenizer = network, bundle.tokenizer
        self.longest = int(network.max_length or 0)
        every = _described(bundle, network)
        self.organism = _organism([track for track, _ in every], only, organism)
        own = [(track, place) for track, place in every if track.organism == self.organism]
        self.tracks = [track for track, _ in own]
        self.places = [place for _, place in own]
        self.partners = strand_partners(self.tracks)
        self.maps, self.junctions = (
            frozenset(n for n, place in enumerate(self.places) if place.head == head)
            for head in (CONTACTS, JUNCTIONS)
        )
        self.splicing_heads: Mapping[int, str] = {
            n: place.head for n, place in enumerate(self.places) if place.head in SPLICING
        }

    @property
    def remarks(self) -> str:
        """See `TrackReader`."""
        told = f"in the weights of {self.organism}" if self.organism else "in the only weights"
        return (
            f"{told}; contigs shorter than {LENGTH_MULTIPLE:,} bases have no value; values are of one base, of tracks "
            f"in bins of {TOKEN_BASES} (those of chip_tf and chip_histone, and with a --resolution of which "
            f"{TOKEN_BASES} is a part all of coverage) the bin's mean"
        )

    def read(
        self, windows: Sequence[Window], columns: Sequence[int], bases: int = 1
    ) -> list[Block]:
        """See `TrackReader`; windows are of one length."""
        asked = [(self.places[column], number) for number, column in enumerate(columns)]
        fine = any(self._is_of_bases(place, bases) for place, _ in asked)
        with torch.inference_mode():
            made, organism_B = self._embeddings(self._ids([text for text, _ in windows]), fine)
            return list(self._blocks(made, organism_B, asked, bases))

    def as_told(self, values: Values) -> Values:
        """See `TrackReader`: coverage is on the scale of the experiment."""
        return values

    def contacts(self, text: str, columns: Sequence[int]) -> Values:
        """See `TrackReader`."""
        with torch.inference_mode():
            made, organism_B = self._embeddings(self._ids([text]), bases=False)
            maps_BPPM: Tensor = self.network.tracks.contact_maps(made.pairs, organism_B)  # type: ignore[misc]
            chosen = [self.places[column].column for column in columns]
            found: Values = maps_BPPM[0][..., chosen].float().cpu().numpy()
        return found

    def splicing(self, text: str, columns: Sequence[int], tissues: Sequence[int]) -> Splicing:
        """See `TrackReader`; with tissues the embeddings of bases stay in memory as long as what is returned."""
        asked = [(self.places[column], number) for number, column in enumerate(columns)]
        chosen = [self.places[column].column for column in tissues]
        with torch.inference_mode():
            made, organism_B = self._embeddings(self._ids([text]), bases=True)
            blocks = list(self._blocks(made, organism_B, asked, 1))
            sites_L4: Values = np.empty((len(text), 0), np.float32)
            if self.network.tracks.splice_sites is not None:
                chances_BLO = self.network.tracks.values_along_genome(
                    SPLICE_SITES, made, organism_B, 1
                )[1]
                sites_L4 = chances_BLO[0, :, : len(SPLICE_SITE_CLASSES)].float().cpu().numpy()

        bases_BCT = made.bases if tissues else made.bases[..., :0].clone()

        def counts(places_4S: Positions) -> Values:
            places_B4S = torch.from_numpy(places_4S).to(organism_B.device).unsqueeze(0)
            with torch.inference_mode():
                counts_BSSO = self._junctions.counts(bases_BCT, places_B4S, organism_B)
            counts_SS2U = counts_BSSO[0].reshape(*counts_BSSO.shape[1:3], 2, -1)[..., chosen]
            found: Values = counts_SS2U.float().cpu().numpy()
            return found

        nothing_LC: Values = np.empty((len(text), 0), np.float32)
        return Splicing(
            sites_L4, of_bases(blocks, len(columns))[0] if blocks else nothing_LC, counts
        )

    def likely_sites(self, sites: Values) -> Positions:
        """See `TrackReader`; as many as the head of junctions reads, and as likely."""
        head = self._junctions
        chances_B4 = torch.from_numpy(sites).unsqueeze(0)
        return splice_site_positions(chances_B4, head.max_sites, head.threshold)[0].numpy()

    @property
    def _junctions(self) -> SpliceJunctions:
        head = self.network.tracks.splice_junctions
        assert isinstance(head, SpliceJunctions)
        return head

    def slopes(self, stretch: Stretch, column: int) -> tuple[Odds, float]:
        """See `TrackReader`."""
        text, own, place = stretch.text, stretch.own, self.places[column]
        ids_BL = self._ids([text])
        letters_B4L = self.network.one_hot(ids_BL).requires_grad_()
        organism_B = ids_BL.new_full((1,), place.organism)
        with torch.enable_grad():
            made = self.network.embed_one_hot(letters_B4L, organism_B)
            size, values_BRO = self.network.tracks.values_along_genome(
                place.head, made, organism_B, 1
            )
            counted = np.bincount(
                np.arange(own.start, own.stop) // size, minlength=len(values_BRO[0])
            )
            values_R = values_BRO[0, :, place.column]
            mean = values_R @ torch.from_numpy(counted).to(values_R) / counted.sum()
            (slope_B4L,) = torch.autograd.grad(mean.log(), [letters_B4L])
        slope_LA = slope_B4L[0].T.double().cpu().numpy()
        codes_L = codes_of(as_letters(text)).astype(np.int64)
        known_L = codes_L < len(BASES)
        there_L = slope_LA[np.arange(len(codes_L)), np.where(known_L, codes_L, 0)]
        change_LA = np.where(known_L[:, None], slope_LA - there_L[:, None], np.nan)
        return change_LA, float(mean.detach())

    def _ids(self, texts: Sequence[str]) -> Tensor:
        ids_BL = np.stack([self.tokenizer.encode(text) for text in texts]).astype(np.int64)
        return torch.from_numpy(ids_BL).to(next(self.network.parameters()).device)

    def _is_of_bases(self, place: OutputSlot, bases: int) -> bool:
        """Whether a head's values are those of single bases, if bins of so many are asked for."""
        if place.head in OF_BASES:
            return True
        return bases < TOKEN_BASES and place.head in self.network.tracks.base_resolution_assays

    def _embeddings(self, ids_BL: Tensor, bases: bool) -> tuple[Embeddings, Tensor]:
        organism_B = ids_BL.new_full((len(ids_BL),), self.places[0].organism)
        letters_B4L = self.network.one_hot(ids_BL)
        return self.network.embed_one_hot(letters_B4L, organism_B, bases=bases), organism_B

    def _blocks(
        self,
        made: Embeddings,
        organism_B: Tensor,
        asked: Sequence[tuple[OutputSlot, int]],
        bases: int,
    ) -> Iterator[Block]:
        """The values of each head's tracks."""
        for head, group in groupby(sorted(asked), key=lambda pair: pair[0].head):
            places, numbers = zip(*group, strict=True)
            size, values_BRO = self.network.tracks.values_along_genome(
                head, made, organism_B, bases
            )
            chosen = [place.column for place in places]
            yield Block(numbers, size, values_BRO[..., chosen].float().cpu().numpy())


def _described(bundle: Bundle, network: AlphaGenomeNetwork) -> list[tuple[Track, OutputSlot]]:
    """The tracks and their places: by the model's table, or without one all that do not only fill a head up.

    BundleError for a table that does not fit the network.
    """
    tracks = list(bundle.input.tracks) or unnamed_tracks(network.config)
    try:
        places = output_slots(tracks)
    except ValueError as error:
        raise BundleError(f"the model {bundle.name!r}: {error}") from error
    real = {head: (means > 0).tolist() for head, means in network.tracks.means.items()}
    counts = {
        head: [count] * network.config.organisms for head, count in network.config.tracks.items()
    }
    junctions = network.tracks.splice_junctions
    counts[JUNCTIONS] = list(junctions.tissues) if isinstance(junctions, SpliceJunctions) else []
    found = []
    for track, place in zip(tracks, places, strict=True):
        head, organism, column = place
        beyond = column >= dict(enumerate(counts.get(head, ()))).get(organism, 0)
        if beyond or (head in real and not real[head][organism][column]):
            if bundle.input.tracks:
                raise BundleError(
                    f"the model {bundle.name!r}: track {track.name} of its table is none of the network's"
                )
            continue
        found.append((track, place))
    if not found:
        raise BundleError(f"the model {bundle.name!r}: its network has no tracks")
    return found


def _organism(tracks: Sequence[Track], only: Sequence[str], asked: str | None) -> str:
    """The organism that is asked for, or that all tracks chosen are of; UsageError where that tells none."""
    names = organisms_of(tracks)
    if asked is not None:
        if asked not in names:
            raise UsageError(f"--organism {asked}: the model knows {', '.join(names)}")
        return asked
    chosen = [t for t in tracks if not only or {t.name, t.assay, t.tissue} & set(only)]
    left = organisms_of(chosen) or names
    if len(left) > 1:
        raise UsageError(f"--organism: which of {', '.join(left)}?")
    return left[0]
