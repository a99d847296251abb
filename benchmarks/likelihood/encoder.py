"""Bits a base and variant scores of trained models of DNA on sequences that they have not read, beside Markov models.

    python -m benchmarks.likelihood.encoder --markdown benchmarks/likelihood/encoder.md

The Markov models are counted on the sequences that the model was pretrained on, all of them. Rows, windows and variants
are those of `benchmarks.likelihood.genomes`.
"""

from pathlib import Path

import torch

from benchmarks.command_line import MODELS, RUNS, parser_of, say, write_optional
from benchmarks.likelihood.genomes import (
    GENOMES,
    add_sizes,
    baseline_rows,
    evaluate_model,
    sequences_of,
    table,
    task_between,
)
from genomai_cli.bundles import bundle as bundles

OMICS = GENOMES.parent / "omics"
TRAINING = (GENOMES / "human_pieces.fa.gz", OMICS / "train.fa.gz")
GENOMES_NOT_READ = (
    OMICS / "valid.fa.gz",
    GENOMES / "yeast_sacCer3.fa.gz",
    GENOMES / "ecoli_k12.fa.gz",
)


def main() -> None:
    """Print a table for each genome."""
    parser = parser_of(__doc__, seed=0, threads=2, runs=RUNS / "likelihood", markdown=None)
    parser.add_argument("--models", nargs="+", default=[str(MODELS / "dna-encoder")], metavar="DIR")
    parser.add_argument(
        "--training", nargs="+", type=Path, default=TRAINING, metavar="FASTA", help="what was read"
    )
    parser.add_argument(
        "--genomes", nargs="+", type=Path, default=GENOMES_NOT_READ, metavar="FASTA"
    )
    add_sizes(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    training = dict(pair for file in options.training for pair in sequences_of(file))
    sections = []
    for genome in options.genomes:
        say(genome.name)
        held_out = list(sequences_of(genome))
        task = task_between(
            training, held_out, options.windows, options.variants, options.seed, options.runs
        )
        rows = baseline_rows(task)
        for name in options.models:
            bundle = bundles.load(name, torch.device("cpu"))
            rows.append(evaluate_model(task, bundle, Path(name).name))
        lines = "\n".join(table(rows, options.seed))
        sections.append(f"`{genome.name}`, {len(task.windows)} windows:\n\n{lines}\n")
    text = "\n".join(sections)
    write_optional(options.markdown, text)
    print(text, end="")


if __name__ == "__main__":
    main()
