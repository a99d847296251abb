"""The bundle that `pretrain` writes: a new one, or another model's with a network put beside its own."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.recipes import command_line

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle, Extras
    from genomai_cli.phenotypes.table import PhenotypeTable
    from genomai_cli.training.unlabelled.pretraining import Pretrained
    from genomai_cli.training.workspace import Workspace

PICTURE = "loss.png"
BESIDE = "crossmodal"  # begins the names of the files of a network that stands beside another


def write(
    made: "Pretrained",
    output: Path,
    work: "Workspace",
    phenotypes: "PhenotypeTable | None" = None,
    host: Path | None = None,
) -> None:
    """Save it with its card, log and picture; `host` is the folder of the model that the network was put beside."""
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles import catalog, people_summary
    from genomai_cli.training.unlabelled.picture import loss_picture
    from genomai_cli.training.unlabelled.pretraining_card import card
    from genomai_cli.training.workspace import LOG

    text = card(made, shlex.join(command_line()))
    others: dict[str, str | bytes] = {
        LOG: work.log.text(),
        PICTURE: loss_picture(work.log.rows(), made.bundle.name),
    }
    if phenotypes is not None:
        others[catalog.PHENOTYPES] = _records(made.bundle, phenotypes, made.facts)
    if made.summary is not None:
        others[catalog.SUMMARY] = people_summary.to_bytes(made.summary)
    extras = bundles.Extras(text, work.recipe, others)
    bundles.save(made.bundle, output, extras if host is None else _beside(extras, host))
    work.remove()


def _records(bundle: "Bundle", table: "PhenotypeTable", facts: dict[str, object]) -> str:
    """The records that the model is asked about by default."""
    from genomai_cli.phenotypes.groups import common_records

    settings = facts["settings"]
    assert isinstance(settings, dict)
    groups = settings["crossmodal"]["groups"]
    records = common_records(table, bundle.crossmodal.columns, groups)
    return "".join("\t".join(fields) + "\n" for fields in records)


def _beside(made: "Extras", host: Path) -> "Extras":
    """The files of the host, and those of the network beside it under names of their own; both cards in one."""
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles import catalog

    kept = (catalog.CONFIG, catalog.WEIGHTS, catalog.CARD, bundles.RECIPE, *bundles.PLACES)
    others: dict[str, str | bytes] = {
        file.name: file.read_bytes() for file in host.iterdir() if file.name not in kept
    }
    others[f"{BESIDE}.toml"] = made.recipe
    others |= {
        name if name == catalog.PHENOTYPES else f"{BESIDE}-{name}": content
        for name, content in made.others.items()
    }
    card = (host / catalog.CARD).read_text(encoding="utf-8").partition(f"\n# {BESIDE}")[0]
    heading, _, beside = made.card.partition("\n")
    _, _, kept_card = card.rstrip().partition("\n")
    text = f"{heading}\n{kept_card}\n\n# {BESIDE}\n{beside}"
    return bundles.Extras(text, (host / bundles.RECIPE).read_text(encoding="utf-8"), others)
