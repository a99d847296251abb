"""What `train` and `pretrain` have made, as pages: results beside baselines, what was tried, losses by step."""

from collections.abc import Iterator, Mapping
from typing import Any

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.metrics.classification import wilson_interval
from genomai_cli.reports import drawings
from genomai_cli.reports.page import Page
from genomai_cli.reports.sections import (
    Column,
    Facts,
    Notes,
    Picture,
    Pictures,
    Section,
    Table,
    Tile,
    Tiles,
)
from genomai_cli.training.finetuning import Finetuned
from genomai_cli.training.loss_curves import Rows, by_objective, by_part
from genomai_cli.training.model_card import (
    data_in_words,
    held_out_in_words,
    novelty_in_words,
    selection_in_words,
    start_in_words,
)
from genomai_cli.training.pretraining import Pretrained

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
Text = Mapping[str, str]


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
        "data": _line(data_in_words(made)),
        "method": _line(" ".join(method)),
        **_provenance(bundle),
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
        Notes("Limits", [_line(text) for text in limits]),
    ]
    return Page(_title(bundle), bundle.config["description"] or "A classifier.", sections)


def pretraining_page(made: Pretrained, log: Rows, facts: Text) -> Page:
    """The page of a pretrained network, with the rows of its metrics.tsv and facts of the run."""
    bundle, found = made.bundle, made.facts
    text = made.input.card(bundle.config, tuple(found["objectives"]), made.network)
    sections: list[Section] = [_pretraining_tiles(made), *_warned(found)]
    sections.append(_losses(made, text.baselines))
    if log:
        drawn = [
            Picture(name, drawings.curves(of, x="step", y="loss (nats)"))
            for name, of in by_objective(log).items()
        ]
        sections.append(Pictures("Losses by step", drawn))
    corpus = found["corpus"]
    told = {
        "data": f"{corpus['records']:,} records, {corpus['letters']:,} letters "
        f"(SHA-256 of names and letters {corpus['sha256']})",
        "held out": f"{corpus['held_out']:,} of {corpus['pieces']:,} pieces",
        "objectives": ", ".join(f"{n} (weight {w:g})" for n, w in found["objectives"].items()),
        "network": made.network_kind,
        **_provenance(bundle),
        **facts,
    }
    sections += [
        Facts("How it was made", {name: what for name, what in told.items() if what}),
        Notes("Limits", [_line(text.limits)]),
    ]
    lead = bundle.config["description"] or "A pretrained network."
    return Page(_title(bundle), lead, sections)


def _title(bundle: Bundle) -> str:
    return f"The model {bundle.name} {bundle.version}"


def _line(text: str) -> str:
    """Text of a card on one line, without its markup."""
    return " ".join(text.replace("`", "").split())


def _provenance(bundle: Bundle) -> dict[str, str]:
    """How the model is built, and with what it was trained."""
    made, config = bundle.config["provenance"], bundle.config
    told = {
        "model": f"{bundle.name} {bundle.version}",
        "network": str(config["network"]["kind"]),
        "trainable parameters": f"{bundle.classifier.trainable_parameters:,}",
        "tokenizer": str(config["tokenizer"]["kind"]),
        "seed": str(made.get("seed", "")),
        "trained on": f"{made.get('device', '')}, {made.get('seconds', 0):,} s",
        "versions": f"{made['program']}, torch {made['torch']}, Python {made['python']}",
    }
    return told


# --- train


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
        Column("low", number=True, told="95 % interval (Wilson)"),
        Column("high", number=True, told="95 % interval (Wilson)"),
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


# --- pretrain


def _pretraining_tiles(made: Pretrained) -> Tiles:
    facts, corpus = made.facts, made.facts["corpus"]
    tiles = [Tile("records", f"{corpus['records']:,}"), Tile("letters", f"{corpus['letters']:,}")]
    if facts["steps"]:
        tiles += [Tile("steps", f"{facts['steps']:,}"), Tile("tokens read", f"{facts['tokens']:,}")]
    for name, loss in list(facts["held_out"].items())[:3]:
        worse = loss >= facts["baseline"][name]
        tiles.append(Tile(f"held-out loss, {name}", f"{loss:.4f}", warn=worse))
    return Tiles([*tiles, Tile("seconds of training", f"{facts['seconds']:,}")])


def _warned(facts: Mapping[str, Any]) -> Iterator[Notes]:
    """The objectives whose loss is no smaller than without a network."""
    worse = [
        f"{name}: the held-out loss, {loss:.4f}, is not below the {facts['baseline'][name]:.4f} without a network."
        for name, loss in facts["held_out"].items()
        if loss >= facts["baseline"][name]
    ]
    if worse:
        yield Notes("To mind", worse)


def _losses(made: Pretrained, which: Mapping[str, str]) -> Table:
    """Held-out losses beside those without a network."""
    facts = made.facts
    columns = [
        Column("objective"),
        Column("unit"),
        Column("held out", number=True),
        Column("without a network", number=True),
        Column("which is"),
    ]
    rows = [
        (name, "nats", f"{loss:.4f}", f"{facts['baseline'][name]:.4f}", which.get(name, ""))
        for name, loss in facts["held_out"].items()
    ]
    rows += [
        (name, "bits a base", f"{bits:.4f}", f"{baseline:.4f}", which.get(name, ""))
        for name, (bits, baseline) in facts["bits_per_base"].items()
    ]
    told = "Less is better; the held-out pieces also chose the best step." if facts["steps"] else ""
    return Table("Losses on what was held out", columns, rows, told)
