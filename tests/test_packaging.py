"""The wheel: everything a command needs is in it, and it works from any directory."""

import os
import subprocess
import sys
import zipfile

import pytest
from conftest import REPOSITORY

pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return next(folder.glob("genomai-*.whl"))


def test_the_wheel_holds_models_completions_man_pages_types_and_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for model in (REPOSITORY / "models").iterdir():
        for file in model.iterdir():
            assert f"genomai_cli/_models/{model.name}/{file.name}" in names
    assert "genomai_cli/py.typed" in names
    for suffix in (
        "completions/genomai",
        "site-functions/_genomai",
        "genomai.fish",
        "man1/genomai-classify.1",
        "LICENSE",
    ):
        assert any(name.endswith(suffix) for name in names), suffix
    assert not any("tests" in name or "__pycache__" in name for name in names)


def test_the_unpacked_wheel_finds_its_models_from_another_directory(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = "from genomai_cli.bundles import catalog; print(catalog.panel_of('ancestry-967'))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = tmp_path / "site" / "genomai_cli" / "_models" / "ancestry-967" / "panel.tsv"
    assert result.stdout.strip() == str(expected)
