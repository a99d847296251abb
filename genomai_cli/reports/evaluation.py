"""What `genomai evaluate` has measured of the heads of a classifier, as a page: measures with intervals, confusions,
every label, calibration and ROC curves.

Shape suffixes: N samples.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from genomai_cli.metrics import resampling
from genomai_cli.metrics.classification import (
    Estimate,
    HeadScores,
    Predictions,
    reliability,
    wilson_interval,
)
from genomai_cli.metrics.evaluation import LabelCases, NumberCases
from genomai_cli.metrics.numbers import NumberScores
from genomai_cli.metrics.roc import Flags, Floats, roc_area, roc_curve
from genomai_cli.reports import drawings
from genomai_cli.reports.page import Page
from genomai_cli.reports.sections import (
    Cell,
    Column,
    Facts,
    Notes,
    Picture,
    Pictures,
    Section,
    ShadedCell,
    Table,
    Tile,
    Tiles,
)
from genomai_cli.reports.wording import counted, decimal

Scores = Mapping[str, HeadScores | NumberScores]
Cases = Mapping[str, LabelCases | NumberCases]
MAX_LABELS = 30  # of a matrix that can be read
MAX_CONFUSIONS = 500
SHADES = 5
MEASURE_DESCRIPTIONS = {
    "accuracy": "share of the samples that are called right",
    "balanced_accuracy": "mean over the labels of the share of their samples that are called right",
    "mcc": "Matthews correlation coefficient: 0 by chance, 1 if all are right",
    "macro_f1": "mean F1 of the labels",
    "ece": "expected calibration error: how far stated probabilities are from the shares that are right",
    "log_loss": "mean of -log of the probability of the true label, nats",
    "brier": "mean squared error of the probabilities, 0 to 2",
    "pearson": "correlation coefficient of predicted and true numbers",
    "spearman": "correlation coefficient of their ranks",
    "r2": "explained share of the variance",
    "rmse": "root mean squared error",
    "covered": "share of the true numbers inside the predicted interval",
}
LIMITS = (
    "Intervals are of 95 % (Wilson's of accuracy and shares, else by the bootstrap) and say how much the figures would "
    "vary among samples like these; they say nothing about samples of another kind.",
    "UNKNOWN counts as wrong in every measure but those of probabilities.",
)
OF_BASELINE = (
    "The baseline always calls the most frequent label, or predicts the mean of the true numbers."
)


def page(
    scores: Scores, cases: Cases, *, facts: Mapping[str, str], remarks: Sequence[str], seed: int
) -> Page:
    """The page of these heads, with remarks of the run on top; `seed` draws the samples for intervals of ROC areas."""
    sections: list[Section] = [_tiles(scores)]
    sections += [Notes("To mind", list(remarks))] if remarks else []
    sections.append(_measures(scores))
    for number, (head, case) in enumerate(cases.items()):
        if isinstance(case, LabelCases):
            head_scores = scores[head]
            assert isinstance(head_scores, HeadScores)
            rng = np.random.default_rng([seed, number])
            sections += _of_labels(head, head_scores, case, rng)
        else:
            sections += _of_numbers(head, case)
    sections += [Facts("How it was made", facts), Notes("Limits", LIMITS)]
    heads = counted(len(scores), "head")
    return Page(f"Predictions of {heads} against the truth", ", ".join(scores), sections)


def _tiles(scores: Scores) -> Tiles:
    first, first_scores = next(iter(scores.items()))
    tiles = [Tile("samples with a truth", f"{max(s.samples for s in scores.values()):,}")]
    unknown = max(s.unknown for s in scores.values())
    tiles.append(Tile("UNKNOWN", f"{unknown:,}", warn=unknown > 0))
    for name, estimate in list(first_scores.measures.items())[:3]:
        tiles.append(Tile(f"{name} of {first}", decimal(estimate.value)))
    return Tiles(tiles)


def _measures(scores: Scores) -> Table:
    columns = [
        Column("head", filtered=len(scores) > 1),
        Column("measure", filtered=len(scores) > 1),
        *(Column(name, number=True) for name in ("value", "low", "high", "baseline")),
        Column("which is"),
    ]
    rows = [
        (head, name, *estimate_cells(estimate), MEASURE_DESCRIPTIONS.get(name, ""))
        for head, result in scores.items()
        for name, estimate in result.measures.items()
    ]
    return Table("Measures, with 95 % intervals", columns, rows, OF_BASELINE)


def estimate_cells(estimate: Estimate) -> tuple[str, str, str, str]:
    """Value, interval and baseline, empty where there is none."""
    numbers = (estimate.value, estimate.low, estimate.high, estimate.baseline)
    value, low, high, baseline = (decimal(number) for number in numbers)
    return value, low, high, baseline


# --- labels


def _of_labels(
    head: str, scores: HeadScores, cases: LabelCases, rng: np.random.Generator
) -> Iterator[Section]:
    if len(scores.labels) <= MAX_LABELS:
        yield _matrix(head, scores)
    yield _labels(head, scores, cases)
    if len(scores.labels) > MAX_LABELS:
        yield _frequent_confusions(head, cases)
    pictures = [*_calibration(cases), *_roc(cases, rng)]
    if pictures:
        yield Pictures(f"Probabilities of {head}", pictures)


def _matrix(head: str, scores: HeadScores) -> Table:
    """Rows are the truth, columns the calls; shades are shares of a row."""
    counts = scores.confusion
    call_columns = [
        n for n in range(len(scores.labels)) if n < len(scores.labels) - 1 or scores.unknown
    ]
    rows = []
    for number, label in enumerate(scores.labels[:-1]):
        total = int(counts[number].sum())
        if total:
            cells: list[Cell] = [label]
            for column in call_columns:
                count = int(counts[number, column])
                cells.append(ShadedCell(f"{count:,}", int(np.ceil(SHADES * count / total))))
            rows.append(cells)
    columns = [Column("truth"), *(Column(scores.labels[n], number=True) for n in call_columns)]
    caption = "Rows are the truth, columns what was called; a shade is the share of the row."
    return Table(f"Confusion matrix of {head}", columns, rows, caption)


def _labels(head: str, scores: HeadScores, cases: LabelCases) -> Table:
    """Every label's own figures."""
    areas = _areas(cases)
    columns = [
        Column("label"),
        Column("samples", number=True),
        Column("called", number=True, description="samples that were called so"),
        Column("recall", number=True, description="share of its samples that are called so"),
        *(
            Column(f"recall {end}", number=True, description="95 % interval")
            for end in ("low", "high")
        ),
        Column("precision", number=True, description="share of those called so that are"),
        Column("F1", number=True),
    ]
    if areas:
        description = "area under the ROC curve of its probability, against all others"
        columns.append(Column("AUC", number=True, description=description))
    rows = []
    for number, label in enumerate(scores.labels[:-1]):
        true, called = int(scores.confusion[number].sum()), int(scores.confusion[:, number].sum())
        right = int(scores.confusion[number, number])
        if true or called:
            interval = wilson_interval(right, true) if true else (np.nan, np.nan)
            shares = (_ratio(right, true), *interval, _ratio(right, called))
            f1 = _ratio(2 * right, true + called)
            cells = [label, f"{true:,}", f"{called:,}", *map(decimal, (*shares, f1))]
            rows.append([*cells, *([decimal(areas.get(label))] if areas else [])])
    return Table(f"Labels of {head}", columns, rows)


