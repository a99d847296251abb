"""`genomai cite`: the references of the program, of a model, and of the methods that the model is made of."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from genomai_cli import __version__
from genomai_cli.cli.options import Model
from genomai_cli.cli.run import Run, command

Entry = Mapping[str, Any]
PROGRAM: Entry = {
    "author": "{genomai contributors}",
    "title": f"genomai {__version__}: DNA sequence models on the command line",
    "year": 2026,
    "note": "Apache-2.0",
}


class Style(StrEnum):
    """How references are written."""

    BIBTEX = "bibtex"
    TEXT = "text"


StyleOption = Annotated[
    Style, typer.Option("--format", help="BibTeX, or a paragraph for each reference.")
]


@command
def cite(run: Run, model: Model = None, format_: StyleOption = Style.TEXT) -> None:
    """Tell how to cite the program, a model and its methods.

    With --model also the data and the methods of that model, by its config and its card.

    \b
    genomai cite
    genomai cite --model ancestry --format bibtex > references.bib
    """
    entries = {"genomai": PROGRAM, **({} if model is None else _of_model(run, model))}
    format_entry = bibtex if format_ is Style.BIBTEX else text
    typer.echo("\n\n".join(format_entry(key, entry) for key, entry in entries.items()))


def _of_model(run: Run, name: str) -> dict[str, Entry]:
    """The references of the model itself, and of its methods and data."""
    from genomai_cli.bundles import catalog

    folder = catalog.find(name)
    if not catalog.is_bundle(folder):
        from genomai_cli.bundles import adapters  # needs torch

        config, card, title = adapters.config_of(folder), "", folder.name
    else:
        config = catalog.read_config(folder)
        card = catalog.card_summary(folder) + str(config.get("description", ""))
        title = f"{config['name']} {config['version']}"
        weights = folder / catalog.WEIGHTS
        run.used_model(config["name"], config["version"], catalog.sha256(weights))
    entries = {
        key: entry for key, entry in all_references().items() if _is_used(entry, config, card)
    }
    model_entry = {**PROGRAM, "title": f"{title}: a model of genomai {__version__}"}
    return {"model": model_entry, **entries}


def all_references() -> dict[str, Entry]:
    """All references, by key."""
    import tomllib

    return tomllib.loads(Path(__file__).with_name("citations.toml").read_text(encoding="utf-8"))


def _is_used(entry: Entry, config: Mapping[str, Any], card: str) -> bool:
    components = set(_components(config))
    return any(
        component in components
        or (component.startswith("card:") and component.removeprefix("card:") in card)
        for component in entry["with"]
    )


def _components(config: Mapping[str, Any]) -> Iterator[str]:
    """The components of a model, by its config."""
    yield f"network:{(config.get('network') or {}).get('kind')}"
    yield f"input:{(config.get('input') or {}).get('kind')}"
    yield from (f"objective:{name}" for name in config.get("companions") or {})
    yield from (f"evidence:{name}" for name in ("likelihood", "regression") if config.get(name))
    if config.get("heads"):
        yield "heads"


def bibtex(key: str, entry: Entry) -> str:
    """The entry as BibTeX reads it."""
    kind = "article" if "journal" in entry else "software"
    fields = {name: value for name, value in entry.items() if name != "with"}
    if "eprint" in fields:
        fields["archiveprefix"] = "arXiv"
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}\n}}"


def text(key: str, entry: Entry) -> str:
    """The entry as a line of a list of references."""
    del key
    authors = entry["author"].strip("{}").replace(" and others", " et al.").replace(" and ", "; ")
    pages = str(entry.get("pages", "")).replace("--", "-")
    volume = ":".join(filter(None, (str(entry.get("volume", "")), pages)))
    journal = " ".join(filter(None, (entry.get("journal"), volume)))
    links = [f"doi:{entry['doi']}"] if "doi" in entry else []
    links += [f"arXiv:{entry['eprint']}"] if "eprint" in entry else []
    links += [entry["note"]] if "note" in entry else []
    return ". ".join(
        filter(None, (f"{authors} ({entry['year']})", entry["title"], journal, *links))
    )
