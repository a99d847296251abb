"""The data of `genomai train`: tables of sequences, a validation set, tests, and labels that are wrong."""

import json
import re
from functools import partial

import numpy as np
import pytest
from conftest import TINY_SEQUENCES, changes, run

from genomai_cli.backbones.sequence_ensemble import ConvolutionConfig
from genomai_cli.bundles import catalog
from genomai_cli.training import selection

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = f"{TINY_SEQUENCES} optimization.steps=4 optimization.evaluate_every=2"
RECIPE = ["--recipe", "sequences", "--device", "cpu", *changes(SHORT)]


def rows_of(rng, count, *, length=40):
    """Sequences of two kinds with their labels."""
    kinds = ["at" if number % 2 else "gc" for number in range(count)]
    weights = {"at": [0.35, 0.15, 0.15, 0.35], "gc": [0.15, 0.35, 0.35, 0.15]}
    return [("".join(rng.choice(list("ACGT"), length, p=weights[kind])), kind) for kind in kinds]


def as_table(rows):
    return "sequence,kind\n" + "".join(f"{sequence},{kind}\n" for sequence, kind in rows)


def as_fasta(rows):
    return "".join(f">s{number}\n{sequence}\n" for number, (sequence, _) in enumerate(rows))


def as_labels(rows):
    return "name\tkind\n" + "".join(f"s{n}\t{kind}\n" for n, (_, kind) in enumerate(rows))


@pytest.fixture
def rows():
    return rows_of(np.random.default_rng(3), 24)


@pytest.fixture
def files(tmp_path, rows):
    """FASTA and labels."""
    fasta, labels = tmp_path / "x.fa", tmp_path / "y.tsv"
    fasta.write_text(as_fasta(rows))
    labels.write_text(as_labels(rows))
    return fasta, labels


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def refused(result, status, message, *, command="train"):
    """Whether a run ended with this status and one line that says why."""
    last = result.stderr.splitlines()[-1]
    assert result.status == status, result.stderr
    assert message in last, last
    assert last.startswith(f"genomai {command}: ")
    assert "unexpected" not in result.stderr
    return True


def test_a_table_of_sequences_teaches_what_fasta_and_labels_do(tmp_path, rows, files):
    fasta, labels = files
    assert run(["train", fasta, "--labels", labels, "-o", tmp_path / "one", *RECIPE]).status == 0
    table = as_table(rows).encode()
    assert run(["train", "-o", tmp_path / "two", *RECIPE], table).status == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    assert config_of(tmp_path / "two")["heads"] == {"kind": ["at", "gc"]}


def test_calls_of_a_table_are_evaluated_by_it(tmp_path, rows, tiny_sequence_bundle):
    table = tmp_path / "test.csv"
    table.write_text(as_table(rows).replace("kind", "content"))
    calls = run(["classify", "--model", tiny_sequence_bundle, table])
    assert [row[0] for row in calls.rows[1:]] == [str(number + 1) for number in range(len(rows))]
    measured = run(["evaluate", "--truth", table], calls.output)
    assert measured.rows[1] == ["content", "n", "24", ".", ".", "."]


def test_a_validation_set_and_leaks(tmp_path, rows, files):
    fasta, labels = files
    new = rows_of(np.random.default_rng(4), 6)
    dev, test = tmp_path / "dev.csv", tmp_path / "test.fa"
    dev.write_text(as_table([*new, rows[3]]))
    test.write_text(as_fasta([new[0], rows[1], *rows_of(np.random.default_rng(5), 4)]))
    command = ["train", fasta, "--labels", labels, "--dev", dev, "--test", test]
    record = tmp_path / "run.json"
    result = run([*command, "-o", tmp_path / "m", "--report-json", record, *RECIPE])
    assert result.status == 0, result.stderr
    warning = "sequences have near-duplicates among those trained on"
    assert f"warning: {dev}: 1 of 7 {warning}" in result.stderr
    assert f"warning: {test}: 2 of 6 {warning}" in result.stderr
    leaks = {str(dev): [1, 7], str(test): [2, 6]}
    provenance = config_of(tmp_path / "m")["provenance"]
    assert provenance["leaks"] == json.loads(record.read_text())["details"]["leaks"] == leaks
    assert provenance["validation_samples"] == provenance["validation"]["kind"]["n"] == 7
    for trained_on, count in (
        (tmp_path / "m", 2),
        (fasta, 1),
    ):  # the model knows its validation set
        calls = run(["classify", "--model", tmp_path / "m", test]).output
        command = ["evaluate", "--truth", labels, "--sequences", test, "--trained-on", trained_on]
        assert f"{test}: {count} of 6 {warning}" in run(command, calls).stderr
    card = (tmp_path / "m" / "README.md").read_text()
    assert f"Of the 6 sequences of `{test}`, 2 have near-duplicates among them." in card
    assert "the 7 samples of the validation set that was given" in card


