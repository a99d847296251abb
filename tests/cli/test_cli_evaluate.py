"""`genomai evaluate`: which columns and samples it takes, what it reports, what it refuses."""

import json

import pytest
from conftest import assert_expected, run

PREDICTIONS = """\
sample\tsuperpop\tsuperpop_p\tpop\tpop_p\tused\tcall_rate\tflags\tmodel
a\tEUR\t0.99\tGBR\t0.7\t967\t1.000\t.\tancestry@1
b\tEUR\t0.9\tFIN\t0.6\t967\t1.000\t.\tancestry@1
c\tAFR\t0.95\tYRI\t0.8\t967\t1.000\t.\tancestry@1
d\tEAS\t0.8\tCHB\t0.5\t967\t1.000\t.\tancestry@1
e\tUNKNOWN\t.\tUNKNOWN\t.\t0\t0.000\tLOW_CALL_RATE\tancestry@1
"""
TRUTH = """\
sample\tpopulation\tsuperpopulation\tsex
a\tGBR\tEUR\tmale
b\tGBR\tEUR\tfemale
c\tYRI\tAFR\tmale
d\tCDX\tEAS\tfemale
e\tPUR\tAMR\tmale
"""
NUMBERS = "sample\tage\tage_low\tage_high\na\t51\t40\t62\nb\t42\t31\t53\n"


@pytest.fixture
def tables(tmp_path):
    """Writes the tables and gives the arguments that name them."""

    def write(predictions=PREDICTIONS, truth=TRUTH):
        (tmp_path / "predictions.tsv").write_text(predictions)
        (tmp_path / "truth.tsv").write_text(truth)
        return ["evaluate", tmp_path / "predictions.tsv", "--truth", tmp_path / "truth.tsv"]

    return write


def values_of(result):
    return {(head, metric): value for head, metric, value, *_ in result.rows[1:]}


def test_the_table(tables):
    result = run(tables())
    assert result.status == 0
    assert result.stderr == ""
    assert_expected("evaluate.tsv", result.stdout)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tables):
    assert run(tables()).output == run([*tables(), "--seed", "0"]).output
    assert run(tables()).output != run([*tables(), "--seed", "1"]).output


def test_unknown_counts_as_wrong_and_is_counted(tables):
    values = values_of(run(tables()))
    assert values["superpop", "n"] == "5"
    assert values["superpop", "unknown"] == "1"
    assert float(values["superpop", "accuracy"]) == pytest.approx(0.8)
    assert float(values["superpop", "ece"]) == pytest.approx((0.01 + 0.1 + 0.05 + 0.2) / 4)


def test_json_holds_the_same_and_the_confusion_matrix(tables):
    document = json.loads(run([*tables(), "--format", "json"]).stdout)
    assert document["schema_version"] == 1
    assert document["task"] == "classification"
    head = document["heads"]["superpop"]
    assert head["metrics"]["accuracy"]["value"] == pytest.approx(0.8)
    assert head["labels"] == ["AFR", "AMR", "EAS", "EUR", "UNKNOWN"]
    assert head["confusion"][1] == [0, 0, 0, 0, 1]


def test_predictions_from_standard_input(tables):
    arguments = tables()
    expected = run(arguments).output
    assert run(["evaluate", "--truth", arguments[3]], stdin=arguments[1]).output == expected
    assert run(["evaluate", "-", "--truth", arguments[3]], stdin=arguments[1]).output == expected


def test_outputs_to_files(tables, tmp_path):
    files = ["-o", tmp_path / "out.tsv", "--confusion", tmp_path / "confusion.tsv"]
    result = run([*tables(), *files])
    assert result.stdout == ""
    assert (tmp_path / "out.tsv").read_text() == run(tables()).stdout
    lines = (tmp_path / "confusion.tsv").read_text().splitlines()
    assert lines[0] == "head\ttruth\tpredicted\tn"
    assert "superpop\tEUR\tEUR\t2" in lines
    assert "superpop\tAMR\tUNKNOWN\t1" in lines
    assert sum(int(line.split("\t")[3]) for line in lines if line.startswith("pop\t")) == 5


