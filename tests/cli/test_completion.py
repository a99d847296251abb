"""Completion: what is offered at the cursor, by the answers of the program and in the shells themselves."""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY, run_process

from genomai_cli.cli import completion

SCRIPTS = REPOSITORY / "genomai_cli" / "cli" / "completions"


def complete(line, shell="fish", **variables):
    """The completions of a line up to the cursor: the kinds of files, and the values."""
    environment = {"_GENOMAI_COMPLETE": shell, "_GENOMAI_LINE": f"genomai {line}", **variables}
    result = run_process("", environment=environment)
    assert result.stderr == ""
    files, *rows = result.stdout.splitlines()
    return files, [row.split("\t")[0] for row in rows]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mod", ["models"]),
        ("models sh", ["show"]),
        ("models list --rep", ["--report-json"]),
        ("classify --prop", ["--proportions"]),
        ("embed --to t", ["tsv"]),
        ("embed --to=t", ["--to=tsv"]),
        ("embed --device=c", ["--device=cpu", "--device=cuda"]),
        ("classify --model=ancestry-", ["--model=ancestry-967", "--model=ancestry-generator"]),
        ("models show ancestry-9", ["ancestry-967"]),
        ("train --recipe evo", ["evo2-tiny"]),
        ("generate --phenotype EU", ["EUR"]),
        ("generate --phenotype EUR:0.5,AF", ["EUR:0.5,AFR"]),
        ("pretrain --objective mas", ["masked"]),
        ("classify --proportions su", ["superpop"]),
        ("classify --model mito --proportions hap", ["haplogroup"]),
        ("explain --model ancestry --class GB", ["GBR"]),
        ("classify --nothing x --mod", ["--model"]),
        ("nothing ", []),
        ("classify --nothing=", []),
        ("classify 'open --quote", []),
    ],
)
def test_values(line, expected, shipped_only):
    _, values = complete(line)
    assert values == expected


@pytest.mark.parametrize(
    ("line", "endings"),
    [
        ("classify ", {"vcf", "vcf.gz", "bcf", "fa", "fq.gz", "tsv"}),
        ("train --labels ", {"tsv", "csv.gz"}),
        ("score --reference=", {"fa", "fa.gz"}),
        ("train --recipe ", {"toml"}),
        ("embed --output ", {completion.ANY_FILE}),
        ("classify --model ", {completion.FOLDERS}),
        ("classify --pcs ", {completion.NO_FILES}),
        ("classify --", {completion.NO_FILES}),
    ],
)
def test_files(line, endings):
    assert endings <= set(complete(line)[0].split())


def test_columns_of_the_labels_on_the_line(tmp_path):
    table = tmp_path / "labels.tsv"
    table.write_text("sample\tpopulation\tsex\na\tGBR\tf\n")
    assert complete(f"train --labels {table} --head po")[1] == ["population"]
    assert complete(f"train --labels {table} --head pop=s")[1] == ["pop=sex"]
    assert complete("train --labels /nowhere.tsv --head po")[1] == []


def test_a_damaged_model_is_left_out_in_silence(models_folder):
    for name, text in (("toy-one", '{"format_version": 1, "name": "x"}'), ("toy-bad", "{")):
        (models_folder / name).mkdir()
        (models_folder / name / "config.json").write_text(text)
    assert "toy-bad" not in complete("models show toy")[1]


def test_neither_torch_nor_numpy_is_loaded_for_a_name():
    program = (
        "import sys; from genomai_cli.cli.app import main; main([]);"
        "print({'torch', 'numpy', 'rich'} & set(sys.modules))"
    )
    for line in ("train --recipe ", "classify --model ", "generate --phenotype ", "train --"):
        environment = {"_GENOMAI_COMPLETE": "bash", "_GENOMAI_LINE": f"genomai {line}"}
        command = [sys.executable, "-c", program]
        result = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, check=True
        )
        assert len(result.stdout.splitlines()) > 3
        assert result.stdout.splitlines()[-1] == "set()"


def test_ctrl_c_is_silent():
    """Before the answer is there the program dies of the signal, as it does while it loads."""
    environment = os.environ | {
        "_GENOMAI_COMPLETE": "fish",
        "_GENOMAI_LINE": "genomai classify --model ",
    }
    program = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"  # a shell's background jobs ignore it
        "import genomai_cli.__main__ as m\n"
        "from genomai_cli.bundles import catalog\n"
        "catalog.names = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "m.main([])"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_the_program_prints_the_script_of_a_shell(shell):
    result = run_process("", environment={"_GENOMAI_COMPLETE": f"source_{shell}"})
    assert result.stdout == (SCRIPTS / completion.SCRIPTS[shell]).read_text()


