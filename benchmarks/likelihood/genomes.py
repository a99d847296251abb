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
HELD_OUT = 10  # one part of so many
TIMED_STEPS = 8
SPENT = 0.9  # of the time in steps, the rest in evaluations
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
    """A model's bits of every window's bases (W,), and whether the transition scores higher at every site; `both`
    where a base is told from both sides."""

    name: str
    bits: Numbers
    higher: Numbers
    made: str = ""
    both: bool = False


def task_of(genome: Path, windows: int, variants: int, seed: int, folder: Path) -> Task:
    """The parts of a genome, windows and sites spread evenly over what is held out."""
    training, held_out = {}, []
    with open_input(genome) as source:
        for record in read_sequences(source):
            cut = len(record.held) - len(record.held) // HELD_OUT
            training[record.name] = record.held[:cut]
            held_out.append((f"{record.name}_end", record.held[cut + WINDOW :]))
    folder.mkdir(parents=True, exist_ok=True)
    reference = folder / "held-out.fa"
    reference.write_text("".join(f">{name}\n{text}\n" for name, text in held_out))
    places = [(n, at) for n, text in held_out for at in range(0, len(text) - WINDOW + 1, WINDOW)]
    texts = dict(held_out)
    known = [p for p in places if IS_BASE[as_letters(texts[p[0]][p[1] : p[1] + WINDOW])].all()]
    chosen = [known[i] for i in _spread(len(known), windows)]
    rng = np.random.default_rng(seed)
    middle = range(WINDOW // 4, WINDOW * 3 // 4, WINDOW // 8)
    places = [(n, at + more) for n, at in known for more in middle]
    sites = [places[i] for i in _spread(len(places), variants)]
    return Task(
        training,
        [texts[name][at : at + WINDOW] for name, at in chosen],
        [_variant(name, at, texts[name], rng) for name, at in sites],
        reference,
    )


def _spread(count: int, wanted: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, wanted))})


def _variant(name: str, at: int, text: str, rng: np.random.Generator) -> AlleleRecord:
    """The transition at a place, and a transversion."""
    ref, transition = text[at], TRANSITION[text[at]]
    control = rng.choice([base for base in BASES if base not in (ref, transition)])
    return AlleleRecord(name, at + 1, ref, (transition, str(control)), "held-out", None)


def markov_rows(task: Task, order: int, name: str) -> list[Row]:
    """A Markov model of the letters to train on, each context mixed with the shorter ones: every base from those before
    it, and from those on both sides. The variants' scores are the same for both."""
    parts = (codes_of(as_letters(text)).astype(np.int64) for text in task.training.values())
    model = Markov.of(parts, order)
    codes_WL = np.stack([codes_of(as_letters(text)) for text in task.windows]).astype(np.int64)
    before_WL, both_WL = model.nats(codes_WL), two_sided_nats(model, codes_WL)
    higher = _markov_variants(task, model, order)
    return [
        Row(told, nats_WL[:, task.scored].mean(axis=1) / math.log(2), higher, both=both)
        for told, nats_WL, both in (
            (name, before_WL, False),
            (f"{name}, both sides", both_WL, True),
        )
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
            both = [as_letters(before + alt + after) for alt in record.alts]
            nats = [model.nats(codes_of(text)[None].astype(np.int64)).sum() for text in both]
            higher.append(_higher(-nats[0], -nats[1]))
    return np.array(higher)


def model_row(task: Task, bundle: bundles.Bundle, name: str, made: str) -> Row:
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
        found = [
            e.comparison.delta
            for e in effects(task.variants, ReferenceLookup(reference), scorer)
            if e.comparison
        ]
    higher = [_higher(*pair) for pair in zip(found[::2], found[1::2], strict=True)]
    both = likelihood.method == MASKED
    return Row(f"{name} ({likelihood.method})", np.array(bits), np.array(higher), made, both)


def _higher(transition: float, control: float) -> float:
    return float(transition > control) + (transition == control) / 2


def trained(
    task: Task, preset: str, minutes: float, seed: int, folder: Path, changes: Sequence[str]
) -> Row:
    """A preset pretrained from scratch, and what became of it."""
    usual = ["split.holdout=0.02", "corpus.judged=64", "optimization.patience=1000"]
    recipe, _ = read(preset, [*usual, *changes])
    corpus = _corpus(task, recipe, seed, folder / preset)
    each = _seconds_a_step(corpus, recipe, seed)
    steps = max(TIMED_STEPS, int(SPENT * minutes * 60 / each))
    say(f"{preset}: {each:.2f} s a step on {torch.get_num_threads()} cores, {steps} steps")
    made = pretrain(corpus, _of_steps(recipe, steps), SequenceInput(), seed=seed)
    bundles.save(made.bundle, _kept(folder, preset), Extras(f"# {preset}\n", ""))
    return judged(task, made.bundle, preset)


def judged(task: Task, bundle: bundles.Bundle, preset: str) -> Row:
    """A pretrained model with what it took."""
    facts = bundle.config["provenance"]
    about = f"{facts['steps']} steps, {facts['tokens']:,} tokens, {facts['seconds']} s"
    return model_row(task, bundle, preset, about)


def _kept(folder: Path, preset: str) -> Path:
    return folder / "models" / preset


def _seconds_a_step(corpus: Corpus, recipe: Recipe, seed: int) -> float:
    """How long a step keeps every core busy, from a few that lead nowhere."""
    moments: list[float] = []

    def stop() -> bool:
        moments.append(time.process_time() / torch.get_num_threads())
        return len(moments) > TIMED_STEPS

    with suppress(Stopped):
        around = RunContext(stop=stop)
        pretrain(corpus, _of_steps(recipe, 1000), SequenceInput(), seed=seed, context=around)
    return (moments[-1] - moments[0]) / TIMED_STEPS


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
        first = next(r for r in rows if r.both == row.both)
        gain = "" if row is first else _told(first.bits - row.bits, seed)
        more = "" if row is first else _told(row.higher - first.higher, seed)
        cells = (row.name, _told(row.bits, seed), gain, _told(row.higher, seed), more, row.made)
        yield f"| {' | '.join(cells)} |"


def _told(values: Numbers, seed: int) -> str:
    """A mean and its interval."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return f"{values.mean():.4f} ({low:.4f} to {high:.4f})"


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
    parser.add_argument(
        "--windows", type=int, default=400, help=f"of {WINDOW} letters that are scored"
    )
    parser.add_argument(
        "--variants", type=int, default=2000, help="sites of a transition and its control"
    )
    parser.add_argument(
        "--kept", action="store_true", help="train nothing: judge the models of an earlier run"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = task_of(options.genome, options.windows, options.variants, options.seed, options.runs)
    rows = [
        *markov_rows(task, 5, "Markov model of order 5"),
        *markov_rows(task, 10, "Markov models up to order 10, mixed"),
    ]
    for preset in options.methods:
        if options.kept:
            bundle = bundles.load(str(_kept(options.runs, preset)), torch.device("cpu"))
            row = judged(task, bundle, preset)
        else:
            row = trained(task, preset, options.minutes, options.seed, options.runs, options.set)
        rows.append(row)
        say("\n".join(table(rows, options.seed)))
    text = "\n".join(table(rows, options.seed)) + "\n"
    write_optional(options.markdown, text)
    print(text, end="")


if __name__ == "__main__":
    main()
