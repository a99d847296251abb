"""What the families cost by length of a sequence: tokens a second and peak memory, with random weights.

    python -m benchmarks.speed.families > benchmarks/speed/families.tsv
    python -m benchmarks.speed.families --lengths 1000,8000 --methods caduceus-ps-tiny,caduceus-plain

Every measurement is a process of its own, which reads a sequence of so many bases once, after a short one that is not
counted. `exponent` is that of the processor's time in the length since the length before: 1 where the cost grows with
the length, 2 with its square. Beside the presets: `caduceus-plain`, the same network with the scan step by step as the
paper defines it, and `transformers-bert`, that library's BERT in the sizes of `dnabert-6-tiny`, where it is installed.
"""

import importlib.util
import math
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.command_line import names, parser_of, say
from genomai_cli import tokenizers
from genomai_cli.alphabet import as_text
from genomai_cli.backbones import caduceus, selective_scan
from genomai_cli.backbones.base import build_network
from genomai_cli.inputs.sequences import vocabulary_sizes
from genomai_cli.training import recipe

PLAIN, BERT = "caduceus-plain", "transformers-bert"
PRESET_OF = {PLAIN: "caduceus-ps-tiny", BERT: "dnabert-6-tiny"}
FAMILIES = f"dnabert-6-tiny,{BERT},hyenadna-tiny,caduceus-ps-tiny,{PLAIN},evo2-tiny"
LENGTHS = "1000,8000,32000,131000"
WINDOWS_AT_ONCE = 32  # of a network that reads so many tokens only
LONGEST_PLAIN = 8000  # bases; step by step takes too long beyond


@dataclass(frozen=True)
class Row:
    """One sequence through one network."""

    family: str
    parameters: int
    bases: int
    tokens: int
    seconds: float
    processor_seconds: float
    tokens_a_second: float
    peak_mb: float  # of the whole process, torch included
    exponent: float = math.nan


def measured(family: str, bases: int, threads: int) -> Row:
    """One row, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (family, bases, threads))


@torch.inference_mode()
def measure(family: str, bases: int, threads: int) -> Row:
    """One row, in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    plan, _ = recipe.read(PRESET_OF.get(family, family), ())
    tokenizer = tokenizers.from_config(plan.tokenizer)
    network = build_network(plan.network | vocabulary_sizes(tokenizer)).eval()
    run, longest = forward_of(family, network), network.max_length
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), bases)
    ids_T = tokenizer.encode(as_text(letters)).astype(np.int64)
    batches = list(in_windows(ids_T, longest))
    run(batches[0][:, :256])
    began, used = time.perf_counter(), time.process_time()
    for ids_BT in batches:
        run(ids_BT)
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    parameters = sum(p.numel() for p in network.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Row(
        family, parameters, bases, len(ids_T), seconds, processor, len(ids_T) / seconds, peak
    )


def in_windows(ids_T: np.ndarray, longest: int | None) -> Iterator[Tensor]:
    """The sequence (1, T), or windows of it that follow each other (B, T), the rest by itself."""
    if longest is None or len(ids_T) <= longest:
        yield torch.from_numpy(ids_T)[None]
        return
    whole = len(ids_T) // longest
    yield from (
        torch.from_numpy(ids_T[: whole * longest]).view(whole, longest).split(WINDOWS_AT_ONCE)
    )
    if len(ids_T) > whole * longest:
        yield torch.from_numpy(ids_T[whole * longest :])[None]


def forward_of(family: str, network: nn.Module) -> Callable[[Tensor], object]:
    """What is timed."""
    if family == PLAIN:
        caduceus.selective_scan = plain
    if family != BERT:
        return network
    from transformers import BertConfig, BertModel  # noqa: PLC0415

    own = network.config
    config = BertConfig(
        vocab_size=own.vocabulary,
        hidden_size=own.width,
        num_hidden_layers=own.layers,
        num_attention_heads=own.heads,
        intermediate_size=own.feed_forward,
        max_position_embeddings=own.positions,
    )
    return BertModel(config).eval()


def plain(steps: selective_scan.Steps, state_BGEN: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The scan by the definition."""
    if state_BGEN is None:
        batch, _, groups, channels = steps.u.shape
        state_BGEN = steps.u.new_zeros(batch, groups, channels, steps.a.shape[-1])
    return selective_scan.plain_scan(steps, state_BGEN)


def main() -> None:
    """Print the rows as they are measured."""
    made = parser_of(__doc__, methods=names(FAMILIES), threads=2)
    made.add_argument("--lengths", type=names, default=names(LENGTHS), metavar="N,...",
                      help=f"bases; default: {LENGTHS}")  # fmt: skip
    options = made.parse_args()
    print("\t".join(field.name for field in fields(Row)), flush=True)
    for family in options.methods:
        if family == BERT and importlib.util.find_spec("transformers") is None:
            say(f"{BERT}: transformers is not installed")
            continue
        before: Row | None = None
        for bases in map(int, options.lengths):
            if family == PLAIN and bases > LONGEST_PLAIN:
                continue
            row = measured(family, bases, options.threads)
            print("\t".join(cells(row, before)), flush=True)
            before = row


def cells(row: Row, before: Row | None) -> Iterator[str]:
    """The row's figures; the exponent beside the row of a shorter sequence."""
    *values, _ = astuple(row)
    if before is None:
        exponent = math.nan
    else:
        times = row.processor_seconds / before.processor_seconds
        exponent = math.log(times) / math.log(row.bases / before.bases)
    for value in (*values, exponent):
        yield f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
