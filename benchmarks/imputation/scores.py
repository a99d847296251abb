"""How good restored genotypes or letters are: concordance, log loss, calibration, with intervals by individual.

Shape suffixes: N individuals, S sites, G genotypes (copies 0 1 2 of the alternate allele) or letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.metrics.classification import expected_calibration_error, log_losses

BOOTSTRAPS = 1000
MIN_MINOR_FREQUENCY = 0.01  # minor allele frequency of the sites whose r2 counts
MEASURES = ("concordance", "variants", "log_loss")
TITLES = {
    "concordance": "concordance",
    "variants": "non-reference concordance",
    "log_loss": "log loss",
    "calibration": "ECE",
    "r2": "mean r²",
}


@dataclass(frozen=True, eq=False)
class Concordance:
    """The scores of a method at hidden sites: sums (N,) by individual, and measures without an interval.

    `variants` counts the sites whose truth is not the reference (genotype 0, or another letter than it), `nats` adds up
    the log loss.
    """

    sites: NDArray[np.float64]
    correct: NDArray[np.float64]
    variants: NDArray[np.float64]
    variants_correct: NDArray[np.float64]
    nats: NDArray[np.float64]
    calibration: float
    r2: float = float("nan")

    @classmethod
    def of(
        cls,
        truth_NS: NDArray[np.int64],
        p_NSG: NDArray[np.float64],
        hidden_NS: NDArray[np.bool_],
        reference_S: NDArray[np.int64] | int = 0,
    ) -> "Concordance":
        """The score of probabilities at the sites that were hidden; the most probable one is the call. A truth of -1
        does not count."""
        counted_NS = hidden_NS & (truth_NS >= 0)
        called_NS = p_NSG.argmax(axis=2)
        correct_NS = counted_NS & (called_NS == truth_NS)
        variant_NS = counted_NS & (truth_NS != reference_S)
        nats_NS = np.zeros(truth_NS.shape)
        nats_NS[counted_NS] = log_losses(p_NSG[counted_NS], truth_NS[counted_NS])
        sums = (counted_NS, correct_NS, variant_NS, variant_NS & correct_NS, nats_NS)
        error = expected_calibration_error(p_NSG.max(axis=2)[counted_NS], correct_NS[counted_NS])
        r2 = _mean_r2(truth_NS, p_NSG, counted_NS) if p_NSG.shape[2] == 3 else float("nan")
        return cls(*(table.sum(axis=1).astype(np.float64) for table in sums), error, r2)

    def measures(self, rows: NDArray[np.int64] | slice = slice(None)) -> dict[str, float]:
        """The measures of `MEASURES`, of some of the individuals."""
        sites, variants = self.sites[rows].sum(), max(self.variants[rows].sum(), 1)
        values = (self.correct[rows].sum() / sites, self.variants_correct[rows].sum() / variants)
        return dict(zip(MEASURES, (*values, self.nats[rows].sum() / sites), strict=True))

    def intervals(self, baseline: "Concordance | None" = None) -> dict[str, tuple[float, float]]:
        """95 % intervals of a bootstrap over individuals, of the measures or of their gain over another method's."""
        rng = np.random.default_rng(0)
        draws = []
        for _ in range(BOOTSTRAPS):
            rows = rng.integers(len(self.sites), size=len(self.sites))
            baseline_measures = (
                baseline.measures(rows) if baseline else dict.fromkeys(MEASURES, 0.0)
            )
            draws.append(
                [value - baseline_measures[name] for name, value in self.measures(rows).items()]
            )
        low, high = np.percentile(draws, [2.5, 97.5], axis=0)
        return dict(zip(MEASURES, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _mean_r2(
    truth_NS: NDArray[np.int64], p_NSG: NDArray[np.float64], counted_NS: NDArray[np.bool_]
) -> float:
    """The squared correlation of dosage and truth, a mean over the common sites at which both vary."""
    dosage_NS = p_NSG @ np.arange(3)
    r2_values = []
    for truth, dosage, counted in zip(truth_NS.T, dosage_NS.T, counted_NS.T, strict=True):
        frequency = truth[counted].mean() / 2 if counted.any() else 0.0
        if min(frequency, 1 - frequency) > MIN_MINOR_FREQUENCY and dosage[counted].std() > 0:
            r2_values.append(np.corrcoef(truth[counted], dosage[counted])[0, 1] ** 2)
    return float(np.mean(r2_values)) if r2_values else float("nan")


@dataclass(frozen=True, eq=False)
class Row:
    """A method under a condition, with its seconds by the clock and of the processor; `baseline` is the row
    that its gain is over."""

    condition: str
    method: str
    score: Concordance
    seconds: float = float("nan")
    baseline: "Row | None" = None
    processor: float = float("nan")


def tsv(rows: Sequence[Row]) -> list[str]:
    """A line a row, with intervals."""
    columns = [part for name in MEASURES for part in (name, f"{name}_low", f"{name}_high")]
    titles = ["condition", "method", "people", "places", *columns, "calibration", "r2"]
    titles += ["seconds", "processor_seconds"]
    lines = ["\t".join(titles) + "\n"]
    for row in rows:
        values, limits = row.score.measures(), row.score.intervals()
        cells = [f"{x:.6f}" for name in MEASURES for x in (values[name], *limits[name])]
        further_cells = [f"{row.score.calibration:.6f}", f"{row.score.r2:.6f}"]
        further_cells += [f"{row.seconds:.1f}", f"{row.processor:.1f}"]
        counts = [str(len(row.score.sites)), str(int(row.score.sites.sum()))]
        lines.append("\t".join([row.condition, row.method, *counts, *cells, *further_cells]) + "\n")
    return lines


def markdown(rows: Sequence[Row]) -> str:
    """A compact table; gains are of the same individuals."""
    titles = [*TITLES.values(), "gain in concordance", "gain in log loss"]
    lines = [
        f"| hidden | method | {' | '.join(titles)} |",
        "| --- | --- |" + " ---: |" * len(titles),
    ]
    for row in rows:
        values, limits = row.score.measures(), row.score.intervals()
        cells = [f"{values[n]:.4f} ({limits[n][0]:.4f}-{limits[n][1]:.4f})" for n in MEASURES]
        cells += [f"{value:.3f}" for value in (row.score.calibration, row.score.r2)]
        cells += [_gain(row, name) for name in ("concordance", "log_loss")]
        lines.append(f"| {row.condition} | {row.method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _gain(row: Row, name: str) -> str:
    if row.baseline is None:
        return "."
    gain = row.score.measures()[name] - row.baseline.score.measures()[name]
    low, high = row.score.intervals(row.baseline.score)[name]
    return f"{gain:+.4f} ({low:+.4f} to {high:+.4f})"
