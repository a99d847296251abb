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
    """A shell script around the command (`{command}`), and changes of its variables; None removes one."""

    name: str
    shell: str = "{command}"
    variables: dict[str, str | None] = field(default_factory=dict)
    prepare: Callable[[Path], None] = lambda folder: None
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
    Environment("nobody", _AS_NOBODY + "{command}", prepare=_for_nobody),
    Environment(
        "nobody, a folder that is read-only",
        _AS_NOBODY + "{command}",
        prepare=_read_only,
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


def run(environment: Environment, arguments: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """The command's status and messages."""
    environment.prepare(folder)
    program = f"{sys.executable} -m genomai_cli"
    absolute = " ".join(
        [program, *(f"$d/{w}" if w.startswith(("s.fa", "out/")) else w for w in arguments)]
    )
    script = environment.shell.format(command=" ".join([program, *arguments]), absolute=absolute)
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    for name, value in environment.variables.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    process = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=variables,
        capture_output=True,
        check=False,
        timeout=600,
    )
    return process.returncode, process.stderr.decode(errors="replace")


def content(target: Path) -> bytes:
    """The bytes of an output that must be the same."""
    return jobs.Job("", (), target.name).content(target.parent)


def run_outcome(
    environment: Environment, arguments: tuple[str, ...], expected: dict[str, bytes]
) -> str:
    """The outcome in a phrase, which begins with `fault` where it must not happen."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        jobs.write_sequences(folder)
        (folder / "out").mkdir()
        status, messages = run(environment, arguments, folder)
        (folder / "out").chmod(0o755)
        left_files = [
            path.name for path in (folder / "out").iterdir() if path.suffix != ".partial"
        ]  # of `--resume`
        if status == NOTHING_TO_TAKE:
            return "not possible here"
        if status == 0 and content(folder / arguments[-1]) == expected[arguments[0]]:
            return "the same bytes"
        last_line = (messages.strip().splitlines() or [""])[-1]
        lines = [line for line in messages.splitlines() if "warning" not in line]
        one_line = (
            len(lines) == 1 and last_line.startswith("genomai") and "unexpected" not in last_line
        )
        if status in (1, 2) and environment.may_refuse and one_line and not left_files:
            return f"refused: {last_line[:100]}"
        return f"fault: status {status}, left {left_files}: {last_line[:200]}"


def two_at_once(expected: dict[str, bytes]) -> str:
    """Two processes with one output: it is whole, from either."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        jobs.write_sequences(folder)
        (folder / "out").mkdir()
        command = [sys.executable, "-m", "genomai_cli", *COMMANDS[0]]
        processes = [subprocess.Popen(command, cwd=folder) for _ in range(2)]
        status = [process.wait() for process in processes]
        left_files = sorted(path.name for path in (folder / "out").iterdir())
        same = content(folder / COMMANDS[0][-1]) == expected["tokenize"]
        return (
            "the same bytes"
            if same and status == [0, 0] and left_files == ["tokens.tsv"]
            else f"fault: {status} {left_files}"
        )


def main() -> None:
    """Print a row an environment and command."""
    expected: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        jobs.write_sequences(folder)
        (folder / "out").mkdir()
        for arguments in COMMANDS:
            status, messages = run(ENVIRONMENTS[0], arguments, folder)
            assert status == 0, messages
            expected[arguments[0]] = content(folder / arguments[-1])
    results = []
    for environment in ENVIRONMENTS:
        for arguments in COMMANDS:
            results.append(run_outcome(environment, arguments, expected))
            print(environment.name, arguments[0], results[-1], sep="\t", flush=True)
    results.append(two_at_once(expected))
    print("two processes with one output", "tokenize", results[-1], sep="\t")
    faults = sum(end.startswith("fault") for end in results)
    refused = sum(end.startswith("refused") for end in results)
    print(
        f"{len(results)} runs in {len(ENVIRONMENTS) + 1} environments: {refused} refused with one line, {faults} faults"
    )


if __name__ == "__main__":
    main()
