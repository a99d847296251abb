"""`genomai doctor` and `genomai cite`: the installation, and the references."""

import json
import re
import tomllib

import pytest
from conftest import REPOSITORY, run

from genomai_cli import __version__
from genomai_cli.cli import cite, doctor


def test_a_sound_installation(shipped_only):
    result = run("doctor --json")
    assert result.status == 0, result.stderr
    checks = {(c["check"], c["name"]): c for c in json.loads(result.stdout)}
    assert checks["version", "genomai"]["detail"].startswith(__version__)
    assert checks["device", "cpu"]["result"] == "ok"
    assert re.search(r"sha256:[0-9a-f]{16}", checks["model", "ancestry"]["detail"])
    assert checks["self-test", "answers"]["detail"] == "as made up: AFR AMR EAS EUR SAS"
    assert "FAILED" not in result.stdout


def test_a_damaged_model_and_a_missing_library_fail(models_folder, monkeypatch):
    (models_folder / "broken").mkdir()
    (models_folder / "broken" / "config.json").write_text("{}")
    monkeypatch.setattr(doctor, "LIBRARIES", ["numpy", "no-such-library"])
    result = run("doctor --no-self-test")
    assert result.status == 1
    assert result.stderr == "genomai doctor: failed: no-such-library, broken\n"
    results = {row[1]: row[2] for row in result.rows}
    assert (results["numpy"], results["broken"], results["mito"]) == ("ok", "FAILED", "ok")


def test_wrong_answers_fail_the_self_test(tmp_path):
    table = tmp_path / "calls.tsv"
    table.write_text("sample\tsuperpop\na\tEUR\n")
    check = doctor._check("self-test", "answers", lambda: doctor._require_groups(table), "fine")
    assert (check.result, check.detail) == (
        "FAILED",
        "EUR where AFR AMR EAS EUR SAS were made up",
    )
    failed = doctor._check(
        "self-test", "x", lambda: doctor._run_program(["classify", "/no-such"]), "fine"
    )
    assert "no such file" in failed.detail


def test_extras_are_those_of_the_package():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for library, (extra, _) in doctor.EXTRAS.items():
        expected = project["optional-dependencies"][extra]
        assert any(re.match(rf"{library}\b", requirement) for requirement in expected), library


def test_all_libraries_of_the_package_are_looked_for():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for_developers = {"dev", "docs", "motifs", "notebooks"}

    def names(requirements):
        return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}

    assert names(project["dependencies"]) == set(doctor.LIBRARIES)
    for extra in extras.keys() - for_developers:
        assert names(extras[extra]) <= doctor.EXTRAS.keys(), extra


def test_what_to_cite():
    assert f"genomai {__version__}" in run("cite").stdout
    text = run("cite --model ancestry").stdout
    assert "doi:10.1038/nature15393" in text
    assert "calibration" in text
    assert "Caduceus" not in text
    assert "Cambridge reference" in run("cite --model mito").stdout
    assert run("cite --model nothing").status == 1


def test_bibtex():
    text = run("cite --model ancestry-generator --format bibtex").stdout
    entries = re.findall(r"^@(\w+)\{(\w+),$", text, re.MULTILINE)
    assert ("software", "genomai") in entries
    assert ("article", "sahoo_2024") in entries
    assert text.count("{") == text.count("}")
    assert "with =" not in text


def test_every_reference_belongs_to_something_that_is_known():
    from genomai_cli.registry import EVIDENCE, INPUT_KINDS, NETWORKS, OBJECTIVES

    tables = {
        "network": NETWORKS,
        "input": INPUT_KINDS,
        "objective": OBJECTIVES,
        "evidence": EVIDENCE,
    }
    for key, entry in cite.all_references().items():
        for condition in entry["with"]:
            kind, _, name = condition.partition(":")
            assert condition == "heads" or kind == "card" or name in tables[kind], key


@pytest.mark.parametrize("line", [f"version: {__version__}", "license: Apache-2.0"])
def test_the_citation_file_is_current(line):
    assert line in (REPOSITORY / "CITATION.cff").read_text()
