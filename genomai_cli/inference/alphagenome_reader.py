"""Predictions of a network of AlphaGenome's design for windows: coverage a base, splicing, and contacts.

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
from genomai_cli.inference.track_readers import Block, Positions, Splicing, Window, base_values

BASE_RESOLUTION_HEADS = (SPLICE_SITES, USAGE)


class AlphaGenomeReader:
    """See `TrackReader`."""

    step = LENGTH_MULTIPLE
    tail = 0
    is_bidirectional = True
    reads_tracks = False

    def __init__(
        self, bundle: Bundle, only: Sequence[str] = (), organism: str | None = None
    ) -> None:
        network = bundle.classifier.networks[0]
        assert isinstance(network, AlphaGenomeNetwork)
        self.network, self.tokenizer = network, bundle.tokenizer
        self.max_length = int(network.max_length or 0)
        all_tracks = _tracks_and_slots(bundle, network)
        self.organism = _organism([track for track, _ in all_tracks], only, organism)
        organism_tracks = [
            (track, slot) for track, slot in all_tracks if track.organism == self.organism
        ]
        self.tracks = [track for track, _ in organism_tracks]
        self.output_slots = [slot for _, slot in organism_tracks]
        self.partners = strand_partners(self.tracks)
        self.maps, self.junctions = (
            frozenset(n for n, slot in enumerate(self.output_slots) if slot.head == head)
            for head in (CONTACTS, JUNCTIONS)
        )
        self.splicing_heads: Mapping[int, str] = {
            n: slot.head for n, slot in enumerate(self.output_slots) if slot.head in SPLICING
        }

    @property
    def remarks(self) -> str:
        """See `TrackReader`."""
        lead = f"in the weights of {self.organism}" if self.organism else "in the only weights"
        return (
            f"{lead}; contigs shorter than {LENGTH_MULTIPLE:,} bases have no value; values are of one base, of tracks "
            f"in bins of {TOKEN_BASES} (those of chip_tf and chip_histone, and with a --resolution of which "
            f"{TOKEN_BASES} is a part all of coverage) the bin's mean"
        )

    def read(
        self, windows: Sequence[Window], columns: Sequence[int], bases: int = 1
    ) -> list[Block]:
        """See `TrackReader`; windows are of one length."""
        requested = [(self.output_slots[column], number) for number, column in enumerate(columns)]
        base_resolution = any(self._has_base_resolution(slot, bases) for slot, _ in requested)
        with torch.inference_mode():
            embeddings, organism_B = self._embeddings(
                self._ids([text for text, _ in windows]), base_resolution
            )
            return list(self._blocks(embeddings, organism_B, requested, bases))

    def to_model_scale(self, values: Values) -> Values:
        """See `TrackReader`: coverage is on the scale of the experiment."""
        return values

    def contacts(self, text: str, columns: Sequence[int]) -> Values:
        """See `TrackReader`."""
        with torch.inference_mode():
            embeddings, organism_B = self._embeddings(self._ids([text]), bases=False)
            maps_BPPM: Tensor = self.network.tracks.contact_maps(embeddings.pairs, organism_B)  # type: ignore[misc]
            chosen = [self.output_slots[column].column for column in columns]
            contacts_PPM: Values = maps_BPPM[0][..., chosen].float().cpu().numpy()
        return contacts_PPM

    def splicing(self, text: str, columns: Sequence[int], tissues: Sequence[int]) -> Splicing:
        """See `TrackReader`; with tissues the embeddings of bases stay in memory as long as what is returned."""
        requested = [(self.output_slots[column], number) for number, column in enumerate(columns)]
        chosen = [self.output_slots[column].column for column in tissues]
        with torch.inference_mode():
            embeddings, organism_B = self._embeddings(self._ids([text]), bases=True)
            blocks = list(self._blocks(embeddings, organism_B, requested, 1))
            sites_L4: Values = np.empty((len(text), 0), np.float32)
            if self.network.tracks.splice_sites is not None:
                probabilities_BLO = self.network.tracks.values_along_genome(
                    SPLICE_SITES, embeddings, organism_B, 1
                )[1]
                sites_L4 = probabilities_BLO[0, :, : len(SPLICE_SITE_CLASSES)].float().cpu().numpy()

        bases_BCT = embeddings.bases if tissues else embeddings.bases[..., :0].clone()

        def counts(positions_4S: Positions) -> Values:
            positions_B4S = torch.from_numpy(positions_4S).to(organism_B.device).unsqueeze(0)
            with torch.inference_mode():
                counts_BSSO = self._junctions.counts(bases_BCT, positions_B4S, organism_B)
            counts_SS2U = counts_BSSO[0].reshape(*counts_BSSO.shape[1:3], 2, -1)[..., chosen]
            reads_SS2U: Values = counts_SS2U.float().cpu().numpy()
            return reads_SS2U

        no_values_LC: Values = np.empty((len(text), 0), np.float32)
        return Splicing(
            sites_L4, base_values(blocks, len(columns))[0] if blocks else no_values_LC, counts
        )

    def likely_sites(self, sites: Values) -> Positions:
        """See `TrackReader`; as many as the head of junctions reads, and as likely."""
        head = self._junctions
        probabilities_B4 = torch.from_numpy(sites).unsqueeze(0)
        return splice_site_positions(probabilities_B4, head.max_sites, head.threshold)[0].numpy()

    @property
    def _junctions(self) -> SpliceJunctions:
        head = self.network.tracks.splice_junctions
        assert isinstance(head, SpliceJunctions)
        return head

    def gradients(self, stretch: Stretch, column: int) -> tuple[Odds, float]:
        """See `TrackReader`."""
        text, scored, slot = stretch.text, stretch.scored, self.output_slots[column]
        ids_BL = self._ids([text])
        letters_B4L = self.network.one_hot(ids_BL).requires_grad_()
        organism_B = ids_BL.new_full((1,), slot.organism)
        with torch.enable_grad():
            embeddings = self.network.embed_one_hot(letters_B4L, organism_B)
            size, values_BRO = self.network.tracks.values_along_genome(
                slot.head, embeddings, organism_B, 1
            )
            bases_by_bin = np.bincount(
                np.arange(scored.start, scored.stop) // size, minlength=len(values_BRO[0])
            )
            values_R = values_BRO[0, :, slot.column]
            mean = values_R @ torch.from_numpy(bases_by_bin).to(values_R) / bases_by_bin.sum()
            (gradient_B4L,) = torch.autograd.grad(mean.log(), [letters_B4L])
        gradient_LA = gradient_B4L[0].T.double().cpu().numpy()
        codes_L = codes_of(as_letters(text)).astype(np.int64)
        known_L = codes_L < len(BASES)
        reference_L = gradient_LA[np.arange(len(codes_L)), np.where(known_L, codes_L, 0)]
        change_LA = np.where(known_L[:, None], gradient_LA - reference_L[:, None], np.nan)
        return change_LA, float(mean.detach())

    def _ids(self, texts: Sequence[str]) -> Tensor:
        ids_BL = np.stack([self.tokenizer.encode(text) for text in texts]).astype(np.int64)
        return torch.from_numpy(ids_BL).to(next(self.network.parameters()).device)

    def _has_base_resolution(self, slot: OutputSlot, bases: int) -> bool:
        """Whether a head's values are those of single bases, if bins of so many are requested."""
        if slot.head in BASE_RESOLUTION_HEADS:
            return True
        return bases < TOKEN_BASES and slot.head in self.network.tracks.base_resolution_assays

    def _embeddings(self, ids_BL: Tensor, bases: bool) -> tuple[Embeddings, Tensor]:
        organism_B = ids_BL.new_full((len(ids_BL),), self.output_slots[0].organism)
        letters_B4L = self.network.one_hot(ids_BL)
        return self.network.embed_one_hot(letters_B4L, organism_B, bases=bases), organism_B

    def _blocks(
        self,
        embeddings: Embeddings,
        organism_B: Tensor,
        requested: Sequence[tuple[OutputSlot, int]],
        bases: int,
    ) -> Iterator[Block]:
        """The values of each head's tracks."""
        for head, group in groupby(sorted(requested), key=lambda pair: pair[0].head):
            slots, numbers = zip(*group, strict=True)
            size, values_BRO = self.network.tracks.values_along_genome(
                head, embeddings, organism_B, bases
            )
            chosen = [slot.column for slot in slots]
            yield Block(numbers, size, values_BRO[..., chosen].float().cpu().numpy())


