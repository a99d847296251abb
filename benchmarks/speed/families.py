"""What the families cost by length of a sequence: tokens a second of a processor and peak memory, with random weights.

    python -m benchmarks.speed.families --threads 2 -o families.tsv --markdown families.md
    python -m benchmarks.speed.families --lengths 1000,8000 --methods caduceus-ps-tiny,caduceus-plain

Every measurement is a process of its own, which reads a sequence of so many bases, after a short one that is not
counted; once, or as often as makes 16,000. The exponent is that of the processor's time in the length, by least squares
of their logarithms over all lengths: 1 where the cost grows with the length, 2 with its square. HyenaDNA is built with
as many positions as the sequence has, as the released sizes are.

Beside the presets, in the same sizes: `caduceus-chunked` and `caduceus-plain`, the scan without the compiled loop, and
step by step as the paper defines it; `transformers-mamba`, that library's Mamba on the four rows (two strands in two
directions) that Caduceus-PS reads; `transformers-bert` in windows of 512 tokens as DNABERT, and
`transformers-bert-whole` with attention over all of the sequence. They need `transformers`; its Mamba is the slow form
that runs without compiled kernels.
"""

import importlib.util
import math
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.command_line import format_number, names, parser_of, write_optional
from genomai_cli import tokenizers
from genomai_cli.alphabet import as_text
from genomai_cli.backbones import caduceus, scan_kernel, selective_scan
from genomai_cli.backbones.base import build_network
from genomai_cli.inputs.sequences import vocabulary_sizes
from genomai_cli.training import recipe

