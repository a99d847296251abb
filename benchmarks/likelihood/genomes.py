"""Bits a base and variant scores of small pretrained models on a genome's held-out ends, beside Markov models.

    python -m benchmarks.likelihood.genomes --genome ../shared/data/genomes/yeast_sacCer3.fa.gz --minutes 20

The last tenth of every contig is held out. Each preset is pretrained from scratch on the rest for so many minutes, its
steps found by the processor's time that a few take. All rows score the same bases, the middle half of windows: exactly
from what comes before them, or, of masked models, from both sides: another question, with a smaller answer, to which
the Markov model's own answer stands beside theirs. Variants are a transition and, as its control, a transversion drawn
at random, at the same held-out sites: the share of sites at which the transition scores higher, 0.5 by chance, since a
control differs from it in nothing else.

Shape suffixes: W windows, L letters.
"""

import argparse
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.command_line import RUNS, parser_of, say, write_optional
from genomai_cli.alphabet import BASES, IS_BASE, as_letters, codes_of
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import Stopped
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.variant_alleles import AlleleRecord
from genomai_cli.inference.likelihood import MASKED, Likelihood, Settings, Stretch
from genomai_cli.inference.variant_effects import ReferenceLookup, Scorer, effects
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.training import corpus_writer
from genomai_cli.training.baselines import Markov
from genomai_cli.training.corpus import Corpus
from genomai_cli.training.pretraining import RunContext, piece_cutter, pretrain
from genomai_cli.training.recipe import Recipe, read

GENOMES = Path(__file__).resolve().parents[3] / "shared" / "data" / "genomes"
PRESETS = ("hyenadna-tiny", "evo2-tiny", "dnabert-6-tiny", "caduceus-ps-tiny")
WINDOW, FLANK = 504, 8
HELD_OUT_DIVISOR = 10  # one part of so many
TIMED_STEPS = 8
TRAINING_SHARE = 0.9  # of the time in steps, the rest in evaluations
MASK_EVERY = 21  # bases, of masked models: twelve of the bases that are scored at once
TRANSITION = dict(zip("ACGT", "GTAC", strict=True))
DRAWS = 2000
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """A genome in parts: letters to train on, windows (W, L) that are scored, and variants at held-out sites."""

    training: dict[str, str]
    windows: list[str]
    variants: list[AlleleRecord]
    reference: Path

    @property
    def scored(self) -> slice:
        """The letters of a window that all rows score."""
        return slice(WINDOW // 4, WINDOW - WINDOW // 4)


@dataclass(frozen=True, eq=False)
class Row:
    """A model's bits of every window's bases (W,), and whether the transition scores higher at every site; `both_sides`
    where a base is predicted from both sides."""

    name: str
    bits: Numbers
    transition_higher: Numbers
    training_summary: str = ""
    both_sides: bool = False


def task_of(genome: Path, windows: int, variants: int, seed: int, folder: Path) -> Task:
    """The parts of a genome: the last tenth of every contig is held out."""
    training, held_out = {}, []
    for name, text in sequences_of(genome):
        cut = len(text) - len(text) // HELD_OUT_DIVISOR
        training[name] = text[:cut]
        held_out.append((f"{name}_end", text[cut + WINDOW :]))
    return task_between(training, held_out, windows, variants, seed, folder)


def sequences_of(genome: Path) -> Iterator[tuple[str, str]]:
    """Names and letters of a FASTA's sequences."""
    with open_input(genome) as source:
        for record in read_sequences(source):
            yield record.name, record.held


def task_between(
    training: dict[str, str],
    held_out: Sequence[tuple[str, str]],
    windows: int,
    variants: int,
    seed: int,
    folder: Path,
) -> Task:
    """Sequences to train on, and windows and sites spread evenly over what is held out."""
    folder.mkdir(parents=True, exist_ok=True)
    reference = folder / "held-out.fa"
    reference.write_text("".join(f">{name}\n{text}\n" for name, text in held_out))
    offsets = [
        (n, start) for n, text in held_out for start in range(0, len(text) - WINDOW + 1, WINDOW)
    ]
    texts = dict(held_out)
    known_windows = [
        p for p in offsets if IS_BASE[as_letters(texts[p[0]][p[1] : p[1] + WINDOW])].all()
    ]
    selected = [known_windows[i] for i in _spread(len(known_windows), windows)]
    rng = np.random.default_rng(seed)
    middle = range(WINDOW // 4, WINDOW * 3 // 4, WINDOW // 8)
    offsets = [(n, start + shift) for n, start in known_windows for shift in middle]
    sites = [offsets[i] for i in _spread(len(offsets), variants)]
    return Task(
        training,
        [texts[name][start : start + WINDOW] for name, start in selected],
        [_variant(name, start, texts[name], rng) for name, start in sites],
        reference,
    )


def _spread(count: int, size: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, size))})


