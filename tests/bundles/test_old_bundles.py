"""Bundles of format 1, one of every network: they load, and answer as the program that wrote them did.

`data/bundles-format-1/make.py` says how they and `answers/` were made, with genomai 0.1.0; `denoiser` was made anew
when that network changed (ancestry-generator 1.1.0), and so were the answers of `generate`.
"""

import importlib.util
import itertools

import pytest
import torch
from conftest import DATA, run

from genomai_cli.bundles import bundle as bundles

pytestmark = pytest.mark.usefixtures("one_thread")
FOLDER = DATA / "bundles-format-1"
BUNDLES = sorted(path.parent.name for path in FOLDER.glob("*/config.json"))
TOLERANCE = 1e-6  # of vectors; everything else is the same letter for letter
VECTORS = "embed"


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
    kinds = {
        bundles.load(FOLDER / name, torch.device("cpu")).config["network"]["kind"]
        for name in BUNDLES
    }
    assert kinds >= {
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
    if VECTORS in name:
        assert_same_vectors(result.stdout, expected)
    else:
        assert result.stdout == expected


def assert_same_vectors(text: str, expected: str) -> None:
    """Two tables whose fields are equal, or numbers that hardly differ."""
    for line, other in itertools.zip_longest(
        text.splitlines(), expected.splitlines(), fillvalue=""
    ):
        fields, others = line.split("\t"), other.split("\t")
        assert len(fields) == len(others)
        for field, wanted in zip(fields, others, strict=True):
            if field != wanted:
                assert float(field) == pytest.approx(float(wanted), abs=TOLERANCE)
