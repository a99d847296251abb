"""`genomai augment --diffuse`: the model that draws again what was blurred."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.inference.augment import Diffuser
    from genomai_cli.panels.phenotypes import Phenotypes

DEFAULT_MODEL = "ancestry-generator"


def diffuser(
    run: Run,
    model: str | None,
    time: float,
    seed: int,
    grouped: "tuple[LabelTable, str] | None",
    device: str,
    threads: int | None,
) -> "Diffuser":
    """What blurs views up to the time and draws them again; `grouped` names people's phenotypes in a column."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.generation.diffusing import PeopleDiffuser, SequenceDiffuser
    from genomai_cli.generation.settings import Settings, steps_of
    from genomai_cli.panels.phenotypes import Phenotypes

    devices.use_threads(threads)
    where = devices.choose(device)
    bundle = bundles.load(model or DEFAULT_MODEL, where, devices.exact_precision(where))
    run.used_model(bundle.name, bundle.version, bundle.weights_sha256)
    run.used_device(where)
    settings = Settings(steps_of(bundle), seed=seed, since=time)
    if bundle.panel is not None:
        people = PeopleDiffuser(bundle, settings)
        if grouped is not None:
            phenotypes = Phenotypes.from_config(bundle.config)
            people.phenotype_of = _numbers(run, *grouped, phenotypes)
        return people
    if grouped is not None:
        raise UsageError(f"--group does not fit the model {bundle.name}: it knows no phenotypes")
    return SequenceDiffuser(bundle, settings)


def _numbers(
    run: Run, table: "LabelTable", column: str, phenotypes: "Phenotypes"
) -> Callable[[str], int]:
    """The number of the phenotype of a record's name; 0, none, for a label that the model does not know."""
    from genomai_cli.inference.augment import known_name

    labels = table.column(column)
    unknown = sorted(set(labels.values()) - set(phenotypes.names))
    if len(unknown) == len(set(labels.values())):
        names = ", ".join(phenotypes.names)
        raise UsageError(f"--group {column}: the model knows none of its labels, only {names}")
    if unknown:
        run.console.warn(
            f"drawn without a phenotype, since the model does not know it: {', '.join(unknown)}"
        )

    def number(name: str) -> int:
        known = known_name(name, labels)
        label = None if known is None else labels[known]
        return phenotypes.number(label) if label in phenotypes.names else 0

    return number
