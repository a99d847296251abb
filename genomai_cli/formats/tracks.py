"""Tracks over a reference genome: their values at bases or bins of its contigs, and on either strand.

A missing value is NaN, which is not zero. Contact maps, of pairs of bins, have no values at bases. Files are compared
with the reference once, when they are opened: a contig of another length, a line beyond a contig's end, and files that
share no contig with it are refused.

Shape suffixes: L bases, R bins, T tracks, P bins of contact maps, M contact maps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genomai_cli.errors import InputError
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.cool_maps import CoolMap, is_cool
from genomai_cli.formats.track_files import TrackFile, open_track_file
from genomai_cli.formats.track_table import CONTACT_MAPS, Track, TrackTable, strand_partners

AGGREGATIONS = ("mean", "max", "sum")  # of the values known in a bin
_MAX_SHOWN = 3


@dataclass(frozen=True, eq=False)
class _Source:
    """A file, what it calls the reference's contigs, and the columns of its tracks."""

    file: TrackFile
    names: Mapping[str, str]
    columns: Sequence[int]


@dataclass(frozen=True, eq=False)
class MapSource:
    """A contact map, what it calls the reference's contigs, and the column of its track."""

    file: CoolMap
    names: Mapping[str, str]
    column: int


@dataclass(frozen=True, eq=False)
class AlignedTracks:
    """The tracks of a table on the contigs of a reference, of which `lengths` are given."""

    tracks: tuple[Track, ...]
    lengths: Mapping[str, int]
    sources: Sequence[_Source] = field(repr=False, default=())
    maps: Sequence[MapSource] = field(repr=False, default=())

    @classmethod
    def open(
        cls,
        table: TrackTable,
        lengths: Mapping[str, int],
        reference: str | Path,
        warn: Callable[[str], None] = lambda message: None,
    ) -> "AlignedTracks":
        """Opens every file once; InputError for one that does not fit the `reference` (as messages call it)."""
        sources, maps = [], []
        for path, columns in _by_file(table).items():
            tracks = [table.tracks[column] for column in columns]
            if cool := _contact_map(tracks, table.path):
                names = _aligned(cool, lengths, str(reference), warn)
                maps.append(MapSource(cool, names, columns[0]))
                continue
            if len({track.absent for track in tracks}) > 1:
                message = f"tracks of one file, {path.name}, differ in what is absent"
                raise InputError(message, path=table.path)
            by_name = table.is_bed or len(tracks) > 1
            names_in_file = [track.name for track in tracks] if by_name else None
            file = open_track_file(path, names_in_file, tracks[0].absent)
            sources.append(_Source(file, _aligned(file, lengths, str(reference), warn), columns))
        maps.sort(key=lambda source: source.column)
        return cls(table.tracks, lengths, sources, maps)

    @property
    def partners(self) -> list[int]:
        """See `strand_partners`."""
        return strand_partners(self.tracks)

    def tracks_on(self, contig: str) -> list[Track]:
        """The tracks whose files have something on a contig of the reference."""
        columns = [c for source in self.sources if contig in source.names for c in source.columns]
        columns += [source.column for source in self.maps if contig in source.names]
        return [self.tracks[column] for column in sorted(columns)]

    def values(self, contig: str, start: int, end: int) -> Values:
        """The values (L, T) of the bases from `start` (from 0) to before `end` of a contig of the reference."""
        if not 0 <= start <= end <= self.lengths[contig]:
            raise IndexError(f"{contig}:{start}-{end} of {self.lengths[contig]}")
        found_LT: Values = np.full((end - start, len(self.tracks)), np.nan, np.float32)
        for source in self.sources:
            file_contig = source.names.get(contig)
            if file_contig is not None and end > start:
                found_LT[:, source.columns] = source.file.values(file_contig, start, end)
        return found_LT

    def contacts(self, contig: str, first: int, last: int) -> Values:
        """The contacts (P, P, M) of a contig's bins from `first` to before `last` in each map; NaN where missing."""
        size = last - first
        found_PPM: Values = np.full((size, size, len(self.maps)), np.nan, np.float32)
        for number, source in enumerate(self.maps):
            if contig in source.names:
                found_PPM[..., number] = source.file.values(source.names[contig], first, last)
        return found_PPM


