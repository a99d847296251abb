"""What the tests share: the program run in this process or in a fresh one, and golden outputs."""

import io
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
DATA = TESTS / "data"
EXPECTED = TESTS / "expected"


@dataclass(frozen=True)
class Result:
    """How a run of the program ended; `output` is what `stdout` is the text of."""

    status: int
    output: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """Standard output as text."""
        return self.output.decode()

    @property
    def rows(self) -> list[list[str]]:
        """Standard output as the fields of a TSV."""
        return [line.split("\t") for line in self.stdout.splitlines()]


def run(arguments: str | list[str], stdin: str | bytes | Path = b"") -> Result:
    """Run `genomai ARGUMENTS` in this process, with real file descriptors; start-up costs nothing."""
    from genomai_cli.cli.app import main

    words = shlex.split(arguments) if isinstance(arguments, str) else arguments
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(_bytes(stdin))
        files[0].seek(0)
        with _standard_streams(files):
            status = main([str(word) for word in words])
        return Result(status, _content(files[1]), _content(files[2]).decode())


def run_process(
    arguments: str | list[str],
    stdin: str | bytes | Path = b"",
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Result:
    """Run `python -m genomai_cli ARGUMENTS` in a fresh interpreter."""
    words = shlex.split(arguments) if isinstance(arguments, str) else arguments
    ended = subprocess.run(
        [sys.executable, "-m", "genomai_cli", *map(str, words)],
        input=_bytes(stdin),
        capture_output=True,
        env=os.environ | (environment or {}),
        cwd=cwd,
        check=False,
        timeout=120,
    )
    return Result(ended.returncode, ended.stdout, ended.stderr.decode())


def assert_expected(name: str, text: str) -> None:
    """Compare with the golden file `expected/NAME`; GENOMAI_UPDATE_EXPECTED=1 rewrites it instead."""
    golden = EXPECTED / name
    if os.environ.get("GENOMAI_UPDATE_EXPECTED"):
        golden.write_text(text)
    assert text == golden.read_text()


def _bytes(given: str | bytes | Path) -> bytes:
    if isinstance(given, Path):
        return given.read_bytes()
    return given.encode() if isinstance(given, str) else given


def _content(file: io.BufferedRandom) -> bytes:
    file.seek(0)
    return file.read()


@contextmanager
def _standard_streams(files: list[io.BufferedRandom]) -> Iterator[None]:
    """Files in the place of the descriptors 0, 1 and 2, and of `sys.stdin` and its sisters."""
    with ExitStack() as stack:
        for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
            mode = "r" if descriptor == 0 else "w"
            stack.enter_context(_replaced(descriptor, files[descriptor], name, mode))
        yield


@contextmanager
def _replaced(descriptor: int, file: io.BufferedRandom, name: str, mode: str) -> Iterator[None]:
    stream, kept = getattr(sys, name), os.dup(descriptor)
    if mode == "w":
        stream.flush()
    os.dup2(file.fileno(), descriptor)
    setattr(sys, name, io.open(descriptor, mode, encoding="utf-8", newline="", closefd=False))  # noqa: SIM115, UP020
    try:
        yield
    finally:
        getattr(sys, name).close()
        setattr(sys, name, stream)
        os.dup2(kept, descriptor)
        os.close(kept)


@pytest.fixture
def models_folder(tmp_path, monkeypatch) -> Path:
    """An empty folder in which the program looks for models before the shipped ones."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("GENOMAI_MODELS", str(folder))
    return folder
