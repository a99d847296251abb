"""The documentation: the site builds without a warning, and every example of the guides runs as it stands."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from conftest import REPOSITORY

GUIDES = sorted((REPOSITORY / "docs" / "guides").glob("*.md"))
EXAMPLE = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="MkDocs Material is not installed")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path / "site"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(
        list(map(str, words)),
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "WARNING" not in ended.stderr
    site = tmp_path / "site"
    assert "--proportions HEAD" in (site / "reference" / "index.html").read_text()
    assert "benchmarks/" in (site / "results" / "index.html").read_text()
    assert (site / "models" / "ancestry" / "index.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_the_examples_of_a_guide_run(guide, tmp_path):
    examples = EXAMPLE.findall(guide.read_text())
    if not examples:
        pytest.skip("it has none: what it takes has to be downloaded")
    here = tmp_path / "clone"
    here.mkdir()
    for name in ("examples", "models"):
        (here / name).symlink_to(REPOSITORY / name)
    program = tmp_path / "bin" / "genomai"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m genomai_cli "$@"\n')
    program.chmod(0o755)
    more = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    for language, text in examples:
        needed = re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
        if language == "python" and not all(map(find_spec, needed)):
            continue
        line = ["sh", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        ended = subprocess.run(
            line, cwd=here, env=os.environ | more, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{text}\n{ended.stderr}"


def test_guides_are_in_the_list_of_pages():
    for page in ("mkdocs.yml", "docs/README.md"):
        listed = (REPOSITORY / page).read_text()
        for guide in GUIDES:
            assert f"guides/{guide.name}" in listed
