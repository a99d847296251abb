"""`benchmarks.likelihood` on a made-up genome: its parts, its rows by hand, and the programs as a whole."""

import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

from benchmarks.likelihood import genomes
from genomai_cli.training.baselines import Markov

pytestmark = pytest.mark.usefixtures("one_thread")
LENGTH = 30_000


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Two contigs in which a base is followed by its transition in seven of ten cases."""
    rng = np.random.default_rng(4)
    file = tmp_path_factory.mktemp("genome") / "g.fa"
    with file.open("w") as out:
        for name in ("one", "two"):
            letters = ["A"]
            for uniform in rng.random(LENGTH - 1):
                likely_next = genomes.TRANSITION[letters[-1]]
                letters.append(
                    likely_next
                    if uniform < 0.7
                    else rng.choice([b for b in "ACGT" if b != likely_next])
                )
            out.write(f">{name}\n{''.join(letters)}\n")
    return file


@pytest.fixture(scope="module")
def task(genome, tmp_path_factory):
    return genomes.task_of(genome, 6, 5, 0, tmp_path_factory.mktemp("task"))


def test_nothing_that_is_scored_was_trained_on(task, genome):
    texts = "".join(genome.read_text().split("\n")[1::2])
    assert {len(text) for text in task.training.values()} == {LENGTH * 9 // 10}
    assert len(task.windows) == 6
    for window in task.windows:
        assert len(window) == genomes.WINDOW
        assert window in texts
        assert not any(window in text for text in task.training.values())


def test_variants_are_a_transition_and_a_transversion(task):
    assert len(task.variants) == 5
    for record in task.variants:
        transition, control = record.alts
        assert {record.ref, transition} in ({"A", "G"}, {"C", "T"})
        assert control not in (record.ref, transition)


def test_the_markov_row_knows_the_rule(task):
    row, two_sided = genomes.markov_rows(task, 2, "markov")
    entropy = -0.7 * math.log2(0.7) - 0.3 * math.log2(0.1)
    assert row.bits.mean() == pytest.approx(entropy, abs=0.1)
    assert two_sided.bits.mean() < row.bits.mean()  # what comes after tells more
    assert len(row.transition_higher) == 5


def test_a_letter_from_both_sides_is_bayes_rule_over_the_whole_row():
    rng = np.random.default_rng(0)
    model = Markov.of([rng.integers(0, 4, 400)], 2)
    codes_WL = rng.integers(0, 4, (2, 9))
    nats_WL = genomes.two_sided_nats(model, codes_WL)
    for position in range(9):
        rows = np.repeat(codes_WL[:1], 4, axis=0)
        rows[:, position] = np.arange(4)
        likelihoods = np.exp(-model.nats(rows).sum(axis=1))
        expected = -math.log(likelihoods[codes_WL[0, position]] / likelihoods.sum())
        assert nats_WL[0, position] == pytest.approx(expected)


def test_the_table_has_paired_gains():
    bits, higher = np.array([1.9, 1.8, 2.0]), np.array([1.0, 0.0, 0.5])
    rows = [genomes.Row("a", bits, higher), genomes.Row("b", bits - 0.1, higher, "9 steps")]
    *_, first, second = genomes.table(rows, 0)
    assert "| 1.9000 (" in first
    assert "| 0.1000 (0.1000 to 0.1000) |" in second
    assert "| 0.0000 (0.0000 to 0.0000) | 9 steps |" in second


def test_the_program_prints_a_row_for_each_model(genome, tmp_path):
    settings = [
        "network.width=8",
        "network.layers=1",
        "network.feed_forward=8",
        "optimization.batch_size=2",
    ]
    arguments = [
        "--genome",
        genome,
        "--windows",
        3,
        "--variants",
        3,
        "--minutes",
        0,
        "--threads",
        1,
    ]
    arguments += [
        "--methods",
        "hyenadna-tiny",
        "--runs",
        tmp_path,
        *(argument for setting in settings for argument in ("--set", setting)),
    ]
    printed = run_program("genomes", arguments)
    assert "| hyenadna-tiny (next-token) |" in printed
    assert "8 steps" in printed
    model = tmp_path / "models" / "hyenadna-tiny"
    other = tmp_path / "other.fa"
    other.write_text(f">other\n{'ACGT' * 2000}\n")
    arguments = ["--models", model, "--training", genome, "--genomes", genome, other]
    arguments += ["--windows", 3, "--variants", 3, "--threads", 1, "--runs", tmp_path]
    printed = run_program("encoder", arguments)
    assert printed.count("| hyenadna-tiny (next-token) |") == 2
    assert "`g.fa`, 3 windows" in printed
    assert "`other.fa`, 3 windows" in printed


def run_program(name, arguments):
    command = [sys.executable, "-m", f"benchmarks.likelihood.{name}", *map(str, arguments)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout
