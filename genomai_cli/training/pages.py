"""What `train` has made, as a page: results beside baselines, what was tried, losses by step."""

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

# Of a head's validation: the measure, what it is called, and the key of the value without the input, or that value.
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
    bundle, made = fitted.bundle, fitted.bundle.config["provenance"]
    sections: list[Section] = [_training_tiles(fitted), _results(fitted)]
    sections += [*_race(made), *_candidates(fitted.validation)]
    if log:
        svg = drawings.curves(by_part(log), x="step", y="loss")
        told = "Thick lines are the best held-out loss so far, thin ones the training loss."
        sections.append(Picture("Losses by step", svg, told))
    method = [start_in_words(made), selection_in_words(made)]
    told_facts = {
        "data": on_one_line(data_in_words(made)),
        "method": on_one_line(" ".join(method)),
        **provenance(bundle.config, bundle.classifier.trainable_parameters),
        **facts,
    }
    limits = [
        f"Figures are of {held_out_in_words(made)}, which were used for early stopping and calibration as well: they "
        "are slightly optimistic.",
        "Labels that are not in the training data are never answered. "
        + novelty_in_words(bundle.config),
    ]
    sections += [
        Facts("How it was made", {name: text for name, text in told_facts.items() if text}),
        Notes("Limits", [on_one_line(text) for text in limits]),
    ]
    return Page(title(bundle.config), bundle.config["description"] or "A classifier.", sections)


def _training_tiles(fitted: Finetuned) -> Tiles:
    made = fitted.bundle.config["provenance"]
    tiles = [Tile("samples", f"{made['samples']:,}")]
    for head, found in list(fitted.validation.items())[:4]:
        name = "accuracy" if "accuracy" in found else "pearson"
        tiles.append(Tile(f"{MEASURED[name]} of {head}, held out", f"{found[name]:.4f}"))
    leaks = sum(found for found, _ in made.get("leaks", {}).values())
    tiles += [Tile("near-duplicates across files", f"{leaks:,}", warn=True)] if leaks else []
    return Tiles([*tiles, Tile("seconds of training", f"{made['seconds']:,}")])


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
    rows = [row for head, found in fitted.validation.items() for row in _result_rows(head, found)]
    return Table("On held-out samples", columns, rows)


def _result_rows(head: str, found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, words, baseline, which in (*OF_LABELS, *OF_NUMBERS):
        if name in found:
            beside = found[baseline] if isinstance(baseline, str) else baseline
            low, high = ("", "")
            if name == "accuracy":
                right = round(found[name] * found["n"])
                low, high = (f"{end:.4f}" for end in wilson_interval(right, found["n"]))
            value = f"{found[name]:.4f}"
            yield head, f"{found['n']:,}", words, value, low, high, f"{beside:.4f}", which


def _race(made: Mapping[str, Any]) -> Iterator[Table]:
    """What reading either side of the strand did, of a model whose parts were chosen."""
    if "race" in made:
        columns = [
            Column("parts that read"),
            Column("held-out loss", number=True),
            Column("chosen"),
        ]
        rows = [
            (side, f"{loss:.4f}", "yes" if side == made["strand"] else "")
            for side, loss in made["race"].items()
        ]
        told = "The first fold decides: knowing strands must lower the loss by a hundredth to be chosen."
        yield Table("Both strands, or the one given", columns, rows, told)


def _candidates(validation: Mapping[str, Any]) -> Iterator[Table]:
    """What every part did by itself beside all together, of a model whose parts were chosen."""
    tried = {head: of["candidates"] for head, of in validation.items() if "candidates" in of}
    for head, parts in tried.items():
        names = list(next(iter(parts.values())))
        columns = [Column("candidate"), *(Column(MEASURED[n], number=True) for n in names)]
        rows = [(part, *(f"{of[n]:.4f}" for n in names)) for part, of in parts.items()]
        yield Table(f"Candidates that were tried for {head}", columns, rows, TOGETHER)
