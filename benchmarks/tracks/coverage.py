"""How well coverage of two species is predicted from DNA: `alphagenome-tiny`, a small CNN, and the other tracks.

    python -m benchmarks.tracks.coverage --steps 520 --seconds 150 -o coverage.tsv --markdown coverage.md

One model with heads for both species is trained by `genomai pretrain --objective tracks` on the training windows, if no
finished one is kept; the CNN has so many seconds of a processor on the same windows. Both are measured on the
validation windows, in bins of 128 bases: the model and the guesses by
`genomai evaluate --task tracks`, the CNN by the same measures and draws. The mean of the other tracks is not predicted
from DNA: it reads what was measured at the place itself.
"""

import csv
import io
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.command_line import DATA, RUNS, parser_of, say, write_optional
from benchmarks.tracks import basenji
from benchmarks.tracks.coverage_windows import (
    BIN,
    SPECIES,
    WINDOW,
    coverage,
    tracks_of,
    write_part,
)
from genomai_cli.formats.tables import read_table
from genomai_cli.formats.track_table import parse_descriptions, strand_partners
from genomai_cli.inference.coverage_evaluation import CoverageComparison, Estimate
from genomai_cli.inputs.track_baselines import BASELINES_FILE, CoverageMeans

BASES = 128  # of a bin
FLANK = 8192  # bases of DNA on each side of what is trained on
CNN = "cnn"
METHODS = {
    "model": "alphagenome-tiny",
    CNN: "CNN",
    "other_tracks": "other tracks",
    "track_mean": "track's mean",
}
MEASURE_TITLES = {"pearson": "r", "log_pearson": "r of logarithms", "deviance": "deviance"}
Values = NDArray[np.float32]
Row = dict[str, str]


def main() -> None:
    """Prepare, train, measure, write."""
    parser = parser_of(__doc__, runs=RUNS / "tracks", output=None, markdown=None, seed=0)
    parser.add_argument("--data", type=Path, default=DATA.parent / "omics")
    parser.add_argument("--steps", type=int, default=520, help="of alphagenome-tiny")
    parser.add_argument("--seconds", type=float, default=150.0, help="of a processor, for the CNN")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.runs / "coverage"
    for part in ("train", "valid"):
        if not (folder / part).exists():
            write_part(options.data, part, folder / part)
    model = options.runs / "tiny"
    if not model.exists():
        pretrain(folder / "train", model, options.steps, options.seed)
    rows = evaluate(model, folder / "valid", options.seed)
    cnn_estimates = cnn_rows(options.data, means_of(model), options.seconds, options.seed)
    for row in rows:
        row |= _columns(
            CNN, cnn_estimates[row["organism"], row["assay"], row["track"], row["measure"]]
        )
    names = [key for key in rows[0] if not key.startswith(CNN)]
    index = names.index("other_tracks")
    names[index:index] = [CNN, f"{CNN}_low", f"{CNN}_high"]
    lines = ["\t".join(names), *("\t".join(row[name] for name in names) for row in rows)]
    write_optional(options.output, [f"{line}\n" for line in lines])
    table_lines = list(markdown(rows))
    write_optional(options.markdown, [f"{line}\n" for line in table_lines])
    print("\n".join(table_lines))


def pretrain(train: Path, model: Path, steps: int, seed: int) -> None:
    """One model of both species, on the middle of the windows, where coverage is known, and some DNA around it."""
    arguments = ["--tracks", train / "tracks.tsv", "--reference", train / "ref.fa"]
    arguments += ["--regions", middles(train, FLANK), "--threads", 1, "--seed", seed, "-o", model]
    settings = {
        "optimization.steps": steps,
        "optimization.evaluate_every": 80,
        "corpus.judged": 8,
    }
    arguments += [
        argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")
    ]
    run(["pretrain", "--objective", "tracks", *arguments])


def middles(folder: Path, flank: int) -> Path:
    """A BED of the middles of the windows, where coverage is known, with so many bases on each side."""
    edge = WINDOW // 4 - flank
    names = [line[1:].strip() for line in (folder / "ref.fa").open() if line.startswith(">")]
    bed = folder / f"middles_{flank}.bed"
    bed.write_text("".join(f"{name}\t{edge}\t{WINDOW - edge}\n" for name in names))
    return bed


def run(arguments: Sequence[object]) -> str:
    """Run the program; its standard output."""
    command = [str(argument) for argument in arguments]
    say(f"genomai {' '.join(command)}")
    process_arguments = [sys.executable, "-m", "genomai_cli", *command]
    return subprocess.run(process_arguments, check=True, stdout=subprocess.PIPE, text=True).stdout


