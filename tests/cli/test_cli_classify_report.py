"""`genomai classify` for human readers: --report, --plot and --to multiqc; and the files in the record of the run."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import run

from genomai_cli.inference import call_report
from genomai_cli.inference.call_report import CallReport
from genomai_cli.inference.classify import Call

pytestmark = pytest.mark.usefixtures("one_thread")
MULTIQC = shutil.which("multiqc")


def classify(model, *arguments, stdin=b""):
    return run(["classify", "--device", "cpu", "--model", model, *arguments], stdin=stdin)


def data_of(page):
    """The data that the map and the bars of a page draw."""
    matches = re.findall(r'application/json">(.*?)</script>', page, re.DOTALL)
    return [json.loads(text) for text in matches]


@pytest.fixture(scope="module")
def report(tiny_bundle, cohort, tmp_path_factory):
    """The newcomers with a report: the result, and the page."""
    path = tmp_path_factory.mktemp("report") / "out.html"
    result = classify(tiny_bundle, cohort.newcomers, "--report", path)
    assert result.status == 0, result.stderr
    return result, path.read_text()


def test_the_table_is_the_same_with_a_report(report, tiny_bundle, cohort):
    assert report[0].output == classify(tiny_bundle, cohort.newcomers).output
    with_report = classify(tiny_bundle, cohort.newcomers, "--pcs", "2", "--report", os.devnull)
    assert with_report.output == classify(tiny_bundle, cohort.newcomers, "--pcs", "2").output


def test_the_page_has_every_sample_with_its_label_and_flags(report):
    result, page = report
    table = page[page.index('class="rows linked"') :]
    for name, label, *_, flags, _ in result.rows[1:]:
        row = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', table)[1]
        assert f"<td>{label}</td>" in row
        for flag in flags.split(",") if flags != "." else ():
            assert flag in row


def test_the_page_says_what_to_do_about_each_flag(report):
    result, page = report
    flags = {flag for row in result.rows[1:] for flag in row[-2].split(",")} - {"."}
    assert "LOW_CALL_RATE" in flags
    attention = page[page.index("What needs attention") : page.index("Where the samples lie")]
    for flag in flags:
        assert f'<th scope="row">{flag}</th>' in attention
    assert "See docs/outputs.md" not in attention


def test_map_and_bars_draw_what_the_table_measures(report, tiny_bundle, cohort):
    sample_map, bars = data_of(report[1])
    options = ("--proportions", "superpop", "--pcs", "2")
    rows = classify(tiny_bundle, cohort.newcomers, *options).rows
    columns = {name: rows[0].index(name) for name in ("PC1", "fraction:NORTH")}
    for values, name in ((sample_map["points"][0], "PC1"), (bars["values"][0], "fraction:NORTH")):
        for row, value in zip(rows[1:], values, strict=True):
            cell = row[columns[name]]
            assert (value is None) == (cell == ".")
            assert value is None or abs(value - float(cell)) < 1e-3


def test_the_reference_is_a_mean_and_a_spread_for_each_population(report):
    groups = data_of(report[1])[0]["groups"]
    assert [group["name"] for group in groups] == ["NOA", "NOB", "SOC"]
    assert [group["colour"] for group in groups] == [0, 0, 1]
    assert all(len(group["spread"]) == len(group["centre"]) for group in groups)


def test_the_page_names_model_and_inputs(report, tiny_bundle, cohort):
    page = report[1]
    weights = hashlib.sha256((tiny_bundle / "model.safetensors").read_bytes()).hexdigest()
    checksum = hashlib.sha256(cohort.newcomers.read_bytes()).hexdigest()
    assert weights in page
    assert f"SHA-256 {checksum}" in page
    assert "neither race nor ethnicity" in page


def test_figures_of_more_samples_than_the_table_shows_are_of_all(monkeypatch):
    monkeypatch.setattr(call_report, "MAX_ROWS", 2)
    report = CallReport(None, None, ())
    for rate, flags in ((0.9, ()), (0.8, ()), (0.7, ()), (0.1, ("LOW_CALL_RATE",))):
        list(report.watch([Call("s", {}, {}, 1, rate, flags)]))
    assert [call.call_rate for call in report.shown_calls] == [0.9, 0.1]
    tiles = {tile.label: tile.value for tile in report._tiles().tiles}
    assert (tiles["samples"], tiles["median call rate"]) == ("4", "0.750")


def test_a_model_without_axes_gets_bars_of_probabilities(handmade_bundle, cohort, tmp_path):
    result = classify(handmade_bundle, cohort.newcomers, "--report", tmp_path / "r.html")
    assert result.status == 0, result.stderr
    (bars,) = data_of((tmp_path / "r.html").read_text())
    assert bars["labels"] == ["NORTH", "SOUTH"]


def test_one_sample_of_a_hostile_name(tiny_bundle, cohort, tmp_path):
    name = '<script>alert("1")</script>'
    text = cohort.variant_text().replace(cohort.names[0], name, 1)
    result = classify(tiny_bundle, "--report", tmp_path / "r.html", stdin=text)
    assert result.status == 0, result.stderr
    page = (tmp_path / "r.html").read_text()
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_plot_draws_without_a_browser(tiny_bundle, cohort, tmp_path, ending, magic):
    files = [tmp_path / f"{n}.{ending}" for n in "ab"]
    for file in files:
        assert classify(tiny_bundle, cohort.newcomers, "--plot", file).status == 0
    assert files[0].read_bytes().startswith(magic)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_picture_names_groups_and_samples(tiny_bundle, cohort, tmp_path):
    assert classify(tiny_bundle, cohort.newcomers, "--plot", tmp_path / "m.svg").status == 0
    text = (tmp_path / "m.svg").read_text()
    for name in ("NOA", "SOC", "PC1", "NOB_new1", "NORTH"):
        assert f">{name}<" in text


def test_a_picture_of_another_kind_is_refused_before_the_work(tiny_bundle, cohort, tmp_path):
    result = classify(tiny_bundle, cohort.newcomers, "--plot", tmp_path / "m.gif")
    assert (result.status, result.output) == (2, b"")
    assert ".png, .svg, .pdf" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_page_is_left_if_the_data_are_bad(tiny_bundle, cohort, tmp_path):
    broken = cohort.variant_text() + "1\tnowhere\n"
    files = ["--report", tmp_path / "r.html", "--plot", tmp_path / "m.png"]
    result = classify(tiny_bundle, *files, stdin=broken)
    assert (result.status, result.output) == (1, b"")
    assert list(tmp_path.iterdir()) == []


def test_the_page_may_not_overwrite_the_input(tiny_bundle, cohort):
    result = classify(tiny_bundle, cohort.newcomers, "--report", cohort.newcomers)
    assert result.status == 2
    assert "--report would overwrite the input" in result.stderr


def test_the_record_of_the_run_has_checksums_and_counts_of_flags(tiny_bundle, cohort, tmp_path):
    record = tmp_path / "run.json"
    result = classify(tiny_bundle, cohort.newcomers, "--report-json", record)
    record_of_run = json.loads(record.read_text())
    content = cohort.newcomers.read_bytes()
    assert record_of_run["files"] == [
        {
            "option": "inputs",
            "path": str(cohort.newcomers),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    ]
    flags = [flag for row in result.rows[1:] for flag in row[-2].split(",") if flag != "."]
    assert record_of_run["details"]["flags"] == {flag: flags.count(flag) for flag in set(flags)}


def test_of_standard_input_there_is_no_checksum(tiny_bundle, cohort, tmp_path):
    record = tmp_path / "run.json"
    stdin = cohort.newcomers.read_bytes()
    assert classify(tiny_bundle, "--report-json", record, stdin=stdin).status == 0
    assert json.loads(record.read_text())["files"] == []


def test_multiqc_gets_a_header_and_the_same_table(tiny_bundle, cohort):
    plain = classify(tiny_bundle, cohort.newcomers).stdout
    lines = classify(tiny_bundle, cohort.newcomers, "--to", "multiqc").stdout.splitlines(True)
    header = [line for line in lines if line.startswith("#")]
    assert '# plot_type: "table"\n' in header
    assert "".join(lines[len(header) :]) == plain


@pytest.mark.skipif(MULTIQC is None, reason="multiqc is not installed here")
def test_multiqc_shows_the_table(tiny_bundle, cohort, tmp_path):
    table = tmp_path / "populations_mqc.tsv"
    assert classify(tiny_bundle, cohort.newcomers, "--to", "multiqc", "-o", table).status == 0
    command = [MULTIQC, tmp_path, "-o", tmp_path / "mqc", "--no-version-check", "-q"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    paths = list(Path(tmp_path / "mqc").rglob("*genomai_classify*"))
    texts = [path.read_text() for path in paths if path.suffix == ".txt"]
    assert any("NOA_new1" in text and "NORTH" in text for text in texts)
