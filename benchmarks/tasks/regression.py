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

from benchmarks.command_line import DATA, parser_of, say, write_asked
from genomai_cli.inference.classify import Number, classify_records
from genomai_cli.inputs.samples import Samples
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.metrics.numbers import NumberPredictions, score_numbers
from genomai_cli.records import SequenceRecord
from genomai_cli.training import selection
from genomai_cli.training.recipe import read
from genomai_cli.training.similarity import clusters

PIECE, BIN, MARGIN = 512, 32, 32_768  # letters; windows have targets but at their ends
EVERY = 8  # pieces: so many training ones are enough for a minute or two
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
class Data:
    """Sequences with a number each, to train on and to test by."""

    train: list[str]
    train_values: np.ndarray
    test: list[str]
    test_values: np.ndarray


def accessibility(folder: Path) -> Data:
    """Pieces of windows and their DNase signal."""
    tracks = (folder / "hg38_targets.txt").read_text().splitlines()[1:]
    dnase = [
        number for number, line in enumerate(tracks) if line.split("\t")[-1].startswith("DNASE")
    ]
    train, train_values = _pieces(folder / "hg38_train.npz", dnase, EVERY)
    test, test_values = _pieces(folder / "hg38_valid.npz", dnase, 1)
    return Data(train, train_values, test, test_values)


def _pieces(file: Path, tracks: list[int], every: int) -> tuple[list[str], np.ndarray]:
    stored = np.load(file)
    letters = np.frombuffer(b"ACGTN", np.uint8)
    offset = (stored["seq"].shape[1] - stored["target"].shape[1] * BIN) // 2
    bins = PIECE // BIN
    texts, values = [], []
    for codes, signal in zip(stored["seq"], stored["target"], strict=True):
        mean = signal[:, tracks].astype(np.float64).mean(1)
        for place in range(0, len(mean) - bins + 1, bins * every):
            begin = offset + place * BIN
            texts.append(letters[codes[begin : begin + PIECE]].tobytes().decode())
            values.append(np.log1p(mean[place : place + bins].mean()))
    return texts, np.array(values)


def made_up(seed: int) -> Data:
    """Random sequences and how many motifs they hold."""
    rng = np.random.default_rng(seed)

    def one() -> tuple[str, float]:
        text, count = "".join(rng.choice(list("ACGT"), 100)), int(rng.integers(0, 4))
        for place in rng.choice(10, count, replace=False) * 10:
            motif = str(rng.choice(MOTIFS))
            text = text[:place] + motif + text[place + len(motif) :]
        return text, count + float(rng.normal(0, 0.5))

    pairs = [one() for _ in range(3000)]
    texts, values = [text for text, _ in pairs], np.array([value for _, value in pairs])
    return Data(texts[:2000], values[:2000], texts[2000:], values[2000:])


def rows(name: str, data: Data, seconds: float, seed: int) -> Iterator[tuple[str, ...]]:
    """The measures on the test sequences; beside them what training told of its held-out ones."""
    names = [str(number) for number in range(len(data.train))]
    samples = Samples(
        names, data.train, {}, {}, clusters(data.train), values={"signal": data.train_values}
    )
    recipe, _ = read("auto")
    made = selection.fit(samples, recipe, SequenceInput(), budget=seconds, seed=seed, report=say)
    records = (SequenceRecord(str(n), text) for n, text in enumerate(data.test))
    found = [call.numbers["signal"] for call in classify_records(made.bundle, records)]
    table = np.array([_row(number) for number in found])
    scores = score_numbers(
        data.test_values, NumberPredictions(*table.T), np.random.default_rng(seed)
    )
    candidates = made.validation["signal"]["candidates"]
    first, together = next(iter(candidates.values())), candidates["together"]
    yield (name, "n", str(scores.samples), ".", ".", ".", str(made.validation["signal"]["n"]))
    for measure, of in scores.measures.items():
        told = [f"{c[measure]:.3f}" if measure in HELD_OUT else "." for c in (first, together)]
        yield (name, measure, *(f"{x:.3f}" for x in (of.value, of.low, of.high)), *told)


def _row(number: Number | None) -> tuple[float, float, float]:
    return (np.nan,) * 3 if number is None else (number.value, number.low, number.high)


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__, data=DATA.parent, seed=0, threads=1, markdown=None)
    parser.add_argument("--seconds", type=float, default=40.0, help="the budget of each")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sets = {
        "accessibility": accessibility(arguments.data / "omics"),
        "made up": made_up(arguments.seed),
    }
    found = [
        r for name, of in sets.items() for r in rows(name, of, arguments.seconds, arguments.seed)
    ]
    print("\n".join(map("\t".join, [COLUMNS, *found])))
    lines = [f"| {' | '.join(row)} |" for row in (COLUMNS, ("---",) * len(COLUMNS), *found)]
    write_asked(arguments.markdown, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
