"""How fast the selective scan is on a CPU: by the definition, by chunks, and as one compiled loop.

    python -m benchmarks.speed.scan --markdown benchmarks/speed/scan.md

Processor seconds of inference, and of a gradient with what it needs before, as the fastest of a few; how many times as
fast as step by step; and the largest difference from it among all outputs and gradients, in units of the largest value.
"""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.command_line import parser_of, write_optional
from genomai_cli.backbones import scan_kernel
from genomai_cli.backbones.selective_scan import Steps, plain_scan, selective_scan

# Sequences, steps, directions, channels and states: of the preset and of a released size.
SIZES = {
    "`caduceus-ps-tiny`, one sequence": (2, 1024, 2, 128, 8),
    "`caduceus-ps-tiny`, a batch of 8": (16, 128, 2, 128, 8),
    "width 256, 16 states": (2, 256, 2, 512, 16),
}
REPEATS = 5
COLUMNS = (
    "sizes",
    "type",
    "scan",
    "inference, us a step",
    "times",
    "gradient, us a step",
    "times",
    "difference",
)
Scan = Callable[..., tuple[Tensor, Tensor]]


def inputs(sizes: tuple[int, ...], kind: torch.dtype) -> list[Tensor]:
    """The inputs of a scan, as Caduceus begins with, and a first state."""
    batch, tokens, directions, channels, states = sizes
    torch.manual_seed(0)
    u = torch.randn(batch, tokens, directions, channels)
    b, c = torch.randn(2, batch, tokens, directions, states)
    a = -torch.arange(1.0, states + 1).expand(directions, channels, states)
    state = torch.zeros(batch, directions, channels, states)
    return [
        x.to(kind).clone().requires_grad_() for x in (u, torch.rand_like(u) / 10, a, b, c, state)
    ]


def outputs(scan: Scan, tensors: list[Tensor]) -> list[Tensor]:
    """y, the last state and all gradients."""
    results = scan(Steps(*tensors[:5]), tensors[5])
    loss = results[0].square().sum() + results[1].sum()
    return [*(x.detach() for x in results), *torch.autograd.grad(loss, tensors)]


def fastest(function: Callable[[], object], repeats: int) -> float:
    """Processor seconds."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return min(times)


def lines() -> Iterator[str]:
    """The rows as Markdown."""
    yield f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}\n"
    is_compiled = scan_kernel.is_compiled
    forms = {"step by step": plain_scan, "chunks": selective_scan, "compiled": selective_scan}
    for name, sizes in SIZES.items():
        for kind in (torch.float32, torch.float64):
            scan_inputs = inputs(sizes, kind)
            expected, baseline_timings = outputs(plain_scan, scan_inputs), (0.0, 0.0)
            for form, scan in forms.items():
                scan_kernel.is_compiled = (
                    is_compiled if form == "compiled" else lambda *tensors: False
                )
                cells, timings = cells_of(scan, scan_inputs, expected, baseline_timings)
                baseline_timings = timings if form == "step by step" else baseline_timings
                yield f"| {' | '.join([name, str(kind).partition('.')[2], form, *cells])} |\n"
    scan_kernel.is_compiled = is_compiled


def cells_of(
    scan: Scan, tensors: list[Tensor], expected: list[Tensor], baseline_timings: tuple[float, float]
) -> tuple[list[str], tuple[float, float]]:
    """The figures of a row, and both times."""
    results = outputs(scan, tensors)
    max_difference = max(
        float((x - y).abs().max() / y.abs().max()) for x, y in zip(results, expected, strict=True)
    )
    repeats = REPEATS if baseline_timings[0] else 1
    with torch.inference_mode():
        inference_seconds = fastest(lambda: scan(Steps(*tensors[:5]), tensors[5]), REPEATS)
    gradient_seconds = fastest(lambda: outputs(scan, tensors), repeats)
    first, second = (
        (f"{p / t:.1f}" if p else "1")
        for p, t in zip(baseline_timings, (inference_seconds, gradient_seconds), strict=True)
    )
    us_a_step = 1e6 / tensors[0].shape[1]
    cells = [
        f"{inference_seconds * us_a_step:.1f}",
        first,
        f"{gradient_seconds * us_a_step:.1f}",
        second,
        f"{max_difference:.1g}",
    ]
    return cells, (inference_seconds, gradient_seconds)


def main() -> None:
    """Print the table."""
    options = parser_of(__doc__, threads=1, markdown=None).parse_args()
    torch.set_num_threads(options.threads)
    text = "".join(lines())
    write_optional(options.markdown, text)
    print(text, end="")


if __name__ == "__main__":
    main()