def test_probabilities_of_all_labels_bring_log_loss_and_brier(tables):
    predictions = (
        "sample\tsuperpop\tsuperpop_p\tsuperpop:AFR\tsuperpop:EUR\n"
        "a\tEUR\t0.8\t0.2\t0.8\nc\tAFR\t0.6\t0.6\t0.4\ne\tUNKNOWN\t.\t.\t.\n"
    )
    values = values_of(run(tables(predictions)))
    assert float(values["superpop", "log_loss"]) == pytest.approx(0.366985, abs=1e-6)
    assert float(values["superpop", "brier"]) == pytest.approx((0.04 * 2 + 0.16 * 2) / 2)
    assert ("pop", "n") not in values


def test_columns_of_the_same_name_are_taken_before_aliases(tables):
    truth = "sample\tsuperpopulation\tsuperpop\na\tAFR\tEUR\n"
    assert values_of(run(tables(truth=truth)))["superpop", "accuracy"] == "1.000000"


def test_a_column_can_be_named(tables):
    truth = "id\tregion\na\tEUR\nb\tAFR\n"
    result = run([*tables(truth=truth), "--column", "superpop=region"])
    assert values_of(result)["superpop", "accuracy"] == "0.500000"


def test_missing_labels_are_left_out(tables):
    values = values_of(run(tables(truth=TRUTH.replace("CDX", ".").replace("PUR", ""))))
    assert values["superpop", "n"] == "5"
    assert values["pop", "n"] == "3"


def test_samples_in_one_table_only_are_told(tables):
    predictions = PREDICTIONS + PREDICTIONS.splitlines()[1].replace("a\t", "z\t", 1) + "\n"
    result = run(tables(predictions, TRUTH + "y\tGBR\tEUR\tmale\n"))
    assert result.status == 0
    assert "warning: 1 samples predicted but without a truth, left out: z" in result.stderr
    assert "1 samples of the truth are not predicted" in result.stderr
    assert values_of(result)["superpop", "n"] == "5"
    assert run([*tables(predictions), "-q"]).stderr == ""


def test_repeated_samples_all_count(tables):
    result = run(tables(PREDICTIONS + PREDICTIONS.splitlines()[1] + "\n"))
    assert "1 samples predicted more than once, every row counts: a" in result.stderr
    assert values_of(result)["superpop", "n"] == "6"


@pytest.mark.parametrize(
    ("calls", "truth", "messages"),
    [
        (
            ["1", "0"],
            ["1.0", "0.0"],
            [
                "label: 0.0 of the truth (1 samples) is no call, but 0 is",
                "label: 1.0 of the truth (1 samples) is no call, but 1 is",
                "label: no label of the truth (0.0, 1.0) is ever called (calls are 0, 1)",
            ],
        ),
        (["on", "off"], ["on", "OFF"], ["label: OFF of the truth (1 samples) is no call, but off"]),
        (["on", "on"], ["a", "b"], ["no label of the truth (a, b) is ever called (calls are on)"]),
        (["on", "on"], ["off", "off"], []),
        (["on", "UNKNOWN"], ["on", "off"], []),
        (["UNKNOWN", "UNKNOWN"], ["on", "off"], []),
    ],
)
def test_labels_that_the_truth_spells_otherwise(tables, calls, truth, messages):
    predictions = "".join(f"s{n}\t{label}\t0.9\n" for n, label in enumerate(calls))
    labels = "".join(f"s{n}\t{label}\n" for n, label in enumerate(truth))
    result = run(tables(f"sample\tlabel\tlabel_p\n{predictions}", f"sample\tlabel\n{labels}"))
    assert result.status == 0
    lines = result.stderr.splitlines()
    assert len(lines) == len(messages)
    assert all(text in line for text, line in zip(messages, lines, strict=True))