def _variant(name: str, index: int, text: str, rng: np.random.Generator) -> AlleleRecord:
    """The transition at a position, and a transversion."""
    ref, transition = text[index], TRANSITION[text[index]]
    control = rng.choice([base for base in BASES if base not in (ref, transition)])
    return AlleleRecord(name, index + 1, ref, (transition, str(control)), "held-out", None)


def markov_rows(task: Task, order: int, name: str) -> list[Row]:
    """A Markov model of the training letters, each context mixed with the shorter ones: every base from the preceding
    ones, and from those on both sides. The scores of variants are the same for both."""
    parts = (codes_of(as_letters(text)).astype(np.int64) for text in task.training.values())
    model = Markov.of(parts, order)
    codes_WL = np.stack([codes_of(as_letters(text)) for text in task.windows]).astype(np.int64)
    before_WL, both_WL = model.nats(codes_WL), two_sided_nats(model, codes_WL)
    higher = _markov_variants(task, model, order)
    return [
        Row(
            title, nats_WL[:, task.scored].mean(axis=1) / math.log(2), higher, both_sides=both_sides
        )
        for title, nats_WL, both_sides in (
            (name, before_WL, False),
            (f"{name}, both sides", both_WL, True),
        )
    ]


def baseline_rows(task: Task) -> list[Row]:
    """The rows of the Markov models, of order 5 first."""
    return [
        *markov_rows(task, 5, "Markov model of order 5"),
        *markov_rows(task, 10, "Markov models up to order 10, mixed"),
    ]


def two_sided_nats(model: Markov, codes_WL: NDArray[np.int64]) -> Numbers:
    """-log of the probability of every letter (W, L) when all others of its row are known: Bayes' rule over the letter
    and the next `order` ones, which are all whose probabilities depend on it."""
    order = len(model.tables) - 1
    logs_AWL = np.zeros((len(BASES), *codes_WL.shape))
    for first in range(
        order + 1
    ):  # letters so far apart that no probability depends on two of them
        for base in range(len(BASES)):
            changed_WL = codes_WL.copy()
            changed_WL[:, first :: order + 1] = base
            nats_WL = np.pad(model.nats(changed_WL), ((0, 0), (0, order)))
            ahead_WL = sum(nats_WL[:, j : j + codes_WL.shape[1]] for j in range(order + 1))
            logs_AWL[base, :, first :: order + 1] = -ahead_WL[:, first :: order + 1]
    logs_AWL -= np.logaddexp.reduce(logs_AWL, axis=0)
    return -np.take_along_axis(logs_AWL, codes_WL[None], axis=0)[0]


def _markov_variants(task: Task, model: Markov, order: int) -> Numbers:
    """Whether the transition is the likelier of the two, at every site."""
    higher = []
    with open_reference(task.reference) as reference:
        for record in task.variants:
            start = max(0, record.position - 1 - order)
            before = reference.fetch(record.contig, start, record.position - 1)
            after = reference.fetch(record.contig, record.position, record.position + order)
            sequences = [as_letters(before + alt + after) for alt in record.alts]
            nats = [model.nats(codes_of(text)[None].astype(np.int64)).sum() for text in sequences]
            higher.append(_higher(-nats[0], -nats[1]))
    return np.array(higher)


def model_row(task: Task, bundle: bundles.Bundle, name: str, training_summary: str) -> Row:
    """A pretrained model."""
    likelihood = Likelihood(bundle, Settings(WINDOW))
    if likelihood.method == MASKED:
        likelihood = Likelihood(bundle, Settings(WINDOW, mask_every=MASK_EVERY))
    stretches = (Stretch(text, task.scored.start, task.scored.stop) for text in task.windows)
    bits = [
        -np.nanmean(logs_SL[0, task.scored]) / math.log(2)
        for logs_SL in likelihood.letters(stretches)
    ]
    # Of masked models the letter alone, as Meier et al. 2021 do: its neighbours would each be a reading more.
    flank = 0 if likelihood.method == MASKED else FLANK
    scorer = Scorer(Likelihood(bundle, Settings(WINDOW)), None, window=WINDOW, flank=flank)
    with open_reference(task.reference) as reference:
        deltas = [
            e.comparison.delta
            for e in effects(task.variants, ReferenceLookup(reference), scorer)
            if e.comparison
        ]
    higher = [_higher(*pair) for pair in zip(deltas[::2], deltas[1::2], strict=True)]
    both_sides = likelihood.method == MASKED
    return Row(
        f"{name} ({likelihood.method})",
        np.array(bits),
        np.array(higher),
        training_summary,
        both_sides,
    )


def _higher(transition: float, control: float) -> float:
    return float(transition > control) + (transition == control) / 2


