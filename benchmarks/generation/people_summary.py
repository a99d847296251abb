"""Add summaries of the people that a generator learnt from to its bundle, which stays as it is otherwise.

    python -m benchmarks.generation.people_summary models/ancestry-generator ../shared/data/1kgp/train.grch37.vcf.gz

`genomai pretrain --objective diffusion` writes them by itself; this is for bundles that were made before it did.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.command_line import parser_of
from genomai_cli.bundles import catalog
from genomai_cli.formats.streams import open_input
from genomai_cli.population.evaluation import summary
from genomai_cli.population.evaluation.genotypes import genotypes_of_variants
from genomai_cli.population.evaluation.summary import Summary
from genomai_cli.population.panel import Panel


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the people, and write what is kept of them."""
    parser = parser_of(__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("people", type=Path, help="a phased VCF")
    options = parser.parse_args(arguments)
    panel = Panel.read(options.bundle / catalog.PANEL)
    samples = genotypes_of_variants([open_input(options.people)], panel)
    summary.add(options.bundle, Summary.of(samples))


if __name__ == "__main__":
    main()
