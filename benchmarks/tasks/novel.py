"""Which sequences a model of the recipe `auto` flags `NOVEL`, for being unlike those of training, or gives no label.

    python -m benchmarks.tasks.novel --markdown benchmarks/tasks/novel.md > benchmarks/tasks/novel.tsv

For every task the bounds are set as training sets them, by the training sequences alone. `dev` are the sequences of the
development part: what is flagged of them is a false alarm. All others are as long as the training sequences, unless
their name says otherwise: shuffled letters, or pairs of letters, of the development part; pieces of other genomes;
random letters; repeats; fewer and more letters.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.command_line import DATA, parser_of, say, write_optional
from benchmarks.tasks.near_duplicates import sequences_of
from genomai_cli.alphabet import BASES, UNKNOWN_CODE, as_letters, codes_of
from genomai_cli.backbones.sequence_novelty import NOVELTY, SequenceNovelty
from genomai_cli.inputs.samples import Samples
from genomai_cli.metrics.classification import wilson_interval
from genomai_cli.training.labelled_data import folds
from genomai_cli.training.novelty_fit import fit_novelty
from genomai_cli.training.selection import FOLDS
from genomai_cli.training.sequence_parts import LabelledCodes
from genomai_cli.training.similarity import clusters

TASKS = ("tf0", "mouse2", "prom_300_tata")
GENOMES = {
    "E. coli": "ecoli_k12.fa.gz",
    "yeast": "yeast_sacCer3.fa.gz",
    "human": "human_pieces.fa.gz",
}
SEQUENCES_PER_SET = 1000
REPEATS = ("A", "CA", "CAG", "ACGT")
COLUMNS = ("task", "sequences", "n", "novel", "low", "high", "no_label")


def fitted_novelty(texts: Sequence[str], seed: int) -> SequenceNovelty:
    """The novelty bounds, fitted to these training sequences."""
    dummy_labels = {"label": np.zeros(len(texts), np.int64)}
    samples = Samples(list(texts), list(texts), dummy_labels, {"label": ["any"]}, clusters(texts))
    return fit_novelty(LabelledCodes.of(samples, 4096), folds(samples, FOLDS, seed)).float()


def margins(novelty: SequenceNovelty, texts: Sequence[str]) -> torch.Tensor:
    """The novelty margin (N,) of each sequence."""
    max_length = max(map(len, texts))
    codes = np.full((len(texts), max_length), UNKNOWN_CODE)
    for row, text in zip(codes, texts, strict=True):
        row[: len(text)] = codes_of(as_letters(text))
    return novelty.double().scores(torch.from_numpy(codes).long())[NOVELTY]


def comparison_sequences(
    dev: Sequence[str], length: int, genomes: Path, rng: np.random.Generator
) -> Iterator[tuple[str, list[str]]]:
    """The sets of sequences to compare with those of training, by name."""
    subset = [
        dev[row] for row in rng.choice(len(dev), min(SEQUENCES_PER_SET, len(dev)), replace=False)
    ]
    yield "letters shuffled", ["".join(rng.permutation(list(text))) for text in subset]
    yield "pairs of letters shuffled", [_shuffled_pairs(text, rng) for text in subset]
    yield (
        "random letters",
        ["".join(rng.choice(list(BASES), length)) for _ in range(SEQUENCES_PER_SET)],
    )
    for name, file in GENOMES.items():
        yield f"pieces of {name}", _pieces(sequences_of(genomes / file), length, rng)
    yield "repeats of " + ", ".join(REPEATS), [(unit * length)[:length] for unit in REPEATS]
    yield "5 letters", [text[:5] for text in subset]
    yield "half as long", [text[: length // 2] for text in subset]
    yield "twice as long", [first + second for first, second in pairwise(subset)]


def _shuffled_pairs(text: str, rng: np.random.Generator) -> str:
    pairs = [text[at : at + 2] for at in range(0, len(text), 2)]
    return "".join(rng.permutation(pairs))


def _pieces(chromosomes: list[str], length: int, rng: np.random.Generator) -> list[str]:
    """Pieces without unknown letters, a chromosome by its length."""
    lengths = np.array([len(text) for text in chromosomes], float)
    pieces: list[str] = []
    while len(pieces) < SEQUENCES_PER_SET:
        text = chromosomes[rng.choice(len(lengths), p=lengths / lengths.sum())]
        begin = int(rng.integers(0, len(text) - length + 1))
        piece = text[begin : begin + length].upper()
        if set(piece) <= set(BASES):
            pieces.append(piece)
    return pieces


def row_of(task: str, name: str, margin_N: torch.Tensor) -> tuple[str, ...]:
    """The figures of one set, in the order of the columns."""
    novel = int((margin_N > 0).sum())
    low, high = wilson_interval(novel, len(margin_N))
    shares = (novel / len(margin_N), low, high, float((margin_N > 1).double().mean()))
    return (task, name, str(len(margin_N)), *(f"{share:.3f}" for share in shares))


def rows(data: Path, tasks: Sequence[str], seed: int) -> Iterator[tuple[str, ...]]:
    """The figures of every task."""
    for task in tasks:
        train, dev = (sequences_of(data / "tasks" / task / f"{p}.fa.gz") for p in ("train", "dev"))
        novelty, length = fitted_novelty(train, seed), int(np.median([len(text) for text in train]))
        yield row_of(task, "dev", margins(novelty, dev))
        rng = np.random.default_rng([seed, length])
        for name, texts in comparison_sequences(dev, length, data / "genomes", rng):
            yield row_of(task, name, margins(novelty, texts))
        say(f"{task}: {len(train)} sequences of {length} letters")


def markdown(table_rows: Sequence[tuple[str, ...]]) -> str:
    """The share that is `NOVEL`, and in brackets that without a label, a column a task."""
    tasks = list(dict.fromkeys(row[0] for row in table_rows))
    cells = {(row[0], row[1]): f"{row[3]} ({row[6]})" for row in table_rows}
    lines = ["| sequences | " + " | ".join(tasks) + " |", "| --- |" + " ---: |" * len(tasks)]
    for name in dict.fromkeys(row[1] for row in table_rows):
        lines.append(f"| {name} | " + " | ".join(cells[task, name] for task in tasks) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__, data=DATA.parent, methods=list(TASKS), seed=0, markdown=None)
    arguments = parser.parse_args()
    table_rows = list(rows(arguments.data, arguments.methods, arguments.seed))
    print("\n".join(map("\t".join, [COLUMNS, *table_rows])))
    write_optional(arguments.markdown, markdown(table_rows))


if __name__ == "__main__":
    main()