def train_preset(
    task: Task, preset: str, minutes: float, seed: int, folder: Path, changes: Sequence[str]
) -> Row:
    """A preset pretrained from scratch, and what became of it."""
    defaults = ["split.holdout=0.02", "corpus.judged=64", "optimization.patience=1000"]
    recipe, _ = read(preset, [*defaults, *changes])
    corpus = _corpus(task, recipe, seed, folder / preset)
    seconds_a_step = _seconds_a_step(corpus, recipe, seed)
    steps = max(TIMED_STEPS, int(TRAINING_SHARE * minutes * 60 / seconds_a_step))
    say(
        f"{preset}: {seconds_a_step:.2f} s a step on {torch.get_num_threads()} cores, {steps} steps"
    )
    pretrained = pretrain(corpus, _of_steps(recipe, steps), SequenceInput(), seed=seed)
    bundles.save(pretrained.bundle, _model_folder(folder, preset), Extras(f"# {preset}\n", ""))
    return evaluate_model(task, pretrained.bundle, preset)


def evaluate_model(task: Task, bundle: bundles.Bundle, preset: str) -> Row:
    """A pretrained model with what it took."""
    facts = bundle.config["provenance"]
    training_summary = f"{facts['steps']} steps, {facts['tokens']:,} tokens, {facts['seconds']} s"
    return model_row(task, bundle, preset, training_summary)


def _model_folder(folder: Path, preset: str) -> Path:
    return folder / "models" / preset


def _seconds_a_step(corpus: Corpus, recipe: Recipe, seed: int) -> float:
    """How long a step keeps every core busy, from a few that lead nowhere."""
    timestamps: list[float] = []

    def stop() -> bool:
        timestamps.append(time.process_time() / torch.get_num_threads())
        return len(timestamps) > TIMED_STEPS

    with suppress(Stopped):
        context = RunContext(stop=stop)
        pretrain(corpus, _of_steps(recipe, 1000), SequenceInput(), seed=seed, context=context)
    return (timestamps[-1] - timestamps[0]) / TIMED_STEPS


def _of_steps(recipe: Recipe, steps: int) -> Recipe:
    every = max(1, steps // 10)
    return replace(
        recipe, optimization=replace(recipe.optimization, steps=steps, evaluate_every=every)
    )


def _corpus(task: Task, recipe: Recipe, seed: int, folder: Path) -> Corpus:
    shutil.rmtree(folder, ignore_errors=True)
    rows = ((name, as_letters(text)) for name, text in task.training.items())
    cut = piece_cutter(recipe, SequenceInput())
    return corpus_writer.write(folder, rows, cut, holdout=recipe.split.holdout, seed=seed)


def table(rows: Sequence[Row], seed: int) -> Iterator[str]:
    """The rows as Markdown, with 95 % intervals of a bootstrap over windows and over sites, paired where they are of a
    difference from Markov 5, of masked models from Markov 5 on both sides."""
    names = (
        "model",
        "bits a base",
        "fewer than Markov 5",
        "transition above control",
        "more than Markov 5",
        "trained",
    )
    yield f"| {' | '.join(names)} |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        baseline = next(r for r in rows if r.both_sides == row.both_sides)
        gain = "" if row is baseline else _mean_with_interval(baseline.bits - row.bits, seed)
        score_gain = (
            ""
            if row is baseline
            else _mean_with_interval(row.transition_higher - baseline.transition_higher, seed)
        )
        cells = (
            row.name,
            _mean_with_interval(row.bits, seed),
            gain,
            _mean_with_interval(row.transition_higher, seed),
            score_gain,
            row.training_summary,
        )
        yield f"| {' | '.join(cells)} |"


def _mean_with_interval(values: Numbers, seed: int) -> str:
    """A mean and its interval."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return f"{values.mean():.4f} ({low:.4f} to {high:.4f})"


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """The options of how much is scored."""
    parser.add_argument(
        "--windows", type=int, default=400, help=f"of {WINDOW} letters that are scored"
    )
    parser.add_argument(
        "--variants", type=int, default=2000, help="sites of a transition and its control"
    )


def main() -> None:
    """Print the table."""
    parser = parser_of(
        __doc__,
        seed=0,
        threads=2,
        methods=list(PRESETS),
        set=[],
        runs=RUNS / "likelihood",
        markdown=None,
    )
    parser.add_argument(
        "--genome", type=Path, default=GENOMES / "yeast_sacCer3.fa.gz", metavar="FASTA"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="of training each preset")
    add_sizes(parser)
    parser.add_argument(
        "--kept", action="store_true", help="train nothing: judge the models of an earlier run"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = task_of(options.genome, options.windows, options.variants, options.seed, options.runs)
    rows = baseline_rows(task)
    for preset in options.methods:
        if options.kept:
            bundle = bundles.load(str(_model_folder(options.runs, preset)), torch.device("cpu"))
            row = evaluate_model(task, bundle, preset)
        else:
            row = train_preset(
                task, preset, options.minutes, options.seed, options.runs, options.set
            )
        rows.append(row)
        say("\n".join(table(rows, options.seed)))
    text = "\n".join(table(rows, options.seed)) + "\n"
    write_optional(options.markdown, text)
    print(text, end="")


if __name__ == "__main__":
    main()
