"""Signals, closed streams, temporary names: what is interrupted leaves nothing behind, and can go on."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import run

from genomai_cli.cli import process
from genomai_cli.cli.exits import describe
from genomai_cli.errors import InputError
from genomai_cli.formats import outputs

FASTA = b">a\nACGTACGTACGT\n"
PROGRAM = [sys.executable, "-m", "genomai_cli"]


def shell(command: str, folder: Path) -> tuple[int, str]:
    """Run `genomai` in a shell, with its redirections; status and standard error."""
    script = command.replace("genomai", " ".join(PROGRAM))
    result = subprocess.run(
        ["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    return result.returncode, result.stderr


def test_a_closed_standard_error_gets_no_file(tmp_path):
    (tmp_path / "x.fa").write_bytes(FASTA)
    expected = run("tokenize", FASTA).output
    for redirection in ("2>&-", "2>&- >&-", "2>/dev/full", "<&- 2>&-"):
        status, _ = shell(f"genomai tokenize x.fa -o out.tsv {redirection}", tmp_path)
        assert status == 0
        assert (tmp_path / "out.tsv").read_bytes() == expected
    status, _ = shell("genomai tokenize nothing.fa -o none.tsv 2>&- > seen", tmp_path)
    assert status == 1
    assert (tmp_path / "seen").read_bytes() == b""
    assert shell("genomai tokenize x.fa >&-", tmp_path) == (
        1,
        "genomai tokenize: standard output is closed\n",
    )


def reset_signal_handlers():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def started_process(arguments, folder, is_ready):
    """A process for which `is_ready` has become true; it reacts to signals, also where the tests run under nohup."""
    child = subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=reset_signal_handlers,
    )
    child.stdin.write(FASTA * 20)
    child.stdin.flush()
    for _ in range(5000):
        if is_ready() or child.poll() is not None:
            return child
        time.sleep(0.02)
    raise AssertionError("it never began")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_unfinished_output(tmp_path, number):
    child = started_process(
        ["tokenize", "-", "-o", "out.tsv"], tmp_path, lambda: any(tmp_path.glob(".out.tsv.*.part"))
    )
    child.send_signal(number)
    _, messages = child.communicate(timeout=60)
    assert child.returncode == 128 + number
    assert b"Traceback" not in messages
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path):
    has_partial = lambda: any(tmp_path.glob(".out.tsv.*.part"))  # noqa: E731
    killed = started_process(["tokenize", "-", "-o", "out.tsv"], tmp_path, has_partial)
    living = started_process(
        ["tokenize", "-", "-o", "other.tsv"], tmp_path, lambda: any(tmp_path.glob(".other*"))
    )
    killed.kill()
    killed.communicate(timeout=60)
    assert has_partial()
    assert run(["tokenize", "-o", tmp_path / "out.tsv"], FASTA).status == 0
    assert not has_partial()
    assert run(["tokenize", "-o", tmp_path / "other.tsv"], FASTA).status == 0
    assert any(tmp_path.glob(".other*"))  # its process is still running
    living.communicate(FASTA, timeout=60)
    assert living.returncode == 0
    assert {file.name for file in tmp_path.iterdir()} == {"out.tsv", "other.tsv"}


def test_temporary_names_are_not_to_be_guessed(tmp_path):
    names = set()
    for _ in range(3):
        with outputs.atomic_output(tmp_path / "x"):
            names |= {file.name for file in tmp_path.iterdir() if file.name != "x"}
    assert len(names) == 3
    assert all(re.fullmatch(r"\.x\.\w{8}\.part", name) for name in names)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_takes_its_place_in_one_step(tmp_path, monkeypatch):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").touch()
    renamed = []
    monkeypatch.setattr(Path, "rename", lambda *names: renamed.append(names))
    with outputs.atomic_folder(target) as folder:
        (folder / "new").touch()
    assert [file.name for file in target.iterdir()] == ["new"]
    assert renamed == []
    monkeypatch.undo()
    monkeypatch.setattr(outputs, "_exchange_names", lambda *_: False)
    with outputs.atomic_folder(target) as folder:
        (folder / "newer").touch()
    assert [file.name for file in target.iterdir()] == ["newer"]
    (tmp_path / ".bundle.x.part").mkdir()
    target.rename(tmp_path / ".bundle.x.part" / "replaced")
    outputs.remove_unfinished(target)
    assert [file.name for file in target.iterdir()] == ["newer"]
    with pytest.raises(KeyError), outputs.atomic_folder(target) as folder:
        raise KeyError
    assert [file.name for file in tmp_path.iterdir()] == ["bundle"]


def test_a_lock_is_held_by_one(tmp_path):
    with (
        outputs.locked(tmp_path),
        pytest.raises(InputError, match="another run"),
        outputs.locked(tmp_path),
    ):
        pass
    with outputs.locked(tmp_path):
        pass


def test_signals_that_are_ignored_stay_so(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in process.ending_signals()
        with process.signals_unwind():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def train_command(folder: Path) -> list:
    """A command that trains a small network on random sequences of two compositions."""
    rng = random.Random(1)
    alphabets = {"x": "ACGT", "y": "AACG"}
    names = [(f"{label}{n}", label) for label in alphabets for n in range(40)]
    sequences = (
        f">{name}\n{''.join(rng.choices(alphabets[label], k=80))}\n" for name, label in names
    )
    (folder / "s.fa").write_text("".join(sequences))
    rows = "".join(f"{name}\t{label}\n" for name, label in names)
    (folder / "l.tsv").write_text("sample\tkind\n" + rows)
    optimization = ("steps=120", "evaluate_every=40", "checkpoint_every=0.01", "batch_size=8")
    network = ("split.folds=1", "network.layers=1", "network.width=16", "network.feed_forward=16")
    changes = [
        f"--set={setting}" for setting in (*(f"optimization.{t}" for t in optimization), *network)
    ]
    return ["train", "s.fa", "--labels", "l.tsv", "--recipe", "sequences", *changes]


@pytest.fixture(scope="module")
def expected_weights(tmp_path_factory):
    """The weights that the same command learns without an interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    result = subprocess.run(
        [*PROGRAM, *train_command(folder), "-o", "m"], cwd=folder, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return (folder / "m" / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_train_stops_with_a_checkpoint_and_goes_on_bit_for_bit(tmp_path, number, expected_weights):
    command = train_command(tmp_path)
    stopped = started_process(
        [*command, "-o", "m"], tmp_path, lambda: any(tmp_path.glob("m.training/*.pt"))
    )
    stopped.send_signal(signal.SIGSTOP)
    resume = [*PROGRAM, *command, "-o", "m", "--resume"]
    second = subprocess.run(resume, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "another run is at work" in second.stderr
    stopped.send_signal(number)
    stopped.send_signal(signal.SIGCONT)
    _, messages = stopped.communicate(timeout=120)
    assert stopped.returncode == 128 + number
    assert b"--resume goes on" in messages
    assert b"Traceback" not in messages
    resumed = subprocess.run(resume, cwd=tmp_path, capture_output=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == expected_weights
    assert not list(tmp_path.glob("m.training"))


HOOK = """
import os, sys
class Sends:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Sends())
sys.argv[0] = "genomai"
from genomai_cli.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(
    "module", ["genomai_cli.cli.tokenize", "numpy", "genomai_cli.formats.tokens"]
)
def test_a_signal_while_modules_load_ends_at_once(tmp_path, module, number):
    (tmp_path / "x.fa").write_bytes(FASTA)
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            HOOK.format(module=module, number=int(number)),
            "tokenize",
            "x.fa",
            "-o",
            "y",
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        preexec_fn=reset_signal_handlers,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert result.returncode == 128 + number
    assert result.stderr == b""
    assert [file.name for file in tmp_path.iterdir()] == ["x.fa"]


def test_threads_are_capped(monkeypatch):
    import torch

    from genomai_cli import device
    from genomai_cli import threads as of_numpy

    requested = []
    monkeypatch.setattr(torch, "set_num_threads", requested.append)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for threads in (1, 8, 100_000, None):
        device.use_threads(threads)
    assert requested == [1, 8, 8]
    assert of_numpy.count() == 8
    of_numpy.use(1)


def test_a_warning_of_a_million_records_is_told_ten_times_and_summed(tmp_path):
    records = "".join(f">r{number}\n{'ACGT' * 5}\n" for number in range(30))
    lines = run("denoise -o " + str(tmp_path / "y.fa"), records).stderr.splitlines()
    assert sum("unknown to" in line and "unchanged" in line for line in lines) == 11
    assert "30 records in all that are unknown to" in lines[-1]
    lines = run("tokenize --model mito", records).stderr.splitlines()
    assert len(lines) == 11
    assert "30 records in all are left out" in lines[-1]


def test_a_removed_working_directory_is_one_line(tmp_path):
    (tmp_path / "x.fa").write_bytes(FASTA)
    command = (
        f"mkdir gone; cd gone; rmdir ../gone; genomai tokenize {tmp_path}/x.fa -o {tmp_path}/y"
    )
    expected = "genomai tokenize: the working directory was removed: go to another one\n"
    assert shell(command, tmp_path) == (2, expected)
    assert not (tmp_path / "y").exists()


def test_a_library_that_cannot_be_loaded_is_no_unexpected_error():
    error = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert describe(error).startswith("a part of the program cannot be loaded (too little memory")


@pytest.mark.parametrize(
    ("blocks", "path", "saved"), [(1, "rows.h5.partial", 0), (8, "rows.h5.partial/whole.h5", 64)]
)
def test_what_the_disk_cannot_take_is_told_and_goes_on(
    tmp_path, tiny_sequence_bundle, blocks, path, saved
):
    records = "".join(f">r{number}\nACGTACGTACGTACGTAGGT\n" for number in range(64))
    (tmp_path / "x.fa").write_text(records)
    command = f"ulimit -f {blocks}; genomai embed --model {tiny_sequence_bundle} x.fa -o rows.h5"
    status, stderr = shell(command, tmp_path)
    assert status == 1
    first = (
        f"{tmp_path}/rows.h5.partial keeps {saved} records: the same command with --resume goes on"
    )
    assert stderr.splitlines() == [
        *([f"genomai embed: {first}"] if saved else []),
        f"genomai embed: {tmp_path}/{path}: cannot be written (File too large)",
    ]
    status, _ = shell(command.partition(";")[2] + " --resume", tmp_path)
    assert status == 0
