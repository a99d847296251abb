"""Which tracks there are: a table that names their files, or a BED file whose fourth column names the track of a line.

A table is tab-separated with a header. `name` and `file` are needed; a file's path is relative to the table. `assay`,
`tissue`, `organism` and `unit` are descriptions, by which tracks are chosen; `strand` is `+`, `-` or `.`; `absent` says
what bases are that a file does not cover, `zero` or `missing`, where it is otherwise than its format has it
(docs/tracks.md). A BED file that several rows name holds several tracks, each the lines with its name in the fourth
column. The file of a contact map, of pairs of bins, may be one of several in a file, `FILE::/GROUP`; `counts` says
whether they are `balanced` or `raw`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.cool_maps import BALANCED, GROUP_SEPARATOR, RAW
from genomai_cli.formats.streams import open_bytes, text_of
from genomai_cli.formats.tables import MISSING_VALUES, Table, TableWriter, read_table
from genomai_cli.names import first_duplicate, is_plain

MAX_TRACKS = 100_000
ZERO, MISSING = "zero", "missing"
DESCRIPTION_COLUMNS = ("assay", "tissue", "strand", "organism", "unit")
UNKNOWN_STRAND = "?"
STRANDS = ("+", "-", ".", UNKNOWN_STRAND)
CONTACT_MAPS = "contact_maps"  # an assay whose tracks are of pairs of bins
SKIPPED_LINES = ("#", "track", "browser")  # of BED and bedGraph


@dataclass(frozen=True)
class Track:
    """A track's name and what it measures; `strand` is `.` for one of both strands and `?` for one that is not told,
    `file` None for one without data at hand."""

    name: str
    file: Path | None = field(default=None, compare=False)
    assay: str = ""
    tissue: str = ""
    strand: str = "."
    organism: str = ""
    unit: str = ""
    absent: str = ""
    counts: str = field(default="", compare=False)

    @property
    def head(self) -> str:
        """The assay as heads of networks are called."""
        return self.assay.lower().replace("-", "_")


@dataclass(frozen=True)
class TrackTable:
    """Tracks in the order of their columns, and the file that lists them; with `is_bed` that file is the multi-track
    BED itself."""

    path: str
    tracks: tuple[Track, ...]
    is_bed: bool = False

    @property
    def names(self) -> list[str]:
        return [track.name for track in self.tracks]

    def selected(self, tracks: Iterable[Track]) -> "TrackTable":
        """These tracks in this order, each with its file of this table, None where it has none.

        InputError if there is none of them.
        """
        available = {track.name: track for track in self.tracks}
        chosen = [available.get(track.name, track) for track in tracks]
        if not any(track.name in available for track in chosen):
            names = ", ".join(track.name for track in chosen[:3])
            raise InputError(f"none of the model's tracks ({names} ...) is in it", path=self.path)
        found = tuple(
            track if track.name in available else replace(track, file=None, absent="")
            for track in chosen
        )
        return TrackTable(self.path, found, self.is_bed)


def read_track_table(path: str | Path) -> TrackTable:
    """The tracks of a table or of a multi-track BED; InputError, with the line, for one that cannot be used."""
    if _is_bed(path):
        return TrackTable(str(path), tuple(_bed_tracks(Path(path))), is_bed=True)
    table = read_table(path)
    names = [name.strip() for name in table.column("name")]
    files = table.column("file")
    tracks = tuple(_track(table, row, names[row], files[row].strip()) for row in range(len(table)))
    if not tracks:
        raise InputError("a header, but no tracks", path=table.path)
    if duplicate := first_duplicate(names):
        line = table.lines[len(names) - 1 - names[::-1].index(duplicate)]
        raise InputError(f"track {duplicate} is there twice", path=table.path, line=line)
    return TrackTable(table.path, tracks)


def parse_descriptions(table: Table) -> tuple[Track, ...]:
    """The tracks of a table without files, as a model keeps it."""
    names = table.column("name")
    return tuple(Track(name, **_description(table, row)) for row, name in enumerate(names))


def write_descriptions(writer: TableWriter, tracks: Sequence[Track]) -> None:
    """Write the tracks as `parse_descriptions` reads them, under the columns name, assay, ..."""
    for track in tracks:
        writer.write(
            [track.name, *(getattr(track, column) or "." for column in DESCRIPTION_COLUMNS)]
        )


def chosen_tracks(tracks: Sequence[Track], requested: Sequence[str]) -> list[int]:
    """The columns of the tracks that have a requested name, assay or tissue, by default all; UsageError for a text
    that none has."""
    if not requested:
        return list(range(len(tracks)))
    named = [(track.name, track.assay, track.tissue) for track in tracks]
    for text in requested:
        if not any(text in names for names in named):
            raise UsageError(f"--only {text}: no track has this name, assay or tissue")
    return [column for column, names in enumerate(named) if set(names) & set(requested)]


def strand_partners(tracks: Sequence[Track]) -> list[int]:
    """For each track the one that it is on the other strand: itself without a strand, else the track of the other
    strand with the same name but for a last `+` or `-`; -1 where there is none."""
    index = {(track.name, track.strand): number for number, track in enumerate(tracks)}
    opposite = {"+": "-", "-": "+"}
    return [
        number
        if track.strand == "."
        else index.get((track.name[:-1] + opposite[track.strand], opposite[track.strand]), -1)
        if track.name.endswith(track.strand)
        else -1
        for number, track in enumerate(tracks)
    ]


def _track(table: Table, row: int, name: str, file: str) -> Track:
    line = table.lines[row]
    if not name or not is_plain(name):
        raise InputError("a track without a name that is text", path=table.path, line=line)
    if file in MISSING_VALUES:
        raise InputError(f"track {name} without a file", path=table.path, line=line)
    path = Path(table.path).parent / file
    if not Path(str(path).partition(GROUP_SEPARATOR)[0]).is_file():
        raise InputError(f"track {name}: there is no file {path}", path=table.path, line=line)
    description = _description(table, row)
    absent = _value(table, "absent", row)
    if absent not in ("", ZERO, MISSING):
        message = f"track {name}: absent is {ZERO} or {MISSING}, not {absent!r}"
        raise InputError(message, path=table.path, line=line)
    counts = _value(table, "counts", row)
    if counts not in ("", BALANCED, RAW):
        message = f"track {name}: counts are {BALANCED} or {RAW}, not {counts!r}"
        raise InputError(message, path=table.path, line=line)
    return Track(name, path, absent=absent, counts=counts, **description)


def _description(table: Table, row: int) -> dict[str, Any]:
    description = {column: _value(table, column, row) for column in DESCRIPTION_COLUMNS}
    description["strand"] = description["strand"] or "."
    if description["strand"] not in STRANDS:
        message = f"a strand is +, -, . or ?, not {description['strand']!r}"
        raise InputError(message, path=table.path, line=table.lines[row])
    return description


def _value(table: Table, column: str, row: int) -> str:
    value = table.columns[column][row].strip() if column in table.columns else ""
    if column == "strand":
        return value
    return "" if value in MISSING_VALUES else value


def _is_bed(path: str | Path) -> bool:
    """Whether the first line with data is a BED line: two whole numbers in its second and third columns."""
    with open_bytes(path) as stream:
        for raw in stream:
            text = text_of(raw).strip()
            if text and not text.startswith(SKIPPED_LINES):
                fields = text.split("\t")
                return len(fields) >= 3 and fields[1].isdecimal() and fields[2].isdecimal()
    return False


def _bed_tracks(path: Path) -> list[Track]:
    """A track for each name in the fourth column, in alphabetical order."""
    names: set[str] = set()
    with open_bytes(path) as stream:
        for line, raw in enumerate(stream, start=1):
            text = text_of(raw).rstrip("\r\n")
            if not text.strip() or text.startswith(SKIPPED_LINES):
                continue
            fields = text.split("\t", 4)
            if len(fields) < 4 or not fields[3].strip() or not is_plain(fields[3]):
                message = "a BED of several tracks needs their names in the fourth column"
                raise InputError(message, path=path, line=line)
            names.add(fields[3].strip())
            if len(names) > MAX_TRACKS:
                message = f"more than {MAX_TRACKS:,} names: the fourth column is no track's name"
                raise InputError(message, path=path, line=line)
    return [Track(name, path) for name in sorted(names)]