CADUCEUS, HYENA, DNABERT = "caduceus-ps-tiny", "hyenadna-tiny", "dnabert-6-tiny"
CHUNKED, PLAIN = "caduceus-chunked", "caduceus-plain"
MAMBA, BERT, BERT_FULL = (
    "transformers-mamba",
    "transformers-bert",
    "transformers-bert-whole",
)
TRANSFORMERS_FAMILIES = (MAMBA, BERT, BERT_FULL)
PRESET_OF = {
    PLAIN: CADUCEUS,
    CHUNKED: CADUCEUS,
    MAMBA: CADUCEUS,
    BERT: DNABERT,
    BERT_FULL: DNABERT,
}
FAMILIES = ",".join((DNABERT, BERT, BERT_FULL, HYENA, "evo2-tiny", CADUCEUS, CHUNKED, PLAIN, MAMBA))
LENGTHS = "1000,8000,32000,131000,1000000"
WINDOW_BATCH = 32  # of a network that reads so many tokens only
MIN_BASES = 16_000  # bases that are read in all
MAX_BASES = {
    DNABERT: 131_000,
    BERT: 32_000,
    BERT_FULL: 32_000,
    "evo2-tiny": 131_000,
    CHUNKED: 32_000,
} | dict.fromkeys((PLAIN, MAMBA), 8000)  # what more takes too long
THEORY = {
    DNABERT: "1 (windows)", BERT: "1 (windows)", BERT_FULL: "1 to 2 (attention)", HYENA: "1, with a logarithm (FFT)",
    "evo2-tiny": "1 (windows)",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One sequence through one network."""

    family: str
    parameters: int
    bases: int
    tokens: int
    seconds: float
    processor_seconds: float
    tokens_a_processor_second: float
    peak_mb: float  # of the whole process, torch included


def measure_in_process(family: str, bases: int, threads: int) -> Row:
    """One row, in a process of its own, which begins with what is imported here."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (family, bases, threads))


@torch.inference_mode()
def measure(family: str, bases: int, threads: int) -> Row:
    """One row, in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    plan, _ = recipe.read(PRESET_OF.get(family, family), ())
    tokenizer = tokenizers.from_config(plan.tokenizer)
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), bases)
    ids_T = tokenizer.encode(as_text(letters)).astype(np.int64)
    changes = {"positions": max(len(ids_T), plan.network["positions"])} if family == HYENA else {}
    network = build_network(plan.network | vocabulary_sizes(tokenizer) | changes).eval()
    max_length = None if family == BERT_FULL else network.max_length
    run, batches = forward_of(family, network, len(ids_T)), list(in_windows(ids_T, max_length))
    run(batches[0][:, :256])
    repeats = -(-MIN_BASES // bases)
    began, processor_start = time.perf_counter(), time.process_time()
    for ids_BT in batches * repeats:
        run(ids_BT)
    seconds, processor = (
        (time.perf_counter() - began) / repeats,
        (time.process_time() - processor_start) / repeats,
    )
    parameters = sum(p.numel() for p in network.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Row(
        family, parameters, bases, len(ids_T), seconds, processor, len(ids_T) / processor, peak
    )


def in_windows(ids_T: np.ndarray, max_length: int | None) -> Iterator[Tensor]:
    """The sequence (1, T), or windows of it that follow each other (B, T), the rest by itself."""
    if max_length is None or len(ids_T) <= max_length:
        yield torch.from_numpy(ids_T)[None]
        return
    full_windows = len(ids_T) // max_length
    yield from (
        torch.from_numpy(ids_T[: full_windows * max_length])
        .view(full_windows, max_length)
        .split(WINDOW_BATCH)
    )
    if len(ids_T) > full_windows * max_length:
        yield torch.from_numpy(ids_T[full_windows * max_length :])[None]


def forward_of(family: str, network: nn.Module, tokens: int) -> Callable[[Tensor], object]:
    """The function that is timed."""
    if family == PLAIN:
        caduceus.selective_scan = scan_by_definition
    if family == CHUNKED:
        scan_kernel.is_compiled = lambda *tensors: False
    if family not in TRANSFORMERS_FAMILIES:
        return network
    import transformers  # noqa: PLC0415

    config = network.config
    if family == MAMBA:
        sizes = transformers.MambaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            state_size=config.states,
            expand=config.expand,
            conv_kernel=config.kernel,
            time_step_rank=config.step_rank,
            use_cache=False,
        )
        mamba = transformers.MambaModel(sizes).eval()
        return lambda ids_BT: mamba(torch.cat([ids_BT, ids_BT.flip(1)] * 2))
    sizes = transformers.BertConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.feed_forward,
        max_position_embeddings=max(config.positions, tokens),
    )
    return transformers.BertModel(sizes).eval()


def scan_by_definition(
    steps: selective_scan.Steps, state_BGEN: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The scan by the definition."""
    if state_BGEN is None:
        batch, _, groups, channels = steps.u.shape
        state_BGEN = steps.u.new_zeros(batch, groups, channels, steps.a.shape[-1])
    return selective_scan.plain_scan(steps, state_BGEN)


def main() -> None:
    """Write the rows as they are measured, and the table for readers."""
    command_line = parser_of(
        __doc__, methods=names(FAMILIES), threads=1, output=Path("/dev/stdout"), markdown=None
    )
    command_line.add_argument("--lengths", type=names, default=names(LENGTHS), metavar="N,...",
                      help=f"bases; default: {LENGTHS}")  # fmt: skip
    options = command_line.parse_args()
    lengths, rows = [int(length) for length in options.lengths], []
    with options.output.open("w") as out:
        print("\t".join(field.name for field in fields(Row)), file=out, flush=True)
        for bases in lengths:
            for family in options.methods:
                if bases <= MAX_BASES.get(family, bases) and is_available(family):
                    rows.append(measure_in_process(family, bases, options.threads))
                    print("\t".join(cells(rows[-1])), file=out, flush=True)
                    write_optional(options.markdown, table(rows, lengths))


def is_available(family: str) -> bool:
    """Whether what it needs is installed."""
    return (
        family not in TRANSFORMERS_FAMILIES or importlib.util.find_spec("transformers") is not None
    )


def cells(row: Row) -> Iterator[str]:
    """The row's figures."""
    for value in astuple(row):
        yield format_number(value) if isinstance(value, float) else str(value)


def table(rows: Sequence[Row], lengths: Sequence[int]) -> Iterator[str]:
    """A line a family as Markdown: tokens a second by length, the most memory, and the exponents."""
    columns = ["family", *(f"{length:,}" for length in lengths), "peak MB", "exponent", "in theory"]
    yield "Tokens a second of a processor, by bases of the sequence; peak memory of the process at the longest.\n\n"
    yield f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}\n"
    for family in dict.fromkeys(row.family for row in rows):
        family_rows = [row for row in rows if row.family == family]
        speed = {row.bases: f"{row.tokens_a_processor_second:,.0f}" for row in family_rows}
        line = [family, *(speed.get(length, "") for length in lengths)]
        line += [
            f"{family_rows[-1].peak_mb:,.0f}",
            f"{exponent(family_rows):.2f}",
            THEORY.get(family, "1 (scan)"),
        ]
        yield f"| {' | '.join(line)} |\n"
    yield f"\nLoad of the machine at the end: {os.getloadavg()[1]:.1f}, on {os.cpu_count()} processors.\n"


def exponent(rows: Sequence[Row]) -> float:
    """Of the processor's time in the length; NaN of a single length."""
    if len(rows) < 2:
        return math.nan
    logs = [[math.log(row.bases), math.log(row.processor_seconds)] for row in rows]
    return float(np.polyfit(*zip(*logs, strict=True), 1)[0])


if __name__ == "__main__":
    main()