def test_report_json_counts(tables, tmp_path):
    predictions = PREDICTIONS + PREDICTIONS.splitlines()[1].replace("a\t", "z\t", 1) + "\n"
    run([*tables(predictions), "--report-json", tmp_path / "report.json"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["records"] == {"read": 6, "used": 5, "refused": 1}
    assert report["inputs"] == [str(tmp_path / "predictions.tsv")]
    assert report["seed"] == 0


@pytest.mark.parametrize(
    ("predictions", "truth", "message"),
    [
        ("", TRUTH, "predictions.tsv: the input is empty"),
        (PREDICTIONS, "", "truth.tsv: the input is empty"),
        ("sample\tx\na\tb\n", TRUTH, "predictions.tsv:1: no head"),
        ("id\tpop\tpop_p\na\tGBR\t1\n", TRUTH, "predictions.tsv:1: no column 'sample'"),
        (PREDICTIONS.splitlines()[0], TRUTH, "predictions.tsv: a header, but no predictions"),
        (PREDICTIONS, "sample\tpop\nx\tGBR\n", "predictions.tsv: none of its samples is in "),
        (PREDICTIONS, "sample\tregion\na\tGBR\n", "truth.tsv:1: none of its columns (region)"),
        (PREDICTIONS.replace("0.99", "1.5"), TRUTH, "predictions.tsv:2: superpop_p is '1.5'"),
        (PREDICTIONS.replace("0.95", "high"), TRUTH, "predictions.tsv:4: superpop_p is 'high'"),
        (PREDICTIONS.replace("\tAFR", ""), TRUTH, "predictions.tsv:4: 8 columns"),
        (NUMBERS, "sample\tage\na\t50\nb\tnan\n", "truth.tsv:3: 'nan' is no number"),
        (
            NUMBERS.replace("51", "inf"),
            "sample\tage\na\t5\nb\t6\n",
            "predictions.tsv:2: 'inf' is no",
        ),
    ],
)
def test_bad_tables_are_refused(tables, predictions, truth, message):
    result = run(tables(predictions, truth))
    assert result.status == 1
    assert result.stdout == ""
    assert result.stderr.startswith("genomai evaluate: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--column", "superpop"], "not HEAD=COLUMN"),
        (["--column", "=sex"], "not HEAD=COLUMN"),
        (["--column", "haplogroup=sex"], "no head 'haplogroup'"),
        (["--task", "generation"], "--task"),
    ],
)
def test_wrong_options_are_wrong_usage(tables, options, message):
    result = run([*tables(), *options])
    assert result.status == 2
    assert message in result.stderr


def test_a_missing_file_is_named():
    result = run("evaluate nothing.tsv --truth neither.tsv")
    assert result.status == 1
    assert result.stderr == "genomai evaluate: nothing.tsv: no such file or directory\n"


def test_a_page_beside_the_same_table(tables, tmp_path):
    page = tmp_path / "page.html"
    plain = run(tables())
    result = run([*tables(), "--report", page])
    assert (result.status, result.output) == (0, plain.output)
    text = page.read_text()
    assert "Confusion matrix of superpop" in text
    for row in ('accuracy</td><td class="n">0.8000', '<th scope="row">CDX</th>'):
        assert row in text
    assert "ROC curve" not in text  # the table has no probabilities of all labels


def test_the_page_has_the_roc_curve_of_two_labels(tables, tmp_path):
    rows = [(f"s{n}", "yes" if n % 3 else "no", (n * 7 % 10) / 10) for n in range(30)]
    calls = ["sample\tcase\tcase_p\tcase:no\tcase:yes"]
    calls += [
        f"{name}\t{'yes' if p > 0.5 else 'no'}\t{max(p, 1 - p):.1f}\t{1 - p:.1f}\t{p:.1f}"
        for name, _, p in rows
    ]
    truth = ["sample\tcase", *(f"{name}\t{label}" for name, label, _ in rows)]
    arguments = tables("\n".join(calls) + "\n", "\n".join(truth) + "\n")
    assert run([*arguments, "--report", tmp_path / "page.html"]).status == 0
    text = (tmp_path / "page.html").read_text()
    positives = [p for _, label, p in rows if label == "yes"]
    negatives = [p for _, label, p in rows if label == "no"]
    auc = (
        sum((a > b) + (a == b) / 2 for a in positives for b in negatives)
        / len(positives)
        / len(negatives)
    )
    assert f"Of the probability of yes: area {auc:.4f}" in text


def test_a_page_of_calls_that_are_all_unknown(tables, tmp_path):
    calls = "sample\tcase\tcase_p\tcase:no\tcase:yes\na\tUNKNOWN\t.\t.\t.\n"
    arguments = tables(calls, "sample\tcase\na\tyes\n")
    assert run([*arguments, "--report", tmp_path / "page.html"]).status == 0
    assert "Labels of case" in (tmp_path / "page.html").read_text()


def test_a_run_that_fails_leaves_no_page(tables, tmp_path):
    result = run([*tables(truth="sample\tsex\na\tmale\n"), "--report", tmp_path / "page.html"])
    assert result.status == 1
    assert not list(tmp_path.glob("*page.html*"))
