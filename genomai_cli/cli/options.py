"""The arguments and options that several commands share, each spelled once.

An option is an annotated type, for which a command gives the name and the default: `output: Output = STANDARD_OUTPUT`.
Options that go together are a dataclass, which stands for its fields wherever `cli.run.command` finds it.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from genomai_cli.formats.call_quality import CallRules

STANDARD_OUTPUT = Path("-")
DEVICE_PATTERN = re.compile(r"auto|cpu|cuda(:\d+)?|mps")


def check_device(device: str) -> str:
    """The device as given, if it is one that a run can ask for."""
    if not DEVICE_PATTERN.fullmatch(device):
        raise typer.BadParameter(f"{device!r} is not one of auto, cpu, cuda, cuda:N, mps")
    return device


def check_finite(number: float | None) -> float | None:
    """The number as given; infinity and nan, which no range keeps out, are none that can be worked with."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number")
    return number


def model_option(purpose: str) -> Any:
    """`--model`, with the names of the installed ones."""
    return typer.Option(
        "--model",
        metavar="NAME|DIR",
        help=purpose,
        show_default=False,
    )


def wants_parquet(to: str | None, output: Path) -> bool:
    """Whether Parquet is asked for, by `--to` or by the output's name; UsageError if it cannot be written here."""
    if (to or output.suffix.removeprefix(".")) != "parquet":
        return False
    from genomai_cli.formats.parquet import require_parquet

    require_parquet()
    return True


def report_option(contents: str) -> Any:
    """`--report`, the page that a command writes for people."""
    return typer.Option(
        "--report",
        metavar="FILE",
        help=f"Write a page for people (HTML that stands alone): {contents}.",
        show_default=False,
    )


def join_choices(names: Iterable[str]) -> str:
    """The names as help lists choices: "a, b, or c"."""
    *first, last = names
    return ", ".join([*first, f"or {last}"])


Inputs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE",
        help="FASTA, FASTQ, a table with a column `sequence`, VCF, BCF, PLINK .bed or .pgen, BAM or CRAM, raw "
        "data of a consumer test, plain or compressed; none or - is standard input.",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write here, whole or not at all; .gz in the name compresses as BGZF.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="Where the model runs.",
        callback=check_device,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        help="CPU threads; the results do not depend on it.  [default: all]",
        show_default=False,
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, help="Same seed, input and device: the same bytes."),
]
# Options of every command that have nothing to decide in some: accepted there, not advertised.
UnusedDevice = Annotated[str, typer.Option("--device", callback=check_device, hidden=True)]
UnusedThreads = Annotated[int | None, typer.Option("--threads", min=1, hidden=True)]
UnusedSeed = Annotated[int, typer.Option("--seed", min=0, hidden=True)]
Model = Annotated[
    str | None,
    model_option("An installed model (see `genomai models list`) or a bundle's folder."),
]
AbsentIsRef = Annotated[
    bool,
    typer.Option(
        "--absent-is-ref",
        help="The VCF lists variants only: a site that it lacks is homozygous reference.",
    ),
]
MinGq = Annotated[
    int | None,
    typer.Option(
        "--min-gq",
        metavar="N",
        min=0,
        help="Calls of a VCF with a lower genotype quality (GQ) are missing.",
        show_default=False,
    ),
]
MinDp = Annotated[
    int | None,
    typer.Option(
        "--min-dp",
        metavar="N",
        min=0,
        help="Calls of a VCF with fewer reads (DP) are missing.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        min=1,
        help="Sequences at once; the results do not depend on it.  [default: as fit in memory]",
        show_default=False,
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only the I-th of N parts of the records; the outputs of all parts end to end are the whole.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on standard error.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="More messages; tracebacks of unexpected errors.")
]
ReportJson = Annotated[
    Path | None,
    typer.Option(
        "--report-json",
        metavar="FILE",
        help="Write the run's record: version, arguments, model, counts, time.",
        show_default=False,
    ),
]

PanelFile = Annotated[
    Path | None,
    typer.Option(
        "--panel",
        metavar="FILE",
        help="Sites for the barcodes of a VCF.  [default: the sites of the model]",
        show_default=False,
    ),
]
Groups = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        metavar="LABELS",
        help="Generation: a table whose first column names real samples and whose second their populations, within "
        "which the simple generators beside draw.  [default: among all]",
        show_default=False,
    ),
]
Haplotypes = Annotated[
    bool,
    typer.Option("--haplotypes", help="From a phased VCF two records a sample, NAME_A and NAME_B."),
]


class Strand(StrEnum):
    """Along which strand a sequence is read."""

    FORWARD = "forward"
    BOTH = "both"


StrandOption = Annotated[
    Strand,
    typer.Option("--strand", help="With both, the mean with what the reverse complement gives."),
]


@dataclass(eq=False, repr=False)
class Compute:
    """The device and the threads of a model, and the seed of random numbers."""

    seed: Seed = 0
    device: Device = "auto"
    threads: Threads = None


@dataclass(eq=False, repr=False)
class ComputeWithoutSeed(Compute):
    """The device and the threads, where nothing is random."""

    seed: UnusedSeed = 0


@dataclass(eq=False, repr=False)
class SeedOnly(Compute):
    """The seed, without a model to run."""

    device: UnusedDevice = "auto"
    threads: UnusedThreads = None


@dataclass(eq=False, repr=False)
class NoCompute(SeedOnly):
    """None of the three has an effect: no model runs, and nothing is random."""

    seed: UnusedSeed = 0


@dataclass(eq=False, repr=False)
class PanelOptions:
    """By which panel a VCF becomes barcodes, or haplotypes."""

    model: Model = None
    panel: PanelFile = None
    haplotypes: Haplotypes = False


@dataclass(eq=False, repr=False)
class VariantOptions:
    """Which calls of a VCF count, and whether sites that it lacks are homozygous reference."""

    absent_is_ref: AbsentIsRef = False
    min_gq: MinGq = None
    min_dp: MinDp = None

    @property
    def rules(self) -> "CallRules":
        """Which calls count."""
        from genomai_cli.formats.call_quality import CallRules

        return CallRules(self.min_gq, self.min_dp)


@dataclass(eq=False, repr=False)
class Messages:
    """The amount of messages, and the file of the run's record: options of every command."""

    quiet: Quiet = False
    verbose: Verbose = False
    report_json: ReportJson = None