def _ratio(count: int, total: int) -> float:
    return count / total if total else float("nan")


def _frequent_confusions(head: str, cases: LabelCases) -> Table:
    """The most frequent confusions of a head with many labels."""
    pairs = Counter(zip(cases.truth, cases.predictions.called, strict=True))
    of_label = Counter(cases.truth)
    wrong = [(pair, count) for pair, count in pairs.most_common() if pair[0] != pair[1]]
    rows = [
        (true, called, f"{count:,}", f"{100 * count / of_label[true]:.1f}")
        for (true, called), count in wrong[:MAX_CONFUSIONS]
    ]
    columns = [Column("truth", filtered=True), Column("called", filtered=True)]
    columns += [Column("samples", number=True), Column("% of the truth's samples", number=True)]
    caption = (
        f"The {MAX_CONFUSIONS} most frequent of {len(wrong):,}." if len(wrong) > len(rows) else ""
    )
    return Table(f"Mistakes of {head}", columns, rows, caption)


def _calibration(cases: LabelCases) -> Iterator[Picture]:
    confidence = cases.predictions.confidence
    with_confidence = ~np.isnan(confidence)
    if not with_confidence.any():
        return
    pairs = zip(cases.truth, cases.predictions.called, strict=True)
    correct = np.array([true == call for true, call in pairs])
    bins = reliability(confidence[with_confidence], correct[with_confidence])
    predicted, observed, low, high = (
        np.array([getattr(reliability_bin, name) for reliability_bin in bins])
        for name in ("mean_confidence", "accuracy", "low", "high")
    )
    svg = drawings.reliability(
        predicted, observed, low, high, x="stated probability", y="share that is right"
    )
    caption = (
        f"The calls of {int(with_confidence.sum()):,} samples in bins of their stated probability, with 95 % "
        "intervals: on the dashed line probabilities are what they say, below it too high."
    )
    yield Picture("Calibration", svg, caption)


