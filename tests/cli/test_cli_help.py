"""The frame of the program: help, version, usage errors, messages, exit statuses, completions."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import typer
from conftest import REPOSITORY, assert_expected, run

from genomai_cli import __version__
from genomai_cli.cli import app as app_module
from genomai_cli.cli.options import check_device
from genomai_cli.cli.run import Run
from genomai_cli.errors import InputError, UsageError
from genomai_cli.registry import OBJECTIVES

COMMANDS = sorted(set(app_module.COMMANDS) - {"models", "help"})


def test_version():
    assert run("--version").stdout == f"genomai {__version__}\n"


def test_help_names_every_command():
    result = run("--help")
    assert result.status == 0
    assert result.stderr == ""
    for name in [*COMMANDS, "models", "help"]:
        assert f"  {name} " in result.stdout


@pytest.mark.parametrize("command", app_module.COMMANDS)
def test_the_summary_of_a_command_is_the_first_line_of_its_own_help(command):
    first, _, others = app_module.load_command(command).help.partition("\n")
    assert first == app_module.COMMANDS[command]
    assert not others.partition("\n")[0], "the first paragraph is this line"


@pytest.mark.parametrize("command", [*COMMANDS, "models list", "models show", "models verify"])
def test_every_command_has_help_with_an_example(command):
    result = run(f"{command} --help")
    assert result.status == 0
    assert f"genomai {command}" in result.stdout.split("Messages:")[0].split("\n", 2)[2]
    for option in ("-q, --quiet", "-v, --verbose", "--report-json FILE", "-h, --help"):
        assert option in result.stdout


@pytest.mark.parametrize(
    "arguments",
    ["frobnicate", "--frobnicate", "models frobnicate", "models show", "models list --report-json"],
)
def test_wrong_usage_is_status_2(arguments):
    result = run(arguments)
    assert result.status == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("arguments", "same"), [("", "--help"), ("models", "models --help")])
def test_no_command_at_all_shows_the_help(arguments, same):
    result = run(arguments)
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout == run(same).stdout


@pytest.mark.parametrize("command", ["classify", "models", "models list"])
def test_help_shows_the_help_of_a_command(command):
    assert run(f"help {command}").stdout == run(f"{command} --help").stdout.replace(
        "genomai help", "genomai"
    )


def test_help_of_what_is_no_command_is_wrong_usage():
    assert "Did you mean 'classify'?" in run("help clasify").stderr
    assert run("help clasify").status == 2
    assert "has no commands of its own" in run("help models list all").stderr


def test_the_first_screen_shows_every_command(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("--help").stdout.splitlines()
    assert len(lines) <= 29
    assert not [
        line for line in lines if len(line) > 80 or (line.endswith("...") and "ARGS" not in line)
    ]


@pytest.mark.parametrize("command", app_module.COMMANDS)
def test_help_says_what_a_value_is_and_never_its_type(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = run(f"{command} --help").stdout
    assert not re.search(r"list\[|<\w+>|Path|x>=", text)
    assert "[default: -]" not in text


def test_options_are_in_groups():
    text = run("classify --help").stdout
    groups = re.findall(r"^(\w+):", text, re.MULTILINE)
    assert groups[1:] == [
        "Arguments",
        "Input",
        "Model",
        "Output",
        "Performance",
        "Messages",
    ]
    assert text.index("Performance:") < text.index("--threads") < text.index("Messages:")


@pytest.mark.parametrize("option", ["--only", "--organism"])
def test_what_chooses_tracks_is_told_in_the_same_words_by_every_command(option):
    descriptions = {
        (page.path.split()[-1], text)
        for page in app_module.help_pages()
        for rows in page.groups.values()
        for flag, text in rows
        if flag.split()[0] == option
    }
    assert {command for command, _ in descriptions} >= {"predict", "score", "evaluate"}
    assert len({text for _, text in descriptions}) == 1


def test_every_group_holds_options_that_exist():
    from genomai_cli.cli.help_pages import GROUPS

    options = {
        row[0].split()[-1 if row[0].startswith("-o") else 0]
        for page in app_module.help_pages()
        for rows in page.groups.values()
        for row in rows
    }
    assert {"--model", "--panel"} <= options
    (predict,) = (page for page in app_module.help_pages() if page.path.endswith("predict"))
    output_options = [row[0].split()[0] for row in predict.groups["Output"]]
    assert {"--resolution", "--aggregation"} <= set(output_options)
    assert set(GROUPS) == {"Input", "Model", "Output", "Performance", "Messages"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("embed --to xx", "Invalid value for '--to': 'xx' is not one of"),
        ("generate -n x", "Invalid value for '-n' / '--number': not a whole number"),
        ("generate -n -3", "Invalid value for '-n' / '--number': must be at least 1"),
        ("generate --top-p 3", "Invalid value for '--top-p': must be at most 1"),
        ("classify --modl x", "No such option: --modl. Did you mean --model?"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(arguments, message):
    error = run(arguments).stderr
    assert message in error
    assert "Value error" not in error
    assert "Input should be" not in error


def test_man_pages_hold_every_option_and_are_roff():
    pages = app_module.manual()
    assert {"genomai.1", "genomai-classify.1", "genomai-models-list.1"} <= pages.keys()
    for name, text in pages.items():
        assert text.startswith(".TH "), name
        assert r"\-\-help" in text or name == "genomai-help.1"
    assert r"\fB\-\-proportions HEAD\fR" in pages["genomai-classify.1"]
    if shutil.which("man"):
        command = ["man", "--warnings", "-l", "-"]
        for text in (pages["genomai-classify.1"], pages["genomai.1"]):
            result = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
            assert result.stderr == ""


def test_the_reference_page_has_every_command():
    from genomai_cli.cli.help_pages import markdown

    page = markdown(app_module.help_pages())
    for name in [*COMMANDS, "models list"]:
        assert f"## genomai {name}\n" in page


def test_a_table_is_cut_to_a_terminal_and_whole_in_a_pipe(monkeypatch, capsys):
    from genomai_cli.cli.console import show_table

    rows = [("a", "1", "x" * 100), ("bcd", "22", "short")]
    show_table(("name", "n", "text"), rows)
    assert capsys.readouterr().out.splitlines()[1] == "a\t1\t" + "x" * 100
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    show_table(("name", "n", "text"), rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name  n   text"
    assert lines[1].startswith("a     1   xxx")
    assert lines[1].endswith("...")
    assert max(map(len, lines)) == 40


def test_a_typing_error_brings_a_suggestion():
    assert "Did you mean 'models'?" in run("modles list").stderr


# --- errors and statuses -------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch):
    """`genomai models list` made to fail with a given error."""

    def fail_with(error):
        def names():
            raise error

        monkeypatch.setattr("genomai_cli.bundles.catalog.names", names)

    return fail_with


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("odd", path="x.fa", line=3), 1, "x.fa:3: odd"),
        (InputError("odd", path="-"), 1, "<stdin>: odd"),
        (UsageError("--a and --b"), 2, "--a and --b"),
        (FileNotFoundError(2, "No such file or directory", "x.fa"), 1, "x.fa: No such file or directory"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (MemoryError(), 1, "out of memory"),
        (ValueError("two\nlines"), 1, "unexpected ValueError: two lines (-v shows the traceback)"),
        (EOFError("cut"), 1, "unexpected EOFError: cut (-v shows the traceback)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_a_status(failing, error, status, message):
    failing(error)
    result = run("models list")
    assert result.status == status
    assert result.stderr == f"genomai models list: {message}\n"


def test_a_closed_pipe_is_silent(failing):
    failing(BrokenPipeError(32, "Broken pipe"))
    result = run("models list")
    assert result.status == 141
    assert result.stderr == ""


def test_verbose_shows_the_traceback_of_the_unexpected_only(failing):
    failing(ValueError("odd"))
    assert "Traceback" in run("models list -v").stderr
    failing(InputError("odd", path="x.fa"))
    assert "Traceback" not in run("models list -v").stderr


def test_a_reader_that_leaves_ends_the_program_as_sigpipe_would():
    """`genomai models list | true`, with standard output closed before the first byte."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as output:
        result = subprocess.run(
            [sys.executable, "-m", "genomai_cli", "models", "list"],
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert result.stderr == b""
    assert result.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error():
    with open("/dev/full", "wb") as output:
        result = subprocess.run(
            [sys.executable, "-m", "genomai_cli", "models", "list"],
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert result.returncode == 1
    assert b"No space left on device" in result.stderr
    assert result.stderr.count(b"\n") == 1


def test_termination_unwinds_the_stack(monkeypatch, tmp_path):
    """SIGTERM leaves no half-written file behind, and status 143."""
    from genomai_cli.formats.outputs import atomic_output

    def names():
        with atomic_output(tmp_path / "out.tsv") as file:
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    monkeypatch.setattr("genomai_cli.bundles.catalog.names", names)
    before = signal.getsignal(signal.SIGTERM)
    assert run("models list").status == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


# --- the run's record, inputs, messages --------------------------------------------------------


def test_report_json(tmp_path):
    path = tmp_path / "report.json"
    assert run(["models", "list", "--report-json", path]).status == 0
    report = json.loads(path.read_text())
    assert report["schema_version"] == 1
    assert report["program"] == "genomai"
    assert report["version"] == __version__
    assert report["command"] == "models list"
    assert report["arguments"]["report-json"] == str(path)
    assert report["status"] == "done"
    assert report["records"]["refused"] == 0
    assert set(report) == {
        *("schema_version", "program", "version", "command", "arguments", "started", "seed"),
        *(
            "device",
            "model",
            "inputs",
            "files",
            "records",
            "details",
            "elapsed_seconds",
            "status",
            "error",
        ),
    }


def test_report_json_is_written_for_a_failed_run_as_well(tmp_path):
    path = tmp_path / "report.json"
    assert run(["models", "show", "nothing", "--report-json", path]).status == 1
    report = json.loads(path.read_text())
    assert report["status"] == "failed"
    assert "no model named 'nothing'" in report["error"]


def test_report_json_into_a_missing_folder_is_an_error(tmp_path):
    result = run(["models", "list", "--report-json", tmp_path / "no" / "report.json"])
    assert result.status == 1
    assert "its folder does not exist" in result.stderr


def run_with(**options):
    """A `Run` as a command with these options would make it."""
    context = typer.Context(typer.main.get_command(app_module.app), info_name="genomai")
    context.params = options
    return Run(context)


def test_no_input_is_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    assert [str(path) for path in run_with(inputs=None).inputs] == ["-"]


def test_no_input_on_a_terminal_is_wrong_usage(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(UsageError, match="no input: name a file"):
        assert run_with(inputs=None).inputs
    assert run_with(inputs=["-"]).inputs == ["-"]


def test_progress_passes_the_items_on_and_draws_nothing_off_a_terminal(capsys):
    console = run_with().console
    assert list(console.progress(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_messages_obey_quiet_and_verbose(capsys):
    for quiet, verbose, expected in [
        (False, False, "genomai: said\ngenomai: warning: warned\n"),
        (False, True, "genomai: said\ngenomai: warning: warned\ngenomai: detailed\n"),
        (True, True, ""),
    ]:
        console = run_with(quiet=quiet, verbose=verbose).console
        console.say("said")
        console.warn("warned")
        console.detail("detailed")
        assert capsys.readouterr().err == expected


# --- golden help ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["models", "models-list", "models-show", "models-verify"])
def test_help_text(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert_expected(f"help-{command}.txt", run(f"{command.replace('-', ' ')} --help").stdout)


# --- what help lists is accepted, and what is accepted is listed -----------------------------------


def help_of(command):
    """The help on one line."""
    return re.sub(r"(\w-) (?=\w)", r"\1", " ".join(run(f"{command} --help").stdout.split()))


CHOICES = [
    (command, option, listed.split("|"))
    for command in COMMANDS
    for option, listed in re.findall(r"(--[a-z-]+) <([\w|]+\|[\w|]+)>", help_of(command))
]


def command_line(command, option, choice, folder):
    """A command line whose only fault is an input, or a model, that does not exist."""
    absent = ["--model", "no-such-model"] if command == "generate" else [folder / "absent"]
    return [command, option, choice, *absent]


@pytest.mark.parametrize(("command", "option", "listed"), CHOICES)
def test_each_choice_in_help_is_accepted(command, option, listed, tmp_path):
    for choice in listed:
        result = run(command_line(command, option, choice, tmp_path))
        assert result.status != 0
        assert "Invalid value" not in result.stderr
    assert "Invalid value" in run(command_line(command, option, "no-such", tmp_path)).stderr


def test_the_options_with_choices_are_found():
    found = {(command, option) for command, option, _ in CHOICES}
    assert found == {
        *(("classify", "--to"), ("embed", "--to"), ("embed", "--pool"), ("embed", "--strand")),
        *(("evaluate", "--task"), ("evaluate", "--format"), ("denoise", "--to")),
        *(("predict", "--to"), ("predict", "--aggregation"), ("predict", "--strand")),
        *(("explain", "--method"), ("explain", "--strand")),
        *(("generate", "--to"), ("generate", "--build")),
        *(("score", "--to"), ("score", "--strand"), ("score", "--aggregation")),
        *(("train", "--adapt"), ("train", "--target")),
        *(("tokenize", "--tokenizer"), ("tokenize", "--to"), ("cite", "--format")),
    }


def test_every_pool_is_a_choice():
    from genomai_cli.backbones.classifier import POOLS

    assert ("embed", "--pool", list(POOLS)) in CHOICES


def test_each_tokenizer_in_help_is_made_by_its_name_alone():
    from genomai_cli.tokenizers import from_config

    (listed,) = [listed for _, option, listed in CHOICES if option == "--tokenizer"]
    for name in listed:
        assert from_config({"kind": name}).vocabulary


def test_each_device_in_help_is_accepted():
    helps = map(help_of, COMMANDS)
    choices = {names for text in helps for names in re.findall(r"--device ([a-zN|:]+)", text)}
    assert choices
    for name in "|".join(choices).split("|"):
        device = name.replace("N", "0")
        assert check_device(device) == device


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_each_preset_in_help_is_one(command):
    from genomai_cli.training.recipe_tables import presets

    defaults = re.search(r"How to train\. \[default: (.*?)\]", help_of(command))[1]
    sentences = re.split(
        r"[,;] (?:or )?(?:for (?:crossmodal|diffusion|causal|omics|tracks))?", defaults
    )
    named = [sentence.split()[0] for sentence in sentences if sentence.strip()]
    assert named
    assert set(named) <= set(presets())


def test_each_model_in_help_is_installed():
    from genomai_cli.bundles import catalog

    pattern = r"(?:panel of the model|for barcodes|else of) ([a-z][a-z0-9-]+)"
    named = {name for command in COMMANDS for name in re.findall(pattern, help_of(command))}
    assert named
    assert named <= set(catalog.names())


def objective_error(names, tmp_path):
    """The error of `pretrain --objective` with these names and a recipe that does not exist."""
    (tmp_path / "a.fa").write_text(">a\nACGT\n")
    options = ["--objective", names, "--recipe", "no-such-recipe", "-o", tmp_path / "made"]
    result = run(["pretrain", tmp_path / "a.fa", *options])
    assert result.status != 0
    return result.stderr


def test_each_objective_in_help_is_accepted_and_every_one_is_named(tmp_path):
    named = re.search(r"What to train by: (.*?); several", help_of("pretrain"))[1]
    names = re.findall(r"[a-z_]{3,}", named)
    assert names == list(OBJECTIVES)
    for name in [*names, ",".join(f"{name}:0.5" for name in names)]:
        assert "no-such-recipe" in objective_error(name, tmp_path)


def test_an_objective_that_is_none_is_refused_with_those_that_there_are(tmp_path):
    error = objective_error("both", tmp_path)
    assert f"no objective 'both' (there are: {', '.join(OBJECTIVES)})" in error


def documented():
    """The command lines of README, the pages of docs, and the help of the commands."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    for page in pages:
        blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            yield from ((page.name, part) for part in _calls(line))
    for command in COMMANDS:
        for line in run(f"{command} --help").stdout.splitlines():
            yield from ((f"{command} --help", part) for part in _calls(line))


def _calls(line):
    """The calls of `genomai` in a line of shell."""
    for part in re.split(r"[|>&;]|\$\(|#", line):
        if found := re.match(r"\s*genomai (?!models)([a-z]+ .*)", part):
            yield found[1]


@pytest.mark.parametrize(("page", "line"), sorted(set(documented())))
def test_documented_commands_have_such_options_and_choices(page, line):
    command, *arguments = line.replace("...", "").split()
    if command not in COMMANDS:
        pytest.skip("prose")
    text = help_of(command)
    choices = {option: listed for name, option, listed in CHOICES if name == command}
    for number, argument in enumerate(arguments):
        if not re.fullmatch(r"--[a-z][a-z-]*", argument):
            continue
        assert re.search(rf"{argument}\b", text), f"{page}: {command} has no {argument}"
        if argument in choices:
            assert arguments[number + 1] in choices[argument], f"{page}: {line}"
        if argument == "--objective":
            names = [part.partition(":")[0] for part in arguments[number + 1].split(",")]
            assert set(names) <= set(OBJECTIVES), f"{page}: {line}"
