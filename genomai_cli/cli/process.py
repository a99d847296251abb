"""The program as a process: its standard streams, and the signals that end it.

Streams: a descriptor that is closed at the start is never given to a file, so that messages cannot end up in data; what
standard error cannot take is lost without harm. Signals unwind the stack, so that unfinished outputs are removed,
except while modules load, which would swallow an exception or make another of it: then the process ends at once.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from genomai_cli.errors import UsageError

INTERRUPTED, TERMINATED = 130, 143
BROKEN_PIPE = 141  # what a shell reports for death by SIGPIPE
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


def ending_signals() -> list[signal.Signals]:
    """The signals that ask the program to end; those that its parent has it ignore (nohup, &) are none."""
    available = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    return [number for number in available if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def signals_unwind() -> Iterator[None]:
    """Let the signals unwind the stack, as exceptions."""
    previous = {number: signal.signal(number, _unwind) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _unwind(number: int, frame: FrameType | None) -> None:
    if _loads_modules(frame):
        _end_at_once(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _loads_modules(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end_at_once(number: int) -> None:
    """Remove unfinished outputs, and end as by the signal."""
    outputs = sys.modules.get("genomai_cli.formats.outputs")
    if outputs is not None:
        outputs.discard_unfinished()
    os._exit(128 + number)


def open_streams() -> None:
    """Put something in the place of standard streams that are closed: nothing to read, and what takes no byte."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # Standard output is opened for reading: a write fails as it would on the closed one.
            flags = os.O_WRONLY if number == 2 else os.O_RDONLY
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def require_working_directory() -> None:
    """UsageError where it was removed: libraries of numbers would end the process."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the working directory was removed: go to another one") from None


def print_to_stderr(text: str) -> None:
    """A line on standard error, or nothing where it takes none."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _drop(sys.stderr.fileno())


def drop_standard_output() -> None:
    """Let later flushes succeed in silence: nobody reads standard output any more."""
    with suppress(OSError, ValueError):
        _drop(sys.stdout.fileno())


def _drop(descriptor: int) -> None:
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