def binned(values_LT: Values, resolution: int, aggregation: str = "mean") -> Values:
    """Values (R, T) of bins of `resolution` bases: the mean, the largest or the sum of those known in each; a bin
    without any is missing. A last bin may be shorter."""
    if resolution == 1:
        return values_LT
    lengths = len(values_LT)
    rest = -lengths % resolution
    padded_LT = np.pad(values_LT, ((0, rest), (0, 0)), constant_values=np.nan)
    bins_RBT = padded_LT.reshape(-1, resolution, values_LT.shape[1])
    known_RBT = ~np.isnan(bins_RBT)
    count_RT = known_RBT.sum(axis=1)
    if aggregation == "max":
        found_RT = np.where(known_RBT, bins_RBT, -np.inf).max(axis=1)
    else:
        found_RT = np.where(known_RBT, bins_RBT, 0).sum(axis=1, dtype=np.float64)
        if aggregation == "mean":
            found_RT = found_RT / np.maximum(count_RT, 1)
    return np.where(count_RT > 0, found_RT, np.nan).astype(np.float32)


def other_strand(values_LT: Values, partners: Sequence[int]) -> Values:
    """The values as they lie along the other strand: bases in reverse order, tracks of a strand exchanged with those
    of the other; without a partner (-1) missing."""
    reversed_LT: Values = values_LT[::-1][:, list(partners)].copy()
    reversed_LT[:, np.asarray(partners) < 0] = np.nan
    return reversed_LT


def _contact_map(tracks: Sequence[Track], table: str) -> CoolMap | None:
    """The contact map of a file with these tracks; None for one of tracks along bases, InputError for a
    mixture."""
    first = tracks[0]
    assert first.file is not None
    is_map = is_cool(first.file)
    if is_map != (first.head == CONTACT_MAPS):
        expectation = f"is of the assay {CONTACT_MAPS}" if is_map else "is a .cool"
        subject = first.file.name if is_map else f"track {first.name}: a contact map"
        raise InputError(f"{subject} {expectation}", path=table)
    if not is_map:
        return None
    if len(tracks) > 1 or first.absent:
        wrong = f"one of {len(tracks)} tracks in a file" if len(tracks) > 1 else "with `absent`"
        expectation = "a contact map has its own file or group (for two tracks a copy), which tells what is missing"
        message = f"track {first.name} {wrong}: {expectation}"
        raise InputError(message, path=table)
    return CoolMap(first.file, first.counts)


def _by_file(table: TrackTable) -> dict[Path, list[int]]:
    """The columns of the tracks of each file."""
    columns: dict[Path, list[int]] = {}
    for column, track in enumerate(table.tracks):
        if track.file is not None:
            columns.setdefault(track.file, []).append(column)
    return columns


def _aligned(
    file: TrackFile | CoolMap,
    lengths: Mapping[str, int],
    reference: str,
    warn: Callable[[str], None],
) -> dict[str, str]:
    """The file's name of each of the reference's contigs that it has."""
    by_normal_name = {normal_contig(name): name for name in reversed(list(lengths))}
    file_names: dict[str, str] = {}
    unmatched = []
    for name, size in file.contigs.items():
        reference_name = name if name in lengths else by_normal_name.get(normal_contig(name))
        if reference_name is None:
            unmatched.append(name)
            continue
        file_names[reference_name] = name
        mismatched = (
            size != lengths[reference_name] if file.has_lengths else size > lengths[reference_name]
        )
        if mismatched:
            relation = "has" if file.has_lengths else "reaches"
            message = (
                f"contig {name} {relation} {size:,} bases, and {reference_name} of {reference} "
                f"{lengths[reference_name]:,}"
            )
            raise InputError(message, path=file.path)
    if not file_names:
        message = f"no contig of {reference} ({_name_list(list(lengths))}) is in it: it has {_name_list(unmatched)}"
        raise InputError(message, path=file.path)
    if unmatched:
        warn(
            f"{file.path}: {len(unmatched)} contigs that {reference} lacks are not read: {_name_list(unmatched)}"
        )
    return file_names


def _name_list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more
