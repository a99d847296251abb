"""Whether the letters that drive calls of bound sequences spell motifs of known transcription factors.

    python -m benchmarks.tasks.motifs -o benchmarks/tasks/motifs.tsv --markdown benchmarks/tasks/motifs.md

For each task `genomai train` with the default recipe and a small budget, `genomai explain --method gradient --motifs`
of the development sequences, and each enriched motif beside all vertebrate motifs of JASPAR (needs the package
pyjaspar, which holds them): the cosine of the two matrices less 1/4 at their best offset and strand, and its p-value:
how often the motif with its columns in random order is as like any of them. Mutagenesis of some sequences tells how
well the gradient approximates it.

Shape suffixes: N orders, M columns of a motif, J columns of a JASPAR motif, O offsets, A bases.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.command_line import DATA, RUNS, names, parser_of, say, write_optional
from genomai_cli.alphabet import BASES
from genomai_cli.cli.app import main as genomai
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.tables import read_labels
from genomai_cli.metrics.classification import confusion_matrix, matthews

TASKS = ("mouse2", "mouse3")
RELEASE = "JASPAR2026"
PERMUTATIONS = 999
MUTAGENESIS_SEQUENCES = 25
COLUMNS = (
    "task", "motif", "consensus", "sites", "sequences", "shuffled", "tested", "E", "jaspar", "name", "cosine", "p",
    "others",
)  # fmt: skip
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KnownMotif:
    """A motif of JASPAR: its accession, its factor, and the share (J, 4) of each base."""

    accession: str
    name: str
    shares: Array


@dataclass(frozen=True, eq=False)
class Match:
    """The most similar motif of JASPAR, the next ones' names, the cosine, and the p-value of so good a match."""

    motif: KnownMotif
    runners_up: list[str]
    cosine: float
    p: float


def known_motifs() -> list[KnownMotif]:
    """The newest versions of JASPAR's core motifs of vertebrates."""
    from pyjaspar import jaspardb  # noqa: PLC0415 - an optional package

    motifs = jaspardb(release=RELEASE).fetch_motifs(collection="CORE", tax_group=["vertebrates"])
    return [KnownMotif(m.matrix_id, m.name, shares_of(m.counts)) for m in motifs]


def shares_of(counts: Any) -> Array:
    """The share (J, 4) of each base of a Biopython matrix of counts or shares."""
    table = np.array([counts[base] for base in BASES], float).T
    return np.asarray(table / table.sum(1, keepdims=True))


def match(shares: Array, jaspar: Sequence[KnownMotif], rng: np.random.Generator) -> Match:
    """The most similar motif of JASPAR, and how often the columns in another order are as similar to any."""
    width = len(shares)
    orders = np.stack([np.arange(width), *(rng.permutation(width) for _ in range(PERMUTATIONS))])
    cosines = np.array([_cosines(shares, other.shares, orders) for other in jaspar])
    ranked = np.argsort(-cosines[:, 0], kind="stable")
    best_N = cosines.max(0)
    runners_up = [jaspar[index].name for index in ranked[1:4]]
    p = float((best_N >= best_N[0] - 1e-12).mean())
    return Match(jaspar[ranked[0]], runners_up, float(best_N[0]), p)


def _cosines(one: Array, other: Array, orders: NDArray[np.int64]) -> Array:
    """The cosine (N,) of the motif, its columns in each order, and the other at their best offset and strand."""
    first, second = one - 1 / len(BASES), other - 1 / len(BASES)
    norm = np.sqrt((first**2).sum() * (second**2).sum())
    best = [_max_products(first, strand, orders) for strand in (second, second[::-1, ::-1])]
    return np.asarray(np.maximum(*best) / norm)


def _max_products(first: Array, second: Array, orders: NDArray[np.int64]) -> Array:
    width = len(first)
    products = np.pad(first @ second.T, ((0, 0), (width, width)))
    offsets = np.arange(1, len(second) + width)
    sums_NO = np.zeros((len(orders), len(offsets)))
    for column in range(width):
        sums_NO += products[:, offsets + column][orders[:, column]]
    return np.asarray(sums_NO.max(1))


@dataclass(frozen=True, eq=False)
class Task:
    """A task's folder, and where its model and explanations lie."""

    data: Path
    runs: Path
    time: str
    seed: int

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.runs / self.data.name

    def train(self) -> None:
        """Train it, unless it is there."""
        if not self.model.is_dir():
            fasta, labels = self.data / "train.fa.gz", self.data / "train.labels.tsv.gz"
            arguments = [fasta, "--labels", labels, "--time", self.time, "-o", self.model]
            self._run("train", *arguments, "--seed", self.seed)

    def explain(self, *options: object, fasta: Path | None = None) -> Path:
        """The explanations of the development sequences, or of others, as HDF5."""
        target = self.runs / f"{self.data.name}.h5"
        arguments = [fasta or self.data / "dev.fa.gz", "--model", self.model, "-o", target]
        self._run("explain", *arguments, *options)
        return target

    def _run(self, command: str, *arguments: object) -> None:
        status = genomai([command, *map(str, arguments), "--device", "cpu", "-q"])
        if status:
            raise SystemExit(status)


