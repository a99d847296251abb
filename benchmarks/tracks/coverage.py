"""How well coverage of two species is predicted from DNA: `alphagenome-tiny`, a small CNN, and the other tracks.

    python -m benchmarks.tracks.coverage --steps 200 --seconds 300 -o coverage.tsv --markdown coverage.md

One model with heads for both species is trained by `genomai pretrain --objective tracks` on the training windows, if no
finished one is kept; the CNN has so many seconds of a processor on the same windows. Both are measured on the
validation windows, on which nothing was chosen, in bins of 128 bases. The mean of the other tracks is not
predicted from DNA: it reads what was measured at the place itself.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.command_line import DATA, RUNS, parser_of, say, write_asked
from benchmarks.tracks import basenji, correlations
from benchmarks.tracks.coverage_windows import (
    BIN,
    SPECIES,
    WINDOW,
    contig,
    coverage,
    tracks_of,
    write_part,
)
from genomai_cli import device as devices
from genomai_cli.bundles import bundle as bundles
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.track_table import Track, strand_partners
from genomai_cli.inference.track_predictions import Reading, TrackPredictor

BASES = 128  # of a bin
AROUND = 8192  # bases of DNA on each side of what is trained on
METHODS = ("alphagenome-tiny", "CNN", "other tracks")
Values = NDArray[np.float32]


def main() -> None:
    """Prepare, train, measure, write."""
    parser = parser_of(__doc__, runs=RUNS / "tracks", output=None, markdown=None, seed=0)
    parser.add_argument("--data", type=Path, default=DATA.parent / "omics")
    parser.add_argument("--steps", type=int, default=200, help="of alphagenome-tiny")
    parser.add_argument("--seconds", type=float, default=300.0, help="of a processor, for the CNN")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = options.runs / "coverage"
    for part in ("train", "valid"):
        if not (files / part).exists():
            write_part(options.data, part, files / part)
    model = options.runs / "tiny"
    if not model.exists():
        pretrain(files / "train", model, options.steps, options.seed)
    rows: list[str] = []
    summary: list[str] = []
    cnn = cnn_values(options.data, options.seconds, options.seed)
    for species in SPECIES:
        told = {
            "alphagenome-tiny": model_values(
                model, files / "valid" / "ref.fa", options.data, species
            ),
            "CNN": cnn[species],
            "other tracks": correlations.others(in_means(options.data, species, "valid")),
        }
        measured = binned(coverage(options.data, species, "valid"))
        tracks = tracks_of(options.data, species)
        found = {name: correlations.moments(values, measured) for name, values in told.items()}
        rows += table(species, tracks, found, options.seed)
        summary += summarised(species, tracks, found, options.seed)
    head = [
        "species",
        "track",
        "assay",
        *(f"{m}{part}" for m in METHODS for part in ("", " low", " high")),
    ]
    lines = ["\t".join(head), *rows]
    write_asked(options.output, [f"{line}\n" for line in lines])
    columns = "| species | assay | tracks | " + " | ".join(METHODS) + " |"
    shown = [columns, "| --- | --- | --- | " + " | ".join("---" for _ in METHODS) + " |", *summary]
    write_asked(options.markdown, [f"{line}\n" for line in shown])
    print("\n".join(shown))


def pretrain(train: Path, model: Path, steps: int, seed: int) -> None:
    """One model of both species, on the middle of the windows, where coverage is known, and some DNA around it."""
    edge = WINDOW // 4 - AROUND
    names = [line[1:].strip() for line in (train / "ref.fa").open() if line.startswith(">")]
    regions = "".join(f"{name}\t{edge}\t{WINDOW - edge}\n" for name in names)
    (train / "regions.bed").write_text(regions)
    words = ["--tracks", train / "tracks.tsv", "--reference", train / "ref.fa"]
    words += ["--regions", train / "regions.bed", "--threads", 1, "--seed", seed, "-o", model]
    settings = {
        "optimization.steps": steps,
        "optimization.evaluate_every": 100,
        "corpus.judged": 8,
    }
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command = ["pretrain", "--objective", "tracks", *map(str, words)]
    say(f"genomai {' '.join(command)}")
    subprocess.run([sys.executable, "-m", "genomai_cli", *command], check=True)


def model_values(model: Path, fasta: Path, data: Path, species: str) -> Values:
    """What a model predicts (W, R, C) of the middle of the validation windows."""
    bundle = bundles.load(model, torch.device("cpu"))
    devices.to_single_precision([bundle.classifier])
    order = [track.name for track in tracks_of(data, species)]
    start = WINDOW // 4
    with open_reference(fasta) as reference:
        reading = Reading(resolution=BASES, organism=SPECIES[species])
        predictor = TrackPredictor(bundle, reference, reading)
        columns = [[track.name for track in predictor.tracks].index(name) for name in order]
        found = []
        for number in range(len(coverage(data, species, "valid"))):
            region = Region(contig(species, "valid", number), start, WINDOW - start, "", 0)
            parts = [stretch.values_RT[:, columns] for stretch in predictor.stretches(region)]
            found.append(np.concatenate(parts))
    return np.stack(found)


def cnn_values(data: Path, seconds: float, seed: int) -> Mapping[str, Values]:
    """What the CNN predicts, by species."""
    network, steps = basenji.trained({s: windows(data, s, "train") for s in SPECIES}, seconds, seed)
    numbers = sum(parameter.numel() for parameter in network.parameters())
    say(f"CNN: {numbers:,} parameters, {steps} steps of a window in {seconds:.0f} s of a processor")
    return {s: basenji.predicted(network, windows(data, s, "valid"), s) for s in SPECIES}


def windows(data: Path, species: str, part: str) -> basenji.Windows:
    """The middle of windows, as the CNN reads them."""
    edge = WINDOW // 4 - basenji.CONTEXT
    with np.load(data / f"{species}_{part}.npz") as file:
        letters = file["seq"][:, edge : WINDOW - edge]
    partners = strand_partners(tracks_of(data, species))
    return basenji.Windows(letters, in_means(data, species, part), partners)


def in_means(data: Path, species: str, part: str) -> Values:
    """The values (W, R, C) in units of each track's mean in the training windows."""
    means_C = coverage(data, species, "train").mean(axis=(0, 1), dtype=np.float64)
    return (binned(coverage(data, species, part)) / means_C).astype(np.float32)


def binned(values_WRC: Values) -> Values:
    """The same in bins of 128 bases."""
    few, of = values_WRC.shape[1] * BIN // BASES, BASES // BIN
    shape = len(values_WRC), few, of, values_WRC.shape[2]
    return values_WRC.reshape(shape).mean(axis=2)


def table(
    species: str, tracks: list[Track], found: Mapping[str, NDArray[np.float64]], seed: int
) -> Iterator[str]:
    """A row a track: r and its 95 % interval by method."""
    columns = []
    for method in METHODS:
        columns.append(correlations.pearson(found[method].sum(axis=0)))
        columns += list(np.nanpercentile(correlations.drawn(found[method], seed), [2.5, 97.5], 0))
    for track, values in zip(tracks, np.stack(columns, axis=1), strict=True):
        yield "\t".join([species, track.name, track.assay, *(f"{value:.3f}" for value in values)])


def summarised(
    species: str, tracks: list[Track], found: Mapping[str, NDArray[np.float64]], seed: int
) -> Iterator[str]:
    """A row an assay: the mean r of its tracks and its 95 % interval, and how many tracks are constant there."""
    for assay in dict.fromkeys(track.assay for track in tracks):
        own = [n for n, track in enumerate(tracks) if track.assay == assay]
        cells = []
        for method in METHODS:
            value = np.nanmean(correlations.pearson(found[method].sum(axis=0))[own])
            draws = np.nanmean(correlations.drawn(found[method], seed)[:, own], axis=1)
            low, high = np.percentile(draws, [2.5, 97.5])
            cells.append(f"{value:.3f} ({low:.3f}-{high:.3f})")
        yield f"| {SPECIES[species]} | {assay} | {len(own)} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
