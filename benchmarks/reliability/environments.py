"""Environments that lack something: memory, files, a home, a locale, a working directory, rights, shared memory.

    python -m benchmarks.reliability.environments

Three commands run in each: they give the bytes of a run in the usual one, or one line of refusal. What the machine
does not let us take away (other users and mounts need root) is said so.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reliability import jobs

REPOSITORY = Path(__file__).parents[2]
COMMANDS = (
    ("tokenize", "s.fa", "-o", "out/tokens.tsv"),
    ("classify", "s.fa", "--model", jobs.MODEL, "-o", "out/calls.tsv"),
    ("embed", "s.fa", "--model", jobs.MODEL, "-o", "out/vectors.h5"),
)
NOBODY = 65534
NOTHING_TO_TAKE = 99


@dataclass(frozen=True)
class Environment:
    """What is set before the command in a shell (`{command}`), and in its variables; None removes one."""

    name: str
    shell: str = "{command}"
    variables: dict[str, str | None] = field(default_factory=dict)
    before: Callable[[Path], None] = lambda folder: None
    may_refuse: bool = False


def _read_only(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "out").chmod(0o555)


def _for_nobody(folder: Path) -> None:
    folder.chmod(0o755)
    shutil.chown(folder / "out", NOBODY, NOBODY)


_AS_NOBODY = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "
_PRIVATE = f"unshare -m true 2>/dev/null || exit {NOTHING_TO_TAKE}; exec unshare -m sh -c '"
ENVIRONMENTS = (
    Environment("as usual"),
    Environment("64 open files", "ulimit -n 64; {command}"),
    Environment("12 open files", "ulimit -n 12; {command}", may_refuse=True),
    Environment("1.5 GB of addresses", "ulimit -v 1500000; {command}", may_refuse=True),
    Environment("300 MB of addresses", "ulimit -v 300000; {command}", may_refuse=True),
    Environment("files of at most 1 KB", "ulimit -f 1; {command}", may_refuse=True),
    Environment("no HOME", variables={"HOME": None, "XDG_CACHE_HOME": None}),
    Environment("HOME that is not there", variables={"HOME": "/nowhere"}),
    Environment(
        "the C locale",
        variables={"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ),
    Environment(
        "no variables but PATH", variables=dict.fromkeys(set(os.environ) - {"PATH", "PYTHONPATH"})
    ),
    Environment("TMPDIR that is not there", variables={"TMPDIR": "/nowhere"}),
    Environment(
        "a working directory that was removed",
        "d=$PWD; mkdir gone; cd gone; rmdir ../gone; {absolute}",
        may_refuse=True,
    ),
    Environment("nobody", _AS_NOBODY + "{command}", before=_for_nobody),
    Environment(
        "nobody, a folder that is read-only",
        _AS_NOBODY + "{command}",
        before=_read_only,
        may_refuse=True,
    ),
    Environment(
        "no /dev/shm", _PRIVATE + "mount -t tmpfs -o ro,size=4k none /dev/shm; exec {command}'"
    ),
    Environment(
        "a file system that is read-only",
        _PRIVATE + "mount --bind out out && mount -o remount,ro,bind out; exec {command}'",
        may_refuse=True,
    ),
)


def run(environment: Environment, words: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """The command's status and messages."""
    environment.before(folder)
    program = f"{sys.executable} -m genomai_cli"
    absolute = " ".join(
        [program, *(f"$d/{w}" if w.startswith(("s.fa", "out/")) else w for w in words)]
    )
    script = environment.shell.format(command=" ".join([program, *words]), absolute=absolute)
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    for name, value in environment.variables.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    ended = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=variables,
        capture_output=True,
        check=False,
        timeout=600,
    )
    return ended.returncode, ended.stderr.decode(errors="replace")


def content(target: Path) -> bytes:
    """What of an output must be the same."""
    return jobs.Job("", (), target.name).content(target.parent)


def judged(environment: Environment, words: tuple[str, ...], expected: dict[str, bytes]) -> str:
    """How it went, in a word, which is `fault` for what must not happen."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        jobs.write_sequences(folder)
        (folder / "out").mkdir()
        status, messages = run(environment, words, folder)
        (folder / "out").chmod(0o755)
        left = [
            path.name for path in (folder / "out").iterdir() if path.suffix != ".partial"
        ]  # of `--resume`
        if status == NOTHING_TO_TAKE:
            return "not possible here"
        if status == 0 and content(folder / words[-1]) == expected[words[0]]:
            return "the same bytes"
        last = (messages.strip().splitlines() or [""])[-1]
        lines = [line for line in messages.splitlines() if "warning" not in line]
        one_line = len(lines) == 1 and last.startswith("genomai") and "unexpected" not in last
        if status in (1, 2) and environment.may_refuse and one_line and not left:
            return f"refused: {last[:100]}"
        return f"fault: status {status}, left {left}: {last[:200]}"


def two_at_once(expected: dict[str, bytes]) -> str:
    """Two processes with one output: it is whole, from either."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        jobs.write_sequences(folder)
        (folder / "out").mkdir()
        command = [sys.executable, "-m", "genomai_cli", *COMMANDS[0]]
        running = [subprocess.Popen(command, cwd=folder) for _ in range(2)]
        status = [process.wait() for process in running]
        left = sorted(path.name for path in (folder / "out").iterdir())
        same = content(folder / COMMANDS[0][-1]) == expected["tokenize"]
        return (
            "the same bytes"
            if same and status == [0, 0] and left == ["tokens.tsv"]
            else f"fault: {status} {left}"
        )


def main() -> None:
    """Print a row an environment and command."""
    expected: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        jobs.write_sequences(folder)
        (folder / "out").mkdir()
        for words in COMMANDS:
            status, messages = run(ENVIRONMENTS[0], words, folder)
            assert status == 0, messages
            expected[words[0]] = content(folder / words[-1])
    ends = []
    for environment in ENVIRONMENTS:
        for words in COMMANDS:
            ends.append(judged(environment, words, expected))
            print(environment.name, words[0], ends[-1], sep="\t", flush=True)
    ends.append(two_at_once(expected))
    print("two processes with one output", "tokenize", ends[-1], sep="\t")
    faults = sum(end.startswith("fault") for end in ends)
    refused = sum(end.startswith("refused") for end in ends)
    print(
        f"{len(ends)} runs in {len(ENVIRONMENTS) + 1} environments: {refused} refused with one line, {faults} faults"
    )


if __name__ == "__main__":
    main()
