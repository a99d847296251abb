"""The coverage windows of baskerville's test data as files: a genome of windows, a bigWig a track, a table of tracks.

Each window of 131,072 bases is a contig; coverage lies on its middle half, in bins of 32 bases. What lies outside is
missing, not zero.

Shape suffixes: W windows, R bins, C tracks.
"""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.tables import TableWriter
from genomai_cli.formats.track_outputs import BIGWIG, TrackSegment, track_output
from genomai_cli.formats.track_table import DESCRIPTION_COLUMNS, Track, read_track_table

SPECIES = {"hg38": "human", "mm10": "mouse"}
WINDOW, BIN = 131_072, 32
HEADS = {"CAGE": "cage", "DNASE": "dnase", "RNA": "rna_seq", "RNA3": "rna_seq"}
LETTERS = np.frombuffer(b"ACGTN", np.uint8)
Coverage = NDArray[np.float32]


def tracks_of(data: Path, species: str) -> list[Track]:
    """The tracks of a species, in the order of the windows' columns."""
    with (data / f"{species}_targets.txt").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    tracks = []
    for row in rows:
        kind, _, tissue = row["description"].partition(":")
        name = row["identifier"]
        strand = name[-1] if name[-1] in "+-" else "."
        unit = "sum of coverage, square root of the large"
        tracks.append(Track(name, None, HEADS[kind], tissue, strand, SPECIES[species], unit))
    return tracks


def coverage(data: Path, species: str, part: str) -> Coverage:
    """The values (W, R, C)."""
    with np.load(data / f"{species}_{part}.npz") as file:
        return np.asarray(file["target"], np.float32)


def letters(data: Path, species: str, part: str) -> list[str]:
    """The windows' DNA."""
    with np.load(data / f"{species}_{part}.npz") as file:
        return [LETTERS[window].tobytes().decode() for window in file["seq"]]


def contig(species: str, part: str, number: int) -> str:
    """A window's name."""
    return f"{species}_{part}_{number}"


def write_part(data: Path, part: str, folder: Path) -> None:
    """`ref.fa`, `tracks.tsv` and the bigWigs of both species, in a new folder."""
    folder.mkdir(parents=True)
    tracks: list[Track] = []
    with (folder / "ref.fa").open("w", encoding="ascii") as fasta:
        for species in SPECIES:
            for number, text in enumerate(letters(data, species, part)):
                fasta.write(f">{contig(species, part, number)}\n{text}\n")
            tracks += _write_tracks(data, species, part, folder / species)
    with (folder / "tracks.tsv").open("w", encoding="utf-8") as file:
        writer = TableWriter(file, ["name", "file", *DESCRIPTION_COLUMNS])
        for track in tracks:
            assert track.file is not None
            description = [getattr(track, column) or "." for column in DESCRIPTION_COLUMNS]
            writer.write([track.name, str(track.file.relative_to(folder)), *description])


def _write_tracks(data: Path, species: str, part: str, folder: Path) -> list[Track]:
    values_WRC = coverage(data, species, part)
    tracks = tracks_of(data, species)
    names = [contig(species, part, number) for number in range(len(values_WRC))]
    start = (WINDOW - values_WRC.shape[1] * BIN) // 2
    with track_output(folder, BIGWIG, tracks, dict.fromkeys(names, WINDOW), {}) as out:
        for name, values_RC in zip(names, values_WRC, strict=True):
            out.add(TrackSegment(name, start, WINDOW - start, BIN, values_RC))
    table = read_track_table(folder / "tracks.tsv")
    return [replace(track, file=track.file) for track in table.tracks]
