"""`genomai doctor`: what is installed, what works, and what is missing."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from genomai_cli import __version__
from genomai_cli.cli.console import show_table
from genomai_cli.cli.run import Run, command
from genomai_cli.errors import GenomaiError

OK, FAILED, ABSENT = "ok", "FAILED", "absent"
LIBRARIES = [
    "torch",
    "numpy",
    "h5py",
    "pysam",
    "pydantic",
    "safetensors",
    "scipy",
    "threadpoolctl",
    "typer",
    "rich",
    "matplotlib",
    "jinja2",
    "isal",
    "numba",
]
# Optional libraries: the extra of the package that brings each, and its purpose.
EXTRAS = {
    "anndata": ("dev", "AnnData in Python"),
    "bed-reader": ("plink", "PLINK .bed files"),
    "pgenlib": ("plink", "PLINK .pgen files"),
    "zstandard": ("plink", "compressed .pvar files"),
    "pandas": ("dev", "tables in Python"),
    "scikit-learn": ("detection", "boosted trees of `evaluate --task generation`"),
    "pyarrow": ("parquet", "--to parquet"),
    "pyBigWig": ("tracks", "writing bigWig"),
    "cooler": ("contacts", "contact maps as .cool"),
    "jax": ("jax", "AlphaGenome's official checkpoint"),
    "orbax-checkpoint": ("jax", "AlphaGenome's official checkpoint"),
}
GROUPS = ["AFR", "AMR", "EAS", "EUR", "SAS"]

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
NoSelfTest = Annotated[bool, typer.Option("--no-self-test", help="Leave the self-test out.")]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check; `detail` is a version, a device, a checksum, or what is wrong."""

    check: str
    name: str
    result: str
    detail: str


@command
def doctor(run: Run, json_: AsJson = False, no_self_test: NoSelfTest = False) -> None:
    """Check the installation: versions, devices, models, a self-test.

    Models are compared with their checksums. The self-test makes up five people, one of each super-population, writes
    them as a VCF and classifies them: it takes seconds. The exit status is 1 if anything has FAILED; what is absent is
    optional.

    \b
    genomai doctor
    genomai doctor --json > installation.json
    """
    import json

    checks = [*versions(), *devices(), *models(), *extras()]
    if not no_self_test:
        checks += self_test()
    if json_:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        show_table(
            ("check", "name", "result", "detail"), [tuple(asdict(c).values()) for c in checks]
        )
    failed = [check.name for check in checks if check.result == FAILED]
    run.count(read=len(checks), used=len(checks) - len(failed), refused=len(failed))
    if failed:
        raise GenomaiError(f"failed: {', '.join(failed)}")


def versions() -> Iterator[Check]:
    """The program, Python, and the libraries that it needs."""
    yield Check("version", "genomai", OK, f"{__version__} in {Path(__file__).parent.parent}")
    yield Check("version", "python", OK, f"{platform.python_version()} on {platform.platform()}")
    for name in LIBRARIES:
        try:
            yield Check("version", name, OK, metadata.version(name))
        except metadata.PackageNotFoundError:
            result = ABSENT if name == "isal" else FAILED  # gzip is slower without it
            yield Check("version", name, result, "not installed")


def devices() -> Iterator[Check]:
    """The devices for models."""
    from genomai_cli import device

    yield Check("device", "cpu", OK, f"{os.cpu_count()} cores")
    for name, description in device.accelerators().items():
        yield _check("device", name, partial(device.can_add, name), description)


def _check(check: str, name: str, action: Callable[[], object], detail: str) -> Check:
    """Ok with the detail, or failed with what went wrong."""
    try:
        passed = action() is not False
    except Exception as error:
        return Check(check, name, FAILED, " ".join(str(error).split()) or type(error).__name__)
    return Check(check, name, OK if passed else FAILED, detail)


def models() -> Iterator[Check]:
    """The installed models, against their checksums."""
    from genomai_cli.bundles import catalog

    for name in catalog.names():
        problems = catalog.problems(name)
        if problems:
            yield Check("model", name, FAILED, "; ".join(problems))
            continue
        folder = catalog.find(name)
        config = catalog.read_config(folder)
        sha256 = config.get("files", {}).get(catalog.WEIGHTS, "")
        yield Check("model", name, OK, f"{config.get('version')} sha256:{sha256[:16]} in {folder}")


def extras() -> Iterator[Check]:
    """The optional libraries, and their purposes."""
    for library, (extra, purpose) in EXTRAS.items():
        try:
            yield Check("extra", library, OK, f"{metadata.version(library)}: {purpose}")
        except metadata.PackageNotFoundError:
            detail = f"pip install 'genomai[{extra}]' for {purpose}"
            yield Check("extra", library, ABSENT, detail)


def self_test() -> Iterator[Check]:
    """People made up by one model, through a compressed VCF, called by another."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        vcf, calls = Path(folder) / "people.vcf.gz", Path(folder) / "calls.tsv"
        phenotype_options = [argument for group in GROUPS for argument in ("--phenotype", group)]
        steps = {
            "generate": ["generate", *phenotype_options, "--to", "vcf", "-o", str(vcf)],
            "classify": ["classify", "--model", "ancestry-967", str(vcf), "-o", str(calls)],
        }
        for name, arguments in steps.items():
            check = _check("self-test", name, partial(_run_program, arguments), "done")
            yield check
            if check.result == FAILED:
                return
        yield _check(
            "self-test",
            "answers",
            partial(_require_groups, calls),
            f"as made up: {' '.join(GROUPS)}",
        )


def _run_program(arguments: list[str]) -> None:
    """Run a command in a process of its own, as a user would; GenomaiError with its last message if it failed."""
    import subprocess

    command_line = [sys.executable, "-m", "genomai_cli", *arguments]
    process = subprocess.run(command_line, capture_output=True, text=True, check=False)
    if process.returncode:
        raise GenomaiError(
            process.stderr.strip().splitlines()[-1] if process.stderr else "no message"
        )


def _require_groups(table: Path) -> None:
    from genomai_cli.formats.tables import read_table

    groups = list(read_table(table).column("superpop"))
    if groups != GROUPS:
        raise GenomaiError(f"{' '.join(groups)} where {' '.join(GROUPS)} were made up")
