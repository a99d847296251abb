"""`genomai train` on numbers and on several labels a sequence, and `classify` and `evaluate` of such models."""

import json
from functools import partial

import numpy as np
import pytest
from conftest import run

from genomai_cli.backbones.sequence_ensemble import ConvolutionConfig
from genomai_cli.training import selection

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def fast_training(monkeypatch):
    """Networks that train in a second."""
    small = partial(ConvolutionConfig, filters=16, channels=8, embedding=8)
    monkeypatch.setattr(selection, "ConvolutionConfig", small)
    monkeypatch.setattr(selection, "FOLDS", 3)
    monkeypatch.setattr(selection, "MIN_EPOCHS", 2)
    monkeypatch.setattr(selection, "EPOCHS", 2)
    monkeypatch.setattr(selection, "MAX_K", {True: 3, False: 2})


def sequences(count, seed=0):
    """Sequences of 30 to 39 letters of various composition."""
    rng = np.random.default_rng(seed)
    gc_contents = rng.uniform(0.2, 0.8, count)
    return [
        "".join(rng.choice(list("ACGT"), 30 + n % 10, p=[(1 - s) / 2, s / 2, s / 2, (1 - s) / 2]))
        for n, s in enumerate(gc_contents)
    ]


def gc(text):
    """The share of G and C."""
    return sum(letter in "GC" for letter in text) / len(text)


def table(texts, *columns):
    """A table of sequences with columns of labels, each a name and a function."""
    header = ",".join(["sequence", *(name for name, _ in columns)])
    rows = [",".join([text, *(label_of(text) for _, label_of in columns)]) for text in texts]
    return "\n".join([header, *rows]) + "\n"


def trained(folder, text, *options):
    """The result of training on a table."""
    file = folder / "train.csv"
    file.write_text(text)
    defaults = ["--time", "1s", "--device", "cpu", "-o", folder / "m"]
    return run(["train", file, *defaults, *options])


def scaled_gc(text):
    return f"{20 * gc(text):.3f}"


def test_numbers_are_predicted_with_an_interval_and_evaluated(tmp_path):
    trained_run = trained(tmp_path, table(sequences(90), ("score", scaled_gc)))
    assert trained_run.status == 0, trained_run.stderr
    assert "score: numbers to be predicted (--target classes" in trained_run.stderr
    assert "score: r 0.9" in trained_run.stderr.splitlines()[-2]
    assert "(k-mer regression, " in trained_run.stderr.splitlines()[-2]
    test = tmp_path / "test.csv"
    test.write_text(table(sequences(40, 1), ("score", scaled_gc)))
    calls = run(["classify", "--model", tmp_path / "m", "--device", "cpu", test])
    header, *rows = calls.rows
    assert header[:6] == ["sample", "score", "score_low", "score_high", "used", "call_rate"]
    predicted = [row for row in rows if row[1] != "."]
    assert len(predicted) > 30
    low, value, high = (np.array([float(row[column]) for row in predicted]) for column in (2, 1, 3))
    assert ((low < value) & (value < high)).all()
    measured = run(["evaluate", "--truth", test], calls.output)
    measures = {row[1]: row[2:] for row in measured.rows[1:]}
    assert measures["n"][0] == "40"
    assert float(measures["r2"][0]) > 0.8
    assert float(measures["covered"][0]) > 0.7
    as_json = run(["evaluate", "--truth", test, "--format", "json"], calls.output)
    assert json.loads(as_json.stdout)["heads"]["score"]["metrics"]["pearson"]["value"] > 0.9
    unusual = run(["classify", "--model", tmp_path / "m", "--device", "cpu"], b">s\nACGTA\n")
    assert unusual.rows[1][1:4] == [".", ".", "."]
    assert unusual.rows[1][6] == "NOVEL"
    command = ["explain", "--method", "gradient", "--model", tmp_path / "m", "--device", "cpu"]
    explained = run([*command, test])
    assert "explain: the number score; " in explained.stderr
    attributions = {"GC": [], "AT": []}
    for _, _, base, head, value in explained.rows[1:]:
        assert head == "score"
        attributions["GC" if base in "GC" else "AT"].append(float(value))
    assert np.mean(attributions["GC"]) > np.mean(attributions["AT"])
    page = run(["models", "show", tmp_path / "m"])
    assert "heads\tscore:1" in page.stdout


