"""Predicting numbers from sequences with the recipe `auto`, beside its k-mer regression, on accessibility of DNA.

    python -m benchmarks.tasks.regression --markdown benchmarks/tasks/regression.md > benchmarks/tasks/regression.tsv

Real numbers: of windows of 131,072 letters of the human genome (hg38, `../shared/data/omics`, official split), the mean
over all DNase tracks of the signal in pieces of 512 letters that do not overlap, as log(1 + x). A made-up one beside
it: how many of two motifs a random sequence holds, and noise of known size. Training pieces are split by similarity for
the choice; the validation windows are the test. Intervals are by bootstrap of pieces.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.command_line import DATA, parser_of, say, write_optional
from genomai_cli.inference.classify import Number, classify_records
from genomai_cli.inputs.samples import Samples
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.metrics.numbers import NumberPredictions, score_numbers
from genomai_cli.records import SequenceRecord
from genomai_cli.training import selection
from genomai_cli.training.recipe import read
from genomai_cli.training.similarity import clusters

PIECE, BIN, MARGIN = 512, 32, 32_768  # letters; windows have targets but at their ends
TRAIN_STRIDE = 8  # one of so many training pieces is enough for a minute or two
MOTIFS = ("TGACTCA", "CACGTG")
COLUMNS = (
    "data",
    "measure",
    "value",
    "low",
    "high",
    "k-mer regression (held out)",
    "together (held out)",
)
HELD_OUT = {"pearson", "spearman", "r2", "rmse"}


@dataclass(frozen=True)
class Dataset:
    """Sequences with a number each, to train on and to test by."""

    train: list[str]
    train_values: np.ndarray
    test: list[str]
    test_values: np.ndarray


def accessibility(folder: Path) -> Dataset:
    """Pieces of windows and their DNase signal."""
    tracks = (folder / "hg38_targets.txt").read_text().splitlines()[1:]
    dnase = [
        number for number, line in enumerate(tracks) if line.split("\t")[-1].startswith("DNASE")
    ]
    train, train_values = _pieces(folder / "hg38_train.npz", dnase, TRAIN_STRIDE)
    test, test_values = _pieces(folder / "hg38_valid.npz", dnase, 1)
    return Dataset(train, train_values, test, test_values)


def _pieces(file: Path, tracks: list[int], stride: int) -> tuple[list[str], np.ndarray]:
    stored = np.load(file)
    letters = np.frombuffer(b"ACGTN", np.uint8)
    offset = (stored["seq"].shape[1] - stored["target"].shape[1] * BIN) // 2
    bins = PIECE // BIN
    texts, values = [], []
    for codes, signal in zip(stored["seq"], stored["target"], strict=True):
        mean = signal[:, tracks].astype(np.float64).mean(1)
        for first_bin in range(0, len(mean) - bins + 1, bins * stride):
            start = offset + first_bin * BIN
            texts.append(letters[codes[start : start + PIECE]].tobytes().decode())
            values.append(np.log1p(mean[first_bin : first_bin + bins].mean()))
    return texts, np.array(values)


def synthetic(seed: int) -> Dataset:
    """Random sequences and how many motifs they hold."""
    rng = np.random.default_rng(seed)

    def draw() -> tuple[str, float]:
        text, count = "".join(rng.choice(list("ACGT"), 100)), int(rng.integers(0, 4))
        for position in rng.choice(10, count, replace=False) * 10:
            motif = str(rng.choice(MOTIFS))
            text = text[:position] + motif + text[position + len(motif) :]
        return text, count + float(rng.normal(0, 0.5))

    pairs = [draw() for _ in range(3000)]
    texts, values = [text for text, _ in pairs], np.array([value for _, value in pairs])
    return Dataset(texts[:2000], values[:2000], texts[2000:], values[2000:])


def rows(name: str, data: Dataset, seconds: float, seed: int) -> Iterator[tuple[str, ...]]:
    """The measures on the test sequences, and those of training on its held-out ones."""
    names = [str(number) for number in range(len(data.train))]
    samples = Samples(
        names, data.train, {}, {}, clusters(data.train), values={"signal": data.train_values}
    )
    recipe, _ = read("auto")
    fitted = selection.fit(samples, recipe, SequenceInput(), budget=seconds, seed=seed, report=say)
    records = (SequenceRecord(str(n), text) for n, text in enumerate(data.test))
    predictions = [call.numbers["signal"] for call in classify_records(fitted.bundle, records)]
    table = np.array([_row(number) for number in predictions])
    scores = score_numbers(
        data.test_values, NumberPredictions(*table.T), np.random.default_rng(seed)
    )
    candidates = fitted.validation["signal"]["candidates"]
    kmer_regression, together = next(iter(candidates.values())), candidates["together"]
    yield (name, "n", str(scores.samples), ".", ".", ".", str(fitted.validation["signal"]["n"]))
    for measure, estimate in scores.measures.items():
        held_out = [
            f"{c[measure]:.3f}" if measure in HELD_OUT else "." for c in (kmer_regression, together)
        ]
        yield (
            name,
            measure,
            *(f"{x:.3f}" for x in (estimate.value, estimate.low, estimate.high)),
            *held_out,
        )


def _row(number: Number | None) -> tuple[float, float, float]:
    return (np.nan,) * 3 if number is None else (number.value, number.low, number.high)


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__, data=DATA.parent, seed=0, threads=1, markdown=None)
    parser.add_argument("--seconds", type=float, default=40.0, help="the budget of each")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    datasets = {
        "accessibility": accessibility(arguments.data / "omics"),
        "made up": synthetic(arguments.seed),
    }
    table_rows = [
        r
        for name, data in datasets.items()
        for r in rows(name, data, arguments.seconds, arguments.seed)
    ]
    print("\n".join(map("\t".join, [COLUMNS, *table_rows])))
    lines = [f"| {' | '.join(row)} |" for row in (COLUMNS, ("---",) * len(COLUMNS), *table_rows)]
    write_optional(arguments.markdown, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