def test_near_duplicates_are_told(tmp_path, rows):
    table = tmp_path / "x.csv"
    table.write_text(as_table([*rows, rows[0], (rows[1][0], "gc")]))
    result = run(["train", table, "-o", tmp_path / "m", *RECIPE])
    assert (
        "warning: kind: 2 sequences are equal to others that have another label: 2, "
        in result.stderr
    )
    assert "4 of 26 sequences have near-duplicates among the others: none is held" in result.stderr
    assert config_of(tmp_path / "m")["provenance"]["near_duplicates"] == 4
    assert "26 labelled sequences, of which 4 have" in (tmp_path / "m" / "README.md").read_text()


def test_labels_of_sequences_that_are_not_there_are_refused(tmp_path, rows, files):
    fasta, labels = files
    labels.write_text(as_labels([*rows, rows[0]]))
    result = run(["train", fasta, "--labels", labels, "-o", tmp_path / "m", *RECIPE])
    assert refused(result, 1, f"{labels}:26: no sequence is called s24")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.fa", "y.tsv"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace("gc", "at"), ":2: head kind: needs two labels at least"),
        (lambda text: text.replace("s2\tgc", "s2\t0.5"), ":4: label '0.5' is a number"),
        (lambda text: text.replace("s2\tgc", "s1\tgc"), ":4: sample s1 again (first in line 3)"),
        (lambda text: text.replace("s2\tgc", "s2\tg\xe9"), r":4: 'g\xe9' has bytes that are no"),
        (
            lambda text: text.replace("s", "t"),
            ": none of the 24 samples has a label: the first is called s0, the first in the table t0",
        ),
        (lambda text: text.replace("kind", "a kind"), ":1: head 'a kind': a name is letters"),
    ],
)
def test_a_wrong_label_file_gets_one_line(tmp_path, files, edit, message):
    fasta, labels = files
    labels.write_bytes(edit(labels.read_text()).encode("latin-1"))
    result = run(["train", fasta, "--labels", labels, "-o", tmp_path / "m", *RECIPE])
    assert refused(result, 1, f"{labels}{message}")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({}, ":1: no header: the first line is of the sample s0"),
        ({"at": "1", "gc": "0"}, ":1: head '0': a name is letters, .* is this line a header"),
    ],
)
@pytest.mark.parametrize("separator", ["\t", ","])
def test_labels_without_a_header_are_refused(tmp_path, rows, kinds, message, separator):
    """Else the first sample would be taken for names of columns, and its label for that of a head."""
    fasta, labels = tmp_path / "x.fa", tmp_path / "y.tsv"
    fasta.write_text(as_fasta(rows))
    lines = [f"s{n}{separator}{kinds.get(kind, kind)}\n" for n, (_, kind) in enumerate(rows)]
    labels.write_text("".join(lines))
    result = run(["train", fasta, "--labels", labels, "-o", tmp_path / "m", *RECIPE])
    assert result.status == 1
    assert re.search(f"{labels}{message}", result.stderr.splitlines()[-1])
    assert not (tmp_path / "m").exists()


def test_a_sample_may_be_called_as_its_column(tmp_path, rows):
    fasta, labels = tmp_path / "x.fa", tmp_path / "y.tsv"
    fasta.write_text(as_fasta(rows).replace(">s0\n", ">name\n"))
    labels.write_text(as_labels(rows).replace("s0\t", "name\t"))
    result = run(["train", fasta, "--labels", labels, "-o", tmp_path / "m", *RECIPE])
    assert result.status == 0, result.stderr


def test_a_label_of_the_validation_set_that_nothing_is_trained_on(tmp_path, rows, files):
    fasta, labels = files
    dev = tmp_path / "dev.csv"
    dev.write_text(as_table([(rows[0][0], "other")]))
    command = ["train", fasta, "--labels", labels, "--dev", dev, "-o", tmp_path / "m", *RECIPE]
    assert refused(run(command), 1, f"{dev}: no sample to train on has the label other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["{fasta}"], "--labels TSV is needed"),
        (["{fasta}", "{fasta}"], "the labels of several inputs are in a file of their own"),
        (
            ["{fasta}", "--labels", "{labels}", "--dev-labels", "{labels}"],
            "are those of --dev FILE",
        ),
    ],
)
def test_wrong_usage(tmp_path, files, options, message):
    paths = dict(zip(("fasta", "labels"), files, strict=True))
    arguments = [option.format(**paths) for option in options]
    assert refused(run(["train", *arguments, "-o", tmp_path / "m", *RECIPE]), 2, message)