def tags(text):
    """Labels for sequences of much G and C, and for long ones."""
    labels = [
        name
        for name, applies in (("rich", gc(text) > 0.5), ("long one", len(text) > 34))
        if applies
    ]
    return ";".join(labels) or "-"


def test_several_labels_a_sequence(tmp_path):
    trained_run = trained(tmp_path, table(sequences(80), ("tags", tags)))
    assert trained_run.status == 0, trained_run.stderr
    assert (
        "tags: several labels a sequence, learnt as yes or no for each of 2" in trained_run.stderr
    )
    assert "mean of 2 heads: MCC 0." in trained_run.stderr
    test = tmp_path / "test.csv"
    test.write_text(table(sequences(40, 1), ("tags", tags)))
    calls = run(["classify", "--model", tmp_path / "m", "--probs", "--device", "cpu", test])
    assert calls.rows[0][1:5] == ["tags_long_one", "tags_long_one_p", "tags_rich", "tags_rich_p"]
    measured = run(["evaluate", "--truth", test], calls.output)
    measures = {(row[0], row[1]): row[2] for row in measured.rows[1:]}
    assert float(measures["tags_rich", "mcc"]) > 0.6
    assert measures["tags_long_one", "n"] == "40"


def test_classes_and_numbers_side_by_side_with_missing_values(tmp_path):
    texts = sequences(60)
    missing = set(texts[::5])
    columns = [
        ("kind", lambda text: "." if text in missing else str(int(gc(text) > 0.5))),
        ("score", lambda text: "" if text in set(texts[1::5]) else scaled_gc(text)),
    ]
    result = trained(tmp_path, table(texts, *columns), "--report", tmp_path / "page.html")
    assert result.status == 0, result.stderr
    assert "kind: 2 whole numbers, taken for classes" in result.stderr
    header, *rows = (tmp_path / "m" / "metrics.tsv").read_text().splitlines()
    assert header.split("\t") == ["part", "step", "loss", "best_held_out_loss"]
    assert len(rows) == len({tuple(row.split("\t")[:2]) for row in rows}) > 4
    assert (tmp_path / "m" / "loss.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["heads"] == {"kind": ["0", "1"]}
    assert set(config["numbers"]) == {"score"}
    assert config["provenance"]["validation"]["kind"]["n"] == 48
    page = (tmp_path / "page.html").read_text()
    found = config["provenance"]["validation"]["kind"]["candidates"]
    for name, measures in found.items():
        assert f'<th scope="row">{name}</th><td class="n">{measures["accuracy"]:.4f}</td>' in page
    assert f'<td class="n">{config["provenance"]["race"]["both strands"]:.4f}</td>' in page


@pytest.mark.parametrize(
    ("value", "options", "status", "message"),
    [
        ("NA", [], 1, "train.csv:3: label 'NA' is no number, as those of score are"),
        ("nan", [], 1, "train.csv:3: label 'nan' is no number"),
        ("1e39", [], 1, "train.csv:3: label '1e39' is no number"),
        ("x", ["--target", "regression"], 1, "train.csv:3: label 'x' is no number"),
        ("1", ["--recipe", "sequences"], 2, "score is numbers, which only the recipe auto learns"),
    ],
)
def test_faults(tmp_path, value, options, status, message):
    lines = table(sequences(20), ("score", scaled_gc)).split("\n")
    lines[2] = f"{lines[2].split(',')[0]},{value}"
    result = trained(tmp_path, "\n".join(lines), *options)
    assert result.status == status
    assert message in result.stderr.splitlines()[-1]
    assert not (tmp_path / "m").exists()


def test_equal_numbers_are_refused(tmp_path):
    result = trained(tmp_path, table(sequences(20), ("score", lambda _: "0.5")))
    assert "train.csv:2: head score: needs two labels at least, and all are 0.5" in result.stderr
    assert result.status == 1


def test_a_validation_set_of_numbers(tmp_path):
    dev = tmp_path / "dev.csv"
    dev.write_text(table(sequences(30, 2), ("score", scaled_gc)))
    result = trained(tmp_path, table(sequences(60), ("score", scaled_gc)), "--dev", dev)
    assert result.status == 0, result.stderr
    assert "on 30 held-out samples" in result.stderr
    dev.write_text(table(sequences(3, 2), ("score", lambda _: "much")))
    result = trained(tmp_path, table(sequences(60), ("score", scaled_gc)), "--dev", dev, "--force")
    assert "dev.csv:2: label 'much' is no number" in result.stderr.splitlines()[-1]
