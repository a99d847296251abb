"""The workflows run by the real programs, and files for package managers in step with the program."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from conftest import REPOSITORY, run

from genomai_cli import __version__

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def program_or_skip(name):
    interpreter_folder = str(Path(sys.executable).parent)
    found = shutil.which(name, path=f"{interpreter_folder}:{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


@pytest.fixture
def workdir(tmp_path):
    """A folder with a sheet of two files, and the program of this checkout in the path."""
    program = tmp_path / "bin" / "genomai"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m genomai_cli "$@"\n')
    program.chmod(0o755)
    rows = "".join(f"{n}\t{REPOSITORY}/examples/samples.{n}\n" for n in ("vcf.gz", "fa"))
    (tmp_path / "samples.tsv").write_text("name\tfile\n" + rows)
    return tmp_path


def snakemake(workdir, *options):
    command = [program_or_skip("snakemake"), "-s", REPOSITORY / "workflows/snakemake/Snakefile"]
    command += [
        "-c",
        "1",
        "--config",
        "sheet=samples.tsv",
        "options=--model ancestry-967",
        *options,
    ]
    path = f"{workdir}/bin:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY), "HOME": str(workdir)}
    return subprocess.run(
        list(map(str, command)),
        cwd=workdir,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_snakemake_makes_one_table_and_goes_on_where_it_failed(workdir):
    sheet = (workdir / "samples.tsv").read_text()
    broken = workdir / "broken.vcf"
    broken.write_text("##fileformat=VCFv4.2\n")
    (workdir / "samples.tsv").write_text(sheet + f"broken\t{broken}\n")
    failed = snakemake(workdir, "--keep-going")
    assert failed.returncode != 0
    assert "no #CHROM line" in (workdir / "results/logs/broken.log").read_text()
    assert not (workdir / "results/populations.tsv").exists()
    modified = (workdir / "results/calls/fa.tsv").stat().st_mtime_ns
    (workdir / "samples.tsv").write_text(sheet)
    completed = snakemake(workdir)
    assert completed.returncode == 0, completed.stderr
    assert (workdir / "results/calls/fa.tsv").stat().st_mtime_ns == modified
    with (workdir / "results/populations.tsv").open(newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    assert [row["set"] for row in rows] == ["vcf.gz"] * 12 + ["fa"] * 12
    assert rows[0]["superpop"] == rows[12]["superpop"]
    record = json.loads((workdir / "results/calls/fa.json").read_text())
    assert record["status"] == "done"
    flag_rows = (workdir / "results/flags.tsv").read_text().splitlines()
    assert sum(int(line.split("\t")[2]) for line in flag_rows[1:] if line.startswith("fa\t")) >= 12
    assert "Nothing to be done" in snakemake(workdir).stderr


def test_the_recipe_needs_what_the_package_needs():
    recipe = (REPOSITORY / "packaging/bioconda/meta.yaml").read_text()
    assert f'version = "{__version__}"' in recipe
    other_names = {"torch": "pytorch", "matplotlib": "matplotlib-base", "isal": "python-isal"}
    for requirement in PROJECT["dependencies"]:
        name, bounds = re.match(r"([\w-]+)([^;]*)", requirement).groups()
        assert f"- {other_names.get(name, name)} {bounds.strip()}\n" in recipe, requirement


def test_the_versions_of_containers_and_modules_are_the_program_s():
    for name in ("containers/genomai.def", "workflows/nextflow/classify/main.nf"):
        assert __version__ in (REPOSITORY / name).read_text(), name


def test_options_in_modules_and_tools_are_the_program_s():
    help_text = run("classify --help").stdout
    tool = ElementTree.parse(REPOSITORY / "packaging/galaxy/genomai_classify.xml")
    assert tool.getroot().get("version").startswith(__version__)
    texts = [
        tool.findtext("command"),
        (REPOSITORY / "workflows/nextflow/classify/main.nf").read_text(),
    ]
    texts.append((REPOSITORY / "workflows/snakemake/Snakefile").read_text())
    for text in texts:
        call = re.search(
            r"genomai classify(.*?)(?:'\$genotypes'|\$genotypes|\{input)", text, re.DOTALL
        )
        for option in re.findall(r"--[a-z-]+", call[1]):
            assert option in help_text, option


def test_the_dockerfile_is_linted():
    hadolint = program_or_skip("hadolint")
    subprocess.run([hadolint, REPOSITORY / "containers/Dockerfile"], check=True)
