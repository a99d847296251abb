"""A region with ordinary recombination, every tenth site typed: `genomai denoise` beside Beagle and simpler methods.

    python -m benchmarks.imputation.region --markdown benchmarks/imputation/region.md > benchmarks/imputation/region.tsv

The region is simulated (`../shared/data/region`): reference individuals with phase, others of whom every tenth site is
typed, and the truth of those. Rates and calibration come of the reference alone; the numbers of states and draws of the
copying model were tried on 84 of those who are judged. Beagle and minimac4 stand in the table where they are
installed.
"""

import argparse
import gzip
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.command_line import DATA, RUNS, parser_of, write_asked
from benchmarks.imputation.methods import (
    BEAGLE,
    COPYING,
    MINIMAC,
    MOST_FREQUENT,
    OURS,
    PHASED,
    RIDGE_REGRESSION,
    UNPHASED,
    Spent,
    Window,
    add_programs,
    beagle,
    clocked,
    compile_modules,
    copied,
    denoise,
    left_out,
    minimac,
    most_frequent,
    read_probabilities,
    ridge_regression,
    run,
    times,
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
    """The sites and what is known, and where files are made."""

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
        places = panel.index(GRCH37)
        numbers = np.array([places[place] for place in typed.index(GRCH37)])
        learnt, judged = (read_genotypes(data / n, panel).alleles for n in (REFERENCE, TRUTH))
        window = Window(learnt, judged, numbers, panel.positions[GRCH37])
        return cls(panel, window, data, folder, beagle, minimac4)

    def restored(self, path: Path) -> np.ndarray:
        """What a program wrote of the hidden sites."""
        return read_probabilities(path, self.panel.index(GRCH37), self.window.typed)

    def asked(self, phase: str) -> Path:
        """A VCF of the typed sites."""
        if phase == PHASED:
            return self.data / TYPED
        path = self.folder / "typed-no-phase.vcf"
        with gzip.open(self.data / TYPED, "rt") as lines:
            path.write_text(without_phase(list(lines)))
        return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge all methods; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    threads.use(1)
    compile_modules()
    options.runs.mkdir(parents=True, exist_ok=True)
    region = Region.read(options.region, options.runs, options.beagle, options.minimac4)
    preparation = prepared(region)
    rows = list(judged(region, options))
    sys.stdout.writelines(tsv(rows))
    write_asked(options.markdown, markdown(rows) + "\n" + times(rows, preparation))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = parser_of(__doc__, runs=RUNS / "imputation" / "region", markdown=None)
    made.add_argument(
        "--region", type=Path, default=DATA.parent / "region", metavar="DIR", help="its files"
    )
    add_programs(made)
    return made


def judged(region: Region, options: argparse.Namespace) -> Iterator[Row]:
    """The rows."""
    copies = region.window.judged.sum(axis=1).astype(np.int64)
    hidden = np.ones(copies.shape, bool)
    hidden[:, region.window.typed] = False
    for phase in (PHASED, UNPHASED):
        rows: dict[str, Row] = {}
        for name, method in METHODS.items():
            if left_out(name, phase, options):
                continue
            with clocked() as spent:
                found = method(region, phase)
            score = Concordance.of(copies, found, hidden)
            beside = rows.get(BEAGLE) if name == OURS else None
            rows[name] = Row(phase, name, score, spent.wall, beside, spent.processor)
            print(f"{phase}, {name}: done", file=sys.stderr, flush=True)
        yield from rows.values()


def prepared(region: Region) -> Spent | None:
    """The model of the region, if there is none yet, and what making it takes."""
    model, reference = region.folder / "model", region.data / REFERENCE
    if model.exists():
        return None
    with clocked() as spent:
        run(sys.executable, "-m", "genomai_cli", "pretrain", "-q", "--for", "imputation", str(reference),
            "-o", str(model), "--threads", "1", "--device", "cpu")  # fmt: skip
    return spent


def by_beagle(region: Region, phase: str) -> np.ndarray:
    """Beagle with the same reference."""
    out = region.folder / "beagle"
    made = beagle(region.beagle, region.asked(phase), region.data / REFERENCE, out)
    return region.restored(made)


def by_minimac(region: Region, phase: str) -> np.ndarray:
    """Minimac4 with the same reference."""
    out = region.folder / "minimac"
    made = minimac(region.minimac4, region.asked(phase), region.data / REFERENCE, out)
    return region.restored(made)


def by_denoise(region: Region, phase: str) -> np.ndarray:
    """`genomai denoise`."""
    out = region.folder / "restored.vcf.gz"
    return region.restored(denoise(region.folder / "model", region.asked(phase), out))


Method = Callable[[Region, str], np.ndarray]
"""The probabilities (N, S, 3) of the genotypes."""
METHODS: dict[str, Method] = {
    MOST_FREQUENT: lambda region, phase: most_frequent(region.window),
    RIDGE_REGRESSION: lambda region, phase: ridge_regression(region.window),
    COPYING: lambda region, phase: copied(region.window, phase, RATE, ERROR),
    BEAGLE: by_beagle,
    MINIMAC: by_minimac,
    OURS: by_denoise,
}

if __name__ == "__main__":
    main()
