"""Mitochondrial genomes with letters hidden, and how well those were restored.

Position 3107 of rCRS is a placeholder, N: nothing is asked there.

Shape suffixes: N genomes, L letters of the reference.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from genomai_cli.metrics.classification import expected_calibration_error
from genomai_cli.metrics.resampling import bootstrap_intervals

Codes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Array = NDArray[np.float64]

UNKNOWN = 4  # after A C G T
HALF = "half"
SHARES = {"60 %": 0.6, "30 %": 0.3, "90 %": 0.9}
CONDITIONS = (*SHARES, HALF)
MAIN = "60 %"
# Of another letter than the reference's: what is less probable counts as certain, and would hide all else.
MIN_PROBABILITY = 0.01
COUNTS = ("letters", "right", "variants", "restored", "false")


def hidden_mask(condition: str, genomes: int, letters: int, seed: int) -> Mask:
    """Which letters (N, L) are hidden: a share of them at random, or half of the circle in one piece."""
    rng = np.random.default_rng([seed, CONDITIONS.index(condition)])
    if condition == HALF:
        positions_L = np.arange(letters)
        begins_N1 = rng.integers(letters, size=(genomes, 1))
        in_arc: Mask = (positions_L - begins_N1) % letters < letters // 2
        return in_arc
    return rng.random((genomes, letters), dtype=np.float32) < SHARES[condition]


@dataclass(frozen=True, eq=False)
class Restored:
    """The letters (N, L) that a method restores, and the probability of letters other than the reference's."""

    codes: Codes
    other: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class ImputationScores:
    """Of every genome, by `COUNTS` (N, 5): hidden letters, those restored correctly, hidden variants (letters other
    than the reference's), those restored correctly, and letters of the reference that were changed; and of all letters
    that are not certain, the probability of another than the reference's, and whether that is the truth."""

    counts: Array
    probability: Array
    truth: Mask

    @classmethod
    def of(
        cls, restored: Restored, truth_NL: Codes, hidden_NL: Mask, reference_L: Codes
    ) -> "ImputationScores":
        """The scores of restored letters."""
        scored_NL = hidden_NL & (truth_NL != UNKNOWN) & (reference_L != UNKNOWN)
        correct_NL = scored_NL & (restored.codes == truth_NL)
        variant_NL = scored_NL & (truth_NL != reference_L)
        false_NL = scored_NL & ~variant_NL & ~correct_NL
        masks = (scored_NL, correct_NL, variant_NL, variant_NL & correct_NL, false_NL)
        counts = np.stack([mask.sum(axis=1) for mask in masks], axis=1).astype(np.float64)
        if restored.other is None:
            return cls(counts, np.zeros(0), np.zeros(0, np.bool_))
        uncertain_NL = scored_NL & (restored.other >= MIN_PROBABILITY)
        return cls(
            counts, restored.other[uncertain_NL].astype(np.float64), variant_NL[uncertain_NL]
        )

    @classmethod
    def concatenated(cls, parts: Sequence["ImputationScores"]) -> "ImputationScores":
        """The scores of several folds together."""
        return cls(*(np.concatenate(part) for part in zip(*map(_parts, parts), strict=True)))

    def subset(self, rows: NDArray[np.int64]) -> "ImputationScores":
        """These genomes, without their probabilities."""
        return ImputationScores(self.counts[rows], np.zeros(0), np.zeros(0, np.bool_))


def _parts(scores: ImputationScores) -> tuple[Array, Array, Mask]:
    return scores.counts, scores.probability, scores.truth


@dataclass(frozen=True)
class Row:
    """The measures of a method and condition with 95 % intervals of a bootstrap over people: hidden `letters` right,
    hidden `variants` right, `false` changes and `missed` variants a genome, and the calibration error."""

    method: str
    condition: str
    n: int
    letters: float
    letters_low: float
    letters_high: float
    variants: float
    variants_low: float
    variants_high: float
    false: float
    false_low: float
    false_high: float
    missed: float
    ece: float
    seconds: float


def row(method: str, condition: str, scores: ImputationScores, seconds: float) -> Row:
    """The measures."""
    counts = scores.counts
    estimates = {name: [value] for name, value in _measures(counts).items()}
    rng = np.random.default_rng(0)
    measure: Callable[[NDArray[np.int64]], dict[str, float]] = lambda rows: _measures(counts[rows])  # noqa: E731
    for name, interval in bootstrap_intervals(measure, len(counts), rng).items():
        estimates[name] += interval
    ece = float("nan")
    if len(scores.probability):
        ece = expected_calibration_error(scores.probability, scores.truth)
    values = [
        *estimates["letters"],
        *estimates["variants"],
        *estimates["false"],
        estimates["missed"][0],
    ]
    return Row(method, condition, len(counts), *values, ece=ece, seconds=seconds)


def _measures(counts: Array) -> dict[str, float]:
    letters, right, variants, restored, false = counts.sum(axis=0).tolist()
    return {
        "letters": right / letters,
        "variants": restored / variants,
        "false": false / len(counts),
        "missed": (variants - restored) / len(counts),
    }


def tsv(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of the table."""
    yield "\t".join(field.name for field in fields(Row)) + "\n"
    for record in rows:
        yield (
            "\t".join(f"{v:.6f}" if isinstance(v, float) else str(v) for v in astuple(record))
            + "\n"
        )


def markdown(rows: Sequence[Row], titles: dict[str, str]) -> str:
    """A table for each condition."""
    lines = []
    for condition in dict.fromkeys(record.condition for record in rows):
        lines += [
            f"| {condition} hidden | letters right | variants restored | false changes a genome | missed | ECE |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [_line(record, titles) for record in rows if record.condition == condition]
        lines.append("")
    return "\n".join(lines)


def _line(record: Row, titles: dict[str, str]) -> str:
    cells = [
        f"{record.letters:.5f} ({record.letters_low:.5f}-{record.letters_high:.5f})",
        f"{record.variants:.3f} ({record.variants_low:.3f}-{record.variants_high:.3f})",
        f"{record.false:.2f} ({record.false_low:.2f}-{record.false_high:.2f})",
        f"{record.missed:.2f}",
        "" if np.isnan(record.ece) else f"{record.ece:.3f}",
    ]
    return f"| {titles.get(record.method, record.method)} | {' | '.join(cells)} |"