def _label_probabilities(predictions: Predictions) -> tuple[Floats, Flags] | None:
    """The probabilities (N, labels) of every label, and which samples have them; None if the table lacks them."""
    if predictions.probabilities is None:
        return None
    missing = np.isnan(predictions.probabilities)
    return predictions.probabilities, np.asarray(~missing.any(axis=1))


def _areas(cases: LabelCases) -> dict[str, float]:
    """The area under the ROC curve of each label's probability, where the table has them."""
    ranked = _label_probabilities(cases.predictions)
    if ranked is None:
        return {}
    table, known = ranked
    truth = np.array(cases.truth)[known]
    labels = cases.predictions.labels
    return {label: roc_area(table[known, n], truth == label) for n, label in enumerate(labels)}


def _roc(cases: LabelCases, rng: np.random.Generator) -> Iterator[Picture]:
    """The curve of a head of two labels, whose second one is the positive."""
    ranked, labels = _label_probabilities(cases.predictions), sorted(cases.predictions.labels)
    if ranked is None or len(labels) != 2:
        return
    table, known = ranked
    truth = np.array(cases.truth)[known]
    positive = labels[1]
    scores = table[known, list(cases.predictions.labels).index(positive)]
    is_positive = truth == positive
    if not is_positive.any() or is_positive.all():
        return
    false, true = roc_curve(scores, is_positive)

    def area(indices: np.ndarray) -> dict[str, float]:
        return {"auc": roc_area(scores[indices], is_positive[indices])}

    low, high = resampling.bootstrap_intervals(area, len(scores), rng)["auc"]
    curve = drawings.Curve("", false, true, colour=3)
    svg = drawings.curves(
        [curve], x="false positive rate", y="true positive rate", unit_square=True
    )
    left_out = int((~known).sum())
    caption = (
        f"Of the probability of {positive}: area {roc_area(scores, is_positive):.4f} "
        f"({low:.4f} to {high:.4f})"
        + (f"; {left_out:,} UNKNOWN samples are left out." if left_out else ".")
    )
    yield Picture("ROC curve", svg, caption)


# --- numbers


def _of_numbers(head: str, cases: NumberCases) -> Iterator[Section]:
    predicted = cases.predictions.value
    if not np.isnan(predicted).all():
        svg = drawings.points(cases.truth, predicted, x="true", y="predicted")
        caption = "A mark a sample; on the line both are the same."
        shown = int(np.isfinite(predicted).sum())
        if shown > drawings.MAX_POINTS:
            caption += f" {drawings.MAX_POINTS:,} of {shown:,} are drawn."
        yield Picture(f"Predicted and true {head}", svg, caption)
