"""The documentation as a site: it builds without a warning, and its lists name every guide."""

import os
import runpy
import subprocess
import sys

import pytest
from conftest import REPOSITORY

GUIDES = sorted((REPOSITORY / "docs" / "guides").glob("*.md"))


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="MkDocs Material is not installed")
    arguments = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path / "site"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        list(map(str, arguments)),
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    site = tmp_path / "site"
    assert "--proportions HEAD" in (site / "reference" / "index.html").read_text()
    assert "benchmarks/" in (site / "results" / "index.html").read_text()
    assert (site / "models" / "ancestry" / "index.html").is_file()


def test_the_pictures_are_those_of_their_script():
    folder = REPOSITORY / "docs" / "images"
    script = runpy.run_path(str(folder / "make_diagrams.py"))
    for name, columns in script["PICTURES"].items():
        assert (folder / f"{name}.svg").read_text() == script["svg"](columns)


def test_guides_are_in_the_list_of_pages():
    for page in ("mkdocs.yml", "docs/README.md"):
        listed = (REPOSITORY / page).read_text()
        for guide in GUIDES:
            assert f"guides/{guide.name}" in listed
