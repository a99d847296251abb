"""Messages and results of `genomai train` and `pretrain`: the bundle, and the page."""

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
    run: Run, recipe: "Recipe", workspace: "Workspace"
) -> "Callable[[int, int, float, float], None]":
    members, steps = max(1, recipe.split.folds), recipe.optimization.steps
    log = workspace.log

    def report(member: int, step: int, loss: float, best: float) -> None:
        row = {
            "member": str(member),
            "step": str(step),
            "loss": f"{loss:.6f}",
            "best_held_out_loss": f"{best:.6f}",
            "time": f"{time.time():.0f}",
        }
        log.add(row, "member")
        prefix = f"network {member + 1} of {members}, " if members > 1 else ""
        run.console.say(
            f"{prefix}step {step} of {steps}: loss {loss:.4f}, best held out {best:.4f}"
        )

    return report


def write_classifier(
    run: Run,
    finetuned: "Finetuned",
    output: Path,
    workspace: "Workspace",
    files: "Mapping[str, bytes]",
    page: PageFile,
) -> None:
    """Save it with its card, its log and further files, tell how it did, and write the page."""
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.bundles.writing import Extras
    from genomai_cli.training.model_card import classifier_card
    from genomai_cli.training.run_folder import LOG, PICTURE

    rows = workspace.log.rows()
    extra_files: dict[str, str | bytes] = {**files}
    if rows:  # a model that is solved has no steps
        from genomai_cli.training.loss_pictures import steps_picture

        extra_files |= {
            LOG: workspace.log.text(),
            PICTURE: steps_picture(rows, finetuned.bundle.name),
        }
    card = classifier_card(finetuned, command_line())
    bundles.save(finetuned.bundle, output, Extras(card, workspace.recipe, extra_files))
    workspace.remove()
    _report_classifier(run, finetuned, output)
    if page:
        from genomai_cli.training.training_page import training_page

        page.write(training_page(finetuned, rows, _facts(run)))


def _facts(run: Run) -> dict[str, str]:
    """Facts of the run for a page, with the model's checksum."""
    assert run.report.model is not None
    return {"SHA-256 of its weights": run.report.model.sha256, **run.facts()}


def _report_classifier(run: Run, finetuned: "Finetuned", output: Path) -> None:
    from genomai_cli.bundles import catalog
    from genomai_cli.training.validation_limits import limits_in_words

    weights = catalog.sha256(output / catalog.WEIGHTS)
    run.used_model(finetuned.bundle.name, finetuned.bundle.version, weights)
    for head, scores in finetuned.validation.items():
        run.console.say(f"{head}: {_result(scores)} on {scores['n']} held-out samples")
    _report_mean(run, finetuned.validation)
    for limit in limits_in_words(finetuned.validation, finetuned.bundle.heads):
        run.console.warn(limit)
    run.note(validation=finetuned.validation)
    run.console.say(f"wrote {output}")


def _report_mean(run: Run, validation: "Mapping[str, Any]") -> None:
    """The mean Matthews correlation, if there are several heads of classes that have one."""
    scores_by_head = [scores for scores in validation.values() if "mcc" in scores]
    if len(scores_by_head) > 1:
        baseline_name = next(iter(scores_by_head[0]["candidates"]))
        mean, baseline = (
            sum(scores["candidates"][name]["mcc"] for scores in scores_by_head)
            / len(scores_by_head)
            for name in ("together", baseline_name)
        )
        run.console.say(
            f"mean of {len(scores_by_head)} heads: MCC {mean:.4f} ({baseline_name}: {baseline:.4f})"
        )


def _result(scores: "Mapping[str, Any]") -> str:
    """Scores of the model, and of a model of parts those of the k-mer regression."""
    candidates = scores.get("candidates")
    if candidates is None:
        return f"accuracy {scores['accuracy']:.4f}"
    baseline_name, baseline = next(iter(candidates.items()))
    if "r2" in scores:
        baseline_result = f"{baseline_name}: {baseline['pearson']:.4f}, {baseline['r2']:.4f}"
        return f"r {scores['pearson']:.4f}, R2 {scores['r2']:.4f} ({baseline_result})"
    return f"accuracy {scores['accuracy']:.4f}, MCC {scores['mcc']:.4f} ({baseline_name}: {baseline['mcc']:.4f})"


def write_pretrained(
    run: Run,
    pretrained: "Pretrained",
    output: Path,
    workspace: "Workspace",
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

    report, rows = pretrained_report(pretrained), workspace.log.rows()
    extra_files: dict[str, str | bytes] = {**pretrained.files}
    if rows:
        from genomai_cli.training.loss_pictures import loss_picture

        extra_files |= {
            LOG: workspace.log.text(),
            PICTURE: loss_picture(rows, pretrained.bundle.name),
        }
    extras = Extras(
        report.card(command_line()), workspace.recipe, extra_files, list(pretrained.files)
    )
    if host is not None:
        extras = attached_files(extras, host, pretrained.network_kind, unprefixed=pretrained.files)
    bundles.save(pretrained.bundle, output, extras)
    finish_pretrained(run, report, rows, output, workspace, page)


def finish_pretrained(
    run: Run,
    report: "PretrainedReport",
    rows: "Rows",
    output: Path,
    workspace: "Workspace",
    page: PageFile,
) -> None:
    """Clear the run's folder away once the bundle is written, tell how the model did, and write the page."""
    workspace.remove()
    _report_pretrained(run, report, output)
    if page:
        from genomai_cli.training.pretraining_page import pretraining_page

        page.write(pretraining_page(report, rows, _facts(run)))


def _report_pretrained(run: Run, report: "PretrainedReport", output: Path) -> None:
    from genomai_cli.bundles import catalog

    facts, config = report.facts, report.config
    weights = catalog.sha256(output / catalog.WEIGHTS)
    run.used_model(config["name"], config["version"], weights)
    for name, loss in facts["held_out"].items():
        baseline_kind = "without a network" if facts["steps"] else "of the baseline"
        run.console.say(
            f"{name}: held-out loss {loss:.4f}, {facts['baseline'][name]:.4f} {baseline_kind}"
        )
    for name, (bits, baseline) in facts["bits_per_base"].items():
        run.console.say(f"{name}: {bits:.4f} bits a base, {baseline:.4f} without a network")
    fact_names = ("held_out", "baseline", "bits_per_base", "steps", "tokens")
    run.note(**{key: facts[key] for key in fact_names})
    run.console.say(f"wrote {output}")
