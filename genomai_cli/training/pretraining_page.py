"""What `genomai pretrain` has made, as a page: losses beside baselines, losses by step. Nothing here needs torch."""

from collections.abc import Iterator, Mapping
from typing import Any

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
from genomai_cli.training.loss_curves import Rows, by_objective
from genomai_cli.training.pretraining_report import PretrainedReport, library_of

Text = Mapping[str, str]


def pretraining_page(made: PretrainedReport, log: Rows, facts: Text) -> Page:
    """The page of a pretrained model, with the rows of its metrics.tsv and facts of the run."""
    found, text, corpus = made.facts, made.text, made.facts["corpus"]
    sections: list[Section] = [_tiles(found), *_warned(found), _losses(found, text.baselines)]
    if log:
        drawn = [
            Picture(name, drawings.curves(of, x="step", y="loss (nats)"))
            for name, of in by_objective(log).items()
        ]
        sections.append(Pictures("Losses by step", drawn))
    told = {
        "data": f"{corpus['records']:,} records, {corpus['letters']:,} letters "
        f"(SHA-256 of names and letters {corpus['sha256']})",
        "held out": f"{corpus['held_out']:,} of {corpus['pieces']:,} pieces",
        "objectives": ", ".join(f"{n} (weight {w:g})" for n, w in found["objectives"].items()),
        "network": made.network_kind,
        **provenance(made.config, made.trainable_parameters),
        **facts,
    }
    sections += [
        Facts("How it was made", {name: what for name, what in told.items() if what}),
        Notes("Limits", [on_one_line(text.limits)]),
    ]
    lead = made.config["description"] or "A pretrained network."
    return Page(title(made.config), lead, sections)


def title(config: Mapping[str, Any]) -> str:
    """The title of a model's page."""
    return f"The model {config['name']} {config['version']}"


def on_one_line(text: str) -> str:
    """Text of a card on one line, without its markup."""
    return " ".join(text.replace("`", "").split())


def provenance(config: Mapping[str, Any], trainable_parameters: int) -> dict[str, str]:
    """How a model is built, and with what it was trained."""
    made = config["provenance"]
    return {
        "model": f"{config['name']} {config['version']}",
        "network": str(config["network"]["kind"]),
        "trainable parameters": f"{trainable_parameters:,}",
        "tokenizer": str(config["tokenizer"]["kind"]),
        "seed": str(made.get("seed", "")),
        "trained on": f"{made.get('device', '')}, {made.get('seconds', 0):,} s",
        "versions": f"{made['program']}, {library_of(made)}, Python {made['python']}",
    }


def _tiles(facts: Mapping[str, Any]) -> Tiles:
    corpus = facts["corpus"]
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


def _losses(facts: Mapping[str, Any], which: Mapping[str, str]) -> Table:
    """Held-out losses beside those without a network."""
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
