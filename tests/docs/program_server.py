"""`genomai` for the shells of the documentation's examples: a process that has every module loaded forks for each call,
so that a call costs its own work and no start-up.

    python program_server.py SOCKET BUDGETS

BUDGETS (JSON) has further arguments by command, which keep the examples' training small.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import traceback
from functools import partial
from typing import Any

LOADED = b"\0"
SMALL_KRIGING = {"SETS": 4, "STEPS": 100}  # of the calibration on reference haplotypes
CLIENT = """#!{python}
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    socket.send_fds(line, [b"!"], [0, 1, 2])
    line.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    line.shutdown(socket.SHUT_WR)
    status = line.recv(1)
sys.exit(status[0] if status else 70)
"""


def serve(address: str, budgets: dict[str, list[str]]) -> None:
    """Answer calls until standard input, which the parent holds, is closed."""
    _load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        os.write(1, LOADED)
        while server in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _answer(connection, budgets)
            connection.close()


def _load() -> None:
    import genomai_cli

    for info in pkgutil.walk_packages(genomai_cli.__path__, "genomai_cli."):
        if not info.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of a library that is an extra
                importlib.import_module(info.name)
    small = {"training.selection": small_parts(), "population.networks.kriging_fit": SMALL_KRIGING}
    for module, names in small.items():
        for name, value in names.items():
            setattr(importlib.import_module(f"genomai_cli.{module}"), name, value)


def small_parts() -> dict[str, Any]:
    """Names of `training.selection` with values for which the recipe `auto` trains few and small parts."""
    from genomai_cli.backbones.sequence_ensemble import ConvolutionConfig

    return {
        "ConvolutionConfig": partial(ConvolutionConfig, filters=8, channels=4, embedding=4),
        "FOLDS": 2,
        "EPOCHS": 1,
        "MAX_K": {True: 2, False: 2},
    }


def _answer(connection: socket.socket, budgets: dict[str, list[str]]) -> None:
    """Run one call on the caller's descriptors, in its folder and environment, and end this process."""
    from genomai_cli.cli.app import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = 70
    try:
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
        with connection.makefile("rb") as stream:
            arguments, folder, environment = json.loads(stream.read())
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        status = main(arguments + budgets.get(_kind(arguments), []))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            connection.sendall(bytes([status]))
        os._exit(status)


def _kind(arguments: list[str]) -> str:
    """The command, or `train auto` where nothing names another recipe."""
    recipe = {"--recipe", "--model"} & set(arguments) or any(
        ".vcf" in argument for argument in arguments
    )
    return "train auto" if arguments[:1] == ["train"] and not recipe else "".join(arguments[:1])


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
