"""How long a step of training takes that `genomai train` counts letters by: the convolution of the recipe `auto`, on
both strands, in single precision and in bfloat16.

    python -m benchmarks.speed.convolution

The fastest of some steps, by the clock; a letter's share is what `SECONDS_A_LETTER` of `training.selection` stands for,
less what validation and the sequences held out make of it.
"""

import time

import torch
from torch.nn import functional

from benchmarks.command_line import parser_of
from genomai_cli.backbones.sequence_ensemble import Convolution, ConvolutionConfig
from genomai_cli.training.sequence_parts import BATCH_SIZE, uses_bfloat16

LENGTHS = (70, 101, 300)
STEPS = 20


def seconds(length: int, *, bfloat16: bool) -> float:
    """The fastest step with a batch of sequences of so many letters."""
    torch.manual_seed(0)
    part = Convolution(ConvolutionConfig(), 2)
    optimizer = torch.optim.AdamW(part.parameters())
    codes_BL = torch.randint(0, 4, (BATCH_SIZE, length))
    real_BL = torch.ones_like(codes_BL, dtype=torch.bool)
    labels_B = torch.randint(0, 2, (BATCH_SIZE,))
    durations = []
    for _ in range(STEPS):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits_BO, _ = part(codes_BL, real_BL)
        optimizer.zero_grad()
        functional.cross_entropy(logits_BO.float(), labels_B).backward()
        optimizer.step()
        durations.append(time.perf_counter() - began)
    return min(durations)


def main() -> None:
    """See the top of the file."""
    torch.set_num_threads(parser_of(__doc__, threads=2).parse_args().threads)
    precision = "bfloat16" if uses_bfloat16(torch.device("cpu")) else "single precision"
    print(f"`genomai train` uses {precision} here\n")
    print("| letters | precision | ms a step | us a letter |\n| ---: | --- | ---: | ---: |")
    for length in LENGTHS:
        for name, bfloat16 in (("single", False), ("bfloat16", True)):
            step = seconds(length, bfloat16=bfloat16)
            print(
                f"| {length} | {name} | {1e3 * step:.1f} | {1e6 * step / BATCH_SIZE / length:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
