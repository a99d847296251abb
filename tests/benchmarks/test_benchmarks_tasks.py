"""`benchmarks.tasks.classification` on made-up tasks: parts, features by hand, stored runs, paired metrics, tables."""

import dataclasses
import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from benchmarks.tasks import (
    classification,
    figures,
    methods,
    networks,
    pretraining_gain,
    regressions,
)
from benchmarks.tasks.classification import Runs
from benchmarks.tasks.figures import FinishedRun, Row
from benchmarks.tasks.methods import Budget
from benchmarks.tasks.networks import MethodResult
from benchmarks.tasks.splits import Task, task_folders
from genomai_cli.errors import InputError
from genomai_cli.training.labelled_data import remaining_rows

pytestmark = pytest.mark.usefixtures("one_thread")
MOTIF = "TGACTCATTAGC"
LENGTH = 40
NO_FOLDER = Path("nowhere")


def write_part(folder, part, count, rng):
    """Sequences of which every second one has a motif, or its reverse complement, somewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    reverse_complement = MOTIF[::-1].translate(str.maketrans("ACGT", "TGCA"))
    fasta, labels = "", "sample\tlabel\n"
    for number in range(count):
        text = "".join(rng.choice(list("ACGT"), LENGTH))
        if number % 2:
            start = rng.integers(LENGTH - len(MOTIF))
            text = (
                text[:start]
                + (MOTIF if number % 4 == 1 else reverse_complement)
                + text[start + len(MOTIF) :]
            )
        fasta += f">{part}_{number}\n{text}\n"
        labels += f"{part}_{number}\t{number % 2}\n"
    (folder / f"{part}.fa.gz").write_bytes(gzip.compress(fasta.encode()))
    (folder / f"{part}.labels.tsv.gz").write_bytes(gzip.compress(labels.encode()))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("tasks"), np.random.default_rng(3)
    write_part(folder / "tf", "train", 160, rng)
    write_part(folder / "tf", "dev", 60, rng)
    write_part(folder / "alone", "train", 100, rng)
    return folder


@pytest.fixture(scope="module")
def task(data):
    return Task.read(data / "tf")


def test_a_task_without_a_development_part_gives_a_fifth_of_its_own(data):
    task = Task.read(data / "alone")
    assert len(task.train) + len(task.dev) == 100
    assert len(task.dev) == pytest.approx(20, abs=2)
    assert not set(task.train.sequences) & set(task.dev.sequences)
    assert not set(task.train.individuals) & set(task.dev.individuals)
    assert Task.read(data / "alone").dev.names == task.dev.names


def test_parts_held_out_divide_the_training_part(task):
    parts = task.held_out()
    assert sorted(np.concatenate(parts)) == list(range(len(task.train)))
    assert all(len(remaining_rows(task.train, part)) + len(part) == 160 for part in parts)


def test_an_unknown_task_is_refused(data):
    with pytest.raises(InputError, match=r"no task mouse9 \(there are: alone, tf"):
        task_folders(data, ["mouse9"])


def test_kmers_are_counted_as_by_hand():
    sequences = ["ACGTN", "TTTT", "A"]
    monomers = regressions.kmer_counts(sequences, 1, both_strands=False).toarray()
    np.testing.assert_array_equal(monomers, [[1, 1, 1, 1], [0, 0, 0, 4], [1, 0, 0, 0]])
    dimers = regressions.kmer_counts(sequences, 2, both_strands=False).toarray()
    kmers = ["".join(letters) for letters in itertools.product("ACGT", repeat=2)]
    assert {kmer: int(count) for kmer, count in zip(kmers, dimers[0], strict=True) if count} == {
        "AC": 1,
        "CG": 1,
        "GT": 1,
    }
    both_strands = regressions.kmer_counts(["ACAAT", "ATTGT"], 2, both_strands=True).toarray()
    assert both_strands.shape[1] == 10
    np.testing.assert_array_equal(both_strands[0], both_strands[1])


def test_the_regression_finds_the_motif_on_both_strands(task):
    found = methods.methods_with([])[methods.BOTH_STRANDS].run(task, 0, Budget(NO_FOLDER))
    assert (
        found.parameters == 2773
    )  # the 6-mers that are their own complement count once: 2080 of 4096
    assert (found.probabilities.argmax(1) == task.labels).mean() > 0.8
    assert 0 < found.held_out < np.log(2)


def test_positions_are_indicators_of_letters():
    train, validation = regressions.position_features(["AC", "GN"], ["T", "CAG"])
    np.testing.assert_array_equal(train, [[1, 0, 0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(validation, [[0, 0, 0, 1, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0, 0, 0]])


def test_steps_follow_from_the_budget_up_to_some_epochs():
    assert networks.steps_within(1.0, 0.54, 10_000, 10) == 100
    assert networks.steps_within(1e6, 0.01, 100, 10) == networks.MAX_EPOCHS * 10
    assert networks.steps_within(0.0, 1.0, 100, 10) == networks.TIMED_STEPS
    assert networks.evaluations_of(810, 10, 500) == 5
    assert [networks.evaluations_of(n, 10, 100) for n in (1, 10_000)] == [3, 15]


def test_the_cnn_reads_both_strands_the_same(task):
    network = networks.Cnn(2, both_strands=True).eval()
    codes_NL = networks.codes_of_samples(task.dev, LENGTH)
    other_NL = 3 - codes_NL.flip(1)
    np.testing.assert_allclose(network(codes_NL).detach(), network(other_NL).detach(), atol=1e-5)


def test_the_cnn_learns_within_its_budget(task):
    found = networks.cnn(task, 0, 0.0)
    assert found.note == f"8 steps, {8 * 64 / 128:.1f} epochs"
    assert found.probabilities.shape == (60, 2)
    np.testing.assert_allclose(found.probabilities.sum(1), 1)


def finished_run(probabilities, held_out=1.0):
    return FinishedRun(MethodResult(np.asarray(probabilities), 7, held_out, "so"), 2.0, 3.0)


def test_finished_runs_are_not_repeated(task, tmp_path):
    calls = []

    def run(task, seed, budget):
        calls.append((seed, budget.minutes))
        return MethodResult(np.full((60, 2), 0.5), 1)

    method = dataclasses.replace(methods.methods_with([])["cnn"], run=run)
    for minutes, seed in ((1.0, 0), (1.0, 0), (1.0, 1), (2.0, 0)):
        Runs(tmp_path, Budget(tmp_path, minutes)).run(task, method, seed)
    assert calls == [(0, 1.0), (1, 1.0), (0, 2.0)]  # another budget is another run
    runs = figures.finished_runs(tmp_path, task, ["cnn", "auto"])
    assert sorted(runs) == [("cnn", 0), ("cnn", 1)]
    other_split = dataclasses.replace(task, dev=task.train)
    assert not figures.finished_runs(tmp_path, other_split, ["cnn"])


def test_metrics_are_paired_with_the_regression_chosen_by_held_out_loss(task):
    truth = np.eye(2)[task.labels]
    wrong = truth.copy()
    wrong[:15] = 1 - wrong[:15]
    runs = {
        ("kmers-both", 0): finished_run(wrong, held_out=0.3),
        ("kmers-given", 0): finished_run(1 - truth, held_out=0.4),
        ("cnn", 0): finished_run(truth),
        ("cnn", 1): finished_run(wrong),
    }
    rows = {row.key[1:]: row for row in figures.rows_of(task, runs)}
    expected = matthews_corrcoef(task.labels, wrong.argmax(1))
    assert rows["kmers-both", 0].mcc == pytest.approx(expected)
    assert rows["cnn", 0].over_kmers == pytest.approx(1 - expected)
    assert rows["cnn", 0].over_kmers_low > 0
    tied = rows["cnn", 1]
    assert (tied.over_kmers, tied.over_kmers_low, tied.over_kmers_high) == (0, 0, 0)
    assert tied.mcc_low < tied.mcc < tied.mcc_high
    assert tied.ece == pytest.approx(0.25)
    assert np.isnan(tied.over_regression)  # the regression on positions is not finished
    runs["positions", 0] = finished_run(truth, held_out=0.2)
    rows_with_positions = {row.key[1:]: row for row in figures.rows_of(task, runs)}
    assert rows_with_positions["cnn", 0].over_regression == 0


def test_tables_name_what_is_missing_and_keep_old_rows(tmp_path):
    def row(task, method, seed, mcc):
        return Row(
            task,
            method,
            seed,
            9,
            5,
            mcc,
            mcc - 0.1,
            mcc + 0.1,
            *[0.25] * 6,
            0.125,
            3,
            1.0,
            2.0,
            "a, b",
        )

    file = tmp_path / "t.tsv"
    old = [row("tf0", "cnn", 0, 0.25), row("tf1", "gone", 0, 0.5)]
    file.write_text("".join(figures.tsv(old)))
    assert figures.read_rows(file) == old
    known = methods.methods_with([])
    rows = figures.merge_rows(old, [row("tf0", "cnn", 0, 0.5), row("tf0", "cnn", 1, 0.75)], known)
    assert [r.key for r in rows] == [("tf0", "cnn", 0), ("tf0", "cnn", 1), ("tf1", "gone", 0)]
    text = "".join(figures.Tables(rows, known, ["tf0", "tf1"], seeds=2).markdown())
    assert "| tf0 | 9 | 5 | 0.625 (0.525 to 0.725) |  | 0.720 |" in text
    assert "Not done, cnn: seed 0: tf1; seed 1: tf1." in text
    assert "Not done, majority: seed 0: all." in text
    assert "| cnn | small CNN | 1 | 2 | 0.625 | +0.250 | +0.250 | 0.125 | 3 | 1.00 | 2.00 |" in text


@pytest.mark.slow
def test_the_program_trains_what_genomai_train_would(data, tmp_path, monkeypatch, capsys):
    arguments = [
        "--data",
        data,
        "--tasks",
        "tf",
        "--methods",
        "majority,kmers-both,auto",
        "--auto-time",
        "1s",
    ]
    arguments += [
        "--runs",
        tmp_path,
        "--threads",
        1,
        "-o",
        tmp_path / "t.tsv",
        "--markdown",
        tmp_path / "t.md",
    ]
    monkeypatch.setattr("sys.argv", ["classification", *map(str, arguments)])
    classification.main()
    first = capsys.readouterr()
    assert "| auto |" in first.out
    assert "tf, auto, seed 0 ..." in first.err
    rows = {row.method: row for row in figures.read_rows(tmp_path / "t.tsv")}
    assert list(rows) == ["majority", "kmers-both", "auto"]
    assert rows["majority"].mcc == 0
    assert rows["auto"].mcc > 0.5
    assert "held-out MCC: k-mer regression" in rows["auto"].note
    classification.main()
    repeated = capsys.readouterr()
    assert repeated.out == first.out
    assert not repeated.err


@pytest.mark.slow
def test_designs_of_presets_begin_from_scratch_or_from_an_encoder(task, tiny_sequence_bundle):
    from_scratch = networks.from_scratch("hyenadna-tiny")(task, 0, 0.0)
    assert from_scratch.probabilities.shape == (60, 2)
    assert from_scratch.note == f"8 steps, {8 * 32 / 128:.1f} epochs"
    finetuned = networks.tuned(tiny_sequence_bundle)(task, 0, 0.0)
    assert finetuned.probabilities.shape == (60, 2)
    assert finetuned.parameters < from_scratch.parameters


def test_a_probe_reads_what_is_pretrained_and_its_control_new_values(task, tiny_sequence_bundle):
    known = methods.methods_with([tiny_sequence_bundle])
    name = tiny_sequence_bundle.name
    first, second = (known[f"probe-{name}"].run(task, seed, Budget(NO_FOLDER)) for seed in (0, 1))
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    control, other_control = (
        known[f"untrained-{name}"].run(task, seed, Budget(NO_FOLDER)) for seed in (0, 1)
    )
    assert (control.probabilities != first.probabilities).any()
    assert (control.probabilities != other_control.probabilities).any()
    assert control.parameters == first.parameters


def test_what_pretraining_adds_is_paired_with_its_controls(data, task, tmp_path):
    wrong = np.where(np.arange(len(task.labels)) < 15, 1 - task.labels, task.labels)
    called_by_method = {
        "kmers-both": (wrong, 0.5),
        "kmers-given": (wrong, 0.6),
        "tuned-tiny": (task.labels, 0.1),
        "scratch-other": (wrong, 0.2),
        "probe-tiny": (wrong, 0.3),
        "untrained-other": (wrong, 0.3),
    }

    def save(name, called, held_out, seed=0):
        result = MethodResult(np.eye(2)[called] * 0.8 + 0.1, 1, held_out)
        file = tmp_path / task.name / f"{name}.{seed}.npz"
        FinishedRun(result, 0.0, 0.0).save(file, {"data": task.digest})

    assert pretraining_gain.tables_of(task, tmp_path, "tiny", "other") == {}
    for name, (called, held_out) in called_by_method.items():
        save(name, called, held_out)
    tables = pretraining_gain.tables_of(task, tmp_path, "tiny", "other")
    np.testing.assert_allclose(tables[0]["kmers+scratch"], tables[0]["kmers"])
    np.testing.assert_allclose(tables[0]["kmers+tuned"][:15], 0.5)
    gains = pretraining_gain.gains_of(task, tables, 0)
    mcc = matthews_corrcoef(task.labels, wrong)
    rows = {row[:2]: [*map(float, row[2:])] for row in pretraining_gain.rows_of([gains, gains])}
    seeds, one, other, gain, low, high = rows["tf", "tuned"]
    assert (seeds, one, other, gain) == pytest.approx((1, 1, mcc, 1 - mcc), abs=1e-4)
    assert low < gain < high
    assert rows["mean of 2 tasks", "tuned"] == rows["tf", "tuned"]  # twice the same task
    assert rows["tf", "probe"][3:] == [0, 0, 0]
    shown = pretraining_gain.markdown([*pretraining_gain.rows_of([gains])], "tiny")
    assert f"1.000, {mcc:.3f}: {1 - mcc:+.3f}" in shown
    assert "| tuned less from scratch (seeds: 1) |" in shown
    assert not any("beside auto" in name for _, name in rows)
    save("auto", wrong, 0.1)
    beside = pretraining_gain.tables_of(task, tmp_path, "tiny", "other")
    together = beside[0]["auto+tuned"][0]
    odds = together / (1 - together)
    assert sorted(odds) == pytest.approx([9**-0.5, 9**0.5])  # 9 to 1 three quarters against one
    with_auto = pretraining_gain.gains_of(task, beside, 0)
    rows = {row[:2]: row[2:] for row in pretraining_gain.rows_of([gains, with_auto])}
    assert rows["mean of 1 tasks", "tuned, beside auto"] == rows["tf", "tuned, beside auto"]
    assert rows["tf", "tuned, beside auto"][3:] == ("0.0000",) * 3

    save("tuned-tiny", wrong, 0.1, seed=1)
    save("tuned-other", wrong, 0.1, seed=1)
    save("scratch-other", wrong, 0.1, seed=1)
    save("scratch-other", task.labels, 0.1, seed=2)  # its tuned one is not finished
    save("untrained-other", task.labels, 0.1, seed=2)
    more = pretraining_gain.tables_of(task, tmp_path, "tiny", "other")
    rows = [*pretraining_gain.rows_of([with_auto, pretraining_gain.gains_of(task, more, 0)])]
    of_seeds = {row[1]: [*map(float, row[2:])] for row in rows if row[0] == "tf"}
    half = (1 - mcc) / 2
    assert of_seeds["tuned"][:4] == pytest.approx((2, 1 - half, mcc, half), abs=1e-4)
    assert of_seeds["tuned"][4] < half < of_seeds["tuned"][5]
    assert of_seeds["probe"][:4] == pytest.approx((2, mcc, 1 - half, -half), abs=1e-4)
    assert of_seeds["from scratch, beside k-mers"][0] == 3
    assert of_seeds["tuned, beside auto"][0] == 1  # auto has one seed
    assert of_seeds["tuned, another encoder"][:4] == pytest.approx((1, mcc, mcc, 0), abs=1e-4)
    assert "(seeds: 1 to 2)" in pretraining_gain.markdown(rows, "tiny")