def evaluate(model: Path, valid: Path, seed: int) -> list[Row]:
    """The rows of `genomai evaluate --task tracks`."""
    arguments = ["evaluate", "--task", "tracks", "--model", model, "--tracks", valid / "tracks.tsv"]
    arguments += ["--reference", valid / "ref.fa", "--regions", middles(valid, 0), "--seed", seed]
    return list(csv.DictReader(io.StringIO(run(arguments)), delimiter="\t"))


def means_of(model: Path) -> Mapping[tuple[str, str], float]:
    """The means of the tracks in the model's training data, the units of its measures, by organism and name."""
    baselines = CoverageMeans.from_bytes(
        (model / BASELINES_FILE).read_bytes(), str(model / BASELINES_FILE)
    )
    tracks = parse_descriptions(read_table(model / "tracks.tsv"))
    return {
        (t.organism, t.name): m for t, m in zip(tracks, baselines.overall.tolist(), strict=True)
    }


def cnn_rows(
    data: Path, means: Mapping[tuple[str, str], float], seconds: float, seed: int
) -> Mapping[tuple[str, str, str, str], Estimate]:
    """The CNN's measures by organism, assay, track and measure."""
    network, steps = basenji.train({s: windows(data, s, "train") for s in SPECIES}, seconds, seed)
    parameter_count = sum(parameter.numel() for parameter in network.parameters())
    say(
        f"CNN: {parameter_count:,} parameters, {steps} steps of a window in {seconds:.0f} s of a processor"
    )
    estimates = {}
    for species, organism in SPECIES.items():
        tracks = tracks_of(data, species)
        scale_C = coverage(data, species, "train").mean(axis=(0, 1), dtype=np.float64)
        measured_WRC = binned(coverage(data, species, "valid"))
        predicted_WRC = basenji.predict(network, windows(data, species, "valid"), species) * scale_C
        units_C = np.array([means[organism, track.name] for track in tracks], np.float32)
        comparison = CoverageComparison(tracks, units_C)
        for measured_RC, predicted_RC in zip(measured_WRC, predicted_WRC, strict=True):
            comparison.add(measured_RC, {CNN: predicted_RC.astype(np.float32)})
        for row in comparison.rows(seed):
            estimates[organism, row.assay, row.track or ".", row.measure] = row.told[CNN]
    return estimates


def _columns(name: str, estimate: Estimate) -> Row:
    numbers = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
    return {f"{name}{part}": f"{number:.6f}" for part, number in numbers.items()}


def windows(data: Path, species: str, part: str) -> basenji.Windows:
    """The middle of windows, as the CNN reads them."""
    edge = WINDOW // 4 - basenji.CONTEXT
    with np.load(data / f"{species}_{part}.npz") as file:
        letters = file["seq"][:, edge : WINDOW - edge]
    partners = strand_partners(tracks_of(data, species))
    return basenji.Windows(letters, in_units_of_means(data, species, part), partners)


def in_units_of_means(data: Path, species: str, part: str) -> Values:
    """The values (W, R, C) in units of each track's mean in the training windows."""
    means_C = coverage(data, species, "train").mean(axis=(0, 1), dtype=np.float64)
    return (binned(coverage(data, species, part)) / means_C).astype(np.float32)


def binned(values_WRC: Values) -> Values:
    """The same in bins of 128 bases."""
    bin_count, bin_size = values_WRC.shape[1] * BIN // BASES, BASES // BIN
    shape = len(values_WRC), bin_count, bin_size, values_WRC.shape[2]
    return values_WRC.reshape(shape).mean(axis=2)


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    """A row an assay and measure: the mean over its tracks and its 95 % interval, by method."""
    yield "| species | assay | tracks | measure | " + " | ".join(METHODS.values()) + " |"
    yield "| --- | --- | --- | --- | " + " | ".join("---" for _ in METHODS) + " |"
    assay_rows = [row for row in rows if row["track"] == "."]
    order = sorted(assay_rows, key=lambda row: (row["organism"], row["assay"]))
    for (organism, assay), group in groupby(order, key=lambda row: (row["organism"], row["assay"])):
        for row in group:
            cells = " | ".join(_cell(row, name) for name in METHODS)
            yield f"| {organism} | {assay} | {row['tracks']} | {MEASURE_TITLES[row['measure']]} | {cells} |"


def _cell(row: Row, name: str) -> str:
    if row[name] == ".":
        return ""
    value, low, high = (float(row[f"{name}{part}"]) for part in ("", "_low", "_high"))
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
