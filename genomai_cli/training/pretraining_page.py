"""The page of a model that `genomai pretrain` has made: losses and baselines, losses by step. Needs no torch."""

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


def pretraining_page(report: PretrainedReport, log: Rows, facts: Text) -> Page:
    """The page of a pretrained model, with the rows of its metrics.tsv and facts of the run."""
    report_facts, text, corpus = report.facts, report.text, report.facts["corpus"]
    sections: list[Section] = [
        _tiles(report_facts),
        *_warned(report_facts),
        _losses(report_facts, text.baselines),
    ]
    if log:
        pictures = [
            Picture(name, drawings.curves(curves, x="step", y="loss (nats)"))
            for name, curves in by_objective(log).items()
        ]
        sections.append(Pictures("Losses by step", pictures))
    all_facts = {
        "data": f"{corpus['records']:,} records, {corpus['letters']:,} letters "
        f"(SHA-256 of names and letters {corpus['sha256']})",
        "held out": f"{corpus['held_out']:,} of {corpus['pieces']:,} pieces",
        "objectives": ", ".join(
            f"{n} (weight {w:g})" for n, w in report_facts["objectives"].items()
        ),
        "network": report.network_kind,
        **provenance(report.config, report.trainable_parameters),
        **facts,
    }
    sections += [
        Facts("How it was made", {name: value for name, value in all_facts.items() if value}),
        Notes("Limits", [on_one_line(text.limits)]),
    ]
    lead = report.config["description"] or "A pretrained network."
    return Page(title(report.config), lead, sections)


def title(config: Mapping[str, Any]) -> str:
    """The title of a model's page."""
    return f"The model {config['name']} {config['version']}"


def on_one_line(text: str) -> str:
    """Text of a card on one line, without its markup."""
    return " ".join(text.replace("`", "").split())


def provenance(config: Mapping[str, Any], trainable_parameters: int) -> dict[str, str]:
    """Facts on a model's network, and on how it was trained."""
    run_facts = config["provenance"]
    return {
        "model": f"{config['name']} {config['version']}",
        "network": str(config["network"]["kind"]),
        "trainable parameters": f"{trainable_parameters:,}",
        "tokenizer": str(config["tokenizer"]["kind"]),
        "seed": str(run_facts.get("seed", "")),
        "trained on": f"{run_facts.get('device', '')}, {run_facts.get('seconds', 0):,} s",
        "versions": f"{run_facts['program']}, {library_of(run_facts)}, Python {run_facts['python']}",
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


def _losses(facts: Mapping[str, Any], baseline_names: Mapping[str, str]) -> Table:
    """Held-out losses and those without a network."""
    columns = [
        Column("objective"),
        Column("unit"),
        Column("held out", number=True),
        Column("without a network", number=True),
        Column("which is"),
    ]
    rows = [
        (
            name,
            "nats",
            f"{loss:.4f}",
            f"{facts['baseline'][name]:.4f}",
            baseline_names.get(name, ""),
        )
        for name, loss in facts["held_out"].items()
    ]
    rows += [
        (name, "bits a base", f"{bits:.4f}", f"{baseline:.4f}", baseline_names.get(name, ""))
        for name, (bits, baseline) in facts["bits_per_base"].items()
    ]
    note = "Less is better; the held-out pieces also chose the best step." if facts["steps"] else ""
    return Table("Losses on what was held out", columns, rows, note)
