"""What `genomai pretrain` costs beside a plain PyTorch loop: the same network, data, batch and schedule.

    python -m benchmarks.speed.pretraining ../shared/data/genomes/*.fa.gz --steps 60 --repeats 3

Both mask runs of letters and predict the tokens over them. The plain loop does only what every loop must: it cuts
windows out of the genomes in memory, masks tokens, and takes AdamW steps; it keeps no average of the weights, validates
nothing while it runs, and writes neither log nor checkpoint. Runs alternate, since machines are noisy; the medians are
compared, also by the processor's time, which other programs on the machine disturb less.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_inputs
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.tokenizers import from_config
from genomai_cli.training import corpus_writer
from genomai_cli.training.corpus import Corpus
from genomai_cli.training.pretraining import Pretraining, RunContext, piece_cutter
from genomai_cli.training.recipe import Recipe, read
from genomai_cli.training.trainer import learning_rate

SKIPPED = 10  # steps until everything has been allocated and is warm
MIN_STEPS = 25


@dataclass
class Timing:
    """A run: tokens a second of the clock and of the processor, after the first steps; seconds in all; the held-out
    loss at its end."""

    tokens_per_second: float
    tokens_per_processor_second: float
    seconds: float
    held_out: float


class Clock:
    """A moment by the clock and by the processor's time of this process."""

    def __init__(self) -> None:
        self.wall, self.processor = time.monotonic(), time.process_time()

    def rates(self, before: "Clock", tokens: int) -> tuple[float, float]:
        """Tokens a second since another moment, by both."""
        return tokens / (self.wall - before.wall), tokens / (self.processor - before.processor)


def main() -> None:
    """Run both loops in turn and print how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    if options.steps < MIN_STEPS:
        parser.error(
            f"--steps is at least {MIN_STEPS}: the speed is measured between rows of the log"
        )
    torch.set_num_threads(options.threads)
    changes = [
        f"optimization.steps={options.steps}",
        f"optimization.evaluate_every={options.steps}",
    ]
    recipe, _ = read("dna", ["objectives={masked = 1.0}", *changes, *options.set])
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        corpus = corpus_writer.write(
            Path(folder) / "corpus",
            ((r.name, np.frombuffer(r.held.encode(), np.uint8)) for r in records(options.files)),
            piece_cutter(recipe, SequenceInput()),
            holdout=recipe.split.holdout,
            seed=0,
        )
        seconds = time.monotonic() - began
        print(f"reading {corpus.info.letters:,} letters took {seconds:.1f} s")
        runs: dict[str, list[Timing]] = {"genomai": [], "plain": []}
        for number in range(options.repeats):
            work = Path(folder) / str(number)
            work.mkdir()
            runs["genomai"].append(run_genomai(corpus, recipe, number, work))
            runs["plain"].append(run_plain(corpus, recipe, number))
    print("loop\ttokens/s (median)\tleast\tmost\tseconds\theld-out loss")
    for name, timings in runs.items():
        print(row(name, timings))
    for unit in ("tokens_per_second", "tokens_per_processor_second"):
        ratio = statistics.median(
            getattr(p, unit) / getattr(o, unit)
            for o, p in zip(runs["genomai"], runs["plain"], strict=True)
        )
        print(f"overhead of genomai by {unit}: {100 * (ratio - 1):+.1f} % (median of the pairs)")


def records(files):
    """The records of all files."""
    for source in open_inputs(files):
        with source:
            yield from read_sequences(source)


def row(name: str, timings: list[Timing]) -> str:
    """A line of the table."""
    rates = [timing.tokens_per_second for timing in timings]
    seconds = statistics.median(timing.seconds for timing in timings)
    held_out = statistics.median(timing.held_out for timing in timings)
    middle = statistics.median(rates)
    return f"{name}\t{middle:,.0f}\t{min(rates):,.0f}\t{max(rates):,.0f}\t{seconds:.1f}\t{held_out:.4f}"


def run_genomai(corpus: Corpus, recipe: Recipe, seed: int, work: Path) -> Timing:
    """A run of genomai, with its checkpoints."""
    rows: list[tuple[int, Clock]] = []
    context = RunContext(work=work, report=lambda metrics: rows.append((metrics.tokens, Clock())))
    run = Pretraining(corpus, recipe, SequenceInput(), seed, None, context)
    began = time.monotonic()
    run.run()
    seconds = time.monotonic() - began
    # Up to the row before the last, whose time would count the evaluation, which the plain loop has none of.
    (tokens, start), (tokens_then, end) = rows[0], rows[-2]
    return Timing(*end.rates(start, tokens_then - tokens), seconds, float(run.held_out_K[0]))


def run_plain(corpus: Corpus, recipe: Recipe, seed: int) -> Timing:
    """The loop that one would write by hand."""
    reference = Pretraining(corpus, recipe, SequenceInput(), seed, None, RunContext())
    network, settings = reference.bundle.classifier.networks[0], recipe.optimization
    head = reference.learner.auxiliary["masked"]
    tokenizer = from_config(recipe.tokenizer)
    k, length = tokenizer.k, reference.sampler.plan.window
    genome = torch.from_numpy(tokenizer.encode(bytes(corpus.letters).decode()).astype(np.int64))
    bounds = corpus.bounds[corpus.train]
    rng = np.random.default_rng(seed)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=settings.weight_decay)
    tokens, start, began = 0, Clock(), time.monotonic()
    for step in range(settings.steps):
        if step == SKIPPED:
            tokens, start = 0, Clock()
        ids_BT, target_BT = draw_masked_batch(
            genome, bounds, rng, settings.batch_size, length - k + 1, k, recipe
        )
        masked_BT = ids_BT.masked_fill(target_BT, tokenizer.mask_id)
        target_BT &= torch.from_numpy(tokenizer.is_dna(ids_BT.numpy()))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        loss = functional.cross_entropy(
            network.predict_masked(head, masked_BT, target_BT), ids_BT[target_BT]
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        loss.item()
        tokens += ids_BT.numel()
    end = Clock()
    reference.validation = reference.sampler.validation_batches()
    held_out = reference._validation_loss(reference.learner.eval())
    return Timing(*end.rates(start, tokens), end.wall - began, held_out)


def draw_masked_batch(
    genome: Tensor,
    bounds: np.ndarray,
    rng: np.random.Generator,
    batch: int,
    tokens: int,
    k: int,
    recipe: Recipe,
) -> tuple[Tensor, Tensor]:
    """Windows of tokens, and which tokens lie over runs of masked letters."""
    windows = bounds[rng.integers(len(bounds), size=batch)]
    start_count = np.maximum(windows[:, 1] - windows[:, 0] - tokens - k + 2, 1)
    starts = torch.from_numpy(windows[:, 0] + rng.integers(start_count))
    ids_BT = genome[(starts[:, None] + torch.arange(tokens)).clamp(max=len(genome) - 1)]
    span, share = recipe.settings["masked"].span, recipe.settings["masked"].share
    span_tokens = span + k - 1  # a run of masked letters masks so many tokens
    begins = torch.rand(batch, tokens + span_tokens - 1) < 1 - (1 - share) ** (1 / span)
    return ids_BT, functional.max_pool1d(begins.float()[:, None], span_tokens, 1)[:, 0] > 0


if __name__ == "__main__":
    main()
