"""A region with ordinary recombination, every tenth site typed: `genomai denoise` beside Beagle and simpler methods.

    python -m benchmarks.imputation.region --markdown benchmarks/imputation/region.md > benchmarks/imputation/region.tsv

The region is simulated (`../shared/data/region`): reference individuals with phase, others of whom every tenth site is
typed, and the truth of those. Rates and calibration come of the reference alone; the numbers of states and draws of the
copying model were tried on 84 of the target individuals. Beagle and minimac4 stand in the table where they are
installed.
"""

import argparse
import gzip
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.command_line import DATA, RUNS, parser_of, write_optional
from benchmarks.imputation.methods import (
    BEAGLE,
    COPYING,
    MINIMAC,
    MOST_FREQUENT,
    OURS,
    PHASED,
    RIDGE_REGRESSION,
    UNPHASED,
    ProgramTime,
    Window,
    add_programs,
    beagle,
    compile_modules,
    copying_model,
    denoise,
    measured_time,
    minimac,
    most_frequent,
    omission_reason,
    read_probabilities,
    ridge_regression,
    run,
    time_table,
    without_phase,
)
from benchmarks.imputation.scores import Concordance, Row, markdown, tsv
from genomai_cli import threads
from genomai_cli.formats.streams import open_input
from genomai_cli.population.evaluation.genotypes import read_genotypes
from genomai_cli.population.panel import GRCH37, Panel
from genomai_cli.population.panel_files import panel_of_variants

RATE, ERROR = 1e-6, 1e-3  # of the copying model alone: what `pretrain` chose on the reference
REFERENCE, TYPED, TRUTH = "1.ref.vcf.gz", "1.typed.vcf.gz", "1.truth.vcf.gz"


@dataclass(frozen=True, eq=False)
class Region:
    """The sites, the alleles of reference and target samples, and the folder for intermediate files."""

    panel: Panel
    window: Window
    data: Path
    folder: Path
    beagle: str
    minimac4: str

    @classmethod
    def read(cls, data: Path, folder: Path, beagle: str, minimac4: str) -> "Region":
        """Reference, typed sites and truth."""
        with open_input(data / REFERENCE) as source:
            panel = panel_of_variants(source)
        with open_input(data / TYPED) as source:
            typed = panel_of_variants(source)
        site_index = panel.index(GRCH37)
        typed_sites = np.array([site_index[site] for site in typed.index(GRCH37)])
        reference, target = (
            read_genotypes(data / name, panel).alleles for name in (REFERENCE, TRUTH)
        )
        window = Window(reference, target, typed_sites, panel.positions[GRCH37])
        return cls(panel, window, data, folder, beagle, minimac4)

    def read_imputed(self, path: Path) -> np.ndarray:
        """The probabilities that a program wrote for the hidden sites."""
        return read_probabilities(path, self.panel.index(GRCH37), self.window.typed)

    def typed_vcf(self, phase: str) -> Path:
        """A VCF of the typed sites."""
        if phase == PHASED:
            return self.data / TYPED
        path = self.folder / "typed-no-phase.vcf"
        with gzip.open(self.data / TYPED, "rt") as lines:
            path.write_text(without_phase(list(lines)))
        return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate all methods; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    threads.use(1)
    compile_modules()
    options.runs.mkdir(parents=True, exist_ok=True)
    region = Region.read(options.region, options.runs, options.beagle, options.minimac4)
    preparation = prepare_model(region)
    rows = list(evaluated_rows(region, options))
    sys.stdout.writelines(tsv(rows))
    write_optional(options.markdown, markdown(rows) + "\n" + time_table(rows, preparation))


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = parser_of(__doc__, runs=RUNS / "imputation" / "region", markdown=None)
    parser.add_argument(
        "--region", type=Path, default=DATA.parent / "region", metavar="DIR", help="its files"
    )
    add_programs(parser)
    return parser


def evaluated_rows(region: Region, options: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    copies = region.window.target.sum(axis=1).astype(np.int64)
    hidden = np.ones(copies.shape, bool)
    hidden[:, region.window.typed] = False
    for phase in (PHASED, UNPHASED):
        rows: dict[str, Row] = {}
        for name, method in METHODS.items():
            if omission_reason(name, phase, options):
                continue
            with measured_time() as elapsed:
                probabilities = method(region, phase)
            score = Concordance.of(copies, probabilities, hidden)
            baseline = rows.get(BEAGLE) if name == OURS else None
            rows[name] = Row(phase, name, score, elapsed.wall, baseline, elapsed.processor)
            print(f"{phase}, {name}: done", file=sys.stderr, flush=True)
        yield from rows.values()


def prepare_model(region: Region) -> ProgramTime | None:
    """Pretrain the model of the region, if there is none yet, and the time that it takes."""
    model, reference = region.folder / "model", region.data / REFERENCE
    if model.exists():
        return None
    with measured_time() as elapsed:
        run(sys.executable, "-m", "genomai_cli", "pretrain", "-q", "--for", "imputation", str(reference),
            "-o", str(model), "--threads", "1", "--device", "cpu")  # fmt: skip
    return elapsed


def by_beagle(region: Region, phase: str) -> np.ndarray:
    """Beagle with the same reference."""
    out = region.folder / "beagle"
    imputed = beagle(region.beagle, region.typed_vcf(phase), region.data / REFERENCE, out)
    return region.read_imputed(imputed)


def by_minimac(region: Region, phase: str) -> np.ndarray:
    """Minimac4 with the same reference."""
    out = region.folder / "minimac"
    imputed = minimac(region.minimac4, region.typed_vcf(phase), region.data / REFERENCE, out)
    return region.read_imputed(imputed)


def by_denoise(region: Region, phase: str) -> np.ndarray:
    """`genomai denoise`."""
    out = region.folder / "restored.vcf.gz"
    return region.read_imputed(denoise(region.folder / "model", region.typed_vcf(phase), out))


Method = Callable[[Region, str], np.ndarray]
"""The probabilities (N, S, 3) of the genotypes."""
METHODS: dict[str, Method] = {
    MOST_FREQUENT: lambda region, phase: most_frequent(region.window),
    RIDGE_REGRESSION: lambda region, phase: ridge_regression(region.window),
    COPYING: lambda region, phase: copying_model(region.window, phase, RATE, ERROR),
    BEAGLE: by_beagle,
    MINIMAC: by_minimac,
    OURS: by_denoise,
}

if __name__ == "__main__":
    main()
