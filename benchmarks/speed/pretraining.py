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
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--steps", type=int, default=60)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--set", action="append", default=[])
    given = options.parse_args()
    if given.steps < MIN_STEPS:
        options.error(
            f"--steps is at least {MIN_STEPS}: the speed is measured between rows of the log"
        )
    torch.set_num_threads(given.threads)
    changes = [f"optimization.steps={given.steps}", f"optimization.evaluate_every={given.steps}"]
    recipe, _ = read("dna", ["objectives={masked = 1.0}", *changes, *given.set])
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        corpus = corpus_writer.write(
            Path(folder) / "corpus",
            ((r.name, np.frombuffer(r.held.encode(), np.uint8)) for r in records(given.files)),
            piece_cutter(recipe, SequenceInput()),
            holdout=recipe.split.holdout,
            seed=0,
        )
        seconds = time.monotonic() - began
        print(f"reading {corpus.info.letters:,} letters took {seconds:.1f} s")
        runs: dict[str, list[Timing]] = {"genomai": [], "plain": []}
        for number in range(given.repeats):
            work = Path(folder) / str(number)
            work.mkdir()
            runs["genomai"].append(ours(corpus, recipe, number, work))
            runs["plain"].append(plain(corpus, recipe, number))
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


def ours(corpus: Corpus, recipe: Recipe, seed: int, work: Path) -> Timing:
    """A run of genomai, with its checkpoints."""
    rows: list[tuple[int, Clock]] = []
    around = RunContext(work=work, report=lambda metrics: rows.append((metrics.tokens, Clock())))
    run = Pretraining(corpus, recipe, SequenceInput(), seed, None, around)
    began = time.monotonic()
    run.run()
    seconds = time.monotonic() - began
    # Up to the row before the last, whose time would count the evaluation, which the plain loop has none of.
    (tokens, start), (tokens_then, end) = rows[0], rows[-2]
    return Timing(*end.rates(start, tokens_then - tokens), seconds, float(run.held_out_K[0]))


def plain(corpus: Corpus, recipe: Recipe, seed: int) -> Timing:
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
        ids_BT, chosen_BT = masked(
            genome, bounds, rng, settings.batch_size, length - k + 1, k, recipe
        )
        shown_BT = ids_BT.masked_fill(chosen_BT, tokenizer.mask_id)
        chosen_BT &= torch.from_numpy(tokenizer.is_dna(ids_BT.numpy()))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        loss = functional.cross_entropy(
            network.predict_masked(head, shown_BT, chosen_BT), ids_BT[chosen_BT]
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


def masked(
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
    room = np.maximum(windows[:, 1] - windows[:, 0] - tokens - k + 2, 1)
    starts = torch.from_numpy(windows[:, 0] + rng.integers(room))
    ids_BT = genome[(starts[:, None] + torch.arange(tokens)).clamp(max=len(genome) - 1)]
    span, share = recipe.settings["masked"].span, recipe.settings["masked"].share
    reach = span + k - 1  # a run of masked letters masks so many tokens
    begins = torch.rand(batch, tokens + reach - 1) < 1 - (1 - share) ** (1 / span)
    return ids_BT, functional.max_pool1d(begins.float()[:, None], reach, 1)[:, 0] > 0


if __name__ == "__main__":
    main()
