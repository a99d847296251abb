"""What `genomai train` and `pretrain` tell, and what they write when they are done: the bundle, and the page."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomai_cli.cli.pages import PageFile
from genomai_cli.cli.run import Run, command_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from genomai_cli.training.finetuning import Finetuned
    from genomai_cli.training.loss_curves import Rows
    from genomai_cli.training.pretraining import Pretrained
    from genomai_cli.training.pretraining_report import PretrainedReport
    from genomai_cli.training.recipe import Recipe
    from genomai_cli.training.run_folder import Workspace


def reporter(
    run: Run, recipe: "Recipe", work: "Workspace"
) -> "Callable[[int, int, float, float], None]":
    members, steps = max(1, recipe.split.folds), recipe.optimization.steps
    log = work.log

    def report(member: int, step: int, loss: float, best: float) -> None:
        row = {
            "member": str(member),
            "step": str(step),
            "loss": f"{loss:.6f}",
            "best_held_out_loss": f"{best:.6f}",
            "time": f"{time.time():.0f}",
        }
        log.add(row, "member")
        part = f"network {member + 1} of {members}, " if members > 1 else ""
        run.console.say(f"{part}step {step} of {steps}: loss {loss:.4f}, best held out {best:.4f}")

    return report


def write_classifier(
    run: Run,
    fitted: "Finetuned",
    output: Path,
    work: "Workspace",
    files: "Mapping[str, bytes]",
    page: PageFile,
) -> None:
    """Save it with its card, its log and further files, tell how it did, and write the page."""
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles.writing import Extras
    from genomai_cli.training.model_card import classifier_card
    from genomai_cli.training.run_folder import LOG, PICTURE

    rows = work.log.rows()
    others: dict[str, str | bytes] = {**files}
    if rows:  # a model that is solved has no steps
        from genomai_cli.training.loss_pictures import steps_picture

        others |= {LOG: work.log.text(), PICTURE: steps_picture(rows, fitted.bundle.name)}
    card = classifier_card(fitted, command_line())
    bundles.save(fitted.bundle, output, Extras(card, work.recipe, others))
    work.remove()
    _tell_classifier(run, fitted, output)
    if page:
        from genomai_cli.training.training_page import training_page

        page.write(training_page(fitted, rows, _facts(run)))


def _facts(run: Run) -> dict[str, str]:
    """What a page says of the run, with the model's checksum."""
    assert run.report.model is not None
    return {"SHA-256 of its weights": run.report.model.sha256, **run.facts()}


def _tell_classifier(run: Run, fitted: "Finetuned", output: Path) -> None:
    from genomai_cli.bundles import catalog

    weights = catalog.sha256(output / catalog.WEIGHTS)
    run.used_model(fitted.bundle.name, fitted.bundle.version, weights)
    for head, found in fitted.validation.items():
        run.console.say(f"{head}: {_result(found)} on {found['n']} held-out samples")
    _tell_mean(run, fitted.validation)
    run.note(validation=fitted.validation)
    run.console.say(f"wrote {output}")


def _tell_mean(run: Run, validation: "Mapping[str, Any]") -> None:
    """The mean Matthews correlation, if there are several heads of classes that have one."""
    found = [of for of in validation.values() if "mcc" in of]
    if len(found) > 1:
        first = next(iter(found[0]["candidates"]))
        mean, plain = (
            sum(of["candidates"][name]["mcc"] for of in found) / len(found)
            for name in ("together", first)
        )
        run.console.say(f"mean of {len(found)} heads: MCC {mean:.4f} ({first}: {plain:.4f})")


def _result(found: "Mapping[str, Any]") -> str:
    """How the model did; beside it, of a model of parts, the k-mer regression."""
    candidates = found.get("candidates")
    if candidates is None:
        return f"accuracy {found['accuracy']:.4f}"
    first, plain = next(iter(candidates.items()))
    if "r2" in found:
        beside = f"{first}: {plain['pearson']:.4f}, {plain['r2']:.4f}"
        return f"r {found['pearson']:.4f}, R2 {found['r2']:.4f} ({beside})"
    return f"accuracy {found['accuracy']:.4f}, MCC {found['mcc']:.4f} ({first}: {plain['mcc']:.4f})"


def write_pretrained(
    run: Run,
    made: "Pretrained",
    output: Path,
    work: "Workspace",
    host: Path | None,
    page: PageFile,
) -> None:
    """Save it with its card, log and picture, tell how it did, and write the page; `host` is the folder of the model
    that the network was attached to."""
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles.writing import Extras
    from genomai_cli.training.attach import attached_files
    from genomai_cli.training.model_card import pretrained_report
    from genomai_cli.training.run_folder import LOG, PICTURE

    report, rows = pretrained_report(made), work.log.rows()
    others: dict[str, str | bytes] = {**made.files}
    if rows:
        from genomai_cli.training.loss_pictures import loss_picture

        others |= {LOG: work.log.text(), PICTURE: loss_picture(rows, made.bundle.name)}
    extras = Extras(report.card(command_line()), work.recipe, others, list(made.files))
    if host is not None:
        extras = attached_files(extras, host, made.network_kind, unprefixed=made.files)
    bundles.save(made.bundle, output, extras)
    finish_pretrained(run, report, rows, output, work, page)


def finish_pretrained(
    run: Run,
    report: "PretrainedReport",
    rows: "Rows",
    output: Path,
    work: "Workspace",
    page: PageFile,
) -> None:
    """Clear the run's folder away once the bundle is written, tell how the model did, and write the page."""
    work.remove()
    _tell_pretrained(run, report, output)
    if page:
        from genomai_cli.training.pretraining_page import pretraining_page

        page.write(pretraining_page(report, rows, _facts(run)))


def _tell_pretrained(run: Run, report: "PretrainedReport", output: Path) -> None:
    from genomai_cli.bundles import catalog

    facts, config = report.facts, report.config
    weights = catalog.sha256(output / catalog.WEIGHTS)
    run.used_model(config["name"], config["version"], weights)
    for name, loss in facts["held_out"].items():
        beside = "without a network" if facts["steps"] else "of the baseline"
        run.console.say(f"{name}: held-out loss {loss:.4f}, {facts['baseline'][name]:.4f} {beside}")
    for name, (bits, baseline) in facts["bits_per_base"].items():
        run.console.say(f"{name}: {bits:.4f} bits a base, {baseline:.4f} without a network")
    told = ("held_out", "baseline", "bits_per_base", "steps", "tokens")
    run.note(**{key: facts[key] for key in told})
    run.console.say(f"wrote {output}")