# --- in the shells --------------------------------------------------------------------------------


@pytest.fixture
def working_folder(tmp_path, monkeypatch):
    """A folder with files of several kinds, and the program of this checkout in the path."""
    program = tmp_path / "bin" / "genomai"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m genomai_cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GENOMAI_MODELS", raising=False)
    folder = tmp_path / "files"
    (folder / "folder").mkdir(parents=True)
    for name in ("first.vcf.gz", "first.md", "fields.tsv", "a file.vcf"):
        (folder / name).touch()
    return folder


def shell_or_skip(shell):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


def output_of(shell, script, folder):
    command = [shell_or_skip(shell), "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout


def bash_offers(line, folder):
    """What bash would offer, its words split at = and : as readline does."""
    words = (
        line.replace("=", " = ").split(" ") if not line.endswith("=") else [*line[:-1].split(), "="]
    )
    script = f"""
        source {SCRIPTS}/genomai.bash
        COMP_LINE={line!r} COMP_POINT={len(line)}
        COMP_WORDS=({" ".join(map(repr, words))}) COMP_CWORD={len(words) - 1}
        _genomai_completion genomai
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return sorted(filter(None, output_of("bash", script, folder).splitlines()))


def test_bash(working_folder):
    assert bash_offers("genomai mod", working_folder) == ["models"]
    assert bash_offers("genomai models list --rep", working_folder) == ["--report-json"]
    assert bash_offers("genomai classify --model=ancestry-9", working_folder) == ["ancestry-967"]
    assert bash_offers("genomai classify f", working_folder) == [
        "fields.tsv",
        "first.vcf.gz",
        "folder",
    ]
    assert bash_offers("genomai train --labels fi", working_folder) == ["fields.tsv"]
    assert bash_offers("genomai classify --model=", working_folder)[-2:] == [
        "mito-denoiser",
        "mito-pretrained",
    ]
    assert bash_offers("genomai classify -o fi", working_folder) == [
        "fields.tsv",
        "first.md",
        "first.vcf.gz",
    ]


def fish_offers(line, folder):
    script = f"source {SCRIPTS}/genomai.fish; complete -C {line!r}"
    return sorted(row.split("\t")[0] for row in output_of("fish", script, folder).splitlines())


def test_fish(working_folder):
    assert fish_offers("genomai mod", working_folder) == ["models"]
    assert fish_offers("genomai models list --rep", working_folder) == ["--report-json"]
    assert fish_offers("genomai classify --model=ancestry-9", working_folder) == [
        "--model=ancestry-967"
    ]
    assert fish_offers("genomai classify f", working_folder) == [
        "fields.tsv",
        "first.vcf.gz",
        "folder/",
    ]
    assert fish_offers("genomai train --labels=fi", working_folder) == ["--labels=fields.tsv"]
    assert fish_offers("genomai classify -o fi", working_folder) == [
        "fields.tsv",
        "first.md",
        "first.vcf.gz",
    ]


def complete_on_terminal(command, setup, line, expected, folder):
    """The screen of a shell on a terminal after TAB, read until the expected text is on it."""
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ |= {"TERM": "dumb", "PS1": "> "}
        os.execv(command[0], command)
    screen = ""
    try:
        os.write(terminal, f"{setup}; echo rea''dy\n".encode())
        screen = _read_until(terminal, "ready\r\n")
        os.write(terminal, f"{line}\t".encode())
        screen = _read_until(terminal, expected)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    return screen


def _read_until(terminal, expected):
    screen, end = "", time.monotonic() + 60
    while expected not in screen and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            screen += os.read(terminal, 4096).decode(errors="replace")
    return screen


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("genomai classify --model=ancestry-g", "enerator"),
        ("genomai models sh", "ow"),
        ("genomai classify fir", "st.vcf.gz"),
        ("genomai train --labels fi", "elds.tsv"),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_on_a_terminal(shell, line, expected, working_folder):
    arguments = {"bash": ["--norc", "-i"], "zsh": ["-f", "-i"]}[shell]
    setup = {
        "bash": f"source {SCRIPTS}/genomai.bash",
        "zsh": f"fpath=({SCRIPTS} $fpath); autoload -U compinit; compinit -u -D",
    }[shell]
    screen = complete_on_terminal(
        [shell_or_skip(shell), *arguments], setup, line, expected, working_folder
    )
    assert expected in screen.replace("\r", "").replace("\x07", "").replace("\x08", "")


def test_the_scripts_are_valid():
    for shell, name in completion.SCRIPTS.items():
        if shutil.which(shell):
            subprocess.run([shell, "-n", Path(SCRIPTS / name)], check=True)
