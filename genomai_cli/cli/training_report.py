"""What `genomai train` tells while it trains and when it is done, and the log that the bundle keeps."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomai_cli.cli.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from genomai_cli.training.finetuning import Finetuned
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


def log_files(work: "Workspace", title: str) -> "dict[str, str | bytes]":
    """The log and its picture; neither of a model that is solved, which has no steps."""
    from genomai_cli.training.model_card import steps_picture
    from genomai_cli.training.run_folder import LOG, PICTURE

    rows = work.log.rows()
    return {LOG: work.log.text(), PICTURE: steps_picture(rows, title)} if rows else {}


def tell_result(run: Run, fitted: "Finetuned", output: Path) -> None:
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
