"""Which of AlphaGenome's outputs a track is: its assay names the head, its organism the weights, its order
among the tracks of both the column.

Released files name no track. Those of the first organism are then human's and those of the second mouse's, called by
head and number.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from genomai_cli.backbones.alphagenome_heads import SPLICE_SITE_CLASSES
from genomai_cli.backbones.alphagenome_layers import RELEASED_TRACKS, AlphaGenomeConfig
from genomai_cli.formats.track_table import CONTACT_MAPS, UNKNOWN_STRAND, Track

CONTACTS, SPLICE_SITES, USAGE = CONTACT_MAPS, "splice_sites", "splice_site_usage"
JUNCTIONS = "splice_junctions"
SPLICING = (SPLICE_SITES, USAGE, JUNCTIONS)
ORGANISMS = ("human", "mouse")
STRANDED = ("procap", "cage", "rna_seq", USAGE)  # assays whose tracks are each of one strand
RELEASED_MAPS = {28: (28, 8)}  # of each organism; the others of the released head fill it up
HEADS = tuple(RELEASED_TRACKS)


class OutputSlot(NamedTuple):
    """A head, an organism and a column."""

    head: str
    organism: int
    column: int


def output_slots(tracks: Sequence[Track]) -> list[OutputSlot]:
    """The output slot of each track; ValueError for an assay without a head."""
    organisms, seen = organisms_of(tracks), Counter[tuple[str, str]]()
    found = []
    for track in tracks:
        head = head_of(track)
        column = seen[track.organism, head]
        seen[track.organism, head] += 1
        found.append(OutputSlot(head, organisms.index(track.organism), column))
    return found


def head_of(track: Track) -> str:
    """The head of a track's assay; ValueError if there is none."""
    head = track.head
    if head not in HEADS:
        raise ValueError(
            f"track {track.name}: assay is one of {', '.join(HEADS)}, not {track.assay!r}"
        )
    return head


def organisms_of(tracks: Sequence[Track]) -> list[str]:
    """The organisms as their weights are numbered: in the order of their first tracks."""
    return list(dict.fromkeys(track.organism for track in tracks))


def sizes_of(tracks: Sequence[Track]) -> dict[str, Any]:
    """The sizes of a network with these tracks; ValueError for an assay without a head."""
    slots = output_slots(tracks)
    counts = {
        head: max(p.column + 1 for p in slots if p.head == head) for head in {p.head for p in slots}
    }
    ordered = {head: counts[head] for head in HEADS if head in counts}
    return {"tracks": ordered, "organisms": len(organisms_of(tracks))}


def unnamed_tracks(config: AlphaGenomeConfig) -> list[Track]:
    """The tracks of a network whose file names none, padding columns included, which are known by a mean
    of 0."""
    organisms = (
        ORGANISMS if config.organisms == len(ORGANISMS) else map(str, range(config.organisms))
    )
    return [
        track
        for number, organism in enumerate(organisms)
        for head, count in config.tracks.items()
        for track in _placeholder_tracks(
            head, organism, _track_count(config.tracks, head, count, number, config)
        )
    ]


def _track_count(
    tracks: Mapping[str, int], head: str, count: int, organism: int, config: AlphaGenomeConfig
) -> int:
    """How many of a head's columns are of tracks, as far as the sizes show."""
    if head in (USAGE, JUNCTIONS) and config.tissues:
        return (2 if head == USAGE else 1) * config.tissues[organism]
    released = tracks == RELEASED_TRACKS and head == CONTACTS
    return RELEASED_MAPS[count][organism] if released else count


def _placeholder_tracks(head: str, organism: str, count: int) -> Iterator[Track]:
    if head == SPLICE_SITES:
        for site in SPLICE_SITE_CLASSES:
            side, _, kind = site.partition("_")
            strand = "+" if side == "pos" else "-"
            yield Track(
                f"{kind}{strand}", None, head, strand=strand, organism=organism, unit="probability"
            )
        return
    strand = UNKNOWN_STRAND if head in STRANDED else "."
    for number in range(1, count + 1):
        yield Track(f"{head}_{number}", None, head, strand=strand, organism=organism)