def _tracks_and_slots(
    bundle: Bundle, network: AlphaGenomeNetwork
) -> list[tuple[Track, OutputSlot]]:
    """The tracks and the output slots that hold them: by the model's table, or without one all but those that only fill
    up a head.

    BundleError for a table that does not fit the network.
    """
    tracks = list(bundle.input.tracks) or unnamed_tracks(network.config)
    try:
        slots = output_slots(tracks)
    except ValueError as error:
        raise BundleError(f"the model {bundle.name!r}: {error}") from error
    real_columns = {head: (means > 0).tolist() for head, means in network.tracks.means.items()}
    counts = {
        head: [count] * network.config.organisms for head, count in network.config.tracks.items()
    }
    junctions = network.tracks.splice_junctions
    counts[JUNCTIONS] = list(junctions.tissues) if isinstance(junctions, SpliceJunctions) else []
    described = []
    for track, slot in zip(tracks, slots, strict=True):
        head, organism, column = slot
        out_of_range = column >= dict(enumerate(counts.get(head, ()))).get(organism, 0)
        if out_of_range or (head in real_columns and not real_columns[head][organism][column]):
            if bundle.input.tracks:
                raise BundleError(
                    f"the model {bundle.name!r}: track {track.name} of its table is none of the network's"
                )
            continue
        described.append((track, slot))
    if not described:
        raise BundleError(f"the model {bundle.name!r}: its network has no tracks")
    return described


def _organism(tracks: Sequence[Track], only: Sequence[str], requested: str | None) -> str:
    """The organism that is requested, or that all tracks chosen are of; UsageError where these are of several."""
    names = organisms_of(tracks)
    if requested is not None:
        if requested not in names:
            raise UsageError(f"--organism {requested}: the model knows {', '.join(names)}")
        return requested
    chosen = [t for t in tracks if not only or {t.name, t.assay, t.tissue} & set(only)]
    candidates = organisms_of(chosen) or names
    if len(candidates) > 1:
        raise UsageError(f"--organism: which of {', '.join(candidates)}?")
    return candidates[0]
