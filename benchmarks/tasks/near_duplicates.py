"""How many near-duplicates the tasks of short sequences hold, among the training sequences and between the parts.

    python -m benchmarks.tasks.near_duplicates > benchmarks/tasks/near_duplicates.tsv

`near_duplicates` are training sequences that have another one, `largest` is the size of the largest cluster,
`dev_leaks` the sequences of the development part with a near-duplicate to train on, `seconds` those of the processor
for both.
"""

import time
from pathlib import Path

import numpy as np

from benchmarks.command_line import DATA, parser_of
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.training.similarity import clusters, near_duplicates, shared_between

COLUMNS = ("task", "train", "near_duplicates", "clusters", "largest", "dev", "dev_leaks", "seconds")


def sequences_of(file: Path) -> list[str]:
    """The sequences of a FASTA file; none if it is not there."""
    if not file.exists():
        return []
    with open_input(file) as source:
        return [record.held for record in read_sequences(source)]


def row_of(task: Path) -> list[str]:
    """The figures of one task, in the order of the columns."""
    train, dev = (sequences_of(task / f"{part}.fa.gz") for part in ("train", "dev"))
    began = time.process_time()
    cluster_ids, leaks = clusters(train), shared_between(train, dev)
    seconds = time.process_time() - began
    largest = int(np.bincount(cluster_ids).max())
    counts = [
        len(train),
        near_duplicates(cluster_ids),
        int(cluster_ids.max()) + 1,
        largest,
        len(dev),
        len(leaks),
    ]
    return [task.name, *map(str, counts), f"{seconds:.1f}"]


def main() -> None:
    """Print the table."""
    arguments = parser_of(__doc__, data=DATA.parent / "tasks").parse_args()
    print("\t".join(COLUMNS))
    for task in sorted(folder for folder in arguments.data.iterdir() if folder.is_dir()):
        print("\t".join(row_of(task)), flush=True)


if __name__ == "__main__":
    main()