@dataclass(frozen=True, eq=False)
class Result:
    """The results of a task: MCC on the development part, the median correlation of gradient and mutagenesis, and a row
    a motif."""

    task: str
    mcc: float
    agreement: float
    rows: list[list[str]]


def result_of(task: Task, jaspar: Sequence[KnownMotif]) -> Result:
    """Train, explain, and compare the motifs."""
    from Bio import motifs as biopython  # noqa: PLC0415 - as optional as pyjaspar

    say(f"{task.data.name}: training")
    task.train()
    say(f"{task.data.name}: explaining")
    meme, report = task.runs / f"{task.data.name}.meme", task.runs / f"{task.data.name}.json"
    options = ["--motifs", meme, "--motif-plot", meme.with_suffix(".svg"), "--report-json", report]
    explanations = task.explain("--method", "gradient", *options, "--seed", task.seed)
    motif_reports = json.loads(report.read_text())["details"]["motifs"]
    with open(meme) as handle:
        matrices = [shares_of(motif.counts) for motif in biopython.parse(handle, "minimal")]
    rng = np.random.default_rng(task.seed)
    rows = [
        _row(task.data.name, motif_report, match(matrix, jaspar, rng))
        for motif_report, matrix in zip(motif_reports, matrices, strict=True)
    ]
    mcc = dev_mcc(task, explanations)
    with h5py.File(explanations) as file:
        gradient = file["attributions"][:]
    return Result(task.data.name, mcc, agreement(task, gradient), rows)


def _row(task: str, motif_report: dict[str, Any], best_match: Match) -> list[str]:
    counts = (motif_report[name] for name in ("sites", "matched", "shuffled", "tested"))
    motif = best_match.motif
    return [
        *(
            task,
            motif_report["name"],
            motif_report["consensus"],
            *map(str, counts),
            f"{motif_report['e_value']:.1e}",
        ),
        *(motif.accession, motif.name, f"{best_match.cosine:.3f}", f"{best_match.p:.3f}"),
        ", ".join(best_match.runners_up),
    ]


def dev_mcc(task: Task, explanations: Path) -> float:
    """The MCC of the explained labels, the most likely ones."""
    label_by_name = read_labels(task.data / "dev.labels.tsv.gz").column("label")
    with h5py.File(explanations) as file:
        ids, labels = (file[name].asstr()[:] for name in ("ids", "labels"))
    classes = sorted(set(label_by_name.values()))
    predicted = np.array([classes.index(label.partition(":")[2]) for label in labels])
    true = np.array([classes.index(label_by_name[name]) for name in ids])
    return matthews(confusion_matrix(true, predicted, len(classes)))


def agreement(task: Task, gradient: Array) -> float:
    """The median over the first sequences of the correlation between both methods' attributions."""
    subset = task.runs / "few.fa"
    with open_input(task.data / "dev.fa.gz") as source:
        records = islice(read_sequences(source), MUTAGENESIS_SEQUENCES)
        subset.write_text("".join(f">{record.name}\n{record.held}\n" for record in records))
    with h5py.File(task.explain("--method", "ism", fasta=subset)) as file:
        mutagenesis, ends = file["attributions"][:], file["offsets"][:].tolist()
    correlations = [np.corrcoef(mutagenesis[a:b], gradient[a:b])[0, 1] for a, b in pairwise(ends)]
    return float(np.median(correlations))


def markdown(results: Sequence[Result], time: str) -> str:
    """The tables for readers."""
    lines = [f"# Motifs that drive calls of bound sequences (`--time {time}`)\n\n"]
    for result in results:
        lines.append(
            f"## {result.task}\n\nMCC on the development part {result.mcc:.3f}; median correlation of gradient and "
            f"mutagenesis over {MUTAGENESIS_SEQUENCES} sequences {result.agreement:.3f}.\n\n"
        )
        head = COLUMNS[1:]
        table = [head, ["---"] * len(head), *(row[1:] for row in result.rows)]
        lines += ["| " + " | ".join(row) + " |\n" for row in table]
        lines.append("\n")
    return "".join(lines).rstrip("\n") + "\n"


def main() -> None:
    """Print the table, or write it."""
    parser = parser_of(
        __doc__,
        data=DATA.parent / "tasks",
        seed=0,
        runs=RUNS / "tasks" / "motifs",
        output=None,
        markdown=None,
    )
    parser.add_argument("--tasks", type=names, default=list(TASKS), metavar="NAME,...")
    parser.add_argument("--time", default="1m", help="for training; default: %(default)s")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    jaspar = known_motifs()
    say(f"{len(jaspar)} motifs of {RELEASE}")
    tasks = [
        Task(options.data / name, options.runs, options.time, options.seed)
        for name in options.tasks
    ]
    results = [result_of(task, jaspar) for task in tasks]
    rows = [COLUMNS, *(row for result in results for row in result.rows)]
    table = ["\t".join(row) + "\n" for row in rows]
    write_optional(options.output, table)
    write_optional(options.markdown, markdown(results, options.time))
    if options.output is None:
        print("".join(table), end="")


if __name__ == "__main__":
    main()
