"""The page of a model that `train` has made: results and baselines, candidates, losses by step."""

from collections.abc import Iterator, Mapping
from typing import Any

from genomai_cli.metrics.classification import wilson_interval
from genomai_cli.reports import drawings
from genomai_cli.reports.page import Page
from genomai_cli.reports.sections import (
    Column,
    Facts,
    Notes,
    Picture,
    Section,
    Table,
    Tile,
    Tiles,
)
from genomai_cli.training.finetuning import Finetuned
from genomai_cli.training.loss_curves import Rows, by_part
from genomai_cli.training.model_card import (
    data_in_words,
    held_out_in_words,
    novelty_in_words,
    selection_in_words,
    start_in_words,
)
from genomai_cli.training.pretraining_page import Text, on_one_line, provenance, title
from genomai_cli.training.validation_limits import limits_in_words

# The measures of a head's validation: key, name, the key of the baseline or its value, and the baseline's name.
OF_LABELS = (
    ("accuracy", "accuracy", "majority", "always the most frequent label"),
    ("mcc", "Matthews correlation", 0.0, "always the most frequent label"),
)
OF_NUMBERS = (
    ("pearson", "Pearson's r", 0.0, "always the mean"),
    ("spearman", "Spearman's rho", 0.0, "always the mean"),
    ("r2", "R²", 0.0, "always the mean"),
    ("rmse", "root mean squared error", "deviation", "always the mean"),
)
TOGETHER = "By the same held-out samples; together is the model, which weighs the parts."
MEASURED = {name: words for name, words, *_ in (*OF_LABELS, *OF_NUMBERS)}


def training_page(fitted: Finetuned, log: Rows, facts: Text) -> Page:
    """The page of a classifier, with the rows of its metrics.tsv and facts of the run."""
    bundle, run_facts = fitted.bundle, fitted.bundle.config["provenance"]
    sections: list[Section] = [_training_tiles(fitted), _results(fitted)]
    sections += [*_race(run_facts), *_candidates(fitted.validation)]
    if log:
        svg = drawings.curves(by_part(log), x="step", y="loss")
        caption = "Thick lines are the best held-out loss so far, thin ones the training loss."
        sections.append(Picture("Losses by step", svg, caption))
    method = [start_in_words(run_facts), selection_in_words(run_facts)]
    all_facts = {
        "data": on_one_line(data_in_words(run_facts)),
        "method": on_one_line(" ".join(method)),
        **provenance(bundle.config, bundle.classifier.trainable_parameters),
        **facts,
    }
    limits = [
        f"Figures are of {held_out_in_words(run_facts)}, which were used for early stopping and calibration as well: "
        "they are slightly optimistic.",
        "Labels that are not in the training data are never answered. "
        + novelty_in_words(bundle.config),
        *(f"{limit}." for limit in limits_in_words(fitted.validation, fitted.bundle.heads)),
    ]
    sections += [
        Facts("How it was made", {name: text for name, text in all_facts.items() if text}),
        Notes("Limits", [on_one_line(text) for text in limits]),
    ]
    return Page(title(bundle.config), bundle.config["description"] or "A classifier.", sections)


def _training_tiles(fitted: Finetuned) -> Tiles:
    run_facts = fitted.bundle.config["provenance"]
    tiles = [Tile("samples", f"{run_facts['samples']:,}")]
    for head, measures in list(fitted.validation.items())[:4]:
        name = "accuracy" if "accuracy" in measures else "pearson"
        tiles.append(Tile(f"{MEASURED[name]} of {head}, held out", f"{measures[name]:.4f}"))
    leaks = sum(measures for measures, _ in run_facts.get("leaks", {}).values())
    tiles += [Tile("near-duplicates across files", f"{leaks:,}", warn=True)] if leaks else []
    return Tiles([*tiles, Tile("seconds of training", f"{run_facts['seconds']:,}")])


def _results(fitted: Finetuned) -> Table:
    columns = [
        Column("head", filtered=len(fitted.validation) > 1),
        Column("samples", number=True),
        Column("measure"),
        Column("value", number=True),
        Column("low", number=True, description="95 % interval (Wilson)"),
        Column("high", number=True, description="95 % interval (Wilson)"),
        Column("without the input", number=True),
        Column("which is"),
    ]
    rows = [
        row for head, measures in fitted.validation.items() for row in _result_rows(head, measures)
    ]
    return Table("On held-out samples", columns, rows)


def _result_rows(head: str, measures: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, words, baseline, which in (*OF_LABELS, *OF_NUMBERS):
        if name in measures:
            without_input = measures[baseline] if isinstance(baseline, str) else baseline
            low, high = ("", "")
            if name == "accuracy":
                correct = round(measures[name] * measures["n"])
                low, high = (f"{end:.4f}" for end in wilson_interval(correct, measures["n"]))
            value = f"{measures[name]:.4f}"
            yield head, f"{measures['n']:,}", words, value, low, high, f"{without_input:.4f}", which


def _race(run_facts: Mapping[str, Any]) -> Iterator[Table]:
    """The losses of reading both strands and the one given, of a model whose parts were chosen."""
    if "race" in run_facts:
        columns = [
            Column("parts that read"),
            Column("held-out loss", number=True),
            Column("chosen"),
        ]
        rows = [
            (side, f"{loss:.4f}", "yes" if side == run_facts["strand"] else "")
            for side, loss in run_facts["race"].items()
        ]
        note = "The first fold decides: knowing strands must lower the loss by a hundredth to be chosen."
        yield Table("Both strands, or the one given", columns, rows, note)


def _candidates(validation: Mapping[str, Any]) -> Iterator[Table]:
    """The measures of every part and of all together, of a model whose parts were chosen."""
    candidates = {
        head: measures["candidates"]
        for head, measures in validation.items()
        if "candidates" in measures
    }
    for head, parts in candidates.items():
        names = list(next(iter(parts.values())))
        columns = [Column("candidate"), *(Column(MEASURED[n], number=True) for n in names)]
        rows = [(part, *(f"{measures[n]:.4f}" for n in names)) for part, measures in parts.items()]
        yield Table(f"Candidates that were tried for {head}", columns, rows, TOGETHER)
