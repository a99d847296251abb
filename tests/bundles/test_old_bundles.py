"""Bundles of format 1, one of every network: they load, and answer as the program that wrote them did.

`data/bundles-format-1/make.py` says how they and `answers/` were made, with genomai 0.1.0; `denoiser` was made anew
when that network changed (ancestry-generator 1.1.0), and so were the answers of `generate`.
"""

import importlib.util
import itertools
import re

import pytest
import torch
from conftest import DATA, run

from genomai_cli.bundles import bundle as bundles

pytestmark = pytest.mark.usefixtures("one_thread")
FOLDER = DATA / "bundles-format-1"
BUNDLES = sorted(path.parent.name for path in FOLDER.glob("*/config.json"))
# Of vectors, and of probabilities that linear algebra in single precision makes, whose last digit is another one by
# another library of it; everything else is the same letter for letter.
TOLERANCES = {"embed": 1e-6, "region.denoise": 1.01e-4}


def commands() -> dict[str, str]:
    """The file of an answer, and the command that gave it."""
    spec = importlib.util.spec_from_file_location("old_bundles", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ANSWERS


ANSWERS = commands()


@pytest.fixture
def in_folder(monkeypatch):
    monkeypatch.chdir(FOLDER)


def test_there_is_a_bundle_of_every_network_and_an_answer_of_every_bundle():
    network_kinds = {
        bundles.load(FOLDER / name, torch.device("cpu")).config["network"]["kind"]
        for name in BUNDLES
    }
    assert network_kinds >= {
        "sites",
        "transformer",
        "profile",
        "lineages",
        "denoiser",
        "region",
        "crossmodal",
    }
    assert {name.split(".")[0] for name in ANSWERS} == set(BUNDLES)
    assert {path.name for path in (FOLDER / "answers").iterdir()} == set(ANSWERS)


@pytest.mark.parametrize("name", BUNDLES)
def test_an_old_bundle_is_as_it_was_made(name):
    result = run(["models", "verify", FOLDER / name])
    assert (result.status, result.rows[0][1]) == (0, "OK"), result.stderr


@pytest.mark.parametrize("name", ANSWERS)
def test_an_old_bundle_answers_as_before(name, in_folder):
    command = ANSWERS[name].split()
    device = [] if command[0] == "tokenize" else ["--device", "cpu", "--threads", "1"]
    result = run([*command, "-q", *device])
    assert result.status == 0, result.stderr
    expected = (FOLDER / "answers" / name).read_text()
    tolerance = next((TOLERANCES[part] for part in TOLERANCES if part in name), None)
    if tolerance is None:
        assert result.stdout == expected
    else:
        assert_same_numbers(result.stdout, expected, tolerance)


def assert_same_numbers(text: str, expected: str, tolerance: float) -> None:
    """Two tables whose fields, and parts of these, are equal, or numbers that hardly differ."""
    for line, expected_line in itertools.zip_longest(
        text.splitlines(), expected.splitlines(), fillvalue=""
    ):
        fields, expected_fields = (
            re.split("[\t:,]", text_line) for text_line in (line, expected_line)
        )
        assert len(fields) == len(expected_fields)
        for field, expected_field in zip(fields, expected_fields, strict=True):
            if field != expected_field:
                assert float(field) == pytest.approx(float(expected_field), abs=tolerance)