def test_a_validation_set_is_for_one_network(tmp_path, rows, files):
    fasta, labels = files
    dev = tmp_path / "dev.csv"
    dev.write_text(as_table(rows[:2]))
    command = ["train", fasta, "--labels", labels, "--dev", dev, "-o", tmp_path / "m", *RECIPE]
    assert refused(run([*command, "--set", "split.folds=2"]), 1, "is for one network")


def test_without_a_recipe_parts_are_chosen(tmp_path, files, rows, monkeypatch):
    small = partial(ConvolutionConfig, filters=16, channels=8, embedding=8)
    monkeypatch.setattr(selection, "ConvolutionConfig", small)
    monkeypatch.setattr(selection, "FOLDS", 3)
    monkeypatch.setattr(selection, "MIN_EPOCHS", 2)
    monkeypatch.setattr(selection, "EPOCHS", 2)
    fasta, labels = files
    model = tmp_path / "m"
    command = ["train", fasta, "--labels", labels, "--time", "1s", "--device", "cpu", "-o", model]
    result = run(command)
    assert result.status == 0, result.stderr
    assert "k-mer regression, both strands, fold 1: kind MCC" in result.stderr
    assert "(k-mer regression, " in result.stderr.splitlines()[-2]
    assert config_of(model)["network"]["kind"] == "sequence_ensemble"
    assert "| together |" in (model / "README.md").read_text()
    called = run(["classify", "--model", model, "--device", "cpu", fasta])
    assert called.status == 0, called.stderr
    predicted = [line.split("\t")[1] for line in called.stdout.splitlines()[1:]]
    assert np.mean([label == kind for label, (_, kind) in zip(predicted, rows, strict=True)]) > 0.7
    unusual = b">short\nACGTA\n>repeat\n" + b"A" * 40 + b"\n>" + as_fasta(rows[:1]).encode()[1:]
    calls = run(["classify", "--model", model, "--device", "cpu"], unusual).rows[1:]
    assert [row[1] for row in calls[:2]] == ["UNKNOWN", "UNKNOWN"] != calls[2][1]
    assert [row[5] for row in calls] == ["NOVEL", "NOVEL", "."]
    for method in ("ism", "gradient"):
        options = ["--model", model, "--device", "cpu", "--method", method]
        assert "warning: 2 records are unlike" in run(["explain", *options], unusual).stderr
    scored = run(["score", "--model", model, "--device", "cpu", fasta])
    assert refused(scored, 1, "has no likelihood: it was trained for labels", command="score")
    embedded = run(["embed", "--model", model, "--device", "cpu", fasta, "--to", "tsv"])
    assert embedded.status == 0, embedded.stderr


@pytest.mark.parametrize("time", ["15", "0m", "fast", "-3m"])
def test_a_time_that_is_none(files, tmp_path, time):
    fasta, labels = files
    command = ["train", fasta, "--labels", labels, f"--time={time}", "-o", tmp_path / "m"]
    assert refused(run(command), 2, "write a time such as 90s, 15m or 2h")


def test_the_chosen_parts_begin_with_no_model(files, tmp_path, tiny_sequence_bundle):
    fasta, labels = files
    command = ["train", fasta, "--labels", labels, "--recipe", "auto", "-o", tmp_path / "m"]
    result = run([*command, "--model", tiny_sequence_bundle])
    assert refused(result, 2, "a model whose parts are chosen begins with no other")


def test_a_page_of_the_model(tmp_path, files):
    fasta, labels = files
    page, command = tmp_path / "page.html", ["train", fasta, "--labels", labels, *RECIPE]
    assert run([*command, "-o", tmp_path / "m", "--report", page]).status == 0
    text = page.read_text()
    accuracy = config_of(tmp_path / "m")["provenance"]["validation"]["kind"]["accuracy"]
    assert f'<td class="n">{accuracy:.4f}</td>' in text
    assert "Losses by step" in text
    assert catalog.sha256(tmp_path / "m" / "model.safetensors") in text
    assert catalog.sha256(fasta) in text
    before = page.read_bytes()
    assert run([*command, "-o", tmp_path / "m", "--report", page]).status == 2  # the model is there
    assert page.read_bytes() == before
