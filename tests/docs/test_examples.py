"""Every example of the README and of docs/: run as it stands, in a folder with made-up files under the names it uses.

What cannot be run is listed in expected/examples_not_run.txt; its commands and options are looked up all the same.
"""

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import made_up_files
import program_server
import pytest
from conftest import REPOSITORY, assert_expected
from page_examples import OTHER_PAGES, PAGES, Example, examples_of, unknown_arguments

# What training on made-up files would take too long without: arguments that are added to these commands.
STEPS = "--set optimization.steps=2 --set optimization.batch_size=4"
SMALL = "--set network.width=16 --set network.layers=1 --set network.positions=66"
BUDGETS = {
    "pretrain": STEPS.split(),
    "train": [*STEPS.split(), "--set", "split.folds=2"],
    "train auto": ["--time", "1s"],
    "generate": ["-n", "2"],
}
# Models that pages name before they make them, or that a reader would have: how each is made.
MODELS = {
    "dna-model": f"genomai pretrain genomes/*.fa.gz --objective masked --recipe dna {SMALL} -o dna-model",
    "next-token-model": f"genomai pretrain genomes/*.fa.gz --objective causal {SMALL} -o next-token-model",
    "labelled-dna": f"genomai pretrain promoters.fa --labels classes.tsv --objective diffusion {SMALL} -o labelled-dna",
    "promoters": "genomai train promoters.fa --labels classes.tsv -o promoters",
    "bound": "genomai train peaks.fa --labels peaks.tsv -o bound",
}
LIBRARIES = {"to_pandas": "pandas", "to_anndata": "anndata", "sklearn": "sklearn", "Bio": "Bio"}
TOOLS = ("bcftools", "torchrun", "snakemake", "multiqc", "tomtom")
RUN = [page for page in PAGES if any(e.language and not e.reason for e in examples_of(page))]
outputs_match = doctest.OutputChecker().check_output
OUTPUT_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def program(tmp_path_factory, shipped_only):
    """The folder of an executable `genomai`, which a process with all modules loaded answers."""
    folder = tmp_path_factory.mktemp("bin")
    address = str(folder / "socket")
    arguments = [sys.executable, program_server.__file__, address, json.dumps(BUDGETS)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert server.stdout.read(1) == program_server.LOADED
    client = folder / "genomai"
    client.write_text(program_server.CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    yield folder
    server.kill()
    server.communicate()


@pytest.fixture(scope="module")
def made_up_folder(tmp_path_factory, program):
    """A folder with every file, and with the models."""
    folder = tmp_path_factory.mktemp("made-up")
    made_up_files.make(folder)
    for command in MODELS.values():
        shell(command, folder, program)
    return folder


@pytest.fixture
def page_folder(made_up_folder, tmp_path, monkeypatch):
    """A copy of it for one page."""
    folder = tmp_path / "here"
    shutil.copytree(made_up_folder, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def small_parts(monkeypatch):
    """What Python trains is as small as what commands train."""
    for name, value in program_server.small_parts().items():
        monkeypatch.setattr(f"genomai_cli.training.selection.{name}", value)


def shell(text: str, folder: Path, program: Path) -> str:
    """Run shell in a folder; its standard output. Every file that it redirects to must have got something."""
    tools = f"{program}:{os.environ['PATH']}:{Path(sys.executable).parent}"
    variables = {"PATH": tools, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    result = subprocess.run(
        ["sh", "-euc", text], cwd=folder, env=os.environ | variables, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 0, f"{text}\n{result.stderr}"
    for name in re.findall(r"(?<![0-9-])> ([a-zA-Z][\w.-]*)(?=[\s;)]|$)", text):
        assert (folder / name).stat().st_size, f"{name} is empty\n{text}\n{result.stderr}"
    return result.stdout


def python(text: str, names: dict) -> str:
    """Run Python with the names that earlier examples of the page left; its standard output."""
    with redirect_stdout(StringIO()) as output:
        exec(compile(text, "<example>", "exec"), names)
    return output.getvalue()


def missing_dependency(example: Example) -> str | None:
    """A tool or library that an example needs, and that is not here."""
    if ".parquet" in example.text and not find_spec("pyarrow"):
        return "pyarrow"
    if example.language == "sh":
        search_path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
        tools_called = (
            tool for tool in TOOLS if re.search(rf"(?:^|\| ){tool} ", example.text, re.M)
        )
        return next(
            (tool for tool in tools_called if not shutil.which(tool, path=search_path)), None
        )
    needed = set(re.findall(r"^(?:from|import) (\w+)", example.text, re.MULTILINE))
    needed |= {library for name, library in LIBRARIES.items() if name in example.text}
    return next((library for library in sorted(needed) if not find_spec(library)), None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::genomai_cli.errors.GenomaiWarning")
@pytest.mark.parametrize("page", RUN, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_the_examples_of_a_page_run(page, page_folder, program, one_thread, small_parts):
    names: dict = {"__name__": "example"}
    for example in examples_of(page):
        if (
            example.reason
            or missing_dependency(example)
            or example.language not in ("sh", "python")
        ):
            continue
        if example.language == "sh":
            for name in MODELS:
                if re.search(rf"-o {name}(?![\w-])", example.text):
                    shutil.rmtree(page_folder / name, ignore_errors=True)
            output = shell(example.text, page_folder, program)
        else:
            output = python(example.text, names)
        if example.output is not None:
            assert outputs_match(example.output, output, OUTPUT_FLAGS), (
                f"{example.location} prints\n{output}"
            )


@pytest.mark.parametrize(
    "page", [*PAGES, *OTHER_PAGES], ids=lambda path: path.parent.name + path.stem
)
def test_commands_and_options_exist(page):
    for example in examples_of(page):
        for arguments in example.commands:
            assert example.language or page in OTHER_PAGES, (
                f"{example.location}: say that it is shell"
            )
            assert unknown_arguments(arguments) == [], f"{example.location}: {arguments}"


def test_few_examples_cannot_be_run():
    examples = [example for page in PAGES for example in examples_of(page)]
    left_out = [e for e in examples if e.reason or (e.language == "console")]
    lines = [
        f"{e.location.partition(':')[0]}: {e.text.splitlines()[0][:60]}: {e.reason}\n"
        for e in left_out
    ]
    assert all(example.reason for example in left_out), lines
    assert_expected("examples_not_run.txt", "".join(lines))
